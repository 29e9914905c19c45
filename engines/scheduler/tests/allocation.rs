//! What is allocated, counted by the allocator itself.
#![allow(unsafe_code, reason = "a global allocator is unsafe to implement")]

mod common;

use common::{Bench, LIMITS, estimate};
use plimsoll_engine::Sampling;
use plimsoll_scheduler::Limits;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<i64> = const { Cell::new(0) };
}

fn count(bytes: i64) {
    // A thread that is going away is not measured.
    let _ = CALLS.try_with(|calls| calls.set(calls.get() + 1));
    let _ = BYTES.try_with(|sum| sum.set(sum.get() + bytes));
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

// SAFETY: every call goes to the system's allocator unchanged; the counters are plain cells that do not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(signed(layout.size()));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        count(-signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(signed(size) - signed(layout.size()));
        // SAFETY: as above.
        unsafe { System.realloc(memory, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn calls() -> u64 {
    CALLS.get()
}

#[test]
fn a_tick_in_which_nothing_starts_or_ends_allocates_nothing() {
    let mut bench = Bench::with(Limits { context_length: 4096, ..LIMITS }, 4);
    bench.scheduler.executor_mut().silent = true;
    for session in 1..=4 {
        let mut request = bench.request(&[1; 40], 200);
        request.session = plimsoll_engine::SessionKey(session);
        request.sampling = Sampling { top_logprobs: 3, ..Sampling::default() };
        let _ = bench.submit(request);
    }
    bench.scheduler.tick();
    let before = calls();
    // Chunks of prompts, then decode, with one more in the queue.
    for _ in 0..150 {
        bench.scheduler.tick();
    }
    assert_eq!(calls(), before);
    assert_eq!((bench.scheduler.running(), bench.scheduler.waiting()), (3, 1));
    let fresh = vec![0_u8; 1];
    assert_eq!(calls(), before + 1, "the counter counts");
    drop(fresh);
}

#[test]
fn what_starts_allocates_its_price() {
    for (prompt, max_tokens, top_logprobs, penalty) in [(1, 2, 0, 1.0), (17, 30, 5, 1.0), (40, 24, 20, 1.1)] {
        let mut bench = Bench::new();
        bench.scheduler.executor_mut().silent = true;
        let mut request = bench.request(&vec![1; prompt], max_tokens);
        request.sampling = Sampling { top_logprobs, repetition_penalty: penalty, ..Sampling::default() };
        let price = estimate(&request);
        let _ = bench.submit(request);
        let before = BYTES.get();
        bench.scheduler.tick();
        // The ring and the prompt's ids were there already.
        let there = price.ring_bytes + 4 * prompt as u64;
        let started = u64::try_from(BYTES.get() - before).unwrap();
        assert_eq!(started + there, price.request_bytes + price.kv_bytes);
        bench.run();
    }
}
