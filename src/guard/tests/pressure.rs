//! What requests give up while memory is short.

use super::*;

fn pressed(host: u64, region: Region) -> World {
    World::new(GuardConfig { pressure: Some(Levels::default()), ..exact(host, Some(host)) }, region)
}

/// Takes bytes as an application would, for as long as it is kept.
fn take(world: &World, region: Region, bytes: u64) -> Lease {
    world.guard.lease(region, Owner::Workspace(ModelId(9)), bytes).unwrap()
}

#[test]
fn each_level_grants_its_share_and_says_so() {
    for (taken, level, tokens) in [
        (6_900, Pressure::Low, 10),
        (7_000, Pressure::Medium, 9),
        (8_000, Pressure::High, 7),
        (8_500, Pressure::Critical, 5),
        (9_000, Pressure::Emergency, 3),
    ] {
        let world = pressed(10_000, Region::Host);
        let seat = world.seat();
        let _others = take(&world, Region::Host, taken);
        let promised = world.guard.what_if(&seat, &ask(4, 10, 1)).unwrap();
        let verdict = world.run(&seat, &ask(4, 10, 1), 0);
        assert_eq!(verdict, promised);
        assert_eq!((verdict.granted_tokens, verdict.pressure), (tokens, level));
        let degraded = level > Pressure::Low;
        let (decision, reason) = match degraded {
            true => (Decision::Shrink, Reason::Pressure),
            false => (Decision::Accept, Reason::Fits),
        };
        assert_eq!((verdict.decision, verdict.reason), (decision, reason));
        let stats = world.guard.stats();
        assert_eq!((stats.degraded_count, stats.pressure), (u64::from(degraded), level));
        assert_eq!(stats.pressure_changes, u64::from(degraded));
    }
}

#[test]
fn what_bounds_it_more_is_named() {
    let world = pressed(10_000, Region::Host);
    let seat = world.seat();
    let _others = take(&world, Region::Host, 9_650);
    // 3 of 10 tokens by pressure; 4 + 3 tokens are two blocks of 100 and 19 bytes.
    assert_eq!(world.guard.what_if(&seat, &ask(4, 10, 1)).unwrap().reason, Reason::Pressure);
    // 12 of 40 tokens by pressure; room is for 8 in three blocks.
    let verdict = world.guard.what_if(&seat, &ask(4, 40, 1)).unwrap();
    assert_eq!((verdict.reason, verdict.granted_tokens), (Reason::Budget, 8));
    // The context has room for 8; pressure would leave 30.
    let verdict = world.guard.what_if(&seat, &ask(40, 100, 1)).unwrap();
    assert_eq!(verdict.reason, Reason::Budget);
    drop(_others);
    let verdict = world.guard.what_if(&seat, &ask(40, 100, 1)).unwrap();
    assert_eq!((verdict.reason, verdict.granted_tokens), (Reason::Context, 8));
}

#[test]
fn the_least_acceptable_is_not_cut() {
    let world = pressed(10_000, Region::Host);
    let seat = world.seat();
    let _others = take(&world, Region::Host, 9_000);
    let verdict = world.run(&seat, &ask(4, 10, 8), 0);
    assert_eq!((verdict.decision, verdict.granted_tokens), (Decision::Shrink, 8));
    let verdict = world.run(&seat, &ask(4, 10, 10), 0);
    assert_eq!((verdict.decision, verdict.granted_tokens), (Decision::Accept, 10));
}

#[test]
fn what_may_not_be_degraded_is_refused_until_pressure_is_gone() {
    let world = pressed(10_000, Region::Host);
    let seat = world.seat();
    let firm = Ask { degradable: false, ..ask(4, 10, 1) };
    assert_eq!(world.run(&seat, &firm, 0).decision, Decision::Accept);
    let others = take(&world, Region::Host, 7_000);
    assert_eq!(world.guard.what_if(&seat, &firm).unwrap().decision, Decision::Reject);
    let (verdict, grant) = world.guard.admit(&seat, &firm).unwrap();
    assert!(grant.is_none() && verdict.retry_after.is_some());
    assert_eq!((verdict.reason, verdict.pressure), (Reason::Pressure, Pressure::Medium));
    assert_eq!((verdict.bytes_asked, verdict.bytes_free), (400 + 40, 3_000));
    drop(others);
    assert_eq!(world.run(&seat, &firm, 0).decision, Decision::Accept);
    world.check();
}

#[test]
fn idle_kv_presses_nobody() {
    let world = pressed(1_000, Region::Host);
    let (idle, seat) = (world.seat(), world.seat());
    let _others = take(&world, Region::Host, 500);
    world.run(&idle, &ask(4, 10, 1), 400);
    assert_eq!(world.used(Region::Host), 900);
    assert_eq!(world.guard.pressure(), Pressure::Low);
    // While it runs it does.
    let (_, grant) = world.guard.admit(&idle, &ask(4, 10, 1)).unwrap();
    assert_eq!(world.guard.pressure(), Pressure::Emergency);
    drop(grant);
    assert_eq!(world.guard.pressure(), Pressure::Low);
    assert_eq!(world.run(&seat, &ask(4, 10, 1), 0).decision, Decision::Accept);
}

#[test]
fn a_device_presses_what_lives_there_and_the_host_everyone() {
    let world = pressed(10_000, Region::Device(0));
    let other = FakeEngine::new(Region::Host);
    other.watch(&world.guard);
    let (there, here) = (world.seat(), world.guard.open_session(other.clone(), None).unwrap());
    let level = |seat: &Seat| world.guard.what_if(seat, &ask(4, 10, 1)).unwrap().pressure;
    let device = take(&world, Region::Device(0), 8_600);
    assert_eq!((level(&there), level(&here)), (Pressure::Critical, Pressure::Low));
    assert_eq!(world.guard.pressure(), Pressure::Critical);
    drop(device);
    let _host = take(&world, Region::Host, 8_100);
    assert_eq!((level(&there), level(&here)), (Pressure::High, Pressure::High));
}

#[test]
fn others_on_the_machine_press_within_a_reading() {
    let probe = Arc::new(Mutex::new(Some(Reading { capacity: 1_000_000, used: 0 })));
    let clock = Arc::new(ManualClock::default());
    let guard = MemoryGuard::new(GuardConfig::default(), probe.clone(), clock.clone()).unwrap();
    let batch = || guard.throttle().of(16);
    assert_eq!((guard.pressure(), batch()), (Pressure::Low, 16));
    for (used, level, running) in
        [(950_000, Pressure::Emergency, 1), (870_000, Pressure::Critical, 4), (820_000, Pressure::High, 8)]
    {
        *probe.lock().unwrap() = Some(Reading { capacity: 1_000_000, used });
        // Whoever watches does not wait for the reading's age.
        assert_eq!((guard.watch(), batch()), (level, running));
    }
    *probe.lock().unwrap() = Some(Reading { capacity: 1_000_000, used: 0 });
    assert_eq!(guard.pressure(), Pressure::High, "the last reading is still good");
    clock.advance(Duration::from_millis(100));
    assert_eq!((guard.pressure(), batch()), (Pressure::Low, 16));
    assert_eq!(guard.stats().pressure_changes, 4);
}
