//! Alerts: what someone should look at. Each is raised once, stays while its cause does, and is cleared some way below its
//! threshold.

use super::ring::Ring;
use crate::guard::{GuardError, Purpose};
use plimsoll_engine::{Owner, Region, SessionKey};
use std::fmt;
use std::time::Duration;

/// Alerts that may be active at once. Sessions beyond it raise none until others clear.
const MOST_ACTIVE: usize = 100;
/// Cleared alerts that are kept.
const MOST_CLEARED: usize = 32;

/// What an alert is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum AlertKind {
    /// A region is used above the threshold. Cleared 0.05 below it.
    Pressure = 0,
    /// A session holds more of its KV limit than the threshold. Cleared 0.05 below it, and when it is closed.
    Session = 1,
    /// More of the requests are refused than the threshold. Cleared at half of it.
    Refusals = 2,
    /// There are more evictions a minute than the threshold. Cleared at half of it.
    Evictions = 3,
    /// Bytes per live object rise steadily, or outlive their object. Cleared when they no longer do.
    Leak = 4,
}

impl AlertKind {
    /// Every kind, in the order of their discriminants.
    pub const ALL: [AlertKind; 5] =
        [AlertKind::Pressure, AlertKind::Session, AlertKind::Refusals, AlertKind::Evictions, AlertKind::Leak];

    /// The kind's name in logs and statistics.
    pub fn name(self) -> &'static str {
        ["pressure", "session", "refusals", "evictions", "leak"][self as usize]
    }

    /// The value at which an alert with this threshold is cleared.
    pub(super) fn clears_at(self, threshold: f64) -> f64 {
        match self {
            AlertKind::Pressure | AlertKind::Session => (threshold - 0.05).max(threshold / 2.0),
            AlertKind::Refusals | AlertKind::Evictions | AlertKind::Leak => threshold / 2.0,
        }
    }
}

/// Whose bytes a leak is looked for in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suspect {
    /// All owners of a column of the ledger.
    Purpose(Purpose),
    /// Heap bytes of the library that the ledger has not booked.
    Unbooked,
}

impl Suspect {
    /// A short name, for logs and statistics.
    pub fn name(self) -> &'static str {
        match self {
            Suspect::Purpose(purpose) => purpose.name(),
            Suspect::Unbooked => "unbooked",
        }
    }
}

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// All of the runtime.
    Runtime,
    /// A region.
    Region(Region),
    /// A session.
    Session(SessionKey),
    /// Whose bytes leak; where their object is gone, the first owner that outlived it.
    Leak(Suspect, Option<Owner>),
}

/// Something to look at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alert {
    /// What it is about.
    pub kind: AlertKind,
    /// Where.
    pub subject: Subject,
    /// What was last measured: a fraction, or evictions a minute. Of a leak the fraction by which bytes per live object rose;
    /// 1 where the object is gone.
    pub value: f64,
    /// What it must be above.
    pub threshold: f64,
    /// The bytes in question: used, held, leaked; 0 where it is about requests.
    pub bytes: u64,
    /// When it was raised, on the runtime's clock.
    pub raised: Duration,
    /// When it was cleared.
    pub cleared: Option<Duration>,
}

impl Alert {
    fn is_about(&self, kind: AlertKind, subject: Subject) -> bool {
        let same = match (self.subject, subject) {
            (Subject::Leak(ours, _), Subject::Leak(theirs, _)) => ours == theirs,
            (ours, theirs) => ours == theirs,
        };
        self.kind == kind && same
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (value, threshold) = (100.0 * self.value, 100.0 * self.threshold);
        match self.subject {
            Subject::Region(region) => {
                write!(f, "{value:.1} % of {region} memory are used, the mark is {threshold:.1} %")
            }
            Subject::Session(session) => {
                let id = session.0;
                write!(f, "session {id} holds {value:.1} % of its KV limit, the mark is {threshold:.1} %")
            }
            Subject::Runtime if self.kind == AlertKind::Evictions => {
                write!(f, "{:.0} evictions a minute, the mark is {:.0}", self.value, self.threshold)
            }
            Subject::Runtime => {
                write!(f, "{value:.1} % of requests are refused, the mark is {threshold:.1} %")
            }
            Subject::Leak(_, Some(owner)) => {
                write!(f, "{owner}: {} bytes are held for something that is gone", self.bytes)
            }
            Subject::Leak(suspect, None) => {
                let name = suspect.name();
                write!(f, "{name}: bytes per live object rose by {value:.0} %, in all to {}", self.bytes)
            }
        }
    }
}

