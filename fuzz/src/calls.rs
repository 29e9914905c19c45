//! Sequences of C calls: each byte chooses a call, the next ones its arguments. Handles live in a table of slots, so a
//! sequence may free them in any order, pass NULL, call with sizes and numbers of no sense, and go on after each error.

use super::input::Input;
use super::slots::{SLOTS, Slots};
use plimsoll::capi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The most calls of a sequence.
const CALLS: usize = 200;
/// What the runtime may lease; a tiny model needs less.
const BUDGET: &str = "48MiB";

/// Makes a call that takes an error out, and judges what it says.
macro_rules! judged {
    ($call:ident($($argument:expr),* $(,)?)) => {{
        let mut error = null_mut();
        // SAFETY: handles come from the slots, alive or NULL; texts and outputs are borrowed for the call.
        let status = unsafe { $call($($argument,)* &mut error) };
        judge(status, error);
        status
    }};
}

unsafe extern "C" fn on_event(event: *const plimsoll_event, left: *mut c_void) -> i32 {
    // SAFETY: the library passes an event, and `left` is the counter of the sequence's call.
    let (event, left) = unsafe { (&*event, &mut *left.cast::<u32>()) };
    assert!(event.kind >= PLIMSOLL_EVENT_TOKEN && event.kind <= PLIMSOLL_EVENT_END);
    *left = left.saturating_sub(1);
    i32::from(*left == 0)
}

/// Reads an error as a host would, and frees it.
fn judge(status: plimsoll_status, error: *mut plimsoll_error) {
    // SAFETY: `error` is NULL or an error that the last call made, freed here and nowhere else.
    unsafe {
        if status == PLIMSOLL_OK {
            assert!(error.is_null(), "a call that succeeded made an error");
        } else {
            assert!(status != PLIMSOLL_ERR_INTERNAL, "{}", message(error));
            if !error.is_null() {
                assert_eq!(plimsoll_error_code(error), status);
                assert!(!message(error).is_empty());
            }
        }
        plimsoll_error_free(error);
    }
}

fn message(error: *const plimsoll_error) -> String {
    // SAFETY: the text lives as long as the error, which the caller holds.
    unsafe {
        let text = plimsoll_error_message(error);
        String::from_utf8_lossy(std::slice::from_raw_parts(text.ptr.cast(), text.len)).into_owned()
    }
}

/// A path to the model that the sequences run.
fn model_path() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        let root = option_env!("CARGO_MANIFEST_DIR").unwrap_or(".");
        let near = format!("{root}/tests/golden/models/llama3-newconfig");
        if std::path::Path::new(&near).exists() {
            near
        } else {
            format!("{root}/../tests/golden/models/llama3-newconfig")
        }
    })
}

/// A sequence of calls. Every status is one of the header's, no call panics, and at the end the ledger is as it was.
pub fn calls(bytes: &[u8]) {
    let mut world = World::new();
    let empty = world.leased();
    let mut input = Input(bytes);
    for _ in 0..CALLS {
        if input.0.is_empty() {
            break;
        }
        world.call(&mut input);
    }
    world.clear();
    // What runs is cancelled by its free, and gives its bytes back on the engine's thread.
    let deadline = Instant::now() + Duration::from_secs(10);
    while world.leased() != empty {
        assert!(Instant::now() < deadline, "{} bytes are leased, {empty} before", world.leased());
        std::thread::yield_now();
    }
}

struct World {
    // Children before their parents: freed in the order of their declaration at the latest.
    streams: Slots<plimsoll_stream>,
    tickets: Slots<plimsoll_ticket>,
    requests: Slots<plimsoll_request>,
    sessions: Slots<plimsoll_session>,
    cancels: Slots<plimsoll_cancel>,
    configs: Slots<plimsoll_config>,
    models: Slots<plimsoll_model>,
    runtime: *mut plimsoll_runtime,
}

/// A runtime with its model, made once: the sequences open theirs beside it and share its weights.
struct Base {
    runtime: *mut plimsoll_runtime,
    /// Kept as long as the process lives, where the leak checker sees it.
    _model: *mut plimsoll_model,
}

// SAFETY: the header allows any thread to use a runtime.
unsafe impl Send for Base {}
// SAFETY: and several at once.
unsafe impl Sync for Base {}

