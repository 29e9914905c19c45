//! A scheduler on its own thread.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests")]

mod common;

use common::books::Books;
use common::executor::{BLOCK_BYTES, Scripted, reference};
use common::{LIMITS, Sent, job};
use crossbeam_channel::{bounded, unbounded};
use plimsoll_engine::{
    EngineError, FinishReason, Next, Request, RequestId, Sampling, SessionKey, SystemClock,
};
use plimsoll_scheduler::{Config, Handle, spawn};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn request(session: u64, max_tokens: u32) -> Request {
    Request {
        id: RequestId(session),
        session: SessionKey(session),
        tokens: vec![u32::try_from(session).unwrap(), 7, 8],
        shared_prefix: 0,
        max_tokens,
        sampling: Sampling::default(),
        stop_tokens: Arc::new([]),
        deadline: None,
        keep_kv: true,
        beside: None,
    }
}

fn submit(handle: &Handle, books: &Arc<Books>, request: Request) -> Sent {
    let (job, sent) = job(books, request);
    handle.submit(job).unwrap();
    sent
}

/// Waits for the end.
fn end(sent: &Sent) -> (Vec<u32>, FinishReason) {
    let mut tokens = Vec::new();
    loop {
        match sent.ring.next(Some(PATIENCE), &mut Vec::new()) {
            Next::Token(token) => tokens.push(token.id),
            Next::Finished(finish) => return (tokens, finish.reason),
            Next::TimedOut => panic!("no end came"),
        }
    }
}

fn start(executor: Scripted, queue: usize) -> Handle {
    let config = Config { model: "test".into(), queue, ..Config::default() };
    spawn(executor, &config, Arc::new(SystemClock::default())).unwrap()
}

#[test]
fn many_threads_share_a_handle() {
    let books = Arc::<Books>::default();
    let handle = start(Scripted::new(LIMITS), 64);
    std::thread::scope(|scope| {
        for session in 1..=8 {
            let (handle, books) = (handle.clone(), &books);
            scope.spawn(move || {
                for _ in 0..20 {
                    let request = request(session, 6);
                    let text = request.tokens.clone();
                    let sent = submit(&handle, books, request);
                    assert_eq!(end(&sent), (reference(&text, 6), FinishReason::Length));
                    let (answer, freed) = bounded(1);
                    handle.reclaim(SessionKey(session), answer);
                    assert_eq!(freed.recv_timeout(PATIENCE), Ok(2 * BLOCK_BYTES));
                }
            });
        }
    });
    assert_eq!((handle.kv_bytes(), handle.waiting(), books.total()), (0, 0, 0));
    books.check();
}

#[test]
fn a_full_queue_refuses_and_a_gated_step_does_not_block_callers() {
    let books = Arc::<Books>::default();
    let (gate, gated) = unbounded();
    let mut executor = Scripted::new(LIMITS);
    executor.gate = Some(gated);
    let handle = start(executor, 2);
    // Three lanes and two places fill up; the exact moment a place falls free is the thread's.
    let mut sent = Vec::new();
    let rejected = (1..).find_map(|session| {
        let (job, consumer) = job(&books, request(session, 2));
        match handle.submit(job) {
            Ok(()) => {
                sent.push(consumer);
                None
            }
            Err(rejected) => Some(rejected),
        }
    });
    let rejected = rejected.unwrap();
    assert!(matches!(rejected.error, EngineError::QueueFull { queued: 2, .. }));
    assert!(sent.len() <= 5);
    drop(rejected);
    drop(gate);
    for sent in &sent {
        assert_eq!(end(sent).1, FinishReason::Length);
    }
    drop(sent);
    // The thread lets go of a ring just after it has told the end; with its next answer it surely has.
    let (answer, freed) = bounded(1);
    handle.reclaim(SessionKey(0), answer);
    assert_eq!(freed.recv_timeout(PATIENCE), Ok(0));
    assert_eq!(books.total(), handle.kv_bytes());
    books.check();
}

#[test]
fn the_last_handle_ends_everything() {
    let books = Arc::<Books>::default();
    let executor = Scripted::new(LIMITS);
    let alive = executor.counter();
    let handle = start(executor, 8);
    let idle = submit(&handle, &books, request(9, 1));
    assert_eq!(end(&idle).1, FinishReason::Length);
    let sent: Vec<_> = (1..=4).map(|session| submit(&handle, &books, request(session, 60))).collect();
    let other = handle.clone();
    drop(handle);
    assert!(other.kv_bytes() > 0);
    drop(other);
    // The thread has been waited for.
    for sent in &sent {
        let reason = end(sent).1;
        assert!(
            matches!(reason, FinishReason::Failed(EngineError::Closed) | FinishReason::Length),
            "{reason:?}"
        );
    }
    drop((idle, sent));
    assert_eq!((alive.load(Ordering::SeqCst), books.total()), (0, 0));
    books.check();
}

#[test]
fn a_late_cancel_of_a_running_request_is_honoured_within_a_step() {
    let books = Arc::<Books>::default();
    let (gate, gated) = bounded(0);
    let mut executor = Scripted::new(LIMITS);
    executor.gate = Some(gated);
    let handle = start(executor, 8);
    let sent = submit(&handle, &books, request(1, 20));
    for _ in 0..3 {
        gate.send_timeout((), PATIENCE).unwrap();
    }
    sent.cancel.cancel();
    // At most the step that the thread had begun goes on.
    let _ = gate.send_timeout((), Duration::from_millis(200));
    let (tokens, reason) = end(&sent);
    assert_eq!(reason, FinishReason::Cancelled);
    assert!((2..=4).contains(&tokens.len()), "{tokens:?}");
}
