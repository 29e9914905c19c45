//! Memory statistics, as numbers and as JSON.

use super::verdict::Decision;
use super::{MemoryGuard, PoolStats, Pressure, Purpose};
use plimsoll_engine::{Owner, Region, SessionKey};
use serde_json::{Value, json};
use std::time::Duration;

/// How often the guard decided what.
#[derive(Clone, Copy, Default)]
pub(super) struct Tally {
    accepted: u64,
    shrunk: u64,
    rejected: u64,
    routed: u64,
    pub(super) evictions: u64,
    pub(super) degraded: u64,
    pub(super) pressure_changes: u64,
    pub(super) waited: u64,
    pub(super) longest_wait: Duration,
    pub(super) recoveries: u64,
    pub(super) recovery_failures: u64,
    pub(super) unloads: u64,
    pub(super) reloads: u64,
}

impl Tally {
    /// Decisions so far, and those of them that refused.
    pub(super) fn decided(&self) -> (u64, u64) {
        let decided = self.accepted + self.shrunk + self.routed + self.rejected;
        (decided, self.rejected)
    }

    pub(super) fn count(&mut self, decision: Decision) {
        match decision {
            Decision::Accept => self.accepted += 1,
            Decision::Shrink => self.shrunk += 1,
            Decision::Route => self.routed += 1,
            Decision::Reject => self.rejected += 1,
        }
    }
}

/// One region, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegionStats {
    /// Which.
    pub region: Region,
    /// What there is.
    pub capacity: u64,
    /// What may be leased, after threshold and reserve.
    pub limit: u64,
    /// What is leased.
    pub used: u64,
    /// What is used and leased by nobody: by others and, in a configured budget, by conversations.
    pub others: u64,
    /// What is left: `limit` less `used` less `others`.
    pub free: u64,
    /// The most that was ever leased.
    pub peak: u64,
    /// How short it is.
    pub pressure: Pressure,
}

/// One open session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionStats {
    /// Which.
    pub id: SessionKey,
    /// KV bytes it holds.
    pub kv_bytes: u64,
    /// Its KV limit in bytes.
    pub limit: u64,
    /// Requests granted to it.
    pub requests: u64,
    /// Times it lost its KV.
    pub evictions: u64,
    /// Whether it has a grant now.
    pub busy: bool,
    /// Time since its last grant or its end; zero while it is busy.
    pub idle: Duration,
    /// Time since it was opened.
    pub age: Duration,
}

/// One owner in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerStats {
    /// Where.
    pub region: Region,
    /// Whose.
    pub owner: Owner,
    /// Bytes leased.
    pub bytes: u64,
}

/// A snapshot of the guard, taken at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryStats {
    /// All regions, the host first.
    pub regions: Vec<RegionStats>,
    /// Open sessions, by id.
    pub session_details: Vec<SessionStats>,
    /// Open sessions.
    pub active_sessions: u64,
    /// Bytes leased for weights, in all regions.
    pub weights_bytes: u64,
    /// Bytes leased for workspaces, in all regions.
    pub workspace_bytes: u64,
    /// Bytes leased for KV, in all regions.
    pub total_kv_bytes: u64,
    /// Host bytes leased for requests that run and for grants not yet used.
    pub request_bytes: u64,
    /// Host bytes leased for tokenizers and chat templates.
    pub text_bytes: u64,
    /// Host bytes leased for engines' queues and tables, and for descriptions of models.
    pub tables_bytes: u64,
    /// Requests granted as asked.
    pub accepted_count: u64,
    /// Requests granted with fewer tokens.
    pub shrunk_count: u64,
    /// Requests refused.
    pub rejected_count: u64,
    /// Requests handed to another engine; a guard alone never does.
    pub routed_count: u64,
    /// Requests granted while memory was under pressure, with what its level allowed.
    pub degraded_count: u64,
    /// Requests that wait for bytes now.
    pub waiting: u64,
    /// Requests granted after they had waited.
    pub waited_count: u64,
    /// The longest that one of them waited.
    pub longest_wait: Duration,
    /// How short memory is, over all regions.
    pub pressure: Pressure,
    /// Times that this changed.
    pub pressure_changes: u64,
    /// Times an open session lost its KV.
    pub evictions: u64,
    /// Times granted memory was refused by the system, and was there after a cleanup.
    pub recoveries: u64,
    /// Times it was refused again, and a request or a load failed for it.
    pub recovery_failures: u64,
    /// Models that can be unloaded, and are loaded or about to be.
    pub models_loaded: u64,
    /// Models that are unloaded until their next request.
    pub models_unloaded: u64,
    /// Times a model was unloaded, to make room or because it was asked for.
    pub unloads: u64,
    /// Times an unloaded model was loaded again.
    pub reloads: u64,
    /// The pool.
    pub pool: PoolStats,
    /// All owners with bytes, by region and owner.
    pub ledger: Vec<OwnerStats>,
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn gib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 30)
}

fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl RegionStats {
    /// Bytes used by us and by others.
    pub fn taken(&self) -> u64 {
        self.used.saturating_add(self.others)
    }
}

impl MemoryStats {
    /// The host's numbers.
    pub fn host(&self) -> RegionStats {
        let none = RegionStats {
            region: Region::Host,
            capacity: 0,
            limit: 0,
            used: 0,
            others: 0,
            free: 0,
            peak: 0,
            pressure: Pressure::Low,
        };
        self.region(Region::Host).copied().unwrap_or(none)
    }

    /// The region's numbers, if the guard manages it.
    pub fn region(&self, region: Region) -> Option<&RegionStats> {
        self.regions.iter().find(|stats| stats.region == region)
    }

    /// The statistics as a JSON object. `mb` and `gb` are 2^20 and 2^30 bytes; `gpu_usage` is a fraction of all devices'
    /// capacity; fields in bytes say so. Session ids are numbers. `metrics` has figures of the same moment under the
    /// names that dashboards ask for; its `memory_pressure_gauge` is 0 (low) to 4 (emergency).
    pub fn to_json(&self) -> Value {
        let devices = || self.regions.iter().filter(|stats| stats.region != Region::Host);
        let sum = |part: fn(&RegionStats) -> u64| devices().map(part).fold(0, u64::saturating_add);
        let gpu_memory: Vec<Value> = devices()
            .map(|stats| {
                json!({
                    "gpu_id": match stats.region { Region::Device(index) => Some(index), _ => None },
                    "free_gb": gib(stats.free),
                    "total_gb": gib(stats.capacity),
                    "used_gb": gib(stats.taken()),
                    "usage_percent": 100.0 * fraction(stats.taken(), stats.capacity),
                })
            })
            .collect();
        let sessions: Vec<Value> = self
            .session_details
            .iter()
            .map(|session| {
                json!({
                    "id": session.id.0,
                    "kv_mb": mib(session.kv_bytes),
                    "kv_bytes": session.kv_bytes,
                    "limit_bytes": session.limit,
                    "requests": session.requests,
                    "evictions": session.evictions,
                    "busy": session.busy,
                    "idle_seconds": session.idle.as_secs_f64(),
                    "age_seconds": session.age.as_secs_f64(),
                })
            })
            .collect();
        let regions: Vec<Value> = self
            .regions
            .iter()
            .map(|stats| {
                json!({
                    "region": stats.region.to_string(),
                    "capacity_bytes": stats.capacity,
                    "limit_bytes": stats.limit,
                    "used_bytes": stats.used,
                    "others_bytes": stats.others,
                    "free_bytes": stats.free,
                    "peak_bytes": stats.peak,
                    "pressure": stats.pressure.name(),
                })
            })
            .collect();
        let pool = json!({
            "in_use_bytes": self.pool.in_use_bytes,
            "idle_bytes": self.pool.idle_bytes,
            "limit_bytes": self.pool.limit_bytes,
            "buffers_in_use": self.pool.buffers_in_use,
            "buffers_idle": self.pool.buffers_idle,
            "hits": self.pool.hits,
            "misses": self.pool.misses,
            "evictions": self.pool.evictions,
            "engine": {
                "in_use_bytes": self.pool.engine.in_use_bytes,
                "idle_bytes": self.pool.engine.idle_bytes,
                "buffers_in_use": self.pool.engine.buffers_in_use,
                "buffers_idle": self.pool.engine.buffers_idle,
                "hits": self.pool.engine.hits,
                "misses": self.pool.engine.misses,
                "evictions": self.pool.engine.evictions,
            },
        });
        let decided = [self.accepted_count, self.shrunk_count, self.rejected_count, self.routed_count];
        let decided = decided.into_iter().fold(0, u64::saturating_add);
        let ledger: Vec<Value> = self
            .ledger
            .iter()
            .map(|entry| {
                json!({
                    "region": entry.region.to_string(),
                    "owner": entry.owner.to_string(),
                    "purpose": Purpose::of(entry.owner).name(),
                    "bytes": entry.bytes,
                })
            })
            .collect();
        json!({
            "active_sessions": self.active_sessions,
            "total_kv_mb": mib(self.total_kv_bytes),
            "gpu_usage": fraction(sum(RegionStats::taken), sum(|stats| stats.capacity)),
            "gpu_free_mb": mib(sum(|stats| stats.free)),
            "session_details": sessions,
            "gpu_memory": gpu_memory,
            "regions": regions,
            "accepted_count": self.accepted_count,
            "shrunk_count": self.shrunk_count,
            "rejected_count": self.rejected_count,
            "routed_count": self.routed_count,
            "routed_4gpu_count": self.routed_count,
            "route4_gpu_requests": self.routed_count,
            "route4_percentage": 100.0 * fraction(self.routed_count, decided),
            "degraded_count": self.degraded_count,
            "waiting": self.waiting,
            "waited_count": self.waited_count,
            "longest_wait_seconds": self.longest_wait.as_secs_f64(),
            "pressure": self.pressure.name(),
            "pressure_changes": self.pressure_changes,
            "evictions": self.evictions,
            "recoveries": self.recoveries,
            "recovery_failures": self.recovery_failures,
            "models_loaded": self.models_loaded,
            "models_unloaded": self.models_unloaded,
            "unloads": self.unloads,
            "reloads": self.reloads,
            "pool": pool,
            "ledger": ledger,
            "metrics": {
                "kv_bytes_in_use": self.total_kv_bytes,
                "kv_in_use_mb": mib(self.total_kv_bytes),
                "sessions_active": self.active_sessions,
                "sessions_evicted_total": self.evictions,
                "models_loaded": self.models_loaded,
                "models_unloaded_total": self.unloads,
                "models_reloaded_total": self.reloads,
                "gpu_mem_used_bytes": sum(RegionStats::taken),
                "memory_pressure_gauge": self.pressure as i32,
                "admission_rejected_total": self.rejected_count,
                "degradation_triggered_total": self.degraded_count,
            },
        })
    }
}