fn runtime() -> *mut plimsoll_runtime {
    static BASE: OnceLock<Base> = OnceLock::new();
    let made = BASE.get_or_init(|| {
        let (mut config, mut runtime, mut model) = (null_mut(), null_mut(), null_mut());
        let set = |config, key: &str, value: &str| {
            let (key, key_len) = (key.as_ptr().cast(), key.len());
            let status =
                judged!(plimsoll_config_set(config, key, key_len, value.as_ptr().cast(), value.len()));
            assert_eq!(status, PLIMSOLL_OK);
        };
        assert_eq!(judged!(plimsoll_config_new(&mut config)), PLIMSOLL_OK);
        set(config, "memory.budget", BUDGET);
        assert_eq!(judged!(plimsoll_runtime_new(config, &mut runtime)), PLIMSOLL_OK);
        let path = model_path();
        let (name, path, len) = ("base", path.as_ptr().cast(), path.len());
        let (name, name_len) = (name.as_ptr().cast(), name.len());
        let status = judged!(plimsoll_model_load(
            runtime,
            name,
            name_len,
            path,
            len,
            null(),
            None,
            null_mut(),
            &mut model
        ));
        assert_eq!(status, PLIMSOLL_OK);
        // SAFETY: made above, and used no more.
        unsafe { plimsoll_config_free(config) };
        Base { runtime, _model: model }
    });
    made.runtime
}

impl World {
    fn new() -> World {
        World {
            streams: Slots::new(plimsoll_stream_free),
            tickets: Slots::new(plimsoll_ticket_free),
            requests: Slots::new(plimsoll_request_free),
            sessions: Slots::new(plimsoll_session_free),
            cancels: Slots::new(plimsoll_cancel_free),
            configs: Slots::new(plimsoll_config_free),
            models: Slots::new(plimsoll_model_unload),
            runtime: runtime(),
        }
    }

    fn leased(&self) -> u64 {
        // SAFETY: all zeros are a valid value of this struct of numbers.
        let mut memory: plimsoll_memory = unsafe { std::mem::zeroed() };
        memory.struct_size = size_of::<plimsoll_memory>();
        assert_eq!(judged!(plimsoll_memory_stats(self.runtime, &mut memory)), PLIMSOLL_OK);
        memory.used_bytes
    }

    fn clear(&mut self) {
        for slot in 0..SLOTS {
            self.models.release(slot);
            self.sessions.release(slot);
            self.streams.release(slot);
            self.tickets.release(slot);
            self.requests.release(slot);
            self.cancels.release(slot);
            self.configs.release(slot);
        }
    }

    fn call(&mut self, input: &mut Input<'_>) {
        match input.byte() % 25 {
            0 => self.load(input),
            1 | 2 => {
                let (model, config) = (self.models.get(input), self.configs.get(input));
                self.sessions.fill(input, |_, out| {
                    judged!(plimsoll_session_open(model, config, out));
                });
            }
            3 => self.requests.fill(input, |_, out| {
                judged!(plimsoll_request_new(out));
            }),
            4 => self.cancels.fill(input, |_, out| {
                judged!(plimsoll_cancel_new(out));
            }),
            5 => self.configs.fill(input, |_, out| {
                judged!(plimsoll_config_new(out));
            }),
            6 => {
                let (config, (key, key_len), (value, value_len)) =
                    (self.configs.get(input), input.text(), input.text());
                judged!(plimsoll_config_set(config, key, key_len, value, value_len));
            }
            7 | 8 => self.add(input),
            9 | 10 => self.set(input),
            11 | 12 => self.generate(input),
            13 => self.admit(input),
            14 | 15 => self.start(input),
            16 => self.next(input),
            // SAFETY: handles come from the slots, alive or NULL.
            17 => unsafe {
                plimsoll_cancel_raise(self.cancels.get(input));
                plimsoll_stream_cancel(self.streams.get(input));
            },
            18 => {
                judged!(plimsoll_session_reset(self.sessions.get(input)));
            }
            19 => {
                let mut freed = 0;
                judged!(plimsoll_session_evict(self.sessions.get(input), &mut freed));
            }
            20 => self.inspect(input),
            21 => self.tokenize(input),
            22 => self.render(input),
            24 => self.another_runtime(input),
            _ => {
                let slot = usize::from(input.byte()) % SLOTS;
                match input.byte() % 6 {
                    0 => self.models.release(slot),
                    1 => self.sessions.release(slot),
                    2 => self.requests.release(slot),
                    3 => self.tickets.release(slot),
                    4 => self.cancels.release(slot),
                    _ => self.streams.release(slot),
                }
            }
        }
    }

