//! Several models in a budget for fewer: idle ones are unloaded, the least recently used first and never one in use; their
//! handles and sessions stay good, and their next request loads them again.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Books, EXACT, PLENTY, Rig, Scratch, agrees, ask_tokens, at_least, config, eventually, ids, run, session,
};
use plimsoll::guard::What;
use plimsoll::{
    Cancel, Decision, ErrorCode, Flow, LoadState, Model, Polled, Reason, Request, Runtime, Session, TextSide,
};
use plimsoll_conformance::scripted::{ScriptedConfig, ScriptedEngine};
use plimsoll_engine::{ModelId, SystemClock};
use std::cell::RefCell;
use std::sync::{Arc, Barrier};
use std::time::Duration;

/// For requests, whatever the models take.
const SLACK: u64 = 1 << 20;
const IDLE: &[(&str, &str)] = &[("model.unload", "idle"), ("native.kv_type", "f32"), ("native.threads", "1")];

/// What a copy of the golden llama takes: its text, which stays, and what an unload frees.
fn sizes() -> (u64, u64) {
    let rig = Rig::new(PLENTY);
    let model = rig.golden("llama3");
    let all = Books::of(&rig.runtime).used;
    let frees = model.unload().unwrap();
    assert_eq!(Books::of(&rig.runtime).used, all - frees);
    assert!(frees > 2 * SLACK, "the tests' budgets tell a model from requests: {frees}");
    (all - frees, frees)
}

/// Room for so many models, of which so many are loaded at once.
fn rig(models: u64, loaded: u64) -> Rig {
    let (text, frees) = sizes();
    Rig::new(models * text + loaded * frees + SLACK)
}

fn copies(count: usize) -> Vec<Scratch> {
    (0..count).map(|_| Scratch::model("llama3")).collect()
}

fn loaded(models: &[&Model]) -> Vec<bool> {
    models.iter().map(|model| model.is_loaded()).collect()
}

fn counts(runtime: &Runtime) -> [u64; 4] {
    let stats = runtime.memory();
    [stats.models_loaded, stats.models_unloaded, stats.unloads, stats.reloads]
}

/// Prompt and answer of a fixed length, with tokens that every golden model has.
fn request() -> Request {
    ask_tokens(&ids(1, 40).into_iter().map(|id| id % 264).collect::<Vec<_>>(), 12)
}

fn greedy(model: &Model) -> Vec<u32> {
    run(&session(model), &request()).ids
}

fn sound(runtime: &Runtime, models: &[&Model]) {
    runtime.guard().check_integrity().unwrap();
    for model in models {
        // Sessions that were closed give their KV back in their own time.
        eventually("the books settle", || match model.check_integrity() {
            Err(error) if error.code() == ErrorCode::Busy => false,
            checked => checked.map(|()| true).unwrap(),
        });
        let held = model.holdings();
        assert_eq!(model.is_loaded(), held.weights > 0);
        assert!(model.is_loaded() || (held.workspace, held.kv) == (0, 0));
    }
}

#[test]
fn the_least_recently_used_go_first_and_come_back_with_their_next_request() {
    let (rig, folders) = (rig(4, 2), copies(4));
    let load = |at: usize| rig.load(folders[at].path(), IDLE).unwrap();
    let (a, b) = (load(0), load(1));
    let expected = greedy(&a);
    assert_eq!(greedy(&b), expected);
    let c = load(2);
    assert_eq!(loaded(&[&a, &b, &c]), [false, true, true]);
    let d = load(3);
    let all = [&a, &b, &c, &d];
    assert_eq!(loaded(&all), [false, false, true, true]);
    assert_eq!(counts(&rig.runtime), [2, 2, 2, 0]);
    sound(&rig.runtime, &all);

    // c is used, so d goes for a; then c, the older of the two, for b.
    assert_eq!(greedy(&c), expected);
    assert_eq!(greedy(&a), expected);
    assert_eq!(loaded(&all), [true, false, true, false]);
    assert_eq!(greedy(&b), expected);
    assert_eq!(loaded(&all), [true, true, false, false]);
    assert_eq!(counts(&rig.runtime), [2, 2, 4, 2]);
    sound(&rig.runtime, &all);

    // What does not need an engine works without one.
    assert_eq!((d.context_length(), d.vocab_size()), (a.context_length(), a.vocab_size()));
    assert_eq!(d.capabilities().name, a.capabilities().name);
    assert_eq!(d.tokenize("Hello there").unwrap(), a.tokenize("Hello there").unwrap());
    assert_eq!(d.token_bytes(65), a.token_bytes(65));
    drop((a, b, c, d));
    assert_eq!(Books::of(&rig.runtime).used, 0);
    assert_eq!(counts(&rig.runtime)[..2], [0, 0]);
}

