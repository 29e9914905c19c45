//! Logits against those that transformers computed in f32 from the same weights.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{
    BACKENDS, BOUND, GoldenPrompt, evaluator, exact, golden, golden_prompts, quantized_bound, worst,
};
use plimsoll_candle::{BackendKind, KvDtype, Options};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const MODELS: [&str; 21] = [
    "llama3",
    "llama-untied",
    "qwen2",
    "qwen3",
    "llama-sharded",
    "llama-f16",
    "llama3-bf16",
    "llama3-newconfig",
    "llama-linear",
    "llama-yarn",
    "mistral",
    "qwen2-window",
    "phi3-window",
    STRETCHED,
    "gemma2",
    "gemma3",
    "gemma3-eyes",
    "mixtral",
    "qwen2-moe",
    "qwen3-moe",
    "qwen3-moe-mixed",
];

/// The model with two lists of rotary divisors, and the longest context that the first is for.
const STRETCHED: &str = "phi3-long";
const SHORT: usize = 32;

/// A model's prompts with the options to load it with. transformers chooses between two lists of divisors by a prompt's
/// length, the engine once, by the context it is made for.
fn loads(path: &Path, logits: &Path, options: Options) -> Vec<(Options, Vec<GoldenPrompt>)> {
    let prompts = golden_prompts(logits);
    assert!(prompts.len() >= 3, "{}", path.display());
    if !path.file_name().unwrap().to_str().unwrap().starts_with(STRETCHED) {
        return vec![(options, prompts)];
    }
    let (short, long): (Vec<_>, Vec<_>) = prompts.into_iter().partition(|prompt| prompt.ids.len() <= SHORT);
    assert!(!short.is_empty() && !long.is_empty());
    let brief = Options { context_length: SHORT as u32, ..options.clone() };
    vec![(brief, short), (options, long)]
}

fn folder(model: &str) -> PathBuf {
    golden().join("models").join(model)
}

#[test]
fn folders_agree_with_transformers_at_every_position() {
    for backend in BACKENDS {
        for model in MODELS {
            let path = folder(model);
            for (options, prompts) in loads(&path, &path.join("logits.safetensors"), exact(backend)) {
                let (_books, mut evaluator) = evaluator(&path, options);
                for chunk in [64, 7, 1] {
                    let error = worst(&mut evaluator, &prompts, chunk);
                    println!("{backend:?} {model} in pieces of {chunk}: {error:.1e}");
                    assert!(error <= BOUND, "{backend:?} {model} in pieces of {chunk}: {error}");
                }
            }
        }
    }
}

#[test]
fn half_precision_kv_stays_close() {
    for backend in BACKENDS {
        for model in ["llama3", "qwen3"] {
            let prompts = golden_prompts(&folder(model).join("logits.safetensors"));
            let options = Options { kv_dtype: KvDtype::F16, ..exact(backend) };
            let (_books, mut evaluator) = evaluator(&folder(model), options);
            let error = worst(&mut evaluator, &prompts, 7);
            println!("{backend:?} {model} with f16 KV: {error:.1e}");
            assert!(error > 0.0 && error <= 5e-3, "{backend:?} {model} with f16 KV: {error}");
        }
    }
}

#[test]
fn eight_bit_kv_stays_close() {
    // The model whose heads are whole blocks.
    let model = "qwen3";
    let prompts = golden_prompts(&folder(model).join("logits.safetensors"));
    let mut errors = Vec::new();
    for chunk in [64, 1] {
        let options = Options { kv_dtype: KvDtype::Q8_0, ..exact(BackendKind::Cpu) };
        let (_books, mut evaluator) = evaluator(&folder(model), options);
        errors.push(worst(&mut evaluator, &prompts, chunk));
    }
    println!("{model} with q8_0 KV, at once and token by token: {errors:?}");
    assert!(errors.iter().all(|error| *error > 0.0 && *error <= 0.1), "{model} with q8_0 KV: {errors:?}");
}

#[test]
fn gguf_files_agree_with_transformers_at_every_position() {
    let index = std::fs::read(golden().join("gguf/index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
    let files = index["files"].as_array().unwrap();
    let path = |file: &serde_json::Value, key: &str| golden().join(file[key].as_str().unwrap());
    let types: BTreeSet<_> = files.iter().map(|file| file["type"].as_str().unwrap()).collect();
    assert_eq!(types, BTreeSet::from(["BF16", "F16", "F32", "Q8_0"]));
    for backend in BACKENDS {
        for file in files {
            for (options, prompts) in loads(&path(file, "file"), &path(file, "logits"), exact(backend)) {
                let (_books, mut evaluator) = evaluator(&path(file, "file"), options);
                for chunk in [64, 7] {
                    let error = worst(&mut evaluator, &prompts, chunk);
                    println!("{backend:?} {} in pieces of {chunk}: {error:.1e}", file["file"]);
                    let bound = if file["type"] == "Q8_0" { quantized_bound(backend, chunk) } else { BOUND };
                    assert!(error <= bound, "{backend:?} {} in pieces of {chunk}: {error}", file["file"]);
                }
            }
        }
    }
}
