//! A whole vocabulary's logits as a distribution.

use crate::backend::cpu::kernels::{Level, exp, per_level};
use plimsoll_engine::{EngineError, TopLogprob};

/// What turns a logit into a log-probability.
#[derive(Clone, Copy, Debug)]
pub(super) struct Distribution {
    /// ln of the sum of exp(logit).
    log_sum: f64,
}

impl Distribution {
    /// Measures logits; at least one must be finite, none NaN or +inf.
    pub(super) fn measure(level: Level, logits: &[f32]) -> Result<Self, EngineError> {
        if let Some(at) = first_bad(level, logits) {
            let what = format!("the model's logit of token {at} is {}", logits[at]);
            return Err(EngineError::Execution(what));
        }
        let largest = largest(level, logits);
        if largest == f32::NEG_INFINITY {
            return Err(EngineError::Execution("the model gives no token a chance".to_owned()));
        }
        // The sum is at least 1: the largest logit's own term.
        let log_sum = f64::from(largest) + sum_exp(level, logits, largest).ln();
        Ok(Distribution { log_sum })
    }

    /// The natural-log probability of a token with this logit.
    pub(super) fn logprob(&self, logit: f32) -> f32 {
        (f64::from(logit) - self.log_sum) as f32
    }

    /// The `count` most likely tokens, most likely first, the lower id among equals.
    pub(super) fn tops(&self, logits: &[f32], count: usize, tops: &mut Vec<TopLogprob>) {
        tops.clear();
        let count = count.min(logits.len());
        if count == 0 {
            return;
        }
        // While the list is built its entries hold logits; ids come in rising order, so equals keep that order.
        for (id, &logit) in logits.iter().enumerate() {
            if tops.len() == count {
                if logit <= tops[count - 1].logprob {
                    continue;
                }
                tops.pop();
            }
            let at = tops.partition_point(|top| top.logprob >= logit);
            tops.insert(at, TopLogprob { id: id as u32, logprob: logit });
        }
        for top in tops {
            top.logprob = self.logprob(top.logprob);
        }
    }
}

/// The id of the largest logit, the lowest among equals. None is NaN.
pub(super) fn argmax(level: Level, logits: &[f32]) -> u32 {
    let largest = largest(level, logits);
    logits.iter().position(|logit| *logit == largest).unwrap_or(0) as u32
}

/// Draws from weights of which those below `floor` do not count; `uniform` is in [0, 1). The largest weight is 1.
pub(super) fn pick(weights: &[f32], floor: f32, uniform: f64) -> u32 {
    let kept = |weight: f32| if weight >= floor { f64::from(weight) } else { 0.0 };
    let target = uniform * weights.iter().map(|&weight| kept(weight)).sum::<f64>();
    let (mut sum, mut last) = (0.0, 0);
    for (id, &weight) in weights.iter().enumerate() {
        let weight = kept(weight);
        if weight > 0.0 {
            sum += weight;
            last = id;
            if sum > target {
                break;
            }
        }
    }
    last as u32
}

fn first_bad(level: Level, logits: &[f32]) -> Option<usize> {
    match any_bad(level, logits) {
        true => logits.iter().position(|logit| logit.is_nan() || *logit == f32::INFINITY),
        false => None,
    }
}

per_level! {
    fn any_bad[_simd](logits: &[f32]) -> bool {
        logits.iter().fold(false, |bad, logit| bad | logit.is_nan() | (*logit == f32::INFINITY))
    }
}

per_level! {
    /// The largest logit, none of which is NaN; -inf of none.
    pub(super) fn largest[_simd](logits: &[f32]) -> f32 {
        // The order of floats is that of these integers, whose maximum is found in vectors.
        let key = |bits: i32| bits ^ ((bits >> 31) & i32::MAX);
        let keys = logits.iter().map(|logit| key(logit.to_bits().cast_signed()));
        let largest = keys.fold(key(f32::NEG_INFINITY.to_bits().cast_signed()), i32::max);
        f32::from_bits(key(largest).cast_unsigned())
    }
}

/// Terms that are summed in f32 before they go into the total.
const TERMS: usize = 1024;

per_level! {
    /// The sum of `exp(logit - largest)`.
    fn sum_exp[simd](logits: &[f32], largest: f32) -> f64 {
        let mut total = 0.0;
        for logits in logits.chunks(TERMS) {
            let mut terms = [0.0; TERMS];
            for (term, logit) in terms.iter_mut().zip(logits) {
                *term = exp(*logit - largest);
            }
            let mut sum = simd.zero();
            for terms in terms.as_chunks().0 {
                sum = simd.add(sum, simd.load(terms));
            }
            total += f64::from(simd.sum(sum));
        }
        total
    }
}

per_level! {
    /// `weights = exp((logit - largest) / temperature)`: 1 for the largest.
    pub(super) fn weigh[_simd](logits: &[f32], largest: f32, temperature: f32, weights: &mut [f32]) {
        for (weight, &logit) in weights.iter_mut().zip(logits) {
            *weight = exp((logit - largest) / temperature);
        }
    }
}
