//! Requests from submission to their end.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::executor::{BLOCK_BYTES, reference};
use common::{Bench, LIMITS};
use plimsoll_engine::{EngineError, FinishReason, Owner, Region, SessionKey};
use plimsoll_scheduler::{Limits, Rolling, Scheduler};
use std::sync::Arc;
use std::time::Duration;

const SESSION: SessionKey = SessionKey(1);

fn prompt(from: u32, length: u32) -> Vec<u32> {
    (from..from + length).collect()
}

#[test]
fn a_request_runs_to_its_length_and_keeps_its_kv() {
    let mut bench = Bench::new();
    let text = prompt(10, 11);
    let request = bench.request(&text, 5);
    let sent = bench.submit(request);
    assert!(bench.scheduler.tick());
    assert_eq!(bench.blocks(), 4, "all of 16 tokens' blocks from the start");
    bench.run();
    let (tokens, finish) = sent.end();
    assert_eq!(tokens, reference(&text, 5));
    assert_eq!(finish.reason, FinishReason::Length);
    assert_eq!((finish.cached_tokens, finish.kv_tokens), (0, 15));
    assert_eq!(bench.blocks(), 4);
    assert_eq!(bench.books.held(Owner::Kv(SESSION)), 4 * BLOCK_BYTES);
    drop(sent);
    assert_eq!(bench.books.total(), 4 * BLOCK_BYTES, "nothing but the kept KV");
    bench.books.check();
}

#[test]
fn nothing_is_kept_unless_asked_for() {
    let mut bench = Bench::new();
    let mut request = bench.request(&prompt(0, 9), 2);
    request.keep_kv = false;
    let sent = bench.submit(request);
    bench.run();
    assert_eq!(sent.end().1.kv_tokens, 0);
    assert_eq!((bench.blocks(), bench.books.kv()), (0, 0));
}

#[test]
fn decoding_lanes_come_before_prompts_and_prompts_in_order() {
    let mut bench = Bench::new();
    for (session, length) in [(1, 3), (2, 12), (3, 4)] {
        let mut request = bench.request(&prompt(session * 100, length), 6);
        request.session = SessionKey(u64::from(session));
        let _ = bench.submit(request);
    }
    for _ in 0..4 {
        bench.scheduler.tick();
    }
    assert_eq!(
        bench.scheduler.executor().steps,
        [
            vec![(1, 0, 3, true), (2, 0, 5, false)],
            vec![(1, 3, 1, true), (2, 5, 7, true)],
            vec![(1, 4, 1, true), (2, 12, 1, true), (3, 0, 4, true)],
            vec![(1, 5, 1, true), (2, 13, 1, true), (3, 4, 1, true)],
        ]
    );
}

#[test]
fn a_batch_gives_each_request_the_text_it_has_alone() {
    let mut bench = Bench::new();
    let sent: Vec<_> = (1..=4)
        .map(|session| {
            let text = prompt(session * 50, session * 5);
            let mut request = bench.request(&text, 7);
            request.session = SessionKey(u64::from(session));
            (text, bench.submit(request))
        })
        .collect();
    bench.run();
    for (text, sent) in sent {
        assert_eq!(sent.end().0, reference(&text, 7));
    }
    assert_eq!(bench.scheduler.executor().opened, [1, 2, 3, 4]);
}

#[test]
fn a_second_turn_runs_only_the_new_tokens() {
    let mut bench = Bench::new();
    let mut text = prompt(0, 10);
    let request = bench.request(&text, 4);
    let first = bench.submit(request);
    bench.run();
    text.extend(first.end().0);
    let shared_prefix = text.len();
    text.extend([70, 71, 72]);
    let mut request = bench.request(&text, 6);
    request.shared_prefix = shared_prefix;
    bench.scheduler.executor_mut().steps.clear();
    let second = bench.submit(request);
    bench.run();
    let (tokens, finish) = second.end();
    assert_eq!(tokens, reference(&text, 6));
    assert_eq!(finish.cached_tokens, 13, "the last token of the first turn was never fed");
    assert_eq!(bench.scheduler.executor().steps[0], [(2, 13, 4, true)]);
    bench.books.check();
}

