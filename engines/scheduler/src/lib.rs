//! Continuous batching over any step executor, with a paged KV cache.
