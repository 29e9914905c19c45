//! The memory guard: bytes and sessions, never what a token means.
//!
//! The guard owns the books of every region of memory (the host's, each device's) and decides, before a request runs,
//! whether its bytes fit. What it grants it books at once, for the request at its longest; so an admitted request never
//! waits for, or fails for, memory that is booked here.
//!
//! ```text
//!   lease ──────────────┐                                   ┌── Lease ── dropped: bytes return
//!   (weights, workspace)│      ┌──────── one lock ────────┐ │
//!                       ├────► │ Ledger    region × owner │─┤
//!   admit ── Quote ─────┤      │ Sessions  KV, LRU, busy  │ │
//!      ▲   (estimates,  │      └──────────────────────────┘ └── Grant = KV lease + host lease + BusyMark
//!      │    no lock)    │               │
//!   what_if ────────────┘               │ victims, least recently used first
//!   (no grant)                          ▼ lock released
//!                              Engine::reclaim ─► answer ─► decide again
//! ```
//!
//! # A decision
//!
//! The engine prices the request; the new bytes are its KV less what the session holds already, and the request's own host
//! bytes. They must break neither the context length, nor the session's KV limit, nor the KV limit of all sessions, nor the
//! limit of the region or regions they live in. A region's limit is the smaller of `threshold × capacity` and
//! `capacity − reserve`. If the request does not fit as it is, sessions that do not run lose their KV, the least recently
//! used first; if all of that is not enough, the request is shrunk to the most tokens that fit. When that is less than its
//! caller accepts, idle models that may go are unloaded for it, and where that is not enough either it is refused. [`MemoryGuard::what_if`] is the same walk without its effects.
//!
//! While memory is short ([`Pressure`]), requests that do not forbid it are granted less than they ask for, and the rest are
//! refused with [`Reason::Pressure`].
//!
//! # What others use
//!
//! With a configured budget, the budget is all that counts, and nobody has part of it but conversations ([`Talk`]). Without one the probe tells a region's capacity and how much of
//! it is used by anyone; of that, what exceeds what is ours is others' (`others = used − ours`), and
//! `free = limit − leases − others`. The reading is at most 100 ms old. Ours are the leases less what of them no reading can
//! have: KV that no engine has allocated yet, for a request that waits for a lane; models that are booked and not loaded yet, or are
//! on their way out; of one being loaded, what has not come yet. Taken for ours, they would hide as many bytes of others, and
//! these would be granted a second time. All else is committed when it is leased. A reading that does not change while what is
//! ours does is stale: then others keep what they had.
//!
//! # Invariants
//!
//! 1. A lease is booked before it exists, and every lease is made here. The sum of a region's leases never exceeds its limit
//!    at the moment of a booking.
//! 2. A session's KV in the table equals its owner's bytes in the ledger. [`MemoryGuard::check_integrity`] proves both;
//!    tests call it after every step.
//! 3. A session with a grant is never evicted, and has one grant at most. A session whose KV is on its way back is granted
//!    nothing until its engine has answered, because the price of a request counts on what the session holds.
//! 4. The lock is never held across a call into an engine or a probe, nor while a lease or an engine is dropped. Waiting
//!    for an engine ends at the reclaim deadline.
//! 5. The tables hold engines weakly: neither the books nor a lease keep an engine alive.
//! 6. A model is unloaded only while no request has a grant on it, no load of it is under way, and nobody waits with it before
//!    whoever needs its bytes (`unloading.rs`).
//!
//! Beside the decisions a monitor takes snapshots, keeps their history, raises alerts, finds leaks and cleans up.
//!
//! # Waiting
//!
//! A refused request is its caller's to repeat, or it waits in a bounded line: [`MemoryGuard::enqueue`] and, on a thread that
//! may sleep, [`MemoryGuard::admit_waiting`]. The rule, and why nobody waits for ever, is in `line.rs`. Leases of weights and
//! workspaces stand in no line: what they leave is what requests have.
//!
//! Not in scope: memory taken by others after a grant, which the guard can see but not prevent.

mod admission;
mod audit;
mod books;
mod config;
mod enrolment;
mod eviction;
mod leases;
mod ledger;
mod line;
mod models;
mod monitor;
mod owner_map;
mod pool;
mod pressure;
mod price;
pub mod probe;
mod purpose;
mod quote;
mod readings;
mod recovery;
mod refusal;
mod room;
mod seat;
mod sessions;
mod slab;
mod stats;
mod talk;
mod unloading;
mod verdict;
mod waiting;

#[cfg(test)]
mod tests;

