//! A simulator of plimsoll's promise: the product's own guard, scheduler and sessions, on a clock that moves when nothing else
//! does.
//!
//! ```text
//!   Traffic (seed) ──► Drive ──► World ──► Session, MemoryGuard, Scheduler   (the product)
//!   Recording ───────► Replay ─┘   │           ▲ Clock   ▲ MemoryProbe   ▲ StepExecutor
//!                                  ▼           └─────────┴───────────────┘
//!                       Journal, Checks, Report, chart      Machine, SimExecutor (a few numbers)
//! ```
//!
//! Nothing of the product is copied or left out but tensors and threads. There is one thread, and a step of the scheduler
//! moves the clock by what it costs; whatever comes meanwhile is looked at between two steps, as if the threads of its
//! callers had been held up for so long. So the same seed gives the same decisions, and [`journal::Journal::digest`] the
//! same number.
//!
//! What a run must keep to, or it is [`Failure`], is in [`checks`] and [`world`]; what it is compared with in [`packer`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod chart;
pub mod checks;
mod drive;
pub mod engine;
pub mod executor;
pub mod journal;
pub mod machine;
pub mod packer;
pub mod plan;
pub mod random;
pub mod record;
pub mod replay;
pub mod report;
pub mod setup;
mod sky;
pub mod tape;
pub mod workload;
pub mod world;

use plimsoll_engine::{EngineError, Shape};
use std::fmt;
use std::time::Duration;

/// A fault that a run must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The executor keeps a block whose lease has gone.
    LeakedBlock,
    /// Prices of long requests are short by one block.
    ShortEstimate,
}

/// A broken promise, or a fault of the product.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(pub String);

impl From<plimsoll::Error> for Broken {
    fn from(error: plimsoll::Error) -> Self {
        Broken(error.to_string())
    }
}

impl From<EngineError> for Broken {
    fn from(error: EngineError) -> Self {
        Broken(error.to_string())
    }
}

/// A run that broke a promise, and how to see it again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What was broken.
    pub what: Broken,
    /// The seed.
    pub seed: u64,
    /// Requests of the run.
    pub requests: u64,
    /// The workload's name.
    pub workload: &'static str,
    /// The request that it was at.
    pub request: u64,
    /// The virtual time.
    pub at: Duration,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { what, seed, requests, workload, request, at } = self;
        writeln!(f, "seed {seed}, request {request}, {:.3} s: {what}", at.as_secs_f64())?;
        write!(f, "again: sim {seed} {requests} {workload}")
    }
}

impl std::error::Error for Failure {}
