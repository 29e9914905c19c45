//! The border of the likeliest tokens that are enough, as a bound on weights.
//!
//! No order is made. A pass over all weights tells what those from some bound on add up to; the bounds to try come from a
//! sample of the weights, put in order. So a few passes are left of the thirty that halving the range of floats would take.

use super::distribution::sum;
use super::nucleus::LISTED;
use crate::backend::cpu::kernels::Level;

/// Weights that are looked at to choose bounds.
const SAMPLES: usize = 1024;

/// Bounds that are chosen by what is missing. Where they do not end it, the middle of the samples is tried.
const AIMED: usize = 8;

/// What some tokens add up to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mass {
    pub(super) weight: f64,
    pub(super) count: usize,
}

/// How much is enough.
#[derive(Clone, Copy, Debug)]
pub(super) enum Enough {
    Weight(f64),
    Count(usize),
}

impl Enough {
    fn reached(self, mass: Mass) -> bool {
        match self {
            Enough::Weight(enough) => mass.weight >= enough,
            Enough::Count(enough) => mass.count >= enough,
        }
    }

    /// Which share of what `all` have beyond `some` is missing where there are those.
    fn missing(self, some: Mass, all: Mass) -> f64 {
        match self {
            Enough::Weight(enough) => (enough - some.weight) / (all.weight - some.weight),
            Enough::Count(enough) => {
                enough.saturating_sub(some.count) as f64 / all.count.saturating_sub(some.count) as f64
            }
        }
    }

    /// The place in samples, in rising order, from which on they are this share of all of them.
    fn place(self, samples: &[u32], share: f64) -> usize {
        let mass = |sample: &u32| match self {
            Enough::Weight(_) => f64::from(f32::from_bits(*sample)),
            Enough::Count(_) => 1.0,
        };
        let mut beyond = samples.iter().map(mass).sum::<f64>() * (1.0 - share);
        let reached = samples.iter().position(|sample| {
            beyond -= mass(sample);
            beyond <= 0.0
        });
        reached.unwrap_or(samples.len() - 1)
    }
}

/// Weights from `least` on are enough, or those that are positive are not; those from `most` on are not enough. Either few
/// lie between the two, or they are all equal.
#[derive(Clone, Copy, Debug)]
pub(super) struct Border {
    pub(super) least: f32,
    pub(super) most: f32,
    /// What weighs `most` or more.
    pub(super) above: Mass,
}

impl Border {
    /// Finds the border of weights of which the largest is 1 and which add up to `total`, or about.
    pub(super) fn find(level: Level, weights: &[f32], enough: Enough, total: f64) -> Border {
        let mut samples = [0; SAMPLES];
        for (place, sample) in samples.iter_mut().enumerate() {
            *sample = weights[place * weights.len() / SAMPLES].to_bits();
        }
        samples.sort_unstable();
        // Bits of positive floats are in the order of these.
        let (mut least, mut most) = (0u32, 2f32.to_bits());
        let (mut all, mut above) = (Mass { weight: total, count: weights.len() }, Mass::default());
        let (mut tries, mut aims_low, mut equals_tried) = (0, true, false);
        while most - least > 1 && all.count - above.count > LISTED {
            let from = samples.partition_point(|sample| *sample <= least);
            let inside = &samples[from..samples.partition_point(|sample| *sample < most)];
            let bound = if !inside.is_empty() {
                tries += 1;
                let middle = inside.len() / 2;
                // To either side of the border by what samples may err, so that it comes to lie between two bounds.
                let aside = inside.len().isqrt();
                let at = || enough.place(inside, enough.missing(above, all));
                inside[match (tries > AIMED, aims_low) {
                    (true, _) => middle,
                    (false, true) => at().saturating_sub(aside),
                    (false, false) => (at() + aside).min(inside.len() - 1),
                }]
            } else if !equals_tried {
                equals_tried = true;
                least + 1
            } else {
                least + (most - least) / 2
            };
            let (weight, count) = sum(level, weights, f32::from_bits(bound));
            let mass = Mass { weight, count };
            if enough.reached(mass) {
                (least, all, aims_low) = (bound, mass, false);
            } else {
                (most, above, aims_low) = (bound, mass, true);
            }
        }
        Border { least: f32::from_bits(least), most: f32::from_bits(most), above }
    }
}
