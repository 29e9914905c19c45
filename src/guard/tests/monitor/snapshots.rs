//! Snapshots, levels and what they come to.

use super::*;
use serde_json::json;

#[test]
fn a_snapshot_is_taken_at_each_interval() {
    let world = Watched::plain();
    world.guard.tick();
    assert_eq!(world.guard.history().regions[0].snapshots.len(), 1, "the first is due at once");
    world.guard.tick();
    world.clock.advance(Duration::from_millis(999));
    world.guard.tick();
    assert_eq!(world.guard.history().regions[0].snapshots.len(), 1);
    world.clock.advance(Duration::from_millis(1));
    world.guard.tick();
    let lease = world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), 1_500).unwrap();
    world.used(4_000);
    world.tick();
    let history = world.guard.history();
    let last = *history.regions[0].snapshots.last().unwrap();
    assert_eq!((last.at, last.region, last.capacity), (2 * SECOND, Region::Host, 10_000));
    assert_eq!((last.ours, last.others, last.used(), last.free()), (1_500, 2_500, 4_000, 6_000));
    assert_eq!((last.leasable, last.level), (6_000, MemoryLevel::Low));
    assert_eq!(history.regions[0].snapshots[1].used(), 0);
    assert!(history.system.is_empty(), "nothing tells of the machine");
    drop(lease);
}

#[test]
fn rises_are_events_and_figures_are_kept() {
    let world = Watched::plain();
    let mut levels = Vec::new();
    for used in [1_000, 6_000, 5_900, 7_000, 9_500, 8_950, 100, 8_100] {
        world.used(used);
        world.tick();
        levels.push(world.guard.monitor().regions[0].0.level.name());
    }
    let low_to_high = "low moderate moderate moderate critical critical low high";
    assert_eq!(levels.join(" "), low_to_high);
    let stats = world.guard.monitor();
    let (last, trend) = *stats.region(Region::Host).unwrap();
    assert_eq!((last.used(), trend.snapshots, trend.peak), (8_100, 8, 9_500));
    assert_eq!(trend.average, (1_000 + 6_000 + 5_900 + 7_000 + 9_500 + 8_950 + 100 + 8_100) / 8);
    assert_eq!(trend.events, [2, 2, 1]);
    let json = stats.to_json();
    assert_eq!(json["regions"][0]["pressure_events"], json!({"moderate": 2, "high": 2, "critical": 1}));
    assert_eq!(json["regions"][0]["last"]["free_bytes"], 1_900);
}

#[test]
fn the_last_thousand_are_kept() {
    let world = Watched::plain();
    for second in 1..=1_234 {
        world.used(second);
        world.tick();
    }
    let history = world.guard.history();
    let used: Vec<u64> = history.regions[0].snapshots.iter().map(Snapshot::used).collect();
    assert_eq!(used, (235..=1_234).collect::<Vec<_>>());
    assert_eq!(world.guard.monitor().regions[0].1.snapshots, 1_234);
    let json = history.to_json();
    assert_eq!(json["regions"][0]["snapshots"].as_array().map(Vec::len), Some(1_000));
    assert_eq!(json["regions"][0]["snapshots"][0]["at_ms"], 235_000);
}

#[test]
fn every_region_has_its_own() {
    let clock = Arc::new(ManualClock::default());
    let probe = Arc::new(Mutex::new(None::<Reading>));
    let guard = MemoryGuard::new(exact(1_000, Some(4_000)), probe, clock).unwrap();
    let _lease = guard.lease(Region::Device(0), Owner::Weights(ModelId(1)), 3_700).unwrap();
    let stats = guard.monitor();
    let levels: Vec<_> = stats.regions.iter().map(|(last, _)| (last.region, last.level)).collect();
    assert_eq!(levels, [(Region::Host, MemoryLevel::Low), (Region::Device(0), MemoryLevel::Critical)]);
    assert_eq!(stats.region(Region::Device(0)).unwrap().1.events, [1, 1, 1]);
    assert_eq!(stats.alerts.len(), 1);
    assert_eq!(stats.alerts[0].subject, Subject::Region(Region::Device(0)));
}

#[test]
fn the_machine_is_beside_the_regions() {
    let world = Watched::plain();
    let vitals = |cpu_time, cpu_busy, cpu_own| Vitals {
        cpu_time,
        cpu_busy,
        cpu_own,
        memory_total: 64_000,
        memory_available: 40_000,
        resident: 3_000,
        heap: Some(2_000),
    };
    let _weights = world.guard.lease(Region::Host, Owner::Weights(ModelId(1)), 700).unwrap();
    let _mapped = world.guard.lease(Region::Host, Owner::Workspace(ModelId(1)), 900).unwrap();
    *world.machine.vitals.lock().unwrap() = Some(vitals(1_000, 100, 10));
    world.tick();
    *world.machine.vitals.lock().unwrap() = Some(vitals(3_000, 600, 510));
    world.tick();
    let system = world.guard.monitor().system.unwrap();
    assert_eq!((system.cpu, system.cpu_own), (0.25, 0.25));
    assert_eq!((system.memory_total, system.memory_available, system.resident), (64_000, 40_000, 3_000));
    assert_eq!((system.heap, system.unbooked), (Some(2_000), Some(1_300)));
    assert_eq!(world.guard.history().system.len(), 2);
}

#[test]
fn without_an_interval_only_who_asks_has_a_snapshot() {
    let world = Watched::new(MonitorConfig { interval: Duration::ZERO, ..MonitorConfig::default() });
    (0..10).for_each(|_| world.tick());
    assert_eq!(world.guard.history().regions[0].snapshots.len(), 0);
    world.used(7_000);
    world.clock.advance(SECOND);
    assert_eq!(world.guard.monitor().regions[0].0.used(), 7_000);
    assert_eq!(world.guard.history().regions[0].snapshots.len(), 1);
}
