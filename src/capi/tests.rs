//! The exported functions, called as C calls them, over an engine without a model.

use super::*;
use crate::TextSide;
use crate::text::Tokenizer;
use plimsoll_engine::{
    Capabilities, Engine, EngineError, Estimate, Finish, FinishReason, Holdings, Job, Region, Rejected, Ring,
    SessionKey, Shape, TokenEvent, TopLogprob,
};
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

const TOKENIZER: &str = r#"{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": null, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {"a": 0, "b": 1, "?": 2}, "unk_token": "?"}}"#;

/// Says "b" until all is said, or for ever to a request of 7 tokens, which must be cancelled. Each request has a thread.
struct Parrot {
    capabilities: Capabilities,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

fn speak(job: Job) {
    let Job { request, kv, host, ring, cancel } = job;
    let endless = request.max_tokens == 7;
    let mut said = 0;
    while !cancel.is_cancelled() && (endless || said < request.max_tokens) {
        if said < request.max_tokens.min(6) {
            let top = TopLogprob { id: 1, logprob: -0.5 };
            assert!(ring.push(TokenEvent { id: 1, logprob: -0.5 }, &[top]));
            said += 1;
        }
        std::thread::yield_now();
    }
    drop((kv, host));
    let reason = if cancel.is_cancelled() { FinishReason::Cancelled } else { FinishReason::Length };
    let zero = Duration::ZERO;
    ring.finish(Finish { reason, cached_tokens: 0, kv_tokens: 0, queued: zero, prefill: zero, decode: zero });
}

impl Engine for Parrot {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError> {
        let ring_bytes =
            Ring::bytes(shape.max_tokens, shape.top_logprobs).ok_or(EngineError::PriceOverflow)?;
        let kv_bytes = 64 * (u64::from(shape.prompt_tokens) + u64::from(shape.max_tokens));
        Ok(Estimate {
            kv_region: Region::Host,
            kv_bytes,
            kv_block_bytes: 64,
            request_bytes: ring_bytes + 100,
            ring_bytes,
            workspace_bytes: 0,
        })
    }

    fn submit(&self, job: Job) -> Result<(), Box<Rejected>> {
        self.threads.lock().unwrap().push(std::thread::spawn(move || speak(job)));
        Ok(())
    }

    fn reclaim(&self, _: SessionKey, freed: plimsoll_engine::sync::Sender<u64>) {
        let _ = freed.send(0);
    }

