//! Readings: what the regions hold, as told by budgets and by the probe.

use super::GuardConfig;
use super::books::Books;
use super::probe::Budget;
use plimsoll_engine::{MemoryProbe, Reading, Region};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How old a reading may be.
const AGE: Duration = Duration::from_millis(100);

/// The source of readings, and when it was last asked.
pub(super) struct Readings {
    probe: Budget,
    // Nanoseconds on the guard's clock.
    taken: AtomicU64,
    devices: Vec<Region>,
    // Whether the host's readings change at all.
    live: bool,
}

impl Readings {
    pub(super) fn new(config: &GuardConfig, machine: Arc<dyn MemoryProbe>) -> Self {
        let devices = config.device_budgets.iter().map(|&(index, _)| Region::Device(index)).collect();
        let live = config.budget.is_none();
        let probe = Budget::new(config.budget, config.device_budgets.clone(), machine);
        Readings { probe, taken: AtomicU64::new(0), devices, live }
    }

    /// The regions that are read, the host first.
    pub(super) fn regions(&self) -> impl Iterator<Item = Region> + use<> {
        std::iter::once(Region::Host).chain(self.devices.clone())
    }

    /// Reads the host again if the last reading is old. Budgets never change, and of several threads only one reads.
    pub(super) fn refresh(&self, now: Duration, books: &Books, config: &GuardConfig) {
        if !self.live {
            return;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(now);
        let taken = self.taken.load(Ordering::Acquire);
        let old = now.saturating_sub(taken) >= nanos(AGE);
        if old && self.taken.compare_exchange(taken, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.take(Region::Host, books, config);
        }
    }

    /// Reads a region into the books. A region that cannot be read keeps its last numbers.
    pub(super) fn take(&self, region: Region, books: &Books, config: &GuardConfig) {
        // Leases before the reading: what is booked while it is taken counts as others', which errs on the safe side.
        let ours = books.lock().ledger.region(region).map_or(0, |book| book.used);
        if let Some(Reading { capacity, used }) = self.probe.read(region) {
            let (limit, others) = (config.limit(capacity), used.saturating_sub(ours));
            books.lock().ledger.set(region, capacity, limit, others);
        }
    }
}
