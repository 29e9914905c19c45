//! The pool under the guard: what is leased, what is spare, and who has to give back first.

use super::*;
use crate::guard::{PoolError, PoolStats, PoolUse, pool_size};
use plimsoll_engine::{Buffer, Buffers, Lease, Source};
use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: u64 = 1 << 20;

fn guard(budget: u64) -> (Arc<MemoryGuard>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::default());
    let config = GuardConfig {
        budget: Some(budget),
        threshold: 1.0,
        reserve: Some(0),
        pressure: None,
        pool_limit: 4 * MIB,
        pool_timeout: Duration::from_secs(300),
        ..GuardConfig::default()
    };
    let unread = Arc::new(std::sync::Mutex::<Option<Reading>>::new(None));
    (MemoryGuard::new(config, unread, Arc::<ManualClock>::clone(&clock)).unwrap(), clock)
}

fn used(guard: &MemoryGuard) -> u64 {
    guard.check_integrity().unwrap();
    guard.stats().regions[0].used
}

#[test]
fn a_buffer_is_leased_while_it_is_used_and_found_again() {
    let (guard, _) = guard(8 * MIB);
    let mut first = guard.acquire(150 * KIB).unwrap();
    assert_eq!((first.bytes(), first.capacity(), used(&guard)), (150 * KIB, 200 * KIB, 200 << 10));
    assert!(first.as_mut_slice() == [0; 150 * KIB] && first.as_ptr().addr() % 4096 == 0);
    first.as_mut_slice().fill(7);
    let at = first.as_ptr();
    drop(first);
    assert_eq!(used(&guard), 0, "an idle buffer is leased to nobody");
    // Another size of the same class is the same buffer.
    let again = guard.acquire(199 * KIB).unwrap();
    assert_eq!((again.as_ptr(), used(&guard)), (at, 200 << 10));
    let other = guard.acquire(201 * KIB).unwrap();
    assert_ne!(other.as_ptr(), at);
    drop((again, other));
    let stats = guard.pool_stats();
    let expected = PoolStats {
        idle_bytes: 500 << 10,
        limit_bytes: 4 * MIB,
        buffers_idle: 2,
        hits: 1,
        misses: 2,
        ..PoolStats::default()
    };
    assert_eq!(stats, expected);
    assert_eq!(
        (guard.trim_pool(), guard.pool_stats().idle_bytes, guard.pool_stats().evictions),
        (500 << 10, 0, 2)
    );
}

#[test]
fn idle_buffers_give_way_to_whoever_books() {
    let (guard, clock) = guard(8 * MIB);
    let (old, new) = (guard.acquire(MIB as usize).unwrap(), guard.acquire(2 * MIB as usize).unwrap());
    drop(old);
    clock.advance(Duration::from_secs(1));
    drop(new);
    assert_eq!(guard.pool_stats().idle_bytes, 3 * MIB);
    assert_eq!(guard.bytes_free(Region::Host), 8 * MIB, "what is idle is in nobody's way");
    let lease = guard.lease(Region::Host, Owner::Weights(ModelId(1)), 6 * MIB).unwrap();
    assert_eq!(guard.pool_stats().idle_bytes, 2 * MIB, "the longest unused went, and no more than had to");
    let all = guard.lease(Region::Host, Owner::Weights(ModelId(2)), 2 * MIB).unwrap();
    assert_eq!((guard.pool_stats().idle_bytes, guard.pool_stats().evictions), (0, 2));
    let refused = guard.acquire(1).unwrap_err();
    assert!(matches!(refused, PoolError::Refused(refusal) if refusal.bytes_asked == 100 << 10));
    drop((lease, all));
    assert_eq!(used(&guard), 0);
}

#[test]
fn a_buffer_that_comes_back_to_a_full_region_goes_to_the_system() {
    let (guard, _) = guard(4 * MIB);
    let buffer = guard.acquire(MIB as usize).unwrap();
    let rest = guard.lease(Region::Host, Owner::Weights(ModelId(1)), 3 * MIB).unwrap();
    drop(buffer);
    assert_eq!(guard.pool_stats().idle_bytes, MIB, "its own bytes are free again");
    let more = guard.lease(Region::Host, Owner::Weights(ModelId(2)), MIB / 2).unwrap();
    assert_eq!(guard.pool_stats().idle_bytes, 0);
    drop((rest, more));
}

#[test]
fn the_limit_and_the_timeout_free_the_longest_unused() {
    let (guard, clock) = guard(64 * MIB);
    let all: Vec<_> = (1..=3).map(|size| guard.acquire(size * MIB as usize).unwrap()).collect();
    for buffer in all {
        drop(buffer);
        clock.advance(Duration::from_secs(10));
    }
    // 1, 2 and 3 MiB came back in this order; 4 may stay.
    assert_eq!((guard.pool_stats().idle_bytes, guard.pool_stats().buffers_idle), (3 * MIB, 1));
    clock.advance(Duration::from_secs(289));
    assert_eq!(guard.sweep_pool(), 0);
    clock.advance(Duration::from_secs(1));
    assert_eq!(guard.sweep_pool(), 3 * MIB);
    assert_eq!(guard.pool_stats().evictions, 3);
}

