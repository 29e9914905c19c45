//! Models and their engines.

use super::boundary::{boundary, quiet};
use super::config::{plimsoll_config, settings};
use super::convert::{self, CallerSized, borrow, hand_out, lend, output, take_back, text};
use super::error::plimsoll_error;
use super::request::plimsoll_request;
use super::runtime::plimsoll_runtime;
use super::status::{plimsoll_status, plimsoll_str};
use super::text::plimsoll_text;
use crate::model::Model;
use crate::request::Message;
use plimsoll_engine::{LoadState, Progress};
use std::ffi::{c_char, c_void};
use std::path::Path;

/// A loaded model under a logical name.
pub struct plimsoll_model(pub(super) Model);

/// It has its memory and waits to read.
pub const PLIMSOLL_LOAD_QUEUED: i32 = 0;
/// Weights come in from their files.
pub const PLIMSOLL_LOAD_READING: i32 = 1;
/// Workspace and decoder are being set up.
pub const PLIMSOLL_LOAD_PREPARING: i32 = 2;
/// A first token has gone through every layer.
pub const PLIMSOLL_LOAD_WARM: i32 = 3;
/// Requests are taken.
pub const PLIMSOLL_LOAD_READY: i32 = 4;
/// It ended with an error, which the call returns.
pub const PLIMSOLL_LOAD_FAILED: i32 = 5;

/// How far a load is.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_progress {
    /// Bytes of this struct that the library filled.
    pub struct_size: usize,
    /// One of `PLIMSOLL_LOAD_*`.
    pub state: i32,
    /// The file being read, from 0; `shards` when all are read.
    pub shard: u32,
    /// Files that hold weights.
    pub shards: u32,
    /// Always 0.
    pub reserved: u32,
    /// Bytes of weights read so far.
    pub bytes_done: u64,
    /// Bytes of weights to read.
    pub bytes_total: u64,
}

/// Hears of a load's progress; runs on the loading thread. Returns 0 to go on, anything else to stop the load. `progress`
/// lives until it returns. It may use other models; what needs the one that is being loaded, a load of the same files or a request
/// of a session that it had before, is refused with `REENTRANT`.
pub type plimsoll_on_progress =
    Option<unsafe extern "C" fn(progress: *const plimsoll_progress, user_data: *mut c_void) -> i32>;

/// Facts of a model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_model_facts {
    /// In: bytes of this struct. Out: bytes of it that were written.
    pub struct_size: usize,
    /// Most tokens of a conversation.
    pub context_length: u32,
    /// Token ids are below this.
    pub vocab_size: u32,
    /// Bytes of weights in memory.
    pub weights_bytes: u64,
    /// Bytes of workspace.
    pub workspace_bytes: u64,
    /// Bytes of KV of all its sessions now.
    pub kv_bytes: u64,
    /// Tokens per KV block.
    pub block_tokens: u32,
    /// Most requests in one batch.
    pub max_sequences: u32,
    /// The engine's name; lives as long as the model.
    pub engine: plimsoll_str,
    /// Host bytes leased for it beside weights and workspace: tokenizer, chat template, the engine's tables; 0 for a plug-in.
    pub host_bytes: u64,
}

// SAFETY: repr(C), struct_size first, any bytes are valid.
unsafe impl CallerSized for plimsoll_model_facts {
    const NAME: &'static str = "plimsoll_model_facts";
    fn with_size(mut self, size: usize) -> Self {
        self.struct_size = size;
        self
    }
}

