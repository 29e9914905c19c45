//! Readers of model files: bytes in, checked descriptions out.
