//! What befalls the machine of a run, bounded by what the guard promises.

use crate::machine::{Machine, Sight};
use crate::workload::{Traffic, Weather};
use std::time::Duration;

/// How fast others grow: this fraction of the memory each time.
const GROWTH: f64 = 0.02;
/// Time between two times that others grow.
pub(crate) const GROWS: Duration = Duration::from_millis(100);
/// What others leave free beside what is leased: a reading is up to 100 ms old.
const SPARE: f64 = 0.025;

/// The weather there is, and the one to come.
#[derive(Debug, Default)]
pub(crate) struct Sky {
    next: Option<(Weather, Option<Duration>)>,
    /// What others want to have.
    others: u64,
    growing: bool,
    blind: bool,
}

fn part(machine: &Machine, fraction: f64) -> u64 {
    (machine.physical() as f64 * fraction) as u64
}

impl Sky {
    /// Draws the next change. Answers the time until then, if there is one.
    pub(crate) fn draw(&mut self, traffic: &mut Traffic) -> Option<Duration> {
        let (gap, weather, lasts) = traffic.weather()?;
        self.next = Some((weather, lasts));
        Some(gap)
    }

    /// The drawn change comes. Answers when sight comes back, if it went, and whether others begin to grow; `None` where no
    /// change was to come.
    pub(crate) fn change(&mut self, machine: &Machine) -> Option<(Option<Duration>, bool)> {
        let (weather, lasts) = self.next.take()?;
        let mut grows = false;
        match weather {
            Weather::Others(fraction) => {
                self.others = part(machine, fraction);
                grows = !std::mem::replace(&mut self.growing, true);
            }
            Weather::Capacity(fraction) => machine.set_capacity(part(machine, fraction)),
            Weather::Sight(sight) => self.see(machine, sight),
            Weather::Fair => {
                self.others = 0;
                machine.set_others(0);
                machine.set_capacity(machine.physical());
            }
        }
        Some((lasts, grows))
    }

    /// The probe sees like this from now on.
    pub(crate) fn see(&mut self, machine: &Machine, sight: Sight) {
        self.blind = sight != Sight::Clear;
        machine.set_sight(sight);
    }

    /// Others come nearer to what they want. They do not take what is leased, and not faster than readings come: whoever
    /// does is beyond the promise. So is what grows unseen. Answers whether they want more.
    pub(crate) fn grow(&mut self, machine: &Machine, leased: u64) -> bool {
        let now = machine.others();
        if self.others <= now {
            machine.set_others(self.others);
            self.growing = false;
        } else if !self.blind {
            let left = machine.physical().saturating_sub(leased.saturating_add(part(machine, SPARE)));
            machine.set_others((now + part(machine, GROWTH)).min(self.others.min(left)).max(now));
        }
        self.growing
    }

    /// Fair for good: whoever still waits must not wait for better weather.
    pub(crate) fn clear_up(&mut self, machine: &Machine) {
        (self.next, self.others) = (None, 0);
        self.see(machine, Sight::Clear);
        machine.set_others(0);
        machine.set_capacity(machine.physical());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_grow_by_and_by_and_leave_what_is_leased() {
        let machine = Machine::new(1000, 100);
        let mut sky = Sky { next: Some((Weather::Others(0.3), None)), ..Sky::default() };
        assert_eq!(sky.change(&machine), Some((None, true)));
        let grown = |sky: &mut Sky, leased| {
            let more = sky.grow(&machine, leased);
            (machine.others(), more)
        };
        assert_eq!(grown(&mut sky, 500), (20, true));
        assert_eq!(grown(&mut sky, 945), (30, true), "25 are spared");
        assert_eq!(grown(&mut sky, 990), (30, true), "what they have they keep");
        sky.see(&machine, Sight::Blind);
        assert_eq!(grown(&mut sky, 500), (30, true));
        sky.see(&machine, Sight::Clear);
        (0..14).for_each(|_| assert!(grown(&mut sky, 500).1));
        assert_eq!(grown(&mut sky, 500), (300, false));
        sky.clear_up(&machine);
        assert_eq!(machine.others(), 0);
    }
}
