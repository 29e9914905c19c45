//! The C types between the library and a plug-in engine: the header's are made from this file.

#![allow(non_camel_case_types, reason = "these names are the C header's")]

use std::ffi::{c_char, c_void};

/// The version of the interface between library and plug-ins. A plug-in puts the one of its header into its table; the library
/// takes all up to its own.
pub const PLIMSOLL_ENGINE_ABI_VERSION: u32 = 1;

/// What a plug-in engine is, and what it holds besides its requests. Filled by the plug-in's `describe`; the library has set
/// struct_size and all else to 0, and checks what comes back.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_engine_description {
    /// Bytes of this struct; write no member beyond them.
    pub struct_size: usize,
    /// Most tokens of a conversation: 1 to 2^30.
    pub context_length: u32,
    /// Token ids are below this: 1 to 2^30.
    pub vocab_size: u32,
    /// Tokens per KV block: 1 to context_length.
    pub block_tokens: u32,
    /// Most requests that run at once: 1 to 65536.
    pub max_sequences: u32,
    /// Bytes of weights, leased before `load`.
    pub weights_bytes: u64,
    /// Bytes of workspace that all requests share, leased before `load`.
    pub workspace_bytes: u64,
    /// The engine's name, UTF-8, 1 to 64 bytes; copied.
    pub name: *const c_char,
    /// Bytes of the name.
    pub name_len: usize,
}

/// All that the price of a request depends on.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_engine_shape {
    /// Bytes of this struct.
    pub struct_size: usize,
    /// Tokens of the whole conversation, those that the engine already holds included.
    pub prompt_tokens: u32,
    /// Tokens that may be generated.
    pub max_tokens: u32,
    /// Alternatives reported per token.
    pub top_logprobs: u32,
    /// 1 when tokens already seen are penalised, so that counts of them are kept; else 0.
    pub penalties: i32,
}

/// What a request of some shape holds at its largest. Filled by the plug-in's `estimate`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_engine_price {
    /// Bytes of this struct; write no member beyond them.
    pub struct_size: usize,
    /// Bytes of the session's KV, those that it already holds included: whole blocks, no more than prompt and granted tokens
    /// need. The sum of all lease_grow() of a session without KV.
    pub kv_bytes: u64,
    /// Bytes of one KV block; the same for every shape.
    pub kv_block_bytes: u64,
    /// Host bytes of the request itself, paid for as long as it runs. The tokens on their way to the reader are the library's
    /// and not to be counted.
    pub request_bytes: u64,
}

/// A request. It and all it points to live until `start` returns: copy what is needed.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_engine_request {
    /// Bytes of this struct.
    pub struct_size: usize,
    /// Its number, which host functions take. Never used again.
    pub request: u64,
    /// The number of the session whose KV it extends. It has no other request under way.
    pub session: u64,
    /// The whole conversation so far: token_count ids, at least 1, each below the vocabulary's size.
    pub tokens: *const u32,
    /// How many.
    pub token_count: usize,
    /// Ids that end the answer and are not part of it: stop_count of them.
    pub stop_tokens: *const u32,
    /// How many; 0 to generate on after end-of-text tokens.
    pub stop_count: usize,
    /// KV of at most this many leading tokens may be reused from what the session holds: they are the same as before.
    pub shared_prefix: usize,
    /// Tokens that may be generated: what was granted.
    pub max_tokens: u32,
    /// Alternatives to report per token.
    pub top_logprobs: u32,
    /// Bytes of KV that lease_grow() will give in all: what was admitted less what the session holds.
    pub kv_bytes: u64,
    /// Host bytes of the request itself, paid for until its end.
    pub request_bytes: u64,
    /// The seed of its draws, where has_seed is not 0.
    pub seed: u64,
    /// Whether there is a seed.
    pub has_seed: i32,
    /// Not 0: the session's KV is kept when the request ends. 0: all of it is freed and given back by lease_shrink() before
    /// emit_end(), however the request ends, for nobody asks for it later; one that a plug-in with a `reclaim` ends with KV leased
    /// has failed. So it is for all answers of a request but the first: each has a session of its own.
    pub keep_kv: i32,
    /// 0 is greedy.
    pub temperature: f32,
    /// Choose among the k likeliest tokens; 0 for all.
    pub top_k: u32,
    /// Choose among the likeliest tokens whose probabilities reach this sum; 1 for all.
    pub top_p: f32,
    /// Choose among tokens at least this fraction as likely as the likeliest; 0 for all.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of tokens already seen; 1 for none.
    pub repetition_penalty: f32,
    /// Subtracted from the logit of every token generated before; 0 for none.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit for each time it was generated; 0 for none.
    pub frequency_penalty: f32,
    /// Always 0.
    pub reserved: u32,
}