#[test]
fn a_prompt_that_is_all_held_still_runs_its_last_token() {
    let mut bench = Bench::new();
    let text = prompt(0, 8);
    for cached in [0, 7] {
        let mut request = bench.request(&text, 3);
        request.shared_prefix = text.len();
        let sent = bench.submit(request);
        bench.run();
        let (tokens, finish) = sent.end();
        assert_eq!((tokens, finish.cached_tokens), (reference(&text, 3), cached));
    }
}

#[test]
fn held_blocks_serve_a_different_text_and_excess_ones_go() {
    let mut bench = Bench::new();
    let request = bench.request(&prompt(0, 20), 4);
    bench.submit(request);
    bench.run();
    assert_eq!(bench.blocks(), 6);
    let mut other = prompt(0, 2);
    other.extend(prompt(500, 5));
    let mut request = bench.request(&other, 4);
    request.shared_prefix = 2;
    let sent = bench.submit(request);
    bench.scheduler.tick();
    assert_eq!(bench.blocks(), 3);
    bench.run();
    let (tokens, finish) = sent.end();
    assert_eq!((tokens, finish.cached_tokens), (reference(&other, 4), 2));
    bench.books.check();
}

#[test]
fn stop_tokens_end_the_text_and_are_not_part_of_it() {
    let mut bench = Bench::new();
    let text = prompt(3, 5);
    let whole = reference(&text, 9);
    let mut request = bench.request(&text, 9);
    request.stop_tokens = Arc::new([whole[4]]);
    let sent = bench.submit(request);
    bench.run();
    let until = whole.iter().position(|&id| id == whole[4]).unwrap();
    let (tokens, finish) = sent.end();
    assert_eq!((tokens.as_slice(), finish.reason), (&whole[..until], FinishReason::EndOfText));
    assert_eq!(finish.kv_tokens, 5 + until);
}

#[test]
fn no_tokens_granted_computes_the_prompt_alone() {
    let mut bench = Bench::new();
    let request = bench.request(&prompt(0, 13), 0);
    let sent = bench.submit(request);
    bench.run();
    let (tokens, finish) = sent.end();
    assert_eq!((tokens.len(), finish.reason, finish.kv_tokens), (0, FinishReason::Length, 13));
}

#[test]
fn cancel_and_deadline_are_honoured_before_and_within_prefill_and_decode() {
    for by_deadline in [false, true] {
        for ticks in [0, 1, 2, 4] {
            let mut bench = Bench::new();
            let mut request = bench.request(&prompt(0, 16), 8);
            request.deadline = by_deadline.then_some(Duration::from_secs(5));
            let sent = bench.submit(request);
            for _ in 0..ticks {
                bench.scheduler.tick();
            }
            if by_deadline {
                bench.clock.advance(Duration::from_secs(5));
            } else {
                sent.cancel.cancel();
            }
            assert!(!bench.scheduler.tick());
            let (tokens, finish) = sent.end();
            let reason = if by_deadline { FinishReason::Deadline } else { FinishReason::Cancelled };
            assert_eq!(finish.reason, reason);
            assert_eq!((finish.kv_tokens, tokens.len()), [(0, 0), (8, 0), (16, 1), (0, 0), (18, 3)][ticks]);
            assert_eq!(bench.blocks(), finish.kv_tokens.div_ceil(LIMITS.block_tokens) as u64);
            drop(sent);
            assert_eq!(bench.books.total(), bench.scheduler.kv_bytes());
            bench.books.check();
        }
    }
}

#[test]
fn a_request_that_ends_in_the_queue_leaves_only_kv_that_is_valid_for_it() {
    let mut bench = Bench::new();
    let request = bench.request(&prompt(0, 20), 1);
    bench.submit(request);
    bench.run();
    let mut request = bench.request(&prompt(0, 20), 1);
    request.shared_prefix = 7;
    let sent = bench.submit(request);
    sent.cancel.cancel();
    bench.run();
    assert_eq!(sent.end().1.kv_tokens, 7);
    assert_eq!(bench.blocks(), 2);
}