#[test]
fn sizes_without_sense_are_refused() {
    let (guard, _) = guard(MIB);
    for bytes in [0, usize::MAX] {
        assert_eq!(guard.acquire(bytes).unwrap_err(), PoolError::Size { bytes });
    }
    assert_eq!(pool_size(1), Some(100 * KIB));
    assert_eq!((used(&guard), guard.pool_stats().misses), (0, 0));
}

#[test]
fn threads_that_take_and_give_keep_the_books() {
    const ROUNDS: usize = if cfg!(miri) { 10 } else { 200 };
    let (guard, _) = guard(16 * MIB);
    std::thread::scope(|scope| {
        for thread in 0..4_usize {
            let guard = &guard;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let size = 1 + (thread * 7 + round * 13) % 9;
                    if let Ok(mut buffer) = guard.acquire(size * 300 * KIB) {
                        buffer.as_mut_slice()[0] = 1;
                    }
                    let booked = guard.lease(Region::Host, Owner::Weights(ModelId(thread as u64)), 3 * MIB);
                    drop(booked);
                }
            });
        }
    });
    let stats = guard.pool_stats();
    assert_eq!((stats.in_use_bytes, stats.buffers_in_use, used(&guard)), (0, 0, 0));
    assert_eq!(guard.trim_pool(), stats.idle_bytes);
    assert!(stats.hits > 0 && stats.misses > 0 && stats.idle_bytes <= 4 * MIB);
}

/// Memory of a source serves nobody who relies on another's, whatever they are called.
#[test]
fn sources_of_one_name_do_not_serve_each_other() {
    static LOOSE: Source = Source::heap::<1>("pages");
    static HOSTS: Source = Source::heap::<8>("host");
    let (guard, _) = guard(8 * MIB);
    let size = 100 * KIB;
    let idle = |source| drop(Buffer::take(&guard.buffers(), source, size).unwrap());
    idle(&LOOSE);
    idle(&HOSTS);
    let engine = guard.pool_stats().engine;
    assert_eq!((guard.pool_stats().idle_bytes, engine.buffers_idle, engine.misses), (0, 2, 2));
    let (host, pages) = (guard.acquire(size).unwrap(), take(&guard, size));
    assert_eq!((guard.pool_stats().hits, guard.pool_stats().engine.hits), (0, 0));
    assert_eq!((host.as_ptr().addr() % 4096, pages.memory.as_ptr().addr() % 4096), (0, 0));
    drop((host, pages));
    // Nor does what was set aside.
    let mut aside = guard.set_aside(Some((&LOOSE, size)));
    let lease = aside.lease(Owner::Workspace(ModelId(1)), 2 * size as u64).unwrap();
    let buffers = aside.into_buffers();
    drop((guard.trim_pool(), Buffer::take(&buffers, &PAGES, size).unwrap()));
    assert_eq!((guard.pool_stats().engine.hits, guard.pool_stats().engine.misses), (0, 4));
    let loose = Buffer::take(&buffers, &LOOSE, size).unwrap();
    assert_eq!(guard.pool_stats().engine.hits, 1);
    drop((loose, buffers, lease));
    assert_eq!(used(&guard), 0);
}

static PAGES: Source = Source::heap::<4096>("pages");

/// The engine's memory with its lease, which go in this order.
struct Paid {
    memory: Buffer,
    _lease: Lease,
}

fn take(guard: &Arc<MemoryGuard>, bytes: usize) -> Paid {
    let lease = guard.lease(Region::Host, Owner::Workspace(ModelId(1)), bytes as u64).unwrap();
    Paid { memory: Buffer::take(&guard.buffers(), &PAGES, bytes).unwrap(), _lease: lease }
}

#[test]
fn an_engines_memory_is_not_rounded_and_no_hosts() {
    let (guard, _) = guard(8 * MIB);
    let mut first = take(&guard, 100 * KIB);
    first.memory.as_mut_slice().fill(7);
    let at = first.memory.as_ptr();
    assert_eq!(used(&guard), 100 << 10);
    drop(first);
    let idle = PoolUse { idle_bytes: 100 << 10, buffers_idle: 1, misses: 1, ..PoolUse::default() };
    let expected = PoolStats { limit_bytes: 4 * MIB, engine: idle, ..PoolStats::default() };
    assert_eq!((guard.pool_stats(), used(&guard)), (expected, 0));
    // As large, and page by page as well: but a host sees nothing of what an engine wrote.
    let mut host = guard.acquire(100 * KIB).unwrap();
    assert!(host.as_ptr() != at && host.as_mut_slice() == [0; 100 * KIB]);
    let other = take(&guard, 101 * KIB);
    let again = take(&guard, 100 * KIB);
    assert_eq!((again.memory.as_ptr(), guard.pool_stats().engine.hits), (at, 1));
    assert_eq!(again.memory.as_slice()[..3], [7; 3]);
    drop((host, other, again));
    let stats = guard.pool_stats();
    assert_eq!((stats.idle_bytes, stats.engine.idle_bytes), (100 << 10, 201 << 10));
    assert_eq!(stats.all_idle_bytes(), guard.trim_pool());
}

