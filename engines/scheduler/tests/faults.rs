//! Executors that fail, and who pays for it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::executor::{BAD, CLOSED, POISON, SHY, reference};
use common::{Bench, Sent};
use plimsoll_engine::{EngineError, FinishReason, Region, SessionKey};

fn submit(bench: &mut Bench, session: u64, tokens: &[u32]) -> Sent {
    let mut request = bench.request(tokens, 4);
    request.session = SessionKey(session);
    bench.submit(request)
}

fn failure(sent: &Sent) -> EngineError {
    match sent.end().1.reason {
        FinishReason::Failed(error) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_panic_fails_only_the_request_at_fault() {
    let mut bench = Bench::new();
    let good = submit(&mut bench, 1, &[1, 2]);
    let shy = submit(&mut bench, 3, &[5, SHY]);
    let poisoned = submit(&mut bench, 2, &[3, POISON]);
    bench.run();
    assert_eq!(good.end().0, reference(&[1, 2], 4));
    assert_eq!(shy.end().0, reference(&[5, SHY], 4));
    assert_eq!(failure(&poisoned), EngineError::Panicked("poison at 1".into()));
    assert_eq!(poisoned.end().1.kv_tokens, 0);
    assert_eq!(bench.blocks(), 4, "of two sessions with 5 tokens each");
    bench.books.check();
    let after = submit(&mut bench, 2, &[3, 4]);
    bench.run();
    assert_eq!(after.end().0, reference(&[3, 4], 4));
}

#[test]
fn an_error_fails_those_who_took_part_and_no_other() {
    let mut bench = Bench::new();
    let bad = submit(&mut bench, 1, &[1, 2, 3, 4, 5, 6, 7, BAD]);
    let waits_its_turn = submit(&mut bench, 2, &[8, 9]);
    bench.run();
    assert_eq!(failure(&bad), EngineError::Execution("bad at 7".into()));
    assert_eq!(waits_its_turn.end().0, reference(&[8, 9], 4));
    let bad = submit(&mut bench, 1, &[BAD]);
    let beside = submit(&mut bench, 2, &[8]);
    bench.run();
    assert_eq!(failure(&bad), EngineError::Execution("bad at 0".into()));
    assert_eq!(failure(&beside), failure(&bad));
    assert_eq!((bench.blocks(), bench.books.kv()), (0, 0), "the session's old KV went with the failed lane");
    bench.books.check();
}

#[test]
fn refused_memory_fails_the_request_and_spares_the_sessions_kv() {
    let mut bench = Bench::new();
    let first = submit(&mut bench, 1, &[1, 2]);
    bench.run();
    let held = bench.blocks();
    bench.scheduler.executor_mut().allocations_left = 2;
    let mut text = vec![1, 2];
    text.extend(first.end().0);
    let shared_prefix = text.len();
    text.extend(20..40);
    let mut request = bench.request(&text, 4);
    request.shared_prefix = shared_prefix;
    let refused = bench.submit(request.clone());
    bench.run();
    assert!(matches!(failure(&refused), EngineError::OutOfMemory { region: Region::Host, .. }));
    assert_eq!(refused.end().1.kv_tokens, 5);
    drop(refused);
    assert_eq!((bench.blocks(), bench.books.total()), (held, bench.scheduler.kv_bytes()));
    bench.scheduler.executor_mut().allocations_left = usize::MAX;
    let again = bench.submit(request);
    bench.run();
    let (tokens, finish) = again.end();
    assert_eq!((tokens, finish.cached_tokens), (reference(&text, 4), 5));
    bench.books.check();
}

#[test]
fn a_request_that_cannot_be_opened_fails_alone() {
    let mut bench = Bench::new();
    let closed = submit(&mut bench, 1, &[CLOSED, 1]);
    let good = submit(&mut bench, 2, &[1]);
    bench.run();
    assert_eq!(failure(&closed), EngineError::Invalid("cannot be opened".into()));
    assert_eq!(good.end().0, reference(&[1], 4));
    bench.books.check();
}
