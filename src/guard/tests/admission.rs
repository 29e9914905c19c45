//! Decisions and their numbers.

use super::*;
use plimsoll_engine::EngineError;

#[test]
fn what_fits_is_accepted_with_its_numbers() {
    let world = World::host(10_000);
    let seat = world.seat();
    let (verdict, grant) = world.guard.admit(&seat, &ask(5, 4, 1)).unwrap();
    let expected = Verdict {
        decision: Decision::Accept,
        reason: Reason::Fits,
        asked_tokens: 4,
        granted_tokens: 4,
        fits_tokens: 4,
        bytes_asked: 322,
        bytes_free: 10_000,
        kv_bytes: 300,
        kv_held: 0,
        request_bytes: 22,
        workspace_bytes: 77,
        evict_sessions: 0,
        evict_bytes: 0,
        retry_after: None,
        position: 0,
        waited: Duration::ZERO,
        region: Region::Host,
        pressure: Pressure::Low,
        ring_bytes: 12,
        load_bytes: 0,
        load_region: Region::Host,
        unload_models: 0,
        unload_bytes: 0,
        kv_region: Region::Host,
        answers: 1,
    };
    assert_eq!(verdict, expected);
    let grant = grant.unwrap();
    assert_eq!((grant.kv.bytes(), grant.host.bytes(), grant.granted_tokens), (300, 22, 4));
    assert_eq!(grant.host.owner(), Owner::Request(grant.request));
    assert_eq!((grant.kv.owner(), seat.kv_bytes()), (Owner::Kv(seat.key()), 300));
    assert_eq!(world.used(Region::Host), 322);
    let before = world.guard.releases();
    drop(grant);
    assert_eq!((world.used(Region::Host), world.guard.releases()), (0, before + 1), "in one step");
    world.check();
}

#[test]
fn what_is_held_is_not_paid_twice() {
    let world = World::host(1_000);
    let seat = world.seat();
    world.run(&seat, &ask(5, 4, 1), 200);
    let (verdict, grant) = world.guard.admit(&seat, &ask(9, 8, 1)).unwrap();
    assert_eq!((verdict.kv_held, verdict.kv_bytes, verdict.bytes_asked), (200, 500, 334));
    assert_eq!(grant.as_ref().unwrap().kv.bytes(), 300);
    world.engine.finish(grant.unwrap(), 500);
    let (verdict, grant) = world.guard.admit(&seat, &ask(1, 1, 1)).unwrap();
    assert_eq!((verdict.kv_held, verdict.kv_bytes, verdict.bytes_asked), (500, 100, 13));
    assert_eq!(grant.unwrap().kv.bytes(), 0, "the session may hold more than it needs");
    world.check();
}

#[test]
fn a_request_shrinks_to_the_most_that_fits() {
    // 5 + 3 tokens are two blocks and 19 bytes; 5 + 4 are three blocks.
    let world = World::host(290);
    let seat = world.seat();
    let verdict = world.guard.what_if(&seat, &ask(5, 40, 2)).unwrap();
    assert_eq!((verdict.decision, verdict.reason), (Decision::Shrink, Reason::Budget));
    assert_eq!((verdict.granted_tokens, verdict.fits_tokens, verdict.asked_tokens), (3, 3, 40));
    assert_eq!((verdict.bytes_asked, verdict.bytes_free, verdict.retry_after), (219, 290, None));
    let (granted, grant) = world.guard.admit(&seat, &ask(5, 40, 2)).unwrap();
    assert_eq!((granted, grant.unwrap().granted_tokens), (verdict, 3));

    let (refused, grant) = world.guard.admit(&seat, &ask(5, 40, 4)).unwrap();
    assert_eq!((refused.decision, refused.reason, grant.is_none()), (Decision::Reject, Reason::Budget, true));
    assert_eq!((refused.granted_tokens, refused.fits_tokens), (0, 3));
    assert_eq!((refused.bytes_asked, refused.retry_after), (1200 + 130, None), "it never fits");
    let (refused, _) = world.guard.admit(&seat, &ask(5, 4, 4)).unwrap();
    assert_eq!(refused.decision, Decision::Reject, "the smallest acceptable is all of it");
    let stats = world.guard.stats();
    assert_eq!((stats.accepted_count, stats.shrunk_count, stats.rejected_count), (0, 1, 2));
}

