//! Every quantised tensor type: logits against transformers' on the weights that gguf-py reads, and bytes held; and models
//! that gguf-py wrote in parts.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{
    BACKENDS, Bench, Books, Scratch, WEIGHTS, WORKSPACE, evaluator, exact, golden, golden_prompts,
    quantized_bound, worst,
};
use plimsoll_candle::{BackendKind, Environment, LoadPlan};
use plimsoll_engine::Engine;
use plimsoll_formats::Dtype;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

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
                assert!(
                    error <= quantized_bound(backend, chunk),
                    "{backend:?} {dtype} in pieces of {chunk}: {error}"
                );
            }
        }
    }
}

/// Bytes of a matrix in memory: panels of 16 rows, in cells of so many inputs, have the bytes of their blocks, and in some
/// types scales of 6 bits as bytes and sections filled up to whole cache lines.
fn packed_bytes(dtype: Dtype, rows: u64, cols: u64) -> u64 {
    let (inputs, spare) = match dtype {
        Dtype::F32 => return rows * cols * 4,
        Dtype::F16 | Dtype::BF16 => (32, 0),
        Dtype::MXFP4 => (128, 0),
        Dtype::Q4K | Dtype::Q5K | Dtype::IQ4XS => (256, 64),
        Dtype::Q6K => (256, 32),
        Dtype::Q3K => (256, 96),
        Dtype::Q2K => (256, 0),
        _ => (64, 0),
    };
    rows.div_ceil(16) * cols.div_ceil(inputs) * (dtype.bytes_for(16 * inputs).unwrap() + spare)
}

#[test]
fn weights_are_held_in_the_bytes_that_were_priced() {
    for (dtype, file, _) in files() {
        let plan = LoadPlan::inspect(&file, exact(BackendKind::Cpu)).unwrap();
        let bytes_of = |tensor: &plimsoll_formats::TensorInfo| match tensor.shape[..] {
            [rows, cols] => packed_bytes(tensor.dtype, rows, cols),
            // All vectors of these files are f32, as they are in memory.
            _ => {
                assert_eq!(tensor.dtype, Dtype::F32, "{dtype}");
                tensor.bytes
            }
        };
        let bytes: u64 = plan.checkpoint().tensors.values().map(bytes_of).sum();
        assert_eq!(plan.weights_bytes(), bytes, "{dtype}");
        let kept = plan.checkpoint().tensors["model.embed_tokens.weight"].dtype;
        assert_eq!(kept.name(), dtype);
        let bytes = plan.weights_bytes();
        let bench = Bench::try_load(&file, exact(BackendKind::Cpu)).unwrap();
        assert_eq!(bench.engine.holdings().weights, bytes, "{dtype}");
        assert_eq!(bench.books.held(WEIGHTS), bytes, "{dtype}");
    }
}

#[test]
fn a_model_in_parts_is_the_whole_one() {
    let (_, file, logits) = files().into_iter().find(|(dtype, ..)| dtype == "Q2_K").unwrap();
    let parts = golden().join("types/q2_k-split-00001-of-00003.gguf");
    let prompts = golden_prompts(&logits);
    for backend in BACKENDS {
        let (_books, mut whole) = evaluator(&file, exact(backend));
        let (_books, mut split) = evaluator(&parts, exact(backend));
        assert!(worst(&mut split, &prompts, 64) <= quantized_bound(backend, 64));
        let ids = &prompts[0].ids;
        assert_eq!(split.logits(ids, 64).unwrap(), whole.logits(ids, 64).unwrap(), "{backend:?}");
    }
    let plan = LoadPlan::inspect(&parts, exact(BackendKind::Cpu)).unwrap();
    let checkpoint = plan.checkpoint();
    assert_eq!(checkpoint.files.len(), 3);
    assert!((0..3).all(|part| checkpoint.tensors.values().any(|tensor| tensor.file == part)));
    let whole = LoadPlan::inspect(&file, exact(BackendKind::Cpu)).unwrap();
    assert_eq!(plan.weights_bytes(), whole.weights_bytes());
}

#[test]
fn parts_are_read_and_known_like_shards() {
    let scratch = Scratch::new("parts");
    let name = |part: usize| format!("q2_k-split-{part:05}-of-00003.gguf");
    for part in 1..=3 {
        std::fs::copy(golden().join("types").join(name(part)), scratch.0.join(name(part))).unwrap();
    }
    let inspect = || LoadPlan::inspect(&scratch.0.join(name(1)), exact(BackendKind::Cpu));
    let plan = inspect().unwrap();
    let seen = RefCell::new(BTreeSet::new());
    let books = Arc::new(Books::default());
    let weights = books.lease(WEIGHTS, plan.weights_bytes());
    let workspace = books.lease(WORKSPACE, plan.workspace_bytes());
    let key = plan.key();
    let engine = plan.load(weights, workspace, &Environment::default(), &|progress| {
        seen.borrow_mut().insert((progress.shard, progress.shards));
        ControlFlow::Continue(())
    });
    engine.unwrap();
    assert_eq!(seen.into_inner(), BTreeSet::from([(0, 3), (1, 3), (2, 3), (3, 3)]));

    // Another third part is another model, and one that is gone is missed.
    let third = scratch.0.join(name(3));
    let mut bytes = std::fs::read(&third).unwrap();
    bytes.push(0);
    std::fs::write(&third, bytes).unwrap();
    assert_ne!(inspect().unwrap().key(), key);
    std::fs::remove_file(&third).unwrap();
    let error = inspect().unwrap_err().to_string();
    assert!(error.contains(&name(3)) && error.contains("part 3 of 3 is absent"), "{error}");
    let error = LoadPlan::inspect(&scratch.0.join(name(2)), exact(BackendKind::Cpu)).unwrap_err().to_string();
    assert!(error.contains("part 2 of 3") && error.contains("-00001-of-00003.gguf"), "{error}");
}
