//! Pressure: how full memory is, and what requests give up for it.
//!
//! A region's pressure is its used fraction, `(leases + others - KV of idle sessions) / capacity`: idle KV is taken back when
//! it is needed, so it presses nobody. A level is entered at its fraction and left [`Levels::back`] below it, so that a
//! reading that wavers changes nothing.
//!
//! | level | from | tokens | sampling | batch |
//! |---|---|---|---|---|
//! | low | 0 | all | as asked | whole |
//! | medium | 0.70 | 0.9 of them | `top_p` at most 0.9 | whole |
//! | high | 0.80 | 0.7 | and `temperature` at most 0.5 | half |
//! | critical | 0.85 | 0.5 | greedy | a quarter |
//! | emergency | 0.90 | 0.3 | greedy | one at a time |

use super::books::State;
use super::{GuardError, MemoryGuard};
use plimsoll_engine::Sampling;

/// How short memory is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i32)]
pub enum Pressure {
    /// There is enough.
    #[default]
    Low = 0,
    /// Answers become a little shorter.
    Medium = 1,
    /// Answers become shorter, and fewer run at once.
    High = 2,
    /// Answers are halved and greedy; a quarter of the batch runs at once.
    Critical = 3,
    /// One request at a time.
    Emergency = 4,
}

/// What a request was given instead of what it asked for; `None` where nothing was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Degraded {
    /// `max_tokens` that pressure left.
    pub max_tokens: Option<u32>,
    /// `top_p` in force.
    pub top_p: Option<f32>,
    /// `temperature` in force.
    pub temperature: Option<f32>,
}

/// Where the levels begin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// Used fractions from which memory counts as medium, high, critical and emergency [0.70, 0.80, 0.85, 0.90].
    pub above: [f64; 4],
    /// How far below its beginning a level is left [0.02].
    pub back: f64,
}

impl Default for Levels {
    fn default() -> Self {
        Levels { above: [0.70, 0.80, 0.85, 0.90], back: 0.02 }
    }
}

impl Levels {
    pub(super) fn validate(&self) -> Result<(), GuardError> {
        let rising = self.above.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || !self.above.iter().all(|&from| from > 0.0 && from <= 1.0) {
            let value = format!("{:?}", self.above);
            return Err(GuardError::Config {
                name: "pressure_levels",
                value,
                range: "rising, above 0 and at most 1",
            });
        }
        if !(0.0..0.5).contains(&self.back) {
            let value = self.back.to_string();
            return Err(GuardError::Config { name: "pressure_back", value, range: "from 0 to below 0.5" });
        }
        Ok(())
    }

    /// The level after a reading.
    pub(super) fn next(&self, before: Pressure, fraction: f64) -> Pressure {
        let entered = self.above.iter().filter(|&&from| fraction >= from).count();
        let held =
            self.above.iter().take(before as usize).filter(|&&from| fraction >= from - self.back).count();
        // Levels rise, so both counts are levels.
        Pressure::ALL[entered.max(held)]
    }
}

impl Pressure {
    /// Every level, from the lowest.
    pub const ALL: [Pressure; 5] =
        [Pressure::Low, Pressure::Medium, Pressure::High, Pressure::Critical, Pressure::Emergency];

    /// The level's name in logs and metrics.
    pub fn name(self) -> &'static str {
        ["low", "medium", "high", "critical", "emergency"][self as usize]
    }

    /// Of `asked` tokens those that may be granted, rounded up, but never fewer than `smallest`.
    pub fn tokens(self, asked: u32, smallest: u32) -> u32 {
        let tenths = [10, 9, 7, 5, 3][self as usize];
        let left = (u64::from(asked) * tenths).div_ceil(10);
        // At most `asked`.
        u32::try_from(left).unwrap_or(asked).max(smallest.min(asked))
    }

    /// Brings sampling to what the level allows. Returns what it changed; a greedy request has nothing to change.
    pub fn curb(self, sampling: &mut Sampling) -> Degraded {
        let mut degraded = Degraded::default();
        let warmest = [f32::INFINITY, f32::INFINITY, 0.5, 0.0, 0.0][self as usize];
        if sampling.temperature > warmest {
            sampling.temperature = warmest;
            degraded.temperature = Some(warmest);
        }
        if self >= Pressure::Medium && sampling.temperature > 0.0 && sampling.top_p > 0.9 {
            sampling.top_p = 0.9;
            degraded.top_p = Some(0.9);
        }
        degraded
    }

    /// The share of engines' batches that may run at once; 0 is one request.
    pub fn batch_share(self) -> f64 {
        [1.0, 1.0, 0.5, 0.25, 0.0][self as usize]
    }
}

