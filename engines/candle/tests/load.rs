//! Loading: states, progress, stopping, and files that are not what they should be.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{BACKENDS, Bench, Books, Scratch, WEIGHTS, WORKSPACE, exact, golden, onward};
use plimsoll_candle::{
    BackendKind, Environment, LoadError, LoadPlan, LoadState, NativeEngine, Options, Progress,
};
use plimsoll_engine::{Engine, EngineError};
use plimsoll_formats::FormatError;
use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Loads with a watcher, and checks that a failed load gives every byte back.
fn load(
    plan: LoadPlan,
    watcher: &dyn Fn(Progress) -> ControlFlow<()>,
) -> (Arc<Books>, Result<Arc<NativeEngine>, LoadError>) {
    let books = Arc::new(Books::default());
    let weights = books.lease(WEIGHTS, plan.weights_bytes());
    let workspace = books.lease(WORKSPACE, plan.workspace_bytes());
    let loaded = plan.load(weights, workspace, &Environment::default(), watcher);
    if loaded.is_err() {
        assert_eq!(books.total(), 0);
    }
    (books, loaded)
}

fn inspect(path: &Path) -> Result<LoadPlan, LoadError> {
    LoadPlan::inspect(path, exact(BackendKind::Cpu))
}

#[test]
fn states_come_in_order_with_each_shard_and_every_byte() {
    for backend in BACKENDS {
        let plan = LoadPlan::inspect(&golden().join("models/llama-sharded"), exact(backend)).unwrap();
        let bytes = plan.checkpoint().weight_bytes();
        let seen = RefCell::new(Vec::new());
        let (_books, engine) = load(plan, &|progress| {
            seen.borrow_mut().push(progress);
            ControlFlow::Continue(())
        });
        let engine = engine.unwrap();
        assert_eq!(engine.capabilities().vocab_size, 384);
        let seen = seen.into_inner();
        let mut states: Vec<_> = seen.iter().map(|progress| progress.state).collect();
        states.dedup();
        use LoadState::{Preparing, Queued, Reading, Ready, Warm};
        assert_eq!(states, [Queued, Reading, Preparing, Warm, Ready]);
        let mut shards: Vec<_> = seen.iter().map(|progress| progress.shard).collect();
        shards.dedup();
        assert_eq!(shards, [0, 1, 2]);
        assert!(seen.is_sorted_by_key(|progress| progress.bytes_done));
        assert!(seen.iter().all(|progress| (progress.shards, progress.bytes_total) == (2, bytes)));
        assert_eq!(seen.last().unwrap().bytes_done, bytes);
    }
}

