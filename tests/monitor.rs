//! The monitor through the public API: a snapshot allocates nothing, callbacks come and go, statistics are whole.

#![allow(clippy::unwrap_used)]

use plimsoll::guard::{CleanupStage, MemoryLevel, Subject};
use plimsoll::{Config, ErrorCode, Runtime};
use plimsoll_engine::{ManualClock, MemoryProbe, ModelId, Owner, Reading, Region, Vitals};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts what the calling thread allocates.
struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

// SAFETY: every call goes to the system's allocator unchanged; only a counter is kept beside it.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// A machine that is a little fuller at each reading.
#[derive(Default)]
struct Machine(AtomicU64);

impl MemoryProbe for Machine {
    fn read(&self, _: Region) -> Option<Reading> {
        Some(Reading { capacity: 1 << 30, used: 1000 * self.0.fetch_add(1, Ordering::Relaxed) })
    }

    fn vitals(&self) -> Option<Vitals> {
        let ticks = self.0.fetch_add(1, Ordering::Relaxed);
        Some(Vitals { cpu_time: 4 * ticks, cpu_busy: ticks, heap: Some(1 << 20), ..Vitals::default() })
    }
}

fn runtime(pairs: &[(&str, &str)]) -> (Runtime, Arc<ManualClock>) {
    let mut config = Config::new();
    for (key, value) in pairs {
        config.set(key, value).unwrap();
    }
    let clock = Arc::new(ManualClock::default());
    (Runtime::without_threads(&config, Arc::new(Machine::default()), clock.clone()).unwrap(), clock)
}

#[test]
fn a_snapshot_allocates_nothing() {
    for budget in ["64MiB", ""] {
        let (runtime, clock) = runtime(&[("memory.budget", budget)]);
        let before = ALLOCATIONS.get();
        for _ in 0..2_500 {
            clock.advance(Duration::from_secs(1));
            runtime.tick();
        }
        assert_eq!(ALLOCATIONS.get() - before, 0);
        assert_eq!(runtime.guard().monitor().regions[0].1.snapshots, 2_500);
        let history = runtime.guard().history();
        assert_eq!((history.regions[0].snapshots.len(), history.system.len()), (1_000, 1_000));
        assert_eq!(history.system[999].cpu, 0.25);
        assert!(ALLOCATIONS.get() > before, "the counter counts");
    }
}

#[test]
fn settings_are_keys() {
    let (runtime, clock) = runtime(&[
        ("memory.budget", "1000"),
        ("guard.threshold", "1"),
        ("guard.reserve_mb", "0"),
        ("monitor.interval_ms", "250"),
        ("monitor.history", "3"),
        ("monitor.levels", "0.1,0.2,0.3"),
        ("monitor.alert_pressure", "0.25"),
        ("monitor.cleanup", "off"),
    ]);
    let lease = runtime.guard().lease(Region::Host, Owner::Weights(ModelId(1)), 260).unwrap();
    for _ in 0..10 {
        clock.advance(Duration::from_millis(125));
        runtime.tick();
    }
    let stats = runtime.guard().monitor();
    assert_eq!((stats.regions[0].1.snapshots, stats.regions[0].0.level), (5, MemoryLevel::High));
    assert_eq!(runtime.guard().history().regions[0].snapshots.len(), 3);
    assert_eq!(stats.alerts[0].subject, Subject::Region(Region::Host));
    assert_eq!((stats.alerts[0].value, stats.alerts[0].threshold), (0.26, 0.25));
    assert_eq!(stats.threshold, None);
    drop(lease);
    let mut config = Config::new();
    config.set("monitor.levels", "0.9,0.95,0.96").unwrap();
    config.set("monitor.leak_window_s", "1").unwrap();
    assert!(Runtime::new(&config).is_ok());
}

#[test]
fn statistics_hold_what_the_monitor_knows() {
    let (runtime, _) = runtime(&[("memory.budget", "64MiB")]);
    let inner = runtime.clone();
    let cleanup = move |wanted: u64| {
        assert_eq!(wanted, u64::MAX);
        let error = inner.cleanup().unwrap_err();
        assert_eq!(error.code(), ErrorCode::Reentrant);
        Some(7)
    };
    let id = runtime.guard().on_cleanup(CleanupStage::Host, "host", Box::new(cleanup));
    assert_eq!(runtime.cleanup().unwrap().reported, 7);
    let json = runtime.memory_json();
    assert_eq!(json["monitor"]["cleanup"]["callbacks"][0]["reported_bytes"], 7);
    assert_eq!(json["monitor"]["regions"][0]["last"]["capacity_bytes"], 64 << 20);
    assert_eq!(json["monitor"]["alerts"]["active"], serde_json::json!([]));
    assert_eq!(json["monitor"]["system"]["heap_bytes"], 1 << 20);
    assert!(runtime.memory_report().contains("\nalerts    none\n"));
    // Without it the callback would keep the runtime alive that keeps it.
    assert!(runtime.guard().remove_cleanup(id));
}

#[test]
fn a_runtime_with_threads_ticks_by_itself() {
    let mut config = Config::new();
    config.set("memory.budget", "64MiB").unwrap();
    config.set("monitor.interval_ms", "5").unwrap();
    let runtime = Runtime::new(&config).unwrap();
    for _ in 0..1_000 {
        if runtime.guard().monitor().regions[0].1.snapshots > 3 {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{:?}", runtime.guard().monitor());
}
