//! An embeddable LLM runtime that never runs out of memory.
//!
//! Every request is priced in bytes before it runs, then accepted, shrunk, or refused with the numbers that say why; what
//! was admitted never fails for memory that plimsoll owns.
//!
//! A [`Runtime`] owns a memory guard and the models under it; a [`Session`] is a conversation with a [`Model`]; a
//! [`Request`] is what one turn adds to it.
//!
//! ```
//! use plimsoll::{Cancel, Config, Flow, Request, Runtime, Session};
//! use std::path::Path;
//!
//! # fn main() -> plimsoll::Result<()> {
//! let mut config = Config::new();
//! config.set("memory.budget", "256MiB")?;
//! let runtime = Runtime::new(&config)?;
//! let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true)?;
//! let session = Session::open(&model, &Config::new())?;
//!
//! let outcome = session.generate(&Request::user("Hello!"), None, &Cancel::new(), |event| {
//!     print!("{}", event.text);
//!     Flow::Continue
//! })?;
//! assert!(outcome.text.starts_with("Hello"));
//! # Ok(())
//! # }
//! ```
//!
//! [`Session::stream`] is the same answer, pulled; [`Session::what_if`] prices it without running it; [`Session::admit`] sets
//! its bytes aside until they are used. A refusal says in [`Numbers`] what was asked for, what was free and what would fit.
//! Any thread may use what is here, several at once; only a [`Stream`] is read by one at a time. Sessions of one model run
//! together, in one batch.
//!
//! # Features
//!
//! | feature | |
//! |---|---|
//! | `native` (default) | the native engine: `Runtime::load_model`. Without it there is no candle in the build, and the guard, sessions and text serve engines of the host's own: [`Runtime::model`] |
//! | `plugin` (default) | engines that come as a C table of functions: `Runtime::plugin` |
//! | `capi` (default) | the exported C functions; a Rust program needs none of them |
//! | `alloc-mimalloc`, `alloc-system` | a global allocator that counts, for the C library only. A Rust host has its own |

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

#[cfg(any(feature = "alloc-mimalloc", feature = "alloc-system"))]
mod alloc;
mod answer;
#[cfg(feature = "capi")]
pub mod capi;
mod config;
mod conversation;
mod copied;
mod error;
pub mod guard;
mod heap;
mod launch;
#[cfg(feature = "native")]
mod loads;
mod model;
mod monitor;
#[cfg(feature = "native")]
mod native;
mod outcome;
#[cfg(feature = "plugin")]
mod plugin;
mod process;
mod request;
#[cfg(feature = "native")]
mod resident;
mod runtime;
mod session;
#[cfg(feature = "native")]
mod shared;
#[cfg(feature = "native")]
mod side;
mod stream;
pub mod text;
mod ticket;
mod timer;
mod turn;
mod waiting;

pub use config::{Config, parse_bytes};
pub use error::{Error, ErrorCode, Numbers, Result, Section};
pub use guard::{Decision, Degraded, Pressure, Reason, Verdict};
pub use model::{Model, TextSide};
pub use outcome::{Ending, Outcome};
pub use plimsoll_engine::{Cancel, LoadState, Progress, Sampling, TokenEvent, TopLogprob};
#[cfg(feature = "plugin")]
pub use plimsoll_plugin::Plugin;
pub use process::ProcessMemory;
pub use request::{Input, MAX_ANSWERS, Message, Request};
pub use runtime::Runtime;
pub use session::{Flow, Session};
pub use stream::{Event, Polled, Stream};
pub use ticket::Ticket;
pub use waiting::{Queued, Waiting};
