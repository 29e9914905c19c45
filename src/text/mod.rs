//! Text in and out: chat templates, tokens, streamed text and stop strings.
//!
//! Everything here takes plain bytes and strings, and everything read from a model's files is untrusted: sizes are checked
//! before they are used, and what cannot be done exactly is an error.

mod bpe;
mod bytes_table;
mod charsmap;
mod controls;
mod decoding;
mod detokenizer;
mod error;
mod gguf;
mod json;
mod marked;
mod normalizer;
mod pattern;
mod pre;
mod sentencepiece;
mod splitter;
mod stop;
mod template;
mod tokenizer;
mod tokenizer_json;
mod whitespace;
mod words;

pub use bytes_table::BytesTable;
pub use controls::{Controls, Rendered};
pub use detokenizer::Detokenizer;
pub use error::TextError;
pub use gguf::GgufVocab;
pub use json::{Json, MAX_JSON};
pub use stop::{MAX_STOP_BYTES, MAX_STOPS, StopMatcher, Stops};
pub use template::{Chat, ChatTemplate, Message, Turn};
pub use tokenizer::{MAX_TEXT, Tokenizer};
