//! The guard's limits.

use super::{GuardError, Levels, MonitorConfig};
use std::time::Duration;

const MIB: u64 = 1 << 20;

/// The longest [`GuardConfig::reclaim_deadline`].
const LONGEST_RECLAIM: Duration = Duration::from_secs(3600);

/// How much may be used, and how long things may take. `Default` gives the figures in brackets.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardConfig {
    /// Host bytes to work with; what others use is then left out of the sums. `None`, the default, asks the probe.
    pub budget: Option<u64>,
    /// Device regions made up of a number of bytes, by index; for tests and simulators; empty by default.
    pub device_budgets: Vec<(u8, u64)>,
    /// Fraction of a region's capacity that may be used, above 0 and at most 1 [0.85].
    pub threshold: f64,
    /// Bytes of each region that stay free whatever the threshold says. `None`, the default, is a tenth of the capacity,
    /// at most 2048 MiB.
    pub reserve: Option<u64>,
    /// Most KV bytes of one session, unless the session names its own limit [512 MiB].
    pub session_limit: u64,
    /// Most KV bytes of all sessions, over all regions [20 GiB].
    pub kv_limit: u64,
    /// A session unused for this long loses its KV at the next [`super::MemoryGuard::evict_idle`] [300 s].
    pub idle_timeout: Duration,
    /// How long a ticket may stay unused. The guard only carries the figure; whoever keeps tickets drops them [60 s].
    pub ticket_ttl: Duration,
    /// How long engines may take to give back the KV of evicted sessions before the request that needs it is refused;
    /// at most an hour [1 s].
    pub reclaim_deadline: Duration,
    /// Most requests that wait for bytes at once \[256\].
    pub queue: usize,
    /// Where the levels of pressure begin; `None` degrades nobody.
    pub pressure: Option<Levels>,
    /// How often the monitor looks, and where it speaks up.
    pub monitor: MonitorConfig,
    /// Most bytes of idle buffers in the pool [2048 MiB].
    pub pool_limit: u64,
    /// A buffer unused for this long goes back to the system at the next [`super::MemoryGuard::sweep_pool`] [300 s].
    pub pool_timeout: Duration,
}

impl Default for GuardConfig {
    fn default() -> Self {
        GuardConfig {
            budget: None,
            device_budgets: Vec::new(),
            threshold: 0.85,
            reserve: None,
            session_limit: 512 * MIB,
            kv_limit: 20 * 1024 * MIB,
            idle_timeout: Duration::from_secs(300),
            ticket_ttl: Duration::from_secs(60),
            reclaim_deadline: Duration::from_secs(1),
            queue: 256,
            pressure: Some(Levels::default()),
            monitor: MonitorConfig::default(),
            pool_limit: 2048 * MIB,
            pool_timeout: Duration::from_secs(300),
        }
    }
}

impl GuardConfig {
    /// Checks each setting by itself.
    pub(super) fn validate(&self) -> Result<(), GuardError> {
        if !(self.threshold > 0.0 && self.threshold <= 1.0) {
            let value = self.threshold.to_string();
            return Err(GuardError::Config { name: "threshold", value, range: "above 0 and at most 1" });
        }
        if self.reclaim_deadline > LONGEST_RECLAIM {
            let value = format!("{:?}", self.reclaim_deadline);
            return Err(GuardError::Config { name: "reclaim_deadline", value, range: "at most an hour" });
        }
        if let Some(levels) = &self.pressure {
            levels.validate()?;
        }
        self.monitor.validate()?;
        let mut devices: Vec<u8> = self.device_budgets.iter().map(|&(index, _)| index).collect();
        devices.sort_unstable();
        if let Some(twice) = devices.windows(2).find(|pair| pair[0] == pair[1]) {
            let value = format!("device {} twice", twice[0]);
            return Err(GuardError::Config { name: "device_budgets", value, range: "one budget per device" });
        }
        Ok(())
    }

    /// Bytes of a region of this capacity that may be leased: the smaller of threshold and capacity less reserve.
    pub(super) fn limit(&self, capacity: u64) -> u64 {
        // Truncation is meant; a float's 53 bits err by less than a page below 64 PiB.
        let by_threshold = (capacity as f64 * self.threshold) as u64;
        let reserve = self.reserve.unwrap_or_else(|| (capacity / 10).min(2048 * MIB));
        by_threshold.min(capacity.saturating_sub(reserve))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_smaller_of_threshold_and_reserve() {
        let config = GuardConfig::default();
        assert_eq!(config.limit(1000), 850);
        assert_eq!(config.limit(64 << 30), (64_f64 * 0.85 * f64::from(1 << 30)) as u64);
        let tight = GuardConfig { reserve: Some(400), ..GuardConfig::default() };
        assert_eq!(tight.limit(1000), 600);
        assert_eq!(tight.limit(300), 0);
        let all = GuardConfig { threshold: 1.0, reserve: Some(0), ..GuardConfig::default() };
        assert_eq!(all.limit(u64::MAX), u64::MAX);
        let nearly = GuardConfig { threshold: 1.0, ..GuardConfig::default() };
        assert_eq!(nearly.limit(64 << 30), 62 << 30);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for threshold in [0.0, -1.0, 1.01, f64::NAN, f64::INFINITY] {
            let config = GuardConfig { threshold, ..GuardConfig::default() };
            assert!(matches!(config.validate(), Err(GuardError::Config { name: "threshold", .. })));
        }
        let config = GuardConfig { reclaim_deadline: Duration::MAX, ..GuardConfig::default() };
        assert!(matches!(config.validate(), Err(GuardError::Config { name: "reclaim_deadline", .. })));
        let config = GuardConfig { device_budgets: vec![(1, 5), (0, 5), (1, 6)], ..GuardConfig::default() };
        assert!(matches!(config.validate(), Err(GuardError::Config { name: "device_budgets", .. })));
        assert_eq!(GuardConfig::default().validate(), Ok(()));
    }
}
