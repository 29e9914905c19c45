//! The monitor: what memory did lately, and who should hear of it.
//!
//! At an interval, on a thread of the runtime's or whoever calls [`MemoryGuard::tick`], it takes a [`Snapshot`] of each region
//! and a [`SystemSnapshot`], keeps the last of them in room that is taken at the start, and derives the rest: levels and their
//! events, peaks and averages, [`Alert`]s, leaks ([`leak`]), cleanups ([`cleanup`]). Requests pass none of it: the monitor reads
//! counters that exist, with the books' lock held for a bounded number of sessions at a time.
//!
//! ```text
//!   tick ── reading, vitals (no lock)
//!     │        ┌───── books' lock ──────┐
//!     ├──────► │ regions, counters,     │──► history, levels, rates, leaks
//!     ├──────► │ sessions, 512 at a time│──► alerts ── no lock ──► log, callback
//!     └────────┴────────────────────────┘    cleanup ─ no lock ──► caches, idle KV, the host's callbacks
//! ```

mod alert;
mod clean;
mod cleanup;
mod config;
mod json;
mod leak;
mod rates;
mod report;
mod ring;
mod sight;
mod snapshot;
mod stats;
mod watch;

pub use alert::{Alert, AlertKind, Subject, Suspect};
pub use cleanup::{
    CleanupBusy, CleanupCallback, CleanupId, CleanupOutcome, CleanupRecord, CleanupStage, CleanupTaskStats,
};
pub use config::MonitorConfig;
pub use snapshot::{MemoryLevel, Snapshot, SystemSnapshot};
pub use stats::{History, MonitorStats, RegionHistory, RegionTrend};

use super::{GuardError, MemoryGuard};
use cleanup::Cleanup;
use plimsoll_engine::Region;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use watch::Watch;

/// Hears of an alert that was raised or cleared.
pub type AlertCallback = Box<dyn Fn(&Alert) + Send + Sync>;

/// All that the monitor keeps.
pub(super) struct Monitor {
    watch: Mutex<Watch>,
    /// When the next snapshot is due, in nanoseconds on the guard's clock.
    due: AtomicU64,
    listener: Mutex<Option<Arc<AlertCallback>>>,
    cleanup: Cleanup,
}

impl Monitor {
    /// A monitor of these regions.
    ///
    /// # Errors
    /// There is no memory for its history.
    pub(super) fn new(
        config: &MonitorConfig,
        regions: impl Iterator<Item = Region>,
    ) -> Result<Self, GuardError> {
        let watch = Mutex::new(Watch::new(config, regions)?);
        Ok(Monitor { watch, due: AtomicU64::new(0), listener: Mutex::default(), cleanup: Cleanup::default() })
    }

    /// Whether a snapshot is due; of several threads only one is told so.
    fn is_due(&self, now: Duration, interval: Duration) -> bool {
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let due = self.due.load(Ordering::Acquire);
        let next = nanos(now).saturating_add(nanos(interval));
        !interval.is_zero()
            && nanos(now) >= due
            && self.due.compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn watch(&self) -> MutexGuard<'_, Watch> {
        lock(&self.watch)
    }

    /// Tells the log and the callback, with no lock held.
    fn tell(&self, changes: &[Alert]) {
        for alert in changes {
            match alert.cleared {
                None => log::warn!("alert ({}): {alert}", alert.kind.name()),
                Some(_) => log::info!("alert over ({}): {alert}", alert.kind.name()),
            }
            let Some(listener) = lock(&self.listener).clone() else { continue };
            // Of a callback that panics nothing is looked at afterwards.
            if catch_unwind(AssertUnwindSafe(|| listener(alert))).is_err() {
                log::error!("the alert callback panicked");
            }
        }
    }
}

impl MemoryGuard {
    /// Takes a snapshot if the interval has passed since the last one, tells of alerts, and cleans up where the threshold is
    /// passed. Callbacks run inside, with no lock held. Meant to be called from a timer.
    pub fn tick(&self) {
        let now = self.clock.now();
        if self.monitor.is_due(now, self.config.monitor.interval) {
            self.look(now);
        }
    }

    /// Takes a snapshot, whatever the interval; alerts and cleanup follow from it as at a tick.
    pub fn look_now(&self) {
        self.look(self.clock.now());
    }

    fn look(&self, now: Duration) {
        self.refresh();
        let vitals = self.readings.vitals();
        let models = self.readings.engines();
        let mut changes = Vec::new();
        let mut watch = self.monitor.watch();
        let config = &self.config.monitor;
        watch.take(now, &self.books.lock(), self.pool.idle_on_heap(), vitals, models, config);
        watch.begin(now, config, &mut changes);
        let mut from = Some(0);
        while let Some(at) = from {
            from = watch.sessions(now, &self.books, at, config, &mut changes);
        }
        watch.end(now, &mut changes);
        let overfull = watch.overfull(now, config);
        drop(watch);
        self.monitor.tell(&changes);
        if let Some(regions) = overfull {
            self.clean_automatically(&regions);
        }
    }

    /// Has `listener` hear of every alert that is raised or cleared from now on, in place of whoever did before; `None` ends
    /// it. It is called with no lock held, from the thread that takes the snapshot; the one before is dropped when it does not
    /// run any more.
    pub fn on_alert(&self, listener: Option<AlertCallback>) {
        let before = std::mem::replace(&mut *lock(&self.monitor.listener), listener.map(Arc::new));
        // Dropped without the lock: what it owns may come back here.
        drop(before);
    }

    /// An engine whose model is loaded: its weights and workspaces are for something.
    pub(crate) fn attend(&self, engine: &Arc<dyn plimsoll_engine::Engine>) {
        self.readings.watch(engine);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section leaves what it changes whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
