//! Configuration: string keys with checked values, so that options grow while the ABI stands still.

use crate::error::{Error, ErrorCode, Result};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where a key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Runtime,
    Model,
    Session,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Bytes,
    Mebibytes,
    Integer(u64, u64),
    Either(u64, u64),
    Fraction,
    Seconds,
    /// Seconds, at least one.
    Span,
    /// Three fractions.
    Marks,
    /// Four fractions.
    Levels,
    OneOf(&'static [&'static str]),
}

/// A parsed value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Value {
    Integer(u64),
    Fraction(f64),
    Marks([f64; 3]),
    Levels([f64; 4]),
    Name(&'static str),
}

/// Every key: name, scope, kind, what it means.
const KEYS: &[(&str, Scope, Kind, &str)] = &[
    ("memory.budget", Scope::Runtime, Kind::Bytes, "host bytes plimsoll may use, such as 512MiB"),
    ("guard.threshold", Scope::Runtime, Kind::Fraction, "share of the capacity that may be leased [0.85]"),
    ("guard.reserve_mb", Scope::Runtime, Kind::Mebibytes, "never leased [the smaller of 2048 and 10 %]"),
    ("guard.session_limit_mb", Scope::Runtime, Kind::Mebibytes, "most KV of one session [512]"),
    ("guard.kv_limit_mb", Scope::Runtime, Kind::Mebibytes, "most KV of all sessions [20480]"),
    ("guard.idle_timeout_s", Scope::Runtime, Kind::Seconds, "an idle session's KV is dropped after [300]"),
    (
        "guard.pool_limit_mb",
        Scope::Runtime,
        Kind::Mebibytes,
        "most bytes that lie idle in the pool: buffers, workspaces, rings [2048]",
    ),
    (
        "guard.pool_timeout_s",
        Scope::Runtime,
        Kind::Seconds,
        "what lies idle in the pool for so long goes back to the system [300]",
    ),
    ("guard.ticket_ttl_s", Scope::Runtime, Kind::Seconds, "an unused ticket returns its bytes after [60]"),
    (
        "guard.queue",
        Scope::Runtime,
        Kind::Integer(0, 65_536),
        "requests that may wait for memory at once [256]",
    ),
    (
        "guard.degrade",
        Scope::Runtime,
        Kind::OneOf(&["on", "off"]),
        "whether requests get less while memory is under pressure [on]",
    ),
    (
        "guard.pressure_levels",
        Scope::Runtime,
        Kind::Levels,
        "used fractions where medium, high, critical, emergency begin [0.70,0.80,0.85,0.90]",
    ),
    (
        "monitor.interval_ms",
        Scope::Runtime,
        Kind::Integer(0, 3_600_000),
        "time between two snapshots of memory; 0: only those asked for [1000]",
    ),
    (
        "monitor.history",
        Scope::Runtime,
        Kind::Integer(1, 100_000),
        "snapshots of each region that are kept [1000]",
    ),
    (
        "monitor.levels",
        Scope::Runtime,
        Kind::Marks,
        "used fractions where the monitor's moderate, high, critical begin [0.60,0.80,0.90]",
    ),
    (
        "monitor.alert_pressure",
        Scope::Runtime,
        Kind::Fraction,
        "used fraction above which there is an alert [0.85]",
    ),
    (
        "monitor.alert_session",
        Scope::Runtime,
        Kind::Fraction,
        "share of a session's KV limit above which there is an alert [0.90]",
    ),
    (
        "monitor.alert_refusals",
        Scope::Runtime,
        Kind::Fraction,
        "share of refused requests above which there is an alert [0.05]",
    ),
    (
        "monitor.alert_refusals_least",
        Scope::Runtime,
        Kind::Integer(1, 1_000_000),
        "with fewer requests in the window there is none [20]",
    ),
    (
        "monitor.alert_evictions",
        Scope::Runtime,
        Kind::Integer(1, 1_000_000),
        "evictions a minute above which there is an alert [10]",
    ),
    (
        "monitor.alert_window_s",
        Scope::Runtime,
        Kind::Span,
        "refusals and evictions are counted over so long [60]",
    ),
    (
        "monitor.cleanup",
        Scope::Runtime,
        Kind::OneOf(&["on", "off"]),
        "whether memory is cleaned up by itself [on]",
    ),
    ("monitor.cleanup_threshold", Scope::Runtime, Kind::Fraction, "used fraction above which it is [0.85]"),
    (
        "monitor.leak_rise",
        Scope::Runtime,
        Kind::Fraction,
        "a steady rise of bytes per live object by more is a leak [0.20]",
    ),
    ("monitor.leak_window_s", Scope::Runtime, Kind::Span, "the time over which they rise [300]"),
    (
        "model.unload",
        Scope::Model,
        Kind::OneOf(&["never", "idle"]),
        "whether it may be unloaded, idle and least recently used, to make room [never]",
    ),
    ("native.backend", Scope::Model, Kind::OneOf(&["cpu", "candle"]), "kernels of the native engine [cpu]"),
    ("native.threads", Scope::Model, Kind::Integer(1, 256), "computing threads [the machine's cores]"),
    (
        "native.kv_type",
        Scope::Model,
        Kind::OneOf(&["f16", "f32", "q8_0"]),
        "element type of the KV cache; f32 rounds no input of 16-bit weights [f16]",
    ),
    (
        "native.quantize",
        Scope::Model,
        Kind::OneOf(&["q8_0", "q4_0", "q4_k"]),
        "what matrices of plain numbers become at load [as in the file]",
    ),
    ("native.block_tokens", Scope::Model, Kind::Either(16, 32), "tokens per KV block, 16 or 32 [16]"),
    ("native.max_sequences", Scope::Model, Kind::Integer(1, 128), "requests in one batch [16]"),
    (
        "native.max_step_tokens",
        Scope::Model,
        Kind::Integer(16, 8192),
        "tokens in one step [512; 256 for models with sliding windows]",
    ),
    (
        "native.step_ms",
        Scope::Model,
        Kind::Integer(0, 60_000),
        "the aim between tokens while prompts come in; 0: none [50]",
    ),
    (
        "native.context_length",
        Scope::Model,
        Kind::Integer(16, 1 << 24),
        "most tokens of a conversation [the model's]",
    ),
    (
        "native.queue",
        Scope::Model,
        Kind::Integer(1, 65_536),
        "requests that may wait for a place in the batch [64]",
    ),
    (
        "engine.kind",
        Scope::Model,
        Kind::OneOf(&["native", "vllm", "trtllm", "plugin"]),
        "the engine to attach",
    ),
    (
        "plugin.grace_ms",
        Scope::Model,
        Kind::Integer(1, 3_600_000),
        "a plug-in's cancelled request is waited for so long [2000]",
    ),
    ("session.kv_limit_mb", Scope::Session, Kind::Mebibytes, "most KV of this session [the guard's]"),
];

