//! What is done while allocations are refused: calls of the C ABI, as a host makes them.

use crate::inject::{inside, outside};
use plimsoll::capi::*;
use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};

/// A call, or a few, and what must be there before.
pub struct Scene {
    pub name: &'static str,
    needs: Needs,
    act: fn(&mut World) -> plimsoll_status,
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Needs {
    Nothing,
    Runtime,
    Model,
    Session,
    /// A session whose conversation has had a turn.
    Turn,
}

pub const SCENES: &[Scene] = &[
    Scene { name: "runtime", needs: Needs::Nothing, act: World::make_runtime },
    Scene { name: "load-gguf", needs: Needs::Runtime, act: |world| world.load(GGUF) },
    Scene { name: "load-safetensors", needs: Needs::Runtime, act: |world| world.load(FOLDER) },
    Scene { name: "unload", needs: Needs::Model, act: World::unload },
    Scene { name: "tokenize", needs: Needs::Model, act: World::tokenize },
    Scene { name: "template", needs: Needs::Model, act: World::render },
    Scene { name: "session", needs: Needs::Model, act: World::open },
    Scene { name: "request", needs: Needs::Model, act: World::ask },
    Scene { name: "admit", needs: Needs::Session, act: World::admit },
    Scene { name: "generate", needs: Needs::Session, act: |world| world.generate(i32::MAX) },
    Scene { name: "second-turn", needs: Needs::Turn, act: |world| world.generate(i32::MAX) },
    Scene { name: "stop", needs: Needs::Session, act: |world| world.generate(2) },
    Scene { name: "stream", needs: Needs::Session, act: |world| world.stream(false) },
    Scene { name: "cancel", needs: Needs::Session, act: |world| world.stream(true) },
    Scene { name: "evict", needs: Needs::Turn, act: World::evict },
    Scene { name: "close", needs: Needs::Turn, act: World::close },
    Scene { name: "statistics", needs: Needs::Turn, act: World::statistics },
];

const GGUF: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/demo-q8_0.gguf");
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/models/llama3-newconfig");
/// The model of the scenes that load none: another one, so that loading shares nothing with it.
const BASE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/models/qwen2");

/// Makes a fallible call, inside, and frees its error. Returns the status.
macro_rules! call {
    ($call:ident($($argument:expr),* $(,)?)) => {{
        let mut error = null_mut();
        // SAFETY: handles are alive or NULL, texts and outputs are borrowed for the call.
        let status = inside(|| unsafe { $call($($argument,)* &mut error) });
        judge(status, error);
        status
    }};
}

/// The same, in a function that gives the first status that is not OK.
macro_rules! must {
    ($($call:tt)*) => {{
        let status = call!($($call)*);
        if status != PLIMSOLL_OK {
            return status;
        }
    }};
}

fn judge(status: plimsoll_status, error: *mut plimsoll_error) {
    // SAFETY: an error of the call that was just made, or NULL; freed here alone.
    inside(|| unsafe {
        if status != PLIMSOLL_OK {
            assert_eq!(plimsoll_error_code(error), status);
            assert!(plimsoll_error_message(error).len > 0);
        }
        plimsoll_error_free(error);
    });
}

fn chars(text: &str) -> *const c_char {
    text.as_ptr().cast()
}

/// All handles of a scene; NULL where there is none.
pub struct World {
    runtime: *mut plimsoll_runtime,
    /// Serves the scenes, and the small requests that show whether the runtime is well.
    model: *mut plimsoll_model,
    session: *mut plimsoll_session,
    request: *mut plimsoll_request,
    // What an act makes.
    made_runtime: *mut plimsoll_runtime,
    made_config: *mut plimsoll_config,
    made_model: *mut plimsoll_model,
    made_session: *mut plimsoll_session,
    made_request: *mut plimsoll_request,
    ticket: *mut plimsoll_ticket,
    stream: *mut plimsoll_stream,
    text: *mut plimsoll_text,
}

unsafe extern "C" fn on_event(event: *const plimsoll_event, left: *mut c_void) -> i32 {
    outside(|| {
        // SAFETY: the library passes an event, and `left` is the number that the call was given.
        let (event, left) = unsafe { (&*event, &mut *left.cast::<i32>()) };
        assert!([PLIMSOLL_EVENT_TOKEN, PLIMSOLL_EVENT_TEXT].contains(&event.kind));
        *left -= 1;
        i32::from(*left <= 0)
    })
}

extern "C" fn on_log(_: i32, _: plimsoll_str, text: plimsoll_str, _: *mut c_void) {
    assert!(text.len < 1 << 20);
}

impl World {
    pub fn new(scene: &Scene) -> World {
        let mut world = World {
            runtime: null_mut(),
            model: null_mut(),
            session: null_mut(),
            request: null_mut(),
            made_runtime: null_mut(),
            made_config: null_mut(),
            made_model: null_mut(),
            made_session: null_mut(),
            made_request: null_mut(),
            ticket: null_mut(),
            stream: null_mut(),
            text: null_mut(),
        };
        let status = call!(plimsoll_log_set(Some(on_log), PLIMSOLL_LOG_TRACE, null_mut(), None));
        assert_eq!(status, PLIMSOLL_OK);
        world.prepare(scene);
        world
    }