#[test]
fn reclaim_frees_idle_sessions_alone() {
    let mut bench = Bench::new();
    let text = prompt(0, 10);
    let request = bench.request(&text, 4);
    let sent = bench.submit(request);
    assert_eq!(bench.scheduler.reclaim(SESSION), 0, "it waits");
    bench.scheduler.tick();
    assert_eq!(bench.scheduler.reclaim(SESSION), 0, "it runs");
    bench.run();
    assert_eq!(bench.scheduler.reclaim(SessionKey(9)), 0, "it is not known");
    let held = bench.scheduler.kv_bytes();
    assert_eq!(bench.scheduler.reclaim(SESSION), held);
    assert_eq!((bench.blocks(), bench.books.kv()), (0, 0));
    let mut request = bench.request(&text, 4);
    request.shared_prefix = 10;
    let again = bench.submit(request);
    bench.run();
    let (tokens, finish) = again.end();
    assert_eq!((finish.cached_tokens, &tokens), (0, &sent.end().0));
    assert_eq!(tokens, reference(&text, 4));
}

#[test]
fn a_full_queue_gives_the_job_back_whole() {
    let mut bench = Bench::with(LIMITS, 1);
    let request = bench.request(&prompt(0, 4), 2);
    bench.submit(request);
    let mut request = bench.request(&prompt(0, 4), 2);
    request.session = SessionKey(2);
    let (job, sent) = bench.job(request);
    let booked = bench.books.total();
    let rejected = bench.scheduler.submit(job).unwrap_err();
    let EngineError::QueueFull { queued: 1, retry_after } = rejected.error else { panic!("{rejected:?}") };
    assert!(retry_after > Duration::ZERO);
    assert_eq!(bench.books.total(), booked);
    assert_eq!(sent.read(), (vec![], None));
    bench.scheduler.tick();
    bench.scheduler.submit(rejected.job).unwrap();
    bench.run();
    assert_eq!(sent.end().1.reason, FinishReason::Length);
}

#[test]
fn a_throttled_batch_starts_fewer_and_stops_none() {
    let mut bench = Bench::new();
    let sent: Vec<_> = (1..=4)
        .map(|session| {
            let mut request = bench.request(&prompt(session * 10, 3), 6);
            request.session = SessionKey(u64::from(session));
            bench.submit(request)
        })
        .collect();
    bench.scheduler.tick();
    assert_eq!((bench.scheduler.running(), bench.scheduler.waiting()), (3, 1));
    bench.throttle.set(0.0);
    bench.scheduler.tick();
    assert_eq!(bench.scheduler.running(), 3, "what runs goes on");
    sent[0].cancel.cancel();
    sent[1].cancel.cancel();
    bench.scheduler.tick();
    assert_eq!((bench.scheduler.running(), bench.scheduler.waiting()), (1, 1));
    sent[2].cancel.cancel();
    bench.scheduler.tick();
    assert_eq!((bench.scheduler.running(), bench.scheduler.waiting()), (1, 0), "one runs whatever the share");
    bench.run();
    assert_eq!(sent[3].end().0, reference(&prompt(40, 3), 6));
    bench.books.check();
}

#[test]
fn times_are_told_apart() {
    let mut bench = Bench::with(Limits { max_sequences: 1, ..LIMITS }, 4);
    let mut request = bench.request(&prompt(0, 4), 2);
    request.session = SessionKey(2);
    bench.submit(request);
    let request = bench.request(&prompt(0, 16), 3);
    let sent = bench.submit(request);
    while bench.scheduler.tick() {
        bench.clock.advance(Duration::from_secs(1));
    }
    let finish = sent.end().1;
    let seconds = [finish.queued, finish.prefill, finish.decode].map(|time| time.as_secs());
    assert_eq!(seconds, [2, 1, 2]);
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let spoil: [fn(&mut Limits); 7] = [
        |limits| limits.block_tokens = 0,
        |limits| limits.block_bytes = 0,
        |limits| limits.rolling = Some(Rolling { block_bytes: 0, window: 1 }),
        |limits| limits.rolling = Some(Rolling { block_bytes: 1, window: 0 }),
        |limits| limits.max_sequences = 0,
        |limits| limits.context_length = 0,
        |limits| limits.max_step_tokens = limits.max_sequences - 1,
    ];
    for spoil in spoil {
        let mut limits = LIMITS;
        spoil(&mut limits);
        let executor = common::executor::Scripted::new(limits);
        let made =
            Scheduler::new(executor, &Default::default(), Arc::<plimsoll_engine::ManualClock>::default());
        assert!(matches!(made.err(), Some(EngineError::Invalid(_))));
    }
}

