//! Layers with a sliding window: what is held, what returns while a request runs, and what a next turn can use.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::executor::{BLOCK_BYTES, ROLLING_BYTES, reference, reference_of};
use common::{Bench, MIXED, ROLLING, estimate_of};
use plimsoll_engine::{FinishReason, Owner, SessionKey};

const KV: Owner = Owner::Kv(SessionKey(1));

fn prompt(salt: u32, len: u32) -> Vec<u32> {
    (0..len).map(|i| salt * 100 + i).collect()
}

#[test]
fn a_long_request_holds_its_window_and_one_step_and_gives_blocks_back_while_it_runs() {
    let mut bench = Bench::with(ROLLING, 4);
    let request = bench.request(&prompt(1, 20), 40);
    let price = estimate_of(&ROLLING, &request).kv_bytes;
    // Five tokens before a step and its eight, where they fall worst in four blocks of four; all sixty would take fifteen.
    assert_eq!(price, 4 * ROLLING_BYTES);
    let sent = bench.submit(request);
    let (mut most, mut least) = (0, u64::MAX);
    while bench.scheduler.tick() {
        assert_eq!(bench.kv_bytes(), bench.books.held(KV), "leases return with their blocks");
        most = most.max(bench.kv_bytes());
        least = least.min(bench.kv_bytes());
    }
    assert_eq!(most, price, "the price is the most that is held at once");
    // Decoding needs the window and a token, towards the end not a block more than the tokens to come.
    assert_eq!(least, 2 * ROLLING_BYTES);
    let (text, finish) = sent.end();
    assert_eq!(finish.reason, FinishReason::Length);
    assert_eq!(text, reference_of(Some(6), &prompt(1, 20), 40));
    assert_eq!(finish.kv_tokens, 59);
    assert_eq!(bench.kv_bytes(), 2 * ROLLING_BYTES, "position 59 looks back to 54: blocks 13 and 14");
}

#[test]
fn a_next_turn_uses_what_the_window_covers_and_computes_the_rest_again() {
    for limits in [ROLLING, MIXED] {
        let window = (limits.block_bytes == 0).then_some(6);
        // The turn goes on from the end, or leaves the history before it: position 29 looks back to 24, where the first
        // block kept begins, and position 28 looks back further.
        for (back, cached) in [(0, 32), (3, 29), (4, 0), (30, 0)] {
            let mut bench = Bench::with(limits, 4);
            let request = bench.request(&prompt(1, 20), 13);
            let sent = bench.submit(request);
            bench.run();
            let (text, finish) = sent.end();
            assert_eq!(finish.kv_tokens, 32);
            let mut history = [prompt(1, 20), text].concat();
            history.truncate(32 - back);
            let shared = history.len();
            history.extend(prompt(2, 11));
            let mut request = bench.request(&history, 9);
            request.shared_prefix = shared;
            let sent = bench.submit(request);
            let mut most = 0;
            while bench.scheduler.tick() {
                most = most.max(bench.books.held(KV));
            }
            let (text, finish) = sent.end();
            assert_eq!(finish.cached_tokens, cached, "{back} tokens back");
            assert_eq!(text, reference_of(window, &history, 9));
            let again = bench.request(&history, 9);
            assert!(most <= estimate_of(&limits, &again).kv_bytes);
            bench.books.check();
        }
    }
}

#[test]
fn blocks_of_one_kind_pay_for_those_of_the_other() {
    let mut bench = Bench::with(MIXED, 4);
    let request = bench.request(&prompt(1, 40), 20);
    let long = bench.submit(request);
    bench.run();
    assert_eq!(long.end().1.reason, FinishReason::Length);
    // All of the long turn is kept in the layers that keep every token, and two blocks of the others.
    assert_eq!(bench.kv_bytes(), 15 * BLOCK_BYTES + 2 * ROLLING_BYTES);
    // A short one from the beginning needs fewer of the first and more of the second, and costs nothing more.
    let request = bench.request(&prompt(2, 20), 4);
    let price = estimate_of(&MIXED, &request).kv_bytes;
    assert_eq!(price, 6 * BLOCK_BYTES + 4 * ROLLING_BYTES);
    assert!(price < bench.books.held(KV));
    let short = bench.submit(request);
    bench.scheduler.tick();
    assert!(bench.kv_bytes() <= price);
    bench.run();
    assert_eq!(short.end().0, reference(&prompt(2, 20), 4));
    bench.books.check();
}

#[test]
fn a_refused_block_leaves_the_books_right() {
    for limits in [ROLLING, MIXED] {
        for allowed in 0..6 {
            let mut bench = Bench::with(limits, 4);
            let request = bench.request(&prompt(1, 20), 4);
            let first = bench.submit(request);
            bench.run();
            first.end();
            bench.scheduler.executor_mut().allocations_left = allowed;
            let request = bench.request(&prompt(2, 40), 20);
            let second = bench.submit(request);
            bench.run();
            let (_, finish) = second.end();
            let failed = matches!(finish.reason, FinishReason::Failed(_));
            assert!(failed || finish.reason == FinishReason::Length);
            assert_eq!(bench.kv_bytes(), bench.books.kv(), "{allowed}");
            let held = bench.kv_bytes();
            assert_eq!(bench.scheduler.reclaim(SessionKey(1)), held);
            assert_eq!(bench.books.total(), 0);
            bench.books.check();
        }
    }
}
