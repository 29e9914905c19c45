//! The monitor's memory: history, trends, rates, leaks, alerts, and how a snapshot goes into them.

use super::alert::{Alert, AlertKind, Alerts, Measured, Subject};
use super::leak::Leaks;
use super::rates::{Counts, Rates};
use super::ring::Ring;
use super::sight::{Near, SESSIONS_AT_ONCE};
use super::snapshot::{MemoryLevel, Snapshot, SystemSnapshot};
use super::{MonitorConfig, stats::RegionTrend};
use crate::guard::GuardError;
use crate::guard::books::{Books, State};
use plimsoll_engine::{Region, Vitals};
use std::time::Duration;

/// While a region stays above the threshold, cleanups are this far apart.
const AGAIN: Duration = Duration::from_secs(30);

/// One region's history and what it comes to.
pub(super) struct Track {
    pub(super) snapshots: Ring<Snapshot>,
    pub(super) trend: RegionTrend,
    // For the average: of all snapshots.
    sum: f64,
    /// When its last automatic cleanup began, while it stays above the threshold.
    cleaned: Option<Duration>,
}

pub(super) struct Watch {
    pub(super) tracks: Vec<Track>,
    pub(super) system: Ring<SystemSnapshot>,
    pub(super) alerts: Alerts,
    vitals: Option<Vitals>,
    rates: Rates,
    lately: Counts,
    leaks: Leaks,
    // Room for what one look at the sessions finds.
    near: Vec<Near>,
}

impl Watch {
    pub(super) fn new(
        config: &MonitorConfig,
        regions: impl Iterator<Item = Region>,
    ) -> Result<Self, GuardError> {
        let track = |region| {
            let (snapshots, trend) = (Ring::new(config.history)?, RegionTrend::new(region));
            Ok(Track { snapshots, trend, sum: 0.0, cleaned: None })
        };
        Ok(Watch {
            tracks: regions.map(track).collect::<Result<_, _>>()?,
            system: Ring::new(config.history)?,
            alerts: Alerts::new()?,
            vitals: None,
            rates: Rates::new(config.window)?,
            lately: Counts::default(),
            leaks: Leaks::new(config.leak_window, config.interval)?,
            near: Vec::with_capacity(SESSIONS_AT_ONCE),
        })
    }

    /// Takes in the books as they are, and the machine's figures. `idle` bytes lie on the heap in the pool, in no owner's name.
    pub(super) fn take(
        &mut self,
        now: Duration,
        state: &State,
        idle: u64,
        vitals: Option<Vitals>,
        models: u64,
        config: &MonitorConfig,
    ) {
        for track in &mut self.tracks {
            if let Some(book) = state.ledger.region(track.trend.region) {
                let (ours, others, leasable) = (book.used, book.others, book.free());
                let (region, capacity, level) = (book.region, book.capacity, MemoryLevel::Low);
                track.take(Snapshot { at: now, region, capacity, ours, others, leasable, level }, config);
            }
        }
        let booked = state.booked_on_heap().saturating_add(idle);
        let mut unbooked = 0;
        if let Some(vitals) = vitals {
            let system = SystemSnapshot::new(now, &vitals, self.vitals.as_ref(), booked);
            unbooked = system.unbooked.unwrap_or(0);
            self.system.push(system);
            self.vitals = Some(vitals);
        }
        self.lately = self.rates.take(state.counts(now));
        let patience = self.leaks.slot();
        self.leaks.take(now, &state.measures(models, unbooked, now, patience));
    }

    /// Begins a round of alerts with all that is not about sessions.
    pub(super) fn begin(&mut self, now: Duration, config: &MonitorConfig, changes: &mut Vec<Alert>) {
        self.alerts.begin();
        let mut measure = |kind, subject, value, threshold, bytes| {
            self.alerts.measure(now, Measured { kind, subject, value, threshold, bytes }, changes);
        };
        for snapshot in self.tracks.iter().filter_map(|track| track.snapshots.last()) {
            let (subject, fraction) = (Subject::Region(snapshot.region), snapshot.fraction());
            measure(AlertKind::Pressure, subject, fraction, config.pressure, snapshot.used());
        }
        let Counts { decided, rejected, evictions, .. } = self.lately;
        if decided >= config.refusals_least.max(1) {
            let share = rejected as f64 / decided as f64;
            measure(AlertKind::Refusals, Subject::Runtime, share, config.refusals, 0);
        }
        let evictions = self.rates.per_minute(evictions);
        measure(AlertKind::Evictions, Subject::Runtime, evictions, config.evictions, 0);
        for finding in self.leaks.findings() {
            let subject = Subject::Leak(finding.suspect, finding.owner);
            // Where the object is gone, anything is too much.
            let threshold = if finding.owner.is_some() { 0.0 } else { config.leak_rise };
            measure(AlertKind::Leak, subject, finding.rise, threshold, finding.bytes);
        }
    }

    /// Goes on with some sessions, of which the books know. Returns where to go on from, if there are more.
    pub(super) fn sessions(
        &mut self,
        now: Duration,
        books: &Books,
        from: usize,
        config: &MonitorConfig,
        changes: &mut Vec<Alert>,
    ) -> Option<usize> {
        let (kind, threshold) = (AlertKind::Session, config.session);
        self.near.clear();
        // Those that hold less have no alert any more.
        let next = books.lock().near_limit(from, kind.clears_at(threshold), &mut self.near);
        for &Near { key, bytes, share } in &self.near {
            let subject = Subject::Session(key);
            self.alerts.measure(now, Measured { kind, subject, value: share, threshold, bytes }, changes);
        }
        next
    }

    /// Ends the round.
    pub(super) fn end(&mut self, now: Duration, changes: &mut Vec<Alert>) {
        self.alerts.end(now, changes);
    }

    /// The regions that an automatic cleanup should bring back below the threshold now; `None` where it need not run.
    pub(super) fn overfull(&mut self, now: Duration, config: &MonitorConfig) -> Option<Vec<Region>> {
        let threshold = config.cleanup?;
        let mut due = false;
        for track in &mut self.tracks {
            if track.fraction() <= threshold {
                track.cleaned = None;
            } else if track.cleaned.is_none_or(|cleaned| now.saturating_sub(cleaned) >= AGAIN) {
                (track.cleaned, due) = (Some(now), true);
            }
        }
        let overfull = self.tracks.iter().filter(|track| track.fraction() > threshold);
        due.then(|| overfull.map(|track| track.trend.region).collect())
    }
}

impl Track {
    fn fraction(&self) -> f64 {
        self.snapshots.last().map_or(0.0, Snapshot::fraction)
    }

    fn take(&mut self, mut snapshot: Snapshot, config: &MonitorConfig) {
        let trend = &mut self.trend;
        let before = self.snapshots.last().map_or(MemoryLevel::Low, |last| last.level);
        snapshot.level = before.next(&config.levels, snapshot.fraction());
        for level in MemoryLevel::ALL.into_iter().filter(|&level| level > before && level <= snapshot.level) {
            trend.events[level as usize - 1] += 1;
        }
        if snapshot.level > before {
            let (region, name) = (snapshot.region, snapshot.level.name());
            log::info!("{region} memory is {name} now, {} before", before.name());
        }
        self.sum += snapshot.used() as f64;
        trend.snapshots += 1;
        trend.peak = trend.peak.max(snapshot.used());
        // At least one snapshot was taken; a float's 53 bits err by less than a page below 64 PiB.
        trend.average = (self.sum / trend.snapshots as f64) as u64;
        self.snapshots.push(snapshot);
    }
}
