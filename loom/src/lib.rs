//! What the models share: a guard, an engine that only keeps leases, and the run over all interleavings.
#![cfg(loom)]
#![allow(clippy::unwrap_used)]

mod keeper;

pub use keeper::Keeper;

use plimsoll::guard::{Ask, Grant, GuardConfig, Levels, MemoryGuard, Seat};
use plimsoll_engine::{ManualClock, MemoryProbe, Reading, Region, Shape};
use std::sync::Arc;
// What belongs to the harness is the standard library's: it must not add interleavings of its own.
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// KV bytes per token, and a request's own bytes.
pub const TOKEN: u64 = 100;
pub const REQUEST: u64 = 10;

/// Runs a body in every interleaving; LOOM_MAX_PREEMPTIONS bounds how often a thread is stopped where it could go on. A
/// thread that waits for what never comes is a failure: time does not pass in a model.
pub fn explore(body: impl Fn() + Send + Sync + 'static) {
    static MOST_THREADS: usize = 4;
    let runs = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&runs);
    let mut builder = loom::model::Builder::new();
    builder.max_threads = MOST_THREADS;
    builder.max_branches = 100_000;
    builder.check(move || {
        counted.fetch_add(1, SeqCst);
        body();
    });
    let runs = runs.load(SeqCst);
    println!("{runs} interleavings");
    assert!(runs > 1, "threads that never meet show nothing");
}

/// What the machine says about its memory, and how often it was asked.
#[derive(Default)]
pub struct Machine {
    pub capacity: AtomicU64,
    pub asked: AtomicU64,
}

impl MemoryProbe for Machine {
    fn read(&self, region: Region) -> Option<Reading> {
        self.asked.fetch_add(1, SeqCst);
        (region == Region::Host).then(|| Reading { capacity: self.capacity.load(SeqCst), used: 0 })
    }
}

/// A guard with nothing else in the process.
#[derive(Clone)]
pub struct World {
    pub guard: Arc<MemoryGuard>,
    pub engine: Arc<Keeper>,
    pub machine: Arc<Machine>,
    pub clock: Arc<ManualClock>,
}

impl World {
    /// Exactly so many bytes may be leased; engines have all the time they want.
    pub fn new(bytes: u64) -> World {
        World::with(Some(bytes), bytes, Duration::from_secs(3_600), None)
    }

    /// The same, and requests give up something where memory is short.
    pub fn pressed(bytes: u64) -> World {
        World::with(Some(bytes), bytes, Duration::from_secs(3_600), Some(Levels::default()))
    }

    /// The limit is what the machine says now.
    pub fn on_a_machine(capacity: u64) -> World {
        World::with(None, capacity, Duration::from_secs(3_600), None)
    }

    /// Engines that have not answered when they are asked are late.
    pub fn impatient(bytes: u64) -> World {
        World::with(Some(bytes), bytes, Duration::ZERO, None)
    }

    fn with(
        budget: Option<u64>,
        capacity: u64,
        reclaim_deadline: Duration,
        pressure: Option<Levels>,
    ) -> World {
        let config = GuardConfig {
            budget,
            threshold: 1.0,
            reserve: Some(0),
            reclaim_deadline,
            pressure,
            ..GuardConfig::default()
        };
        let machine = Arc::new(Machine::default());
        machine.capacity.store(capacity, SeqCst);
        let clock = Arc::new(ManualClock::default());
        let guard = MemoryGuard::new(config, machine.clone(), clock.clone()).unwrap();
        World { guard, engine: Arc::new(Keeper::new()), machine, clock }
    }

    pub fn seat(&self) -> Seat {
        self.guard.open_session(self.engine.clone(), None).unwrap()
    }

    /// A session that holds KV of so many tokens and does not run.
    pub fn idle(&self, tokens: u32) -> Seat {
        let seat = self.seat();
        let grant = self.admit(&seat, tokens).unwrap();
        self.engine.finish(grant, u64::from(tokens) * TOKEN);
        seat
    }

    /// So many tokens and not one fewer.
    pub fn ask(tokens: u32) -> Ask {
        let shape = Shape { prompt_tokens: tokens, max_tokens: 0, top_logprobs: 0, penalties: false };
        Ask { shape, answers: 1, min_tokens: 0, degradable: true, priority: 0 }
    }

    /// Asks for so many tokens.
    pub fn admit(&self, seat: &Seat, tokens: u32) -> Option<Grant> {
        let (verdict, grant) = self.guard.admit(seat, &World::ask(tokens)).unwrap();
        self.check();
        assert_eq!(verdict.granted_tokens, 0);
        grant
    }

    pub fn check(&self) {
        self.guard.check_integrity().unwrap();
    }

    /// Proves the books, and that so much is used.
    pub fn assert_used(&self, bytes: u64) {
        self.check();
        assert_eq!(self.guard.stats().host().used, bytes);
    }
}