#[test]
fn dropping_the_scheduler_ends_every_request_and_frees_everything() {
    let mut bench = Bench::new();
    let sent: Vec<_> = (1..=4)
        .map(|session| {
            let mut request = bench.request(&prompt(0, 4), 9);
            request.session = SessionKey(session);
            bench.submit(request)
        })
        .collect();
    bench.scheduler.tick();
    let alive = bench.scheduler.executor().counter();
    let Bench { scheduler, books, .. } = bench;
    drop(scheduler);
    for sent in sent {
        assert_eq!(sent.end().1.reason, FinishReason::Failed(EngineError::Closed));
    }
    assert_eq!((alive.load(std::sync::atomic::Ordering::SeqCst), books.total()), (0, 0));
    books.check();
}

#[test]
fn what_cannot_run_ends_at_once_and_loses_nothing() {
    type Spoil = fn(&mut Bench, &mut plimsoll_engine::Job);
    let cases: [(&str, Spoil); 8] = [
        ("the prompt is empty", |_, job| job.request.tokens.clear()),
        ("exceed the context of 64", |_, job| job.request.max_tokens = 60),
        ("exceed the context of 64", |_, job| job.request.max_tokens = u32::MAX),
        ("temperature", |_, job| job.request.sampling.temperature = f32::NAN),
        ("top_logprobs", |_, job| job.request.sampling.top_logprobs = 21),
        ("bytes of KV", |_, job| job.kv.shrink_to(4 * BLOCK_BYTES - 1)),
        ("bytes of host memory", |_, job| {
            let short = job.host.bytes() - 1;
            job.host.shrink_to(short);
        }),
        ("bytes of KV", |bench, job| {
            job.kv = bench.books.book(Region::Device(0), Owner::Kv(SESSION), 1 << 20);
        }),
    ];
    for (text, spoil) in cases {
        let mut bench = Bench::new();
        let request = bench.request(&prompt(0, 10), 3);
        let (mut job, sent) = bench.job(request);
        spoil(&mut bench, &mut job);
        bench.scheduler.submit(job).unwrap();
        let FinishReason::Failed(error) = sent.end().1.reason else { panic!("{text}") };
        assert!(error.to_string().contains(text), "{error} for {text}");
        drop(sent);
        assert_eq!((bench.blocks(), bench.books.total()), (0, 0));
        assert!(!bench.scheduler.tick());
        bench.books.check();
    }
}

#[test]
fn a_session_has_one_request_at_a_time() {
    let mut bench = Bench::new();
    let text = prompt(0, 12);
    let request = bench.request(&text, 1);
    bench.submit(request);
    bench.run();
    // It is refused beside one that waits and beside one that runs, and takes nothing from either.
    let mut request = bench.request(&text, 5);
    request.shared_prefix = 12;
    let kept = bench.submit(request);
    for _ in 0..2 {
        let request = bench.request(&prompt(90, 3), 1);
        let refused = bench.submit(request);
        let FinishReason::Failed(EngineError::Invalid(text)) = refused.end().1.reason else { panic!() };
        assert!(text.contains("session 1 already"), "{text}");
        bench.scheduler.tick();
    }
    bench.run();
    let (tokens, finish) = kept.end();
    assert_eq!((tokens, finish.cached_tokens), (reference(&text, 5), 11));
    bench.books.check();
}
