//! Continuous batching over any step executor, with a paged KV cache.
//!
//! A [`StepExecutor`] knows how to run one step over some lanes of tokens; this crate knows everything else about running
//! requests: who waits, who runs, what is fed when, whose KV blocks are kept, and how each request ends. There are no
//! tensors here.
//!
//! [`Scheduler`] is the core. It does nothing but in [`Scheduler::tick`], takes time from a
//! [`Clock`](plimsoll_engine::Clock), and so runs the same in a simulator. [`spawn`] runs one on a thread of its own and
//! answers with a [`Handle`] that any thread may use.
//!
//! Memory follows three rules:
//!
//! - All of a request's memory, its KV blocks included, is allocated when it leaves the queue and equals what [`price`]
//!   said. A tick in which nothing starts or ends allocates nothing.
//! - Of layers with a sliding window a request holds the blocks of the window and of one step. Blocks behind it serve
//!   again; those that no step to come needs are freed while the request runs, and their leases return.
//! - Every KV block owns the lease that pays for it, whether it serves a running request or is kept for a session's next
//!   turn.
//! - A request's end reaches its reader after its leases are back.

mod executor;
mod inherit;
mod kept;
mod pace;
mod price;
mod queue;
mod running;
mod scheduler;
mod step;
mod table;
mod thread;

pub use executor::{KvBlock, Lane, Limits, StepExecutor};
pub use price::price;
pub use scheduler::{Config, Scheduler};
pub use table::{BlockTable, Layers, Rolling};
pub use thread::{Handle, spawn};