/// A token that a plug-in has chosen.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_engine_token {
    /// Bytes of this struct, set by the plug-in.
    pub struct_size: usize,
    /// Its id, below the vocabulary's size.
    pub token: u32,
    /// The natural logarithm of its probability under the model: finite, at most 0.
    pub logprob: f32,
    /// The likeliest tokens at this position, likeliest first: top_count ids; copied.
    pub top_tokens: *const u32,
    /// The natural logarithms of their probabilities, as many.
    pub top_logprobs: *const f32,
    /// How many; what was not asked for is left out.
    pub top_count: usize,
}

/// How a request has ended.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_engine_end {
    /// Bytes of this struct, set by the plug-in.
    pub struct_size: usize,
    /// `PLIMSOLL_OK`, or the `PLIMSOLL_ERR_*` code with which the request failed.
    pub status: i32,
    /// Where it did not fail: `PLIMSOLL_ENDING_END_OF_TEXT`, `PLIMSOLL_ENDING_LENGTH`, or what interrupted() answered.
    pub ending: i32,
    /// Leading tokens whose KV the session held before and that were not computed: at most shared_prefix, and not all.
    pub cached_tokens: usize,
    /// Leading tokens, of the prompt and then of the answer, whose KV the session holds now.
    pub kv_tokens: usize,
    /// Of a failure, what happened, UTF-8; copied. NULL with length 0 for none.
    pub message: *const c_char,
    /// Bytes of the message.
    pub message_len: usize,
}

/// What a plug-in's allocators hold.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_engine_holdings {
    /// Bytes of this struct; write no member beyond them.
    pub struct_size: usize,
    /// Bytes of weights.
    pub weights_bytes: u64,
    /// Bytes of workspace.
    pub workspace_bytes: u64,
    /// Bytes of KV, of running requests and of idle sessions.
    pub kv_bytes: u64,
}

/// What the library does for a plug-in. It is given to `load` and lives, like all it points to, until `free` returns; without a
/// `free`, until the call that lets the engine go. Every function takes `context` first, may be called from any thread, also
/// inside `start`, `cancel` and `reclaim`, waits for nothing, and answers `PLIMSOLL_OK` or a `PLIMSOLL_ERR_*` code. Calls for a
/// request that has ended are counted, told to the log, and otherwise ignored (`INVALID_ARGUMENT`).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_engine_host {
    /// Bytes of this struct.
    pub struct_size: usize,
    /// The library's `PLIMSOLL_ENGINE_ABI_VERSION`.
    pub abi_version: u32,
    /// Always 0.
    pub reserved: u32,
    /// The first argument of every function.
    pub context: *mut c_void,
    /// The request leaves the plug-in's queue: from here on its time counts as computing. Without it, the first bytes or the
    /// first token say so.
    pub begin: unsafe extern "C" fn(context: *mut c_void, request: u64) -> i32,
    /// Takes bytes of KV for a session out of what its running request was admitted with: to be called before they are
    /// allocated. `MEMORY_REFUSED` when the request has fewer left: then nothing was taken, and the request should fail.
    pub lease_grow: unsafe extern "C" fn(context: *mut c_void, session: u64, bytes: u64) -> i32,
    /// Gives bytes of a session's KV back: to be called after they are freed. While its request runs they can be taken again; of
    /// an idle session they return to the guard, which is for answers to `reclaim`. `INVALID_ARGUMENT` for more than it holds.
    pub lease_shrink: unsafe extern "C" fn(context: *mut c_void, session: u64, bytes: u64) -> i32,
    /// A token for the reader. `token` lives until it returns. One that makes no sense (an id beyond the vocabulary, more tokens
    /// than were granted, a probability above 1) fails the request.
    pub emit_token:
        unsafe extern "C" fn(context: *mut c_void, request: u64, token: *const plimsoll_engine_token) -> i32,
    /// The request's end: to be called exactly once for each request that `start` has taken, when its host bytes are freed and
    /// its session's lease is what the session holds. The next request of the session may come before this returns. An end that
    /// makes no sense is a failed one.
    pub emit_end:
        unsafe extern "C" fn(context: *mut c_void, request: u64, end: *const plimsoll_engine_end) -> i32,
    /// Whether the request should end now: 0, `PLIMSOLL_ENDING_CANCELLED`, `PLIMSOLL_ENDING_DEADLINE`, or
    /// `PLIMSOLL_ENDING_STOPPED` for one that has ended. To be asked before each token.
    pub interrupted: unsafe extern "C" fn(context: *mut c_void, request: u64) -> i32,
    /// The answer to a `reclaim` that returned `PLIMSOLL_ERR_BUSY`: whatever it gives back was given by lease_shrink().
    pub reclaimed: unsafe extern "C" fn(context: *mut c_void, session: u64) -> i32,
    /// A line for the log: `level` is one of `PLIMSOLL_LOG_ERROR` to `PLIMSOLL_LOG_TRACE`, `text` UTF-8 of `text_len` bytes.
    pub log:
        unsafe extern "C" fn(context: *mut c_void, level: i32, text: *const c_char, text_len: usize) -> i32,
}

