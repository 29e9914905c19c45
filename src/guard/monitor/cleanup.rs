//! Cleanup: what is registered gives memory back, in order: caches and pools of engines, KV of idle sessions, then the host's.
//!
//! Callbacks run with no lock held, on the thread that cleans up. One that is taken back while it runs ends that run and is
//! called no more; it is dropped when nobody runs it. One that panics is counted, and the next one runs.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

/// When in a cleanup a callback runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CleanupStage {
    /// First: caches and pools of engines, of which nothing is lost but time.
    Caches,
    /// Then, after the KV of idle sessions: what the host can do without.
    Host,
}

impl CleanupStage {
    /// The stage's name in statistics.
    pub fn name(self) -> &'static str {
        match self {
            CleanupStage::Caches => "caches",
            CleanupStage::Host => "host",
        }
    }
}

/// Frees memory. It is told how many bytes are wanted (`u64::MAX`: all there are) and answers how many it believes to have
/// freed; `None` says that it failed.
pub type CleanupCallback = Box<dyn Fn(u64) -> Option<u64> + Send + Sync>;

/// A registered callback, to take it back by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CleanupId(pub u64);

/// A cleanup is under way already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CleanupBusy {
    /// Another thread cleans up.
    #[error("another thread cleans up")]
    Elsewhere,
    /// The call came from a cleanup callback.
    #[error("a cleanup callback called for a cleanup")]
    Here,
}

/// What came of a cleanup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanupOutcome {
    /// Bytes that came back by the books and by readings of the machine; what is taken meanwhile makes it less.
    pub freed: u64,
    /// Bytes that callbacks believe to have freed.
    pub reported: u64,
    /// Of `freed`, KV of idle sessions.
    pub kv: u64,
    /// Callbacks that ran.
    pub callbacks: u32,
    /// Of them, those that failed or panicked.
    pub failed: u32,
}

/// One callback.
pub(super) struct Task {
    id: CleanupId,
    pub(super) stage: CleanupStage,
    name: String,
    call: CleanupCallback,
    live: AtomicBool,
    runs: AtomicU64,
    failed: AtomicU64,
    freed: AtomicU64,
    reported: AtomicU64,
}

/// One callback's figures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanupTaskStats {
    /// Which.
    pub id: CleanupId,
    /// When it runs.
    pub stage: CleanupStage,
    /// The name that it was registered with.
    pub name: String,
    /// Times that it ran.
    pub runs: u64,
    /// Times that it failed or panicked.
    pub failed: u64,
    /// Bytes that came back while it ran.
    pub freed: u64,
    /// Bytes that it believes to have freed.
    pub reported: u64,
}

/// All cleanups so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CleanupRecord {
    /// Cleanups so far.
    pub runs: u64,
    /// Of them, those that a used fraction above the threshold began.
    pub automatic: u64,
    /// When the last one ended, on the runtime's clock.
    pub last: Option<Duration>,
    /// What came of it.
    pub last_outcome: CleanupOutcome,
    /// Bytes that came back in all of them.
    pub freed: u64,
    /// Callbacks that failed or panicked, in all of them.
    pub failed: u64,
}

/// Callbacks, and the record of what they did.
#[derive(Default)]
pub(super) struct Cleanup {
    tasks: Mutex<Vec<Arc<Task>>>,
    next: AtomicU64,
    running: Mutex<Option<ThreadId>>,
    record: Mutex<CleanupRecord>,
}

/// The right to clean up: nobody else has it meanwhile.
pub(super) struct Turn<'a>(&'a Cleanup);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *lock(&self.0.running) = None;
    }
}

impl Cleanup {
    pub(super) fn register(&self, stage: CleanupStage, name: &str, call: CleanupCallback) -> CleanupId {
        let id = CleanupId(self.next.fetch_add(1, Ordering::Relaxed) + 1);
        let (runs, failed, freed, reported) = Default::default();
        let (name, live) = (name.to_owned(), AtomicBool::new(true));
        let task = Arc::new(Task { id, stage, name, call, live, runs, failed, freed, reported });
        lock(&self.tasks).push(task);
        id
    }