/// What was measured for an alert.
#[derive(Clone, Copy)]
pub(super) struct Measured {
    pub(super) kind: AlertKind,
    pub(super) subject: Subject,
    pub(super) value: f64,
    pub(super) threshold: f64,
    pub(super) bytes: u64,
}

/// All alerts.
pub(super) struct Alerts {
    active: Vec<Alert>,
    // Of each active alert, whether it was measured in this round.
    seen: Vec<bool>,
    cleared: Ring<Alert>,
    raised: [u64; AlertKind::ALL.len()],
}

impl Alerts {
    pub(super) fn new() -> Result<Self, GuardError> {
        let (active, seen) = (Vec::with_capacity(MOST_ACTIVE), Vec::with_capacity(MOST_ACTIVE));
        Ok(Alerts { active, seen, cleared: Ring::new(MOST_CLEARED)?, raised: [0; AlertKind::ALL.len()] })
    }

    /// Active alerts, the first raised first.
    pub(super) fn active(&self) -> &[Alert] {
        &self.active
    }

    /// The last that were cleared, the first cleared first.
    pub(super) fn cleared(&self) -> impl Iterator<Item = &Alert> {
        self.cleared.iter()
    }

    /// Times that an alert of each kind was raised.
    pub(super) fn raised(&self) -> [u64; AlertKind::ALL.len()] {
        self.raised
    }

    /// A new round begins: what is not measured in it is over.
    pub(super) fn begin(&mut self) {
        self.seen.fill(false);
    }

    /// Takes in a measurement. What it raises or clears is added to `changes`.
    pub(super) fn measure(&mut self, now: Duration, measured: Measured, changes: &mut Vec<Alert>) {
        let Measured { kind, subject, value, threshold, bytes } = measured;
        if let Some(at) = self.active.iter().position(|alert| alert.is_about(kind, subject)) {
            let alert = &mut self.active[at];
            (alert.value, alert.threshold, alert.bytes) = (value, threshold, bytes);
            if value > kind.clears_at(threshold) {
                self.seen[at] = true;
            }
        } else if value > threshold && self.active.len() < MOST_ACTIVE {
            let alert = Alert { kind, subject, value, threshold, bytes, raised: now, cleared: None };
            self.active.push(alert);
            self.seen.push(true);
            self.raised[kind as usize] += 1;
            changes.push(alert);
        }
    }

