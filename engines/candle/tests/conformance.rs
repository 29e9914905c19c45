//! The suite that every engine must pass, on both backends.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{BACKENDS, WEIGHTS, WORKSPACE, exact, golden, onward};
use plimsoll::guard::{GuardConfig, MemoryGuard};
use plimsoll_candle::{Environment, KvDtype, LoadPlan, Options};
use plimsoll_conformance::{Subject, suite};
use plimsoll_engine::{Clock, Engine, ModelId, Reading, Region, SystemClock};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Candle's workspace is the larger: some 32 MiB.
const ROOM: u64 = 1 << 28;

fn subject(model: &str, options: &Options) -> Subject {
    let settings = GuardConfig {
        budget: Some(ROOM),
        threshold: 1.0,
        reserve: Some(0),
        reclaim_deadline: Duration::from_secs(30),
        pressure: None,
        ..GuardConfig::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let unread = Arc::new(Mutex::<Option<Reading>>::new(None));
    let guard = MemoryGuard::new(settings, unread, Arc::clone(&clock)).unwrap();
    let plan = LoadPlan::inspect(&golden().join("models").join(model), options.clone()).unwrap();
    let weights = guard.lease(Region::Host, WEIGHTS, plan.weights_bytes()).unwrap();
    let workspace = guard.lease(Region::Host, WORKSPACE, plan.workspace_bytes()).unwrap();
    let environment = Environment { clock: Arc::clone(&clock), ..Environment::default() };
    let engine = plan.load(weights, workspace, &environment, &onward).unwrap();
    let vocab = u64::from(engine.capabilities().vocab_size);
    let id = move |seed: u64, at: u64| u32::try_from((seed * 131 + at * 7) % vocab).unwrap();
    Subject {
        engine,
        guard,
        clock,
        models: vec![ModelId(1)],
        leases: Vec::new(),
        prompt: Box::new(move |seed, length| (0..length as u64).map(|at| id(seed, at)).collect()),
        // Batches and chunks change the order of additions, but with f32 KV by no more than some millionths of the
        // largest logit: far less than what lies between the first and the second choice here.
        deterministic: options.kv_dtype == KvDtype::F32,
        queue: options.queue as usize,
        patience: Duration::from_secs(60),
    }
}

#[test]
fn the_engine_passes_on_both_backends() {
    for backend in BACKENDS {
        let small = Options { max_sequences: 3, max_step_tokens: 24, queue: 8, ..exact(backend) };
        let halves = Options { kv_dtype: KvDtype::F16, block_tokens: 32, ..small.clone() };
        for (model, options) in [("llama3", small), ("qwen3", halves)] {
            let violations = suite(&|| subject(model, &options)).err().unwrap_or_default();
            assert_eq!(violations, [], "{backend:?} {model}");
        }
    }
}
