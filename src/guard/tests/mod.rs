//! The guard as a whole, over an engine that only holds leases.

mod admission;
mod engine;
mod eviction;
mod loading;
mod machine;
mod monitor;
mod pool;
mod pressure;
mod race;
mod readings;
mod statistics;
mod talk;
mod unloading;
mod waiting;

use super::*;
use engine::{Answers, FakeEngine};
use plimsoll_engine::{Cancel, Lease, ManualClock, ModelId, Owner, Reading, Shape};
use std::sync::Mutex;
use std::time::Duration;

/// A guard with nothing else in the process.
struct World {
    guard: Arc<MemoryGuard>,
    clock: Arc<ManualClock>,
    engine: Arc<FakeEngine>,
}

/// Exactly `host` bytes may be leased, and `device` bytes of device 0 if there is one.
fn exact(host: u64, device: Option<u64>) -> GuardConfig {
    GuardConfig {
        budget: Some(host),
        device_budgets: device.map(|bytes| (0, bytes)).into_iter().collect(),
        threshold: 1.0,
        reserve: Some(0),
        reclaim_deadline: Duration::from_millis(50),
        pressure: None,
        ..GuardConfig::default()
    }
}

impl World {
    fn new(config: GuardConfig, kv_region: Region) -> Self {
        let clock = Arc::new(ManualClock::default());
        let probe = Arc::new(Mutex::new(None::<Reading>));
        let guard = MemoryGuard::new(config, probe, clock.clone()).unwrap();
        let engine = FakeEngine::new(kv_region);
        engine.watch(&guard);
        World { guard, clock, engine }
    }

    fn host(bytes: u64) -> Self {
        World::new(exact(bytes, None), Region::Host)
    }

    fn seat(&self) -> Seat {
        self.guard.open_session(self.engine.clone(), None).unwrap()
    }

    /// Runs a request to its end; the session keeps `kept` bytes of KV.
    fn run(&self, seat: &Seat, ask: &Ask, kept: u64) -> Verdict {
        let (verdict, grant) = self.guard.admit(seat, ask).unwrap();
        self.engine.finish(grant.unwrap(), kept);
        self.check();
        verdict
    }

    fn used(&self, region: Region) -> u64 {
        self.guard.stats().region(region).unwrap().used
    }

    fn check(&self) {
        self.guard.check_integrity().unwrap();
    }
}

fn ask(prompt_tokens: u32, max_tokens: u32, min_tokens: u32) -> Ask {
    let shape = Shape { prompt_tokens, max_tokens, top_logprobs: 0, penalties: false };
    Ask { shape, answers: 1, min_tokens, degradable: true, priority: 0 }
}
