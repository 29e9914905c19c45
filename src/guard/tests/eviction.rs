//! Who is evicted for whom, and what happens when engines do not answer.

use super::*;
use std::time::Instant;

/// Sessions that hold this much, the first the least recently used.
fn holding(world: &World, bytes: &[u64]) -> Vec<Seat> {
    let run = |&kept: &u64| {
        let seat = world.seat();
        world.run(&seat, &ask(u32::try_from(kept / 25).unwrap(), 0, 0), kept);
        world.clock.advance(Duration::from_secs(1));
        seat
    };
    bytes.iter().map(run).collect()
}

fn kept(seats: &[Seat]) -> Vec<u64> {
    seats.iter().map(Seat::kv_bytes).collect()
}

#[test]
fn the_least_recently_used_go_first_and_only_as_many_as_needed() {
    let world = World::host(1_000);
    let seats = holding(&world, &[200, 300, 400]);
    let asking = world.seat();
    world.run(&seats[0], &ask(8, 0, 0), 200);
    // 400 bytes of KV and 13 of its own; 100 are free, and the oldest that is left holds 300.
    let request = ask(15, 1, 1);
    let foreseen = world.guard.what_if(&asking, &request).unwrap();
    assert_eq!((foreseen.evict_sessions, foreseen.evict_bytes, foreseen.bytes_free), (2, 700, 100));
    assert_eq!(kept(&seats), [200, 300, 400], "a what-if has no effect");
    let (verdict, grant) = world.guard.admit(&asking, &request).unwrap();
    assert_eq!(verdict, foreseen);
    assert_eq!(kept(&seats), [200, 0, 0]);
    assert_eq!(world.guard.stats().evictions, 2);
    world.check();
    drop(grant);
    assert_eq!(world.run(&seats[1], &ask(12, 1, 1), 300).kv_held, 0, "an evicted session stays open");
}

#[test]
fn all_idle_kv_goes_before_a_request_is_shrunk_but_not_the_asking_sessions_own() {
    let world = World::host(700);
    let seats = holding(&world, &[300, 200]);
    let (verdict, grant) = world.guard.admit(&seats[0], &ask(20, 20, 1)).unwrap();
    assert_eq!((verdict.decision, verdict.granted_tokens), (Decision::Shrink, 4));
    assert_eq!((verdict.kv_held, verdict.evict_sessions, verdict.evict_bytes), (300, 1, 200));
    assert_eq!(kept(&seats), [600, 0]);
    drop(grant);
    assert_eq!(kept(&seats), [300, 0]);
    world.check();
}

#[test]
fn running_sessions_are_never_evicted() {
    let world = World::host(1_000);
    let seats = holding(&world, &[400, 300]);
    let (_, grant) = world.guard.admit(&seats[0], &ask(16, 1, 1)).unwrap();
    let other = world.seat();
    let verdict = world.guard.what_if(&other, &ask(24, 1, 1)).unwrap();
    assert_eq!((verdict.decision, verdict.reason), (Decision::Reject, Reason::Budget));
    assert!(verdict.retry_after.is_some());
    assert_eq!(world.guard.evict_session(&seats[0]), 0);
    world.engine.finish(grant.unwrap(), 500);
    assert_eq!(world.run(&other, &ask(24, 1, 1), 0).evict_sessions, 2, "the other was used before it");
    assert_eq!(kept(&seats), [0, 0]);
}

#[test]
fn a_lease_evicts_too_and_its_refusal_has_every_number() {
    let world = World::host(1_000);
    let seats = holding(&world, &[400, 300]);
    let weights = world.guard.lease(Region::Host, Owner::Weights(ModelId(7)), 500).unwrap();
    assert_eq!(kept(&seats), [0, 300]);
    let refusal = world.guard.lease(Region::Host, Owner::Workspace(ModelId(7)), 501).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "501 bytes of host memory for workspace of model 7 do not fit: 200 bytes are free, 300 more are with idle \
         sessions (800 leased, 0 used without a lease, limit 1000)"
    );
    assert_eq!(kept(&seats), [0, 300], "nothing is evicted in vain");
    let nowhere = world.guard.lease(Region::Device(3), Owner::Weights(ModelId(7)), 1).unwrap_err();
    assert_eq!(nowhere.cause, RefusalCause::NoRegion);
    assert_eq!(
        nowhere.to_string(),
        "1 bytes for weights of model 7: the guard does not manage device 3 memory"
    );
    let workspace = world.guard.lease(Region::Host, Owner::Workspace(ModelId(7)), 500).unwrap();
    assert!(world.guard.lease(Region::Host, Owner::Weights(ModelId(8)), u64::MAX).is_err());
    drop((weights, workspace));
    assert_eq!(world.used(Region::Host), 0);
    world.check();
}

