//! The native engine.

mod backend;
mod sampler;
