//! How often the monitor looks, and where it speaks up.

use crate::guard::GuardError;
use std::time::Duration;

/// The most snapshots of a region that are kept.
pub(super) const MOST_HISTORY: usize = 100_000;

/// Settings of the monitor. `Default` gives the figures in brackets.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorConfig {
    /// Time between two snapshots; zero takes none but those that are asked for [1 s].
    pub interval: Duration,
    /// Snapshots that are kept of each region, at most 100,000 \[1000\].
    pub history: usize,
    /// Used fractions from which memory counts as moderate, high, critical [0.60, 0.80, 0.90].
    pub levels: [f64; 3],
    /// A region with a larger used fraction raises an alert [0.85].
    pub pressure: f64,
    /// A session with a larger share of its KV limit raises an alert [0.90].
    pub session: f64,
    /// A larger share of refused requests within [`MonitorConfig::window`] raises an alert [0.05].
    pub refusals: f64,
    /// Fewer requests than this within the window are too few to speak of a share \[20\].
    pub refusals_least: u64,
    /// More evictions a minute raise an alert \[10\].
    pub evictions: f64,
    /// The time over which refusals and evictions are counted, at least a second [60 s].
    pub window: Duration,
    /// The used fraction of a region above which memory is cleaned up by itself; `None` never does [0.85].
    pub cleanup: Option<f64>,
    /// A steady rise of an owner's bytes per live object by a larger fraction is a leak [0.20].
    pub leak_rise: f64,
    /// The time over which it rises, at least a second [300 s].
    pub leak_window: Duration,
}

impl Default for MonitorConfig {
    fn default() -> Self {
        MonitorConfig {
            interval: Duration::from_secs(1),
            history: 1000,
            levels: [0.60, 0.80, 0.90],
            pressure: 0.85,
            session: 0.90,
            refusals: 0.05,
            refusals_least: 20,
            evictions: 10.0,
            window: Duration::from_secs(60),
            cleanup: Some(0.85),
            leak_rise: 0.20,
            leak_window: Duration::from_secs(300),
        }
    }
}

impl MonitorConfig {
    pub(in crate::guard) fn validate(&self) -> Result<(), GuardError> {
        let wrong = |name, value: String, range| Err(GuardError::Config { name, value, range });
        let is_fraction = |value: f64| value > 0.0 && value <= 1.0;
        if !(1..=MOST_HISTORY).contains(&self.history) {
            return wrong("history", self.history.to_string(), "from 1 to 100000");
        }
        if !self.levels.windows(2).all(|pair| pair[0] < pair[1]) || !self.levels.into_iter().all(is_fraction)
        {
            return wrong("levels", format!("{:?}", self.levels), "rising, above 0 and at most 1");
        }
        for (name, value) in [
            ("pressure", self.pressure),
            ("session", self.session),
            ("refusals", self.refusals),
            ("cleanup", self.cleanup.unwrap_or(1.0)),
        ] {
            if !is_fraction(value) {
                return wrong(name, value.to_string(), "above 0 and at most 1");
            }
        }
        for (name, value) in [("evictions", self.evictions), ("leak_rise", self.leak_rise)] {
            if !(value > 0.0 && value.is_finite()) {
                return wrong(name, value.to_string(), "a number above 0");
            }
        }
        for (name, value) in [("window", self.window), ("leak_window", self.leak_window)] {
            if value < Duration::from_secs(1) {
                return wrong(name, format!("{value:?}"), "at least a second");
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        assert_eq!(MonitorConfig::default().validate(), Ok(()));
        let ok = MonitorConfig::default;
        for (config, wrong) in [
            (MonitorConfig { history: 0, ..ok() }, "history"),
            (MonitorConfig { history: 100_001, ..ok() }, "history"),
            (MonitorConfig { levels: [0.6, 0.6, 0.9], ..ok() }, "levels"),
            (MonitorConfig { levels: [0.6, 0.8, f64::NAN], ..ok() }, "levels"),
            (MonitorConfig { pressure: 1.1, ..ok() }, "pressure"),
            (MonitorConfig { session: f64::NAN, ..ok() }, "session"),
            (MonitorConfig { refusals: 0.0, ..ok() }, "refusals"),
            (MonitorConfig { cleanup: Some(0.0), ..ok() }, "cleanup"),
            (MonitorConfig { evictions: f64::INFINITY, ..ok() }, "evictions"),
            (MonitorConfig { leak_rise: -0.1, ..ok() }, "leak_rise"),
            (MonitorConfig { window: Duration::ZERO, ..ok() }, "window"),
            (MonitorConfig { leak_window: Duration::from_millis(999), ..ok() }, "leak_window"),
        ] {
            let error = config.validate().unwrap_err();
            assert!(matches!(error, GuardError::Config { name, .. } if name == wrong), "{error}");
        }
        assert_eq!(MonitorConfig { cleanup: None, ..ok() }.validate(), Ok(()));
    }
}
