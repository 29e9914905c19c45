//! Rings and cancel flags: a writer, a reader, and whoever asks for an early end.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::cell::UnsafeCell;
use loom::thread;
use plimsoll_engine::{
    Accounts, Bell, Cancel, Finish, FinishReason, Lease, Next, Owner, Region, RequestId, Ring, TokenEvent,
};
use plimsoll_loom::explore;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// Bytes that came back, and how often.
#[derive(Default)]
struct Back {
    bytes: AtomicU64,
    times: AtomicU64,
}

impl Accounts for Back {
    fn release(&self, _: Region, _: Owner, bytes: u64) {
        self.bytes.fetch_add(bytes, SeqCst);
        self.times.fetch_add(1, SeqCst);
    }
}

fn ring(tokens: u32) -> (Arc<Ring>, Arc<Back>) {
    let (ring, back) = bare_ring(tokens);
    (Arc::new(ring), back)
}

fn bare_ring(tokens: u32) -> (Ring, Arc<Back>) {
    let back = Arc::new(Back::default());
    let books: Arc<dyn Accounts> = Arc::<Back>::clone(&back);
    let bytes = Ring::bytes(tokens, 0).unwrap();
    let lease = Lease::issue(books, Region::Host, Owner::Request(RequestId(1)), bytes);
    (Ring::new(tokens, 0, lease).unwrap(), back)
}

fn finish(reason: FinishReason) -> Finish {
    let zero = Duration::ZERO;
    Finish { reason, cached_tokens: 0, kv_tokens: 0, queued: zero, prefill: zero, decode: zero }
}

fn token(id: u32) -> TokenEvent {
    TokenEvent { id, logprob: -1.0 }
}

/// Reads to the end: the ids, and the end, which is the same when asked again.
fn read(ring: &Ring) -> (Vec<u32>, FinishReason) {
    let (mut ids, mut tops) = (Vec::new(), Vec::new());
    loop {
        match ring.next(None, &mut tops) {
            Next::Token(token) => ids.push(token.id),
            Next::Finished(end) => {
                assert_eq!(ring.next(None, &mut tops), Next::Finished(end.clone()));
                return (ids, end.reason);
            }
            Next::TimedOut => panic!("it was to wait for ever"),
        }
    }
}

#[test]
fn tokens_come_in_order_and_the_bytes_are_back_once_with_the_end() {
    explore(|| {
        let (ring, back) = ring(2);
        let writer = Arc::clone(&ring);
        let thread = thread::spawn(move || {
            assert!(writer.push(token(1), &[]) && writer.push(token(2), &[]) && !writer.push(token(3), &[]));
            writer.finish(finish(FinishReason::Length));
        });
        assert_eq!(read(&ring), (vec![1, 2], FinishReason::Length));
        assert_eq!(back.bytes.load(SeqCst), Ring::bytes(2, 0).unwrap());
        thread.join().unwrap();
        drop(ring);
        assert_eq!(back.times.load(SeqCst), 1);
    });
}

/// One reader of two rings: whatever comes in either, in whatever order, it is heard, and a wait never sleeps through it.
#[test]
fn a_bell_wakes_the_reader_of_several_rings() {
    explore(|| {
        let bell = Arc::new(Bell::new());
        let rings = [0, 1].map(|_| {
            let (ring, back) = bare_ring(1);
            (Arc::new(ring.with_bell(Arc::clone(&bell))), back)
        });
        let threads = rings.each_ref().map(|(ring, _)| {
            let writer = Arc::clone(ring);
            thread::spawn(move || {
                assert!(writer.push(token(1), &[]));
                writer.finish(finish(FinishReason::Length));
            })
        });
        let (mut tokens, mut ended, mut tops) = ([0, 0], [false, false], Vec::new());
        while ended != [true, true] {
            let mut heard = false;
            for (at, (ring, _)) in rings.iter().enumerate() {
                if ended[at] {
                    continue;
                }
                match ring.next(Some(Duration::ZERO), &mut tops) {
                    Next::Token(_) => tokens[at] += 1,
                    Next::Finished(_) => ended[at] = true,
                    Next::TimedOut => continue,
                }
                heard = true;
                break;
            }
            assert!(heard || bell.wait(None));
        }
        assert_eq!(tokens, [1, 1]);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(rings.iter().all(|(_, back)| back.times.load(SeqCst) == 1));
    });
}