#[test]
fn a_load_can_be_stopped_at_any_state() {
    for stop in [LoadState::Queued, LoadState::Reading, LoadState::Preparing, LoadState::Warm] {
        let plan = inspect(&golden().join("models/llama3")).unwrap();
        let last = RefCell::new(LoadState::Queued);
        let (_books, loaded) = load(plan, &|progress| {
            *last.borrow_mut() = progress.state;
            if progress.state == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        assert!(matches!(loaded, Err(LoadError::Cancelled)), "{stop:?}");
        assert_eq!(last.into_inner(), LoadState::Failed);
    }
}

#[test]
fn dropping_an_engine_returns_every_byte() {
    let plan = inspect(&golden().join("models/llama3")).unwrap();
    let (books, engine) = load(plan, &onward);
    assert!(books.total() > 0);
    drop(engine);
    assert_eq!(books.total(), 0);
}

#[test]
fn a_lease_that_is_too_small_is_refused_and_one_too_large_is_cut() {
    for (less_weights, less_workspace) in [(1, 0), (0, 1)] {
        let plan = inspect(&golden().join("models/llama3")).unwrap();
        let books = Arc::new(Books::default());
        let weights = books.lease(WEIGHTS, plan.weights_bytes() - less_weights);
        let workspace = books.lease(WORKSPACE, plan.workspace_bytes() - less_workspace);
        let loaded = plan.load(weights, workspace, &Environment::default(), &onward);
        assert!(matches!(loaded, Err(LoadError::Engine(EngineError::Unpaid { .. }))));
        assert_eq!(books.total(), 0);
    }
    let plan = inspect(&golden().join("models/llama3")).unwrap();
    let books = Arc::new(Books::default());
    let needed = plan.weights_bytes() + plan.workspace_bytes();
    let weights = books.lease(WEIGHTS, plan.weights_bytes() + 1000);
    let workspace = books.lease(WORKSPACE, plan.workspace_bytes() + 1000);
    let _engine = plan.load(weights, workspace, &Environment::default(), &onward).unwrap();
    assert_eq!(books.total(), needed);
}

#[test]
fn a_shard_that_changes_after_it_was_inspected_is_refused() {
    type Spoil = fn(&Path);
    let cases: [(&str, Spoil); 3] = [
        ("truncated", |file| {
            let bytes = std::fs::read(file).unwrap();
            std::fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
        }),
        ("grown", |file| {
            let mut bytes = std::fs::read(file).unwrap();
            bytes.push(0);
            std::fs::write(file, bytes).unwrap();
        }),
        ("removed", |file| std::fs::remove_file(file).unwrap()),
    ];
    for (name, spoil) in cases {
        let scratch = Scratch::model(name, "llama-sharded");
        let plan = inspect(&scratch.0).unwrap();
        spoil(&scratch.0.join("model-00002-of-00002.safetensors"));
        let (_books, loaded) = load(plan, &onward);
        assert!(matches!(loaded, Err(LoadError::Format(_))), "{name}");
    }
    // Truncated while it is read.
    let scratch = Scratch::model("during", "llama-sharded");
    let plan = inspect(&scratch.0).unwrap();
    let (_books, loaded) = load(plan, &|progress| {
        if progress.state == LoadState::Reading {
            let file = scratch.0.join("model-00001-of-00002.safetensors");
            std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(3000).unwrap();
        }
        ControlFlow::Continue(())
    });
    assert!(matches!(loaded, Err(LoadError::Format(FormatError::Io { .. } | FormatError::Changed { .. }))));
}

#[test]
fn what_cannot_be_loaded_is_named_before_any_byte_is_leased() {
    let edits: [(&str, &str, &str, &str); 4] = [
        ("architecture", "LlamaForCausalLM", "MambaForCausalLM", "amba"),
        ("shape", "\"intermediate_size\": 96", "\"intermediate_size\": 112", "gate_proj"),
        ("missing", "\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3", "model.layers.2."),
        ("heads", "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3", "heads"),
    ];
    for (name, from, to, word) in edits {
        let scratch = Scratch::model(name, "llama3");
        let file = scratch.0.join("config.json");
        let config = std::fs::read_to_string(&file).unwrap();
        assert!(config.contains(from), "{from}");
        let config = config.replace(from, to).replace(
            "\"model_type\": \"llama\"",
            match name {
                "architecture" => "\"model_type\": \"mamba\"",
                _ => "\"model_type\": \"llama\"",
            },
        );
        std::fs::write(&file, config).unwrap();
        let error = inspect(&scratch.0).unwrap_err().to_string();
        assert!(error.contains(word), "{name}: {error}");
    }
    let scratch = Scratch::model("cut", "llama3");
    let file = scratch.0.join("model.safetensors");
    let whole = std::fs::read(&file).unwrap();
    for percent in 0..100 {
        std::fs::write(&file, &whole[..whole.len() * percent / 100]).unwrap();
        assert!(matches!(inspect(&scratch.0), Err(LoadError::Format(_))), "{percent} %");
    }
    assert!(matches!(inspect(Path::new("/nowhere")), Err(LoadError::Format(_))));
}

#[test]
fn weights_that_give_no_numbers_are_found_at_load() {
    for backend in BACKENDS {
        let scratch = Scratch::model("nan", "llama3");
        let file = scratch.0.join("model.safetensors");
        let mut bytes = std::fs::read(&file).unwrap();
        let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        for value in bytes[8 + header..].chunks_exact_mut(4) {
            value.copy_from_slice(&f32::NAN.to_le_bytes());
        }
        std::fs::write(&file, bytes).unwrap();
        let plan = LoadPlan::inspect(&scratch.0, exact(backend)).unwrap();
        let (_books, loaded) = load(plan, &onward);
        let error = loaded.unwrap_err();
        assert!(matches!(error, LoadError::NotNumbers), "{backend:?}: {error}");
    }
}

#[test]
fn the_same_files_have_the_same_key_through_any_path() {
    let scratch = Scratch::new("links");
    let folder = golden().join("models/llama3").canonicalize().unwrap();
    let link = scratch.0.join("link");
    std::os::unix::fs::symlink(&folder, &link).unwrap();
    let (direct, linked) = (inspect(&folder).unwrap(), inspect(&link).unwrap());
    assert_eq!(direct.key(), linked.key());
    let other = LoadPlan::inspect(&folder, Options { max_sequences: 3, ..exact(BackendKind::Cpu) }).unwrap();
    assert_ne!(direct.key(), other.key());
    assert_ne!(direct.key(), inspect(&golden().join("models/qwen2")).unwrap().key());
    assert!(Bench::try_load(&link, exact(BackendKind::Cpu)).is_ok());
}