#[test]
fn what_if_says_who_goes_and_admission_does_it() {
    let (rig, folders) = (rig(3, 1), copies(3));
    let models: Vec<_> = folders.iter().map(|folder| rig.load(folder.path(), IDLE).unwrap()).collect();
    assert_eq!(loaded(&models.iter().collect::<Vec<_>>()), [false, false, true]);
    let (_, frees) = sizes();
    let before = Books::of(&rig.runtime);
    let open = session(&models[0]);
    let foreseen = open.what_if(&request()).unwrap();
    assert_eq!((foreseen.decision, foreseen.load_bytes), (Decision::Accept, frees));
    assert_eq!((foreseen.unload_models, foreseen.unload_bytes), (1, frees));
    assert_eq!(foreseen.to_json()["unload_bytes"], frees);
    assert!(!models[0].is_loaded() && models[2].is_loaded(), "a what-if changes nothing");

    let (verdict, ticket) = open.admit(&request()).unwrap();
    assert_eq!(verdict, foreseen);
    let ticket = ticket.unwrap();
    // The model is booked with the ticket, and loaded when it is used.
    let new: u64 = ticket.items().iter().filter(|item| item.what.is_new()).map(|item| item.bytes).sum();
    assert_eq!(new, verdict.bytes_asked);
    assert_eq!(Books::of(&rig.runtime).used, before.used - frees + new);
    assert!(ticket.items().iter().any(|item| item.what == What::Load && item.bytes == frees));
    assert_eq!(models[0].check_integrity().unwrap_err().code(), ErrorCode::Busy);
    assert_eq!(models[0].unload().unwrap_err().code(), ErrorCode::Busy);
    // Another request on it has nothing more to load.
    let other = session(&models[0]);
    assert_eq!(agrees(&other, &request()).load_bytes, 0);

    // Unused, it gives back what it would have loaded.
    drop(ticket);
    assert_eq!(Books::of(&rig.runtime).used, before.used - frees);
    assert_eq!(counts(&rig.runtime)[..2], [0, 3]);
    let (_, ticket) = open.admit(&request()).unwrap();
    let outcome = open.generate(&request(), ticket.as_ref(), &Cancel::new(), |_| Flow::Continue).unwrap();
    assert_eq!((outcome.verdict.load_bytes, outcome.verdict.unload_models), (frees, 0));
    assert!(models[0].is_loaded());
    sound(&rig.runtime, &models.iter().collect::<Vec<_>>());
}

