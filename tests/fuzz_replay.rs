//! Every kept input of the fuzz targets, run again without a fuzzer: what one found stays found.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "it is a crate of its own for the fuzzer")]
mod fuzz;

use std::path::Path;

#[global_allocator]
static HEAP: fuzz::heap::Counting = fuzz::heap::Counting;

/// Runs a target on each of its seeds; `least` is how many there are at the least.
fn replay(target: &str, least: usize, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut ran = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        run(&std::fs::read(&path).unwrap());
        ran += 1;
    }
    assert!(ran >= least, "{target}: {ran} seeds");
}

#[test]
fn gguf() {
    replay("gguf", 4, fuzz::gguf);
}

#[test]
fn safetensors() {
    replay("safetensors", 4, fuzz::safetensors);
}

#[test]
fn config() {
    replay("config", 8, fuzz::config);
}

#[test]
fn tokenizer() {
    replay("tokenizer", 4, fuzz::tokenizer);
}

#[test]
fn template() {
    replay("template", 8, fuzz::template);
}

#[cfg(feature = "native")]
#[test]
fn calls() {
    replay("calls", 8, fuzz::calls);
}
