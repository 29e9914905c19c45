//! What of a reading is others'.

use super::*;
use plimsoll_engine::Holdings;

/// A guard that may lease all of 1000 bytes, and what its probe reads.
fn live() -> (World, Arc<Mutex<Option<Reading>>>) {
    let config = GuardConfig { budget: None, ..exact(0, None) };
    let clock = Arc::new(ManualClock::default());
    let probe = Arc::new(Mutex::new(Some(Reading { capacity: 1000, used: 200 })));
    let guard = MemoryGuard::new(config, probe.clone(), clock.clone()).unwrap();
    let engine = FakeEngine::new(Region::Host);
    engine.watch(&guard);
    (World { guard, clock, engine }, probe)
}

/// The host's used, others' and free bytes after a new reading.
fn after(world: &World, probe: &Mutex<Option<Reading>>, used: u64, kv_held: u64) -> (u64, u64, u64) {
    *probe.lock().unwrap() = Some(Reading { capacity: 1000, used });
    *world.engine.holdings.lock().unwrap() = Holdings { kv: kv_held, ..Holdings::default() };
    world.clock.advance(Duration::from_millis(100));
    let host = world.guard.stats().host();
    (host.used, host.others, host.free)
}

#[test]
fn kv_that_waits_to_be_allocated_hides_nobody() {
    let (world, probe) = live();
    let seat = world.seat();
    // 500 bytes of KV and 13 of its own.
    let (_, grant) = world.guard.admit(&seat, &ask(16, 1, 1)).unwrap();
    assert_eq!(after(&world, &probe, 213, 0), (513, 200, 287));
    assert_eq!(after(&world, &probe, 513, 300), (513, 200, 287), "some of it is allocated");
    assert_eq!(after(&world, &probe, 713, 500), (513, 200, 287));
    // A second session of the same engine is not a second engine.
    let second = world.seat();
    assert_eq!(after(&world, &probe, 715, 500), (513, 202, 285));
    world.engine.finish(grant.unwrap(), 100);
    assert_eq!(after(&world, &probe, 300, 100), (100, 200, 700));
    drop(second);
    world.check();
}

#[test]
fn a_reading_that_stands_still_says_nothing_of_others() {
    let (world, probe) = live();
    let (first, second) = (world.seat(), world.seat());
    let (_, grant) = world.guard.admit(&first, &ask(16, 1, 1)).unwrap();
    assert_eq!(after(&world, &probe, 713, 500), (513, 200, 287));
    world.engine.finish(grant.unwrap(), 100);
    assert_eq!(after(&world, &probe, 713, 100), (100, 200, 700), "not more, though less is ours");
    let (_, grant) = world.guard.admit(&second, &ask(20, 1, 1)).unwrap();
    assert_eq!(after(&world, &probe, 713, 700), (713, 200, 87), "nor less, though more is ours");
    // It moves again.
    assert_eq!(after(&world, &probe, 903, 700), (713, 190, 97));
    drop(grant);
    world.check();
}

/// A probe whose readings come when they are let through.
struct Slow {
    readings: Mutex<Vec<(Reading, std::sync::mpsc::Receiver<()>)>>,
    begun: std::sync::mpsc::Sender<()>,
}

impl MemoryProbe for Slow {
    fn read(&self, _: Region) -> Option<Reading> {
        let next = self.readings.lock().unwrap().pop();
        let Some((reading, through)) = next else { return Some(Reading { capacity: 1000, used: 200 }) };
        self.begun.send(()).unwrap();
        through.recv().unwrap();
        Some(reading)
    }
}

#[test]
fn a_reading_that_comes_late_is_not_taken_for_the_last() {
    let (go, through) = std::sync::mpsc::channel();
    let (begun, waits) = std::sync::mpsc::channel();
    let (clock, readings) = (Arc::new(ManualClock::default()), Mutex::default());
    let probe = Arc::new(Slow { readings, begun });
    let config = GuardConfig { budget: None, ..exact(0, None) };
    let guard = MemoryGuard::new(config, probe.clone(), clock.clone()).unwrap();
    let engine = FakeEngine::new(Region::Host);
    engine.watch(&guard);
    let world = World { guard, clock, engine };
    // One takes its time over a balloon that is gone when the next looks.
    probe.readings.lock().unwrap().push((Reading { capacity: 1000, used: 900 }, through));
    world.clock.advance(Duration::from_millis(100));
    std::thread::scope(|scope| {
        scope.spawn(|| world.guard.stats());
        waits.recv().unwrap();
        world.clock.advance(Duration::from_millis(100));
        assert_eq!(world.guard.stats().host().others, 200);
        go.send(()).unwrap();
    });
    assert_eq!(world.guard.stats().host().others, 200, "what it said is over");
    // Nor do readings that stand still keep what it said.
    let (_, grant) = world.guard.admit(&world.seat(), &ask(16, 1, 1)).unwrap();
    *world.engine.holdings.lock().unwrap() = Holdings { kv: 500, ..Holdings::default() };
    world.clock.advance(Duration::from_millis(100));
    assert_eq!(world.guard.stats().host().others, 200);
    drop(grant);
}