#[test]
fn a_reader_that_waits_is_woken_by_a_token_before_any_end() {
    explore(|| {
        let (ring, back) = ring(1);
        let writer = Arc::clone(&ring);
        let thread = thread::spawn(move || assert!(writer.push(token(1), &[])));
        assert_eq!(ring.next(None, &mut Vec::new()), Next::Token(token(1)));
        ring.finish(finish(FinishReason::Length));
        thread.join().unwrap();
        assert_eq!(read(&ring), (Vec::new(), FinishReason::Length));
        assert_eq!(back.times.load(SeqCst), 1);
    });
}

#[test]
fn a_reader_that_goes_away_costs_neither_bytes_nor_the_writer() {
    explore(|| {
        let (ring, back) = ring(1);
        let writer = Arc::clone(&ring);
        let thread = thread::spawn(move || {
            assert!(writer.push(token(1), &[]));
            writer.finish(finish(FinishReason::Length));
        });
        // It looked once, and lost interest.
        let _: bool = ring.is_finished();
        drop(ring);
        thread.join().unwrap();
        assert_eq!((back.bytes.load(SeqCst), back.times.load(SeqCst)), (Ring::bytes(1, 0).unwrap(), 1));
    });
}

#[test]
fn of_two_ends_all_readers_see_the_same_one() {
    explore(|| {
        let (ring, back) = ring(1);
        let ends = |reason: FinishReason| {
            let ring = Arc::clone(&ring);
            thread::spawn(move || ring.finish(finish(reason)))
        };
        let threads = [ends(FinishReason::Length), ends(FinishReason::Cancelled)];
        let (ids, _) = read(&ring);
        assert!(ids.is_empty() && ring.is_finished());
        let seen = ring.next(None, &mut Vec::new());
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(ring.next(None, &mut Vec::new()), seen);
        assert_eq!(back.times.load(SeqCst), 1);
    });
}

#[test]
fn a_cancelled_request_ends_once_and_pays_back_once() {
    explore(|| {
        let (ring, back) = ring(2);
        let parent = Cancel::new();
        let (writer, flag) = (Arc::clone(&ring), parent.child());
        let thread = thread::spawn(move || {
            let told = (1..=2).find(|&id| flag.is_cancelled() || !writer.push(token(id), &[]));
            let reason = if told.is_some() { FinishReason::Cancelled } else { FinishReason::Length };
            writer.finish(finish(reason));
        });
        let reader = thread::spawn(move || read(&ring));
        parent.cancel();
        let (ids, reason) = reader.join().unwrap();
        thread.join().unwrap();
        assert_eq!(reason == FinishReason::Length, ids == [1, 2]);
        assert!([1, 2].starts_with(&ids));
        assert_eq!((back.bytes.load(SeqCst), back.times.load(SeqCst)), (Ring::bytes(2, 0).unwrap(), 1));
    });
}

#[test]
fn who_sees_a_raised_flag_sees_what_was_done_before() {
    explore(|| {
        let (parent, why) = (Cancel::new(), Arc::new(UnsafeCell::new(0)));
        let (child, written) = (parent.child(), Arc::clone(&why));
        let thread = thread::spawn(move || {
            // SAFETY: it is read only by who has seen the flag, raised below; loom reports it if that is not so.
            written.with_mut(|why| unsafe { *why = 7 });
            parent.cancel();
        });
        if child.is_cancelled() {
            // SAFETY: as above.
            assert_eq!(why.with(|why| unsafe { *why }), 7);
        }
        thread.join().unwrap();
        assert!(child.is_cancelled());
    });
}
