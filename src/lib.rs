//! An embeddable LLM runtime that never runs out of memory.
//!
//! Every request is priced in bytes before it runs, then accepted, shrunk, or refused with the numbers that say why; what
//! was admitted never fails for memory that plimsoll owns.
//!
//! A [`Runtime`] owns a memory guard and the models under it; a [`Session`] is a conversation with a [`Model`]; a
//! [`Request`] is what one turn adds to it.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

#[cfg(any(feature = "alloc-mimalloc", feature = "alloc-system"))]
mod alloc;
#[cfg(feature = "capi")]
pub mod capi;
mod config;
mod conversation;
mod error;
pub mod guard;
mod model;
#[cfg(feature = "native")]
mod native;
mod request;
mod runtime;
mod session;
#[cfg(feature = "native")]
mod shared;
mod stream;
pub mod text;
mod ticket;
mod turn;

pub use config::{Config, parse_bytes};
pub use error::{Error, ErrorCode, Numbers, Result, Section};
pub use guard::{Decision, Reason, Verdict};
pub use model::{Model, TextSide};
pub use plimsoll_engine::{Cancel, LoadState, Progress, Sampling, TokenEvent, TopLogprob};
pub use request::{Input, Message, Request};
pub use runtime::Runtime;
pub use session::{Flow, Session};
pub use stream::{Ending, Event, Outcome, Polled, Stream};
pub use ticket::Ticket;
