//! Models over plug-in engines.

use super::boundary::boundary;
use super::config::{plimsoll_config, settings};
use super::convert::{borrow, hand_out, output, text};
use super::error::plimsoll_error;
use super::log::plimsoll_on_drop;
use super::model::plimsoll_model;
use super::runtime::plimsoll_runtime;
use super::status::plimsoll_status;
use crate::model::TextSide;
use crate::plugin::plugin_error;
use plimsoll_plugin::Plugin;
pub use plimsoll_plugin::abi::*;
use std::ffi::{c_char, c_void};
use std::path::Path;

/// Makes a model over an engine of the host's own, a plug-in: the functions of `table`. The guard must grant the weights and the
/// workspace that it describes before it is loaded, and prices its requests by its `estimate`. `text_path` names what turns text
/// into ids and back: a model's folder or .gguf file, of which the tokenizer, the chat template and the ids that end an answer are
/// used and no weights are read, or a tokenizer.json alone; NULL with length 0 for a model of token ids only, whose answers have
/// no text. `config` takes the keys that begin with `plugin.`; NULL is every default. `on_drop`, when not NULL, is called exactly
/// once with `user_data`: when the engine is gone, or at once when this call fails.
///
/// Ownership: copies table, name, path and `config`; keeps `user_data` until `on_drop`; the caller frees `*out` with
/// plimsoll_model_unload(). The engine goes with its last model handle and session. Threads: any; `describe` and `load` run
/// inside. Errors: `INVALID_STRUCT_SIZE`, `UNSUPPORTED` for a table of a later version, `INVALID_ARGUMENT` for a required slot that
/// is NULL and for a description that makes no sense, `MEMORY_REFUSED` with the numbers, `ENGINE_FAILED` where the plug-in does not
/// load, `OUT_OF_MEMORY`, `MODEL_*` and `TOKENIZER` for what is wrong with the text's files, `INVALID_CONFIG`, `NULL_POINTER`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_attach(
    runtime: *const plimsoll_runtime,
    name: *const c_char,
    name_len: usize,
    text_path: *const c_char,
    text_path_len: usize,
    table: *const plimsoll_engine_table,
    user_data: *mut c_void,
    on_drop: plimsoll_on_drop,
    config: *const plimsoll_config,
    out: *mut *mut plimsoll_model,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // Made first, so that its drop runs on every way out.
    // SAFETY: the header's rules for tables and registrations.
    let plugin = unsafe { Plugin::adopt(table, user_data, on_drop) };
    // SAFETY: the header's rules for handles, texts and output pointers.
    unsafe {
        boundary("plimsoll_model_attach", error, move || {
            let plugin = plugin.map_err(plugin_error)?;
            let runtime = borrow(runtime, "runtime")?;
            let out = output(out, "out")?;
            let name = text(name, name_len, "name")?;
            let side = match text(text_path, text_path_len, "text_path")? {
                "" => TextSide::ids_only()?,
                path => TextSide::open(Path::new(path))?,
            };
            let model = runtime.0.plugin(name, plugin, side, &settings(config))?;
            hand_out(out, plimsoll_model(model))
        })
    }
}
