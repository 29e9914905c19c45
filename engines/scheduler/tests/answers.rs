//! Several answers to one prompt: computed once, copied, and each on its own from there.

mod common;

use common::executor::{BAD, reference, reference_of};
use common::{Bench, LIMITS, MIXED, ROLLING, Sent};
use plimsoll_engine::{Finish, FinishReason, Next, Request, SessionKey};
use plimsoll_scheduler::{Limits, Rolling};

/// One more answer to a request that was made before.
fn other(bench: &mut Bench, of: &Request, number: u64) -> Request {
    let id = bench.request(&of.tokens, of.max_tokens).id;
    let session = SessionKey(1000 + number);
    Request { id, session, shared_prefix: 0, keep_kv: false, beside: Some(of.session), ..of.clone() }
}

fn read(sent: &Sent) -> (Vec<u32>, Finish) {
    let (mut ids, mut tops) = (Vec::new(), Vec::new());
    loop {
        match sent.ring.next(None, &mut tops) {
            Next::Token(token) => ids.push(token.id),
            Next::Finished(finish) => return (ids, finish),
            Next::TimedOut => panic!("nobody waits here"),
        }
    }
}

/// Submits so many answers to a prompt.
fn submit(bench: &mut Bench, prompt: &[u32], max_tokens: u32, answers: u64) -> Vec<Sent> {
    let first = bench.request(prompt, max_tokens);
    let others: Vec<_> = (1..answers).map(|number| other(bench, &first, number)).collect();
    std::iter::once(first).chain(others).map(|request| bench.submit(request)).collect()
}

fn prompt(len: u32) -> Vec<u32> {
    (1..=len).collect()
}

/// Tokens that were fed with more than one in a step or before their prompt was over.
fn fed(bench: &Bench, request: &Sent) -> usize {
    let parts = bench.scheduler.executor().steps.iter().flatten();
    parts.filter(|part| part.0 == request.id.0).map(|part| part.2).sum()
}

#[test]
fn a_prompt_is_computed_once_for_all_its_answers() {
    for limits in [LIMITS, MIXED, ROLLING] {
        let window = (limits.block_bytes == 0).then(|| limits.rolling.unwrap().window);
        // With the last block full, and not.
        for len in [1, 2, 4, 5, 12, 13, 20, 23] {
            let mut bench = Bench::with(limits, 1);
            let sent = submit(&mut bench, &prompt(len), 9, 3);
            bench.run();
            for answer in &sent {
                let (ids, finish) = read(answer);
                assert_eq!(ids, reference_of(window, &prompt(len), 9), "{limits:?} prompt of {len}");
                assert_eq!(finish.reason, FinishReason::Length);
            }
            assert_eq!(fed(&bench, &sent[0]), len as usize + 8);
            for other in &sent[1..] {
                assert_eq!(fed(&bench, other), 9, "{limits:?}: the last token of the prompt, then its own");
            }
            // The first answer's KV is kept, and nothing else.
            let kept = bench.books.kv();
            assert_eq!(bench.kv_bytes(), kept);
            assert_eq!(bench.scheduler.reclaim(SessionKey(1)), kept);
            assert_eq!(bench.books.kv(), 0);
        }
    }
}

#[test]
fn answers_that_come_to_a_lane_late_take_over_what_is_still_there() {
    let limits = Limits { max_sequences: 1, ..LIMITS };
    let mut bench = Bench::with(limits, 1);
    let sent = submit(&mut bench, &prompt(18), 5, 3);
    bench.run();
    for answer in &sent {
        assert_eq!(read(answer).0, reference(&prompt(18), 5));
    }
    // The session's kept KV is what they begin with.
    assert_eq!([0, 1, 2].map(|at| fed(&bench, &sent[at])), [18 + 4, 5, 5]);
}

#[test]
fn where_nothing_can_be_copied_each_computes_its_own() {
    let mut bench = Bench::new();
    bench.scheduler.executor_mut().copying = false;
    let sent = submit(&mut bench, &prompt(13), 4, 3);
    bench.run();
    for answer in &sent {
        assert_eq!(read(answer).0, reference(&prompt(13), 4));
        assert_eq!(fed(&bench, answer), 13 + 3);
    }
}

