//! Alerts: raised once, cleared late, told to whoever listens.

use super::*;

#[test]
fn a_full_region_is_told_of_once() {
    let world = Watched::plain();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (ears, guard) = (heard.clone(), Arc::downgrade(&world.guard));
    world.guard.on_alert(Some(Box::new(move |alert| {
        // Called with no lock held: whatever the guard tells can be asked for.
        let seen = guard.upgrade().unwrap().monitor().alerts.len();
        ears.lock().unwrap().push((alert.kind.name(), alert.cleared.is_some(), seen));
    })));
    for used in [8_500, 8_600, 9_000, 8_200, 8_400, 7_900, 8_500] {
        world.used(used);
        world.tick();
    }
    assert_eq!(*heard.lock().unwrap(), [("pressure", false, 1), ("pressure", true, 0)]);
    let stats = world.guard.monitor();
    assert_eq!((stats.alerts.len(), stats.raised), (0, [1, 0, 0, 0, 0]));
    assert_eq!((stats.cleared[0].raised, stats.cleared[0].cleared), (2 * SECOND, Some(6 * SECOND)));
    let json = stats.alerts_json();
    assert_eq!((&json["cleared"][0]["raised_ms"], &json["raised"]["pressure"]), (&2_000.into(), &1.into()));
}

#[test]
fn a_listener_that_panics_harms_nobody_and_goes_once() {
    struct Gone(Arc<Mutex<u32>>);
    impl Drop for Gone {
        fn drop(&mut self) {
            *self.0.lock().unwrap() += 1;
        }
    }
    let world = Watched::plain();
    let drops = Arc::new(Mutex::new(0));
    let gone = Gone(drops.clone());
    world.guard.on_alert(Some(Box::new(move |_| {
        let _ = &gone;
        panic!("planned")
    })));
    world.used(9_900);
    world.tick();
    world.tick();
    assert_eq!(world.alerts(), ["99.0 % of host memory are used, the mark is 85.0 %"]);
    assert_eq!(*drops.lock().unwrap(), 0);
    world.guard.on_alert(None);
    assert_eq!(*drops.lock().unwrap(), 1);
    world.used(0);
    world.tick();
    assert!(world.alerts().is_empty());
    world.guard.on_alert(Some(Box::new(|_| {})));
    drop(world);
    assert_eq!(*drops.lock().unwrap(), 1);
}

#[test]
fn a_session_near_its_limit_is_named() {
    let world = Watched::plain();
    // Among more sessions than are looked at under one lock.
    let _others: Vec<_> = (0..1_500).map(|_| world.seat()).collect();
    let seat = world.guard.open_session(world.engine.clone(), Some(1_000)).unwrap();
    let (_, grant) = world.guard.admit(&seat, &ask(32, 4, 1)).unwrap();
    world.engine.finish(grant.unwrap(), 900);
    world.tick();
    assert!(world.alerts().is_empty(), "0.9 is not above 0.9");
    let (_, grant) = world.guard.admit(&seat, &ask(32, 8, 1)).unwrap();
    world.tick();
    let id = seat.key().0;
    let told = format!("session {id} holds 100.0 % of its KV limit, the mark is 90.0 %");
    assert_eq!(world.alerts(), std::slice::from_ref(&told));
    world.engine.finish(grant.unwrap(), 860);
    world.tick();
    assert_eq!(world.alerts(), [told.replace("100.0", "86.0")]);
    world.guard.evict_session(&seat);
    world.tick();
    assert!(world.alerts().is_empty());
    let (_, grant) = world.guard.admit(&seat, &ask(32, 8, 1)).unwrap();
    world.tick();
    assert_eq!(world.alerts().len(), 1);
    drop((grant, seat));
    world.tick();
    assert!(world.alerts().is_empty(), "a session that is closed has none");
}

#[test]
fn refusals_count_from_a_number_on() {
    let world = Watched::plain();
    let seat = world.seat();
    // Beyond the context: refused.
    let refused = |times: u32| {
        for _ in 0..times {
            assert!(world.guard.admit(&seat, &ask(48, 4, 4)).unwrap().1.is_none());
        }
    };
    refused(19);
    world.tick();
    assert!(world.alerts().is_empty(), "19 requests are too few");
    refused(1);
    world.tick();
    assert_eq!(world.alerts(), ["100.0 % of requests are refused, the mark is 5.0 %"]);
    (0..380).for_each(|_| world.run(&seat, 0));
    world.tick();
    assert_eq!(world.alerts().len(), 1, "5 % is more than half of the mark");
    (0..400).for_each(|_| world.run(&seat, 0));
    world.tick();
    assert!(world.alerts().is_empty(), "2.5 % is not");
    (0..60).for_each(|_| world.tick());
    refused(1);
    (0..19).for_each(|_| world.run(&seat, 0));
    world.tick();
    assert!(world.alerts().is_empty(), "5 % is not above it; and the minute before is forgotten");
    refused(1);
    world.tick();
    assert_eq!(world.alerts().len(), 1);
}

#[test]
fn evictions_are_counted_by_the_minute() {
    let world = Watched::plain();
    let seat = world.seat();
    let evict = |times: u32| {
        for _ in 0..times {
            world.run(&seat, 100);
            assert_eq!(world.guard.evict_session(&seat), 100);
        }
    };
    evict(10);
    world.tick();
    assert!(world.alerts().is_empty());
    evict(1);
    world.tick();
    assert_eq!(world.alerts(), ["11 evictions a minute, the mark is 10"]);
    (0..57).for_each(|_| world.tick());
    assert_eq!(world.alerts().len(), 1);
    (0..3).for_each(|_| world.tick());
    assert!(world.alerts().is_empty(), "{:?}", world.alerts());
}
