//! What the monitor tells when it is asked.

use super::cleanup::{CleanupRecord, CleanupTaskStats};
use super::{Alert, AlertKind, Snapshot, SystemSnapshot};
use crate::guard::MemoryGuard;
use plimsoll_engine::Region;
use std::time::Duration;

/// What a region's snapshots come to, since the guard was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionTrend {
    /// Which.
    pub region: Region,
    /// Snapshots taken.
    pub snapshots: u64,
    /// The most bytes in use, by us and by others.
    pub peak: u64,
    /// Bytes in use on average.
    pub average: u64,
    /// Pressure events: times that it rose to moderate, to high, and to critical or above them.
    pub events: [u64; 3],
}

impl RegionTrend {
    pub(super) fn new(region: Region) -> Self {
        RegionTrend { region, snapshots: 0, peak: 0, average: 0, events: [0; 3] }
    }
}

/// What the monitor knows at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorStats {
    /// Each region's last snapshot and its trend, the host first.
    pub regions: Vec<(Snapshot, RegionTrend)>,
    /// The machine and the process, where something tells of them.
    pub system: Option<SystemSnapshot>,
    /// Active alerts, the first raised first.
    pub alerts: Vec<Alert>,
    /// The last alerts that were cleared, the first cleared first.
    pub cleared: Vec<Alert>,
    /// Times that an alert of each kind was raised, in the order of [`AlertKind::ALL`].
    pub raised: [u64; AlertKind::ALL.len()],
    /// Cleanups so far.
    pub cleanup: CleanupRecord,
    /// Registered callbacks, in the order in which they run.
    pub tasks: Vec<CleanupTaskStats>,
    /// The used fraction above which memory is cleaned up by itself; `None` never.
    pub threshold: Option<f64>,
    /// Time between two snapshots.
    pub interval: Duration,
    /// When this was put together, on the runtime's clock.
    pub now: Duration,
}

/// A region's snapshots, the oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionHistory {
    /// Which.
    pub region: Region,
    /// Snapshots.
    pub snapshots: Vec<Snapshot>,
}

/// The snapshots that are kept, the oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct History {
    /// Each region's, the host first.
    pub regions: Vec<RegionHistory>,
    /// The machine's and the process's; empty where nothing tells of them.
    pub system: Vec<SystemSnapshot>,
    /// Time between two snapshots.
    pub interval: Duration,
    /// When this was put together, on the runtime's clock.
    pub now: Duration,
}

impl MonitorStats {
    /// The last snapshot of a region and its trend.
    pub fn region(&self, region: Region) -> Option<&(Snapshot, RegionTrend)> {
        self.regions.iter().find(|(snapshot, _)| snapshot.region == region)
    }
}

impl MemoryGuard {
    /// What the monitor knows. Where no snapshot was taken yet, one is.
    pub fn monitor(&self) -> MonitorStats {
        let none = self.monitor.watch().tracks.iter().all(|track| track.trend.snapshots == 0);
        // Without an interval each look is one that was asked for.
        if none || self.config.monitor.interval.is_zero() {
            self.look_now();
        }
        let watch = self.monitor.watch();
        let last = watch.tracks.iter().filter_map(|track| Some((*track.snapshots.last()?, track.trend)));
        MonitorStats {
            regions: last.collect(),
            system: watch.system.last().copied(),
            alerts: watch.alerts.active().to_vec(),
            cleared: watch.alerts.cleared().copied().collect(),
            raised: watch.alerts.raised(),
            cleanup: self.monitor.cleanup.record(),
            tasks: self.monitor.cleanup.stats(),
            threshold: self.config.monitor.cleanup,
            interval: self.config.monitor.interval,
            now: self.clock.now(),
        }
    }

    /// Who has how much, how short memory is, what to look at: a table for people, in MiB. Its form may change; for programs
    /// there are [`MemoryGuard::stats`] and [`MemoryGuard::monitor`].
    pub fn report(&self) -> String {
        // The last snapshot may be older than what a load has since put on the heap.
        let heap = self.readings.vitals().and_then(|vitals| vitals.heap);
        let booked = self.books.lock().booked_on_heap().saturating_add(self.pool.idle_on_heap());
        let heap = heap.map(|heap| (heap, heap.saturating_sub(booked)));
        super::report::report(&self.stats(), &self.monitor(), heap)
    }

    /// The snapshots that are kept.
    pub fn history(&self) -> History {
        let watch = self.monitor.watch();
        let region = |track: &super::watch::Track| RegionHistory {
            region: track.trend.region,
            snapshots: track.snapshots.iter().copied().collect(),
        };
        History {
            regions: watch.tracks.iter().map(region).collect(),
            system: watch.system.iter().copied().collect(),
            interval: self.config.monitor.interval,
            now: self.clock.now(),
        }
    }
}
