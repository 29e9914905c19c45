//! The pool under a runtime: workspaces and rings are used again, what lies idle is in nobody's way, and its limits hold.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{Answer, EXACT, PLENTY, Rig, ask_tokens, eventually, ids, model_folder, run, session};
use plimsoll::guard::PoolUse;
use plimsoll::{ErrorCode, Model};
use plimsoll_candle::{KvDtype, LoadPlan, Options};
use plimsoll_engine::{Buffer, Lease, ModelId, Owner, Region, Ring};
use std::time::Duration;

/// What the pool did for the engine. The books are proved on the way.
fn engine(rig: &Rig) -> PoolUse {
    rig.runtime.guard().check_integrity().unwrap();
    rig.runtime.memory().pool.engine
}

fn idle(rig: &Rig) -> (u64, u64) {
    let PoolUse { idle_bytes, buffers_idle, .. } = engine(rig);
    (idle_bytes, buffers_idle)
}

fn counts(rig: &Rig) -> [u64; 3] {
    let PoolUse { hits, misses, evictions, .. } = engine(rig);
    [hits, misses, evictions]
}

/// Unloads a model, whose sessions are closed. Its thread gives the workspace back.
fn unload(rig: &Rig, model: Model) {
    drop(model);
    eventually("the model is unloaded", || rig.runtime.memory().workspace_bytes == 0);
    assert_eq!(engine(rig).buffers_in_use, 0);
}

fn talk(model: &Model, max_tokens: u32) -> Answer {
    let answer = run(&session(model), &ask_tokens(&ids(3, 20), max_tokens));
    // The closed session gives its KV back on the model's thread.
    eventually("books and allocators agree", || model.check_integrity().is_ok());
    answer
}

fn lease(rig: &Rig, bytes: u64) -> Lease {
    rig.runtime.guard().lease(Region::Host, Owner::Weights(ModelId(99)), bytes).unwrap()
}

/// Fills the idle workspace of a golden model with bytes of NaNs, as some other model's steps might.
fn spoil_workspace(rig: &Rig, name: &str) {
    let options = Options { kv_dtype: KvDtype::F32, threads: 1, ..Options::default() };
    let (source, bytes) = LoadPlan::inspect(&model_folder(name), options).unwrap().arena().unwrap();
    let [hits, ..] = counts(rig);
    let mut workspace = Buffer::take(&rig.runtime.guard().buffers(), source, bytes).unwrap();
    assert_eq!(counts(rig)[0], hits + 1, "it is the one that lay idle");
    workspace.as_mut_slice().fill(u8::MAX);
}

#[test]
fn a_second_request_and_a_second_load_use_what_the_first_left() {
    let rig = Rig::new(PLENTY);
    let model = rig.golden("llama3");
    let used = rig.runtime.memory().host().used;
    let workspace = engine(&rig).in_use_bytes;
    assert!(workspace > 0 && workspace <= model.holdings().workspace);
    assert_eq!((counts(&rig), engine(&rig).buffers_in_use), ([0, 1, 0], 1));
    let first = talk(&model, 20);
    let ring = Ring::bytes(20, 0).unwrap();
    assert_eq!((counts(&rig), idle(&rig)), ([0, 2, 0], (ring, 1)));
    // About as long: 18 tokens take the same ring.
    talk(&model, 18);
    assert_eq!((counts(&rig), idle(&rig)), ([1, 2, 0], (ring, 1)));
    // Longer: another.
    talk(&model, 200);
    let more = ring + Ring::bytes(200, 0).unwrap();
    assert_eq!((counts(&rig), idle(&rig)), ([1, 3, 0], (more, 2)));
    eventually("KV is back", || rig.runtime.memory().host().used == used);
    unload(&rig, model);
    assert_eq!((rig.runtime.memory().host().used, idle(&rig)), (0, (more + workspace, 3)));
    spoil_workspace(&rig, "llama3");
    let model = rig.golden("llama3");
    assert_eq!((counts(&rig), idle(&rig)), ([3, 3, 0], (more, 2)));
    assert_eq!((engine(&rig).in_use_bytes, rig.runtime.memory().host().used), (workspace, used));
    // What others left in the workspace and in the ring changes nothing.
    let second = talk(&model, 20);
    assert_eq!((second.ids, second.outcome.text), (first.ids, first.outcome.text));
    assert_eq!(counts(&rig), [4, 3, 0]);
    // A model of other sizes has another workspace.
    let other = rig.golden("gemma3");
    assert_eq!((counts(&rig), engine(&rig).buffers_in_use), ([4, 4, 0], 2));
    let pool = &rig.runtime.memory_json()["pool"];
    assert_eq!((&pool["engine"]["hits"], &pool["hits"]), (&4.into(), &0.into()));
    run(&session(&other), &ask_tokens(&[7; 20], 20));
}

