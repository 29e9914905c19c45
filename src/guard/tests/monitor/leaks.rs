//! Leaks that are planted, and loads that look like leaks and are none.

use super::*;
use std::collections::VecDeque;

/// Ten minutes of ticks; `each` acts before each, with the second. Returns what there was to say about leaks, each thing once.
fn ten_minutes(world: &Watched, mut each: impl FnMut(u64)) -> Vec<String> {
    let mut said = Vec::new();
    for second in 0..600 {
        each(second);
        world.tick();
        for alert in world.guard.monitor().alerts {
            if let Subject::Leak(suspect, owner) = alert.subject {
                let text = format!("{} {owner:?} at {second}", suspect.name());
                if alert.raised == world.clock.now() {
                    said.push(text);
                }
            }
        }
    }
    said
}

/// Takes one block of every session for good, as an engine that forgets it would.
#[test]
fn one_block_of_each_closed_session_is_found_and_named() {
    let world = Watched::plain();
    let mut leaked = Vec::new();
    let said = ten_minutes(&world, |second| {
        if second % 5 != 0 || !(100..=400).contains(&second) {
            return;
        }
        let seat = world.seat();
        let (_, grant) = world.guard.admit(&seat, &ask(4, 4, 1)).unwrap();
        let mut grant = grant.unwrap();
        leaked.push(grant.kv.split(100).unwrap());
        world.engine.finish(grant, 100);
    });
    // The first session that leaks begins in the slot from 100 s on, of which the minimum is zero or not by the phase; a
    // window after the next slot it is certain.
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("kv Some(Kv(SessionKey(1))) at 4"), "{said:?}");
    let alerts = world.guard.monitor().alerts;
    let leak = alerts.iter().find(|alert| alert.kind == AlertKind::Leak).unwrap();
    assert!(leak.bytes >= 100 && leak.bytes <= 6_100, "{leak:?}");
    assert_eq!(leak.to_json()["owner"], "kv of session 1");
    drop(leaked);
    for _ in 0..20 {
        world.tick();
    }
    assert!(world.alerts().is_empty(), "it is over when the bytes are back: {:?}", world.alerts());
    world.guard.check_integrity().unwrap();
}

#[test]
fn a_single_block_that_stays_is_found_too() {
    let world = Watched::plain();
    let seat = world.seat();
    let (_, grant) = world.guard.admit(&seat, &ask(4, 4, 1)).unwrap();
    let mut grant = grant.unwrap();
    let _block = grant.kv.split(100).unwrap();
    world.engine.finish(grant, 100);
    let key = seat.key();
    drop(seat);
    let others: Vec<_> = (0..5).map(|_| world.seat()).collect();
    let said = ten_minutes(&world, |second| world.run(&others[second as usize % 5], 100));
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with(&format!("kv Some(Kv({key:?})) at 3")), "{said:?}");
}

#[test]
fn sessions_that_always_close_are_silent() {
    let world = Watched::plain();
    world.engine.answer(Answers::Later);
    let said = ten_minutes(&world, |_| {
        // Each gives its KV back a second after it was closed: at every tick there is one that has not.
        world.engine.catch_up();
        let seat = world.seat();
        world.run(&seat, 100);
        drop(seat);
    });
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(world.guard.stats().total_kv_bytes, 100);
}

#[test]
fn host_bytes_of_a_request_that_is_over_are_named() {
    let world = Watched::plain();
    let seats: Vec<_> = (0..4).map(|_| world.seat()).collect();
    let mut leaked = None;
    let said = ten_minutes(&world, |second| {
        let (_, grant) = world.guard.admit(&seats[second as usize % 4], &ask(4, 4, 1)).unwrap();
        let mut grant = grant.unwrap();
        if second == 50 {
            leaked = Some((grant.request, grant.host.split(1).unwrap()));
        }
        world.engine.finish(grant, 100);
    });
    let (request, _lease) = leaked.unwrap();
    assert_eq!(said.len(), 1);
    assert!(said[0].starts_with(&format!("request Some(Request({request:?})) at 3")), "{said:?}");
}