impl Degraded {
    /// Whether anything was changed.
    pub fn is_any(&self) -> bool {
        *self != Degraded::default()
    }
}

impl MemoryGuard {
    /// The level now, of all regions. Engines hear of a change at once.
    pub fn pressure(&self) -> Pressure {
        self.observe()
    }

    /// Reads the machine again, whatever the age of the last reading, and takes in the level. Meant to be called from a timer.
    pub fn watch(&self) -> Pressure {
        self.readings.take_live(&self.books, &self.config, &self.pool);
        self.make_good();
        self.observe()
    }

    /// The level of all regions.
    pub(super) fn observe(&self) -> Pressure {
        self.refresh();
        let mut state = self.books.lock();
        let change = self.press(&mut state);
        let pressure = state.pressure(None);
        drop(state);
        change.into_iter().for_each(Change::tell);
        pressure
    }

    /// Takes in how full the regions are, under the lock. A change is told when that is free again.
    pub(super) fn press(&self, state: &mut State) -> Option<Change> {
        let levels = self.config.pressure.as_ref()?;
        let before = state.pressure(None);
        state.press(levels);
        let after = state.pressure(None);
        if before == after {
            return None;
        }
        state.tally.pressure_changes += 1;
        state.ring();
        // Under the lock, so that the last level wins.
        self.throttle.set(after.batch_share());
        Some(Change { before, after })
    }
}

/// Another level than before.
pub(super) struct Change {
    before: Pressure,
    after: Pressure,
}

impl Change {
    /// Writes it to the log, which may be the host's.
    pub(super) fn tell(self) {
        log::warn!("memory pressure is {} now, {} before", self.after.name(), self.before.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_entered_at_once_and_left_late() {
        let levels = Levels::default();
        let mut level = Pressure::Low;
        let mut walk = |fraction| {
            level = levels.next(level, fraction);
            level.name()
        };
        assert_eq!(
            [0.0, 0.699, 0.70, 0.69, 0.681, 0.679, 0.95, 0.89, 0.881, 0.879, 0.84, 0.829, 0.1].map(&mut walk),
            [
                "low",
                "low",
                "medium",
                "medium",
                "medium",
                "low",
                "emergency",
                "emergency",
                "emergency",
                "critical",
                "critical",
                "high",
                "low"
            ]
        );
        assert_eq!(walk(f64::INFINITY), "emergency");
        assert_eq!(walk(f64::NAN), "low", "what cannot be read presses nobody");
    }

    #[test]
    fn tokens_are_cut_but_not_below_the_smallest() {
        let granted = |asked, smallest| Pressure::ALL.map(|level| level.tokens(asked, smallest));
        assert_eq!(granted(100, 1), [100, 90, 70, 50, 30]);
        assert_eq!(granted(100, 60), [100, 90, 70, 60, 60]);
        assert_eq!(granted(1, 1), [1; 5]);
        assert_eq!(granted(3, 9), [3; 5]);
        assert_eq!(granted(u32::MAX, 1)[0], u32::MAX);
    }

    #[test]
    fn sampling_is_curbed_by_level() {
        let curbed = |level: Pressure, temperature, top_p| {
            let mut sampling = Sampling { temperature, top_p, ..Sampling::default() };
            let degraded = level.curb(&mut sampling);
            (sampling.temperature, sampling.top_p, degraded.temperature, degraded.top_p)
        };
        assert_eq!(curbed(Pressure::Low, 1.0, 1.0), (1.0, 1.0, None, None));
        assert_eq!(curbed(Pressure::Medium, 1.0, 1.0), (1.0, 0.9, None, Some(0.9)));
        assert_eq!(curbed(Pressure::High, 1.0, 0.8), (0.5, 0.8, Some(0.5), None));
        assert_eq!(curbed(Pressure::High, 0.2, 1.0), (0.2, 0.9, None, Some(0.9)));
        assert_eq!(curbed(Pressure::Critical, 0.7, 1.0), (0.0, 1.0, Some(0.0), None));
        assert_eq!(curbed(Pressure::Emergency, 0.0, 1.0), (0.0, 1.0, None, None));
    }

    #[test]
    fn levels_that_do_not_rise_are_refused() {
        assert_eq!(Levels::default().validate(), Ok(()));
        for above in
            [[0.7, 0.7, 0.8, 0.9], [0.0, 0.1, 0.2, 0.3], [0.7, 0.8, 0.9, 1.1], [f64::NAN, 0.8, 0.9, 1.0]]
        {
            assert!(Levels { above, ..Levels::default() }.validate().is_err(), "{above:?}");
        }
        assert!(Levels { back: -0.1, ..Levels::default() }.validate().is_err());
    }
}
