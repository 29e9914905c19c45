//! Time, entropy and memory readings, as traits, so that guard and scheduler also run in a simulator.

use crate::Region;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A clock that never goes back. Its origin means nothing; differences do.
pub trait Clock: Send + Sync {
    /// Time since the clock's origin.
    fn now(&self) -> Duration;
}

/// The machine's monotonic clock.
#[derive(Debug)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    fn default() -> Self {
        SystemClock(Instant::now())
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that stands still until it is moved: for tests and the simulator.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// Moves the clock on. The resolution is a nanosecond; it saturates after 584 years.
    pub fn advance(&self, by: Duration) {
        let nanos = u64::try_from(by.as_nanos()).unwrap_or(u64::MAX);
        // Saturation keeps it from going back; the result is not needed.
        let _ =
            self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |now| Some(now.saturating_add(nanos)));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::Acquire))
    }
}

/// A source of seeds for requests that name none.
pub trait Entropy: Send + Sync {
    /// A fresh seed.
    fn seed(&self) -> u64;
}

/// Seeds from the standard library's randomly keyed hasher: distinct, not secret.
#[derive(Debug, Default)]
pub struct SystemEntropy(AtomicU64);

impl Entropy for SystemEntropy {
    fn seed(&self) -> u64 {
        let mut hasher = RandomState::new().build_hasher();
        hasher.write_u64(self.0.fetch_add(1, Ordering::Relaxed));
        hasher.finish()
    }
}

/// What a region offers, as the system tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// Bytes that this process could use in all: the smallest limit above it, or the machine's memory.
    pub capacity: u64,
    /// Bytes of it in use by anyone, page cache that can be dropped left out.
    pub used: u64,
}

/// What the system tells of the machine and of this process, beside the regions. Counters only grow; their unit is any, the
/// same for all three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// Time of all cores together, busy or not.
    pub cpu_time: u64,
    /// Of it, the time that they were busy, for whomever.
    pub cpu_busy: u64,
    /// Of it, the time that they worked for this process.
    pub cpu_own: u64,
    /// The machine's memory in bytes, whatever bounds the process.
    pub memory_total: u64,
    /// Bytes of it that can still be taken.
    pub memory_available: u64,
    /// Bytes of it that this process has in memory.
    pub resident: u64,
    /// Live heap bytes of the library, where something counts them.
    pub heap: Option<u64>,
}

/// Reads a region's capacity and use.
pub trait MemoryProbe: Send + Sync {
    /// The present reading, or `None` where the region cannot be read.
    fn read(&self, region: Region) -> Option<Reading>;

    /// The machine and the process now, or `None` where nothing tells of them.
    fn vitals(&self) -> Option<Vitals> {
        None
    }

    /// Gives what the process has freed back to the machine, where an allocator would keep it: readings tell of it then.
    fn give_back(&self) {}
}

/// A fixed answer, settable from a test.
impl MemoryProbe for Mutex<Option<Reading>> {
    fn read(&self, _: Region) -> Option<Reading> {
        self.lock().ok().and_then(|reading| *reading)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_saturates() {
        let clock = ManualClock::default();
        clock.advance(Duration::from_secs(2));
        assert_eq!(clock.now(), Duration::from_secs(2));
        clock.advance(Duration::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn seeds_differ() {
        let entropy = SystemEntropy::default();
        assert_ne!(entropy.seed(), entropy.seed());
    }
}
