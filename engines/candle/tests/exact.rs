//! The estimate is what is then allocated, as the allocator counts it: every family, five lengths, every KV type, real runs.
//!
//! The only test of its binary, so that nothing else allocates meanwhile. KV blocks are the heap's only memory on cache lines
//! (weights are read before the count begins, the workspace is mapped), so that they are told from everything else.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bench, Scratch, exact, golden, request};
use plimsoll_candle::{BackendKind, KvDtype, Options};
use plimsoll_engine::{Engine, Next, Request, Shape};
use serde_json::{Map, Value, json};
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

const CACHE_LINE: usize = 64;
const LENGTHS: [u64; 5] = [16, 17, 100, 513, 2048];

/// Bytes that are live and the most that were, of one kind.
struct Live {
    now: AtomicI64,
    most: AtomicI64,
}

impl Live {
    const fn new() -> Self {
        Live { now: AtomicI64::new(0), most: AtomicI64::new(0) }
    }

    fn change(&self, bytes: i64) {
        let now = self.now.fetch_add(bytes, Ordering::SeqCst) + bytes;
        self.most.fetch_max(now, Ordering::SeqCst);
    }

    fn now(&self) -> i64 {
        self.now.load(Ordering::SeqCst)
    }

    /// Counts the most from now on. Returns what is live.
    fn mark(&self) -> i64 {
        let now = self.now();
        self.most.store(now, Ordering::SeqCst);
        now
    }

    /// The most since the mark, beyond what was live there.
    fn rose(&self, mark: i64) -> u64 {
        u64::try_from(self.most.load(Ordering::SeqCst) - mark).unwrap()
    }
}

static BLOCKS: Live = Live::new();
static OTHERS: Live = Live::new();
/// What each thread sets aside for products of f32 when it computes the first: as much as its second-level cache.
static SLABS: Live = Live::new();

fn kind(layout: Layout, size: usize) -> &'static Live {
    match layout.align() {
        CACHE_LINE => &BLOCKS,
        _ if size >= 256 << 10 => &SLABS,
        _ => &OTHERS,
    }
}

