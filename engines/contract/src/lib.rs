//! What every engine of plimsoll promises: price, run, reclaim.
//!
//! The contract has three sides:
//!
//! - An [`Engine`] prices a request ([`Engine::estimate`]) and executes it ([`Engine::submit`]). It never decides
//!   whether the request may run, and never asks for bytes while it runs: what it uses came in the [`Job`].
//! - A memory guard books bytes and hands them out as [`Lease`]s. A lease is owned, cannot be cloned, and gives its
//!   bytes back exactly once, when it is dropped.
//! - A consumer reads [`TokenEvent`]s from the request's [`Ring`], which has room for every granted token, so that a slow
//!   reader never stalls a batch.
//!
//! Time, entropy and memory readings come in through the traits [`Clock`], [`Entropy`] and [`MemoryProbe`], so that
//! everything above runs in a simulator too.

mod bell;
mod buffers;
mod cancel;
mod engine;
mod environment;
mod error;
mod estimate;
mod lease;
mod progress;
mod request;
mod ring;
#[doc(hidden)]
pub mod sync;
mod throttle;

pub use bell::Bell;
pub use buffers::{Buffer, Buffers, Memory, Source, System};
pub use cancel::{Cancel, Wake};
pub use engine::{Capabilities, Engine, Holdings, Job, Rejected};
pub use environment::{
    Clock, Entropy, ManualClock, MemoryProbe, Reading, SystemClock, SystemEntropy, Vitals,
};
pub use error::EngineError;
pub use estimate::{Estimate, Shape};
pub use lease::{Accounts, Lease, LeaseShort, ModelId, Owner, Region, RequestId, SessionKey};
pub use progress::{LoadState, Progress};
pub use request::{InvalidSampling, MAX_TOP_LOGPROBS, Request, Sampling};
pub use ring::{Finish, FinishReason, Next, Ring, TokenEvent, TopLogprob};
pub use throttle::Throttle;
