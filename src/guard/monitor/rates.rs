//! How often something happened lately: refusals and evictions, from counters that exist.

use super::ring::Ring;
use crate::guard::GuardError;
use std::time::Duration;

/// Into so many parts the window is divided: it slides by one of them.
const PARTS: u32 = 60;
const MINUTE: f64 = 60.0;

/// Counters since the guard was made, at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) at: Duration,
    /// Requests decided about.
    pub(super) decided: u64,
    /// Of them, those refused.
    pub(super) rejected: u64,
    pub(super) evictions: u64,
}

/// The counters of the last window.
pub(super) struct Rates {
    counts: Ring<Counts>,
    window: Duration,
}

impl Rates {
    pub(super) fn new(window: Duration) -> Result<Self, GuardError> {
        // One more than the parts, so that the oldest is as old as the window.
        Ok(Rates { counts: Ring::new(PARTS as usize + 1)?, window })
    }

    /// What happened within the window, or since the guard was made if that is shorter.
    pub(super) fn take(&mut self, now: Counts) -> Counts {
        let part = self.window / PARTS;
        if self.counts.last().is_none_or(|last| now.at.saturating_sub(last.at) >= part) {
            self.counts.push(now);
        }
        let old = |counts: &&Counts| now.at.saturating_sub(counts.at) >= self.window;
        // Where nothing is old enough, everything since the guard was made, when all counters were 0, is within the window.
        let base = self.counts.iter().rev().find(old).copied().unwrap_or_default();
        Counts {
            at: now.at,
            decided: now.decided.saturating_sub(base.decided),
            rejected: now.rejected.saturating_sub(base.rejected),
            evictions: now.evictions.saturating_sub(base.evictions),
        }
    }

    /// A count within the window as one per minute.
    pub(super) fn per_minute(&self, count: u64) -> f64 {
        count as f64 * MINUTE / self.window.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut rates = Rates::new(Duration::from_secs(60)).unwrap();
        let mut take = |seconds, rejected| {
            let at = Duration::from_secs(seconds);
            rates.take(Counts { at, decided: 10 * rejected, rejected, evictions: 2 * rejected }).rejected
        };
        assert_eq!([take(5, 3), take(5, 4), take(30, 4), take(64, 5)], [3, 4, 4, 5]);
        // At 65 s the window begins with the count at 5 s, which the ring has as it was first seen.
        assert_eq!([take(65, 5), take(89, 5), take(90, 5), take(400, 5)], [2, 2, 1, 0]);
        for second in 401..1_000 {
            assert_eq!(take(second, second - 395), (second - 400).min(60), "one a second");
        }
    }

    #[test]
    fn a_minute_is_a_minute_whatever_the_window() {
        let rates = |seconds| Rates::new(Duration::from_secs(seconds)).unwrap();
        assert_eq!(
            [rates(60).per_minute(7), rates(30).per_minute(7), rates(120).per_minute(7)],
            [7.0, 14.0, 3.5]
        );
    }
}
