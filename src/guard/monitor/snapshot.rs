//! What the monitor sees at one moment: of a region, and of the machine.

use plimsoll_engine::{Region, Vitals};
use std::time::Duration;

/// How full a region is to whoever watches it. Other than [`crate::guard::Pressure`] it counts the KV of idle sessions, as the
/// machine does, and no request gives up anything for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum MemoryLevel {
    /// Plenty is left.
    #[default]
    Low = 0,
    /// From 0.60 of the capacity.
    Moderate = 1,
    /// From 0.80.
    High = 2,
    /// From 0.90.
    Critical = 3,
}

/// How far below its beginning a level is left, so that a reading that wavers is no event.
const BACK: f64 = 0.02;

impl MemoryLevel {
    /// Every level, from the lowest.
    pub const ALL: [MemoryLevel; 4] =
        [MemoryLevel::Low, MemoryLevel::Moderate, MemoryLevel::High, MemoryLevel::Critical];

    /// The level's name in logs and statistics.
    pub fn name(self) -> &'static str {
        ["low", "moderate", "high", "critical"][self as usize]
    }

    /// The level after a reading.
    pub(super) fn next(self, levels: &[f64; 3], fraction: f64) -> MemoryLevel {
        let entered = levels.iter().filter(|&&from| fraction >= from).count();
        let held = levels.iter().take(self as usize).filter(|&&from| fraction >= from - BACK).count();
        // Levels rise, so both counts are levels.
        MemoryLevel::ALL[entered.max(held)]
    }
}

/// One region at one moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// When, on the runtime's clock.
    pub at: Duration,
    /// Which.
    pub region: Region,
    /// What there is.
    pub capacity: u64,
    /// What is leased.
    pub ours: u64,
    /// What others use.
    pub others: u64,
    /// What may still be leased, after threshold and reserve.
    pub leasable: u64,
    /// How full that is.
    pub level: MemoryLevel,
}

impl Snapshot {
    /// Bytes in use, by us and by others.
    pub fn used(&self) -> u64 {
        self.ours.saturating_add(self.others)
    }

    /// Bytes in use by nobody.
    pub fn free(&self) -> u64 {
        self.capacity.saturating_sub(self.used())
    }

    /// Of the capacity, the fraction in use.
    pub fn fraction(&self) -> f64 {
        if self.capacity == 0 { 0.0 } else { self.used() as f64 / self.capacity as f64 }
    }
}

/// The machine and the process at one moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SystemSnapshot {
    /// When, on the runtime's clock.
    pub at: Duration,
    /// Of the time of all cores since the snapshot before, the fraction that they were busy, for whomever.
    pub cpu: f64,
    /// Of it, the fraction that they worked for this process.
    pub cpu_own: f64,
    /// The machine's memory in bytes.
    pub memory_total: u64,
    /// Bytes of it that can still be taken.
    pub memory_available: u64,
    /// Bytes of it that this process has in memory.
    pub resident: u64,
    /// Live heap bytes of the library, in a build that counts them.
    pub heap: Option<u64>,
    /// Of these, what the ledger has not booked.
    pub unbooked: Option<u64>,
}

impl SystemSnapshot {
    /// `before` are the figures of the snapshot before, if there was one. `booked` is what the ledger has of the heap.
    pub(super) fn new(at: Duration, now: &Vitals, before: Option<&Vitals>, booked: u64) -> Self {
        let passed = |of: fn(&Vitals) -> u64| of(now).saturating_sub(before.map_or(0, of));
        let time = passed(|vitals| vitals.cpu_time);
        // Counters are read one after the other: rounding must not make more than all.
        let share = |part: u64| if time == 0 { 0.0 } else { (part as f64 / time as f64).min(1.0) };
        SystemSnapshot {
            at,
            cpu: share(passed(|vitals| vitals.cpu_busy)),
            cpu_own: share(passed(|vitals| vitals.cpu_own)),
            memory_total: now.memory_total,
            memory_available: now.memory_available,
            resident: now.resident,
            heap: now.heap,
            unbooked: now.heap.map(|heap| heap.saturating_sub(booked)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_entered_at_once_and_left_late() {
        let levels = [0.60, 0.80, 0.90];
        let mut level = MemoryLevel::Low;
        let walk = [0.0, 0.599, 0.60, 0.59, 0.579, 0.81, 0.79, 0.95, 0.881, 0.879, 0.3, f64::NAN].map(|at| {
            level = level.next(&levels, at);
            level.name()
        });
        let names = "low low moderate moderate low high high critical critical high low low";
        assert_eq!(walk.to_vec(), names.split(' ').collect::<Vec<_>>());
    }

    #[test]
    fn cpu_use_is_of_the_time_between_two_snapshots() {
        let vitals =
            |cpu_time, cpu_busy, cpu_own| Vitals { cpu_time, cpu_busy, cpu_own, ..Vitals::default() };
        let (first, second) = (vitals(1000, 500, 100), vitals(1400, 600, 180));
        let use_of = |now: &Vitals, before: Option<&Vitals>| {
            let snapshot = SystemSnapshot::new(Duration::ZERO, now, before, 0);
            (snapshot.cpu, snapshot.cpu_own)
        };
        assert_eq!(use_of(&first, None), (0.5, 0.1));
        assert_eq!(use_of(&second, Some(&first)), (0.25, 0.2));
        assert_eq!(use_of(&second, Some(&second)), (0.0, 0.0));
        let heap = Vitals { heap: Some(10), ..first };
        let snapshot = |booked| SystemSnapshot::new(Duration::ZERO, &heap, None, booked);
        assert_eq!((snapshot(4).unbooked, snapshot(40).unbooked), (Some(6), Some(0)));
    }
}
