//! What is checked.

use plimsoll::guard::MemoryGuard;
use plimsoll_engine::{Clock, Engine, Lease, ModelId, Owner, Region};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a condition is looked at that another thread brings about.
pub(crate) const POLL: Duration = Duration::from_millis(1);

/// An engine under a guard, fresh, with no session open.
///
/// The context must have room for 160 tokens, and the guard for `queue` and `max_sequences` sessions of as many.
pub struct Subject {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// The guard that books everything the engine holds.
    pub guard: Arc<MemoryGuard>,
    /// The clock that engine and guard go by.
    pub clock: Arc<dyn Clock>,
    /// The models whose weights and workspace the engine holds.
    pub models: Vec<ModelId>,
    /// Leases for these, as far as the engine does not own them itself.
    pub leases: Vec<Lease>,
    /// Makes a prompt of this many valid ids; different seeds give prompts that differ from their first token on.
    pub prompt: Box<dyn Fn(u64, usize) -> Vec<u32> + Send + Sync>,
    /// Whether greedy text depends on the prompt alone, to the bit: not on the batch, nor on chunks, nor on kept KV.
    pub deterministic: bool,
    /// The bound of the engine's queue.
    pub queue: usize,
    /// How long anything may take before it counts as hanging.
    pub patience: Duration,
}

impl Subject {
    /// Bytes that the ledger shows for owners of this kind.
    pub(crate) fn booked(&self, of: impl Fn(Owner) -> bool) -> u64 {
        self.guard.stats().ledger.iter().filter(|entry| of(entry.owner)).map(|entry| entry.bytes).sum()
    }

    /// KV bytes that the ledger shows.
    pub(crate) fn booked_kv(&self) -> u64 {
        self.booked(|owner| matches!(owner, Owner::Kv(_)))
    }

    /// The region of the engine's KV.
    pub(crate) fn kv_region(&self) -> Region {
        self.engine.capabilities().kv_region
    }

    /// Waits until something holds, for as long as patience lasts.
    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn() -> bool) -> Result<(), String> {
        let start = Instant::now();
        while !holds() {
            if start.elapsed() > self.patience {
                return Err(format!("in vain: {what}"));
            }
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Compares weights and workspace with the ledger, and lets the ledger prove itself.
    pub(crate) fn check_fixed(&self) -> Result<(), String> {
        self.guard.check_integrity().map_err(|error| format!("the ledger: {error}"))?;
        let sum = |owner: fn(ModelId) -> Owner| {
            let owners: Vec<Owner> = self.models.iter().map(|&model| owner(model)).collect();
            self.booked(|booked| owners.contains(&booked))
        };
        let held = self.engine.holdings();
        same("bytes of weights, held and booked", held.weights, sum(Owner::Weights))?;
        same("bytes of workspace, held and booked", held.workspace, sum(Owner::Workspace))
    }

    /// Compares the KV of an engine at rest with the ledger.
    pub(crate) fn check_kv(&self) -> Result<(), String> {
        same("bytes of KV, held and booked", self.engine.holdings().kv, self.booked_kv())
    }

    /// With all sessions closed: waits for the last bytes of requests and KV, then unloads the engine. Nothing may remain.
    pub(crate) fn close(self) -> Result<(), String> {
        let in_use = || self.booked(|owner| matches!(owner, Owner::Kv(_) | Owner::Request(_)));
        self.wait_until("closed sessions give their bytes back", || in_use() == 0)?;
        self.check_kv()?;
        self.check_fixed()?;
        same("references to an engine that nobody uses", Arc::strong_count(&self.engine), 1)?;
        self.unload()
    }

    /// Drops the engine and what pays for its models. Then the ledger must be empty.
    pub(crate) fn unload(self) -> Result<(), String> {
        let Subject { engine, guard, leases, .. } = self;
        drop(engine);
        drop(leases);
        guard.check_integrity().map_err(|error| format!("the ledger: {error}"))?;
        let left = guard.stats().ledger;
        if left.is_empty() { Ok(()) } else { Err(format!("booked after the engine was unloaded: {left:?}")) }
    }
}

/// Two figures that must be equal.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, a: T, b: T) -> Result<(), String> {
    if a == b { Ok(()) } else { Err(format!("{what}: {a:?} and {b:?}")) }
}

/// Something that must hold.
pub(crate) fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}
