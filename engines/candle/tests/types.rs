//! Every quantised tensor type: logits against transformers' on the weights that gguf-py reads, and bytes held.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{BACKENDS, BOUND, Bench, evaluator, exact, golden, golden_prompts, worst};
use plimsoll_candle::{BackendKind, LoadPlan};
use plimsoll_engine::Engine;
use plimsoll_formats::Dtype;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The golden files: type, model, logits.
fn files() -> Vec<(String, PathBuf, PathBuf)> {
    let index = std::fs::read(golden().join("types/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let text = |file: &serde_json::Value, key: &str| file[key].as_str().unwrap().to_owned();
    let files = index["files"].as_array().unwrap().iter();
    files
        .map(|file| {
            (text(file, "type"), golden().join(text(file, "file")), golden().join(text(file, "logits")))
        })
        .collect()
}

#[test]
fn every_type_agrees_with_transformers_at_every_position() {
    // The golden files of whole models have the others.
    let elsewhere = [Dtype::F32, Dtype::F16, Dtype::BF16, Dtype::Q8_0];
    let due = Dtype::ALL.into_iter().filter(|dtype| !elsewhere.contains(dtype));
    let due: BTreeSet<_> = due.map(|dtype| dtype.name().to_owned()).collect();
    let found: BTreeSet<_> = files().into_iter().map(|(dtype, ..)| dtype).collect();
    assert_eq!(found, due);
    for backend in BACKENDS {
        for (dtype, file, logits) in files() {
            let prompts = golden_prompts(&logits);
            assert!(prompts.len() >= 2, "{dtype}");
            let (_books, mut evaluator) = evaluator(&file, exact(backend));
            for chunk in [64, 7, 1] {
                let error = worst(&mut evaluator, &prompts, chunk);
                println!("{backend:?} {dtype} in pieces of {chunk}: {error:.1e}");
                assert!(error <= BOUND, "{backend:?} {dtype} in pieces of {chunk}: {error}");
            }
        }
    }
}

#[test]
fn weights_are_held_in_the_bytes_of_the_file() {
    for (dtype, file, _) in files() {
        let plan = LoadPlan::inspect(&file, exact(BackendKind::Cpu)).unwrap();
        // All vectors of these files are f32, as they are in memory.
        assert_eq!(plan.weights_bytes(), plan.checkpoint().weight_bytes(), "{dtype}");
        let kept = plan.checkpoint().tensors["model.embed_tokens.weight"].dtype;
        assert_eq!(kept.name(), dtype);
        let bytes = plan.weights_bytes();
        let bench = Bench::try_load(&file, exact(BackendKind::Cpu)).unwrap();
        assert_eq!(bench.engine.holdings().weights, bytes, "{dtype}");
        assert_eq!(bench.books.held(common::WEIGHTS), bytes, "{dtype}");
    }
}
