//! How many tokens of prompts a step takes while other requests decode.

use std::time::Duration;

/// Rows that kernels compute together: a step that ends between two multiples takes as long as one that ends at the next.
const TILE: usize = 16;
/// Tokens of prompts that a step takes at least, however long it lasts: prompts end.
const LEAST: usize = TILE / 2;
/// A duration that only decoding took counts by this much in the mean of those before it.
const WEIGHT: f64 = 0.25;

/// How many times as long as beside one newcomer a step may be at most, however many prompts wait.
const BURST: f64 = 4.0;

/// What the length of a prompt's chunk is weighed against.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Requests that get their next token in the step.
    pub(crate) decoding: usize,
    /// Those of them that have a claim on its time.
    pub(crate) claims: usize,
    /// Requests whose prompts are not yet taken in.
    pub(crate) waiting: usize,
}

/// What a step took in, besides what it is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Requests that had a token before and get their next one.
    pub(crate) decoding: usize,
    /// Tokens of prompts.
    pub(crate) prompt: usize,
    /// Whether these were all that there was room for.
    pub(crate) full: bool,
}

/// Holds the time between the tokens of running requests by the length of the prompts' chunks.
///
/// **How long a step may last.** Where decoding alone takes `base`, a step that also takes in prompts may last
/// `alone = max(target, 2 * base)`: the target, or as much for prompts as for decoding, else they would starve. That is for
/// one newcomer. Where several wait, each request is worth the same time: `base` is the share of the `claims` requests whose
/// next tokens it gives, so the `waiting` ones have `base * waiting / claims`. The whole is between `alone` and
/// [`BURST`]` * alone`. Any order of work adds up to the same time; one that held twelve prompts back for the sake of four
/// answers would only make more of them wait.
///
/// Not every request that decodes has a claim. In a burst, those whose prompts are taken in first are ahead of the others by
/// their place in the order, and a step beside few rows costs nearly what it costs beside many. So a request has no claim
/// over a prompt that came before its second token did, until that prompt was given as much as its own
/// ([`crate::running::Running::has_claim`]): who comes together begins together. Without claims a step lasts as long as
/// it may at most.
///
/// **How many tokens that is.** A step that decodes and takes in `n` tokens of prompts lasts about `base + n * cost`. The base
/// is the mean of steps that only decode; what a chunk took beyond it gives the cost, and both give the length that meets the
/// limit. A step that lasts as long as the limit has the right length whatever the base is taken for, so one that is out of
/// date makes the way there longer, and at worst ends a tile beside it. Costs rise at once and fall by half of the
/// difference, so that beside the same requests a chunk is at most twice as long as the one before it.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    /// Seconds; `None` for no target.
    target: Option<f64>,
    /// Most tokens of a step.
    most: usize,
    /// Seconds of a step that only decodes; 0 before the first.
    base: f64,
    /// Seconds of a prompt's token; `None` before the first.
    cost: Option<f64>,
}

impl Pace {
    /// A pace of at most `most` tokens a step. A target of zero is none.
    pub(crate) fn new(target: Duration, most: usize) -> Pace {
        let target = (!target.is_zero()).then_some(target.as_secs_f64());
        Pace { target, most, base: 0.0, cost: None }
    }

    /// What a step may take beside one newcomer: prompts have half of it at least.
    fn alone(&self, target: f64) -> f64 {
        target.max(2.0 * self.base)
    }

    /// What a step may take.
    fn limit(&self, target: f64, beside: Beside) -> f64 {
        let alone = self.alone(target);
        match beside.claims {
            0 => BURST * alone,
            claims => {
                let shared = self.base + self.base * beside.waiting as f64 / claims as f64;
                shared.clamp(alone, BURST * alone)
            }
        }
    }