#[test]
fn the_context_comes_first() {
    let world = World::host(100_000);
    let seat = world.seat();
    for (prompt, max, min, decision, fits) in [
        (48, 1, 1, Decision::Reject, 0),
        (u32::MAX, u32::MAX, 1, Decision::Reject, 0),
        (47, 9, 1, Decision::Shrink, 1),
        (40, u32::MAX, 9, Decision::Reject, 8),
        (40, u32::MAX, 8, Decision::Shrink, 8),
    ] {
        let verdict = world.guard.what_if(&seat, &ask(prompt, max, min)).unwrap();
        assert_eq!((verdict.decision, verdict.reason), (decision, Reason::Context), "{prompt} {max} {min}");
        assert_eq!((verdict.fits_tokens, verdict.retry_after), (fits, None), "{prompt} {max} {min}");
    }
    let verdict = world.guard.what_if(&seat, &ask(40, 8, 8)).unwrap();
    assert_eq!(verdict.decision, Decision::Accept);
    let verdict = world.guard.what_if(&seat, &ask(3, 0, 0)).unwrap();
    assert_eq!((verdict.decision, verdict.bytes_asked), (Decision::Accept, 110), "a prompt alone");
}

#[test]
fn session_and_kv_limits_have_their_own_reasons() {
    let world = World::new(GuardConfig { kv_limit: 700, ..exact(100_000, None) }, Region::Host);
    let small = world.guard.open_session(world.engine.clone(), Some(250)).unwrap();
    let verdict = world.guard.what_if(&small, &ask(5, 40, 1)).unwrap();
    assert_eq!((verdict.decision, verdict.reason), (Decision::Shrink, Reason::SessionLimit));
    assert_eq!(verdict.granted_tokens, 3);
    let verdict = world.guard.what_if(&small, &ask(9, 1, 1)).unwrap();
    assert_eq!((verdict.reason, verdict.retry_after), (Reason::SessionLimit, None));

    let (one, two) = (world.seat(), world.seat());
    let busy = world.guard.admit(&one, &ask(12, 4, 1)).unwrap();
    let verdict = world.guard.what_if(&two, &ask(8, 30, 1)).unwrap();
    assert_eq!((verdict.decision, verdict.reason), (Decision::Shrink, Reason::KvLimit));
    assert_eq!(verdict.granted_tokens, 4);
    let verdict = world.guard.what_if(&two, &ask(12, 8, 8)).unwrap();
    assert_eq!((verdict.decision, verdict.reason), (Decision::Reject, Reason::KvLimit));
    assert!(verdict.retry_after.is_some(), "it fits once the other has ended");
    world.engine.finish(busy.1.unwrap(), 0);
    assert_eq!(world.run(&two, &ask(12, 8, 8), 0).decision, Decision::Accept);
}