#[test]
fn a_model_in_use_stays() {
    let (rig, folders) = (rig(2, 1), copies(2));
    let a = rig.load(folders[0].path(), IDLE).unwrap();
    let open = session(&a);
    let (_, ticket) = open.admit(&request()).unwrap();
    let refused = rig.load(folders[1].path(), IDLE).err().unwrap();
    assert_eq!(refused.code(), ErrorCode::MemoryRefused);
    assert!(a.is_loaded());
    drop(ticket);
    let b = rig.load(folders[1].path(), IDLE).unwrap();
    assert_eq!(loaded(&[&a, &b]), [false, true]);

    // While b runs, a waits; what is refused now is not refused for good.
    let other = session(&b);
    let mut stream = other.stream(&request(), None, &Cancel::new()).unwrap();
    let verdict = agrees(&open, &request());
    assert_eq!((verdict.decision, verdict.reason), (Decision::Reject, Reason::Budget));
    assert!(verdict.retry_after.is_some() && verdict.unload_models == 0 && verdict.load_bytes > 0);
    assert!(a.unload().is_ok_and(|bytes| bytes == 0));
    assert_eq!(b.unload().unwrap_err().code(), ErrorCode::Busy);
    let waits = std::thread::scope(|scope| {
        let mut patient = request();
        patient.wait = Duration::from_secs(60);
        let open = &open;
        let waits = scope.spawn(move || run(open, &patient));
        eventually("it waits", || rig.runtime.memory().waiting == 1);
        // Somebody waits with a: nobody but who is before it takes its place, and it is in use.
        assert_eq!(a.unload().unwrap_err().code(), ErrorCode::Busy);
        while !matches!(stream.next(None).unwrap(), Polled::Finished(_)) {}
        drop(stream);
        waits.join().unwrap()
    });
    assert_eq!(loaded(&[&a, &b]), [true, false]);
    assert!(waits.outcome.verdict.waited > Duration::ZERO || waits.outcome.verdict.unload_models == 1);
    sound(&rig.runtime, &[&a, &b]);
}

#[test]
fn two_who_wait_with_models_that_stand_in_each_others_way_both_run() {
    let (rig, folders) = (rig(3, 1), copies(3));
    let models: Vec<_> = folders.iter().map(|folder| rig.load(folder.path(), IDLE).unwrap()).collect();
    let sessions: Vec<_> = models.iter().map(session).collect();
    let mut stream = sessions[2].stream(&request(), None, &Cancel::new()).unwrap();
    std::thread::scope(|scope| {
        for open in &sessions[..2] {
            scope.spawn(|| {
                let mut patient = request();
                patient.wait = Duration::from_secs(60);
                run(open, &patient)
            });
        }
        eventually("both wait", || rig.runtime.memory().waiting == 2);
        while !matches!(stream.next(None).unwrap(), Polled::Finished(_)) {}
        drop(stream);
    });
    assert_eq!(rig.runtime.memory().waited_count, 2);
    sound(&rig.runtime, &models.iter().collect::<Vec<_>>());
}

#[test]
fn who_asks_for_nothing_is_never_unloaded() {
    let (rig, folders) = (rig(2, 1), copies(2));
    let a = rig.load(folders[0].path(), EXACT).unwrap();
    let refused = rig.load(folders[1].path(), IDLE).err().unwrap();
    assert_eq!(refused.code(), ErrorCode::MemoryRefused);
    assert!(a.is_loaded());
    drop(a);

    // Of two who share a model one is enough.
    let a = rig.load(folders[0].path(), IDLE).unwrap();
    let shared = rig.load(folders[0].path(), EXACT).unwrap();
    drop(shared);
    assert!(rig.load(folders[1].path(), IDLE).is_err());
    assert!(a.is_loaded());
    // It still goes when it is asked to, and comes back with whoever loads it anew.
    assert!(a.unload().unwrap() > 0);
    let b = rig.load(folders[1].path(), IDLE).unwrap();
    let states = RefCell::new(Vec::new());
    let config = config(EXACT);
    let again = rig.runtime.load_model("again", folders[0].path(), &config, &|progress| {
        states.borrow_mut().push(progress.state);
        true
    });
    assert_eq!(again.unwrap().holdings(), a.holdings());
    assert_eq!(loaded(&[&a, &b]), [true, false]);
    assert!(states.borrow().contains(&LoadState::Reading));
    assert_eq!(states.borrow().iter().filter(|state| **state == LoadState::Ready).count(), 1);
}

#[test]
fn shrinking_comes_before_unloading() {
    let (text, frees) = sizes();
    let folders = copies(2);
    let tight = Rig::new(2 * text + 2 * frees + 60_000);
    let models: Vec<_> = folders.iter().map(|folder| tight.load(folder.path(), IDLE).unwrap()).collect();
    let open = session(&models[1]);
    let long = ask_tokens(&ids(3, 40), 200);
    let verdict = agrees(&open, &long);
    assert_eq!((verdict.decision, verdict.reason), (Decision::Shrink, Reason::Budget));
    assert_eq!(verdict.unload_models, 0);
    assert!(models[0].is_loaded());
    // A request for which that is too little has the other model unloaded.
    let verdict = agrees(&open, &at_least(200, &long));
    assert_eq!((verdict.decision, verdict.unload_models), (Decision::Accept, 1));
    assert!(!models[0].is_loaded());
    sound(&tight.runtime, &[&models[0], &models[1]]);
}

