//! Prompts beside requests that decode: how long those wait, and whose prompt is fed when.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::executor::{BLOCK_BYTES, BLOCK_TOKENS, reference};
use common::{Bench, Sent};
use plimsoll_engine::SessionKey;
use plimsoll_scheduler::Limits;
use std::time::Duration;

const LIMITS: Limits = Limits {
    block_tokens: BLOCK_TOKENS,
    block_bytes: BLOCK_BYTES,
    rolling: None,
    max_sequences: 8,
    max_step_tokens: 256,
    context_length: 8192,
};

/// What the scheduler aims at unless it is told otherwise.
const TARGET: Duration = Duration::from_millis(50);

/// 20 ms for any step and a quarter of a millisecond for each token of a prompt.
fn quick(_: usize, prompt: usize) -> Duration {
    Duration::from_micros(20_000 + 250 * prompt as u64)
}

/// The same machine with another program on it.
fn slow(decoding: usize, prompt: usize) -> Duration {
    2 * quick(decoding, prompt)
}

/// Decoding alone takes longer than the target.
fn heavy(_: usize, prompt: usize) -> Duration {
    Duration::from_micros(70_000 + 2_000 * prompt as u64)
}

fn bench(price: fn(usize, usize) -> Duration) -> Bench {
    let mut bench = Bench::with(LIMITS, 8);
    let clock = bench.clock.clone();
    bench.scheduler.executor_mut().price = Some((clock, price));
    bench
}

fn prompt(salt: u32, length: u32) -> Vec<u32> {
    (0..length).map(|i| (salt * 7 + i) % 900).collect()
}

/// Submits a prompt of a session that is its number.
fn send(bench: &mut Bench, session: u32, length: u32, max_tokens: u32) -> Sent {
    let mut request = bench.request(&prompt(session, length), max_tokens);
    request.session = SessionKey(u64::from(session));
    bench.submit(request)
}

/// Four requests that decode.
fn decoding(bench: &mut Bench) -> Vec<Sent> {
    let sent = (1..=4).map(|session| send(bench, session, 100, 2000)).collect();
    let all_decode =
        |step: &Vec<common::executor::Part>| step.iter().filter(|part| part.2 == 1 && part.3).count() == 4;
    while !bench.scheduler.executor().steps.last().is_some_and(all_decode) {
        bench.scheduler.tick();
    }
    bench.scheduler.executor_mut().steps.clear();
    sent
}

/// Ticks until session 9 has its first token. Answers what each step took, and what it fed of that session's prompt.
fn first_token(bench: &mut Bench) -> Vec<(Duration, usize)> {
    let mut steps = Vec::new();
    loop {
        let before = plimsoll_engine::Clock::now(bench.clock.as_ref());
        bench.scheduler.tick();
        let took = plimsoll_engine::Clock::now(bench.clock.as_ref()) - before;
        let step = bench.scheduler.executor().steps.last().unwrap();
        assert_eq!(step.iter().filter(|part| part.0 <= 4 && part.2 == 1 && part.3).count(), 4, "{step:?}");
        let (fed, sampled) = step.iter().find(|part| part.0 > 4).map_or((0, false), |part| (part.2, part.3));
        steps.push((took, fed));
        if sampled {
            return steps;
        }
    }
}

#[test]
fn others_get_a_token_every_step_and_no_step_is_longer_than_the_target() {
    let mut bench = bench(quick);
    let sent = decoding(&mut bench);
    let new = send(&mut bench, 9, 512, 3);
    let steps = first_token(&mut bench);
    assert!(steps.iter().all(|(took, _)| *took <= TARGET), "{steps:?}");
    // 30 ms beside decoding are 120 tokens, 124 with those that decode: seven tiles.
    let fed: Vec<_> = steps.iter().map(|step| step.1).collect();
    assert!(fed.len() <= 6 && fed[fed.len() - 2] == 108, "{fed:?}");
    while new.read().1.is_none() {
        bench.scheduler.tick();
    }
    assert!(sent.iter().all(|sent| sent.read().1.is_none()));
}

