//! A whole vocabulary's logits as a distribution.

use super::maxima::{GROUP, Survey};
use crate::backend::cpu::kernels::{LANES, Level, exp, per_level};
use plimsoll_engine::EngineError;

/// What turns a logit into a log-probability.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distribution {
    /// The largest logit.
    pub(super) largest: f32,
    /// The sum of exp(logit - largest), at least 1: the largest logit's own term.
    pub(super) total: f64,
}

impl Distribution {
    /// Measures logits that were surveyed; at least one must be finite, none NaN or +inf. `weights` becomes
    /// `exp(logit - largest)`.
    pub(super) fn measure(
        level: Level,
        logits: &[f32],
        survey: Survey,
        weights: &mut [f32],
    ) -> Result<Self, EngineError> {
        if survey.is_bad {
            let bad = |logit: &f32| logit.is_nan() || *logit == f32::INFINITY;
            let at = logits.iter().position(bad).unwrap_or(0);
            let what = format!("the model's logit of token {at} is {}", logits[at]);
            return Err(EngineError::Execution(what));
        }
        let largest = survey.largest;
        if largest == f32::NEG_INFINITY {
            return Err(EngineError::Execution("the model gives no token a chance".to_owned()));
        }
        Ok(Distribution { largest, total: weigh(level, logits, largest, 1.0, weights) })
    }

    /// The natural-log probability of a token with this logit.
    pub(super) fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - f64::from(self.largest) - self.total.ln()) as f32
    }
}

/// Draws from weights of which those below `floor` do not count; `uniform` is in [0, 1). The largest weight is 1.
pub(super) fn pick(level: Level, weights: &[f32], floor: f32, uniform: f64) -> u32 {
    let target = uniform * sum(level, weights, floor).0;
    let (mut total, mut last) = (0.0, 0);
    for (number, group) in weights.chunks(GROUP).enumerate() {
        let (more, count) = sum(level, group, floor);
        if count == 0 {
            continue;
        }
        let counted = |(_, weight): &(usize, &f32)| **weight >= floor && **weight > 0.0;
        let mut counted = group.iter().enumerate().filter(counted);
        if total + more <= target {
            total += more;
            // Where sums were rounded down to the very end, the last one is taken.
            last = number * GROUP + counted.next_back().map_or(0, |(at, _)| at);
            continue;
        }
        for (at, weight) in counted {
            total += f64::from(*weight);
            last = number * GROUP + at;
            if total > target {
                break;
            }
        }
        break;
    }
    last as u32
}

/// `exp((logit - largest) * scale)`.
#[inline(always)]
pub(super) fn weight(logit: f32, largest: f32, scale: f32) -> f32 {
    exp((logit - largest) * scale)
}

per_level! {
    /// Fills `weights` with the [`weight`] of every logit, 1 for the largest, and returns their sum.
    pub(super) fn weigh[simd](logits: &[f32], largest: f32, scale: f32, weights: &mut [f32]) -> f64 {
        let mut total = 0.0;
        for (logits, weights) in logits.chunks(GROUP).zip(weights.chunks_mut(GROUP)) {
            for (weight, logit) in weights.iter_mut().zip(logits) {
                *weight = self::weight(*logit, largest, scale);
            }
            // Some terms are summed in f32 before they go into the total.
            let (rows, rest) = weights.as_chunks::<LANES>();
            let mut sum = simd.zero();
            for row in rows {
                sum = simd.add(sum, simd.load(row));
            }
            total += f64::from(simd.sum(sum)) + f64::from(rest.iter().sum::<f32>());
        }
        total
    }
}

per_level! {
    /// The sum of the weights that are positive and not below `floor`, and how many these are.
    pub(super) fn sum[simd](weights: &[f32], floor: f32) -> (f64, usize) {
        let floor = floor.max(f32::from_bits(1));
        let (mut total, mut count) = (0.0, 0);
        for weights in weights.chunks(GROUP) {
            let (rows, rest) = weights.as_chunks::<LANES>();
            let mut padded = [0.0; LANES];
            padded[..rest.len()].copy_from_slice(rest);
            let mut sum = simd.zero();
            for row in rows.iter().chain([&padded]) {
                let row = simd.load(row);
                sum = simd.add(sum, simd.keep(row, floor));
                count += simd.at_least(row, floor).count_ones() as usize;
            }
            total += f64::from(simd.sum(sum));
        }
        (total, count)
    }
}
