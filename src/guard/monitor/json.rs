//! The monitor's statistics as JSON. Times ending in `_ms` are milliseconds on the runtime's clock, which
//! begins when it is made.

use super::cleanup::{CleanupOutcome, CleanupTaskStats};
use super::{Alert, AlertKind, History, MonitorStats, RegionTrend, Snapshot, Subject, SystemSnapshot};
use serde_json::{Value, json};
use std::time::Duration;

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn snapshot(snapshot: &Snapshot) -> Value {
    json!({
        "at_ms": millis(snapshot.at),
        "capacity_bytes": snapshot.capacity,
        "used_bytes": snapshot.used(),
        "free_bytes": snapshot.free(),
        "ours_bytes": snapshot.ours,
        "others_bytes": snapshot.others,
        "leasable_bytes": snapshot.leasable,
        "level": snapshot.level.name(),
    })
}

fn region(last: &Snapshot, trend: &RegionTrend) -> Value {
    let mut all = json!({ "region": trend.region.to_string() });
    all["last"] = snapshot(last);
    all["snapshots"] = trend.snapshots.into();
    all["peak_bytes"] = trend.peak.into();
    all["average_bytes"] = trend.average.into();
    let [moderate, high, critical] = trend.events;
    all["pressure_events"] = json!({ "moderate": moderate, "high": high, "critical": critical });
    all
}

fn system(system: &SystemSnapshot) -> Value {
    json!({
        "at_ms": millis(system.at),
        "cpu": system.cpu,
        "cpu_own": system.cpu_own,
        "memory_total_bytes": system.memory_total,
        "memory_available_bytes": system.memory_available,
        "resident_bytes": system.resident,
        "heap_bytes": system.heap,
        "unbooked_bytes": system.unbooked,
    })
}

fn outcome(outcome: &CleanupOutcome) -> Value {
    json!({
        "freed_bytes": outcome.freed,
        "reported_bytes": outcome.reported,
        "kv_bytes": outcome.kv,
        "callbacks": outcome.callbacks,
        "failed": outcome.failed,
    })
}

fn task(task: &CleanupTaskStats) -> Value {
    json!({
        "id": task.id.0,
        "stage": task.stage.name(),
        "name": task.name,
        "runs": task.runs,
        "failed": task.failed,
        "freed_bytes": task.freed,
        "reported_bytes": task.reported,
    })
}

impl Alert {
    /// The alert as a JSON object.
    pub fn to_json(&self) -> Value {
        let mut all = json!({
            "kind": self.kind.name(),
            "text": self.to_string(),
            "value": self.value,
            "threshold": self.threshold,
            "bytes": self.bytes,
            "raised_ms": millis(self.raised),
            "cleared_ms": self.cleared.map(millis),
        });
        match self.subject {
            Subject::Runtime => {}
            Subject::Region(region) => all["region"] = region.to_string().into(),
            Subject::Session(session) => all["session"] = session.0.into(),
            Subject::Leak(suspect, owner) => {
                all["suspect"] = suspect.name().into();
                all["owner"] = owner.map(|owner| owner.to_string()).into();
            }
        }
        all
    }
}

impl MonitorStats {
    /// The alerts as a JSON object: `active`, `cleared` (the last of them), `raised` (how often, by kind).
    pub fn alerts_json(&self) -> Value {
        let raised = AlertKind::ALL.into_iter().zip(self.raised);
        let list = |alerts: &[Alert]| alerts.iter().map(Alert::to_json).collect::<Vec<_>>();
        json!({
            "now_ms": millis(self.now),
            "active": list(&self.alerts),
            "cleared": list(&self.cleared),
            "raised": raised.map(|(kind, times)| (kind.name().to_owned(), times.into())).collect::<serde_json::Map<_, _>>(),
        })
    }

    /// All of it as a JSON object.
    pub fn to_json(&self) -> Value {
        let record = &self.cleanup;
        json!({
            "interval_ms": millis(self.interval),
            "regions": self.regions.iter().map(|(last, trend)| region(last, trend)).collect::<Vec<_>>(),
            "system": self.system.as_ref().map(system),
            "alerts": self.alerts_json(),
            "cleanup": {
                "threshold": self.threshold,
                "runs": record.runs,
                "automatic_runs": record.automatic,
                "last_ms": record.last.map(millis),
                "seconds_since_last": record.last.map(|last| self.now.saturating_sub(last).as_secs_f64()),
                "last": record.last.map(|_| outcome(&record.last_outcome)),
                "freed_bytes": record.freed,
                "failed": record.failed,
                "callbacks": self.tasks.iter().map(task).collect::<Vec<_>>(),
            },
        })
    }
}

impl History {
    /// The snapshots as a JSON object: `regions`, each with its `snapshots`, and `system`, the oldest first.
    pub fn to_json(&self) -> Value {
        let regions = self.regions.iter().map(|region| {
            json!({
                "region": region.region.to_string(),
                "snapshots": region.snapshots.iter().map(snapshot).collect::<Vec<_>>(),
            })
        });
        json!({
            "interval_ms": millis(self.interval),
            "now_ms": millis(self.now),
            "regions": regions.collect::<Vec<_>>(),
            "system": self.system.iter().map(system).collect::<Vec<_>>(),
        })
    }
}
