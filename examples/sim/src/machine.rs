//! The machine of a simulation: how much memory there is, what others take of it, and what a probe tells about it.

use plimsoll_engine::{MemoryProbe, Reading, Region};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// What a probe answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sight {
    /// What is so.
    #[default]
    Clear,
    /// The same reading again and again: what it was when sight was lost.
    Stale(Option<Reading>),
    /// Nothing.
    Blind,
}

/// Host memory that is only counted. All figures are bytes.
#[derive(Debug)]
pub struct Machine {
    /// What there is; never more is handed out.
    physical: u64,
    /// What readings call the capacity: the limit of a control group, say.
    capacity: AtomicU64,
    others: AtomicU64,
    fixed: u64,
    kv: AtomicU64,
    requests: AtomicU64,
    sight: Mutex<Sight>,
}

impl Machine {
    /// A machine of which `fixed` bytes are a model's weights and workspace.
    pub fn new(physical: u64, fixed: u64) -> Machine {
        Machine {
            physical,
            capacity: AtomicU64::new(physical),
            others: AtomicU64::new(0),
            fixed,
            kv: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            sight: Mutex::default(),
        }
    }

    /// Takes bytes for KV, if there are so many.
    pub fn take_kv(&self, bytes: u64) -> bool {
        let fits = self.held().saturating_add(bytes) <= self.physical;
        if fits {
            self.kv.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// Gives KV back.
    pub fn free_kv(&self, bytes: u64) {
        self.kv.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// KV held.
    pub fn kv(&self) -> u64 {
        self.kv.load(Ordering::Relaxed)
    }

    /// A request's host bytes come (`true`) or go.
    pub fn count_request(&self, bytes: u64, comes: bool) {
        if comes {
            self.requests.fetch_add(bytes, Ordering::Relaxed);
        } else {
            self.requests.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    /// What there is.
    pub fn physical(&self) -> u64 {
        self.physical
    }

    /// What others hold.
    pub fn others(&self) -> u64 {
        self.others.load(Ordering::Relaxed)
    }

    /// From now on others hold this.
    pub fn set_others(&self, bytes: u64) {
        self.others.store(bytes, Ordering::Relaxed);
    }

    /// From now on readings call this the capacity.
    pub fn set_capacity(&self, bytes: u64) {
        self.capacity.store(bytes, Ordering::Relaxed);
    }

    /// From now on the probe sees like this; what is stale is what it would have said just now.
    pub fn set_sight(&self, sight: Sight) {
        let sight = match sight {
            Sight::Stale(None) => Sight::Stale(Some(self.reading())),
            other => other,
        };
        *self.sight.lock().unwrap_or_else(PoisonError::into_inner) = sight;
    }

    fn held(&self) -> u64 {
        [&self.kv, &self.requests, &self.others]
            .iter()
            .fold(self.fixed, |sum, part| sum.saturating_add(part.load(Ordering::Relaxed)))
    }

    fn reading(&self) -> Reading {
        Reading { capacity: self.capacity.load(Ordering::Relaxed), used: self.held() }
    }
}

impl MemoryProbe for Machine {
    fn read(&self, region: Region) -> Option<Reading> {
        if region != Region::Host {
            return None;
        }
        match *self.sight.lock().unwrap_or_else(PoisonError::into_inner) {
            Sight::Clear => Some(self.reading()),
            Sight::Stale(reading) => reading,
            Sight::Blind => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readings_follow_the_machine_unless_sight_is_lost() {
        let machine = Machine::new(1000, 300);
        let used = || machine.read(Region::Host).map(|reading| reading.used);
        assert!(machine.take_kv(500));
        assert!(!machine.take_kv(201));
        machine.count_request(20, true);
        machine.set_others(50);
        assert_eq!((used(), machine.read(Region::Device(0))), (Some(870), None));
        machine.set_sight(Sight::Stale(None));
        machine.free_kv(500);
        assert_eq!(used(), Some(870));
        machine.set_sight(Sight::Blind);
        assert_eq!(used(), None);
        machine.set_sight(Sight::Clear);
        machine.set_capacity(700);
        assert_eq!(machine.read(Region::Host), Some(Reading { capacity: 700, used: 370 }));
    }
}
