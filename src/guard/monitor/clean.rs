//! The guard's side of a cleanup: who may clean up, in which order, and what comes of it.

use super::cleanup::excess;
use super::{CleanupBusy, CleanupCallback, CleanupId, CleanupOutcome, CleanupStage};
use crate::guard::MemoryGuard;
use crate::guard::room::Shortage;
use plimsoll_engine::Region;

/// Rounds of eviction: in each, sessions that were busy in the one before may be idle.
const ROUNDS: u32 = 4;

impl MemoryGuard {
    /// Registers a callback that frees memory in cleanups from now on, after those of its stage that are there already. It is
    /// called with no lock held, by one thread at a time.
    pub fn on_cleanup(&self, stage: CleanupStage, name: &str, callback: CleanupCallback) -> CleanupId {
        self.monitor.cleanup.register(stage, name, callback)
    }

    /// Takes a callback back, also from inside it. Whoever runs it now runs it to its end and then drops it; nobody begins to.
    /// Returns whether there was one.
    pub fn remove_cleanup(&self, id: CleanupId) -> bool {
        self.monitor.cleanup.unregister(id)
    }

    /// Cleans up: caches and pools of engines, the KV of all idle sessions, whose conversations stay, then the host's callbacks.
    ///
    /// # Errors
    /// A cleanup is under way.
    pub fn cleanup(&self) -> Result<CleanupOutcome, CleanupBusy> {
        let regions: Vec<Region> = self.readings.regions().collect();
        self.clean(&regions, None)
    }

    /// The same for regions that passed the threshold, no further than back below it.
    pub(super) fn clean_automatically(&self, regions: &[Region]) {
        match self.clean(regions, self.config.monitor.cleanup) {
            Ok(outcome) => log::info!(
                "a cleanup freed {} bytes, {} of them KV; {} of {} callbacks failed",
                outcome.freed,
                outcome.kv,
                outcome.failed,
                outcome.callbacks
            ),
            // Whoever cleans up already does the same.
            Err(busy) => log::debug!("no automatic cleanup: {busy}"),
        }
    }

    fn clean(&self, regions: &[Region], below: Option<f64>) -> Result<CleanupOutcome, CleanupBusy> {
        let turn = self.monitor.cleanup.begin()?;
        // Idle buffers are in nobody's way, but they are the machine's memory.
        let mut outcome = CleanupOutcome { freed: self.trim_pool(), ..CleanupOutcome::default() };
        self.run_stage(CleanupStage::Caches, regions, below, &mut outcome);
        for &region in regions {
            let freed = self.free_idle(region, self.wanted(&[region], below));
            outcome.kv = outcome.kv.saturating_add(freed);
            outcome.freed = outcome.freed.saturating_add(freed);
        }
        self.readings.give_back();
        self.run_stage(CleanupStage::Host, regions, below, &mut outcome);
        self.monitor.cleanup.note(self.clock.now(), below.is_some(), outcome);
        drop(turn);
        Ok(outcome)
    }

    fn run_stage(
        &self,
        stage: CleanupStage,
        regions: &[Region],
        below: Option<f64>,
        outcome: &mut CleanupOutcome,
    ) {
        for task in self.monitor.cleanup.stage(stage) {
            let wanted = self.wanted(regions, below);
            if wanted == 0 {
                return;
            }
            task.run(wanted, || self.in_use(), outcome);
        }
    }

    /// Bytes that are to be freed by a fresh reading: all, or what the regions use beyond where a cleanup stops.
    fn wanted(&self, regions: &[Region], below: Option<f64>) -> u64 {
        let Some(threshold) = below else { return u64::MAX };
        self.readings.take_live(&self.books, &self.config, &self.pool);
        let state = self.books.lock();
        let books = regions.iter().filter_map(|&region| state.ledger.region(region));
        books.fold(0, |sum, book| sum.saturating_add(excess(threshold, book.capacity, book.taken())))
    }

    /// Bytes in use in all regions by a fresh reading.
    fn in_use(&self) -> u64 {
        self.readings.take_live(&self.books, &self.config, &self.pool);
        let state = self.books.lock();
        state.ledger.regions().iter().fold(0, |sum, book| sum.saturating_add(book.taken()))
    }

    /// Takes KV of idle sessions of a region back, the least recently used first, until so many bytes came back or no more
    /// will. Returns how many did.
    fn free_idle(&self, region: Region, bytes: u64) -> u64 {
        let until = self.reclaim_until();
        let mut freed = 0_u64;
        for _ in 0..ROUNDS {
            let short = bytes.saturating_sub(freed);
            let mut state = self.books.lock();
            state.settle_answered();
            let selection = state.plan(None, Shortage::of(region, short), Vec::new());
            let errand = state.start(selection);
            drop(state);
            if errand.posted() == 0 {
                break;
            }
            let (back, in_time) = self.run(errand, until);
            freed = freed.saturating_add(back);
            if back == 0 || !in_time {
                break;
            }
        }
        freed
    }
}
