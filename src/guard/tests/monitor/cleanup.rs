//! Cleanups: order, measured bytes, and callbacks that do what they should not.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

type Log = Arc<Mutex<Vec<String>>>;

/// A callback that writes down what it was asked for, frees a lease if it has one, and answers with its size.
fn freeing(log: &Log, name: &str, lease: Option<Lease>) -> CleanupCallback {
    let (log, name, lease) = (log.clone(), name.to_owned(), Mutex::new(lease));
    Box::new(move |wanted| {
        log.lock().unwrap().push(format!("{name} {}", if wanted == u64::MAX { -1 } else { wanted as i64 }));
        let freed = lease.lock().unwrap().take().map_or(0, |lease| lease.bytes());
        Some(freed)
    })
}

fn leased(world: &Watched, bytes: u64) -> Option<Lease> {
    Some(world.guard.lease(Region::Host, Owner::Workspace(ModelId(7)), bytes).unwrap())
}

#[test]
fn all_is_freed_in_order_and_measured() {
    let world = Watched::plain();
    let log = Log::default();
    let host =
        world.guard.on_cleanup(CleanupStage::Host, "images", freeing(&log, "images", leased(&world, 30)));
    world.guard.on_cleanup(CleanupStage::Caches, "pool", freeing(&log, "pool", leased(&world, 7)));
    world.guard.on_cleanup(CleanupStage::Host, "fonts", freeing(&log, "fonts", None));
    let seats: Vec<_> = (0..3).map(|_| world.seat()).collect();
    seats.iter().for_each(|seat| world.run(seat, 100));
    let (_, busy) = world.guard.admit(&seats[2], &ask(4, 4, 1)).unwrap();
    let outcome = world.guard.cleanup().unwrap();
    assert_eq!(*log.lock().unwrap(), ["pool -1", "images -1", "fonts -1"]);
    let wanted = CleanupOutcome { freed: 237, reported: 37, kv: 200, callbacks: 3, failed: 0 };
    assert_eq!(outcome, wanted);
    assert_eq!(seats.iter().map(Seat::kv_bytes).collect::<Vec<_>>(), [0, 0, 200], "what runs keeps its own");
    world.clock.advance(5 * SECOND);
    assert_eq!(world.guard.cleanup().unwrap().freed, 0);
    let stats = world.guard.monitor();
    assert_eq!((stats.cleanup.runs, stats.cleanup.automatic, stats.cleanup.freed), (2, 0, 237));
    assert_eq!(stats.cleanup.last, Some(5 * SECOND));
    let tasks: Vec<_> = stats.tasks.iter().map(|task| (task.name.as_str(), task.runs, task.freed)).collect();
    assert_eq!(tasks, [("pool", 2, 7), ("images", 2, 30), ("fonts", 2, 0)]);
    assert!(world.guard.remove_cleanup(host) && !world.guard.remove_cleanup(host));
    assert_eq!(world.guard.monitor().tasks.len(), 2);
    drop(busy);
    world.guard.check_integrity().unwrap();
}

#[test]
fn past_the_threshold_it_runs_by_itself_and_frees_what_is_needed() {
    let world = Watched::new(MonitorConfig::default());
    let log = Log::default();
    world.guard.on_cleanup(CleanupStage::Caches, "pool", freeing(&log, "pool", leased(&world, 50)));
    world.guard.on_cleanup(CleanupStage::Host, "host", freeing(&log, "host", None));
    let seats: Vec<_> = (0..8).map(|_| world.seat()).collect();
    seats.iter().for_each(|seat| world.run(seat, 100));
    let read = |others: u64| {
        // As a machine would have it: what is leased is allocated.
        world.engine.holdings.lock().unwrap().kv = seats.iter().map(Seat::kv_bytes).sum();
        world.used(others + world.guard.stats().host().used);
        world.tick();
        seats.iter().filter(|seat| seat.kv_bytes() > 0).count()
    };
    assert_eq!(read(7_600), 8, "8,450 is below 8,500");
    // 8,550 - 50 of the pool - 8,000: five sessions. The host is not asked.
    assert_eq!(read(7_700), 3);
    assert_eq!(*log.lock().unwrap(), ["pool 550"]);
    let record = world.guard.monitor().cleanup;
    assert_eq!((record.runs, record.automatic, record.freed, record.last_outcome.kv), (1, 1, 550, 500));
    // Again below, and above: the next crossing. All idle KV does not do, so the host is asked.
    assert_eq!(read(7_600), 3);
    assert_eq!(read(8_600), 0);
    assert_eq!(log.lock().unwrap()[1..], ["pool 900", "host 600"]);
    // While it stays there, every 30 s.
    for _ in 0..60 {
        read(9_000);
    }
    assert_eq!(log.lock().unwrap().len(), 1 + 2 + 2 * 2);
    world.guard.check_integrity().unwrap();
}

