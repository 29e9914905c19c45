//! Requests that wait: their order, what is kept for them, and how waiting ends.

use super::*;
use std::thread;

const LONG: Duration = Duration::from_secs(3600);

fn waits(world: &World, seat: &Seat, ask: &Ask) -> (Verdict, Waiting) {
    match world.guard.enqueue(seat, ask, LONG).unwrap() {
        Queued::Waits(verdict, waiting) => (verdict, waiting),
        Queued::Decided(verdict, _) => panic!("{verdict}"),
    }
}

fn at(priority: i8, ask: Ask) -> Ask {
    Ask { priority, ..ask }
}

#[test]
fn who_waits_is_served_by_priority_and_arrival_and_nobody_passes() {
    // A block of KV and 13 bytes for each token of an answer.
    let world = World::host(4 * 100 + 500);
    let seats: Vec<_> = (0..6).map(|_| world.seat()).collect();
    let (_, running) = world.guard.admit(&seats[0], &ask(8, 4, 4)).unwrap();
    let running = running.unwrap();
    // 12 tokens in three blocks: they fit once the first request has ended.
    let large = ask(20, 4, 4);
    let (verdict, mut first) = waits(&world, &seats[1], &large);
    assert_eq!((verdict.decision, verdict.position), (Decision::Reject, 1));
    let (verdict, mut second) = waits(&world, &seats[2], &ask(4, 4, 4));
    assert_eq!((verdict.reason, verdict.position), (Reason::Queued, 2), "it would fit, were it the first");
    let (verdict, mut urgent) = waits(&world, &seats[3], &at(1, large));
    assert_eq!(verdict.position, 1);
    // Nobody who comes later takes anything, whatever it is.
    let refused = world.guard.admit(&seats[4], &ask(1, 1, 1)).unwrap();
    assert!(refused.1.is_none());
    assert_eq!((refused.0.reason, refused.0.position), (Reason::Queued, 4));
    assert!(refused.0.retry_after.is_some());
    assert!(world.guard.admit(&seats[4], &at(2, ask(1, 1, 1))).unwrap().1.is_some(), "but for those above");
    for (waiting, seat) in [(&mut first, 1), (&mut second, 2), (&mut urgent, 3)] {
        assert!(waiting.poll(&seats[seat]).unwrap().is_none());
    }
    world.clock.advance(Duration::from_secs(7));
    world.engine.finish(running, 0);
    for (waiting, seat) in [(&mut first, 1), (&mut second, 2)] {
        assert!(waiting.poll(&seats[seat]).unwrap().is_none(), "not before the urgent one");
    }
    let (verdict, grant) = urgent.poll(&seats[3]).unwrap().unwrap();
    assert_eq!((verdict.decision, verdict.position), (Decision::Accept, 0));
    assert_eq!(verdict.waited, Duration::from_secs(7));
    assert!(first.poll(&seats[1]).unwrap().is_none());
    world.engine.finish(grant.unwrap(), 0);
    assert!(second.poll(&seats[2]).unwrap().is_none());
    let (_, grant) = first.poll(&seats[1]).unwrap().unwrap();
    assert!(grant.is_some());
    // 900 bytes hold both.
    let (_, beside) = second.poll(&seats[2]).unwrap().unwrap();
    assert!(beside.is_some());
    world.check();
    let stats = world.guard.stats();
    assert_eq!((stats.waiting, stats.waited_count), (0, 3));
    assert_eq!(stats.longest_wait, Duration::from_secs(7));
}

#[test]
fn who_needs_nothing_that_is_waited_for_passes() {
    // The device is short, the host is not.
    let world = World::new(exact(10_000, Some(500)), Region::Device(0));
    let host = FakeEngine::new(Region::Host);
    let (a, b, c) = (world.seat(), world.seat(), world.guard.open_session(host, None).unwrap());
    let (_, running) = world.guard.admit(&a, &ask(8, 4, 4)).unwrap();
    let (_, mut waiting) = waits(&world, &b, &ask(8, 8, 8));
    let (verdict, grant) = world.guard.admit(&c, &ask(8, 8, 8)).unwrap();
    assert!(grant.is_some(), "{verdict}");
    assert!(waiting.poll(&b).unwrap().is_none());
    world.engine.finish(running.unwrap(), 0);
    assert!(waiting.poll(&b).unwrap().unwrap().1.is_some());
}

