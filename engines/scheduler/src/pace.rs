//! How many tokens of prompts a step takes while other requests decode.

use std::time::Duration;

/// Rows that kernels compute together: a step that ends between two multiples takes as long as one that ends at the next.
const TILE: usize = 16;
/// Tokens of prompts that a step takes at least, however long it lasts: prompts end.
const LEAST: usize = TILE / 2;
/// A duration that only decoding took counts by this much in the mean of those before it.
const WEIGHT: f64 = 0.25;

/// What a step took in, besides what it is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Requests that had a token before and get their next one.
    pub(crate) decoding: usize,
    /// Tokens of prompts.
    pub(crate) prompt: usize,
    /// Whether there would have been more of these.
    pub(crate) full: bool,
}

/// Holds the time between the tokens of running requests at a target by the length of the prompts' chunks. Where decoding
/// alone takes more than half of the target, prompts take as long again: else they would starve.
///
/// A step that decodes and takes in `n` tokens of prompts lasts about `base + n * cost`. The base is the mean of steps that
/// only decode; what a chunk took beyond it gives the cost, and both give the length that meets the target. A step that
/// lasts as long as the target has the right length whatever the base is taken for, so one that is out of date makes the
/// way there longer, and at worst ends a tile beside it. Costs rise at once and fall by half of the difference, so that a
/// chunk is at most twice as long as the one before it.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Seconds; `None` for no target.
    target: Option<f64>,
    /// Most tokens of a step.
    most: usize,
    /// Seconds of a step that only decodes; 0 before the first.
    base: f64,
    /// How many requests decoded in the last of these.
    company: usize,
    /// Seconds of a prompt's token; `None` before the first.
    cost: Option<f64>,
}

impl Pace {
    /// A pace of at most `most` tokens a step. A target of zero is none.
    pub(crate) fn new(target: Duration, most: usize) -> Pace {
        let target = (!target.is_zero()).then_some(target.as_secs_f64());
        Pace { target, most, base: 0.0, company: 0, cost: None }
    }

    /// What decoding takes of a step. A base from other company counts for half of the target at most: one that is too high
    /// makes every answer an overshoot.
    fn base(&self, decoding: usize, target: f64) -> f64 {
        self.base.min(if decoding == self.company { target } else { target / 2.0 })
    }

    /// What a step may take: the target, or twice what decoding alone takes, so that prompts have half of the time at least.
    fn limit(&self, target: f64) -> f64 {
        target.max(2.0 * self.base)
    }

    /// Tokens of prompts for a step in which so many requests decode.
    pub(crate) fn chunk(&self, decoding: usize) -> usize {
        let room = self.most.saturating_sub(decoding);
        let Some(target) = self.target.filter(|_| decoding > 0) else { return room };
        let target = self.limit(target);
        // A cost of nothing makes it infinite, and the cast the largest number.
        let fits = self.cost.map_or(TILE, |cost| ((target - self.base(decoding, target)) / cost) as usize);
        let tiles = (fits.min(self.most) + decoding) / TILE * TILE;
        let chunk = match tiles.checked_sub(decoding) {
            Some(chunk) if chunk >= LEAST => chunk,
            // One more tile than fits: the tokens that share one with those that decode are all but free.
            _ => (decoding / TILE + 1) * TILE - decoding,
        };
        chunk.max(LEAST).min(room)
    }

    /// Takes in how long a step lasted.
    pub(crate) fn observe(&mut self, taken: Taken, took: Duration) {
        let (Some(target), took) = (self.target, took.as_secs_f64()) else { return };
        let Taken { decoding, prompt, full } = taken;
        let target = self.limit(target);
        if prompt == 0 {
            let weight = if self.base > 0.0 { WEIGHT } else { 1.0 };
            self.base += weight * (took - self.base);
            self.company = decoding;
            return;
        }
        let cost = if decoding > 0 {
            // What only decoding takes is no more than this, whatever it was in other company.
            self.base = self.base.min(took);
            (took - self.base(decoding, target)) / prompt as f64
        } else {
            took / prompt as f64
        };
        // The end of a prompt shows what is too long, but not how much more would fit.
        let telling = full || prompt >= self.chunk(decoding);
        self.cost = match self.cost {
            None => Some(cost),
            Some(known) if cost > known => Some(if telling || took > target { cost } else { known }),
            Some(known) => Some(if telling { (known + cost) / 2.0 } else { known }),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(50);

    fn micros(micros: usize) -> Duration {
        Duration::from_micros(micros as u64)
    }

    /// Steps of full chunks beside `decoding` requests, at this price; the last one's duration.
    fn steps(pace: &mut Pace, count: usize, decoding: usize, price: impl Fn(usize) -> usize) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            let prompt = pace.chunk(decoding);
            took = micros(price(prompt));
            pace.observe(Taken { decoding, prompt, full: true }, took);
        }
        took
    }