pub use config::GuardConfig;
pub use enrolment::{Enrolment, Loading};
pub use models::{Footprint, PARTS, Unload};
pub use monitor::{
    Alert, AlertCallback, AlertKind, CleanupBusy, CleanupCallback, CleanupId, CleanupOutcome, CleanupRecord,
    CleanupStage, CleanupTaskStats, History, MemoryLevel, MonitorConfig, MonitorStats, RegionHistory,
    RegionTrend, Snapshot, Subject, Suspect, SystemSnapshot,
};
pub use pool::{Aside, Buffer, PoolError, PoolStats, PoolUse, pool_size};
pub use pressure::{Degraded, Levels, Pressure};
pub use price::{Item, What};
pub use probe::SystemProbe;
pub use purpose::Purpose;
pub use recovery::Recovery;
pub use refusal::{GuardError, IntegrityError, Refusal, RefusalCause};
pub use seat::{BusyMark, Grant, Seat};
pub use stats::{MemoryStats, OwnerStats, RegionStats, SessionStats};
pub use talk::Talk;
pub use unloading::InUse;
pub use verdict::{Ask, Decision, Reason, Verdict};
pub use waiting::{Queued, Waiting};

use books::Books;
use monitor::Monitor;
use plimsoll_engine::{Clock, Engine, MemoryProbe, Region, Throttle};
use readings::Readings;
use std::sync::Arc;
use std::time::Duration;

/// The books of all memory, and the decisions about it. Shared by all models of a runtime; every method may be called from
/// any thread.
pub struct MemoryGuard {
    config: GuardConfig,
    clock: Arc<dyn Clock>,
    readings: Readings,
    books: Arc<Books>,
    throttle: Arc<Throttle>,
    monitor: Monitor,
    pool: Arc<pool::Pool>,
}

impl MemoryGuard {
    /// A guard over the host region and the configured devices.
    ///
    /// # Errors
    /// A setting is out of range, a region's capacity cannot be read, or nothing of it would be left to use.
    pub fn new(
        config: GuardConfig,
        probe: Arc<dyn MemoryProbe>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<MemoryGuard>, GuardError> {
        config.validate()?;
        let readings = Readings::new(&config, probe);
        let books = Arc::new(Books::new(config.kv_limit));
        let monitor = Monitor::new(&config.monitor, readings.regions())?;
        let (throttle, pool) = (Arc::default(), pool::Pool::new(Arc::clone(&clock), config.pool_limit));
        let pool = Arc::new(pool);
        let guard = MemoryGuard { config, clock, readings, books, throttle, monitor, pool };
        for region in guard.readings.regions() {
            guard.readings.take(region, &guard.books, &guard.config, &guard.pool);
            let state = guard.books.lock();
            let book = state.ledger.region(region).ok_or(GuardError::NoCapacity { region })?;
            if book.limit == 0 {
                return Err(GuardError::NoRoom { region, capacity: book.capacity });
            }
        }
        Ok(Arc::new(guard))
    }

    /// The configuration it was made with.
    pub fn config(&self) -> &GuardConfig {
        &self.config
    }

    /// What engines read before each step: the share of their batch that may run under the present pressure.
    pub fn throttle(&self) -> &Arc<Throttle> {
        &self.throttle
    }

    /// Opens a session on an engine. `limit` is the most KV bytes it may hold; `None` takes the configured one.
    ///
    /// # Errors
    /// The engine keeps its KV in a region that the guard does not manage, or the table is full.
    pub fn open_session(
        self: &Arc<Self>,
        engine: Arc<dyn Engine>,
        limit: Option<u64>,
    ) -> Result<Seat, GuardError> {
        let region = engine.capabilities().kv_region;
        let limit = limit.unwrap_or(self.config.session_limit);
        let now = self.clock.now();
        let mut state = self.books.lock();
        if state.ledger.region(region).is_none() {
            return Err(GuardError::NoRegion { region });
        }
        let key = state.sessions.open(Arc::downgrade(&engine), region, limit, now)?;
        drop(state);
        self.readings.watch(&engine);
        Ok(Seat { guard: Arc::clone(self), engine, key })
    }

    /// Whether the host application may take this many bytes of host memory for itself, and `margin` of them more (0.1 is a
    /// tenth), without coming near the limit. Nothing is booked. A margin that is negative or no number counts as 0.
    pub fn can_allocate(&self, bytes: u64, margin: f64) -> bool {
        self.refresh();
        let free = self.books.lock().ledger.region(Region::Host).map_or(0, |book| book.free());
        let margin = if margin > 0.0 { margin } else { 0.0 };
        // A float holds bytes exactly up to 2^53; above that the error is far below any margin.
        bytes <= free && bytes as f64 * (1.0 + margin) <= free as f64
    }

    /// Bytes of a region that may still be leased now; 0 for a region that is not managed.
    pub fn bytes_free(&self, region: Region) -> u64 {
        self.refresh();
        self.books.lock().ledger.region(region).map_or(0, |book| book.free())
    }

    /// Whether leases and others together use at least this fraction of the host's capacity.
    pub fn is_low_memory(&self, threshold: f64) -> bool {
        self.refresh();
        let state = self.books.lock();
        let host = state.ledger.region(Region::Host);
        host.is_none_or(|book| book.taken() as f64 >= threshold * book.capacity as f64)
    }

    /// Brings the regions' readings up to date if they are old.
    fn refresh(&self) {
        self.refresh_at(self.clock.now());
    }

    fn refresh_at(&self, now: Duration) {
        self.readings.refresh(now, &self.books, &self.config, &self.pool);
    }
}

impl std::fmt::Debug for MemoryGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryGuard").field("config", &self.config).finish_non_exhaustive()
    }
}