#[test]
fn what_is_held_and_idle_is_waited_for_too() {
    let world = World::host(1_000);
    let (idle, busy, waiter) = (world.seat(), world.seat(), world.seat());
    world.run(&idle, &ask(12, 4, 4), 400);
    let (_, running) = world.guard.admit(&busy, &ask(12, 4, 4)).unwrap();
    // Seven blocks: it needs what is idle, and what runs.
    let (_, mut waiting) = waits(&world, &waiter, &ask(24, 4, 4));
    let (verdict, grant) = world.guard.admit(&idle, &ask(12, 4, 4)).unwrap();
    assert!(grant.is_none() && verdict.reason == Reason::Queued, "{verdict}");
    world.engine.finish(running.unwrap(), 0);
    let (verdict, grant) = waiting.poll(&waiter).unwrap().unwrap();
    assert_eq!((grant.is_some(), verdict.evict_sessions), (true, 1));
}

#[test]
fn what_never_fits_does_not_wait_and_a_full_line_says_so() {
    let world = World::new(GuardConfig { queue: 1, ..exact(500, None) }, Region::Host);
    let seats = [world.seat(), world.seat(), world.seat(), world.seat()];
    let (_, running) = world.guard.admit(&seats[0], &ask(8, 4, 4)).unwrap();
    let Queued::Decided(verdict, None) = world.guard.enqueue(&seats[1], &ask(40, 4, 4), LONG).unwrap() else {
        panic!("it never fits")
    };
    assert_eq!((verdict.retry_after, verdict.position), (None, 0));
    let (_, waiting) = waits(&world, &seats[1], &ask(8, 4, 4));
    let Queued::Decided(verdict, None) = world.guard.enqueue(&seats[2], &ask(8, 4, 4), LONG).unwrap() else {
        panic!("one may wait")
    };
    assert_eq!((verdict.reason, verdict.position), (Reason::QueueFull, 2));
    assert!(verdict.retry_after.is_some() && verdict.bytes_asked > 0);
    // One session has one request.
    let Queued::Decided(verdict, None) = world.guard.enqueue(&seats[1], &ask(8, 4, 4), LONG).unwrap() else {
        panic!("it waits already")
    };
    assert_eq!(verdict.reason, Reason::Busy);
    drop(waiting);
    // Weights that come meanwhile may turn a wait into a refusal for good.
    let (_, mut waiting) = waits(&world, &seats[1], &ask(12, 4, 4));
    let lease = world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), 100).unwrap();
    let (verdict, grant) = waiting.poll(&seats[1]).unwrap().unwrap();
    assert!(grant.is_none() && verdict.retry_after.is_none(), "{verdict}");
    assert!(waiting.poll(&seats[1]).is_err(), "it was decided");
    drop((running, lease));
    world.check();
}

#[test]
fn waiting_ends_with_its_time_and_when_it_is_cancelled() {
    let world = World::host(500);
    let seats = [world.seat(), world.seat(), world.seat()];
    let (_, running) = world.guard.admit(&seats[0], &ask(8, 4, 4)).unwrap();
    let second = Duration::from_secs(1);
    let Queued::Waits(_, mut waiting) = world.guard.enqueue(&seats[1], &ask(8, 4, 4), second).unwrap() else {
        panic!("it fits later")
    };
    let (_, other) = waits(&world, &seats[2], &ask(8, 4, 4));
    world.clock.advance(second / 2);
    assert!(waiting.poll(&seats[1]).unwrap().is_none());
    world.clock.advance(second / 2);
    let (verdict, grant) = waiting.poll(&seats[1]).unwrap().unwrap();
    assert!(grant.is_none() && verdict.retry_after.is_some());
    assert_eq!((verdict.reason, verdict.waited, verdict.position), (Reason::Budget, second, 1));
    assert_eq!(other.cancel(&seats[2]).unwrap().reason, Reason::Cancelled);
    let stats = world.guard.stats();
    assert_eq!((stats.waiting, stats.rejected_count), (0, 2));
    drop(running);
}