#[test]
fn a_busy_session_is_refused_with_the_time_its_request_should_take() {
    let world = World::host(10_000);
    let seat = world.seat();
    // The first guess is a second; eight requests of three seconds move it towards three.
    for _ in 0..8 {
        let (_, grant) = world.guard.admit(&seat, &ask(1, 1, 1)).unwrap();
        world.clock.advance(Duration::from_secs(3));
        world.engine.finish(grant.unwrap(), 100);
    }
    let (_, grant) = world.guard.admit(&seat, &ask(1, 1, 1)).unwrap();
    let retry = |world: &World| {
        let verdict = world.guard.what_if(&seat, &ask(1, 1, 1)).unwrap();
        assert_eq!((verdict.decision, verdict.reason), (Decision::Reject, Reason::Busy));
        assert_eq!(verdict.fits_tokens, 0);
        verdict.retry_after.unwrap().as_secs_f64()
    };
    let whole = retry(&world);
    assert!((2.0..3.0).contains(&whole), "{whole}");
    world.clock.advance(Duration::from_secs(1));
    assert!((whole - 1.0 - retry(&world)).abs() < 0.001);
    world.clock.advance(Duration::from_secs(60));
    assert!((retry(&world) - whole / 10.0).abs() < 0.001, "overdue: look again soon");
    drop(grant);
    assert_eq!(world.guard.what_if(&seat, &ask(1, 1, 1)).unwrap().decision, Decision::Accept);
}

#[test]
fn kv_on_a_device_and_request_bytes_on_the_host_must_both_fit() {
    let world = World::new(exact(25, Some(450)), Region::Device(0));
    let seat = world.seat();
    let verdict = world.guard.what_if(&seat, &ask(12, 30, 1)).unwrap();
    assert_eq!((verdict.decision, verdict.granted_tokens), (Decision::Shrink, 4));
    assert_eq!((verdict.region, verdict.bytes_asked, verdict.bytes_free), (Region::Device(0), 400, 450));
    let verdict = world.guard.what_if(&seat, &ask(1, 30, 1)).unwrap();
    assert_eq!((verdict.decision, verdict.granted_tokens), (Decision::Shrink, 5));
    assert_eq!((verdict.region, verdict.bytes_asked, verdict.bytes_free), (Region::Host, 25, 25));
    let (_, grant) = world.guard.admit(&seat, &ask(1, 5, 1)).unwrap();
    assert_eq!((world.used(Region::Device(0)), world.used(Region::Host)), (200, 25));
    assert_eq!(grant.as_ref().unwrap().kv.region(), Region::Device(0));
    drop(grant);
    let elsewhere = FakeEngine::new(Region::Device(1));
    assert_eq!(
        world.guard.open_session(elsewhere, None).unwrap_err(),
        GuardError::NoRegion { region: Region::Device(1) }
    );
}

#[test]
fn an_engine_that_cannot_price_is_no_refusal() {
    let world = World::host(1_000);
    let seat = world.seat();
    let mut odd = ask(1, 1, 1);
    odd.shape.top_logprobs = 1;
    assert_eq!(world.guard.what_if(&seat, &odd), Err(EngineError::PriceOverflow));
    assert!(matches!(world.guard.admit(&seat, &odd), Err(EngineError::PriceOverflow)));
    let other = World::host(1_000);
    assert!(matches!(other.guard.admit(&seat, &ask(1, 1, 1)), Err(EngineError::Invalid(_))));
    assert_eq!(world.guard.stats().rejected_count, 0);
}

#[test]
fn a_verdict_says_who_how_much_and_what_is_left() {
    let world = World::host(290);
    let seat = world.seat();
    let text = |prompt, max, min| world.guard.what_if(&seat, &ask(prompt, max, min)).unwrap().to_string();
    assert_eq!(text(5, 40, 2), "shrink (budget): 3 of 40 tokens need 219 bytes of host memory, 290 are free");
    assert_eq!(
        text(5, 4, 4),
        "reject (budget): 4 tokens need 322 bytes of host memory, 290 are free; 3 tokens would fit now, it never fits"
    );
    let grant = world.guard.admit(&seat, &ask(1, 1, 1)).unwrap();
    let other = world.seat();
    let verdict = world.guard.what_if(&other, &ask(5, 1, 1)).unwrap();
    assert_eq!(
        verdict.to_string(),
        "reject (budget): 1 tokens need 213 bytes of host memory, 177 are free; 0 tokens would fit now, retry in 1.0 s"
    );
    drop(grant);
}
