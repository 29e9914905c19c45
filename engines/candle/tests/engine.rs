//! The engine through its contract: what is computed does not depend on what runs beside it or was kept before it, and
//! what is held is what was priced.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{BACKENDS, Bench, WEIGHTS, WORKSPACE, assert_same, exact, request};
use plimsoll_candle::{BackendKind, KvDtype, LoadPlan, Options};
use plimsoll_engine::{Engine, EngineError, FinishReason, Owner, Request, SessionKey, Shape, TopLogprob};
use std::sync::Arc;
use std::time::Duration;

fn prompt(len: usize, salt: u32) -> Vec<u32> {
    (0..len as u32).map(|i| (i * 37 + salt * 101 + 5) % 352).collect()
}

/// Waits until the engine holds this many bytes of KV: leases are back before the end is told, but a reclaim's are not.
fn reclaim(bench: &Bench, session: u64) -> u64 {
    let (freed, answer) = crossbeam_channel::bounded(1);
    bench.engine.reclaim(SessionKey(session), freed);
    answer.recv_timeout(Duration::from_secs(60)).unwrap()
}

#[test]
fn a_batch_gives_each_request_what_it_gets_alone() {
    for backend in BACKENDS {
        for model in ["llama3", "qwen2", "qwen3"] {
            let bench = Bench::load(model, exact(backend));
            let requests: Vec<Request> = [3, 70, 17, 1, 33]
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
        }
    }
}

#[test]
fn a_second_turn_on_kept_kv_is_the_same_as_from_scratch_also_after_a_reclaim() {
    for backend in BACKENDS {
        let bench = Bench::load("llama3", exact(backend));
        let first = bench.run(Request { keep_kv: true, ..request(1, &prompt(21, 1), 12) });
        let mut conversation = prompt(21, 1);
        conversation.extend(first.ids());
        let known = conversation.len();
        assert!(first.finish.kv_tokens >= known - 1, "{:?}", first.finish);
        let kept = bench.engine.holdings().kv;
        assert!(kept > 0 && kept == bench.books.held(Owner::Kv(SessionKey(1))));
        conversation.extend(prompt(9, 2));

        let scratch = bench.run(request(2, &conversation, 10));
        assert_eq!(scratch.finish.cached_tokens, 0);
        let turn = Request { shared_prefix: known, keep_kv: true, ..request(1, &conversation, 10) };
        let second = bench.run(turn.clone());
        assert!(second.finish.cached_tokens >= known - 1, "{:?}", second.finish);
        assert_same(&scratch, &second, "kept KV");

        let kept = bench.engine.holdings().kv;
        assert_eq!(reclaim(&bench, 1), kept);
        assert_eq!((bench.engine.holdings().kv, bench.books.held(Owner::Kv(SessionKey(1)))), (0, 0));
        let again = bench.run(turn);
        assert_eq!(again.finish.cached_tokens, 0);
        assert_same(&scratch, &again, "after a reclaim");
        assert_eq!(reclaim(&bench, 99), 0, "a session that is not known frees nothing");
    }
}

#[test]
fn what_is_held_is_what_was_priced_and_all_of_it_returns() {
    for backend in BACKENDS {
        // Bytes of 32 values.
        let types = [
            (KvDtype::F32, 16, 128),
            (KvDtype::F16, 32, 64),
            (KvDtype::Q8_0, 16, 34),
            (KvDtype::Q8_0, 32, 34),
        ];
        for (kv_dtype, block_tokens, bytes) in types {
            if (backend, kv_dtype) == (BackendKind::Candle, KvDtype::Q8_0) {
                continue;
            }
            let options = Options { kv_dtype, block_tokens, ..exact(backend) };
            let plan = LoadPlan::inspect(&common::golden().join("models/qwen3"), options.clone()).unwrap();
            let bench = Bench::load("qwen3", options);
            let holdings = bench.engine.holdings();
            assert_eq!(
                (holdings.weights, holdings.workspace),
                (plan.weights_bytes(), plan.workspace_bytes())
            );
            assert_eq!(bench.books.held(WEIGHTS), holdings.weights);
            assert_eq!(bench.books.held(WORKSPACE), holdings.workspace);
            // 2 layers of 2 heads of 32 + 32 values.
            let block = u64::from(block_tokens) * 2 * 2 * 2 * bytes;
            assert_eq!(plan.block_bytes(), block);

            let answer = bench.run(Request { keep_kv: true, ..request(1, &prompt(40, 3), 30) });
            assert_eq!(answer.finish.reason, FinishReason::Length);
            let shape = Shape { prompt_tokens: 40, max_tokens: 30, top_logprobs: 3, penalties: false };
            let price = bench.engine.estimate(&shape).unwrap();
            assert_eq!(price.kv_bytes, 70u64.div_ceil(u64::from(block_tokens)) * block);
            let kept = (answer.finish.kv_tokens as u64).div_ceil(u64::from(block_tokens)) * block;
            assert_eq!(bench.engine.holdings().kv, kept);
            let books = Arc::clone(&bench.books);
            drop(answer);
            drop(bench);
            assert_eq!(books.total(), 0, "{backend:?}");
        }
    }
}