#[test]
fn a_firm_request_waits_for_pressure_to_fall_and_holds_nobody_up() {
    let levels = crate::guard::Levels { above: [0.3, 0.97, 0.98, 0.99], back: 0.01 };
    let world = World::new(GuardConfig { pressure: Some(levels), ..exact(1_000, None) }, Region::Host);
    let seats = [world.seat(), world.seat(), world.seat()];
    let (_, running) = world.guard.admit(&seats[0], &ask(12, 4, 4)).unwrap();
    let firm = Ask { degradable: false, ..ask(4, 4, 4) };
    let (verdict, mut waiting) = waits(&world, &seats[1], &firm);
    assert_eq!(verdict.reason, Reason::Pressure);
    let (_, beside) = world.guard.admit(&seats[2], &ask(4, 4, 1)).unwrap();
    assert!(beside.is_some());
    drop((running, beside));
    world.guard.pressure();
    assert!(waiting.poll(&seats[1]).unwrap().unwrap().1.is_some());
}

#[test]
fn a_thread_that_waits_is_woken_by_bytes_and_by_its_cancel_token() {
    let world = World::host(500);
    let seats = [world.seat(), world.seat(), world.seat()];
    let (_, running) = world.guard.admit(&seats[0], &ask(8, 4, 4)).unwrap();
    let cancel = Cancel::new();
    thread::scope(|scope| {
        let waits = |seat: usize, cancel: Cancel| {
            let (guard, seat) = (&world.guard, &seats[seat]);
            scope.spawn(move || guard.admit_waiting(seat, &ask(8, 4, 4), LONG, &cancel).unwrap())
        };
        let (one, two) = (waits(1, Cancel::new()), waits(2, cancel.child()));
        while world.guard.stats().waiting < 2 {
            thread::sleep(Duration::from_millis(1));
        }
        cancel.cancel();
        assert_eq!(two.join().unwrap().0.reason, Reason::Cancelled);
        world.engine.finish(running.unwrap(), 0);
        assert!(one.join().unwrap().1.is_some());
    });
    world.check();
}

#[test]
fn closing_a_session_takes_its_request_out_of_the_line() {
    let world = World::host(500);
    let (busy, seat, next) = (world.seat(), world.seat(), world.seat());
    let (_, running) = world.guard.admit(&busy, &ask(8, 4, 4)).unwrap();
    let (_, mut first) = waits(&world, &seat, &ask(8, 4, 4));
    let (_, mut second) = waits(&world, &next, &ask(1, 1, 1));
    drop(seat);
    assert!(first.poll(&next).is_err());
    assert!(second.poll(&next).unwrap().unwrap().1.is_some(), "it fits beside what runs");
    drop(running);
}

#[test]
fn whom_others_shut_out_holds_up_nobody_and_hears_when_they_have_gone() {
    let config = GuardConfig { budget: None, ..exact(0, None) };
    let probe = Arc::new(Mutex::new(Some(Reading { capacity: 2_000, used: 1_400 })));
    let guard =
        MemoryGuard::new(config, probe.clone(), Arc::new(plimsoll_engine::SystemClock::default())).unwrap();
    let (clock, engine) = (Arc::default(), FakeEngine::new(Region::Host));
    engine.watch(&guard);
    let world = World { guard, clock, engine };
    let (seat, other) = (world.seat(), world.seat());
    let large = ask(36, 4, 4);
    let outcome = thread::scope(|scope| {
        let waits = scope.spawn(|| world.guard.admit_waiting(&seat, &large, LONG, &Cancel::new()).unwrap());
        while world.guard.stats().waiting == 0 {
            thread::yield_now();
        }
        let (verdict, grant) = world.guard.admit(&other, &ask(4, 4, 4)).unwrap();
        assert!(grant.is_some(), "the bytes that it takes are of no use to who waits: {verdict}");
        drop(grant);
        // Nobody asks any more.
        probe.lock().unwrap().as_mut().unwrap().used = 100;
        waits.join().unwrap()
    });
    assert!(outcome.1.is_some(), "{}", outcome.0);
    world.check();
}
