//! Truncation to the likeliest tokens: `top_k` and `top_p`.

use std::cmp::Ordering;

/// How many candidates are put in order first; four times as many on each further round. A nucleus is mostly small, so
/// the whole vocabulary is seldom sorted.
const FIRST_ROUND: usize = 256;

/// The ids that survive `top_k`, then `top_p` over what `top_k` left, most likely first, the lower id among equals.
///
/// `weights` are the probabilities up to a factor, `logits` decide the order (weights of unlike logits may be equal
/// through rounding), `k` is in 1 ..= their number. `candidates` is room for as many ids.
pub(super) fn truncate<'a>(
    weights: &[f32],
    logits: &[f32],
    k: usize,
    top_p: f32,
    candidates: &'a mut [u32],
) -> &'a [u32] {
    let order = |a: &u32, b: &u32| by_logit(logits, *a, *b);
    for (id, candidate) in candidates.iter_mut().enumerate() {
        *candidate = id as u32;
    }
    if k < candidates.len() {
        candidates.select_nth_unstable_by(k - 1, order);
    }
    let candidates = &mut candidates[..k];
    if top_p >= 1.0 {
        candidates.sort_unstable_by(order);
        return candidates;
    }
    // In order of ids, so that the sum does not depend on how the selection left them.
    let total: f64 = match k == weights.len() {
        true => weights.iter().map(|&weight| f64::from(weight)).sum(),
        false => {
            candidates.sort_unstable_by(order);
            candidates.iter().map(|&id| f64::from(weights[id as usize])).sum()
        }
    };
    let enough = f64::from(top_p) * total;
    let (mut sum, mut done, mut round) = (0.0, 0, FIRST_ROUND);
    while done < k {
        let end = done.saturating_add(round).min(k);
        let rest = &mut candidates[done..];
        if end < k {
            rest.select_nth_unstable_by(end - done - 1, order);
        }
        rest[..end - done].sort_unstable_by(order);
        for at in done..end {
            sum += f64::from(weights[candidates[at] as usize]);
            if sum >= enough {
                return &candidates[..=at];
            }
        }
        (done, round) = (end, round.saturating_mul(4));
    }
    candidates
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

/// Descending by logit, then ascending by id: a total order, as no logit is NaN.
fn by_logit(logits: &[f32], a: u32, b: u32) -> Ordering {
    logits[b as usize].partial_cmp(&logits[a as usize]).unwrap_or(Ordering::Equal).then(a.cmp(&b))
}