#[test]
fn an_engine_that_does_not_answer_costs_the_deadline_and_a_refusal() {
    let world = World::host(500);
    let seats = holding(&world, &[400]);
    let other = world.seat();
    world.engine.answer(Answers::Later);
    let start = Instant::now();
    let (verdict, grant) = world.guard.admit(&other, &ask(13, 20, 2)).unwrap();
    assert!(start.elapsed() >= world.guard.config().reclaim_deadline);
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!((verdict.decision, verdict.reason), (Decision::Reject, Reason::Reclaim));
    assert!(grant.is_none() && verdict.retry_after.is_some());
    world.check();

    // Its KV may go at any moment, so the session itself cannot run on it.
    let (verdict, grant) = world.guard.admit(&seats[0], &ask(12, 1, 1)).unwrap();
    assert_eq!((verdict.decision, verdict.reason), (Decision::Reject, Reason::Reclaim));
    assert!(grant.is_none());
    let refusal = world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), 200).unwrap_err();
    assert_eq!((refusal.cause, refusal.evictable), (RefusalCause::Reclaim, 400));
    assert!(refusal.to_string().contains("not given back in time"), "{refusal}");

    world.engine.catch_up();
    world.engine.answer(Answers::AtOnce);
    let verdict = world.run(&other, &ask(13, 3, 3), 0);
    assert_eq!((verdict.decision, verdict.evict_sessions), (Decision::Accept, 0));
    assert_eq!(world.run(&seats[0], &ask(4, 1, 1), 0).kv_held, 0);
    assert_eq!(world.guard.stats().evictions, 1, "a late answer counts");
    world.check();
}

#[test]
fn a_session_whose_kv_is_leaving_runs_when_it_has_left_however_much_is_free() {
    let world = World::host(10_000);
    let seats = holding(&world, &[400]);
    world.engine.answer(Answers::Later);
    assert_eq!(world.guard.evict_session(&seats[0]), 0);
    let request = ask(16, 1, 1);
    let (verdict, grant) = world.guard.admit(&seats[0], &request).unwrap();
    assert_eq!((verdict.reason, verdict.fits_tokens, grant.is_none()), (Reason::Reclaim, 0, true));
    let foreseen = world.guard.what_if(&seats[0], &request).unwrap();
    assert_eq!((foreseen.decision, foreseen.kv_held), (Decision::Accept, 0), "once it has left");
    let engine = world.engine.clone();
    let thread = std::thread::spawn(move || engine.catch_up());
    thread.join().unwrap();
    assert_eq!(world.run(&seats[0], &request, 0).kv_held, 0);
}

#[test]
fn an_engine_that_frees_nothing_is_not_asked_for_ever() {
    for answers in [Answers::Nothing, Answers::Dropped] {
        let world = World::host(500);
        let seats = holding(&world, &[400]);
        let other = world.seat();
        world.engine.answer(answers);
        let (verdict, _) = world.guard.admit(&other, &ask(13, 3, 3)).unwrap();
        assert_eq!((verdict.decision, verdict.reason), (Decision::Reject, Reason::Reclaim), "{answers:?}");
        assert!(world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), 200).is_err());
        assert_eq!((kept(&seats), world.guard.stats().evictions), (vec![400], 0));
        world.check();
        world.engine.answer(Answers::AtOnce);
        assert_eq!(world.run(&other, &ask(13, 3, 3), 0).evict_bytes, 400);
    }
}

