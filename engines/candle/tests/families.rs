//! The families beyond the first through the engine's contract: windows roll, experts are routed, and none of it shows in
//! what is computed.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{BACKENDS, Bench, Books, WEIGHTS, WORKSPACE, assert_same, exact, golden, onward, request};
use plimsoll_candle::{BackendKind, Evaluator, LoadPlan};
use plimsoll_engine::{Engine, FinishReason, Owner, Request, SessionKey, Shape};
use std::sync::Arc;

const KV: Owner = Owner::Kv(SessionKey(1));

fn prompt(len: usize, salt: u32) -> Vec<u32> {
    (0..len as u32).map(|i| (i * 37 + salt * 101 + 5) % 270).collect()
}

#[test]
fn a_batch_gives_each_request_what_it_gets_alone() {
    for backend in BACKENDS {
        for model in
            ["mistral", "qwen2-window", "gemma2", "gemma3", "phi3-long", "mixtral", "qwen2-moe", "qwen3-moe"]
        {
            let bench = Bench::load(model, exact(backend));
            let requests: Vec<Request> = [3, 70, 17, 1]
                .iter()
                .zip(1..)
                .map(|(&len, n)| request(u64::from(n), &prompt(len, n), 20))
                .collect();
            let alone: Vec<_> = requests.iter().map(|request| bench.run(request.clone())).collect();
            let together: Vec<_> = requests.iter().map(|request| bench.submit(request.clone(), 0)).collect();
            for (alone, together) in alone.iter().zip(&together) {
                assert_eq!(alone.tokens.len(), 20);
                assert_same(alone, &together.wait(), &format!("{backend:?} {model}"));
            }
            assert_eq!(bench.engine.holdings().kv, 0);
            assert_eq!(bench.books.held(WORKSPACE), bench.engine.holdings().workspace, "{model}");
        }
    }
}

/// The likeliest token again and again, each from all before it and with no block ever freed.
fn greedy(model: &str, ids: &[u32], count: usize) -> Vec<u32> {
    let plan = LoadPlan::inspect(&golden().join("models").join(model), exact(BackendKind::Cpu)).unwrap();
    let books = Arc::new(Books::default());
    let weights = books.lease(WEIGHTS, plan.weights_bytes());
    let workspace = books.lease(WORKSPACE, plan.workspace_bytes());
    let kv = books.lease(KV, 8 * plan.block_bytes());
    let vocab = plan.checkpoint().config.vocab_size;
    let mut evaluator = Evaluator::load(&plan, weights, workspace, kv, &onward).unwrap();
    let mut text = ids.to_vec();
    for _ in 0..count {
        let logits = evaluator.logits(&text, 64).unwrap();
        let last = &logits[logits.len() - vocab..];
        let best = (0..vocab).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap();
        text.push(u32::try_from(best).unwrap());
    }
    text.split_off(ids.len())
}

#[test]
fn a_text_many_windows_long_is_the_same_in_the_blocks_of_one() {
    for backend in BACKENDS {
        // All layers have a window of eight tokens, or some.
        for (model, whole) in [("mistral", false), ("phi3-window", false), ("gemma2", true), ("gemma3", true)]
        {
            let bench = Bench::load(model, exact(backend));
            let asked = Request { keep_kv: true, ..request(1, &prompt(30, 6), 80) };
            let shape = Shape { prompt_tokens: 30, max_tokens: 80, top_logprobs: 3, penalties: false };
            let price = bench.engine.estimate(&shape).unwrap();
            let all = 110u64.div_ceil(16) * price.kv_block_bytes;
            assert!(price.kv_bytes < all, "{model}: {} of {all}", price.kv_bytes);
            if !whole {
                // 30 tokens of the prompt in one step: two blocks; then a window and a token at worst.
                assert_eq!(price.kv_bytes, 2 * price.kv_block_bytes, "{model}");
            }
            let answer = bench.run(asked);
            assert_eq!(answer.finish.reason, FinishReason::Length);
            assert_eq!(answer.ids(), greedy(model, &prompt(30, 6), 80), "{backend:?} {model}");
            let kept = bench.books.held(KV);
            assert_eq!(kept, bench.engine.holdings().kv);
            assert!(kept > 0 && kept <= price.kv_bytes, "{model}");
        }
    }
}

#[test]
fn a_second_turn_goes_on_from_a_window_or_begins_again() {
    for backend in BACKENDS {
        for model in ["mistral", "gemma3"] {
            let bench = Bench::load(model, exact(backend));
            // The turn shares all of the first, or leaves it far behind the window.
            for (session, shared) in [(1, 50), (2, 20)] {
                let first = bench.run(Request { keep_kv: true, ..request(session, &prompt(30, 7), 21) });
                assert_eq!(first.finish.kv_tokens, 50);
                let mut turn = [prompt(30, 7), first.ids()].concat();
                turn.truncate(shared);
                turn.extend(prompt(9, 8));
                let scratch = bench.run(request(9, &turn, 12));
                let again = Request { shared_prefix: shared, ..request(session, &turn, 12) };
                let second = bench.run(again);
                assert_eq!(second.finish.cached_tokens, if shared == 50 { 50 } else { 0 }, "{model}");
                assert_same(&scratch, &second, &format!("{backend:?} {model}"));
            }
        }
    }
}