    fn load(&mut self, input: &mut Input<'_>) {
        let config = self.configs.get(input);
        let (runtime, path) = (self.runtime, model_path());
        self.models.fill(input, |input, out| {
            let (name, name_len) = input.text();
            let (path, len) = match input.byte() {
                0 => input.text(),
                _ => (path.as_ptr().cast(), path.len()),
            };
            judged!(plimsoll_model_load(runtime, name, name_len, path, len, config, None, null_mut(), out));
        });
    }

    /// A runtime of the sequence's own, which outlives its handle when a model of it does.
    fn another_runtime(&mut self, input: &mut Input<'_>) {
        let (config, mut other) = (self.configs.get(input), null_mut());
        judged!(plimsoll_runtime_new(config, &mut other));
        // SAFETY: NULL or made above, and used no more.
        unsafe { plimsoll_runtime_free(other) };
    }

    fn add(&mut self, input: &mut Input<'_>) {
        const ROLES: [&str; 4] = ["user", "system", "assistant", "nobody"];
        let request = self.requests.get(input);
        match input.byte() % 6 {
            0..=2 => {
                let role = ROLES[usize::from(input.byte()) % ROLES.len()];
                let (content, len) = input.text();
                judged!(plimsoll_request_add_message(
                    request,
                    role.as_ptr().cast(),
                    role.len(),
                    content,
                    len
                ));
            }
            3 => {
                let (content, len) = input.text();
                judged!(plimsoll_request_set_text(request, content, len));
            }
            4 => {
                let tokens: Vec<u32> = (0..input.byte() % 16).map(|_| input.number() as u32).collect();
                judged!(plimsoll_request_set_tokens(request, tokens.as_ptr(), tokens.len()));
            }
            _ => {
                let (content, len) = input.text();
                judged!(plimsoll_request_add_stop(request, content, len));
            }
        }
    }

    fn set(&mut self, input: &mut Input<'_>) {
        let request = self.requests.get(input);
        match input.byte() % 14 {
            0 => judged!(plimsoll_request_set_max_tokens(request, input.number() as u32)),
            1 => judged!(plimsoll_request_set_min_tokens(request, input.number() as u32)),
            2 => judged!(plimsoll_request_set_temperature(request, input.float())),
            3 => judged!(plimsoll_request_set_top_k(request, input.number() as u32)),
            4 => judged!(plimsoll_request_set_top_p(request, input.float())),
            5 => judged!(plimsoll_request_set_min_p(request, input.float())),
            6 => judged!(plimsoll_request_set_repetition_penalty(request, input.float())),
            7 => judged!(plimsoll_request_set_presence_penalty(request, input.float())),
            8 => judged!(plimsoll_request_set_frequency_penalty(request, input.float())),
            9 => judged!(plimsoll_request_set_seed(request, input.number())),
            10 => judged!(plimsoll_request_set_top_logprobs(request, input.number() as u32)),
            11 => judged!(plimsoll_request_set_ignore_eos(request, input.number() as i32)),
            12 => judged!(plimsoll_request_set_deadline_ms(request, input.number())),
            _ => judged!(plimsoll_request_clear(request)),
        };
    }

    fn generate(&mut self, input: &mut Input<'_>) {
        let (session, request) = (self.sessions.get(input), self.requests.get(input));
        let (ticket, cancel) = (self.tickets.get(input), self.cancels.get(input));
        // SAFETY: all zeros are a valid value of this struct of numbers.
        let mut result: plimsoll_result = unsafe { std::mem::zeroed() };
        result.struct_size = size(input, size_of::<plimsoll_result>());
        // Bounds the time of a sequence.
        let mut left = u32::from(input.byte() % 32) + 1;
        let user_data = std::ptr::from_mut(&mut left).cast();
        judged!(plimsoll_generate(session, request, ticket, cancel, Some(on_event), user_data, &mut result));
    }

