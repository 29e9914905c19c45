//! The line: who waits, against releases, cancels, others who wait, and those who do not.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::thread;
use plimsoll::guard::{Grant, Queued, Reason, Seat, Waiting};
use plimsoll_engine::{Cancel, Lease, Owner, Region, RequestId};
use plimsoll_loom::{REQUEST, TOKEN, World, explore};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

/// One token's request.
const ONE: u64 = TOKEN + REQUEST;
const LONG: Duration = Duration::from_secs(3_600);

fn all(world: &World, bytes: u64) -> Lease {
    world.guard.lease(Region::Host, Owner::Request(RequestId(1_000)), bytes).unwrap()
}

fn joins(world: &World, tokens: u32) -> (Seat, Waiting) {
    let seat = world.seat();
    match world.guard.enqueue(&seat, &World::ask(tokens), LONG).unwrap() {
        Queued::Waits(_, waiting) => (seat, waiting),
        Queued::Decided(verdict, _) => panic!("{verdict}"),
    }
}

fn sleeps(seat: Seat, waiting: Waiting, cancel: &Cancel) -> (Option<Grant>, Reason, Seat) {
    // A wake-up that is lost leaves this thread here for good, which loom reports.
    let (verdict, grant) = waiting.wait(&seat, cancel).unwrap();
    (grant, verdict.reason, seat)
}

#[test]
fn who_waits_is_granted_when_bytes_are_back() {
    explore(|| {
        let world = World::new(ONE);
        let held = all(&world, ONE);
        let (other, seat) = (world.clone(), world.seat());
        let thread = thread::spawn(move || {
            let ask = World::ask(1);
            let (_, grant) = other.guard.admit_waiting(&seat, &ask, LONG, &Cancel::new()).unwrap();
            (grant.unwrap(), seat)
        });
        drop(held);
        let granted = thread.join().unwrap();
        world.assert_used(ONE);
        drop(granted);
        world.assert_used(0);
    });
}

#[test]
fn who_is_cancelled_while_bytes_come_back_has_a_grant_or_is_gone() {
    explore(|| {
        let world = World::new(ONE);
        let held = all(&world, ONE);
        let (cancel, (seat, waiting)) = (Cancel::new(), joins(&world, 1));
        let flag = cancel.clone();
        let waits = thread::spawn(move || sleeps(seat, waiting, &flag));
        let raises = thread::spawn(move || cancel.cancel());
        drop(held);
        let (grant, reason, _seat) = waits.join().unwrap();
        raises.join().unwrap();
        assert!(grant.is_some() != (reason == Reason::Cancelled));
        world.assert_used(if grant.is_some() { ONE } else { 0 });
        drop(grant);
        assert_eq!(world.guard.stats().waiting, 0);
        world.assert_used(0);
    });
}

#[test]
fn cancelling_alone_wakes_who_waits() {
    explore(|| {
        let world = World::new(ONE);
        let held = all(&world, ONE);
        let parent = Cancel::new();
        let (cancel, (seat, waiting)) = (parent.child(), joins(&world, 1));
        let waits = thread::spawn(move || sleeps(seat, waiting, &cancel));
        parent.cancel();
        let (grant, reason, _seat) = waits.join().unwrap();
        assert!(grant.is_none() && reason == Reason::Cancelled);
        drop(held);
        world.assert_used(0);
    });
}

#[test]
fn two_who_wait_are_granted_in_the_order_in_which_they_came() {
    explore(|| {
        let world = World::new(2 * ONE);
        let held = all(&world, 2 * ONE);
        // Both do not fit at once, though the second would fit beside what is left of the lease.
        let (first, second) = (joins(&world, 2), joins(&world, 1));
        let ran = Arc::new(AtomicBool::new(false));
        let marks = Arc::clone(&ran);
        let one = thread::spawn(move || {
            let (grant, _, seat) = sleeps(first.0, first.1, &Cancel::new());
            marks.store(grant.is_some(), SeqCst);
            drop(grant);
            drop(seat);
        });
        let two = thread::spawn(move || {
            let granted = sleeps(second.0, second.1, &Cancel::new());
            assert!(granted.0.is_some() && ran.load(SeqCst), "it came second");
            drop(granted.0);
            drop(granted.2);
        });
        drop(held);
        one.join().unwrap();
        two.join().unwrap();
        world.assert_used(0);
    });
}

#[test]
fn who_does_not_wait_takes_nothing_from_who_does() {
    explore(|| {
        let world = World::new(2 * ONE);
        let mut held = all(&world, 2 * ONE);
        let (seat, waiting) = joins(&world, 2);
        let (other, newcomer) = (world.clone(), world.seat());
        let asks = thread::spawn(move || other.admit(&newcomer, 1).is_some());
        // Enough for the newcomer at once, and for who waits when all is back.
        held.shrink_to(ONE / 2);
        drop(held);
        let (grant, _, _seat) = sleeps(seat, waiting, &Cancel::new());
        assert!(grant.is_some());
        assert!(!asks.join().unwrap(), "both do not fit");
        world.assert_used(2 * TOKEN + REQUEST);
        drop(grant);
        world.assert_used(0);
    });
}

#[test]
fn a_first_in_line_that_leaves_makes_way_for_the_next() {
    explore(|| {
        let world = World::new(2 * ONE);
        let mut held = all(&world, 2 * ONE);
        let (first, second) = (joins(&world, 2), joins(&world, 1));
        let waits = thread::spawn(move || sleeps(second.0, second.1, &Cancel::new()));
        // Enough for the second alone.
        held.shrink_to(ONE);
        drop(first);
        let (grant, ..) = waits.join().unwrap();
        assert!(grant.is_some());
        drop((grant, held));
        world.assert_used(0);
    });
}