struct Counting;

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        kind(layout, layout.size()).change(layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        kind(layout, layout.size()).change(-(layout.size() as i64));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        kind(layout, layout.size()).change(-(layout.size() as i64));
        kind(layout, size).change(size as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The rows of the independent table, with these lengths and blocks of 16 tokens, for a KV type.
fn rows<'a>(entry: &'a Value, list: &str, kv_type: &'a str) -> impl Iterator<Item = (u32, u64)> + 'a {
    let list = entry[list].as_array().unwrap().iter();
    list.filter(move |row| row["kv_type"] == kv_type && row["block_tokens"] == 16)
        .map(|row| (row["tokens"].as_u64().unwrap(), row["kv_bytes"].as_u64().unwrap()))
        .filter(|(tokens, _)| LENGTHS.contains(tokens))
        .map(|(tokens, bytes)| (tokens as u32, bytes))
}

/// A copy of a golden model for long conversations; with heads of 32 values where `wide`, whose attention has weights of 0.
fn copy(name: &str, wide: bool) -> Scratch {
    let scratch = Scratch::model(&format!("exact-{name}-{wide}"), name);
    let path = scratch.0.join("config.json");
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let nested = config.get("text_config").is_some();
    let text = if nested { &mut config["text_config"] } else { &mut config };
    text["max_position_embeddings"] = json!(4096);
    if wide {
        text["head_dim"] = json!(32);
        for factors in ["short_factor", "long_factor"] {
            if let Some(list) = text.pointer_mut(&format!("/rope_scaling/{factors}")) {
                *list = Value::from(vec![1.0; 2 * list.as_array().unwrap().len()]);
            }
        }
        let heads = |key: &str| text[key].as_u64().unwrap() * 32;
        let (queries, keys) = (heads("num_attention_heads"), heads("num_key_value_heads"));
        for file in std::fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().path()) {
            if file.file_name().unwrap().to_str().unwrap().starts_with("model")
                && file.extension().unwrap() == "safetensors"
            {
                widen(&file, queries, keys);
            }
        }
    }
    std::fs::write(&path, config.to_string()).unwrap();
    scratch
}

/// Gives the tensors of attention the shapes for so many rows of queries and of keys, and zeros.
fn widen(file: &Path, queries: u64, keys: u64) {
    let bytes = std::fs::read(file).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (header, data) = bytes[8..].split_at(length);
    let header: Map<String, Value> = serde_json::from_slice(header).unwrap();
    let (mut renewed, mut weights) = (Map::new(), Vec::new());
    for (name, mut info) in header {
        if name == "__metadata__" {
            continue;
        }
        let at = |index: usize| info["data_offsets"][index].as_u64().unwrap() as usize;
        let old = &data[at(0)..at(1)];
        let shape: Vec<u64> =
            info["shape"].as_array().unwrap().iter().map(|side| side.as_u64().unwrap()).collect();
        let part = |part: &str| name.contains(&format!("self_attn.{part}"));
        let mut wanted = shape.clone();
        match () {
            () if part("q_norm") || part("k_norm") => wanted[0] = 32,
            () if part("qkv_proj") => wanted[0] = queries + 2 * keys,
            () if part("q_proj") => wanted[0] = queries,
            () if part("k_proj") || part("v_proj") => wanted[0] = keys,
            () if part("o_proj.weight") => wanted[1] = queries,
            () => {}
        }
        let size = old.len() as u64 / shape.iter().product::<u64>();
        let start = weights.len();
        if wanted == shape {
            weights.extend_from_slice(old);
        } else {
            weights.resize(start + (wanted.iter().product::<u64>() * size) as usize, 0);
        }
        info["shape"] = json!(wanted);
        info["data_offsets"] = json!([start, weights.len()]);
        renewed.insert(name, info);
    }
    let header = Value::Object(renewed).to_string().into_bytes();
    let all = [&(header.len() as u64).to_le_bytes()[..], &header, &weights].concat();
    std::fs::write(file, all).unwrap();
}

/// Runs a request of so many tokens and compares the allocator with the estimate and the estimate with the table.
fn check(bench: &Bench, session: u64, tokens: u32, table: u64, what: &str) {
    let max_tokens = tokens.div_ceil(3);
    let shape = Shape { prompt_tokens: tokens - max_tokens, max_tokens, top_logprobs: 3, penalties: true };
    let price = bench.engine.estimate(&shape).unwrap();
    assert_eq!(price.kv_bytes, table, "{what}: the table");
    let mut asked =
        Request { keep_kv: true, ..request(session, &vec![7; shape.prompt_tokens as usize], max_tokens) };
    asked.sampling.repetition_penalty = 1.1;
    let mut tops = Vec::with_capacity(8);
    let (blocks, others) = (BLOCKS.mark(), OTHERS.mark());
    let running = bench.submit(asked, 0);
    let mut count = 0;
    let finish = loop {
        match running.ring.next(Some(Duration::from_secs(60)), &mut tops) {
            Next::Token(_) => count += 1,
            Next::Finished(finish) => break finish,
            Next::TimedOut => panic!("{what}: no token came in a minute"),
        }
    };
    assert_eq!(count, max_tokens, "{what}: {finish:?}");
    assert_eq!(BLOCKS.rose(blocks), price.kv_bytes, "{what}: KV that was allocated at most");
    let (rose, bound) = (OTHERS.rose(others), price.request_bytes + price.kv_block_bytes);
    assert!(rose <= bound, "{what}: {rose} bytes besides KV, {} estimated", price.request_bytes);
    let kept = u64::try_from(BLOCKS.now() - blocks).unwrap();
    assert_eq!(bench.engine.holdings().kv, kept, "{what}: KV that is kept");
    assert!(kept <= price.kv_bytes);
    // Gone before the next one.
    let (freed, answer) = crossbeam_channel::bounded(1);
    bench.engine.reclaim(plimsoll_engine::SessionKey(session), freed);
    assert_eq!(answer.recv().unwrap(), kept);
    assert_eq!(BLOCKS.now(), blocks, "{what}");
}

#[test]
fn what_is_estimated_is_allocated_for_every_family_length_and_kv_type() {
    let table: Value =
        serde_json::from_slice(&std::fs::read(golden().join("expected_bytes.json")).unwrap()).unwrap();
    let mut runs = 0;
    for (name, entry) in table["configs"].as_object().unwrap() {
        if !golden().join("models").join(name).exists() {
            continue;
        }
        let types =
            [(KvDtype::F32, "f32", "kv"), (KvDtype::F16, "f16", "kv"), (KvDtype::Q8_0, "q8_0", "kv_wide")];
        for (kv_dtype, kv_type, list) in types {
            let scratch = copy(name, list == "kv_wide");
            let options = Options { kv_dtype, ..exact(BackendKind::Cpu) };
            let bench = Bench::try_load(&scratch.0, options)
                .unwrap_or_else(|error| panic!("{name} {kv_type}: {error}"));
            for (session, (tokens, bytes)) in rows(entry, list, kv_type).enumerate() {
                check(&bench, session as u64 + 1, tokens, bytes, &format!("{name} {kv_type} {tokens}"));
                runs += 1;
            }
        }
    }
    assert_eq!(runs, 21 * 3 * LENGTHS.len(), "models, KV types, lengths");
}
