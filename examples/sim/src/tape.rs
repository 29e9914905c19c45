//! A tape: what a run learnt from outside of it, in order. Recording, it passes on and remembers; playing, it says the same
//! again.

use plimsoll_engine::{Clock, MemoryProbe, Reading, Region};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What was learnt during one event.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learnt {
    /// Each reading of the clock, in nanoseconds.
    pub times: VecDeque<u64>,
    /// Each reading of the host's memory: capacity and use in bytes, or none.
    #[serde(default, skip_serializing_if = "VecDeque::is_empty")]
    pub readings: VecDeque<Option<(u64, u64)>>,
}

/// Where a tape's answers come from.
enum Source {
    Outside(Arc<dyn Clock>, Arc<dyn MemoryProbe>),
    Tape,
}

/// A clock and a probe.
pub struct Tape {
    source: Source,
    learnt: Mutex<Learnt>,
    last: Mutex<Last>,
}

#[derive(Clone, Copy, Default)]
struct Last {
    time: u64,
    reading: Option<(u64, u64)>,
    /// More was asked than is on the tape.
    short: bool,
}

impl Tape {
    /// A tape that records what these say.
    pub fn recording(clock: Arc<dyn Clock>, probe: Arc<dyn MemoryProbe>) -> Tape {
        Tape { source: Source::Outside(clock, probe), learnt: Mutex::default(), last: Mutex::default() }
    }

    /// A tape that plays what is put on it.
    pub fn playing() -> Tape {
        Tape { source: Source::Tape, learnt: Mutex::default(), last: Mutex::default() }
    }

    /// What was learnt since the last call; of a tape that plays, what was not asked for.
    pub fn take(&self) -> Learnt {
        std::mem::take(&mut *lock(&self.learnt))
    }

    /// What is played next.
    pub fn put(&self, learnt: Learnt) {
        *lock(&self.learnt) = learnt;
    }

    /// Whether more was asked for than was on the tape.
    pub fn is_short(&self) -> bool {
        lock(&self.last).short
    }
}

impl Clock for Tape {
    fn now(&self) -> Duration {
        let nanos = match &self.source {
            Source::Outside(clock, _) => {
                let now = u64::try_from(clock.now().as_nanos()).unwrap_or(u64::MAX);
                lock(&self.learnt).times.push_back(now);
                now
            }
            Source::Tape => {
                let (next, mut last) = (lock(&self.learnt).times.pop_front(), lock(&self.last));
                last.short |= next.is_none();
                last.time = next.unwrap_or(last.time);
                last.time
            }
        };
        Duration::from_nanos(nanos)
    }
}

impl MemoryProbe for Tape {
    fn read(&self, region: Region) -> Option<Reading> {
        if region != Region::Host {
            return None;
        }
        let reading = match &self.source {
            Source::Outside(_, probe) => {
                let reading = probe.read(region).map(|reading| (reading.capacity, reading.used));
                lock(&self.learnt).readings.push_back(reading);
                reading
            }
            Source::Tape => {
                let (next, mut last) = (lock(&self.learnt).readings.pop_front(), lock(&self.last));
                last.short |= next.is_none();
                last.reading = next.unwrap_or(last.reading);
                last.reading
            }
        };
        reading.map(|(capacity, used)| Reading { capacity, used })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each critical section leaves what it changes whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_engine::ManualClock;

    #[test]
    fn what_was_recorded_is_played() {
        let clock = Arc::new(ManualClock::default());
        let probe = Arc::new(Mutex::new(Some(Reading { capacity: 9, used: 4 })));
        let tape = Tape::recording(clock.clone(), probe.clone());
        let ask = |tape: &Tape| (tape.now(), tape.read(Region::Host), tape.read(Region::Device(0)));
        clock.advance(Duration::from_nanos(7));
        let first = ask(&tape);
        *probe.lock().unwrap() = None;
        clock.advance(Duration::from_nanos(1));
        let second = ask(&tape);
        let player = Tape::playing();
        player.put(tape.take());
        assert_eq!((ask(&player), ask(&player)), (first, second));
        assert!(!player.is_short() && player.take() == Learnt::default());
        assert_eq!(ask(&player).0, second.0);
        assert!(player.is_short());
    }
}