#[test]
fn a_request_waits_for_the_kv_of_a_session_that_was_just_closed() {
    let config = GuardConfig { reclaim_deadline: Duration::from_secs(20), ..exact(500, None) };
    let world = World::new(config, Region::Host);
    let mut seats = holding(&world, &[400]);
    world.engine.answer(Answers::Later);
    seats.clear();
    assert_eq!(world.guard.stats().active_sessions, 0);
    assert_eq!(world.used(Region::Host), 400);
    let engine = world.engine.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        engine.catch_up();
    });
    let verdict = world.run(&world.seat(), &ask(13, 3, 3), 0);
    thread.join().unwrap();
    assert_eq!((verdict.decision, verdict.evict_sessions), (Decision::Accept, 0));
    assert_eq!(world.guard.stats().evictions, 0, "closing is not evicting");
    world.check();
}

#[test]
fn closing_gives_kv_back_now_or_when_the_request_has_ended() {
    let world = World::host(1_000);
    let mut seats = holding(&world, &[200, 300]);
    let (_, grant) = world.guard.admit(&seats[1], &ask(12, 4, 1)).unwrap();
    seats.clear();
    assert_eq!(world.used(Region::Host), 422, "one has ended, one runs");
    assert_eq!(world.guard.stats().active_sessions, 0);
    world.check();
    world.engine.finish(grant.unwrap(), 400);
    assert_eq!(world.used(Region::Host), 0);
    world.check();
    // What an engine holds on to after a session is closed is asked for again.
    let seats = holding(&world, &[200]);
    world.engine.answer(Answers::Nothing);
    drop(seats);
    world.guard.evict_idle();
    assert_eq!(world.used(Region::Host), 200);
    world.engine.answer(Answers::AtOnce);
    world.guard.evict_idle();
    assert_eq!(world.used(Region::Host), 0);
    world.check();
}

#[test]
fn idle_sessions_lose_their_kv_after_the_timeout() {
    let world = World::host(1_000);
    let seats = holding(&world, &[100, 200, 300]);
    let timeout = world.guard.config().idle_timeout;
    assert_eq!(world.guard.evict_idle(), 0);
    // They were used at 0, 1 and 2 s; it is 3 s.
    world.clock.advance(timeout - Duration::from_secs(2));
    assert_eq!(world.guard.evict_idle(), 300);
    assert_eq!(kept(&seats), [0, 0, 300]);
    let (_, grant) = world.guard.admit(&seats[2], &ask(12, 1, 1)).unwrap();
    world.clock.advance(timeout);
    assert_eq!(world.guard.evict_idle(), 0, "a running session is not idle");
    world.engine.finish(grant.unwrap(), 300);
    world.clock.advance(timeout);
    assert_eq!(world.guard.evict_session(&seats[2]), 300);
    assert_eq!(world.guard.evict_session(&seats[2]), 0);
    let details = world.guard.stats().session_details;
    assert_eq!(details.iter().map(|session| session.evictions).collect::<Vec<_>>(), [1, 1, 1]);
    world.check();
}

#[test]
fn whoever_asks_for_kv_is_told_what_came_back_though_another_saw_it_first() {
    let world = World::new(exact(1_000, None), Region::Host);
    let seats = holding(&world, &[300, 200]);
    world.engine.answer(Answers::Overtaken);
    assert_eq!(world.guard.evict_session(&seats[0]), 300);
    assert_eq!(world.guard.evict_session(&seats[0]), 0);
    assert_eq!(world.guard.evict_session(&seats[1]), 200);
    let details = world.guard.stats().session_details;
    assert_eq!(details.iter().map(|session| session.evictions).collect::<Vec<_>>(), [1, 1]);
    world.check();
}

#[test]
fn a_device_shortage_evicts_on_that_device_only() {
    let world = World::new(exact(1_000, Some(500)), Region::Device(0));
    let host_engine = FakeEngine::new(Region::Host);
    let on_host = world.guard.open_session(host_engine.clone(), None).unwrap();
    let (_, grant) = world.guard.admit(&on_host, &ask(8, 0, 0)).unwrap();
    host_engine.finish(grant.unwrap(), 200);
    let on_device = holding(&world, &[300]);
    let asking = world.seat();
    let verdict = world.run(&asking, &ask(12, 1, 1), 300);
    assert_eq!((verdict.evict_sessions, verdict.evict_bytes), (1, 300));
    assert_eq!((on_host.kv_bytes(), on_device[0].kv_bytes()), (200, 0));
    let lease = world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), 900).unwrap();
    assert_eq!((on_host.kv_bytes(), asking.kv_bytes()), (0, 300));
    drop(lease);
    world.check();
}