    fn holdings(&self) -> Holdings {
        Holdings::default()
    }
}

impl Drop for Parrot {
    fn drop(&mut self) {
        for thread in self.threads.get_mut().unwrap().drain(..) {
            // Its own thread may be the last to hold an engine.
            if thread.thread().id() != std::thread::current().id() {
                thread.join().unwrap();
            }
        }
    }
}

/// The value that a call hands out; the call must succeed.
fn made<T>(call: impl FnOnce(*mut *mut T, *mut *mut plimsoll_error) -> plimsoll_status) -> *mut T {
    let (mut out, mut error) = (null_mut(), null_mut());
    assert_eq!(call(&mut out, &mut error), PLIMSOLL_OK);
    assert!(!out.is_null() && error.is_null());
    out
}

/// The code and the text of the error that a call gives.
fn refused(call: impl FnOnce(*mut *mut plimsoll_error) -> plimsoll_status) -> (plimsoll_status, String) {
    let mut error = null_mut();
    let status = call(&mut error);
    // SAFETY: an error that the call made, read and then freed once.
    unsafe {
        assert_eq!(plimsoll_error_code(error), status);
        let text = string(plimsoll_error_message(error));
        assert!(plimsoll_error_section(error) > 0 && plimsoll_error_bytes_asked(error) == 0);
        plimsoll_error_free(error);
        (status, text)
    }
}

/// # Safety
/// `text` lives.
unsafe fn string(text: plimsoll_str) -> String {
    // SAFETY: the caller's promise.
    let bytes = unsafe { std::slice::from_raw_parts(text.ptr.cast::<u8>(), text.len) };
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn setting(config: *mut plimsoll_config, key: &str, value: &str) -> (plimsoll_status, *mut plimsoll_error) {
    let mut error = null_mut();
    let (key_at, value_at) = (key.as_ptr().cast(), value.as_ptr().cast());
    // SAFETY: a live configuration, and texts of this length.
    let status = unsafe { plimsoll_config_set(config, key_at, key.len(), value_at, value.len(), &mut error) };
    (status, error)
}

struct Rig {
    runtime: *mut plimsoll_runtime,
    model: *mut plimsoll_model,
    session: *mut plimsoll_session,
}

impl Rig {
    fn new() -> Rig {
        // SAFETY: each handle is made once, and freed below or in the rig's drop.
        unsafe {
            let config = made(|out, error| plimsoll_config_new(out, error));
            assert_eq!(setting(config, "memory.budget", "1MiB").0, PLIMSOLL_OK);
            if cfg!(miri) {
                // It would read the machine most of the time.
                assert_eq!(setting(config, "monitor.interval_ms", "0").0, PLIMSOLL_OK);
            }
            let runtime = made(|out, error| plimsoll_runtime_new(config, out, error));
            plimsoll_config_free(config);
            let capabilities = Capabilities {
                name: "parrot".into(),
                context_length: 1_000,
                vocab_size: 3,
                block_tokens: 1,
                kv_region: Region::Host,
                max_sequences: 4,
            };
            let engine = Arc::new(Parrot { capabilities, threads: Mutex::default() });
            let tokenizer = Tokenizer::from_json(TOKENIZER.as_bytes()).unwrap();
            let text = TextSide { tokenizer, template: None, stop_tokens: Arc::default() };
            let model = Box::into_raw(Box::new(plimsoll_model((*runtime).0.model("parrot", engine, text))));
            let session = made(|out, error| plimsoll_session_open(model, null(), out, error));
            Rig { runtime, model, session }
        }
    }

    /// A request for so many tokens, with one alternative each.
    fn request(&self, max_tokens: u32) -> *mut plimsoll_request {
        // SAFETY: a live request, and ids of this count.
        unsafe {
            let request = made(|out, error| plimsoll_request_new(out, error));
            let ids = [0, 1];
            assert_eq!(plimsoll_request_set_tokens(request, ids.as_ptr(), 2, null_mut()), PLIMSOLL_OK);
            assert_eq!(plimsoll_request_set_max_tokens(request, max_tokens, null_mut()), PLIMSOLL_OK);
            assert_eq!(plimsoll_request_set_top_logprobs(request, 1, null_mut()), PLIMSOLL_OK);
            request
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        // SAFETY: live until now, in any order.
        unsafe {
            plimsoll_runtime_free(self.runtime);
            plimsoll_model_unload(self.model);
            plimsoll_session_free(self.session);
        }
    }
}

#[test]
fn handles_are_taken_back_once_and_null_is_fine_everywhere() {
    // SAFETY: NULL everywhere, or handles made here and freed once.
    unsafe {
        plimsoll_config_free(null_mut());
        plimsoll_request_free(null_mut());
        plimsoll_cancel_free(null_mut());
        plimsoll_cancel_raise(null());
        plimsoll_stream_cancel(null());
        plimsoll_stream_free(null_mut());
        plimsoll_ticket_free(null_mut());
        plimsoll_text_free(null_mut());
        plimsoll_error_free(null_mut());
        assert_eq!(plimsoll_text_str(null()).len, 0);
        assert_eq!(plimsoll_session_id(null()), 0);
        assert_eq!(plimsoll_can_allocate(null(), 1, 0.0), 0);
        let (status, text) = refused(|error| plimsoll_config_new(null_mut(), error));
        assert_eq!((status, text.as_str()), (PLIMSOLL_ERR_NULL_POINTER, "out is NULL"));
        let config = made(|out, error| plimsoll_config_new(out, error));
        let (status, error) = setting(config, "memory.budget", "no number");
        assert_eq!(status, PLIMSOLL_ERR_INVALID_CONFIG);
        plimsoll_error_free(error);
        let wrong = [0xff_u8];
        let at = wrong.as_ptr().cast();
        let (status, _) = refused(|error| plimsoll_config_set(config, at, 1, at, 1, error));
        assert_eq!(status, PLIMSOLL_ERR_INVALID_UTF8);
        plimsoll_config_free(config);
        let cancel = made(|out, error| plimsoll_cancel_new(out, error));
        let flag = super::cancel::flag(cancel);
        plimsoll_cancel_raise(cancel);
        plimsoll_cancel_free(cancel);
        assert!(flag.is_cancelled(), "a request keeps its own reference");
        let request = made(|out, error| plimsoll_request_new(out, error));
        let (status, _) = refused(|error| plimsoll_request_set_temperature(request, f32::NAN, error));
        assert_eq!(status, PLIMSOLL_ERR_INVALID_ARGUMENT);
        let (status, _) = refused(|error| plimsoll_request_set_tokens(request, null(), 3, error));
        assert_eq!(status, PLIMSOLL_ERR_NULL_POINTER);
        plimsoll_request_free(request);
    }
}

#[test]
fn not_a_byte_beyond_the_callers_struct_is_written() {
    let rig = Rig::new();
    let whole = size_of::<plimsoll_memory>() / size_of::<u64>();
    for words in 0..whole + 3 {
        // Exactly as long as it says: Miri sees what goes beyond.
        let mut memory = vec![u64::MAX; words.max(1)];
        memory[0] = (words * size_of::<u64>()) as u64;
        let out = memory.as_mut_ptr().cast();
        // SAFETY: the memory is as long as its first member says, or too short to be written.
        let status = unsafe { plimsoll_memory_stats(rig.runtime, out, null_mut()) };
        if words < 2 {
            assert_eq!(status, PLIMSOLL_ERR_INVALID_STRUCT_SIZE);
            continue;
        }
        let written = words.min(whole);
        assert_eq!((status, memory[0]), (PLIMSOLL_OK, (written * size_of::<u64>()) as u64));
        assert_eq!(memory[1], 1 << 20, "the capacity");
        assert!(memory[written..].iter().all(|&word| word == u64::MAX));
    }
    // SAFETY: a live runtime, and a text that is freed once.
    unsafe {
        let text = made(|out, error| plimsoll_memory_stats_json(rig.runtime, out, error));
        assert!(string(plimsoll_text_str(text)).contains("\"active_sessions\":1"));
        plimsoll_text_free(text);
    }
}

#[test]
fn tickets_answers_and_callbacks() {
    unsafe extern "C" fn count(event: *const plimsoll_event, tokens: *mut c_void) -> i32 {
        // SAFETY: the library lends an event, and `tokens` is the number below.
        unsafe {
            let (event, tokens) = (&*event, &mut *tokens.cast::<u32>());
            if event.kind == PLIMSOLL_EVENT_TOKEN {
                assert_eq!((event.token, event.top_count, (*event.top).token), (1, 1, 1));
                *tokens += 1;
            }
        }
        0
    }
    let rig = Rig::new();
    let request = rig.request(5);
    // SAFETY: live handles, structs of the size that they say.
    unsafe {
        let mut verdict: plimsoll_verdict = std::mem::zeroed();
        verdict.struct_size = size_of::<plimsoll_verdict>();
        let ticket = made(|out, error| plimsoll_admit(rig.session, request, &mut verdict, out, error));
        assert_eq!((verdict.decision, verdict.granted_tokens), (PLIMSOLL_DECISION_ACCEPT, 5));
        assert_eq!(string(verdict.reason), "fits");
        let mut tokens = 0_u32;
        let user_data = (&raw mut tokens).cast();
        let mut result: plimsoll_result = std::mem::zeroed();
        result.struct_size = size_of::<plimsoll_result>();
        let run = |ticket, result, error| {
            plimsoll_generate(rig.session, request, ticket, null(), Some(count), user_data, result, error)
        };
        assert_eq!(run(ticket, &mut result, null_mut()), PLIMSOLL_OK);
        assert_eq!((result.generated_tokens, result.ending), (5, PLIMSOLL_ENDING_LENGTH));
        let (status, _) = refused(|error| run(ticket, null_mut(), error));
        assert_eq!(status, PLIMSOLL_ERR_TICKET_CONSUMED);
        plimsoll_ticket_free(ticket);
        assert_eq!(tokens, 5);
        // One that is never used gives its bytes back when it is freed.
        let unused = made(|out, error| plimsoll_admit(rig.session, request, null_mut(), out, error));
        plimsoll_ticket_free(unused);
        plimsoll_request_free(request);
    }
}

/// What several threads have of one stream: it is pulled by one, and cancelled from any.
#[derive(Clone, Copy)]
struct Shared(*mut plimsoll_stream);

// SAFETY: the header allows plimsoll_stream_cancel() from any thread.
unsafe impl Send for Shared {}

#[test]
fn a_stream_is_cancelled_while_another_thread_pulls_it() {
    let rig = Rig::new();
    let request = rig.request(7);
    // SAFETY: live handles; the stream is freed after the other thread has ended.
    unsafe {
        let stream = Shared(made(|out, error| {
            plimsoll_stream_start(rig.session, request, null(), null(), out, error)
        }));
        plimsoll_request_free(request);
        let other = std::thread::spawn(move || {
            let stream = stream;
            std::thread::yield_now();
            plimsoll_stream_cancel(stream.0);
            plimsoll_stream_cancel(stream.0);
        });
        let mut kinds = Vec::new();
        loop {
            let mut event: plimsoll_event = std::mem::zeroed();
            event.struct_size = size_of::<plimsoll_event>();
            assert_eq!(plimsoll_stream_next(stream.0, -1, &mut event, null_mut()), PLIMSOLL_OK);
            kinds.push(event.kind);
            if event.kind == PLIMSOLL_EVENT_END {
                break;
            }
            assert_eq!(event.text.len, string(event.text).len());
        }
        assert!(kinds.len() <= 8, "{kinds:?}");
        let mut result: plimsoll_result = std::mem::zeroed();
        result.struct_size = size_of::<plimsoll_result>();
        assert_eq!(plimsoll_stream_result(stream.0, &mut result, null_mut()), PLIMSOLL_OK);
        assert_eq!(result.ending, PLIMSOLL_ENDING_CANCELLED);
        other.join().unwrap();
        plimsoll_stream_free(stream.0);
        assert_eq!((*rig.runtime).0.memory().request_bytes, 0);
    }
    // A stream that is freed while it runs is cancelled first.
    let endless = rig.request(7);
    // SAFETY: as above.
    unsafe {
        let stream =
            made(|out, error| plimsoll_stream_start(rig.session, endless, null(), null(), out, error));
        plimsoll_stream_free(stream);
        plimsoll_request_free(endless);
    }
}