#[test]
fn a_load_that_rises_and_one_that_ends_are_silent() {
    let world = Watched::plain();
    let mut open = VecDeque::new();
    let mut heap = 0;
    let said = ten_minutes(&world, |second| {
        // A session more every four seconds, for five minutes; then they go again.
        if second % 4 == 0 {
            match second {
                0..300 => open.push_back(world.seat()),
                _ => drop(open.pop_front()),
            }
        }
        open.iter().for_each(|seat| world.run(seat, 100));
        // A library that needs as much per session, and something of its own.
        heap = (20 << 20) + ((1_u64 << 20) * open.len() as u64);
        world.heap(heap);
    });
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn conversations_that_grow_are_silent() {
    let world = Watched::plain();
    let seats: Vec<_> = (0..3).map(|_| world.seat()).collect();
    let said = ten_minutes(&world, |second| {
        // From 100 to 1,100 bytes in each, steadily.
        let tokens = 4 + (second / 15) as u32;
        for seat in &seats {
            let (_, grant) = world.guard.admit(seat, &ask(tokens, 4, 1)).unwrap();
            let grant = grant.unwrap();
            let kept = u64::from(tokens).div_ceil(4) * 100;
            world.engine.finish(grant, kept);
        }
    });
    assert!(said.is_empty(), "{said:?}");
    assert_eq!(seats[0].kv_bytes(), 1_100);
}

#[test]
fn saw_teeth_are_silent() {
    for period in [3, 7, 60, 200] {
        let world = Watched::plain();
        let seat = world.seat();
        let said = ten_minutes(&world, |second| {
            let tooth = second % period;
            world.heap((50 << 20) + tooth * ((40 << 20) / period));
            world.run(&seat, if tooth < period / 2 { 200 } else { 100 });
        });
        assert!(said.is_empty(), "period {period}: {said:?}");
    }
}

#[test]
fn heap_that_rises_under_a_steady_load_is_unbooked() {
    let world = Watched::plain();
    let seats: Vec<_> = (0..3).map(|_| world.seat()).collect();
    let said = ten_minutes(&world, |second| {
        world.run(&seats[second as usize % 3], 100);
        // A tenth of a percent a second, under teeth of a hundred times that.
        world.heap((50 << 20) + second * (50 << 10) + second % 5 * (5 << 20));
    });
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("unbooked None at 3"), "{said:?}");
    let alert = world.guard.monitor().alerts[0];
    assert!(alert.value > 0.2 && alert.value < 0.4 && alert.threshold == 0.2, "{alert:?}");
    // It stays as it is: the alert is over once the rise has left the window.
    for _ in 0..320 {
        world.tick();
    }
    assert!(world.alerts().is_empty(), "{:?}", world.alerts());
}

#[test]
fn slow_and_small_rises_are_silent() {
    let world = Watched::plain();
    let said = ten_minutes(&world, |second| world.heap((100 << 20) + second * (60 << 10)));
    assert!(said.is_empty(), "18 % in five minutes: {said:?}");
    let world = Watched::plain();
    let said = ten_minutes(&world, |second| world.heap((1 << 20) + second * (3 << 10)));
    assert!(said.is_empty(), "less than a MiB: {said:?}");
}

#[test]
fn models_that_are_loaded_are_silent_and_workspaces_that_grow_are_not() {
    let world = Watched::plain();
    let mut models = Vec::new();
    let said = ten_minutes(&world, |second| {
        if second % 100 == 50 {
            let engine = FakeEngine::new(Region::Host);
            let id = ModelId(second);
            let dynamic: Arc<dyn Engine> = engine;
            world.guard.attend(&dynamic);
            let lease = |owner| world.guard.lease(Region::Host, owner, 300).unwrap();
            models.push((dynamic, lease(Owner::Weights(id)), lease(Owner::Workspace(id))));
        }
    });
    assert!(said.is_empty(), "{said:?}");
    let mut grown = Vec::new();
    let said = ten_minutes(&world, |second| {
        if second % 5 == 0 {
            grown.push(world.guard.lease(Region::Host, Owner::Workspace(ModelId(50)), 10).unwrap());
        }
    });
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("workspace None"), "{said:?}");
}

#[test]
fn a_clock_that_leaps_raises_nothing() {
    let world = Watched::plain();
    for hour in 1..100_u64 {
        world.heap(hour * (50 << 20));
        world.clock.advance(Duration::from_secs(3_600));
        world.guard.tick();
        assert!(world.alerts().is_empty(), "{:?}", world.alerts());
    }
}
