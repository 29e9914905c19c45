//! Memory of the pool that is taken, put back and freed while others book its bytes.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

use loom::thread;
use plimsoll_engine::{Buffer, Lease, ModelId, Owner, Region, Source};
use plimsoll_loom::{World, explore};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// Bytes of a piece, and of the region.
const PIECE: usize = 64;
const ALL: u64 = 200;

/// A source that counts its live pieces; of a test's own, as tests run side by side.
macro_rules! counted {
    ($source:ident, $live:ident) => {
        static $live: AtomicUsize = AtomicUsize::new(0);
        // SAFETY: the heap's memory, zeroed, freed as it was taken.
        static $source: Source = unsafe {
            Source::new(
                "counted",
                |bytes| {
                    $live.fetch_add(1, SeqCst);
                    NonNull::new(alloc_zeroed(Layout::from_size_align_unchecked(bytes, 8)))
                },
                |start, bytes| {
                    assert!($live.fetch_sub(1, SeqCst) > 0, "freed twice");
                    dealloc(start.as_ptr(), Layout::from_size_align_unchecked(bytes, 8));
                },
            )
        };
    };
}

fn lease(world: &World, model: u64, bytes: u64) -> Option<Lease> {
    world.guard.lease(Region::Host, Owner::Weights(ModelId(model)), bytes).ok()
}

/// Memory with the lease that pays for it; they go in this order.
struct Paid {
    memory: Buffer,
    _lease: Lease,
}

fn take(world: &World, source: &'static Source) -> Option<Paid> {
    let lease = lease(world, 1, PIECE as u64)?;
    let mut memory = Buffer::take(&world.guard.buffers(), source, PIECE).unwrap();
    memory.as_mut_slice().fill(7);
    Some(Paid { memory, _lease: lease })
}

/// Leases and idle memory are within the limit, and nothing else is held.
fn settled(world: &World, used: u64, live: &AtomicUsize) {
    world.assert_used(used);
    let pool = world.guard.pool_stats();
    assert!(used + pool.all_idle_bytes() <= ALL, "{pool:?}");
    assert_eq!(pool.engine.buffers_in_use + pool.engine.buffers_idle, live.load(SeqCst) as u64);
    let idle = pool.all_idle_bytes();
    assert_eq!((world.guard.trim_pool(), world.guard.pool_stats().all_idle_bytes()), (idle, 0));
    assert_eq!(live.load(SeqCst) as u64, pool.engine.buffers_in_use);
}

#[test]
fn what_is_taken_is_not_freed_by_who_makes_good() {
    counted!(SOURCE, LIVE);
    explore(|| {
        let world = World::new(ALL);
        drop(take(&world, &SOURCE).unwrap());
        assert_eq!(LIVE.load(SeqCst), 1);
        let other = world.clone();
        let rest = ALL - PIECE as u64;
        let thread = thread::spawn(move || {
            let lease = lease(&other, 2, rest).unwrap();
            // What is idle beside all leases is gone when the booking returns.
            assert!(LIVE.load(SeqCst) <= 1);
            lease
        });
        let paid = take(&world, &SOURCE).unwrap();
        let lease = thread.join().unwrap();
        assert_eq!(paid.memory.as_slice(), [7; PIECE]);
        assert_eq!(LIVE.load(SeqCst), 1);
        settled(&world, ALL, &LIVE);
        drop((paid, lease));
        settled(&world, 0, &LIVE);
        assert_eq!(LIVE.load(SeqCst), 0);
    });
}

#[test]
fn what_comes_back_while_its_bytes_are_booked_does_not_stay() {
    counted!(SOURCE, LIVE);
    explore(|| {
        let world = World::new(ALL);
        let paid = take(&world, &SOURCE).unwrap();
        let thread = thread::spawn(move || drop(paid));
        let all = lease(&world, 2, ALL);
        // Who has all of the bytes has all of the memory.
        assert!(all.is_none() || LIVE.load(SeqCst) == 0);
        thread.join().unwrap();
        settled(&world, if all.is_some() { ALL } else { 0 }, &LIVE);
    });
}

#[test]
fn what_others_give_back_is_gone_before_its_bytes_are_used() {
    counted!(SOURCE, LIVE);
    explore(|| {
        let world = World::new(ALL);
        drop(take(&world, &SOURCE).unwrap());
        let other = world.clone();
        let thread = thread::spawn(move || other.guard.trim_pool());
        let all = lease(&world, 2, ALL).unwrap();
        assert_eq!(LIVE.load(SeqCst), 0);
        assert!([0, PIECE as u64].contains(&thread.join().unwrap()));
        settled(&world, ALL, &LIVE);
        drop(all);
    });
}

#[test]
fn who_sets_memory_aside_has_it_or_gives_it_back() {
    counted!(SOURCE, LIVE);
    explore(|| {
        let world = World::new(ALL);
        drop(take(&world, &SOURCE).unwrap());
        let other = world.clone();
        // More than is left beside the memory, or than is left beside its lease.
        let thread = thread::spawn(move || {
            let lease = lease(&other, 2, ALL - PIECE as u64 / 2);
            assert!(lease.is_none() || LIVE.load(SeqCst) == 0, "what is idle is gone before the bytes are used");
            lease
        });
        let mut aside = world.guard.set_aside(Some((&SOURCE, PIECE)));
        let booked = aside.lease(Owner::Workspace(ModelId(1)), PIECE as u64);
        let buffers = booked.is_ok().then(|| aside.into_buffers());
        let paid = booked.ok().zip(buffers).map(|(lease, buffers)| Paid {
            memory: Buffer::take(&buffers, &SOURCE, PIECE).unwrap(),
            _lease: lease,
        });
        let lease = thread.join().unwrap();
        assert!(paid.is_some() != lease.is_some(), "one of the two fits");
        let used = if paid.is_some() { PIECE as u64 } else { ALL - PIECE as u64 / 2 };
        settled(&world, used, &LIVE);
        drop((paid, lease));
        settled(&world, 0, &LIVE);
    });
}