/// Loads a model: a folder with config.json, safetensors and tokenizer.json, or a .gguf file. The guard must grant its
/// weights and its workspace first. Files that are loaded already, also through another path or by another thread at the
/// same time, are shared, not loaded again. `config` takes the keys that begin with `native.`, and `model.unload`, which says
/// whether the model may be unloaded, idle and least recently used, when room is needed; NULL is every default.
/// `on_progress` may be NULL. A load that it stops while requests were granted on the model, as where the model was unloaded and is
/// loaded again, goes on for those, and ends with `LOAD_CANCELLED` for its caller.
///
/// Ownership: copies name, path and `config`; the caller frees `*out` with plimsoll_model_unload(). The model keeps what it
/// needs of the runtime. Threads: any, also concurrently. Errors: `MODEL_*` for what is wrong with the files,
/// `MEMORY_REFUSED` with the numbers, `OUT_OF_MEMORY`, `INVALID_CONFIG`, `LOAD_CANCELLED`, `REENTRANT` in
/// `on_progress` of the same files. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_load(
    runtime: *const plimsoll_runtime,
    name: *const c_char,
    name_len: usize,
    path: *const c_char,
    path_len: usize,
    config: *const plimsoll_config,
    on_progress: plimsoll_on_progress,
    user_data: *mut c_void,
    out: *mut *mut plimsoll_model,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles, texts and output pointers.
    unsafe {
        boundary("plimsoll_model_load", error, || {
            let runtime = borrow(runtime, "runtime")?;
            let out = output(out, "out")?;
            let (name, path) = (text(name, name_len, "name")?, text(path, path_len, "path")?);
            let report = |progress: &Progress| match on_progress {
                Some(call) => call(&report(progress), user_data) == 0,
                None => true,
            };
            let model = runtime.0.load_model(name, Path::new(path), &settings(config), &report)?;
            hand_out(out, plimsoll_model(model))
        })
    }
}

fn report(progress: &Progress) -> plimsoll_progress {
    let state = match progress.state {
        LoadState::Queued => PLIMSOLL_LOAD_QUEUED,
        LoadState::Reading => PLIMSOLL_LOAD_READING,
        LoadState::Preparing => PLIMSOLL_LOAD_PREPARING,
        LoadState::Warm => PLIMSOLL_LOAD_WARM,
        LoadState::Ready => PLIMSOLL_LOAD_READY,
        LoadState::Failed => PLIMSOLL_LOAD_FAILED,
    };
    plimsoll_progress {
        struct_size: size_of::<plimsoll_progress>(),
        state,
        shard: u32::try_from(progress.shard).unwrap_or(u32::MAX),
        shards: u32::try_from(progress.shards).unwrap_or(u32::MAX),
        reserved: 0,
        bytes_done: progress.bytes_done,
        bytes_total: progress.bytes_total,
    }
}

/// Attaches a further engine to a model. `config` names it by the key `engine.kind`. A loaded model has its native engine
/// from the start, so "native" changes nothing; "vllm" and "trtllm" are not supported yet and say so, and so does "plugin":
/// a plug-in makes a model of its own with plimsoll_model_attach().
///
/// Ownership: borrows both. Threads: any. Errors: `UNSUPPORTED`, `INVALID_CONFIG`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_engine_attach(
    model: *mut plimsoll_model,
    config: *const plimsoll_config,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles.
    unsafe {
        boundary("plimsoll_engine_attach", error, || borrow(model, "model")?.0.attach(&settings(config)))
    }
}

/// Writes the facts of a model. Set `facts->struct_size` first.
///
/// Ownership: `facts->engine` lives as long as the model. Threads: any. Errors: `INVALID_STRUCT_SIZE`, `NULL_POINTER`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_get_facts(
    model: *const plimsoll_model,
    facts: *mut plimsoll_model_facts,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and sized structs.
    unsafe {
        boundary("plimsoll_model_get_facts", error, || {
            let model = &borrow(model, "model")?.0;
            let size = convert::sized(facts)?;
            let (held, can) = (model.holdings(), model.capabilities());
            let value = plimsoll_model_facts {
                struct_size: size,
                context_length: can.context_length,
                vocab_size: can.vocab_size,
                weights_bytes: held.weights,
                workspace_bytes: held.workspace,
                kv_bytes: held.kv,
                block_tokens: can.block_tokens,
                max_sequences: can.max_sequences,
                engine: lend(can.name.as_bytes()),
                host_bytes: model.host_bytes(),
            };
            convert::write_sized(facts, size, value);
            Ok(())
        })
    }
}

