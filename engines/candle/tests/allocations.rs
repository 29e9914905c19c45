//! On the CPU backend, decoding allocates nothing: not in the step, not in the scheduler, not in the ring.
//!
//! The only test of its binary, so that nothing else allocates meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Bench, exact, golden, request};
use plimsoll_candle::{BackendKind, KvDtype, Options};
use plimsoll_engine::{Next, Request, Ring, Sampling};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counts calls that hand out memory.
struct Counting;

static CALLS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches no memory of the caller.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.fetch_add(1, Ordering::SeqCst);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn decoding_allocates_nothing() {
    let before = CALLS.load(Ordering::SeqCst);
    drop(std::hint::black_box(Vec::<u8>::with_capacity(1)));
    assert!(CALLS.load(Ordering::SeqCst) > before, "the counter counts");

    for (model, kv_dtype, tokens) in [
        ("models/llama3", KvDtype::F16, 200),
        ("models/qwen2", KvDtype::F32, 200),
        ("models/qwen3", KvDtype::F16, 200),
        ("types/q4_k.gguf", KvDtype::F16, 200),
        ("models/mistral", KvDtype::F16, 98),
        ("models/gemma3", KvDtype::F32, 98),
        ("models/qwen2-moe", KvDtype::F16, 98),
        ("models/qwen3-moe", KvDtype::F16, 98),
    ] {
        let options = Options { kv_dtype, ..exact(BackendKind::Cpu) };
        let bench = Bench::try_load(&golden().join(model), options).unwrap();
        // Three lanes, one of them with everything that a sampler can do.
        let sampling = Sampling {
            temperature: 0.9,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.01,
            repetition_penalty: 1.1,
            presence_penalty: 0.1,
            frequency_penalty: 0.1,
            seed: Some(3),
            top_logprobs: 5,
        };
        // The engine's thread makes its place in its queue's list of waiters when it first has nothing to do, which may be
        // while this thread still reads what it was quick to write. Only one of two rounds can have met that.
        let fewest = (0..2).map(|_| calls_while_decoding(&bench, &sampling, tokens)).min();
        assert_eq!(fewest, Some(0), "{model}");
    }
}

/// How often memory was asked for while three lanes decoded.
fn calls_while_decoding(bench: &Bench, rich: &Sampling, tokens: u32) -> u64 {
    let plain = bench.submit(request(1, &[1, 2, 3], tokens), 0);
    let other = bench.submit(request(2, &[4; 30], tokens), 0);
    let rich = bench.submit(Request { sampling: rich.clone(), ..request(3, &[7; 11], tokens) }, 0);
    let mut tops = Vec::with_capacity(8);
    let mut read = |ring: &Ring, count: u32| {
        for _ in 0..count {
            let next = ring.next(Some(Duration::from_secs(60)), &mut tops);
            assert!(matches!(next, Next::Token(_)), "{next:?}");
        }
    };
    // Once each has a token, all three have been admitted and fed.
    for ring in [&other.ring, &rich.ring, &plain.ring] {
        read(ring, 20);
    }
    let before = CALLS.load(Ordering::SeqCst);
    read(&plain.ring, tokens - 50);
    let calls = CALLS.load(Ordering::SeqCst) - before;
    for ring in [&other.ring, &rich.ring, &plain.ring] {
        while !matches!(ring.next(Some(Duration::from_secs(60)), &mut tops), Next::Finished(_)) {}
    }
    calls
}