#[test]
fn nobody_is_unloaded_in_vain() {
    let (text, frees) = sizes();
    let folders = copies(3);
    let rig = Rig::new(3 * text + 2 * frees + SLACK);
    let a = rig.load(folders[0].path(), IDLE).unwrap();
    let b = rig.load(folders[1].path(), IDLE).unwrap();
    // It would not fit even alone.
    let large = [IDLE, &[("native.max_sequences", "128"), ("native.max_step_tokens", "8192")]].concat();
    let refused = rig.load(folders[2].path(), &large).err().unwrap();
    assert_eq!(refused.code(), ErrorCode::MemoryRefused);
    assert!(refused.to_string().contains("with idle models"), "{refused}");
    assert_eq!(loaded(&[&a, &b]), [true, true]);
    assert_eq!(counts(&rig.runtime), [2, 0, 0, 0]);
}

#[test]
fn conversations_outlive_their_models_weights() {
    let rig = Rig::new(PLENTY);
    let folder = Scratch::model("llama3");
    let (model, alone) = (rig.load(folder.path(), IDLE).unwrap(), rig.golden("llama3"));
    let empty = Books::of(&rig.runtime);
    let (open, fresh) = (session(&model), session(&alone));
    for turn in 0..4 {
        let next = ask_tokens(&ids(turn, 20), 10);
        let (a, b) = (run(&open, &next), run(&fresh, &next));
        assert_eq!(a.ids, b.ids);
        assert_eq!(a.outcome.cached_tokens, 0, "its KV went with the model");
        assert!(open.kv_bytes() > 0);
        let freed = model.unload().unwrap();
        assert_eq!(freed, b.outcome.kv_bytes + empty.weights / 2 + empty.workspace / 2 + tables(&alone));
        assert_eq!(open.kv_bytes(), 0);
        sound(&rig.runtime, &[&model, &alone]);
    }
    let evictions = rig.runtime.memory().session_details.iter().map(|session| session.evictions).max();
    assert_eq!(evictions, Some(4));
    drop((open, fresh, alone));
    assert!(!model.is_loaded());
    let open = session(&model);
    drop(model);
    // The session alone keeps the model good, and closing it is the end of it.
    run(&open, &request());
    drop(open);
    assert_eq!(Books::of(&rig.runtime).used, 0);
}

fn tables(model: &Model) -> u64 {
    let rig = Rig::new(PLENTY);
    let other = rig.golden("llama3");
    assert_eq!(other.host_bytes(), model.host_bytes());
    rig.runtime.memory().tables_bytes
}

#[test]
fn files_that_are_gone_or_changed_are_told_and_harm_nothing() {
    let rig = Rig::new(PLENTY);
    let (folder, away) = (Scratch::model("llama3"), Scratch::empty());
    let model = rig.load(folder.path(), IDLE).unwrap();
    let open = session(&model);
    let expected = run(&open, &request()).ids;
    open.reset().unwrap();
    model.unload().unwrap();
    let unloaded = Books::of(&rig.runtime);
    let moved = away.file("moved");
    std::fs::rename(folder.path(), &moved).unwrap();
    for _ in 0..2 {
        let error = open.generate(&request(), None, &Cancel::new(), |_| Flow::Continue).unwrap_err();
        assert_eq!(error.code(), ErrorCode::ModelNotFound);
        rig.assert_back(&unloaded, "a load has failed");
        assert!(!model.is_loaded() && open.what_if(&request()).unwrap().load_bytes > 0);
        sound(&rig.runtime, &[&model]);
    }
    std::fs::rename(&moved, folder.path()).unwrap();
    assert_eq!(run(&open, &request()).ids, expected);

    open.reset().unwrap();
    model.unload().unwrap();
    folder.edit("config.json", |config| config["max_position_embeddings"] = 512.into());
    let error = open.generate(&request(), None, &Cancel::new(), |_| Flow::Continue).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ModelMalformed);
    assert!(error.to_string().contains("changed"), "{error}");
    rig.assert_back(&unloaded, "a load has failed");
    assert_eq!(counts(&rig.runtime), [0, 1, 2, 1]);
}

