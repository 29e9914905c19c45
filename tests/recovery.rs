//! A device that refuses memory which the guard has granted: a cleanup, one more try, then a clear error, and everybody else
//! goes on.

#![allow(clippy::unwrap_used)]

mod common;

use common::{Books, PLENTY, Rig, ask_tokens, eventually, ids, model_folder, session};
use plimsoll::text::Tokenizer;
use plimsoll::{Cancel, Error, ErrorCode, Flow, Model, Outcome, Polled, Request, Session, TextSide};
use plimsoll_conformance::scripted::{ScriptedConfig, ScriptedEngine};
use plimsoll_engine::{Engine, ModelId, SystemClock};
use std::sync::Arc;
use std::time::Duration;

/// Bytes and tokens of a block of the scripted engine.
const BLOCK: (u64, u32) = (256, 16);
/// What it takes before any KV.
const FIXED: u64 = (1 << 16) + (1 << 12);

fn model(rig: &Rig, config: &ScriptedConfig) -> (Arc<ScriptedEngine>, Model) {
    let config = ScriptedConfig { vocab_size: 352, ..config.clone() };
    let clock = Arc::new(SystemClock::default());
    // An id that the runtime gives to none of its own.
    let engine = ScriptedEngine::load(rig.runtime.guard(), ModelId(1 << 40), &config, clock).unwrap();
    let json = std::fs::read(model_folder("llama3").join("tokenizer.json")).unwrap();
    let tokenizer = Tokenizer::from_json(&json).unwrap();
    let text = TextSide { tokenizer, template: None, stop_tokens: Arc::default() };
    let model = rig.runtime.model("scripted", Arc::<ScriptedEngine>::clone(&engine), text);
    (engine, model)
}

/// A request that takes this many blocks.
fn ask(blocks: u32) -> Request {
    ask_tokens(&ids(1, 8), blocks * BLOCK.1 - 8)
}

fn generate(open: &Session, request: &Request) -> Result<Outcome, Error> {
    open.generate(request, None, &Cancel::new(), |_| Flow::Continue)
}

#[test]
fn whichever_block_is_refused_the_request_runs_after_all() {
    let mut recovered = 0;
    for refused in 2..10 {
        let rig = Rig::new(PLENTY);
        let config = ScriptedConfig { refuse_allocation: Some(refused), ..ScriptedConfig::default() };
        let (_engine, model) = model(&rig, &config);
        let before = Books::of(&rig.runtime);
        let open = session(&model);
        let outcome = generate(&open, &ask(5)).unwrap();
        assert_eq!(outcome.generated_tokens, 5 * BLOCK.1 - 8);
        let memory = rig.runtime.memory();
        assert_eq!(memory.recovery_failures, 0);
        recovered += memory.recoveries;
        // Weights and workspace are the first two; the request takes five blocks.
        assert_eq!(memory.recoveries, u64::from((2..7).contains(&refused)), "allocation {refused}");
        drop(open);
        rig.assert_back(&before, "the session is closed");
    }
    assert_eq!(recovered, 5);
}

#[test]
fn a_device_that_lies_about_its_memory_costs_idle_sessions_their_kv_and_no_one_a_request() {
    let rig = Rig::new(PLENTY);
    let config = ScriptedConfig { capacity: FIXED + 10 * BLOCK.0, ..ScriptedConfig::default() };
    let (engine, model) = model(&rig, &config);
    let (first, second) = (session(&model), session(&model));
    generate(&first, &ask(6)).unwrap();
    assert!(first.kv_bytes() > 0);
    // The books have room for both, the device has not.
    generate(&second, &ask(6)).unwrap();
    assert_eq!(first.kv_bytes(), 0, "its KV made room");
    let memory = rig.runtime.memory();
    assert_eq!((memory.recoveries, memory.recovery_failures, memory.evictions), (1, 0, 1));
    // Its conversation is whole: the next turn computes it again.
    let again = generate(&first, &ask_tokens(&ids(1, 2), 2)).unwrap();
    assert!(again.cached_tokens == 0 && again.prompt_tokens > 6 * BLOCK.1 - 8);
    rig.runtime.guard().check_integrity().unwrap();
    assert_eq!(engine.holdings().kv, rig.runtime.memory().total_kv_bytes);
}

#[test]
fn what_the_device_never_has_is_a_clear_error_and_the_others_go_on() {
    let rig = Rig::new(PLENTY);
    let step_time = Duration::from_millis(2);
    let config = ScriptedConfig { capacity: FIXED + 10 * BLOCK.0, step_time, ..ScriptedConfig::default() };
    let (engine, model) = model(&rig, &config);
    let before = Books::of(&rig.runtime);
    let (runs, asks) = (session(&model), session(&model));
    let mut stream = runs.stream(&ask(4), None, &Cancel::new()).unwrap();
    assert!(matches!(stream.next(None).unwrap(), Polled::Event(_)));

    let error = generate(&asks, &ask(8)).unwrap_err();
    assert_eq!((error.code(), error.is_retryable()), (ErrorCode::OutOfMemory, true));
    assert!(error.numbers().bytes_asked > 0, "{error}");
    let memory = rig.runtime.memory();
    assert_eq!((memory.recoveries, memory.recovery_failures), (0, 1));

    let outcome = loop {
        match stream.next(None).unwrap() {
            Polled::Finished(outcome) => break outcome,
            Polled::Event(_) | Polled::TimedOut => {}
        }
    };
    assert_eq!(outcome.generated_tokens, 4 * BLOCK.1 - 8, "who ran was not disturbed");
    drop(stream);
    // The session that failed answers what the device has room for.
    assert_eq!(generate(&asks, &ask(2)).unwrap().generated_tokens, 2 * BLOCK.1 - 8);
    drop((runs, asks));
    rig.assert_back(&before, "both sessions are closed");
    eventually("all blocks are freed", || engine.holdings().kv == 0);
}

#[test]
fn a_ticket_is_good_also_when_its_memory_is_refused_once() {
    let rig = Rig::new(PLENTY);
    let config = ScriptedConfig { refuse_allocation: Some(3), ..ScriptedConfig::default() };
    let (_engine, model) = model(&rig, &config);
    let open = session(&model);
    let request = ask(3);
    let (_, ticket) = open.admit(&request).unwrap();
    let outcome = open.generate(&request, ticket.as_ref(), &Cancel::new(), |_| Flow::Continue).unwrap();
    assert_eq!(outcome.generated_tokens, 3 * BLOCK.1 - 8);
    assert_eq!(rig.runtime.memory().recoveries, 1);
}

#[test]
fn several_answers_are_recovered_together() {
    let rig = Rig::new(PLENTY);
    // The first block of the first answer. A step takes long enough for the refusal to be heard before any token.
    let step_time = Duration::from_millis(50);
    let config = ScriptedConfig { refuse_allocation: Some(2), step_time, ..ScriptedConfig::default() };
    let (engine, model) = model(&rig, &config);
    let before = Books::of(&rig.runtime);
    let open = session(&model);
    let mut request = ask(1);
    request.answers = 3;
    let outcome = generate(&open, &request).unwrap();
    assert_eq!(outcome.answers().map(|answer| answer.generated_tokens).sum::<u32>(), 3 * (BLOCK.1 - 8));
    let memory = rig.runtime.memory();
    assert_eq!((memory.recoveries, memory.recovery_failures), (1, 0));
    drop(open);
    rig.assert_back(&before, "the session is closed");
    eventually("all blocks are freed", || engine.holdings().kv == 0);
}