/// Checked settings for a runtime, a model or a session.
///
/// [`Config::set`] refuses unknown keys and values that do not parse at once. Keys belong to what they configure:
/// a runtime's key given to a model is an error there, not silently ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    values: BTreeMap<&'static str, Value>,
}

impl Config {
    /// No settings: every default holds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key. An empty value takes the setting back.
    ///
    /// # Errors
    /// `InvalidConfig` with the reason, and for an unknown key the keys there are.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let Some(&(name, _, kind, _)) = KEYS.iter().find(|(name, ..)| *name == key) else {
            let known: Vec<_> = KEYS.iter().map(|(name, ..)| *name).collect();
            return Err(invalid(format!("no key {key:?}; there are {}", known.join(", "))));
        };
        let value = value.trim();
        if value.is_empty() {
            self.values.remove(name);
            return Ok(());
        }
        let value = parse(kind, value).map_err(|why| invalid(format!("{name} = {value:?}: {why}")))?;
        self.values.insert(name, value);
        Ok(())
    }

    /// Every key with its meaning, for help texts.
    pub fn keys() -> impl Iterator<Item = (&'static str, &'static str)> {
        KEYS.iter().map(|&(name, _, _, meaning)| (name, meaning))
    }

    pub(crate) fn only_runtime(&self) -> Result<()> {
        self.only(Scope::Runtime)
    }

    pub(crate) fn only_model(&self) -> Result<()> {
        self.only(Scope::Model)
    }

    pub(crate) fn only_session(&self) -> Result<()> {
        self.only(Scope::Session)
    }

    fn only(&self, scope: Scope) -> Result<()> {
        for name in self.values.keys() {
            if let Some((_, wrong, ..)) = KEYS.iter().find(|(key, at, ..)| key == name && *at != scope) {
                let text = format!("{name} configures a {wrong:?}, not a {scope:?}").to_lowercase();
                return Err(invalid(text));
            }
        }
        Ok(())
    }

    pub(crate) fn integer(&self, key: &str) -> Option<u64> {
        match self.values.get(key) {
            Some(Value::Integer(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn fraction(&self, key: &str) -> Option<f64> {
        match self.values.get(key) {
            Some(Value::Fraction(value)) => Some(*value),
            _ => None,
        }
    }

    pub(crate) fn levels(&self, key: &str) -> Option<[f64; 4]> {
        match self.values.get(key) {
            Some(Value::Levels(values)) => Some(*values),
            _ => None,
        }
    }

    pub(crate) fn marks(&self, key: &str) -> Option<[f64; 3]> {
        match self.values.get(key) {
            Some(Value::Marks(values)) => Some(*values),
            _ => None,
        }
    }

    pub(crate) fn seconds(&self, key: &str) -> Option<Duration> {
        self.fraction(key).map(Duration::from_secs_f64)
    }

    pub(crate) fn name(&self, key: &str) -> Option<&'static str> {
        match self.values.get(key) {
            Some(Value::Name(value)) => Some(value),
            _ => None,
        }
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorCode::InvalidConfig, text)
}

fn parse(kind: Kind, text: &str) -> std::result::Result<Value, String> {
    match kind {
        Kind::Bytes => parse_bytes(text).map(Value::Integer),
        Kind::Mebibytes => {
            let mebibytes: u64 = text.parse().map_err(|_| "not a number of MiB".to_owned())?;
            mebibytes.checked_mul(1 << 20).map(Value::Integer).ok_or_else(|| "too large".to_owned())
        }
        Kind::Integer(low, high) => match text.parse::<u64>() {
            Ok(value) if (low..=high).contains(&value) => Ok(Value::Integer(value)),
            _ => Err(format!("not a whole number from {low} to {high}")),
        },
        Kind::Either(a, b) => match text.parse::<u64>() {
            Ok(value) if value == a || value == b => Ok(Value::Integer(value)),
            _ => Err(format!("neither {a} nor {b}")),
        },
        Kind::Fraction => match text.parse::<f64>() {
            Ok(value) if value > 0.0 && value <= 1.0 => Ok(Value::Fraction(value)),
            _ => Err("not above 0 and at most 1".to_owned()),
        },
        Kind::Seconds => match text.parse::<f64>() {
            Ok(value) if (0.0..=1e9).contains(&value) => Ok(Value::Fraction(value)),
            _ => Err("not a number of seconds from 0 to 1e9".to_owned()),
        },
        Kind::Span => match text.parse::<f64>() {
            Ok(value) if (1.0..=1e9).contains(&value) => Ok(Value::Fraction(value)),
            _ => Err("not a number of seconds from 1 to 1e9".to_owned()),
        },
        Kind::Marks => rising(text).map(Value::Marks).ok_or_else(|| not_rising("three")),
        Kind::Levels => rising(text).map(Value::Levels).ok_or_else(|| not_rising("four")),
        Kind::OneOf(names) => match names.iter().find(|name| **name == text) {
            Some(name) => Ok(Value::Name(name)),
            None => Err(format!("not one of {}", names.join(", "))),
        },
    }
}

/// So many fractions with commas between, each above the one before.
fn rising<const N: usize>(text: &str) -> Option<[f64; N]> {
    let parts = text.split(',').map(|part| part.trim().parse::<f64>());
    let all = <[f64; N]>::try_from(parts.collect::<std::result::Result<Vec<_>, _>>().ok()?).ok()?;
    let fractions = all.iter().all(|&fraction| fraction > 0.0 && fraction <= 1.0);
    (fractions && all.windows(2).all(|pair| pair[0] < pair[1])).then_some(all)
}

fn not_rising(count: &str) -> String {
    format!("not {count} rising fractions above 0 and at most 1, with commas between")
}

/// Parses a size: a whole or decimal number with an optional unit, `B`, `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024) or
/// `KB`, `MB`, `GB`, `TB` (powers of 1000); `K`, `M`, `G`, `T` alone mean powers of 1024.
///
/// # Errors
/// What is wrong with it.
pub fn parse_bytes(text: &str) -> std::result::Result<u64, String> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        other => return Err(format!("unknown unit {other:?}")),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).ok_or_else(|| "too large".to_owned());
    }
    let value: f64 = number.parse().map_err(|_| "not a size".to_owned())?;
    let bytes = value * scale as f64;
    if bytes.is_finite() && (0.0..9e18).contains(&bytes) {
        Ok(bytes as u64)
    } else {
        Err("too large".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_with_their_units() {
        for (text, bytes) in
            [("512MiB", 512 << 20), ("1.5 GiB", 3 << 29), ("7", 7), ("2kb", 2000), ("64M", 64 << 20)]
        {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1e9", "5 parsecs", "99999999999TiB", "1.2.3"] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_bad_setting_says_why_and_changes_nothing() {
        let mut config = Config::new();
        for (key, value) in [
            ("guard.threshold", "1.5"),
            ("guard.threshold", "NaN"),
            ("native.backend", "gpu"),
            ("guard.degrade", "perhaps"),
            ("guard.pressure_levels", "0.7"),
            ("guard.pressure_levels", "0.7,0.6,0.8,0.9"),
            ("guard.pressure_levels", "0.7,0.8,0.9,NaN"),
            ("guard.pressure_levels", "0.7,0.8,0.9,1.1"),
            ("monitor.levels", "0.7,0.8,0.9,1.0"),
            ("monitor.levels", "0.7,0.8,1.1"),
            ("monitor.history", "0"),
            ("monitor.interval_ms", "-1"),
            ("monitor.leak_window_s", "0.5"),
            ("monitor.cleanup", "maybe"),
            ("native.quantize", "q2_k"),
            ("native.threads", "0"),
            ("native.block_tokens", "17"),
            ("native.block_tokens", "24"),
            ("guard.session_limit_mb", "99999999999999999"),
            ("guard.idle_timeout_s", "inf"),
            ("no.such.key", "1"),
        ] {
            assert_eq!(config.set(key, value).unwrap_err().code(), ErrorCode::InvalidConfig, "{key}={value}");
        }
        assert_eq!(config, Config::new());
    }

    #[test]
    fn a_key_in_the_wrong_place_is_named() {
        let mut config = Config::new();
        config.set("native.threads", "2").unwrap();
        assert!(config.only_model().is_ok());
        assert!(config.only_runtime().unwrap_err().message().contains("native.threads"));
        config.set("native.threads", "").unwrap();
        assert!(config.only_runtime().is_ok());
    }
}
