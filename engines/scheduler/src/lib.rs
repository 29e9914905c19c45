//! Continuous batching over any step executor, with a paged KV cache.

mod executor;

pub use executor::{KvBlock, Lane, Limits, StepExecutor};
