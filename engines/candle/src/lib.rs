//! The native engine: one decoder, assembled from a model's configuration, over the project's own CPU kernels or candle
//! tensors.
//!
//! [`LoadPlan::inspect`] opens and checks a model and prices it; [`LoadPlan::load`] takes the leases for that price and
//! answers with a [`NativeEngine`], which implements [`plimsoll_engine::Engine`]. From file to answer:
//!
//! - `weights` reads tensors into the layout of the backend;
//! - `model` is the order of operations, `backend` where they run;
//! - `executor` runs steps for `plimsoll-scheduler`, `sampler` chooses tokens;
//! - `engine` puts them together.
//!
//! Memory is planned before the first token: a step allocates nothing on the CPU backend.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

pub mod backend;
mod engine;
mod executor;
mod model;
mod sampler;
mod weights;

pub use backend::KvDtype;
#[cfg(any(test, feature = "kernel-bench"))]
pub use backend::cpu::bench::{BenchError, bench_kernels};
pub use backend::cpu::mapped::{Mapped, mapped};
pub use engine::{
    BackendKind, Environment, Evaluator, LoadError, LoadKey, LoadPlan, LoadState, NativeEngine, Options,
    Pricer, Progress,
};
pub use weights::Quantize;
