//! Truncation to the likeliest tokens: `top_k` and `top_p`.

use std::cmp::Ordering;

/// Candidates are found in rounds, by these lower bounds of their weights. The likeliest token weighs 1 and few weigh nearly
/// as much, so the whole vocabulary is seldom put in order.
const ROUNDS: [f32; 4] = [1.0 / 64.0, 1.0 / 4096.0, 1e-7, 0.0];

/// The likeliest ids so far, most likely first, the lower id among equals.
struct Ranking<'a> {
    weights: &'a [f32],
    logits: &'a [f32],
    ids: &'a mut [u32],
    len: usize,
    rounds: usize,
}

impl Ranking<'_> {
    /// Adds the ids of the next round, at most up to `k` in all. Returns false when there are none left.
    fn grow(&mut self, k: usize) -> bool {
        if self.len == k || self.rounds == ROUNDS.len() {
            return false;
        }
        let most = self.rounds.checked_sub(1).map_or(f32::INFINITY, |before| ROUNDS[before]);
        let least = ROUNDS[self.rounds];
        self.rounds += 1;
        let mut end = self.len;
        for (id, weight) in self.weights.iter().enumerate() {
            if *weight >= least && *weight < most {
                self.ids[end] = id as u32;
                end += 1;
            }
        }
        let found = &mut self.ids[self.len..end];
        let order = |a: &u32, b: &u32| by_logit(self.logits, *a, *b);
        let wanted = found.len().min(k - self.len);
        if wanted < found.len() {
            found.select_nth_unstable_by(wanted, order);
        }
        found[..wanted].sort_unstable_by(order);
        self.len += wanted;
        true
    }
}

/// The ids that survive `top_k`, then `top_p` over what `top_k` left, most likely first, the lower id among equals.
///
/// `weights` are the probabilities over that of the likeliest, `logits` decide the order (weights of unlike logits may be
/// equal through rounding), `k` is in 1 ..= their number. `candidates` is room for as many ids.
pub(super) fn truncate<'a>(
    weights: &'a [f32],
    logits: &'a [f32],
    k: usize,
    top_p: f32,
    candidates: &'a mut [u32],
) -> &'a [u32] {
    let mut ranking = Ranking { weights, logits, ids: candidates, len: 0, rounds: 0 };
    let weight = |id: u32| f64::from(weights[id as usize]);
    let total: f64 = if k < weights.len() {
        while ranking.grow(k) {}
        ranking.ids[..ranking.len].iter().map(|&id| weight(id)).sum()
    } else {
        weights.iter().map(|&weight| f64::from(weight)).sum()
    };
    let enough = f64::from(top_p) * total;
    let (mut sum, mut done) = (0.0, 0);
    while done < ranking.len || ranking.grow(k) {
        while done < ranking.len {
            sum += weight(ranking.ids[done]);
            done += 1;
            if sum >= enough && top_p < 1.0 {
                return &ranking.ids[..done];
            }
        }
    }
    &ranking.ids[..done]
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
