//! Readings, checks for the host application, statistics, and proofs that fail when they should.

use super::*;
use plimsoll_engine::{Accounts, Holdings};
use serde_json::json;

#[test]
fn without_a_budget_what_others_use_counts() {
    let probe = Arc::new(Mutex::new(Some(Reading { capacity: 1_000, used: 300 })));
    let clock = Arc::new(ManualClock::default());
    let guard = MemoryGuard::new(GuardConfig::default(), probe.clone(), clock.clone()).unwrap();
    let host = |free, others| {
        let host = guard.stats().host();
        assert_eq!((host.free, host.others), (free, others));
    };
    let read = |reading| {
        *probe.lock().unwrap() = reading;
        clock.advance(Duration::from_millis(100));
    };
    host(550, 300);
    let lease = guard.lease(Region::Host, Owner::Weights(ModelId(1)), 200).unwrap();
    host(350, 300);
    read(Some(Reading { capacity: 1_000, used: 500 }));
    host(350, 300);
    read(Some(Reading { capacity: 1_000, used: 800 }));
    host(50, 600);
    assert!(guard.lease(Region::Host, Owner::Weights(ModelId(2)), 51).is_err());
    assert!(guard.can_allocate(45, 0.1) && !guard.can_allocate(46, 0.1));
    assert!(guard.can_allocate(50, 0.0) && guard.can_allocate(50, f64::NAN) && !guard.can_allocate(51, -9.0));
    assert!(!guard.can_allocate(u64::MAX, 0.1));
    assert!(guard.is_low_memory(0.8) && !guard.is_low_memory(0.81));
    read(None);
    host(50, 600);
    // A limit lowered below what is leased stops admissions and breaks nothing.
    read(Some(Reading { capacity: 100, used: 100 }));
    host(0, 0);
    guard.check_integrity().unwrap();
    drop(lease);
    host(85, 0);
}

#[test]
fn a_reading_is_not_taken_at_every_step() {
    let probe = Arc::new(Mutex::new(Some(Reading { capacity: 1_000, used: 0 })));
    let clock = Arc::new(ManualClock::default());
    let guard = MemoryGuard::new(GuardConfig::default(), probe.clone(), clock.clone()).unwrap();
    *probe.lock().unwrap() = Some(Reading { capacity: 1_000, used: 500 });
    clock.advance(Duration::from_millis(99));
    assert!(guard.can_allocate(850, 0.0));
    clock.advance(Duration::from_millis(1));
    assert!(!guard.can_allocate(850, 0.0));
}

#[test]
fn a_guard_without_room_cannot_be_made() {
    let make = |config, reading| {
        let clock = Arc::new(ManualClock::default());
        MemoryGuard::new(config, Arc::new(Mutex::new(reading)), clock).map(drop)
    };
    let unread = make(GuardConfig::default(), None).unwrap_err();
    assert_eq!(unread.to_string(), "the capacity of host memory cannot be read; set a budget");
    let reserve = GuardConfig { budget: Some(500), reserve: Some(500), ..GuardConfig::default() };
    assert_eq!(make(reserve, None), Err(GuardError::NoRoom { region: Region::Host, capacity: 500 }));
    let device = GuardConfig { budget: Some(500), device_budgets: vec![(1, 0)], ..GuardConfig::default() };
    assert!(matches!(make(device, None), Err(GuardError::NoRoom { region: Region::Device(1), .. })));
    let threshold = GuardConfig { threshold: 2.0, ..GuardConfig::default() };
    assert!(make(threshold, None).unwrap_err().to_string().starts_with("threshold is 2; it must be"));
}

