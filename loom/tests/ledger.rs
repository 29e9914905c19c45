//! Bookings, releases, lowered limits and those who wait.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::thread;
use plimsoll_engine::{ModelId, Owner, Region};
use plimsoll_loom::{REQUEST, TOKEN, World, explore};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// One token's request.
const ONE: u64 = TOKEN + REQUEST;
const LONG: Duration = Duration::from_secs(3_600);

#[test]
fn of_two_requests_at_the_limit_one_is_granted() {
    explore(|| {
        let world = World::new(ONE + ONE / 2);
        let asks = || {
            let (world, seat) = (world.clone(), world.seat());
            thread::spawn(move || world.admit(&seat, 1).map(|grant| (grant, seat)))
        };
        let threads = [asks(), asks()];
        let granted = threads.map(|thread| thread.join().unwrap());
        assert_eq!(granted.iter().flatten().count(), 1);
        world.assert_used(ONE);
        drop(granted);
        world.assert_used(0);
    });
}

#[test]
fn a_request_and_a_lease_at_the_limit() {
    explore(|| {
        let world = World::new(ONE);
        let (other, seat) = (world.clone(), world.seat());
        let thread = thread::spawn(move || other.admit(&seat, 1).map(|grant| (grant, seat)));
        let lease = world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), ONE);
        let granted = thread.join().unwrap();
        assert!(granted.is_some() != lease.is_ok());
        world.assert_used(ONE);
        drop((granted, lease));
        world.assert_used(0);
    });
}

#[test]
fn one_session_has_one_grant() {
    explore(|| {
        let world = World::new(10 * ONE);
        let seat = Arc::new(world.seat());
        let (other, same) = (world.clone(), Arc::clone(&seat));
        let thread = thread::spawn(move || other.admit(&same, 1));
        let granted = [world.admit(&seat, 1), thread.join().unwrap()];
        assert_eq!(granted.iter().flatten().count(), 1);
        world.assert_used(ONE);
    });
}

#[test]
fn a_request_never_sees_more_or_less_than_what_was_given_back() {
    explore(|| {
        let world = World::new(2 * ONE);
        let seats = [world.seat(), world.seat(), world.seat()];
        let [first, second] = [0, 1].map(|i| world.admit(&seats[i], 1).unwrap());
        let thread = thread::spawn(move || drop(first));
        let third = world.admit(&seats[2], 1);
        thread.join().unwrap();
        let used = if third.is_some() { 2 * ONE } else { ONE };
        world.assert_used(used);
        drop((second, third));
        world.assert_used(0);
    });
}

#[test]
fn a_limit_that_falls_meanwhile_stops_bookings_and_breaks_nothing() {
    explore(|| {
        let world = World::on_a_machine(2 * ONE);
        let (first, second) = (world.seat(), world.seat());
        let held = world.admit(&first, 1).unwrap();
        world.clock.advance(Duration::from_secs(1));
        let lowering = world.clone();
        let thread = thread::spawn(move || {
            lowering.machine.capacity.store(ONE, SeqCst);
            assert!(lowering.guard.bytes_free(Region::Host) <= ONE);
            lowering.check();
        });
        let granted = world.admit(&second, 1);
        thread.join().unwrap();
        world.check();
        // The next reading is of the lower limit.
        world.clock.advance(Duration::from_secs(1));
        assert_eq!(world.guard.bytes_free(Region::Host), 0);
        drop(held);
        let again = granted.is_none().then(|| world.admit(&second, 1).unwrap());
        world.assert_used(ONE);
        drop((granted, again));
        world.assert_used(0);
    });
}

#[test]
fn of_two_that_find_a_reading_old_one_reads() {
    explore(|| {
        let world = World::on_a_machine(ONE);
        let asked = world.machine.asked.load(SeqCst);
        world.clock.advance(Duration::from_secs(1));
        let other = world.clone();
        let thread = thread::spawn(move || other.guard.bytes_free(Region::Host));
        assert_eq!(world.guard.bytes_free(Region::Host), ONE);
        assert_eq!(thread.join().unwrap(), ONE);
        assert_eq!(world.machine.asked.load(SeqCst), asked + 1);
    });
}

#[test]
fn who_waits_for_bytes_is_woken_when_they_are_back() {
    explore(|| {
        let world = World::new(2 * ONE);
        // Back in one piece: both are woken by the same release.
        let held = world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), 2 * ONE).unwrap();
        let waits = || {
            let (world, seat) = (world.clone(), world.seat());
            thread::spawn(move || {
                loop {
                    let seen = world.guard.releases();
                    if let Some(grant) = world.admit(&seat, 1) {
                        return (grant, seat);
                    }
                    // A wake-up that is lost leaves this thread here for good, which loom reports.
                    world.guard.wait_for_release(seen, LONG);
                }
            })
        };
        let threads = [waits(), waits()];
        drop(held);
        let granted = threads.map(|thread| thread.join().unwrap());
        world.assert_used(2 * ONE);
        drop(granted);
        world.assert_used(0);
    });
}