#[test]
fn chunks_follow_when_the_machine_becomes_slower_and_faster_again() {
    let mut bench = bench(quick);
    let _sent = decoding(&mut bench);
    let _new = send(&mut bench, 9, 4000, 3);
    let mut late = Vec::new();
    let mut fed = Vec::new();
    for tick in 0..48 {
        let price = if (16..32).contains(&tick) { slow } else { quick };
        let clock = bench.clock.clone();
        let before = plimsoll_engine::Clock::now(clock.as_ref());
        bench.scheduler.executor_mut().price = Some((clock.clone(), price));
        bench.scheduler.tick();
        if plimsoll_engine::Clock::now(clock.as_ref()) - before > TARGET {
            late.push(tick);
        }
        let step = bench.scheduler.executor().steps.last().unwrap();
        fed.extend(step.iter().find(|part| part.0 > 4).map(|part| part.2));
    }
    assert_eq!(late.first(), Some(&16));
    assert!(late.len() <= 4, "late: {late:?}, fed: {fed:?}");
    // Half as fast with decoding alone at 40 of 50 ms leaves 10 ms, 20 tokens.
    assert_eq!((fed[15], fed[31], fed[47]), (108, 12, 108), "{fed:?}");
}

#[test]
fn a_prompt_goes_on_where_decoding_alone_is_late() {
    let mut bench = bench(heavy);
    let _sent = decoding(&mut bench);
    let new = send(&mut bench, 9, 100, 3);
    let steps = first_token(&mut bench);
    assert!(steps.len() <= 100_usize.div_ceil(8), "{steps:?}");
    while !new.ring.is_finished() {
        bench.scheduler.tick();
    }
    assert_eq!(new.end().0, reference(&prompt(9, 100), 3));
}

#[test]
fn with_nobody_to_wait_for_it_a_prompt_fills_the_step() {
    let mut bench = bench(heavy);
    let sent = send(&mut bench, 1, 600, 2);
    bench.run();
    assert_eq!(sent.end().0, reference(&prompt(1, 600), 2));
    let fed: Vec<_> = bench.scheduler.executor().steps.iter().map(|step| step[0].2).collect();
    assert_eq!(fed, [256, 256, 88, 1]);
}

#[test]
fn a_short_prompt_waits_for_a_turn_of_a_long_one_not_for_its_end() {
    let mut bench = bench(quick);
    let long = send(&mut bench, 1, 8000, 1);
    bench.scheduler.tick();
    let short = send(&mut bench, 2, 300, 1);
    let mut ticks = 0;
    while short.read().1.is_none() {
        bench.scheduler.tick();
        ticks += 1;
        assert!(ticks <= 4, "the short prompt waits");
    }
    // Short ones come without end; the long one gets its turns all the same.
    for session in 3..200 {
        let _ = send(&mut bench, session, 250, 1);
        while bench.scheduler.waiting() > 6 {
            bench.scheduler.tick();
        }
        if long.ring.is_finished() {
            break;
        }
    }
    assert!(bench.scheduler.waiting() > 0, "there were always others");
    assert_eq!(long.end().0, reference(&prompt(1, 8000), 1));
}

#[test]
fn prompts_of_the_same_length_end_in_the_order_in_which_they_came() {
    let mut bench = bench(quick);
    let sent: Vec<_> = (1..=8).map(|session| send(&mut bench, session, 128, 1)).collect();
    for done in 1..=4 {
        bench.scheduler.tick();
        let ended = sent.iter().map(|sent| sent.ring.is_finished()).collect::<Vec<_>>();
        assert_eq!(ended.iter().filter(|ended| **ended).count(), 2 * done);
        assert!(ended[..2 * done].iter().all(|ended| *ended), "{ended:?}");
    }
}