impl MemoryGuard {
    /// A snapshot of regions, sessions, decisions and the ledger.
    pub fn stats(&self) -> MemoryStats {
        let pressure = self.observe();
        let now = self.clock.now();
        let pool = self.pool_stats();
        let state = self.books.lock();
        let books = state.ledger.regions();
        let regions = books
            .iter()
            .map(|book| RegionStats {
                region: book.region,
                capacity: book.capacity,
                limit: book.limit,
                used: book.used,
                others: book.others,
                free: book.free(),
                peak: book.peak,
                pressure: book.pressure,
            })
            .collect();
        let mut session_details: Vec<SessionStats> = state.sessions.stats(now).collect();
        let mut ledger: Vec<OwnerStats> = books
            .iter()
            .flat_map(|book| {
                book.owners().map(|(owner, bytes)| OwnerStats { region: book.region, owner, bytes })
            })
            .collect();
        let (models_loaded, models_unloaded) = state.sessions.models.counts();
        let (bytes, tally) = (|purpose| state.ledger.purpose(purpose), state.tally);
        let stats = MemoryStats {
            regions,
            active_sessions: session_details.len() as u64,
            session_details: Vec::new(),
            weights_bytes: bytes(Purpose::Weights),
            workspace_bytes: bytes(Purpose::Workspace),
            total_kv_bytes: bytes(Purpose::Kv),
            request_bytes: bytes(Purpose::Request),
            text_bytes: bytes(Purpose::Text),
            tables_bytes: bytes(Purpose::Tables),
            accepted_count: tally.accepted,
            shrunk_count: tally.shrunk,
            rejected_count: tally.rejected,
            routed_count: tally.routed,
            degraded_count: tally.degraded,
            waiting: state.line.len() as u64,
            waited_count: tally.waited,
            longest_wait: tally.longest_wait,
            pressure,
            pressure_changes: tally.pressure_changes,
            evictions: tally.evictions,
            recoveries: tally.recoveries,
            recovery_failures: tally.recovery_failures,
            models_loaded,
            models_unloaded,
            unloads: tally.unloads,
            reloads: tally.reloads,
            pool,
            ledger: Vec::new(),
        };
        drop(state);
        session_details.sort_unstable_by_key(|session| session.id);
        ledger.sort_unstable_by_key(|entry| (entry.region, entry.owner));
        MemoryStats { session_details, ledger, ..stats }
    }
}
