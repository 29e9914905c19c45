//! Several prompts that wait at once: how soon a burst is through, and how long those who decode wait for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::executor::{BLOCK_BYTES, BLOCK_TOKENS, Part};
use common::{Bench, Sent};
use plimsoll_engine::{Clock, SessionKey};
use plimsoll_scheduler::Limits;
use std::time::Duration;

const LIMITS: Limits = Limits {
    block_tokens: BLOCK_TOKENS,
    block_bytes: BLOCK_BYTES,
    rolling: None,
    max_sequences: 16,
    max_step_tokens: 256,
    context_length: 8192,
};

/// What the scheduler aims at unless it is told otherwise.
const TARGET: Duration = Duration::from_millis(50);

/// As a model of a billion parameters on two cores: a step beside few rows costs nearly what it costs beside many.
fn large(decoding: usize, prompt: usize) -> Duration {
    Duration::from_micros(24_000 + 1_500 * decoding as u64 + 1_250 * prompt as u64)
}

fn bench_of(target: Duration) -> Bench {
    let mut bench = Bench::paced(LIMITS, 16, target);
    let clock = bench.clock.clone();
    bench.scheduler.executor_mut().price = Some((clock, large));
    bench
}

fn now(bench: &Bench) -> Duration {
    bench.clock.now()
}

/// Submits a prompt of a session that is its number.
fn send(bench: &mut Bench, session: u32, length: u32, max_tokens: u32) -> Sent {
    let prompt: Vec<u32> = (0..length).map(|i| (session * 7 + i) % 900).collect();
    let mut request = bench.request(&prompt, max_tokens);
    request.session = SessionKey(u64::from(session));
    bench.submit(request)
}

/// One step: what it took, and each request's part.
fn step(bench: &mut Bench) -> (Duration, Vec<Part>) {
    let before = now(bench);
    bench.scheduler.tick();
    (now(bench) - before, bench.scheduler.executor().steps.last().unwrap().clone())
}

/// Requests that decode, with as many tokens as make their gaps steady.
fn decoding(bench: &mut Bench, sessions: std::ops::RangeInclusive<u32>) -> Vec<Sent> {
    let sent: Vec<_> = sessions.map(|session| send(bench, session, 100, 2000)).collect();
    let mut all = 0;
    while all < 3 {
        let (_, parts) = step(bench);
        all += u32::from(parts.iter().filter(|part| part.2 == 1 && part.3).count() == sent.len());
    }
    sent
}

/// Steps until every one of these has a token; what each step took, for as long as some prompt waited.
fn first_tokens(bench: &mut Bench, sent: &[Sent]) -> Vec<Duration> {
    let mut waiting: Vec<u64> = sent.iter().map(|sent| sent.id.0).collect();
    let mut steps = Vec::new();
    while !waiting.is_empty() {
        let (took, parts) = step(bench);
        steps.push(took);
        waiting.retain(|id| !parts.iter().any(|part| part.0 == *id && part.3));
    }
    steps
}

fn most(steps: &[Duration]) -> Duration {
    steps.iter().copied().max().unwrap()
}

/// When the last of so many equal requests ends that come together, or one of them alone a little before.
fn through(target: Duration, count: u32, apart: bool) -> Duration {
    let mut bench = bench_of(target);
    let mut sent = vec![send(&mut bench, 1, 128, 64)];
    if apart {
        bench.scheduler.tick();
    }
    sent.extend((2..=count).map(|session| send(&mut bench, session, 128, 64)));
    bench.run();
    assert!(sent.iter().all(|sent| sent.end().0.len() == 64));
    now(&bench)
}

#[test]
fn a_burst_is_through_as_soon_as_if_nothing_were_held_back() {
    for count in [2, 8, 16] {
        for apart in [false, true] {
            let (held, free) = (through(TARGET, count, apart), through(Duration::ZERO, count, apart));
            assert!(held <= free * 104 / 100, "{count} requests: {held:?}, not {free:?}");
        }
    }
}

#[test]
fn those_who_came_together_wait_for_four_times_the_target_at_most() {
    let mut bench = bench_of(TARGET);
    let sent: Vec<_> = (1..=16).map(|session| send(&mut bench, session, 128, 64)).collect();
    let steps = first_tokens(&mut bench, &sent);
    // Nobody waits for the first one, which fills the step. In the second it is not known what decoding itself takes.
    assert!(steps[1] <= 4 * TARGET * 105 / 100 && most(&steps[2..]) <= 4 * TARGET, "{steps:?}");
    assert!(steps.len() <= 16, "{steps:?}");
}

#[test]
fn a_burst_beside_others_has_its_share_and_they_have_theirs() {
    // How many decode, how many come, how long a step may last, and how much of the time prompts have at least: less than
    // their share, as chunks end between tiles and decoding comes to take longer than was measured before.
    let cases = [
        (4, 1, 60_000, 0.25),
        (4, 4, 60_000, 0.25),
        (4, 12, 120_000, 0.3),
        (1, 15, 204_000, 0.4),
        (8, 8, 72_000, 0.25),
    ];
    for (old, new, wanted, least) in cases {
        let mut bench = bench_of(TARGET);
        let _old = decoding(&mut bench, 1..=old);
        let sent: Vec<_> = (old + 1..=old + new).map(|session| send(&mut bench, session, 128, 500)).collect();
        let steps = first_tokens(&mut bench, &sent);
        // Decoding itself takes longer with every one of the burst that is through.
        let more = Duration::from_micros(1_500 * u64::from(new));
        assert!(most(&steps) <= Duration::from_micros(wanted) + more, "{old} {new}: {steps:?}");
        let prompts = Duration::from_micros(1_250 * 128 * u64::from(new));
        let share = prompts.as_secs_f64() / steps.iter().sum::<Duration>().as_secs_f64();
        assert!(share > least, "{old} {new}: {share}");
    }
}

#[test]
fn requests_that_come_one_by_one_are_no_burst() {
    let mut bench = bench_of(TARGET);
    let _old = decoding(&mut bench, 1..=4);
    for session in 5..=60 {
        let sent = [send(&mut bench, session, 128, 8)];
        for took in first_tokens(&mut bench, &sent) {
            assert!(took <= Duration::from_millis(66), "{session}: {took:?}");
        }
        step(&mut bench);
    }
}

#[test]
fn those_who_waited_for_a_lane_come_when_they_have_one() {
    let mut bench = bench_of(TARGET);
    let _old = decoding(&mut bench, 1..=15);
    let sent: Vec<_> = (16..=24).map(|session| send(&mut bench, session, 128, 4)).collect();
    for took in first_tokens(&mut bench, &sent) {
        assert!(took <= Duration::from_millis(100), "{took:?}");
    }
}

#[test]
fn an_answer_beside_a_long_prompt_keeps_its_pace_whoever_came_first() {
    for long_first in [true, false] {
        let mut bench = bench_of(TARGET);
        let mut long = long_first.then(|| send(&mut bench, 1, 8000, 4));
        let short = send(&mut bench, 2, 64, 60);
        long.get_or_insert_with(|| send(&mut bench, 1, 8000, 4));
        first_tokens(&mut bench, std::slice::from_ref(&short));
        // The long one may be given as much as the short one was.
        let mut late = 0;
        while !short.ring.is_finished() {
            let (took, parts) = step(&mut bench);
            assert!(parts.iter().any(|part| part.2 > 1), "the long prompt goes on");
            late += u32::from(took > Duration::from_millis(60));
        }
        assert!(late <= 2, "{long_first}: {late} steps");
    }
}
