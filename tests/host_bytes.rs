//! Host memory beside weights, workspace and KV: leased under its owners, and what no lease pays for is little.
//!
//! The process's heap is counted here, by this binary's allocator. The library does not count it in this build; `ctests/host.c`
//! looks at the one that does.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::heap::{Counting, held};
use common::{Books, EXACT, PLENTY, Rig, Scratch, ask_tokens, ids, model_folder, run, session};
use plimsoll::guard::{OwnerStats, Purpose};
use plimsoll::{ErrorCode, Model, Runtime, Session};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static HEAP: Counting = Counting;

/// Whoever counts is alone.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo")
}

/// Bytes on the heap since `before` that no lease pays for and that do not lie idle in the pool, where rings are. The workspace is
/// leased and mapped.
fn unpaid(runtime: &Runtime, before: i64) -> i64 {
    let memory = runtime.memory();
    let known = memory.host().used - memory.workspace_bytes + memory.pool.all_idle_bytes();
    held() - before - known as i64
}

fn bound(runtime: &Runtime) -> i64 {
    (1 << 20) + runtime.memory().host().used as i64 / 100
}

#[test]
fn what_no_lease_pays_for_is_little() {
    let _alone = alone();
    for path in [demo(), model_folder("llama3"), model_folder("gemma3"), model_folder("qwen3-moe")] {
        let before = held();
        let rig = Rig::new(PLENTY);
        let model = rig.load(&path, EXACT).unwrap();
        let check = |what: &str| {
            let (unpaid, bound) = (unpaid(&rig.runtime, before), bound(&rig.runtime));
            assert!(unpaid <= bound, "{}: {what}: {unpaid} bytes, {bound} are allowed", path.display());
        };
        check("loaded");
        let open: Vec<Session> = (0..40).map(|_| session(&model)).collect();
        for turn in 0..3 {
            for (at, open) in open.iter().enumerate() {
                run(open, &ask_tokens(&ids(at as u32, 20).iter().map(|id| id % 200).collect::<Vec<_>>(), 10));
            }
            check(&format!("turn {turn}"));
        }
        let process = rig.runtime.process_memory(rig.runtime.memory().host().used);
        assert!(process.talk >= 40 * (1024 + 3 * 30 * 4), "{process:?}");
        let ticket = open[0].admit(&ask_tokens(&[7; 30], 50)).unwrap().1;
        check("a ticket waits");
        drop(ticket);
        drop(open);
        check("closed");
        assert_eq!(rig.runtime.process_memory(0).talk, 0);
    }
}

fn owned(runtime: &Runtime, purpose: Purpose) -> u64 {
    let ledger = runtime.memory().ledger;
    ledger
        .iter()
        .filter(|entry| Purpose::of(entry.owner) == purpose)
        .map(|&OwnerStats { bytes, .. }| bytes)
        .sum()
}

fn host_of(rig: &Rig, model: &Model) -> u64 {
    let memory = rig.runtime.memory();
    assert_eq!(model.host_bytes(), memory.text_bytes + memory.tables_bytes);
    assert_eq!(memory.text_bytes, owned(&rig.runtime, Purpose::Text));
    assert_eq!(memory.tables_bytes, owned(&rig.runtime, Purpose::Tables));
    model.host_bytes()
}

#[test]
fn a_tokenizer_has_its_lease_and_gives_it_back() {
    let _alone = alone();
    let rig = Rig::new(PLENTY);
    let empty = Books::of(&rig.runtime);
    let model = rig.golden("llama3");
    assert!(host_of(&rig, &model) > 0);
    let small = rig.runtime.memory().text_bytes;
    let named = rig.runtime.memory_json()["ledger"].to_string();
    assert!(named.contains("text of model") && named.contains("tables of model"), "{named}");
    assert!(rig.runtime.memory_json()["process"]["mapped_bytes"].as_u64().unwrap() > 0);
    drop(model);
    rig.assert_back(&empty, "an unloaded model");
    // The demo's vocabulary is six times as large.
    let model = rig.load(&demo(), EXACT).unwrap();
    assert!(host_of(&rig, &model) > 0 && rig.runtime.memory().text_bytes > small);
}

/// Makes a tokenizer of a hundred thousand tokens more.
fn fatten(folder: &Scratch) {
    const MORE: usize = 100_000;
    folder.edit("tokenizer.json", |tokenizer| {
        let vocab = tokenizer["model"]["vocab"].as_object_mut().unwrap();
        let first = vocab.len();
        for at in 0..MORE {
            vocab.insert(format!("a_very_long_word_indeed,_number_{at}"), (first + at).into());
        }
        // Control tokens follow the vocabulary.
        for token in tokenizer["added_tokens"].as_array_mut().unwrap() {
            token["id"] = (token["id"].as_u64().unwrap() + MORE as u64).into();
        }
        tokenizer["post_processor"] = serde_json::Value::Null;
    });
}

#[test]
fn a_tokenizer_that_is_too_large_is_refused_with_its_numbers() {
    let _alone = alone();
    let folder = Scratch::model("llama3");
    fatten(&folder);
    let takes = {
        let rig = Rig::new(PLENTY);
        let model = rig.load(folder.path(), EXACT).unwrap();
        host_of(&rig, &model)
    };
    assert!(takes > 20 << 20, "{takes}");
    let before = held();
    for room in [4 << 20, takes] {
        let rig = Rig::new(room);
        let empty = Books::of(&rig.runtime);
        let error = rig.load(folder.path(), EXACT).err().unwrap();
        assert_eq!(error.code(), ErrorCode::MemoryRefused, "{error}");
        let numbers = error.numbers();
        assert!(
            numbers.bytes_asked > numbers.bytes_free && error.message().contains("text of model"),
            "{error}"
        );
        rig.assert_back(&empty, "a refused load");
    }
    assert!(held() - before < 1 << 20, "nothing of it stays");
    // With room for it the model loads and talks.
    let rig = Rig::new(PLENTY);
    let model = rig.load(folder.path(), EXACT).unwrap();
    run(&session(&model), &ask_tokens(&[7; 5], 2));
}
