//! Truncation to the likeliest tokens: `top_p`.
//!
//! Usually few tokens make up the nucleus. They are listed in rounds, most likely first, until they weigh enough. Where the
//! distribution is so flat that this would put half of the vocabulary in order, only the border is looked for
//! ([`cut`]), and the weights beyond it become 0.

use super::border::{Border, Enough, Mass};
use super::distribution::sum;
use super::maxima::{GROUP, between, by_logit, order};
use crate::backend::cpu::kernels::{LANES, Level, per_level};

/// Candidates are listed in rounds, by these natural logarithms of their weights' lower bounds; the last one holds the rest.
/// The likeliest token weighs 1 and few weigh nearly as much.
const ROUNDS: [f32; 4] = [-4.16, -8.32, -16.1, f32::NEG_INFINITY];

/// Most candidates that are put in order.
pub(super) const LISTED: usize = 2048;

/// Sums of the same weights in different orders differ by less than this, relatively.
const ROUNDING: f64 = 1e-9;

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

/// How many of `ids`, most likely first, weigh `enough`; `None` where they do not.
fn reaching(ids: &[u32], weights: &[f32], enough: f64) -> Option<usize> {
    let mut sum = 0.0;
    let reached = |id: &u32| {
        sum += f64::from(weights[*id as usize]);
        sum >= enough
    };
    Some(ids.iter().position(reached)? + 1)
}

/// The prefix of `ids`, most likely first, that weighs `enough`; all of them where they do not.
pub(super) fn prefix<'a>(ids: &'a [u32], weights: &[f32], enough: f64) -> &'a [u32] {
    &ids[..reaching(ids, weights, enough).unwrap_or(ids.len())]
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
        sum += ids[len..len + found].iter().map(|id| f64::from(weights[*id as usize])).sum::<f64>();
        (most, len) = (least, len + found);
        // They are put in order once they may be enough: else too many may follow for it to be of use.
        if sum >= enough * (1.0 - ROUNDING) {
            order(logits, &mut ids[..len]);
            if let Some(kept) = reaching(&ids[..len], weights, enough) {
                return Some(&ids[..kept]);
            }
        }
    }
    order(logits, &mut ids[..len]);
    Some(&ids[..len])
}

/// Makes the weights 0 of all but the likeliest ids that together are `enough`, of which the lower ids come first among
/// equals. All weigh `total`. `ids` has room for all.
pub(super) fn cut(weighed: Weighed<'_>, weights: &mut [f32], enough: Enough, total: f64, ids: &mut [u32]) {
    let Weighed { level, logits, .. } = weighed;
    let Border { least, most, above } = Border::find(level, weights, enough, total);
    drop_below(level, weights, least);
    if least.to_bits() + 1 == most.to_bits() {
        return cut_equals(weighed, weights, least, enough, above, ids);
    }
    let count = between(level, weights, None, least, most, ids);
    let border = &mut ids[..count];
    order(logits, border);
    let kept = match enough {
        Enough::Weight(enough) => prefix(border, weights, enough - above.weight).len(),
        Enough::Count(enough) => enough.saturating_sub(above.count).min(count),
    };
    border[kept..].iter().for_each(|id| weights[*id as usize] = 0.0);
}

/// The same where all at the border have this weight.
fn cut_equals(
    weighed: Weighed<'_>,
    weights: &mut [f32],
    weight: f32,
    enough: Enough,
    above: Mass,
    ids: &mut [u32],
) {
    let Weighed { level, logits, .. } = weighed;
    if weight == 0.0 {
        return;
    }
    let wanted = match enough {
        Enough::Weight(enough) => reaching_equals(enough - above.weight, f64::from(weight)),
        Enough::Count(enough) => enough.saturating_sub(above.count),
    };
    let (lowest, highest) = range(level, logits, weights, weight);
    if lowest == highest {
        return drop_after(level, weights, weight, wanted);
    }
    let count = between(level, weights, None, weight, weight.next_up(), ids);
    if wanted < count {
        ids[..count].select_nth_unstable_by(wanted, |a, b| by_logit(logits, *a, *b));
        ids[wanted..count].iter().for_each(|id| weights[*id as usize] = 0.0);
    }
}

/// How many equal weights are at least so much; at least one.
fn reaching_equals(enough: f64, weight: f64) -> usize {
    let count = (enough / weight).ceil().max(1.0);
    // The quotient was rounded.
    let count = if (count - 1.0) * weight >= enough { count - 1.0 } else { count };
    count.max(1.0) as usize
}

/// Makes weights of this size 0, but for the first `kept` of them.
fn drop_after(level: Level, weights: &mut [f32], weight: f32, kept: usize) {
    let (mut start, mut kept) = (0, kept);
    for group in weights.chunks(GROUP) {
        let count = sum(level, group, weight).1 - sum(level, group, weight.next_up()).1;
        if count > kept {
            break;
        }
        (start, kept) = (start + group.len(), kept - count);
    }
    let end = weights.len().min(start + GROUP);
    let (first, rest) = weights[start..].split_at_mut(end - start);
    first.iter_mut().filter(|other| **other == weight).skip(kept).for_each(|other| *other = 0.0);
    drop_equals(level, rest, weight);
}

per_level! {
    /// Makes weights of this size 0.
    fn drop_equals[_simd](weights: &mut [f32], weight: f32) {
        weights.iter_mut().for_each(|other| *other = if *other == weight { 0.0 } else { *other });
    }
}

per_level! {
    /// The smallest and the largest of the logits that have this weight.
    fn range[_simd](logits: &[f32], weights: &[f32], weight: f32) -> (f32, f32) {
        let (mut lowest, mut highest) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
        let rows = logits.as_chunks::<LANES>().0.iter().zip(weights.as_chunks::<LANES>().0);
        for (logits, weights) in rows {
            for i in 0..LANES {
                let low = if weights[i] == weight { logits[i] } else { f32::INFINITY };
                let high = if weights[i] == weight { logits[i] } else { f32::NEG_INFINITY };
                lowest[i] = if low < lowest[i] { low } else { lowest[i] };
                highest[i] = if high > highest[i] { high } else { highest[i] };
            }
        }
        let rest = logits.len() / LANES * LANES;
        for (logit, other) in logits[rest..].iter().zip(&weights[rest..]) {
            if *other == weight {
                lowest[0] = lowest[0].min(*logit);
                highest[0] = highest[0].max(*logit);
            }
        }
        (lowest.into_iter().fold(f32::INFINITY, f32::min), highest.into_iter().fold(f32::NEG_INFINITY, f32::max))
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
