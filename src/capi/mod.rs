//! The C ABI and nothing else: conversion of arguments, one boundary against panics, handles.
//!
//! Every exported function turns its arguments into Rust values, calls the crate's public API inside `boundary`, and
//! writes its outputs only when that succeeded. There is no logic here: what C can do, Rust can do through the crate.

#![allow(non_camel_case_types, reason = "these names are the C header's")]
#![allow(clippy::missing_safety_doc, reason = "the header states ownership and threads for each call")]

mod admit;
#[allow(rustdoc::broken_intra_doc_links, reason = "defaults stand in brackets, as in the header")]
mod answers;
mod boundary;
mod cancel;
mod cleanup;
mod config;
mod convert;
mod error;
mod generate;
mod log;
mod memory;
mod model;
mod monitor;
mod plugin;
mod pool;
mod price;
#[allow(rustdoc::broken_intra_doc_links, reason = "defaults stand in brackets, as in the header")]
mod request;
mod runtime;
mod session;
mod status;
mod stream;
#[cfg(test)]
mod tests;
mod text;
mod unload;
mod version;
#[allow(rustdoc::broken_intra_doc_links, reason = "defaults stand in brackets, as in the header")]
mod waiting;

pub use admit::*;
pub use answers::*;
pub use cancel::*;
pub use cleanup::*;
pub use config::*;
pub use error::*;
pub use generate::*;
pub use log::*;
pub use memory::*;
pub use model::*;
pub use monitor::*;
pub use plugin::*;
pub use pool::*;
pub use price::*;
pub use request::*;
pub use runtime::*;
pub use session::*;
pub use status::*;
pub use stream::*;
pub use text::*;
pub use unload::*;
pub use version::*;
pub use waiting::*;
