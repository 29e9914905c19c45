//! Loading: one copy of the same files, progress, stopping, unloading, and the same tokens from every way to load a model.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::{
    Books, EXACT, PLENTY, Rig, Scratch, ask_tokens, config, eventually, golden, golden_json, ids,
    model_folder, run, session,
};
use plimsoll::{ErrorCode, LoadState, Model, Progress};
use std::cell::RefCell;
use std::path::Path;
use std::sync::Barrier;

/// Greedy tokens after a fixed prompt of tokens that every golden model has.
fn greedy(model: &Model) -> Vec<u32> {
    let prompt: Vec<u32> = ids(1, 40).into_iter().map(|id| id % 264).collect();
    run(&session(model), &ask_tokens(&prompt, 24)).ids
}

#[test]
fn the_same_files_are_held_once_whatever_path_leads_to_them() {
    let rig = Rig::new(PLENTY);
    let folder = Scratch::model("llama3");
    let links = Scratch::empty();
    let link = links.file("link");
    std::os::unix::fs::symlink(folder.path(), &link).unwrap();
    let name = folder.path().file_name().unwrap();
    let around = folder.path().join(".").join("..").join(name);

    let first = rig.load(folder.path(), EXACT).unwrap();
    let once = Books::of(&rig.runtime);
    assert!(once.weights > 0 && once.workspace > 0);
    for path in [folder.path(), &link, &around] {
        let again = rig.load(path, EXACT).unwrap();
        assert_eq!(Books::of(&rig.runtime), once, "{path:?}");
        assert_eq!(greedy(&again), greedy(&first));
        drop(again);
        rig.assert_back(&once, "a shared handle is gone");
    }
}