    fn admit(&mut self, input: &mut Input<'_>) {
        let (session, request) = (self.sessions.get(input), self.requests.get(input));
        // SAFETY: all zeros are a valid value of this struct: numbers, and a text of NULL and 0.
        let mut verdict: plimsoll_verdict = unsafe { std::mem::zeroed() };
        verdict.struct_size = size(input, size_of::<plimsoll_verdict>());
        if input.byte().is_multiple_of(4) {
            judged!(plimsoll_admit(session, request, &mut verdict, null_mut()));
            let mut text = null_mut();
            judged!(plimsoll_what_if_json(session, request, &mut text));
            // SAFETY: NULL or made above.
            unsafe { plimsoll_text_free(text) };
        } else {
            self.tickets.fill(input, |_, out| {
                judged!(plimsoll_admit(session, request, &mut verdict, out));
            });
        }
    }

    fn start(&mut self, input: &mut Input<'_>) {
        let (session, request) = (self.sessions.get(input), self.requests.get(input));
        let (ticket, cancel) = (self.tickets.get(input), self.cancels.get(input));
        self.streams.fill(input, |_, out| {
            judged!(plimsoll_stream_start(session, request, ticket, cancel, out));
        });
    }

    fn next(&mut self, input: &mut Input<'_>) {
        let stream = self.streams.get(input);
        // SAFETY: all zeros are a valid value of this struct: numbers, NULL, and a text of NULL and 0.
        let mut event: plimsoll_event = unsafe { std::mem::zeroed() };
        event.struct_size = size(input, size_of::<plimsoll_event>());
        judged!(plimsoll_stream_next(stream, i64::from(input.byte() % 8) - 1, &mut event));
    }

    fn inspect(&mut self, input: &mut Input<'_>) {
        let (model, session) = (self.models.get(input), self.sessions.get(input));
        // SAFETY: all zeros are a valid value of this struct: numbers, and a text of NULL and 0.
        let mut facts: plimsoll_model_facts = unsafe { std::mem::zeroed() };
        facts.struct_size = size(input, size_of::<plimsoll_model_facts>());
        judged!(plimsoll_model_get_facts(model, &mut facts));
        judged!(plimsoll_model_check_integrity(model));
        let mut json = null_mut();
        judged!(plimsoll_memory_stats_json(self.runtime, &mut json));
        // SAFETY: handles come from the slots, alive or NULL; the text was made above.
        unsafe {
            let text = plimsoll_text_str(json);
            assert!(text.len > 2);
            plimsoll_text_free(json);
            let _ = plimsoll_session_id(session);
            let _ = plimsoll_session_kv_bytes(session);
            let _ = plimsoll_model_token_bytes(model, input.number() as u32);
            let _ = plimsoll_can_allocate(self.runtime, input.number(), f64::from(input.float()));
            let _ = plimsoll_is_low_memory(self.runtime, f64::from(input.float()));
        }
    }

    fn tokenize(&mut self, input: &mut Input<'_>) {
        let (model, (content, len)) = (self.models.get(input), input.text());
        let mut tokens = [0_u32; 16];
        let (capacity, mut count) = (usize::from(input.byte() % 17), 0);
        judged!(plimsoll_model_tokenize(model, content, len, tokens.as_mut_ptr(), capacity, &mut count));
    }

    fn render(&mut self, input: &mut Input<'_>) {
        let model = self.models.get(input);
        let messages: Vec<plimsoll_message> = (0..input.byte() % 4)
            .map(|_| {
                let ((role, role_len), (content, content_len)) = (input.text(), input.text());
                let (role, content) = (
                    plimsoll_str { ptr: role, len: role_len },
                    plimsoll_str { ptr: content, len: content_len },
                );
                plimsoll_message { role, content }
            })
            .collect();
        let mut text = null_mut();
        judged!(plimsoll_model_render(model, messages.as_ptr(), messages.len(), &mut text));
        // SAFETY: NULL or made above.
        unsafe { plimsoll_text_free(text) };
    }
}

/// A struct's own size mostly, sometimes one of no sense that is not larger.
fn size(input: &mut Input<'_>, own: usize) -> usize {
    match input.byte() {
        0 => 0,
        odd @ 1..=15 => usize::from(odd).min(own),
        _ => own,
    }
}