    /// Makes what the scene needs and is not there.
    pub fn prepare(&mut self, scene: &Scene) {
        if scene.needs >= Needs::Runtime {
            self.need_runtime();
        }
        if scene.needs >= Needs::Model {
            self.need_model();
        }
        if scene.needs >= Needs::Session && self.session.is_null() {
            self.session = self.opened();
            self.request = self.asked();
        }
        if scene.needs >= Needs::Turn {
            assert_eq!(self.generate(i32::MAX), PLIMSOLL_OK);
        }
    }

    pub fn act(&mut self, scene: &Scene) -> plimsoll_status {
        (scene.act)(self)
    }

    /// Frees what an act makes, and the conversation that it used.
    pub fn undo(&mut self, _: &Scene) {
        // SAFETY: each handle is NULL or alive, and forgotten here.
        unsafe {
            plimsoll_stream_free(std::mem::replace(&mut self.stream, null_mut()));
            plimsoll_ticket_free(std::mem::replace(&mut self.ticket, null_mut()));
            plimsoll_text_free(std::mem::replace(&mut self.text, null_mut()));
            plimsoll_request_free(std::mem::replace(&mut self.made_request, null_mut()));
            plimsoll_session_free(std::mem::replace(&mut self.made_session, null_mut()));
            plimsoll_session_free(std::mem::replace(&mut self.session, null_mut()));
            plimsoll_request_free(std::mem::replace(&mut self.request, null_mut()));
            plimsoll_model_unload(std::mem::replace(&mut self.made_model, null_mut()));
            plimsoll_runtime_free(std::mem::replace(&mut self.made_runtime, null_mut()));
            plimsoll_config_free(std::mem::replace(&mut self.made_config, null_mut()));
        }
    }