#[test]
fn what_lies_idle_goes_when_its_time_is_over() {
    let rig = Rig::with(PLENTY, &[("guard.pool_timeout_s", "60")]);
    let model = rig.golden("llama3");
    talk(&model, 20);
    let ring = idle(&rig).0;
    rig.clock.advance(Duration::from_secs(40));
    unload(&rig, model);
    let all = idle(&rig);
    assert!(all.0 > ring && all.1 == 2);
    rig.clock.advance(Duration::from_secs(19));
    rig.runtime.sweep();
    assert_eq!(idle(&rig), all);
    rig.clock.advance(Duration::from_secs(1));
    rig.runtime.sweep();
    assert_eq!(idle(&rig), (all.0 - ring, 1), "the ring came back 40 seconds before the workspace");
    rig.clock.advance(Duration::from_secs(40));
    rig.runtime.sweep();
    assert_eq!((idle(&rig), counts(&rig)), ((0, 0), [0, 2, 2]));
}

#[test]
fn no_more_lies_idle_than_may() {
    // Nothing at all.
    let rig = Rig::with(PLENTY, &[("guard.pool_limit_mb", "0")]);
    for _ in 0..2 {
        let model = rig.golden("llama3");
        talk(&model, 20);
        assert_eq!(idle(&rig), (0, 0));
        unload(&rig, model);
        assert_eq!(idle(&rig), (0, 0));
    }
    assert_eq!(counts(&rig), [0, 4, 0], "what goes straight back is never idle");
    drop(rig.runtime.buffer(1000).unwrap());
    assert_eq!(rig.runtime.memory().pool.idle_bytes, 0);
    // A workspace is too much, and does not drive out what may stay.
    let rig = Rig::with(PLENTY, &[("guard.pool_limit_mb", "1")]);
    let model = rig.golden("llama3");
    assert!(engine(&rig).in_use_bytes > 1 << 20);
    talk(&model, 20);
    let ring = idle(&rig);
    unload(&rig, model);
    assert_eq!((idle(&rig), counts(&rig)), (ring, [0, 2, 0]));
    // Hosts' buffers and the engine's share the limit: here the older one goes.
    drop(rig.runtime.buffer(1 << 20).unwrap());
    assert_eq!((idle(&rig), rig.runtime.memory().pool.idle_bytes), ((0, 0), 1 << 20));
}

#[test]
fn who_needs_room_has_it_and_a_model_finds_its_own_workspace_in_the_last_of_it() {
    let plenty = Rig::new(PLENTY);
    drop(plenty.golden("llama3"));
    // Just what a load takes at its most.
    let budget = plenty.runtime.memory().host().peak;
    let rig = Rig::new(budget);
    let model = rig.golden("llama3");
    unload(&rig, model);
    let workspace = idle(&rig).0;
    assert_eq!(rig.runtime.memory().host().free, budget, "what is idle is in nobody's way");
    // Its own lease does not drive it out.
    let model = rig.golden("llama3");
    assert_eq!((idle(&rig), counts(&rig)), ((0, 0), [1, 1, 0]));
    unload(&rig, model);
    assert_eq!(idle(&rig), (workspace, 1));
    // Someone else's does, from the first byte on for which there is no room beside it.
    let rest = lease(&rig, budget - workspace);
    assert_eq!(idle(&rig), (workspace, 1));
    let byte = lease(&rig, 1);
    assert_eq!((idle(&rig), counts(&rig)), ((0, 0), [1, 1, 1]));
    drop((rest, byte));
    // A load that is refused leaves idle what it had set aside.
    let model = rig.golden("llama3");
    unload(&rig, model);
    let most = lease(&rig, budget - workspace);
    let refused = rig.load(&model_folder("llama3"), EXACT).err().unwrap();
    assert_eq!(refused.code(), ErrorCode::MemoryRefused);
    assert_eq!((engine(&rig).buffers_in_use, idle(&rig)), (0, (workspace, 1)));
    drop(most);
    assert_eq!(counts(&rig), [1, 2, 1]);
    drop(rig.golden("llama3"));
    assert_eq!(counts(&rig), [2, 2, 1]);
}

#[test]
fn threads_that_load_talk_and_unload_leave_nothing_in_use() {
    let rig = Rig::new(PLENTY);
    std::thread::scope(|scope| {
        for (thread, name) in ["llama3", "gemma3", "llama3", "qwen2"].into_iter().enumerate() {
            let rig = &rig;
            scope.spawn(move || {
                for round in 0..6 {
                    let model = rig.golden(name);
                    for turn in 0..4 {
                        let asked = 1 + (thread + 5 * round + 3 * turn) as u32 % 40;
                        assert_eq!(
                            run(&session(&model), &ask_tokens(&[7; 3], asked)).ids.len() as u32,
                            asked
                        );
                    }
                    rig.runtime.guard().check_integrity().unwrap();
                }
            });
        }
    });
    eventually("all models are unloaded", || rig.runtime.memory().host().used == 0);
    let PoolUse { in_use_bytes, buffers_in_use, idle_bytes, hits, .. } = engine(&rig);
    assert_eq!((in_use_bytes, buffers_in_use), (0, 0));
    assert!(hits > 0 && idle_bytes > 0);
    assert_eq!(rig.runtime.guard().trim_pool(), idle_bytes);
    assert_eq!(idle(&rig), (0, 0));
}