#[test]
fn threads_that_meet_an_unloaded_model_load_it_once() {
    let rig = Rig::new(PLENTY);
    let folder = Scratch::model("llama3");
    let model = rig.load(folder.path(), IDLE).unwrap();
    let expected = greedy(&model);
    for round in 1..6 {
        model.unload().unwrap();
        let start = Barrier::new(6);
        std::thread::scope(|scope| {
            for _ in 0..6 {
                scope.spawn(|| {
                    start.wait();
                    assert_eq!(greedy(&model), expected);
                });
            }
        });
        assert_eq!(counts(&rig.runtime), [1, 0, round, round]);
        sound(&rig.runtime, &[&model]);
    }
}

#[test]
fn a_crowd_on_four_models_in_a_budget_for_two_fails_nowhere() {
    let (text, frees) = sizes();
    let quantised = Scratch::model("llama3");
    let folders = copies(3);
    let rig = Rig::new(4 * text + 2 * frees + SLACK);
    let mut models: Vec<_> = folders.iter().map(|folder| rig.load(folder.path(), IDLE).unwrap()).collect();
    // Quantised matrices round inputs by how many rows there are: one request at a time is the same each time.
    let small = [IDLE, &[("native.quantize", "q8_0"), ("native.max_sequences", "1")]].concat();
    models.push(rig.load(quantised.path(), &small).unwrap());
    let expected: Vec<_> = models.iter().map(greedy).collect();
    std::thread::scope(|scope| {
        for thread in 0..8_usize {
            let (models, expected) = (&models, &expected);
            scope.spawn(move || {
                let sessions: Vec<Session> = models.iter().map(session).collect();
                for turn in 0..12_usize {
                    let at = (thread * 5 + turn * (1 + thread % 3)) % models.len();
                    let mut patient = request();
                    patient.wait = Duration::from_secs(120);
                    sessions[at].reset().unwrap();
                    assert_eq!(run(&sessions[at], &patient).ids, expected[at]);
                    if turn % 5 == 0 {
                        let refused = models[at].unload().err();
                        assert!(refused.is_none_or(|error| error.code() == ErrorCode::Busy));
                    }
                }
            });
        }
    });
    let [_, _, unloads, reloads] = counts(&rig.runtime);
    assert!(unloads > 4 && reloads > 4, "{unloads} unloads, {reloads} reloads");
    assert_eq!(rig.runtime.memory().rejected_count, 0);
    sound(&rig.runtime, &models.iter().collect::<Vec<_>>());
    for model in &models {
        model.unload().unwrap();
    }
    let stats = rig.runtime.memory();
    assert_eq!((stats.weights_bytes, stats.workspace_bytes, stats.tables_bytes), (0, 0, 0));
    assert_eq!(stats.host().used, stats.text_bytes);
    drop(models);
    assert_eq!(Books::of(&rig.runtime).used, 0);
}

#[test]
fn only_native_models_are_unloaded() {
    let rig = Rig::new(PLENTY);
    let (guard, clock) = (rig.runtime.guard(), Arc::new(SystemClock::default()));
    let engine = ScriptedEngine::load(guard, ModelId(1 << 40), &ScriptedConfig::default(), clock).unwrap();
    let model = rig.runtime.model("scripted", engine, TextSide::ids_only().unwrap());
    assert!(model.is_loaded());
    assert_eq!(model.unload().unwrap_err().code(), ErrorCode::Unsupported);
    assert_eq!(counts(&rig.runtime), [0; 4]);
    let bad = config(&[]).set("model.unload", "always").unwrap_err();
    assert_eq!(bad.code(), ErrorCode::InvalidConfig);
}