#[test]
fn a_workspace_finds_what_is_idle_in_the_last_of_the_room() {
    let (guard, _) = guard(4 * MIB);
    drop(take(&guard, 3 * MIB as usize));
    let workspace = |bytes: u64| {
        let mut aside = guard.set_aside(Some((&PAGES, 3 * MIB as usize)));
        let lease = aside.lease(Owner::Workspace(ModelId(1)), bytes)?;
        Ok::<_, Refusal>((lease, aside.into_buffers()))
    };
    // The lease pays for more than the memory.
    let (lease, buffers) = workspace(4 * MIB).unwrap();
    assert_eq!((used(&guard), guard.pool_stats().engine.idle_bytes), (4 * MIB, 0));
    let memory = Buffer::take(&buffers, &PAGES, 3 * MIB as usize).unwrap();
    let more = Buffer::take(&buffers, &PAGES, 5).unwrap();
    assert_eq!((guard.pool_stats().engine.hits, guard.pool_stats().engine.misses), (1, 2));
    drop((more, memory, buffers, lease));
    assert_eq!(guard.pool_stats().engine.buffers_idle, 2);
    // Who has no use for it after all leaves it idle.
    let (lease, buffers) = workspace(3 * MIB).unwrap();
    assert_eq!(guard.pool_stats().engine.buffers_idle, 1);
    drop((buffers, lease));
    assert_eq!((guard.pool_stats().engine.buffers_idle, guard.bytes_free(Region::Host)), (2, 4 * MIB));
    // So does a refusal, as far as there is room beside what others lease.
    let some = guard.lease(Region::Host, Owner::Weights(ModelId(2)), MIB - 5).unwrap();
    assert!(workspace(4 * MIB).is_err());
    assert_eq!(guard.pool_stats().engine.buffers_idle, 2);
    let byte = guard.lease(Region::Host, Owner::Weights(ModelId(2)), 1).unwrap();
    assert_eq!(guard.pool_stats().engine.idle_bytes, 3 * MIB, "the longest unused went");
    drop((some, byte));
}

#[test]
fn memory_that_the_system_refuses_leaves_no_trace() {
    // SAFETY: it gives nothing.
    static NONE: Source = unsafe { Source::new("none", |_| None, |_, _| {}) };
    let (guard, _) = guard(4 * MIB);
    let buffers: Arc<dyn Buffers> = guard.buffers();
    assert!(Buffer::take(&buffers, &NONE, 10).is_none());
    assert_eq!(guard.pool_stats().engine, PoolUse::default());
}

#[test]
fn what_may_not_lie_idle_goes_straight_back() {
    let (guard, _) = guard(16 * MIB);
    drop(take(&guard, MIB as usize));
    drop(take(&guard, 5 * MIB as usize));
    let engine = guard.pool_stats().engine;
    assert_eq!((engine.idle_bytes, engine.buffers_idle, engine.evictions), (MIB, 1, 0));
    // The limit is for all together.
    drop(guard.acquire(4 * MIB as usize).unwrap());
    let stats = guard.pool_stats();
    assert_eq!((stats.idle_bytes, stats.engine.idle_bytes, stats.engine.evictions), (4 * MIB, 0, 1));
}

#[test]
fn what_lies_idle_is_ours_when_the_machine_is_read() {
    let config = GuardConfig {
        threshold: 1.0,
        reserve: Some(0),
        pressure: None,
        pool_limit: 4 * MIB,
        ..GuardConfig::default()
    };
    let clock = Arc::new(ManualClock::default());
    let machine = Arc::new(std::sync::Mutex::new(Some(Reading { capacity: 16 * MIB, used: 5 * MIB })));
    let guard = MemoryGuard::new(
        config,
        Arc::clone(&machine) as Arc<dyn MemoryProbe>,
        Arc::<ManualClock>::clone(&clock),
    )
    .unwrap();
    drop(take(&guard, 2 * MIB as usize));
    clock.advance(Duration::from_secs(1));
    *machine.lock().unwrap() = Some(Reading { capacity: 16 * MIB, used: 7 * MIB });
    assert_eq!(guard.bytes_free(Region::Host), 11 * MIB, "others have 5, and the pool's 2 are free for all");
    let most = guard.lease(Region::Host, Owner::Weights(ModelId(2)), 11 * MIB).unwrap();
    assert_eq!(guard.pool_stats().all_idle_bytes(), 0);
    drop(most);
}
