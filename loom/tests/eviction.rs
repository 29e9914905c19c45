//! Eviction, with the engine's answers on a thread of their own, against requests, ends and closes of the same sessions.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::thread;
use plimsoll_loom::{REQUEST, TOKEN, World, explore};
use std::sync::Arc;

/// The engine's thread; it ends after [`Keeper::close`](plimsoll_loom::Keeper::close).
fn serve(world: &World) -> thread::JoinHandle<()> {
    world.engine.hire();
    let engine = Arc::clone(&world.engine);
    thread::spawn(move || engine.serve())
}

#[test]
fn a_request_waits_for_what_an_idle_session_holds() {
    explore(|| {
        let world = World::new(2 * TOKEN + REQUEST);
        let (idle, asking) = (world.idle(1), world.seat());
        let thread = serve(&world);
        let grant = world.admit(&asking, 2);
        assert!(grant.is_some());
        assert_eq!((idle.kv_bytes(), world.guard.stats().evictions), (0, 1));
        drop(grant);
        world.engine.close();
        thread.join().unwrap();
        world.assert_used(0);
    });
}

#[test]
fn two_requests_that_need_the_same_bytes_evict_them_once() {
    explore(|| {
        let world = World::new(2 * (TOKEN + REQUEST));
        let idle = world.idle(1);
        let seats = [world.seat(), world.seat()];
        let engine = serve(&world);
        let [left, right] = seats.map(|seat| {
            let world = world.clone();
            move || world.admit(&seat, 1).map(|grant| (grant, seat))
        });
        let thread = thread::spawn(left);
        let granted = [right(), thread.join().unwrap()];
        assert_eq!(granted.iter().flatten().count(), 2);
        assert_eq!((idle.kv_bytes(), world.guard.stats().evictions), (0, 1));
        world.engine.close();
        engine.join().unwrap();
        world.assert_used(2 * (TOKEN + REQUEST));
    });
}

#[test]
fn a_request_of_the_session_that_is_evicted_runs_on_exactly_what_it_pays_for() {
    explore(|| {
        let world = World::new(100 * TOKEN);
        let seat = Arc::new(world.idle(1));
        let engine = serve(&world);
        let (other, same) = (world.clone(), Arc::clone(&seat));
        let thread = thread::spawn(move || other.guard.evict_session(&same));
        let grant = world.admit(&seat, 2).unwrap();
        let freed = thread.join().unwrap();
        assert!(freed == 0 || freed == TOKEN, "{freed}");
        world.engine.close();
        engine.join().unwrap();
        assert_eq!(seat.kv_bytes(), 2 * TOKEN);
        world.assert_used(2 * TOKEN + REQUEST);
        world.engine.finish(grant, 2 * TOKEN);
        world.assert_used(2 * TOKEN);
    });
}

#[test]
fn an_answer_ends_the_reclaim_that_it_answers_and_no_later_one() {
    explore(|| {
        let world = World::new(2 * TOKEN + REQUEST);
        let (seat, asking) = (Arc::new(world.idle(1)), world.seat());
        let engine = serve(&world);
        let (other, same) = (world.clone(), Arc::clone(&seat));
        let thread = thread::spawn(move || other.guard.evict_session(&same));
        // Waits for the same answer, or is the one that asks.
        drop(world.admit(&asking, 2).unwrap());
        let grant = world.admit(&seat, 1).unwrap();
        world.engine.finish(grant, TOKEN);
        world.guard.evict_session(&seat);
        thread.join().unwrap();
        world.guard.evict_session(&seat);
        world.engine.close();
        engine.join().unwrap();
        assert_eq!((seat.kv_bytes(), world.guard.stats().evictions), (0, 2));
        world.assert_used(0);
    });
}

#[test]
fn an_answer_that_may_be_late_is_taken_note_of_all_the_same() {
    explore(|| {
        let world = World::impatient(2 * TOKEN + REQUEST);
        let (idle, asking) = (world.idle(1), world.seat());
        let engine = serve(&world);
        let grant = world.admit(&asking, 2);
        let evicted = world.guard.evict_session(&idle);
        assert!(evicted == 0 || grant.is_none());
        world.check();
        world.engine.close();
        engine.join().unwrap();
        let grant = grant.or_else(|| world.admit(&asking, 2));
        assert!(grant.is_some(), "the engine has answered, late or not");
        assert_eq!(idle.kv_bytes(), 0);
        world.assert_used(2 * TOKEN + REQUEST);
        drop(grant);
        assert!(world.admit(&idle, 1).is_some(), "it runs again");
    });
}

#[test]
fn closing_a_session_while_its_request_ends_leaves_nothing() {
    explore(|| {
        let world = World::new(10 * TOKEN);
        let seat = world.seat();
        let grant = world.admit(&seat, 2).unwrap();
        let thread = thread::spawn(move || drop(seat));
        world.engine.finish(grant, TOKEN);
        thread.join().unwrap();
        world.assert_used(0);
        assert_eq!(world.guard.stats().active_sessions, 0);
    });
}

#[test]
fn closing_evicting_and_asking_at_once() {
    explore(|| {
        let world = World::new(2 * TOKEN + REQUEST);
        let (idle, asking) = (world.idle(1), world.seat());
        let engine = serve(&world);
        let thread = thread::spawn(move || drop(idle));
        let grant = world.admit(&asking, 2);
        assert!(grant.is_some(), "closed or evicted, the bytes come");
        thread.join().unwrap();
        world.engine.close();
        engine.join().unwrap();
        world.assert_used(2 * TOKEN + REQUEST);
        drop(grant);
        assert_eq!(world.guard.stats().active_sessions, 1);
    });
}

#[test]
fn a_sweep_and_a_close_free_a_session_between_them() {
    explore(|| {
        let world = World::new(10 * TOKEN);
        let idle = world.idle(1);
        world.clock.advance(world.guard.config().idle_timeout);
        let engine = serve(&world);
        let thread = thread::spawn(move || drop(idle));
        let freed = world.guard.evict_idle();
        assert!(freed == 0 || freed == TOKEN, "{freed}");
        thread.join().unwrap();
        world.engine.close();
        engine.join().unwrap();
        world.assert_used(0);
        assert_eq!(world.guard.stats().active_sessions, 0);
    });
}