    #[test]
    fn a_step_is_filled_where_nobody_waits_for_it_or_nothing_is_aimed_at() {
        let mut pace = Pace::new(TARGET, 256);
        assert_eq!(pace.chunk(0), 256);
        pace.observe(Taken { decoding: 0, prompt: 256, full: true }, Duration::from_secs(9));
        assert_eq!((pace.chunk(0), pace.chunk(1)), (256, 15));
        let mut pace = Pace::new(Duration::ZERO, 256);
        steps(&mut pace, 9, 4, |_| 10_000_000);
        assert_eq!(pace.chunk(4), 252);
    }

    #[test]
    fn the_first_chunk_follows_from_the_prompts_before_it() {
        let mut pace = Pace::new(TARGET, 256);
        // 2 ms a token alone; decoding takes 10 ms; so 20 tokens fit, which with one that decodes are a tile and a bit.
        pace.observe(Taken { decoding: 0, prompt: 256, full: true }, micros(512_000));
        pace.observe(Taken { decoding: 1, prompt: 0, full: false }, micros(10_000));
        assert_eq!(pace.chunk(1), 15);
        assert!(steps(&mut pace, 1, 1, |chunk| 10_000 + 2_000 * chunk) <= TARGET);
    }

    #[test]
    fn the_length_settles_below_the_target_wherever_it_begins() {
        for base in [0, 5_000, 30_000, 45_000] {
            for cost in [20, 100, 500] {
                for stale in [base, 0, 1_000, 49_000, 200_000] {
                    let mut pace = Pace::new(TARGET, 256);
                    pace.base = micros(stale).as_secs_f64();
                    pace.company = if stale == base { 4 } else { 16 };
                    let price = |chunk: usize| base + cost * chunk;
                    steps(&mut pace, 60, 4, price);
                    let chunk = pace.chunk(4);
                    let target = 50_000.max(2 * base);
                    // A base that is wrong leaves it a tile around the target, or around twice that base; which is at most
                    // what the first step takes.
                    let wrong = 50_000.max(2 * stale.max(base).min(price(TILE))) + 2_000;
                    let most = if stale == base { target } else { wrong };
                    assert!(price(chunk) <= most || chunk <= 12, "{base} {cost} {stale}: {chunk}");
                    // Another tile or two would be late, or there is no room for them.
                    let more = price(chunk + 2 * TILE);
                    assert!(more > target || chunk == 252 || stale != base, "{base} {cost} {stale}: {chunk}");
                }
            }
        }
    }

    #[test]
    fn it_settles_again_when_steps_become_slower_or_faster() {
        let mut pace = Pace::new(TARGET, 256);
        let price = |cost| move |chunk: usize| 10_000 + cost * chunk;
        pace.observe(Taken { decoding: 4, prompt: 0, full: false }, micros(10_000));
        steps(&mut pace, 20, 4, price(250));
        assert_eq!(pace.chunk(4), 156);
        // The first step after is late, the second is not.
        assert!(steps(&mut pace, 1, 4, price(1000)) > TARGET);
        assert!(steps(&mut pace, 1, 4, price(1000)) <= TARGET);
        assert_eq!(pace.chunk(4), 28);
        assert!(steps(&mut pace, 12, 4, price(250)) > micros(45_000));
        assert_eq!(pace.chunk(4), 156);
    }

    #[test]
    fn stairs_as_high_as_tiles_are_not_climbed_in_vain() {
        let mut pace = Pace::new(TARGET, 256);
        pace.observe(Taken { decoding: 4, prompt: 0, full: false }, micros(12_000));
        let price = |chunk: usize| 10_000 * (chunk + 4).div_ceil(TILE) + 2_000;
        steps(&mut pace, 20, 4, price);
        for _ in 0..20 {
            assert!(steps(&mut pace, 1, 4, price) <= TARGET);
            assert_eq!(pace.chunk(4), 60);
        }
    }

    #[test]
    fn prompts_go_on_however_long_steps_last() {
        for decoding in 1..=128 {
            let mut pace = Pace::new(TARGET, 256);
            pace.observe(Taken { decoding, prompt: 0, full: false }, micros(80_000));
            steps(&mut pace, 9, decoding, |chunk| 80_000 + 9_000 * chunk);
            let chunk = pace.chunk(decoding);
            assert!((LEAST..LEAST + TILE).contains(&chunk), "{decoding}: {chunk}");
        }
        // Unless there is no room at all.
        let pace = Pace::new(TARGET, 16);
        assert_eq!([pace.chunk(12), pace.chunk(16)], [4, 0]);
    }

    #[test]
    fn a_late_step_costs_one_chunk_and_a_short_end_none() {
        let mut pace = Pace::new(TARGET, 256);
        pace.observe(Taken { decoding: 4, prompt: 0, full: false }, micros(10_000));
        let price = |chunk: usize| 10_000 + 250 * chunk;
        steps(&mut pace, 20, 4, price);
        let settled = pace.chunk(4);
        // Three tokens cost much more than three's share.
        pace.observe(Taken { decoding: 4, prompt: 3, full: false }, micros(14_000));
        assert_eq!(pace.chunk(4), settled);
        // The system took the processor away for a second.
        steps(&mut pace, 1, 4, |_| 1_000_000);
        assert!(pace.chunk(4) < settled / 4);
        steps(&mut pace, 12, 4, price);
        assert_eq!(pace.chunk(4), settled);
    }
}