#[test]
fn switched_off_it_only_runs_when_told_to() {
    let world = Watched::plain();
    let log = Log::default();
    world.guard.on_cleanup(CleanupStage::Host, "host", freeing(&log, "host", None));
    world.used(10_000);
    world.tick();
    assert!(log.lock().unwrap().is_empty());
    world.guard.cleanup().unwrap();
    assert_eq!(log.lock().unwrap().len(), 1);
}

#[test]
fn what_others_free_is_measured_by_the_reading() {
    let world = Watched::plain();
    world.used(6_000);
    let machine = world.machine.clone();
    world.guard.on_cleanup(
        CleanupStage::Host,
        "host",
        Box::new(move |_| {
            *machine.reading.lock().unwrap() = Some(Reading { capacity: 10_000, used: 4_500 });
            Some(9_999)
        }),
    );
    let outcome = world.guard.cleanup().unwrap();
    assert_eq!((outcome.freed, outcome.reported), (1_500, 9_999));
}

#[test]
fn one_that_fails_does_not_keep_the_next_from_running() {
    let world = Watched::plain();
    let log = Log::default();
    world.guard.on_cleanup(CleanupStage::Caches, "a", Box::new(|_| panic!("planned")));
    world.guard.on_cleanup(CleanupStage::Host, "b", Box::new(|_| None));
    world.guard.on_cleanup(CleanupStage::Host, "c", freeing(&log, "c", leased(&world, 5)));
    let outcome = world.guard.cleanup().unwrap();
    assert_eq!((outcome.callbacks, outcome.failed, outcome.freed), (3, 2, 5));
    let failed: Vec<_> = world.guard.monitor().tasks.iter().map(|task| task.failed).collect();
    assert_eq!(failed, [1, 1, 0]);
    assert_eq!(world.guard.cleanup().unwrap().failed, 2, "it is not stuck");
}

/// Counts its drops.
struct Owned(Arc<AtomicU32>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn a_callback_may_take_itself_back_and_may_not_clean_up() {
    let world = Watched::plain();
    let drops = Arc::new(AtomicU32::new(0));
    let id = Arc::new(Mutex::new(None));
    let (owned, own_id, guard) = (Owned(drops.clone()), id.clone(), Arc::downgrade(&world.guard));
    let callback: CleanupCallback = Box::new(move |_| {
        let guard = guard.upgrade()?;
        assert_eq!(guard.cleanup(), Err(CleanupBusy::Here));
        let id: CleanupId = own_id.lock().unwrap().take()?;
        assert!(guard.remove_cleanup(id));
        assert_eq!(owned.0.load(Ordering::SeqCst), 0, "not while it runs");
        Some(3)
    });
    *id.lock().unwrap() = Some(world.guard.on_cleanup(CleanupStage::Host, "self", callback));
    assert_eq!(world.guard.cleanup().unwrap().reported, 3);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert_eq!(world.guard.cleanup().unwrap().callbacks, 0);
}

#[test]
fn another_thread_takes_it_back_while_it_runs() {
    let world = Watched::plain();
    let drops = Arc::new(AtomicU32::new(0));
    let owned = Owned(drops.clone());
    let (inside, entered) = crossbeam_channel::bounded::<()>(0);
    let (go_on, released) = crossbeam_channel::bounded::<()>(0);
    let first = world.guard.on_cleanup(
        CleanupStage::Host,
        "slow",
        Box::new(move |_| {
            let _ = &owned;
            inside.send(()).ok()?;
            released.recv().ok()?;
            Some(1)
        }),
    );
    let ran = Arc::new(AtomicU32::new(0));
    let (second_ran, second_owned) = (ran.clone(), Owned(drops.clone()));
    let second = world.guard.on_cleanup(
        CleanupStage::Host,
        "never",
        Box::new(move |_| {
            let _ = &second_owned;
            second_ran.fetch_add(1, Ordering::SeqCst);
            Some(0)
        }),
    );
    std::thread::scope(|scope| {
        let cleaner = scope.spawn(|| world.guard.cleanup().unwrap());
        entered.recv().unwrap();
        assert_eq!(world.guard.cleanup(), Err(CleanupBusy::Elsewhere));
        assert!(world.guard.remove_cleanup(first) && world.guard.remove_cleanup(second));
        assert_eq!(drops.load(Ordering::SeqCst), 0, "whoever cleans up still has both");
        go_on.send(()).unwrap();
        assert_eq!(cleaner.join().unwrap().callbacks, 1);
    });
    assert_eq!((drops.load(Ordering::SeqCst), ran.load(Ordering::SeqCst)), (2, 0));
    assert!(world.guard.monitor().tasks.is_empty());
}