    /// The round is over: clears what was not measured or is far enough below its threshold.
    pub(super) fn end(&mut self, now: Duration, changes: &mut Vec<Alert>) {
        for at in (0..self.active.len()).rev().filter(|&at| !self.seen[at]).collect::<Vec<_>>() {
            let alert = Alert { cleared: Some(now), ..self.active.remove(at) };
            self.seen.remove(at);
            self.cleared.push(alert);
            changes.push(alert);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Subject = Subject::Region(Region::Host);

    struct Bench(Alerts, u64);

    impl Bench {
        /// One round with these values of the host's pressure and of sessions' shares.
        fn round(&mut self, pressure: f64, sessions: &[(u64, f64)]) -> Vec<String> {
            self.1 += 1;
            let (now, mut changes) = (Duration::from_secs(self.1), Vec::new());
            self.0.begin();
            let region = Measured {
                kind: AlertKind::Pressure,
                subject: HOST,
                value: pressure,
                threshold: 0.85,
                bytes: 7,
            };
            self.0.measure(now, region, &mut changes);
            for &(id, value) in sessions {
                let subject = Subject::Session(SessionKey(id));
                let session = Measured { kind: AlertKind::Session, subject, value, threshold: 0.9, bytes: 1 };
                self.0.measure(now, session, &mut changes);
            }
            self.0.end(now, &mut changes);
            let sign = |alert: &Alert| if alert.cleared.is_some() { '-' } else { '+' };
            let text = |alert: &Alert| format!("{}{}", sign(alert), alert.kind.name());
            changes.iter().map(text).collect()
        }
    }

    #[test]
    fn each_is_raised_once_and_cleared_below_its_threshold() {
        let mut bench = Bench(Alerts::new().unwrap(), 0);
        let none: [&str; 0] = [];
        assert_eq!(bench.round(0.85, &[]), none);
        assert_eq!(bench.round(0.86, &[]), ["+pressure"]);
        for wavering in [0.86, 0.81, 0.90, 0.84] {
            assert_eq!(bench.round(wavering, &[]), none);
        }
        assert_eq!(bench.0.active()[0].value, 0.84);
        assert_eq!(bench.round(0.79, &[]), ["-pressure"]);
        assert_eq!(bench.round(0.84, &[]), none);
        assert_eq!(bench.round(0.99, &[]), ["+pressure"]);
        assert_eq!(bench.round(f64::NAN, &[]), ["-pressure"]);
        assert_eq!(bench.0.raised(), [2, 0, 0, 0, 0]);
        let cleared: Vec<_> = bench.0.cleared().map(|alert| (alert.raised, alert.cleared)).collect();
        let at = Duration::from_secs;
        assert_eq!(cleared, [(at(2), Some(at(7))), (at(9), Some(at(10)))]);
    }

    #[test]
    fn a_session_that_is_gone_has_no_alert() {
        let mut bench = Bench(Alerts::new().unwrap(), 0);
        assert_eq!(bench.round(0.0, &[(1, 0.95), (2, 0.5), (3, 1.0)]), ["+session", "+session"]);
        assert_eq!(bench.round(0.0, &[(1, 0.95), (2, 0.5)]), ["-session"]);
        assert_eq!(bench.round(0.0, &[]), ["-session"]);
        let many: Vec<_> = (0..300).map(|id| (id, 1.0)).collect();
        assert_eq!(bench.round(0.0, &many).len(), MOST_ACTIVE);
        assert_eq!(bench.round(0.0, &many).len(), 0);
        assert_eq!(bench.round(0.0, &[]).len(), MOST_ACTIVE);
        assert_eq!(bench.0.cleared().count(), MOST_CLEARED);
    }

    #[test]
    fn an_alert_says_what_it_is() {
        let say = |kind, subject, value, threshold| {
            let (raised, cleared) = (Duration::ZERO, None);
            Alert { kind, subject, value, threshold, bytes: 4096, raised, cleared }.to_string()
        };
        let leak = |suspect, owner| Subject::Leak(suspect, owner);
        let kv = leak(Suspect::Purpose(Purpose::Kv), Some(Owner::Kv(SessionKey(3))));
        for (text, said) in [
            (
                say(AlertKind::Pressure, HOST, 0.912, 0.85),
                "91.2 % of host memory are used, the mark is 85.0 %",
            ),
            (
                say(AlertKind::Session, Subject::Session(SessionKey(7)), 0.95, 0.9),
                "session 7 holds 95.0 % of its KV limit, the mark is 90.0 %",
            ),
            (
                say(AlertKind::Refusals, Subject::Runtime, 0.25, 0.05),
                "25.0 % of requests are refused, the mark is 5.0 %",
            ),
            (
                say(AlertKind::Evictions, Subject::Runtime, 31.0, 10.0),
                "31 evictions a minute, the mark is 10",
            ),
            (
                say(AlertKind::Leak, kv, 1.0, 0.2),
                "kv of session 3: 4096 bytes are held for something that is gone",
            ),
            (
                say(AlertKind::Leak, leak(Suspect::Unbooked, None), 0.31, 0.2),
                "unbooked: bytes per live object rose by 31 %, in all to 4096",
            ),
        ] {
            assert_eq!(text, said);
        }
    }
}