/// The functions of a plug-in engine. Set struct_size to the struct's sizeof, abi_version to `PLIMSOLL_ENGINE_ABI_VERSION`, and
/// slots that are not there to NULL; the table is copied. A slot returns `PLIMSOLL_OK` or a `PLIMSOLL_ERR_*` code, and must not
/// throw. `engine` is what `load` has made. No lock of the library is held while a slot runs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_engine_table {
    /// Bytes of this struct.
    pub struct_size: usize,
    /// `PLIMSOLL_ENGINE_ABI_VERSION` of the header that the plug-in was compiled with.
    pub abi_version: u32,
    /// Always 0.
    pub reserved: u32,
    /// Required. Says what the engine is, before anything is loaded. Called once, by the thread that attaches.
    pub describe: Option<
        unsafe extern "C" fn(user_data: *mut c_void, description: *mut plimsoll_engine_description) -> i32,
    >,
    /// Required. Makes the engine: its weights and workspace are leased. Called once, by the thread that attaches.
    pub load: Option<
        unsafe extern "C" fn(
            user_data: *mut c_void,
            host: *const plimsoll_engine_host,
            engine: *mut *mut c_void,
        ) -> i32,
    >,
    /// Required. The price of a request: a function of the shape alone, which grows with max_tokens. Called from any thread,
    /// several at once, often: it must not wait.
    pub estimate: Option<
        unsafe extern "C" fn(
            engine: *mut c_void,
            shape: *const plimsoll_engine_shape,
            price: *mut plimsoll_engine_price,
        ) -> i32,
    >,
    /// Required. Takes a request, to be run on a thread of the plug-in's own; it must not wait. Called from any thread, several
    /// at once. `QUEUE_FULL` sends the caller away until later; one more answer to a request that was taken waits in the library
    /// instead, and is brought again by a thread of the library's when there may be room, before any new request. Any other error
    /// fails the request. After `PLIMSOLL_OK` the plug-in owes one emit_end().
    pub start:
        Option<unsafe extern "C" fn(engine: *mut c_void, request: *const plimsoll_engine_request) -> i32>,
    /// Optional. A request was cancelled or its deadline has passed: it should end soon. One that is unknown has ended and is to
    /// be ignored. Without it, a plug-in learns of it by interrupted(). Called from threads of the library, several at once. A
    /// request that has not ended a while later (plugin.grace_ms) is ended for its reader, and keeps its bytes booked until
    /// the plug-in ends it.
    pub cancel: Option<unsafe extern "C" fn(engine: *mut c_void, request: u64) -> i32>,
    /// Optional. Asks for `bytes`, all KV of an idle session, to be freed, given back by lease_shrink(), and answered within
    /// `deadline_ms`: by returning `PLIMSOLL_OK`, or `PLIMSOLL_ERR_BUSY` and later host->reclaimed(). A plug-in that gives
    /// nothing back answers all the same. Who waits for the bytes is refused when the time is over; a late answer still counts.
    /// Also called when the session has closed. Called from threads of the library, several at once. A plug-in without it keeps
    /// no KV between requests: at each end what the session held counts as given back.
    pub reclaim:
        Option<unsafe extern "C" fn(engine: *mut c_void, session: u64, bytes: u64, deadline_ms: u32) -> i32>,
    /// Optional. What the plug-in's allocators hold now, which plimsoll_model_check_integrity() compares with the ledger. Without
    /// it, what was leased counts as held. Called from any thread, several at once: it must not wait.
    pub holdings:
        Option<unsafe extern "C" fn(engine: *mut c_void, holdings: *mut plimsoll_engine_holdings) -> i32>,
    /// Optional. Ends the plug-in's threads and frees all that the engine holds; no other slot runs or will. Requests that have
    /// not ended are ended by the library when it returns, and all leases return. Called once, from any thread but the
    /// plug-in's own.
    pub free: Option<unsafe extern "C" fn(engine: *mut c_void)>,
}
