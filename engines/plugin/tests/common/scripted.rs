//! A plug-in whose slots are closures: for the faults that no honest engine has.

use plimsoll_plugin::abi::{
    PLIMSOLL_ENGINE_ABI_VERSION, plimsoll_engine_description, plimsoll_engine_end, plimsoll_engine_holdings,
    plimsoll_engine_host, plimsoll_engine_price, plimsoll_engine_request, plimsoll_engine_shape,
    plimsoll_engine_table, plimsoll_engine_token,
};
use plimsoll_plugin::status;
use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// Bytes of KV of a token.
pub const TOKEN: u64 = 100;
/// Ids are below this.
pub const VOCAB: u32 = 50;

/// What a request was started with.
#[derive(Clone, Debug)]
pub struct Started {
    pub request: u64,
    pub session: u64,
    pub prompt: usize,
    pub max_tokens: u32,
    pub kv_bytes: u64,
    pub keep: bool,
}

/// The host functions, as methods.
#[derive(Clone, Copy)]
pub struct Api(*const plimsoll_engine_host);

// SAFETY: host functions may be called from any thread until the plug-in is freed.
unsafe impl Send for Api {}
// SAFETY: as above.
unsafe impl Sync for Api {}

impl Api {
    pub fn raw(&self) -> &plimsoll_engine_host {
        // SAFETY: it lives until the plug-in is freed, and tests call it no longer than that.
        unsafe { &*self.0 }
    }
    pub fn begin(&self, request: u64) -> i32 {
        // SAFETY: here and below: the context is the table's own.
        unsafe { (self.raw().begin)(self.raw().context, request) }
    }
    pub fn grow(&self, session: u64, bytes: u64) -> i32 {
        // SAFETY: as above.
        unsafe { (self.raw().lease_grow)(self.raw().context, session, bytes) }
    }
    pub fn shrink(&self, session: u64, bytes: u64) -> i32 {
        // SAFETY: as above.
        unsafe { (self.raw().lease_shrink)(self.raw().context, session, bytes) }
    }
    pub fn reclaimed(&self, session: u64) -> i32 {
        // SAFETY: as above.
        unsafe { (self.raw().reclaimed)(self.raw().context, session) }
    }
    pub fn interrupted(&self, request: u64) -> i32 {
        // SAFETY: as above.
        unsafe { (self.raw().interrupted)(self.raw().context, request) }
    }
    pub fn log(&self, level: i32, text: &str) -> i32 {
        // SAFETY: as above; the text has as many bytes as it says.
        unsafe { (self.raw().log)(self.raw().context, level, text.as_ptr().cast(), text.len()) }
    }
    pub fn token(&self, request: u64, token: u32, logprob: f32) -> i32 {
        let token = plimsoll_engine_token {
            struct_size: size_of::<plimsoll_engine_token>(),
            token,
            logprob,
            top_tokens: ptr::null(),
            top_logprobs: ptr::null(),
            top_count: 0,
        };
        self.raw_token(request, &token)
    }
    pub fn raw_token(&self, request: u64, token: *const plimsoll_engine_token) -> i32 {
        // SAFETY: as above; NULL and short structs are what some tests are about.
        unsafe { (self.raw().emit_token)(self.raw().context, request, token) }
    }
    pub fn end(&self, request: u64, end: &plimsoll_engine_end) -> i32 {
        // SAFETY: as above.
        unsafe { (self.raw().emit_end)(self.raw().context, request, end) }
    }
    pub fn end_with(&self, request: u64, ending: i32, kv_tokens: usize) -> i32 {
        self.end(request, &plimsoll_engine_end { ending, kv_tokens, ..NO_END })
    }
    pub fn fail(&self, request: u64, status: i32, message: &str) -> i32 {
        let (message, message_len) = (message.as_ptr().cast(), message.len());
        self.end(request, &plimsoll_engine_end { status, message, message_len, ..NO_END })
    }
    /// Does all that a good engine does: every token, all but the last of which are kept where they should be.
    pub fn answer(&self, s: &Started) -> i32 {
        let kept = if s.keep { s.prompt + s.max_tokens as usize - 1 } else { 0 };
        self.answer_keeping(s, kept)
    }

    /// Every token, and keeps the KV of so many.
    pub fn answer_keeping(&self, s: &Started, kept: usize) -> i32 {
        assert_eq!(self.grow(s.session, s.kv_bytes), status::OK);
        for _ in 0..s.max_tokens {
            assert_eq!(self.token(s.request, 7, -0.5), status::OK);
        }
        let free = s.prompt + s.max_tokens as usize - kept;
        assert_eq!(self.shrink(s.session, free as u64 * TOKEN), status::OK);
        self.end_with(s.request, status::LENGTH, kept)
    }
}

/// An end without anything.
pub const NO_END: plimsoll_engine_end = plimsoll_engine_end {
    struct_size: size_of::<plimsoll_engine_end>(),
    status: 0,
    ending: 0,
    cached_tokens: 0,
    kv_tokens: 0,
    message: ptr::null(),
    message_len: 0,
};

type Pricer = Box<dyn Fn(&plimsoll_engine_shape, &mut plimsoll_engine_price) -> i32 + Send + Sync>;
type Slot<A> = Box<dyn Fn(&Api, A) -> i32 + Send + Sync>;

/// The plug-in's behaviour; the defaults are a good engine's, which runs each request inside `start`.
pub struct Script {
    pub description: plimsoll_engine_description,
    pub describe: i32,
    pub load: i32,
    pub estimate: Pricer,
    pub start: Slot<Started>,
    pub cancel: Slot<u64>,
    pub reclaim: Slot<(u64, u64, u32)>,
    pub free: Box<dyn Fn() + Send + Sync>,
    pub host: AtomicPtr<plimsoll_engine_host>,
    pub counts: Arc<Counts>,
}

