//! What the integration tests share: runtimes over a budget, golden models and copies of them to spoil, a clock that a test
//! moves and that can hold a model's thread, and the plainest way to run a request.
#![allow(dead_code, unused_imports, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod clock;
mod folder;
pub mod heap;
pub mod talk;

pub use clock::Gate;
pub use folder::{Scratch, golden, golden_json, model_folder};

use plimsoll::guard::MemoryStats;
use plimsoll::{
    Cancel, Config, Decision, Flow, Input, Message, Model, Outcome, Request, Result, Runtime, Session,
    Verdict,
};
use plimsoll_engine::Reading;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Settings under which results are comparable to the bit: f32 KV, one thread.
pub const EXACT: &[(&str, &str)] = &[("native.kv_type", "f32"), ("native.threads", "1")];

/// A budget in which nothing is ever short.
pub const PLENTY: u64 = 256 << 20;

/// How long a test waits for what happens on another thread.
const PATIENCE: Duration = Duration::from_secs(20);

pub fn config(settings: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    for (key, value) in settings {
        config.set(key, value).unwrap();
    }
    config
}

/// A runtime whose clock the test moves, and which may lease its whole budget, without degrading anyone for it and without
/// losing idle KV to the monitor, however long a test takes.
pub struct Rig {
    pub runtime: Runtime,
    pub clock: Arc<Gate>,
}

impl Rig {
    pub fn new(budget: u64) -> Rig {
        Rig::with(budget, &[])
    }

    pub fn with(budget: u64, settings: &[(&str, &str)]) -> Rig {
        let mut all = config(&[
            ("guard.threshold", "1"),
            ("guard.reserve_mb", "0"),
            ("guard.degrade", "off"),
            ("monitor.cleanup", "off"),
        ]);
        all.set("memory.budget", &budget.to_string()).unwrap();
        for (key, value) in settings {
            all.set(key, value).unwrap();
        }
        let clock = Arc::new(Gate::default());
        let probe = Arc::new(Mutex::new(None::<Reading>));
        let runtime = Runtime::with_environment(&all, probe, clock.clone()).unwrap();
        Rig { runtime, clock }
    }

    /// A golden folder, loaded with [`EXACT`].
    pub fn golden(&self, name: &str) -> Model {
        self.load(&model_folder(name), EXACT).unwrap()
    }

    pub fn load(&self, path: &Path, settings: &[(&str, &str)]) -> Result<Model> {
        self.runtime.load_model("test", path, &config(settings), &|_| true)
    }

    /// Proves the books and waits until they are as they were.
    pub fn assert_back(&self, before: &Books, what: &str) {
        eventually(what, || Books::of(&self.runtime) == *before);
        self.runtime.guard().check_integrity().unwrap_or_else(|error| panic!("{what}: {error}"));
    }
}

/// What the ledger says, without its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Books {
    pub used: u64,
    pub weights: u64,
    pub workspace: u64,
    pub kv: u64,
    pub request: u64,
    pub sessions: u64,
}

impl Books {
    pub fn of(runtime: &Runtime) -> Books {
        let stats = runtime.memory();
        Books {
            used: stats.host().used,
            weights: stats.weights_bytes,
            workspace: stats.workspace_bytes,
            kv: stats.total_kv_bytes,
            request: stats.request_bytes,
            sessions: stats.active_sessions,
        }
    }
}

/// KV bytes that a session holds, by the statistics.
pub fn kv_of(stats: &MemoryStats, session: &Session) -> u64 {
    let found = stats.session_details.iter().find(|details| details.id.0 == session.id());
    found.expect("the session is in the statistics").kv_bytes
}

/// Waits for something that happens on another thread.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}: still not so after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn session(model: &Model) -> Session {
    Session::open(model, &Config::new()).unwrap()
}

/// Ids of ordinary tokens of the golden vocabularies, different for each seed.
pub fn ids(seed: u32, count: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(12_345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % 300
    };
    (0..count).map(|_| next()).collect()
}

/// A greedy request that runs to its last token.
pub fn ask(input: Input, max_tokens: u32) -> Request {
    let mut request = Request::default();
    request.max_tokens = max_tokens;
    request.ignore_eos = true;
    request.set_input(input);
    request
}

/// One user message.
pub fn ask_user(content: &str, max_tokens: u32) -> Request {
    let message = Message::new("user", content);
    ask(Input::Messages(vec![message]), max_tokens)
}

/// The request, to be shrunk to no fewer tokens than these.
pub fn at_least(min_tokens: u32, request: &Request) -> Request {
    let mut request = request.clone();
    request.min_tokens = min_tokens;
    request
}

pub fn ask_tokens(tokens: &[u32], max_tokens: u32) -> Request {
    ask(Input::Tokens(tokens.to_vec()), max_tokens)
}

pub fn ask_text(text: &str, max_tokens: u32) -> Request {
    ask(Input::Text(text.into()), max_tokens)
}

/// An answer with the ids of its tokens.
#[derive(Debug)]
pub struct Answer {
    pub ids: Vec<u32>,
    pub outcome: Outcome,
}

/// Runs a request and reads all of it.
pub fn run(session: &Session, request: &Request) -> Answer {
    run_until(session, request, &Cancel::new(), |_| Flow::Continue)
}

/// Runs a request; `after` sees the number of tokens read so far. The pieces must make up the text.
pub fn run_until(
    session: &Session,
    request: &Request,
    cancel: &Cancel,
    mut after: impl FnMut(usize) -> Flow,
) -> Answer {
    let (mut ids, mut text) = (Vec::new(), String::new());
    let outcome = session
        .generate(request, None, cancel, |event| {
            ids.extend(event.token.map(|token| token.id));
            text.push_str(event.text);
            after(ids.len())
        })
        .unwrap();
    assert_eq!(text, outcome.text, "the events make up the answer");
    assert_eq!(ids.len() as u32, outcome.generated_tokens);
    Answer { ids, outcome }
}

/// One KV block of the golden llama in f32: 16 tokens.
pub const BLOCK: u64 = 8192;
/// What an open session takes before anything is said.
pub const SESSION: u64 = 1024;

/// Admits what a what-if promised, and drops the ticket.
pub fn agrees(open: &Session, request: &Request) -> Verdict {
    let promised = open.what_if(request).unwrap();
    let (verdict, ticket) = open.admit(request).unwrap();
    assert_eq!(verdict, promised);
    assert_eq!(ticket.is_some(), verdict.decision != Decision::Reject);
    assert!(ticket.is_none_or(|ticket| *ticket.verdict() == verdict));
    verdict
}