#[test]
fn eight_threads_that_load_at_once_share_one_copy() {
    let rig = Rig::new(PLENTY);
    let folder = model_folder("llama-sharded");
    let start = Barrier::new(8);
    let models: Vec<Model> = std::thread::scope(|scope| {
        let load = || {
            start.wait();
            rig.load(&folder, EXACT).unwrap()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(load)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let alone = Rig::new(PLENTY);
    let model = alone.load(&folder, EXACT).unwrap();
    assert_eq!(Books::of(&rig.runtime), Books::of(&alone.runtime));
    assert!(models.iter().all(|shared| greedy(shared) == greedy(&model)));
    drop(models);
    assert_eq!(Books::of(&rig.runtime).used, 0);
}

#[test]
fn other_settings_are_another_copy() {
    let rig = Rig::new(PLENTY);
    let folder = model_folder("llama3");
    let first = rig.load(&folder, EXACT).unwrap();
    let once = Books::of(&rig.runtime);
    let mut weights = once.weights;
    let mut models = Vec::new();
    for setting in [("native.kv_type", "f16"), ("native.block_tokens", "32"), ("native.context_length", "64")]
    {
        models.push(rig.load(&folder, &[EXACT, &[setting]].concat()).unwrap());
        let now = Books::of(&rig.runtime).weights;
        assert_eq!(now, weights + once.weights, "{setting:?}");
        weights = now;
    }
    drop(models);
    rig.assert_back(&once, "the others are gone");
    drop(first);
}

#[test]
fn weights_quantised_at_load_are_those_of_a_quantised_file() {
    let rig = Rig::new(PLENTY);
    let file = rig.load(&golden("gguf/llama3-q8_0.gguf"), EXACT).unwrap();
    let once = Books::of(&rig.runtime);
    let settings = [EXACT, &[("native.quantize", "q8_0")]].concat();
    let model = rig.load(&model_folder("llama3"), &settings).unwrap();
    assert_eq!(Books::of(&rig.runtime).weights, 2 * once.weights);
    assert_eq!(greedy(&model), greedy(&file));
    let table = &golden_json("expected_bytes.json")["configs"]["llama3"]["weight_bytes"]["q8_0"];
    assert_eq!(Some(once.weights), table.as_u64());
}

#[test]
fn files_that_changed_are_not_the_same() {
    let rig = Rig::new(PLENTY);
    let folder = Scratch::model("llama3");
    let before = rig.load(folder.path(), EXACT).unwrap();
    let once = Books::of(&rig.runtime);
    folder.edit("config.json", |config| config["max_position_embeddings"] = 512.into());
    let after = rig.load(folder.path(), EXACT).unwrap();
    assert_eq!((before.context_length(), after.context_length()), (256, 512));
    assert_eq!(Books::of(&rig.runtime).weights, 2 * once.weights);
}

#[test]
fn a_model_lives_as_long_as_its_last_session() {
    let rig = Rig::new(PLENTY);
    let empty = Books::of(&rig.runtime);
    let model = rig.golden("llama3");
    let loaded = Books::of(&rig.runtime);
    let open = session(&model);
    drop(model);
    let before = run(&open, &ask_tokens(&ids(2, 20), 8));
    let now = Books::of(&rig.runtime);
    assert_eq!((now.weights, now.workspace), (loaded.weights, loaded.workspace));
    assert_eq!(now.kv, before.outcome.kv_bytes);
    drop(open);
    rig.assert_back(&empty, "the last session is gone");
}

#[test]
fn models_and_sessions_outlive_the_runtime_handle() {
    let Rig { runtime, clock } = Rig::new(PLENTY);
    let model = runtime.load_model("test", &model_folder("llama3"), &config(EXACT), &|_| true).unwrap();
    drop((runtime, clock));
    let open = session(&model);
    let first = run(&open, &ask_tokens(&ids(3, 20), 8));
    drop(model);
    let second = run(&open, &ask_tokens(&ids(4, 5), 8));
    assert_eq!(second.outcome.cached_tokens, first.outcome.prompt_tokens + 7);
    open.model().check_integrity().unwrap();
}

/// Every report of a load.
fn reports(rig: &Rig, path: &Path) -> (Model, Vec<Progress>) {
    let seen = RefCell::new(Vec::new());
    let note = |progress: &Progress| {
        seen.borrow_mut().push(*progress);
        true
    };
    let model = rig.runtime.load_model("test", path, &config(EXACT), &note).unwrap();
    (model, seen.into_inner())
}

#[test]
fn progress_goes_from_queued_to_ready_shard_by_shard() {
    let order =
        [LoadState::Queued, LoadState::Reading, LoadState::Preparing, LoadState::Warm, LoadState::Ready];
    for (name, shards) in [("llama3", 1), ("llama-sharded", 2)] {
        let rig = Rig::new(PLENTY);
        let (_model, seen) = reports(&rig, &model_folder(name));
        let mut states: Vec<_> = seen.iter().map(|progress| progress.state).collect();
        states.dedup();
        assert_eq!(states, order, "{name}");
        let total = seen[0].bytes_total;
        assert!(total > 0);
        for progress in &seen {
            assert_eq!((progress.shards, progress.bytes_total), (shards, total), "{name}");
        }
        assert!(seen.is_sorted_by_key(|progress| (progress.bytes_done, progress.shard)), "{name}: {seen:?}");
        for shard in 0..shards {
            assert!(
                seen.iter().any(|p| p.state == LoadState::Reading && p.shard == shard),
                "{name}: {shard}"
            );
        }
        assert_eq!((seen[0].bytes_done, seen[0].shard), (0, 0));
        let last = seen.last().unwrap();
        assert_eq!((last.bytes_done, last.shard), (total, shards));
    }
}

#[test]
fn a_load_that_finds_the_model_loaded_says_so() {
    let rig = Rig::new(PLENTY);
    let (_first, all) = reports(&rig, &model_folder("llama-sharded"));
    let (_second, seen) = reports(&rig, &model_folder("llama-sharded"));
    assert_eq!(seen, [*all.last().unwrap()]);
}

#[test]
fn a_load_can_be_stopped_at_every_report_and_leaves_nothing() {
    let rig = Rig::new(PLENTY);
    let empty = Books::of(&rig.runtime);
    let folder = model_folder("llama-sharded");
    for stop_at in 0.. {
        let seen = RefCell::new(Vec::new());
        let on = |progress: &Progress| {
            seen.borrow_mut().push(progress.state);
            seen.borrow().len() <= stop_at
        };
        let loaded = rig.runtime.load_model("test", &folder, &config(EXACT), &on);
        let seen = seen.into_inner();
        match loaded {
            Ok(model) => {
                // Only the last report comes too late to stop anything.
                assert_eq!((seen.last(), seen.len() - 1), (Some(&LoadState::Ready), stop_at));
                assert_eq!(greedy(&model), greedy(&Rig::new(PLENTY).golden("llama-sharded")));
                break;
            }
            Err(error) => {
                assert_eq!(error.code(), ErrorCode::LoadCancelled);
                assert_eq!((seen.last(), seen.len()), (Some(&LoadState::Failed), stop_at + 2), "{seen:?}");
                rig.assert_back(&empty, "a stopped load");
            }
        }
    }
}

#[test]
fn a_gguf_file_gives_the_same_tokens_as_its_folder() {
    let index = golden_json("gguf/index.json");
    let mut compared = 0;
    for entry in index["files"].as_array().unwrap() {
        let text = |key: &str| entry[key].as_str().unwrap();
        // A quantised file is another model than its folder.
        if text("type") == "Q8_0" {
            continue;
        }
        let rig = Rig::new(PLENTY);
        let folder = rig.load(&golden(text("folder")), EXACT).unwrap();
        let file = rig.load(&golden(text("file")), EXACT).unwrap();
        assert_eq!(greedy(&file), greedy(&folder), "{}", text("file"));
        compared += 1;
    }
    assert_eq!(compared, 14);
}

#[test]
fn backends_and_thread_counts_give_the_same_tokens() {
    for name in ["llama3", "qwen2", "llama-untied"] {
        let rig = Rig::new(PLENTY);
        let expected = greedy(&rig.golden(name));
        for setting in
            [("native.backend", "candle"), ("native.threads", "2"), ("native.max_step_tokens", "16")]
        {
            let model = rig.load(&model_folder(name), &[EXACT, &[setting]].concat()).unwrap();
            assert_eq!(greedy(&model), expected, "{name} with {setting:?}");
            eventually("all sessions are gone", || model.check_integrity().is_ok());
        }
    }
}