/// The bytes that a token stands for: not always whole characters, so not always UTF-8 by themselves. Empty for NULL and for
/// an id beyond the vocabulary.
///
/// Ownership: borrowed, lives as long as the model. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_token_bytes(
    model: *const plimsoll_model,
    token: u32,
) -> plimsoll_str {
    quiet(lend(b""), || {
        // SAFETY: the header's rule for handles.
        let model = unsafe { model.as_ref() };
        lend(model.and_then(|model| model.0.token_bytes(token)).unwrap_or(b""))
    })
}

/// Token ids of a text. Writes at most `capacity` ids to `tokens` and the number there are to `*count`: call it with
/// capacity 0 and `tokens` NULL to learn the number.
///
/// Ownership: borrows all. Threads: any. Errors: `TOKENIZER`, `PROMPT_TOO_LONG`, `INVALID_UTF8`, `NULL_POINTER`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_tokenize(
    model: *const plimsoll_model,
    content: *const c_char,
    content_len: usize,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles, texts and output pointers.
    unsafe {
        boundary("plimsoll_model_tokenize", error, || {
            let model = borrow(model, "model")?;
            let count = output(count, "count")?;
            if capacity > 0 {
                output(tokens, "tokens")?;
            }
            let ids = model.0.tokenize(text(content, content_len, "content")?)?;
            let written = ids.len().min(capacity);
            if written > 0 {
                std::ptr::copy_nonoverlapping(ids.as_ptr(), tokens, written);
            }
            count.write(ids.len());
            Ok(())
        })
    }
}

/// One message of a conversation, for plimsoll_model_render().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_message {
    /// Who speaks: "system", "user", "assistant".
    pub role: plimsoll_str,
    /// What is said.
    pub content: plimsoll_str,
}

/// Messages as the model's chat template writes them, up to where an answer begins.
///
/// Ownership: borrows the messages; the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `TEMPLATE`,
/// `INVALID_UTF8`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_render(
    model: *const plimsoll_model,
    messages: *const plimsoll_message,
    count: usize,
    out: *mut *mut plimsoll_text,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles, arrays, texts and output pointers.
    unsafe {
        boundary("plimsoll_model_render", error, || {
            let model = borrow(model, "model")?;
            let out = output(out, "out")?;
            let mut list = Vec::new();
            for message in convert::items(messages, count, "messages")? {
                let role = text(message.role.ptr, message.role.len, "role")?;
                let content = text(message.content.ptr, message.content.len, "content")?;
                list.push(Message::new(role, content));
            }
            hand_out(out, plimsoll_text(model.0.render(&list)?))
        })
    }
}

/// A request's messages and tools as the model's chat template writes them, up to where an answer begins: the text of a new
/// session's first turn.
///
/// Ownership: borrows the request; the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `TEMPLATE`;
/// `INVALID_ARGUMENT` for a request of text or tokens; `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_render_request(
    model: *const plimsoll_model,
    request: *const plimsoll_request,
    out: *mut *mut plimsoll_text,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_model_render_request", error, || {
            let model = borrow(model, "model")?;
            let request = borrow(request, "request")?;
            let out = output(out, "out")?;
            hand_out(out, plimsoll_text(model.0.render_request(&request.0)?))
        })
    }
}

/// Compares what the model's allocators hold with what the ledger has booked for it, to the byte.
///
/// Ownership: borrows the model. Threads: any. Errors: `INTERNAL` naming what differs, `BUSY` while a request of the model
/// waits or runs, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_check_integrity(
    model: *const plimsoll_model,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        boundary("plimsoll_model_check_integrity", error, || borrow(model, "model")?.0.check_integrity())
    }
}

/// Gives a model back; NULL is fine. Its memory is freed when its last session is closed and no other model shares its files. To
/// free the memory and keep the model there is plimsoll_model_evict().
///
/// Ownership: takes the model. Threads: one. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_unload(model: *mut plimsoll_model) {
    // SAFETY: the header's rule for frees.
    unsafe { take_back(model) };
}
