//! Readers of model files: bytes in, checked descriptions out.
//!
//! [`open`] takes a Hugging Face folder or a GGUF file and answers a [`Checkpoint`]: what the model is, where each
//! tensor lies, its tokenizer and its chat template. Nothing here reads or computes weights; the engine that does
//! opens the files again through [`Checkpoint::open_file`].
//!
//! Rules every reader here keeps:
//! - Files are read, never mapped: a file that shrinks under us is an error, not a signal.
//! - Every length and count is checked against the bytes left before it is used, with checked arithmetic.
//! - Heap use stays below 16 times the input plus 1 MiB, whatever the input says.
//! - Error texts are short and carry no control characters.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod checkpoint;
pub mod config;
mod dtype;
mod error;
pub mod gguf;
pub mod hf;
mod json;
mod key;
mod names;
mod source;
#[cfg(test)]
mod testing;
mod tokens;
mod verify;
mod views;

pub use checkpoint::{Checkpoint, Format, TensorInfo, open};
pub use config::{
    Activation, Architecture, Experts, GenerationConfig, ModelConfig, Rope, RopeScaling, Window,
};
pub use dtype::Dtype;
pub use error::{FormatError, Text};
pub use hf::safetensors;
pub use key::{FileId, ModelKey, fingerprint};
pub use source::{ModelFile, Source};
pub use tokens::{ChatTemplate, GgufTokenizer, TokenizerSource};
pub use verify::expected_tensors;

/// Answers of this crate.
pub type Result<T, E = FormatError> = std::result::Result<T, E>;
