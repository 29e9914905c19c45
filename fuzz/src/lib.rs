//! What each fuzz target does with its input, and what must hold afterwards. Apart from the fuzzer, so that the tests of
//! the library replay the kept inputs on stable Rust.

pub mod heap;

#[cfg(feature = "native")]
mod calls;
mod chat;
mod files;
#[cfg(feature = "native")]
mod input;
#[cfg(feature = "native")]
mod slots;

#[cfg(feature = "native")]
pub use calls::calls;
pub use chat::{template, tokenizer};
pub use files::{config, gguf, safetensors};

/// The part before the first NUL, and the one after it: an input of two parts stays readable as a text.
fn halves(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[]),
    }
}
