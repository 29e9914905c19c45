//! What the native engine's tests share: books to lease from, golden fixtures, and a way to run requests.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use plimsoll_candle::{
    BackendKind, Environment, Evaluator, KvDtype, LoadError, LoadPlan, NativeEngine, Options, Progress,
};
use plimsoll_engine::{
    Accounts, Cancel, Engine, Finish, Job, Lease, ModelId, Next, Owner, Region, Request, RequestId, Ring,
    Sampling, SessionKey, Shape, TokenEvent, TopLogprob,
};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub const BACKENDS: [BackendKind; 2] = [BackendKind::Cpu, BackendKind::Candle];

/// A ledger without limits that knows what each owner holds.
#[derive(Default)]
pub struct Books(Mutex<HashMap<Owner, u64>>);

impl Accounts for Books {
    fn release(&self, _: Region, owner: Owner, bytes: u64) {
        let mut held = self.0.lock().unwrap();
        let entry = held.get_mut(&owner).expect("a release for an owner that holds nothing");
        *entry = entry.checked_sub(bytes).expect("a release of more than is held");
    }
}

impl Books {
    pub fn lease(self: &Arc<Self>, owner: Owner, bytes: u64) -> Lease {
        *self.0.lock().unwrap().entry(owner).or_default() += bytes;
        Lease::issue(self.clone(), Region::Host, owner, bytes)
    }

    pub fn held(&self, owner: Owner) -> u64 {
        self.0.lock().unwrap().get(&owner).copied().unwrap_or(0)
    }

    pub fn total(&self) -> u64 {
        self.0.lock().unwrap().values().sum()
    }
}

pub const WEIGHTS: Owner = Owner::Weights(ModelId(1));
pub const WORKSPACE: Owner = Owner::Workspace(ModelId(1));

pub fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden")
}

/// Two threads, f32 KV: what parity is measured with.
pub fn exact(backend: BackendKind) -> Options {
    Options { backend, kv_dtype: KvDtype::F32, threads: 2, max_step_tokens: 64, ..Options::default() }
}

pub fn onward(_: Progress) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// An engine and the books its leases come from.
pub struct Bench {
    pub books: Arc<Books>,
    pub engine: Arc<NativeEngine>,
    ids: AtomicU64,
}

/// What a request gave.
#[derive(Debug)]
pub struct Answer {
    pub tokens: Vec<TokenEvent>,
    pub tops: Vec<Vec<TopLogprob>>,
    pub finish: Finish,
}

impl Answer {
    pub fn ids(&self) -> Vec<u32> {
        self.tokens.iter().map(|token| token.id).collect()
    }
}

/// A request still running.
pub struct Running {
    pub ring: Arc<Ring>,
    pub cancel: Cancel,
    pub id: RequestId,
}

impl Running {
    pub fn wait(&self) -> Answer {
        let (mut tokens, mut all, mut tops) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            match self.ring.next(Some(std::time::Duration::from_secs(60)), &mut tops) {
                Next::Token(token) => {
                    tokens.push(token);
                    all.push(tops.clone());
                }
                Next::Finished(finish) => return Answer { tokens, tops: all, finish },
                Next::TimedOut => panic!("no token came in a minute"),
            }
        }
    }
}

/// A greedy request that keeps nothing.
pub fn request(session: u64, tokens: &[u32], max_tokens: u32) -> Request {
    Request {
        id: RequestId(0),
        session: SessionKey(session),
        tokens: tokens.to_vec(),
        shared_prefix: 0,
        max_tokens,
        sampling: Sampling { top_logprobs: 3, ..Sampling::default() },
        stop_tokens: Arc::from([]),
        deadline: None,
        keep_kv: false,
        beside: None,
    }
}

pub fn shape_of(request: &Request) -> Shape {
    Shape {
        prompt_tokens: request.tokens.len() as u32,
        max_tokens: request.max_tokens,
        top_logprobs: request.sampling.top_logprobs,
        penalties: request.sampling.penalises(),
    }
}

impl Bench {
    pub fn try_load(path: &Path, options: Options) -> Result<Bench, LoadError> {
        let plan = LoadPlan::inspect(path, options)?;
        let books = Arc::new(Books::default());
        let weights = books.lease(WEIGHTS, plan.weights_bytes());
        let workspace = books.lease(WORKSPACE, plan.workspace_bytes());
        let engine = plan.load(weights, workspace, &Environment::default(), &onward)?;
        Ok(Bench { books, engine, ids: AtomicU64::new(0) })
    }

    pub fn load(model: &str, options: Options) -> Bench {
        Bench::try_load(&golden().join("models").join(model), options).unwrap()
    }

