//! Readings: what the regions hold, as told by budgets and by the probe, and how much of it is others'.

use super::books::Books;
use super::pool::Pool;
use super::probe::Budget;
use super::{GuardConfig, Purpose};
use plimsoll_engine::sync::atomic::{AtomicU64, Ordering};
use plimsoll_engine::sync::{Mutex, MutexGuard};
use plimsoll_engine::{Engine, MemoryProbe, Reading, Region, Vitals};
use std::sync::{Arc, PoisonError, Weak};
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
    // Those that have had sessions. Weak, as in the session table.
    engines: Mutex<Vec<Weak<dyn Engine>>>,
    // Readings of the host that were begun.
    begun: AtomicU64,
    last: Mutex<Last>,
}

/// The host's last reading that counted.
#[derive(Default)]
struct Last {
    /// Its number.
    begun: u64,
    /// The last that was not stale, and what was ours then.
    fresh: Option<(Reading, u64)>,
}

impl Readings {
    pub(super) fn new(config: &GuardConfig, machine: Arc<dyn MemoryProbe>) -> Self {
        let devices = config.device_budgets.iter().map(|&(index, _)| Region::Device(index)).collect();
        let live = config.budget.is_none();
        let probe = Budget::new(config.budget, config.device_budgets.clone(), machine);
        let (engines, last) = Default::default();
        let (taken, begun) = (AtomicU64::new(0), AtomicU64::new(0));
        Readings { probe, taken, devices, live, engines, begun, last }
    }

    /// From now on this engine is asked what it holds.
    pub(super) fn watch(&self, engine: &Arc<dyn Engine>) {
        let mut engines = lock(&self.engines);
        engines.retain(|known| known.strong_count() > 0);
        if !engines.iter().any(|known| std::ptr::addr_eq(known.as_ptr(), Arc::as_ptr(engine))) {
            engines.push(Arc::downgrade(engine));
        }
    }

    /// How long a reading lasts, where readings change at all.
    pub(super) fn age(&self) -> Option<Duration> {
        self.live.then_some(AGE)
    }

    /// Engines that are there.
    pub(super) fn engines(&self) -> u64 {
        lock(&self.engines).iter().filter(|known| known.strong_count() > 0).count() as u64
    }

    /// The machine and the process now.
    pub(super) fn vitals(&self) -> Option<Vitals> {
        self.probe.vitals()
    }

    /// Gives what was freed back to the machine before it is read again.
    pub(super) fn give_back(&self) {
        self.probe.give_back();
    }

    /// The regions that are read, the host first.
    pub(super) fn regions(&self) -> impl Iterator<Item = Region> + use<> {
        std::iter::once(Region::Host).chain(self.devices.clone())
    }

    /// Reads the host again if the last reading is old. Budgets never change, and of several threads only one reads.
    pub(super) fn refresh(&self, now: Duration, books: &Books, config: &GuardConfig, pool: &Pool) {
        if !self.live {
            return;
        }
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let now = nanos(now);
        let taken = self.taken.load(Ordering::Acquire);
        let old = now.saturating_sub(taken) >= nanos(AGE);
        if old && self.taken.compare_exchange(taken, now, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.take(Region::Host, books, config, pool);
        }
    }

    /// Reads the host, whatever the age of the last reading, unless it never changes.
    pub(super) fn take_live(&self, books: &Books, config: &GuardConfig, pool: &Pool) {
        if self.live {
            self.take(Region::Host, books, config, pool);
        }
    }

    /// Reads a region into the books. What lies idle in the pool is ours without a lease. A region that cannot be read keeps its last
    /// numbers.
    pub(super) fn take(&self, region: Region, books: &Books, config: &GuardConfig, pool: &Pool) {
        // Leases before holdings and these before the reading: what is booked or allocated while it is taken counts as
        // others', which errs on the safe side. Idle memory is leased under this lock; that which comes back is both for the
        // moment until its lease returns.
        let live = self.live && region == Region::Host;
        let begun = if live { self.begun.fetch_add(1, Ordering::AcqRel) + 1 } else { 0 };
        let (there, kv, spare) = {
            let state = books.lock();
            let spare = if region == Region::Host { pool.spare() } else { 0 };
            state.ledger.region(region).map_or((0, 0, spare), |book| {
                let absent = if live { state.sessions.models.absent_bytes(book) } else { 0 };
                (book.used.saturating_sub(absent), book.purpose(Purpose::Kv), spare)
            })
        };
        let waiting = if live { kv.saturating_sub(self.kv_held(region)) } else { 0 };
        let ours = there.saturating_sub(waiting).saturating_add(spare);
        let Some(reading) = self.probe.read(region) else { return };
        let limit = config.limit(reading.capacity);
        // Held until the books have it, so that of two readings at once the one that was begun last stays.
        let mut last = lock(&self.last);
        let others = match live {
            true => last.others(begun, reading, ours),
            false => Some(reading.used.saturating_sub(ours)),
        };
        let Some(others) = others else { return };
        let mut state = books.lock();
        let numbers =
            |state: &super::books::State| state.ledger.region(region).map(|book| (book.limit, book.others));
        let before = numbers(&state);
        state.ledger.set(region, reading.capacity, limit, others);
        if numbers(&state) != before {
            state.ring();
        }
    }

    /// KV that the engines have allocated in a region. What is leased beyond it, for requests that wait for a lane, is in no
    /// reading yet.
    fn kv_held(&self, region: Region) -> u64 {
        let engines: Vec<_> = lock(&self.engines).iter().filter_map(Weak::upgrade).collect();
        let here = engines.iter().filter(|engine| engine.capabilities().kv_region == region);
        here.fold(0, |sum, engine| sum.saturating_add(engine.holdings().kv))
    }
}

impl Last {
    /// What others use by a reading; `None` when one that was begun later is known already. A reading that says to the byte what
    /// an earlier one did, though what is ours has changed, is as old as that one, and others had then what that one says.
    fn others(&mut self, begun: u64, reading: Reading, ours: u64) -> Option<u64> {
        if begun < self.begun {
            return None;
        }
        self.begun = begun;
        let stale = self.fresh.filter(|&(seen, held)| seen == reading && held != ours);
        let (reading, ours) = stale.unwrap_or((reading, ours));
        self.fresh = Some((reading, ours));
        Some(reading.used.saturating_sub(ours))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section leaves what it changes whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