    /// Whether the runtime still answers, with its books in order.
    pub fn serves_a_small_request(&mut self) -> bool {
        self.need_runtime();
        self.need_model();
        let (session, request) = (self.opened(), self.asked());
        let well = call!(plimsoll_request_set_max_tokens(request, 2)) == PLIMSOLL_OK
            && self.run(session, request, i32::MAX) == PLIMSOLL_OK;
        // SAFETY: made above, used no more.
        unsafe {
            plimsoll_request_free(request);
            plimsoll_session_free(session);
        }
        // The engine's thread may still be busy with the last of it.
        let mut status = PLIMSOLL_ERR_BUSY;
        for _ in 0..1000 {
            status = call!(plimsoll_model_check_integrity(self.model));
            if status != PLIMSOLL_ERR_BUSY {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        well && status == PLIMSOLL_OK
    }

    /// Its monitor sleeps: what that allocates would come now in this scene and now in that one.
    fn need_runtime(&mut self) {
        if !self.runtime.is_null() {
            return;
        }
        let mut config = null_mut();
        let (key, value) = ("monitor.interval_ms", "0");
        assert_eq!(call!(plimsoll_config_new(&mut config)), PLIMSOLL_OK);
        let set = call!(plimsoll_config_set(config, chars(key), key.len(), chars(value), value.len()));
        assert_eq!(set, PLIMSOLL_OK);
        assert_eq!(call!(plimsoll_runtime_new(config, &mut self.runtime)), PLIMSOLL_OK);
        // SAFETY: alive, and forgotten here.
        inside(|| unsafe { plimsoll_config_free(config) });
    }

    fn need_model(&mut self) {
        if self.model.is_null() {
            let (runtime, mut model) = (self.runtime, null_mut());
            assert_eq!(load_from(runtime, BASE, null(), &mut model), PLIMSOLL_OK);
            self.model = model;
        }
    }

    fn opened(&self) -> *mut plimsoll_session {
        let mut session = null_mut();
        assert_eq!(call!(plimsoll_session_open(self.model, null(), &mut session)), PLIMSOLL_OK);
        session
    }

    fn asked(&self) -> *mut plimsoll_request {
        let mut request = null_mut();
        assert_eq!(fill(&mut request), PLIMSOLL_OK);
        request
    }

    fn make_runtime(&mut self) -> plimsoll_status {
        must!(plimsoll_config_new(&mut self.made_config));
        let (key, value) = ("memory.budget", "64MiB");
        must!(plimsoll_config_set(self.made_config, chars(key), key.len(), chars(value), value.len()));
        call!(plimsoll_runtime_new(self.made_config, &mut self.made_runtime))
    }

    fn load(&mut self, path: &str) -> plimsoll_status {
        load_from(self.runtime, path, null(), &mut self.made_model)
    }

    fn unload(&mut self) -> plimsoll_status {
        // SAFETY: alive, and forgotten here.
        inside(|| unsafe { plimsoll_model_unload(std::mem::replace(&mut self.model, null_mut())) });
        PLIMSOLL_OK
    }

    fn tokenize(&mut self) -> plimsoll_status {
        let text = "The load line of a ship says how deep it may lie.";
        let (mut ids, mut count) = ([0_u32; 256], 0);
        call!(plimsoll_model_tokenize(
            self.model,
            chars(text),
            text.len(),
            ids.as_mut_ptr(),
            ids.len(),
            &mut count
        ))
    }

    fn render(&mut self) -> plimsoll_status {
        let lend = |text: &'static str| plimsoll_str { ptr: chars(text), len: text.len() };
        let messages =
            ["system", "user"].map(|role| plimsoll_message { role: lend(role), content: lend("Be brief.") });
        call!(plimsoll_model_render(self.model, messages.as_ptr(), messages.len(), &mut self.text))
    }

    fn open(&mut self) -> plimsoll_status {
        call!(plimsoll_session_open(self.model, null(), &mut self.made_session))
    }

    fn ask(&mut self) -> plimsoll_status {
        fill(&mut self.made_request)
    }

    fn admit(&mut self) -> plimsoll_status {
        // SAFETY: a struct of numbers, for which zeros are valid.
        let mut verdict: plimsoll_verdict = unsafe { std::mem::zeroed() };
        verdict.struct_size = size_of::<plimsoll_verdict>();
        must!(plimsoll_admit(self.session, self.request, &mut verdict, null_mut()));
        call!(plimsoll_admit(self.session, self.request, &mut verdict, &mut self.ticket))
    }

    fn generate(&mut self, events: i32) -> plimsoll_status {
        self.run(self.session, self.request, events)
    }

    fn run(
        &self,
        session: *const plimsoll_session,
        request: *const plimsoll_request,
        mut events: i32,
    ) -> plimsoll_status {
        // SAFETY: a struct of numbers, for which zeros are valid.
        let mut result: plimsoll_result = unsafe { std::mem::zeroed() };
        result.struct_size = size_of::<plimsoll_result>();
        let left = (&raw mut events).cast();
        call!(plimsoll_generate(session, request, null(), null(), Some(on_event), left, &mut result))
    }

    fn stream(&mut self, cancelled: bool) -> plimsoll_status {
        must!(plimsoll_stream_start(self.session, self.request, null(), null(), &mut self.stream));
        loop {
            // SAFETY: plain numbers and borrowed pointers, for which zeros are valid.
            let mut event: plimsoll_event = unsafe { std::mem::zeroed() };
            event.struct_size = size_of::<plimsoll_event>();
            must!(plimsoll_stream_next(self.stream, -1, &mut event));
            if event.kind == PLIMSOLL_EVENT_END {
                break;
            }
            if cancelled {
                // SAFETY: alive.
                inside(|| unsafe { plimsoll_stream_cancel(self.stream) });
            }
        }
        // SAFETY: alive, and forgotten here.
        inside(|| unsafe { plimsoll_stream_free(std::mem::replace(&mut self.stream, null_mut())) });
        PLIMSOLL_OK
    }

    fn evict(&mut self) -> plimsoll_status {
        let mut freed = 0;
        must!(plimsoll_session_evict(self.session, &mut freed));
        call!(plimsoll_session_reset(self.session))
    }

    fn close(&mut self) -> plimsoll_status {
        // SAFETY: alive, and forgotten here.
        inside(|| unsafe { plimsoll_session_free(std::mem::replace(&mut self.session, null_mut())) });
        PLIMSOLL_OK
    }

    fn statistics(&mut self) -> plimsoll_status {
        // SAFETY: a struct of numbers, for which zeros are valid.
        let mut memory: plimsoll_memory = unsafe { std::mem::zeroed() };
        memory.struct_size = size_of::<plimsoll_memory>();
        must!(plimsoll_memory_stats(self.runtime, &mut memory));
        must!(plimsoll_model_check_integrity(self.model));
        call!(plimsoll_memory_stats_json(self.runtime, &mut self.text))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.undo(&SCENES[0]);
        // SAFETY: alive or NULL, and dropped with this.
        unsafe {
            plimsoll_model_unload(self.model);
            plimsoll_runtime_free(self.runtime);
        }
    }
}

fn fill(out: &mut *mut plimsoll_request) -> plimsoll_status {
    let (role, content) = ("user", "What is a lease?");
    must!(plimsoll_request_new(out));
    let request = *out;
    must!(plimsoll_request_add_message(request, chars(role), role.len(), chars(content), content.len()));
    must!(plimsoll_request_set_ignore_eos(request, 1));
    must!(plimsoll_request_set_top_logprobs(request, 2));
    must!(plimsoll_request_set_repetition_penalty(request, 1.1));
    must!(plimsoll_request_add_stop(request, chars("<never>"), 7));
    call!(plimsoll_request_set_max_tokens(request, 6))
}

fn load_from(
    runtime: *const plimsoll_runtime,
    path: &str,
    config: *const plimsoll_config,
    out: &mut *mut plimsoll_model,
) -> plimsoll_status {
    let name = "model";
    call!(plimsoll_model_load(
        runtime,
        chars(name),
        name.len(),
        chars(path),
        path.len(),
        config,
        None,
        null_mut(),
        out
    ))
}
