//! The native engine: one decoder over the project's CPU kernels or candle tensors.