    /// Takes a callback back. Returns whether there was one.
    pub(super) fn unregister(&self, id: CleanupId) -> bool {
        let mut tasks = lock(&self.tasks);
        let found = tasks.iter().position(|task| task.id == id).map(|at| tasks.remove(at));
        drop(tasks);
        // Dropped without the lock: what it owns may come back here.
        found.is_some_and(|task| task.live.swap(false, Ordering::AcqRel))
    }

    pub(super) fn begin(&self) -> Result<Turn<'_>, CleanupBusy> {
        let here = std::thread::current().id();
        let mut running = lock(&self.running);
        match *running {
            Some(thread) if thread == here => Err(CleanupBusy::Here),
            Some(_) => Err(CleanupBusy::Elsewhere),
            None => {
                *running = Some(here);
                Ok(Turn(self))
            }
        }
    }

    /// The callbacks of a stage, in the order of their registration.
    pub(super) fn stage(&self, stage: CleanupStage) -> Vec<Arc<Task>> {
        lock(&self.tasks).iter().filter(|task| task.stage == stage).cloned().collect()
    }

    pub(super) fn note(&self, now: Duration, automatic: bool, outcome: CleanupOutcome) {
        let mut record = lock(&self.record);
        record.runs += 1;
        record.automatic += u64::from(automatic);
        (record.last, record.last_outcome) = (Some(now), outcome);
        record.freed = record.freed.saturating_add(outcome.freed);
        record.failed += u64::from(outcome.failed);
    }

    pub(super) fn record(&self) -> CleanupRecord {
        *lock(&self.record)
    }

    pub(super) fn stats(&self) -> Vec<CleanupTaskStats> {
        let of = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let stats = |task: &Arc<Task>| CleanupTaskStats {
            id: task.id,
            stage: task.stage,
            name: task.name.clone(),
            runs: of(&task.runs),
            failed: of(&task.failed),
            freed: of(&task.freed),
            reported: of(&task.reported),
        };
        let mut all: Vec<_> = lock(&self.tasks).iter().map(stats).collect();
        all.sort_by_key(|task| (task.stage, task.id));
        all
    }
}

impl Task {
    /// Calls it, unless it was taken back, and adds what it did to `outcome`. `taken` tells how many bytes are in use now.
    pub(super) fn run(&self, wanted: u64, taken: impl Fn() -> u64, outcome: &mut CleanupOutcome) {
        if !self.live.load(Ordering::Acquire) {
            return;
        }
        let before = taken();
        // Of a callback that panics nothing is looked at afterwards but whether it did.
        let answer = catch_unwind(AssertUnwindSafe(|| (self.call)(wanted))).ok().flatten();
        let freed = before.saturating_sub(taken());
        if answer.is_none() {
            log::error!("the cleanup callback {:?} failed", self.name);
        }
        let (failed, reported) = (answer.is_none(), answer.unwrap_or(0));
        outcome.callbacks += 1;
        outcome.failed += u32::from(failed);
        outcome.freed = outcome.freed.saturating_add(freed);
        outcome.reported = outcome.reported.saturating_add(reported);
        let add = |number: &AtomicU64, by| number.fetch_add(by, Ordering::Relaxed);
        add(&self.runs, 1);
        add(&self.failed, u64::from(failed));
        add(&self.freed, freed);
        add(&self.reported, reported);
    }
}

/// How far below the threshold an automatic cleanup brings a region.
const BACK: f64 = 0.05;

/// Bytes that a region uses beyond where an automatic cleanup with this threshold stops.
pub(super) fn excess(threshold: f64, capacity: u64, used: u64) -> u64 {
    let target = (threshold - BACK).max(threshold / 2.0) * capacity as f64;
    // A negative difference is none.
    (used as f64 - target).max(0.0).round() as u64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section leaves what it changes whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