#[test]
fn an_end_of_the_first_leaves_the_others_their_prompt() {
    // Cancelled before it ran, in the middle of its prompt, and after.
    for ticks in 0..5 {
        let mut bench = Bench::new();
        let sent = submit(&mut bench, &prompt(20), 6, 3);
        for _ in 0..ticks {
            bench.scheduler.tick();
        }
        sent[0].cancel.cancel();
        bench.run();
        assert_eq!(read(&sent[0]).1.reason, FinishReason::Cancelled);
        for answer in &sent[1..] {
            let (ids, finish) = read(answer);
            assert_eq!((ids, finish.reason), (reference(&prompt(20), 6), FinishReason::Length), "{ticks}");
        }
    }
    // One that fails does so alone, and those with its prompt in turn.
    let mut bench = Bench::new();
    let sent = submit(&mut bench, &[1, 2, BAD, 4], 6, 3);
    bench.run();
    assert!(sent.iter().all(|answer| matches!(read(answer).1.reason, FinishReason::Failed(_))));
    assert_eq!((bench.kv_bytes(), bench.books.kv()), (0, 0));
}

#[test]
fn one_more_answer_takes_no_place_in_the_queue() {
    let mut bench = Bench::with(LIMITS, 1);
    let sent = submit(&mut bench, &prompt(4), 2, 40);
    let refused = bench.request(&prompt(4), 2);
    let (job, _) = bench.job(Request { session: SessionKey(2), ..refused });
    assert!(bench.scheduler.submit(job).is_err(), "there is one place");
    bench.run();
    assert!(sent.iter().all(|answer| read(answer).0 == reference(&prompt(4), 2)));
}

/// Blocks so large that one is copied between two steps.
fn large(limits: Limits) -> Limits {
    let bytes = 40 << 20;
    let rolling = limits.rolling.map(|rolling| Rolling { block_bytes: bytes, ..rolling });
    Limits {
        block_bytes: if limits.block_bytes > 0 { bytes } else { 0 },
        rolling,
        max_sequences: 4,
        ..limits
    }
}

#[test]
fn nobody_waits_for_long_copies() {
    for limits in [LIMITS, MIXED, ROLLING].map(large) {
        let window = (limits.block_bytes == 0).then(|| limits.rolling.unwrap().window);
        for len in [1, 2, 8, 9, 18, 20, 21] {
            let mut bench = Bench::with(limits, 2);
            let passing = bench.request(&[7, 8, 9], 60);
            let passing = bench.submit(Request { session: SessionKey(9), ..passing });
            bench.scheduler.tick();
            let sent = submit(&mut bench, &prompt(len), 12, 3);
            while bench.scheduler.running() > 1 || bench.scheduler.waiting() > 0 {
                let before = (bench.scheduler.executor().copies, fed(&bench, &passing));
                bench.scheduler.tick();
                let after = (bench.scheduler.executor().copies, fed(&bench, &passing));
                assert!(after.0 <= before.0 + 1, "{limits:?} {len}: one block and then a step");
                assert_eq!(after.1, before.1 + 1, "{limits:?} {len}: it has a token in each");
            }
            for answer in &sent {
                assert_eq!(read(answer).0, reference_of(window, &prompt(len), 12), "{limits:?} {len}");
            }
            assert_eq!([0, 1, 2].map(|at| fed(&bench, &sent[at])), [len as usize + 11, 12, 12], "{limits:?}");
            bench.run();
            assert_eq!(read(&passing).0, reference_of(window, &[7, 8, 9], 60));
        }
    }
}

#[test]
fn a_prompt_that_goes_while_it_is_copied_is_had_from_its_session_or_computed() {
    for limits in [LIMITS, MIXED, ROLLING].map(large) {
        let window = (limits.block_bytes == 0).then(|| limits.rolling.unwrap().window);
        let expected = reference_of(window, &prompt(22), 6);
        // It ends by itself, is cancelled, or is cancelled and what its session kept is taken away.
        for (max_tokens, cancelled, reclaimed) in [(2, false, false), (6, true, false), (6, true, true)] {
            for ticks in 3..12 {
                let mut bench = Bench::with(limits, 2);
                let first = bench.request(&prompt(22), max_tokens);
                let others = [1, 2].map(|number| other(&mut bench, &first, number));
                let first = bench.submit(first);
                let others = others.map(|request| bench.submit(Request { max_tokens: 6, ..request }));
                for _ in 0..ticks {
                    bench.scheduler.tick();
                }
                if cancelled {
                    first.cancel.cancel();
                    bench.scheduler.tick();
                }
                if reclaimed {
                    bench.scheduler.reclaim(SessionKey(1));
                }
                bench.run();
                for other in &others {
                    assert_eq!(read(other).0, expected, "{limits:?} {max_tokens} {ticks} {reclaimed}");
                }
                bench.scheduler.reclaim(SessionKey(1));
                assert_eq!((bench.kv_bytes(), bench.books.kv()), (0, 0));
            }
        }
    }
}