    /// Tokens of prompts for a step.
    pub(crate) fn chunk(&self, beside: Beside) -> usize {
        let decoding = beside.decoding;
        let room = self.most.saturating_sub(decoding);
        let Some(target) = self.target.filter(|_| decoding > 0) else { return room };
        let limit = self.limit(target, beside);
        // A cost of nothing makes it infinite, and the cast the largest number.
        let fits = self.cost.map_or(TILE, |cost| ((limit - self.base) / cost) as usize);
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
        if prompt == 0 {
            let weight = if self.base > 0.0 { WEIGHT } else { 1.0 };
            self.base += weight * (took - self.base);
            return;
        }
        // The end of a prompt shows what is too long, but not how much more would fit.
        let late = took > self.alone(target);
        let mut rest = took;
        if decoding > 0 {
            // What only decoding takes is no more than this, whatever it was in other company.
            self.base = self.base.min(took);
            rest -= self.base;
        }
        let cost = rest / prompt as f64;
        self.cost = match self.cost {
            None => Some(cost),
            Some(known) if cost > known => Some(if full || late { cost } else { known }),
            Some(known) => Some(if full { (known + cost) / 2.0 } else { known }),
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

    /// One newcomer beside so many requests that were there before.
    fn one(decoding: usize) -> Beside {
        Beside { decoding, claims: decoding, waiting: 1 }
    }

    /// Steps of full chunks at this price; the last one's duration.
    fn steps_beside(
        pace: &mut Pace,
        count: usize,
        beside: Beside,
        price: impl Fn(usize) -> usize,
    ) -> Duration {
        let mut took = Duration::ZERO;
        for _ in 0..count {
            let prompt = pace.chunk(beside);
            took = micros(price(prompt));
            pace.observe(Taken { decoding: beside.decoding, prompt, full: true }, took);
        }
        took
    }

    /// The same of one newcomer.
    fn steps(pace: &mut Pace, count: usize, decoding: usize, price: impl Fn(usize) -> usize) -> Duration {
        steps_beside(pace, count, one(decoding), price)
    }

    #[test]
    fn a_step_is_filled_where_nobody_waits_for_it_or_nothing_is_aimed_at() {
        let mut pace = Pace::new(TARGET, 256);
        assert_eq!(pace.chunk(one(0)), 256);
        pace.observe(Taken { decoding: 0, prompt: 256, full: true }, Duration::from_secs(9));
        assert_eq!((pace.chunk(one(0)), pace.chunk(one(1))), (256, 15));
        let mut pace = Pace::new(Duration::ZERO, 256);
        steps(&mut pace, 9, 4, |_| 10_000_000);
        assert_eq!(pace.chunk(one(4)), 252);
    }

    #[test]
    fn the_first_chunk_follows_from_the_prompts_before_it() {
        let mut pace = Pace::new(TARGET, 256);
        // 2 ms a token alone; decoding takes 10 ms; so 20 tokens fit, which with one that decodes are a tile and a bit.
        pace.observe(Taken { decoding: 0, prompt: 256, full: true }, micros(512_000));
        pace.observe(Taken { decoding: 1, prompt: 0, full: false }, micros(10_000));
        assert_eq!(pace.chunk(one(1)), 15);
        assert!(steps(&mut pace, 1, 1, |chunk| 10_000 + 2_000 * chunk) <= TARGET);
    }

    #[test]
    fn the_length_settles_below_the_target_wherever_it_begins() {
        for base in [0, 5_000, 30_000, 45_000] {
            for cost in [20, 100, 500] {
                for stale in [base, 0, 1_000, 49_000, 200_000] {
                    let mut pace = Pace::new(TARGET, 256);
                    pace.base = micros(stale).as_secs_f64();
                    let price = |chunk: usize| base + cost * chunk;
                    steps(&mut pace, 60, 4, price);
                    let chunk = pace.chunk(one(4));
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
        assert_eq!(pace.chunk(one(4)), 156);
        // The first step after is late, the second is not.
        assert!(steps(&mut pace, 1, 4, price(1000)) > TARGET);
        assert!(steps(&mut pace, 1, 4, price(1000)) <= TARGET);
        assert_eq!(pace.chunk(one(4)), 28);
        assert!(steps(&mut pace, 12, 4, price(250)) > micros(45_000));
        assert_eq!(pace.chunk(one(4)), 156);
    }

    #[test]
    fn stairs_as_high_as_tiles_are_not_climbed_in_vain() {
        let mut pace = Pace::new(TARGET, 256);
        pace.observe(Taken { decoding: 4, prompt: 0, full: false }, micros(12_000));
        let price = |chunk: usize| 10_000 * (chunk + 4).div_ceil(TILE) + 2_000;
        steps(&mut pace, 20, 4, price);
        for _ in 0..20 {
            assert!(steps(&mut pace, 1, 4, price) <= TARGET);
            assert_eq!(pace.chunk(one(4)), 60);
        }
    }

    #[test]
    fn prompts_go_on_however_long_steps_last() {
        for decoding in 1..=128 {
            let mut pace = Pace::new(TARGET, 256);
            pace.observe(Taken { decoding, prompt: 0, full: false }, micros(80_000));
            steps(&mut pace, 9, decoding, |chunk| 80_000 + 9_000 * chunk);
            let chunk = pace.chunk(one(decoding));
            assert!((LEAST..LEAST + TILE).contains(&chunk), "{decoding}: {chunk}");
        }
        // Unless there is no room at all.
        let pace = Pace::new(TARGET, 16);
        assert_eq!([pace.chunk(one(12)), pace.chunk(one(16))], [4, 0]);
    }

    #[test]
    fn a_late_step_costs_one_chunk_and_a_short_end_none() {
        let mut pace = Pace::new(TARGET, 256);
        pace.observe(Taken { decoding: 4, prompt: 0, full: false }, micros(10_000));
        let price = |chunk: usize| 10_000 + 250 * chunk;
        steps(&mut pace, 20, 4, price);
        let settled = pace.chunk(one(4));
        // Three tokens cost much more than three's share.
        pace.observe(Taken { decoding: 4, prompt: 3, full: false }, micros(14_000));
        assert_eq!(pace.chunk(one(4)), settled);
        // The system took the processor away for a second.
        steps(&mut pace, 1, 4, |_| 1_000_000);
        assert!(pace.chunk(one(4)) < settled / 4);
        steps(&mut pace, 12, 4, price);
        assert_eq!(pace.chunk(one(4)), settled);
    }

    #[test]
    fn each_of_those_who_wait_has_as_much_time_as_each_of_those_with_a_claim() {
        // What decoding takes, requests that have a claim and that wait, and how long a step should last.
        for (base, claims, waiting, limit) in [
            (30, 4, 1, 60),
            (30, 4, 4, 60),
            (30, 4, 6, 75),
            (30, 4, 12, 120),
            (30, 2, 12, 210),
            (30, 1, 15, 240),
            (30, 0, 1, 240),
            (10, 4, 1, 50),
            (10, 4, 16, 50),
            (10, 1, 7, 80),
            (10, 0, 15, 200),
            (100, 4, 1, 200),
            (100, 1, 15, 800),
        ] {
            let mut pace = Pace::new(TARGET, 4096);
            pace.observe(Taken { decoding: 4, prompt: 0, full: false }, micros(base * 1000));
            let beside = Beside { decoding: 4, claims, waiting };
            let took = steps_beside(&mut pace, 20, beside, |chunk| base * 1000 + 200 * chunk);
            let late = took.saturating_sub(micros(limit * 1000));
            let early = micros(limit * 1000).saturating_sub(took);
            assert!(late.is_zero() && early < micros(TILE * 200), "{base} {claims} {waiting}: {took:?}");
        }
    }

    #[test]
    fn a_chunk_of_a_burst_does_not_lengthen_those_after_it() {
        let mut pace = Pace::new(TARGET, 256);
        let price = |chunk: usize| 30_000 + 1_250 * chunk;
        let burst = Beside { decoding: 4, claims: 0, waiting: 12 };
        // The first prompts of all: nothing is known but what they took.
        pace.observe(Taken { decoding: 0, prompt: 256, full: true }, micros(price(256)));
        // Nor what decoding alone takes.
        steps_beside(&mut pace, 1, burst, price);
        for _ in 0..9 {
            assert!(steps_beside(&mut pace, 1, burst, price) <= BURST as u32 * TARGET);
        }
        pace.observe(Taken { decoding: 4, prompt: 0, full: false }, micros(price(0)));
        for _ in 0..9 {
            assert!(steps(&mut pace, 1, 4, price) <= micros(60_000));
        }
        // A burst after it has its chunks at once.
        assert!(steps_beside(&mut pace, 1, burst, price) > micros(200_000));
        // Its last prompts are short of a chunk, yet cost what they cost now.
        pace.observe(Taken { decoding: 4, prompt: 100, full: false }, micros(30_000 + 100 * 2_500));
        assert!(steps(&mut pace, 1, 4, |chunk| 30_000 + 2_500 * chunk) <= micros(60_000));
    }
}
