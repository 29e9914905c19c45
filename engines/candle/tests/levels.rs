//! The quantised types on every instruction set that the machine has: greedy tokens against those of the scalar kernels.
//!
//! The tokens in `tests/golden/types/greedy.json` are recorded on the portable level, whose kernels are the plain twins of all
//! others: `PLIMSOLL_CPU=portable PLIMSOLL_UPDATE_TOKENS=1 cargo test -p plimsoll-candle --test levels`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bench, COARSE, FINE, evaluator, exact, golden, request};
use plimsoll_candle::{BackendKind, Options};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// What `PLIMSOLL_CPU` may be. A level that the machine lacks is not there to be checked: the best that it has runs then.
const LEVELS: [&str; 5] = ["portable", "avx2", "avx512", "avx512-vnni", "amx"];
const PROMPT: usize = 40;
const TOKENS: usize = 40;
/// Positions of all files that must be clear of rounding, in pieces of one token and of many.
const CHECKED: [usize; 2] = [500, 120];

fn record() -> PathBuf {
    golden().join("types/greedy.json")
}

fn options() -> Options {
    exact(BackendKind::Cpu)
}

fn files() -> Vec<String> {
    let index: Value =
        serde_json::from_slice(&std::fs::read(golden().join("types/index.json")).unwrap()).unwrap();
    let types =
        index["files"].as_array().unwrap().iter().map(|file| file["file"].as_str().unwrap().to_owned());
    types.chain(["gguf/llama3-q8_0.gguf".to_owned()]).collect()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

/// The likeliest token, how far it is above the next, and the largest |logit|.
fn top(logits: &[f32]) -> (u32, f32, f32) {
    let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
    let second = (0..logits.len()).filter(|&at| at != best).map(|at| logits[at]).fold(f32::MIN, f32::max);
    let largest = logits.iter().fold(0f32, |largest, logit| largest.max(logit.abs()));
    (best as u32, logits[best] - second, largest)
}

/// Greedy tokens after a prompt, one at a time, with each step's margin and largest |logit|.
fn greedy(file: &str) -> Value {
    let (_books, mut evaluator) = evaluator(&golden().join(file), options());
    let vocab = evaluator.logits(&[0], 1).unwrap().len();
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % vocab
    };
    let mut text: Vec<u32> = (0..PROMPT).map(|_| next() as u32).collect();
    let (mut margins, mut largest) = (Vec::new(), Vec::new());
    for _ in 0..TOKENS {
        let logits = evaluator.logits(&text, 1).unwrap();
        let (id, margin, most) = top(&logits[logits.len() - vocab..]);
        text.push(id);
        margins.push(margin);
        largest.push(most);
    }
    let (prompt, ids) = text.split_at(PROMPT);
    json!({ "file": file, "prompt": prompt, "ids": ids, "margins": margins, "largest": largest })
}

#[test]
fn tokens_of_this_level() {
    if std::env::var_os("PLIMSOLL_UPDATE_TOKENS").is_some() {
        assert_eq!(
            std::env::var("PLIMSOLL_CPU").as_deref(),
            Ok("portable"),
            "tokens are the portable level's"
        );
        let lines: Vec<_> = files().iter().map(|file| format!("  {}", greedy(file))).collect();
        std::fs::write(record(), format!("{{\"files\": [\n{}\n]}}\n", lines.join(",\n"))).unwrap();
    }
    let recorded: Value = serde_json::from_slice(&std::fs::read(record()).unwrap()).unwrap();
    let recorded = recorded["files"].as_array().unwrap();
    let names: Vec<_> = recorded.iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(names, files());
    let mut checked = [0; 2];
    for file in recorded {
        let name = file["file"].as_str().unwrap();
        let (prompt, expected) = (ids(&file["prompt"]), ids(&file["ids"]));
        let (margins, largest) = (numbers(&file["margins"]), numbers(&file["largest"]));
        assert_eq!((prompt.len(), expected.len(), margins.len()), (PROMPT, TOKENS, TOKENS));
        let certain = |at: usize, bound: f32| margins[at] > 2.0 * bound * largest[at];
        let path = golden().join(name);

        // The same text is fed as it is recorded, so that one position near a tie does not decide all that follow.
        let text = [prompt.as_slice(), expected.as_slice()].concat();
        let (_books, mut evaluator) = evaluator(&path, options());
        for (checked, (chunk, bound)) in checked.iter_mut().zip([(1, FINE), (64, COARSE)]) {
            let logits = evaluator.logits(&text, chunk).unwrap();
            let vocab = logits.len() / text.len();
            for at in (0..TOKENS).filter(|&at| certain(at, bound)) {
                let row = (PROMPT + at - 1) * vocab;
                let (id, ..) = top(&logits[row..row + vocab]);
                assert_eq!(id, expected[at], "{name} at {at} in pieces of {chunk}: margin {}", margins[at]);
                *checked += 1;
            }
        }

        // And as a request runs: the prompt at once, then token by token from KV.
        let bench = Bench::try_load(&path, options()).unwrap();
        let found = bench.run(request(1, &prompt, TOKENS as u32)).ids();
        let first = (0..TOKENS).find(|&at| !certain(at, COARSE)).unwrap_or(TOKENS);
        assert_eq!(found[..first], expected[..first], "{name}");
    }
    assert!(
        checked.iter().zip(CHECKED).all(|(found, least)| *found >= least),
        "{checked:?} positions are clear"
    );
    println!("{checked:?} positions are clear of rounding");
}

/// The level is chosen once per process, so each has one of its own.
#[test]
fn every_level_gives_the_same_tokens() {
    for level in LEVELS {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tokens_of_this_level"])
            .env("PLIMSOLL_CPU", level)
            .env_remove("PLIMSOLL_UPDATE_TOKENS")
            .output()
            .unwrap();
        let text = [child.stdout, child.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        assert!(child.status.success() && text.contains("1 passed"), "{level}: {text}");
    }
}