/// How often a plug-in was freed and dropped.
#[derive(Debug, Default)]
pub struct Counts {
    pub freed: AtomicUsize,
    pub dropped: AtomicUsize,
}

impl Counts {
    pub fn get(&self) -> (usize, usize) {
        (self.freed.load(Ordering::SeqCst), self.dropped.load(Ordering::SeqCst))
    }
}

impl Default for Script {
    fn default() -> Self {
        let description = plimsoll_engine_description {
            struct_size: 0,
            context_length: 100,
            vocab_size: VOCAB,
            block_tokens: 1,
            max_sequences: 2,
            weights_bytes: 1000,
            workspace_bytes: 500,
            name: c"scripted".as_ptr(),
            name_len: 8,
        };
        Script {
            description,
            describe: 0,
            load: 0,
            estimate: Box::new(|shape, price| {
                price.kv_block_bytes = TOKEN;
                price.kv_bytes = u64::from(shape.prompt_tokens + shape.max_tokens) * TOKEN;
                price.request_bytes = 64;
                0
            }),
            start: Box::new(|api, started| {
                assert_eq!(api.answer(&started), status::OK);
                0
            }),
            cancel: Box::new(|_, _| 0),
            reclaim: Box::new(|api, (session, bytes, _)| {
                assert_eq!(api.shrink(session, bytes), status::OK);
                0
            }),
            free: Box::new(|| {}),
            host: AtomicPtr::default(),
            counts: Arc::default(),
        }
    }
}

impl Script {
    fn api(&self) -> Api {
        Api(self.host.load(Ordering::SeqCst))
    }

    /// The pointer for the plug-in, which its [`drop`] takes back.
    pub fn into_user_data(self) -> *mut c_void {
        Box::into_raw(Box::new(self)).cast()
    }
}

/// A slot's script.
///
/// # Safety
/// The pointer is that of [`Script::into_user_data`], and not dropped.
unsafe fn script<'a>(user_data: *mut c_void) -> &'a Script {
    // SAFETY: the caller's promise.
    unsafe { &*user_data.cast::<Script>() }
}

unsafe extern "C" fn describe(user_data: *mut c_void, out: *mut plimsoll_engine_description) -> i32 {
    // SAFETY: here and below: the library passes what the header says.
    let (script, out) = unsafe { (script(user_data), &mut *out) };
    *out = plimsoll_engine_description { struct_size: out.struct_size, ..script.description };
    script.describe
}

unsafe extern "C" fn load(
    user_data: *mut c_void,
    host: *const plimsoll_engine_host,
    engine: *mut *mut c_void,
) -> i32 {
    // SAFETY: as above.
    unsafe {
        script(user_data).host.store(host.cast_mut(), Ordering::SeqCst);
        *engine = user_data;
        script(user_data).load
    }
}

unsafe extern "C" fn estimate(
    engine: *mut c_void,
    shape: *const plimsoll_engine_shape,
    price: *mut plimsoll_engine_price,
) -> i32 {
    // SAFETY: as above.
    unsafe { (script(engine).estimate)(&*shape, &mut *price) }
}

unsafe extern "C" fn start(engine: *mut c_void, request: *const plimsoll_engine_request) -> i32 {
    // SAFETY: as above.
    let (script, request) = unsafe { (script(engine), &*request) };
    let started = Started {
        request: request.request,
        session: request.session,
        prompt: request.token_count,
        max_tokens: request.max_tokens,
        kv_bytes: request.kv_bytes,
        keep: request.keep_kv != 0,
    };
    (script.start)(&script.api(), started)
}

unsafe extern "C" fn cancel(engine: *mut c_void, request: u64) -> i32 {
    // SAFETY: as above.
    let script = unsafe { script(engine) };
    (script.cancel)(&script.api(), request)
}

unsafe extern "C" fn reclaim(engine: *mut c_void, session: u64, bytes: u64, deadline_ms: u32) -> i32 {
    // SAFETY: as above.
    let script = unsafe { script(engine) };
    (script.reclaim)(&script.api(), (session, bytes, deadline_ms))
}

unsafe extern "C" fn free(engine: *mut c_void) {
    // SAFETY: as above.
    let script = unsafe { script(engine) };
    (script.free)();
    script.counts.freed.fetch_add(1, Ordering::SeqCst);
}

/// Tells the plug-in that its pointer is no longer needed.
///
/// # Safety
/// As the header says of `on_drop`.
pub unsafe extern "C" fn drop(user_data: *mut c_void) {
    // SAFETY: it came from `into_user_data` and comes back once, which the counts prove.
    let script = unsafe { Box::from_raw(user_data.cast::<Script>()) };
    script.counts.dropped.fetch_add(1, Ordering::SeqCst);
}

/// The slots.
pub fn table() -> plimsoll_engine_table {
    plimsoll_engine_table {
        struct_size: size_of::<plimsoll_engine_table>(),
        abi_version: PLIMSOLL_ENGINE_ABI_VERSION,
        reserved: 0,
        describe: Some(describe),
        load: Some(load),
        estimate: Some(estimate),
        start: Some(start),
        cancel: Some(cancel),
        reclaim: Some(reclaim),
        holdings: None,
        free: Some(free),
    }
}

/// A `holdings` that tells of a byte of KV that nothing pays for.
///
/// # Safety
/// As the header says of the slot.
pub unsafe extern "C" fn a_byte_too_many(_: *mut c_void, out: *mut plimsoll_engine_holdings) -> i32 {
    // SAFETY: as above.
    let out = unsafe { &mut *out };
    (out.weights_bytes, out.workspace_bytes, out.kv_bytes) = (1000, 500, 1);
    0
}
