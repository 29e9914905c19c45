//! The runtime's side of the memory monitor: its settings, ticks, statistics and cleanups.

use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::guard::{CleanupBusy, CleanupOutcome, MonitorConfig};
use crate::runtime::Runtime;
use std::time::Duration;

impl Runtime {
    /// Takes a snapshot of memory if the monitor's interval has passed since the last one; alerts and cleanups follow from it.
    /// A runtime with a thread of its own does so by itself.
    pub fn tick(&self) {
        self.guard().tick();
    }

    /// The memory statistics as a JSON object: [`crate::guard::MemoryStats::to_json`], and under `monitor` what the monitor knows,
    /// [`MonitorStats::to_json`](crate::guard::MonitorStats::to_json); under `process` what the library holds of it.
    pub fn memory_json(&self) -> serde_json::Value {
        let stats = self.memory();
        let mut all = stats.to_json();
        all["process"] = self.process_memory(stats.host().used).to_json();
        all["monitor"] = self.guard().monitor().to_json();
        all
    }

    /// Who has how much, how short memory is, what to look at: a table for people, in MiB. Its form may change; for programs
    /// there is [`Runtime::memory_json`].
    pub fn memory_report(&self) -> String {
        self.guard().report()
    }

    /// Frees what can be: caches and pools, the KV of all idle sessions, whose conversations stay, and what callbacks of the
    /// host free ([`crate::guard::MemoryGuard::on_cleanup`]).
    ///
    /// # Errors
    /// `Busy` while another thread does so, `Reentrant` from a cleanup callback.
    pub fn cleanup(&self) -> Result<CleanupOutcome> {
        self.guard().cleanup().map_err(|busy| {
            let code = match busy {
                CleanupBusy::Elsewhere => ErrorCode::Busy,
                CleanupBusy::Here => ErrorCode::Reentrant,
            };
            Error::caused(code, &busy)
        })
    }
}

/// The monitor's settings among a runtime's.
pub(crate) fn monitor_config(config: &Config) -> MonitorConfig {
    let default = MonitorConfig::default();
    let fraction = |key, default| config.fraction(key).unwrap_or(default);
    let seconds = |key, default| config.seconds(key).unwrap_or(default);
    let cleanup = fraction("monitor.cleanup_threshold", default.cleanup.unwrap_or(1.0));
    MonitorConfig {
        interval: config.integer("monitor.interval_ms").map_or(default.interval, Duration::from_millis),
        history: config.integer("monitor.history").map_or(default.history, |most| most as usize),
        levels: config.marks("monitor.levels").unwrap_or(default.levels),
        pressure: fraction("monitor.alert_pressure", default.pressure),
        session: fraction("monitor.alert_session", default.session),
        refusals: fraction("monitor.alert_refusals", default.refusals),
        refusals_least: config.integer("monitor.alert_refusals_least").unwrap_or(default.refusals_least),
        evictions: config.integer("monitor.alert_evictions").map_or(default.evictions, |most| most as f64),
        window: seconds("monitor.alert_window_s", default.window),
        cleanup: (config.name("monitor.cleanup") != Some("off")).then_some(cleanup),
        leak_rise: fraction("monitor.leak_rise", default.leak_rise),
        leak_window: seconds("monitor.leak_window_s", default.leak_window),
    }
}