#[test]
fn eight_bit_kv_is_refused_where_it_cannot_be() {
    let models = common::golden().join("models");
    let eight = |backend| Options { kv_dtype: KvDtype::Q8_0, ..exact(backend) };
    let refused = |model: &str, backend| {
        LoadPlan::inspect(&models.join(model), eight(backend)).unwrap_err().to_string()
    };
    let error = refused("qwen3", BackendKind::Candle);
    assert!(error.contains("candle") && error.contains("q8_0"), "{error}");
    // Its heads are 16 wide.
    let error = refused("llama3", BackendKind::Cpu);
    assert!(error.contains("multiple of 32") && error.contains("16"), "{error}");
}

#[test]
fn requests_that_cannot_run_end_with_a_reason_and_others_go_on() {
    for backend in BACKENDS {
        let bench = Bench::load("llama3", exact(backend));
        let bad = bench.submit(request(1, &[5, 352], 4), 0);
        let good = bench.submit(request(2, &[5, 351], 4), 0);
        let reason = bad.wait().finish.reason;
        let FinishReason::Failed(EngineError::Invalid(text)) = reason else { panic!("{reason:?}") };
        assert!(text.contains("352"), "{text}");
        assert_eq!(good.wait().tokens.len(), 4);
        let cancelled = bench.submit(request(3, &prompt(64, 3), 150), 0);
        cancelled.cancel.cancel();
        assert_eq!(cancelled.wait().finish.reason, FinishReason::Cancelled);
        assert_eq!(bench.engine.holdings().kv, 0);
    }
}

#[test]
fn sampling_with_a_seed_repeats_and_backends_agree_on_it() {
    let mut sampled = Vec::new();
    for backend in [BackendKind::Cpu, BackendKind::Cpu, BackendKind::Candle] {
        let bench = Bench::load("qwen2", exact(backend));
        let mut asked = request(1, &prompt(12, 4), 24);
        asked.sampling.temperature = 1.2;
        asked.sampling.top_k = 50;
        asked.sampling.repetition_penalty = 1.1;
        asked.sampling.seed = Some(7);
        sampled.push(bench.run(asked).ids());
    }
    assert_eq!(sampled[0], sampled[1]);
    assert_eq!(sampled[0], sampled[2]);
}

#[test]
fn requests_that_choose_side_by_side_choose_as_each_does_alone() {
    let bench = Bench::load("qwen2", Options { threads: 5, ..exact(BackendKind::Cpu) });
    let asked = |n: u32| {
        let mut asked = request(u64::from(n), &prompt(3 + 5 * n as usize, n), 40);
        let sampling = &mut asked.sampling;
        sampling.seed = Some(u64::from(n));
        match n % 4 {
            0 => {}
            1 => (sampling.temperature, sampling.top_k) = (1.2, 20),
            2 => (sampling.temperature, sampling.top_p) = (0.9, 0.8),
            _ => (sampling.temperature, sampling.repetition_penalty) = (1.0, 1.3),
        }
        asked
    };
    let alone: Vec<_> = (0..9).map(|n| bench.run(asked(n))).collect();
    let together: Vec<_> = (0..9).map(|n| bench.submit(asked(n), 0)).collect();
    for (n, (alone, together)) in alone.iter().zip(together).enumerate() {
        let together = together.wait();
        assert_eq!(alone.tokens.len(), 40);
        assert_same(alone, &together, &format!("request {n}"));
        let ids = |tops: &Vec<TopLogprob>| tops.iter().map(|top| top.id).collect::<Vec<_>>();
        assert!(alone.tops.iter().map(ids).eq(together.tops.iter().map(ids)), "alternatives of request {n}");
    }
}
