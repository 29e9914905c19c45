//! Truncation to the likeliest tokens: `top_p`.
//!
//! Usually few tokens make up the nucleus. They are listed in rounds, most likely first, until they weigh enough. Where the
//! distribution is so flat that this would put half of the vocabulary in order, only the border is looked for
//! ([`cut`]), and the weights beyond it become 0.

use super::distribution::sum;
use super::maxima::{between, by_logit};
use crate::backend::cpu::kernels::{Level, per_level};

/// Candidates are listed in rounds, by these natural logarithms of their weights' lower bounds; the last one holds the rest.
/// The likeliest token weighs 1 and few weigh nearly as much.
const ROUNDS: [f32; 4] = [-4.16, -8.32, -16.1, f32::NEG_INFINITY];

/// Most candidates that are put in order.
const LISTED: usize = 2048;

/// Logits with their weights, at the request's temperature.
#[derive(Clone, Copy)]
pub(super) struct Weighed<'a> {
    pub(super) level: Level,
    pub(super) logits: &'a [f32],
    /// The largest logits of parts: see [`super::maxima`].
    pub(super) maxima: &'a [f32],
    pub(super) largest: f32,
    /// What logits are multiplied with before they become weights.
    pub(super) scale: f32,
}

/// The prefix of `ids`, most likely first, that weighs `enough`; all of them where they do not.
pub(super) fn prefix<'a>(ids: &'a [u32], weights: &[f32], enough: f64) -> &'a [u32] {
    let mut sum = 0.0;
    let reached = |id: &u32| {
        sum += f64::from(weights[*id as usize]);
        sum >= enough
    };
    let end = ids.iter().position(reached).map_or(ids.len(), |at| at + 1);
    &ids[..end]
}

/// The likeliest ids that together weigh `enough`, most likely first, the lower id among equals; `None` when they are too
/// many to be listed. `ids` has room for all of them, or for one more than are listed.
pub(super) fn list<'a>(
    weighed: Weighed<'_>,
    weights: &[f32],
    enough: f64,
    ids: &'a mut [u32],
) -> Option<&'a [u32]> {
    let Weighed { level, logits, maxima, largest, scale } = weighed;
    let room = ids.len().min(LISTED + 1);
    let (mut most, mut len, mut sum) = (f32::INFINITY, 0, 0.0);
    for round in ROUNDS {
        // What is -inf weighs nothing.
        let least = (largest + round / scale).max(f32::MIN);
        let found = between(level, logits, Some(maxima), least, most, &mut ids[len..room]);
        if len + found > LISTED {
            return None;
        }
        ids[len..len + found].sort_unstable_by(|a, b| by_logit(logits, *a, *b));
        for at in len..len + found {
            sum += f64::from(weights[ids[at] as usize]);
            if sum >= enough {
                return Some(&ids[..=at]);
            }
        }
        (most, len) = (least, len + found);
    }
    Some(&ids[..len])
}

/// Makes the weights 0 of all but the likeliest ids that together weigh `enough`, of which the lower ids come first among
/// equals. `ids` has room for all.
pub(super) fn cut(weighed: Weighed<'_>, weights: &mut [f32], enough: f64, ids: &mut [u32]) {
    let Weighed { level, logits, .. } = weighed;
    // Bits of positive floats are in the order of these. Weights from `least` on are enough, those from `most` on are not.
    let (mut least, mut most) = (0u32, 2f32.to_bits());
    let (mut above, mut within) = (0.0, weights.len());
    let mut before = 0;
    while most - least > 1 && within > LISTED {
        let middle = least + (most - least) / 2;
        let (reached, count) = sum(level, weights, f32::from_bits(middle));
        if reached >= enough {
            (least, within) = (middle, count - before);
        } else {
            within -= count - before;
            (most, above, before) = (middle, reached, count);
        }
    }
    let (least, most) = (f32::from_bits(least), f32::from_bits(most));
    let count = between(level, weights, None, least, most, ids);
    let border = &mut ids[..count];
    drop_below(level, weights, least);
    border.sort_unstable_by(|a, b| by_logit(logits, *a, *b));
    let kept = prefix(border, weights, enough - above).len();
    for id in &border[kept..] {
        weights[*id as usize] = 0.0;
    }
}

per_level! {
    /// Makes weights below `least` 0.
    fn drop_below[_simd](weights: &mut [f32], least: f32) {
        weights.iter_mut().for_each(|weight| *weight = if *weight >= least { *weight } else { 0.0 });
    }
}

/// Draws from the candidates, of which those with a weight below `floor` do not count; `uniform` is in [0, 1).
/// The first is the likeliest and weighs 1.
pub(super) fn pick(candidates: &[u32], weights: &[f32], floor: f32, uniform: f64) -> u32 {
    let weight = |id: u32| weights[id as usize];
    // They come most likely first: what counts is a prefix.
    let counted = candidates.partition_point(|&id| weight(id) >= floor && weight(id) > 0.0);
    let counted = &candidates[..counted.max(1)];
    let target = uniform * counted.iter().map(|&id| f64::from(weight(id))).sum::<f64>();
    let mut sum = 0.0;
    for &id in counted {
        sum += f64::from(weight(id));
        if sum > target {
            return id;
        }
    }
    counted[counted.len() - 1]
}