#[test]
fn statistics_have_the_names_that_were_asked_for() {
    let world = World::new(exact(4 << 20, Some(2 << 20)), Region::Device(0));
    let seat = world.seat();
    let weights = world.guard.lease(Region::Host, Owner::Weights(ModelId(3)), 1 << 20).unwrap();
    world.run(&seat, &ask(16, 1, 1), 400);
    world.clock.advance(Duration::from_millis(1500));
    let stats = world.guard.stats();
    assert_eq!((stats.weights_bytes, stats.total_kv_bytes, stats.request_bytes), (1 << 20, 400, 0));
    assert_eq!(stats.host().peak, (1 << 20) + 13);
    let json = stats.to_json();
    assert_eq!(json["active_sessions"], 1);
    assert_eq!(json["total_kv_mb"], 400.0 / 1_048_576.0);
    assert_eq!(json["gpu_usage"], 400.0 / 2_097_152.0);
    assert_eq!(json["gpu_free_mb"], 2.0 - 400.0 / 1_048_576.0);
    let detail = &json["session_details"][0];
    assert_eq!((&detail["id"], &detail["requests"]), (&json!(seat.key().0), &json!(1)));
    assert_eq!((&detail["kv_mb"], &detail["idle_seconds"]), (&json!(400.0 / 1_048_576.0), &json!(1.5)));
    let gpu = &json["gpu_memory"][0];
    assert_eq!((&gpu["gpu_id"], &gpu["total_gb"]), (&json!(0), &json!(2.0 / 1024.0)));
    assert_eq!(gpu["used_gb"], 400.0 / 1_073_741_824.0);
    assert!(gpu["free_gb"].as_f64().unwrap() < gpu["total_gb"].as_f64().unwrap());
    assert_eq!(gpu["usage_percent"], 40_000.0 / 2_097_152.0);
    for name in ["rejected_count", "routed_count", "degraded_count", "evictions"] {
        assert_eq!(json[name], 0, "{name}");
    }
    for name in ["routed_4gpu_count", "route4_gpu_requests"] {
        assert_eq!(json[name], 0, "{name}");
    }
    assert_eq!(json["route4_percentage"], 0.0);
    let metrics = json!({
        "kv_bytes_in_use": 400, "kv_in_use_mb": 400.0 / 1_048_576.0, "sessions_active": 1,
        "sessions_evicted_total": 0, "models_loaded": 0, "models_unloaded_total": 0, "models_reloaded_total": 0,
        "gpu_mem_used_bytes": 400, "memory_pressure_gauge": 0,
        "admission_rejected_total": 0, "degradation_triggered_total": 0,
    });
    assert_eq!(json["metrics"], metrics);
    assert_eq!(
        json["ledger"],
        json!([
            { "region": "host", "owner": "weights of model 3", "purpose": "weights", "bytes": 1 << 20 },
            { "region": "device 0", "owner": format!("kv of session {}", seat.key().0), "purpose": "kv", "bytes": 400 },
        ])
    );
    drop(weights);
}

#[test]
fn holdings_that_differ_from_the_ledger_are_named() {
    let world = World::host(10_000);
    let model = ModelId(1);
    let weights = world.guard.lease(Region::Host, Owner::Weights(model), 1_000).unwrap();
    let workspace = world.guard.lease(Region::Host, Owner::Workspace(model), 100).unwrap();
    let seat = world.seat();
    world.run(&seat, &ask(16, 1, 1), 400);
    let other = FakeEngine::new(Region::Host);
    let stranger = world.guard.open_session(other.clone(), None).unwrap();
    let (_, grant) = world.guard.admit(&stranger, &ask(1, 1, 1)).unwrap();
    other.finish(grant.unwrap(), 100);
    let right = Holdings { weights: 1_000, workspace: 100, kv: 400 };
    let check = |holdings| {
        *world.engine.holdings.lock().unwrap() = holdings;
        world.guard.check_holdings(model, &*world.engine)
    };
    assert_eq!(check(right), Ok(()));
    let wrong = |purpose, booked, held| Err(IntegrityError::Holdings { purpose, booked, held });
    assert_eq!(check(Holdings { weights: 1_001, ..right }), wrong(Purpose::Weights, 1_000, 1_001));
    assert_eq!(check(Holdings { workspace: 0, ..right }), wrong(Purpose::Workspace, 100, 0));
    assert_eq!(check(Holdings { kv: 500, ..right }), wrong(Purpose::Kv, 400, 500));
    drop((weights, workspace));
}

#[test]
fn a_release_without_a_booking_is_reported() {
    let world = World::host(1_000);
    let seat = world.seat();
    world.run(&seat, &ask(16, 1, 1), 400);
    world.check();
    let owner = Owner::Kv(seat.key());
    world.guard.books.release(Region::Host, owner, 500);
    let error = IntegrityError::Overdrawn { region: Region::Host, owner, booked: 400, released: 500 };
    assert_eq!(world.guard.check_integrity(), Err(error));
    assert!(error.to_string().contains("released 500 bytes of host memory and had 400"), "{error}");
}

#[test]
fn who_waits_for_bytes_is_woken_when_they_come_back() {
    let world = World::host(1_000);
    let lease = world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), 10).unwrap();
    let seen = world.guard.releases();
    assert_eq!(world.guard.wait_for_release(seen, Duration::ZERO), seen);
    let guard = world.guard.clone();
    let waiter = std::thread::spawn(move || guard.wait_for_release(seen, Duration::from_secs(60)));
    drop(lease);
    assert_eq!(waiter.join().unwrap(), seen + 1);
    assert_eq!(world.guard.wait_for_release(seen, Duration::MAX), seen + 1);
}

#[test]
fn an_engine_may_go_before_its_sessions_are_forgotten() {
    let World { guard, engine, .. } = World::host(1_000);
    let seat = guard.open_session(engine.clone(), None).unwrap();
    let (_, grant) = guard.admit(&seat, &ask(4, 1, 1)).unwrap();
    engine.finish(grant.unwrap(), 200);
    engine.answer(Answers::Dropped);
    drop(seat);
    assert_eq!(guard.stats().host().used, 200);
    drop(engine);
    assert_eq!(guard.stats().host().used, 0);
    guard.check_integrity().unwrap();
}