    /// Pays for a request and submits it. `held` is what the session's KV holds already.
    pub fn submit(&self, mut request: Request, held: u64) -> Running {
        request.id = RequestId(self.ids.fetch_add(1, Ordering::Relaxed));
        let (id, shape) = (request.id, shape_of(&request));
        let price = self.engine.estimate(&shape).unwrap();
        let owner = Owner::Request(id);
        let ring_lease = self.books.lease(owner, price.ring_bytes);
        let ring = Arc::new(Ring::new(shape.max_tokens, shape.top_logprobs, ring_lease).unwrap());
        let cancel = Cancel::new();
        let job = Job {
            kv: self.books.lease(Owner::Kv(request.session), price.kv_bytes.saturating_sub(held)),
            host: self.books.lease(owner, price.request_bytes - price.ring_bytes),
            ring: Arc::clone(&ring),
            cancel: cancel.clone(),
            request,
        };
        self.engine.submit(job).unwrap();
        Running { ring, cancel, id }
    }

    pub fn run(&self, request: Request) -> Answer {
        let held = self.books.held(Owner::Kv(request.session));
        self.submit(request, held).wait()
    }
}

/// Both answers are the same up to rounding.
pub fn assert_same(a: &Answer, b: &Answer, what: &str) {
    assert_eq!(a.ids(), b.ids(), "{what}");
    for (x, y) in a.tokens.iter().zip(&b.tokens) {
        assert!((x.logprob - y.logprob).abs() < 1e-3, "{what}: {x:?} is not {y:?}");
    }
}

/// The ids and the logits at every position of a golden prompt.
pub struct GoldenPrompt {
    pub ids: Vec<u32>,
    pub logits: Vec<f32>,
}

pub fn golden_prompts(file: &Path) -> Vec<GoldenPrompt> {
    let bytes = std::fs::read(file).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut prompts = Vec::new();
    for number in 0.. {
        let Ok(ids) = tensors.tensor(&format!("ids_{number}")) else { break };
        let logits = tensors.tensor(&format!("logits_{number}")).unwrap();
        prompts.push(GoldenPrompt {
            ids: ids
                .data()
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32)
                .collect(),
            logits: logits
                .data()
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
        });
    }
    prompts
}

/// Of the largest |logit|: what the order of additions in f32 may change.
pub const BOUND: f32 = 2e-4;

/// The same with quantised weights and a few rows, whose inputs are rounded to 15 bits: by 3.1e-5 of the largest of 32 at most.
/// The errors of the 15 products of these models add up like random numbers, to 1.2e-4; the largest of thousands of logits is
/// five times as far off.
pub const FINE: f32 = 7e-4;

/// The same with more rows, whose inputs are rounded to 8 bits, 128 times as coarse; on AMX both factors are rounded to bf16,
/// which is finer than that.
pub const COARSE: f32 = 128.0 * FINE;

/// The bound for quantised weights and pieces of so many tokens.
pub fn quantized_bound(backend: BackendKind, piece: usize) -> f32 {
    match backend {
        BackendKind::Cpu if piece > 4 => COARSE,
        BackendKind::Cpu => FINE,
        _ => BOUND,
    }
}

pub fn evaluator(path: &Path, options: Options) -> (Arc<Books>, Evaluator) {
    let plan = LoadPlan::inspect(path, options).unwrap();
    let books = Arc::new(Books::default());
    let weights = books.lease(WEIGHTS, plan.weights_bytes());
    let workspace = books.lease(WORKSPACE, plan.workspace_bytes());
    let kv = books.lease(Owner::Kv(SessionKey(1)), 8 * plan.block_bytes());
    let evaluator = Evaluator::load(&plan, weights, workspace, kv, &onward).unwrap();
    (books, evaluator)
}

/// The largest difference, as a fraction of the largest golden |logit|.
fn error(found: &[f32], golden: &[f32]) -> f32 {
    assert_eq!(found.len(), golden.len());
    let largest = golden.iter().fold(0f32, |largest, logit| largest.max(logit.abs()));
    let worst = found.iter().zip(golden).map(|(a, b)| (a - b).abs()).fold(0f32, |worst, difference| {
        assert!(!difference.is_nan());
        worst.max(difference)
    });
    worst / largest
}

pub fn worst(evaluator: &mut Evaluator, prompts: &[GoldenPrompt], chunk: usize) -> f32 {
    let errors =
        prompts.iter().map(|prompt| error(&evaluator.logits(&prompt.ids, chunk).unwrap(), &prompt.logits));
    errors.fold(0f32, f32::max)
}

/// A folder that is gone when the test ends.
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("plimsoll-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    /// A copy of a golden folder.
    pub fn model(name: &str, model: &str) -> Scratch {
        let scratch = Scratch::new(name);
        for entry in std::fs::read_dir(golden().join("models").join(model)).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, scratch.0.join(path.file_name().unwrap())).unwrap();
        }
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
