//! One row over a stretch of its tokens.

use super::stored::Stored;
use super::tile::{
    GROUPS, LOWEST, State, TILE, VECTORS, gather, pack, packed_len, score, soften, vectors_at_once,
};
use super::wide::{WIDTH, Wide};
use super::{Head, Shape};
use crate::backend::cpu::kernels::per_level;
use std::ops::Range;

/// Most stretches of a row.
pub(crate) const STRETCHES: usize = 16;

/// Tokens of the shortest stretch. Shorter ones lose more at their ends than other threads gain.
const SHORTEST: usize = 256;

/// Tokens of each stretch of a row that looks at so many; it begins at a multiple of that.
pub(crate) fn stretch_tokens(tokens: usize) -> usize {
    // Beginning within a stretch, a row reaches into one more than its tokens fill.
    tokens.div_ceil(STRETCHES - 1).next_multiple_of(SHORTEST)
}

/// Floats of scratch for a group of so many query heads; `None` on overflow.
pub(crate) fn stretch_scratch_len(group: usize, head_dim: usize) -> Option<usize> {
    let packed = group.checked_next_multiple_of(VECTORS)?.checked_mul(packed_len(head_dim)?)?;
    packed.checked_add(VECTORS * TILE)
}

/// Floats of one stretch's result: each head's sum of weighted values, then its maximum and its sum of weights.
pub(crate) fn record_len(group: usize, head_dim: usize) -> Option<usize> {
    head_dim.checked_add(2)?.checked_mul(group)
}

per_level! {
    /// One row's query heads of a key head (`[group, head_dim]`) over tokens `range`, into a record of [`record_len`] floats.
    pub(crate) fn attend_stretch<F: Stored>[simd](
        shape: Shape, head: &dyn Head, query: &[f32], range: Range<usize>, record: &mut [f32], scratch: &mut [f32],
    ) {
        let wide = simd.wide();
        let group = query.len() / shape.head_dim;
        match vectors_at_once::<S::Wide>(group) {
            1 => stretch::<S::Wide, F, 1>(wide, shape, head, query, range, record, scratch),
            2 => stretch::<S::Wide, F, 2>(wide, shape, head, query, range, record, scratch),
            4 => stretch::<S::Wide, F, 4>(wide, shape, head, query, range, record, scratch),
            _ => if S::Wide::MANY { stretch::<S::Wide, F, VECTORS>(wide, shape, head, query, range, record, scratch) },
        }
    }
}

#[inline(always)]
fn stretch<W: Wide, F: Stored, const M: usize>(
    wide: W,
    shape: Shape,
    head: &dyn Head,
    query: &[f32],
    range: Range<usize>,
    record: &mut [f32],
    scratch: &mut [f32],
) {
    let head_dim = shape.head_dim;
    let padded = head_dim.next_multiple_of(super::stored::QUAD);
    let group = query.len() / head_dim;
    let (out, states) = record.split_at_mut(group * head_dim);
    let (scores, packed) = scratch.split_at_mut(VECTORS * TILE);
    for (query, packed) in query.chunks(M * head_dim).zip(packed.chunks_mut(M * padded)) {
        pack::<M>(query, head_dim, shape.factor(), packed);
    }
    out.fill(0.0);
    for state in states.as_chunks_mut::<2>().0 {
        *state = [LOWEST, 0.0];
    }
    let last = range.end.div_ceil(WIDTH);
    let mut start = range.start / TILE * TILE;
    while start < range.end {
        let first = start.max(range.start) / WIDTH;
        let count = (start / WIDTH + GROUPS).min(last) - first;
        let (mut keys, mut values): ([&[u8]; GROUPS], [&[u8]; GROUPS]) = ([&[]; GROUPS], [&[]; GROUPS]);
        let (mut next_keys, mut next_values) = ([std::ptr::null(); GROUPS], [std::ptr::null(); GROUPS]);
        for at in 0..count {
            (keys[at], values[at]) = head.group(first + at);
            // At the end it is this tile again, which costs nothing: asking for what is no memory would cost a page walk.
            let next = if first + at + GROUPS < last {
                head.group(first + at + GROUPS)
            } else {
                (keys[at], values[at])
            };
            (next_keys[at], next_values[at]) = (next.0.as_ptr(), next.1.as_ptr());
        }
        let base = first * WIDTH;
        let tokens = (range.start.saturating_sub(base), (range.end - base).min(count * WIDTH));
        let sets = out.chunks_mut(M * head_dim).zip(states.chunks_mut(2 * M));
        for ((out, states), packed) in sets.zip(packed.chunks(M * padded)) {
            scores_of::<W, F, M, true>(wide, head_dim, &keys[..count], &next_keys, packed, scores);
            let heads = states.len() / 2;
            let mut shrink = [1.0; M];
            for m in 0..heads {
                let scores = &mut scores[m * TILE..][..count * WIDTH];
                let mut state = State { most: states[2 * m], sum: states[2 * m + 1] };
                shrink[m] = soften(wide, shape, scores, tokens, &mut state);
                (states[2 * m], states[2 * m + 1]) = (state.most, state.sum);
            }
            let values = &values[..count];
            gather::<W, F, M, true>(
                wide,
                head_dim,
                values,
                &next_values,
                tokens,
                scores,
                &shrink,
                heads,
                out,
            );
        }
        start += TILE;
    }
}

/// Scores of all groups, two at a time where registers allow.
#[inline(always)]
pub(super) fn scores_of<W: Wide, F: Stored, const M: usize, const FETCH: bool>(
    wide: W,
    head_dim: usize,
    keys: &[&[u8]],
    ahead: &[*const u8; GROUPS],
    packed: &[f32],
    scores: &mut [f32],
) {
    let mut at = 0;
    while at < keys.len() {
        let scores = &mut scores[at * WIDTH..];
        if W::MANY && at + 1 < keys.len() {
            let (keys, ahead) = ([keys[at], keys[at + 1]], [ahead[at], ahead[at + 1]]);
            score::<W, F, M, 2, FETCH>(wide, head_dim, keys, ahead, packed, scores);
            at += 2;
        } else {
            score::<W, F, M, 1, FETCH>(wide, head_dim, [keys[at]], [ahead[at]], packed, scores);
            at += 1;
        }
    }
}

per_level! {
    /// The result of a row from the records of its stretches, in order: `[group, head_dim]`.
    pub(crate) fn merge[simd](records: &[f32], record_len: usize, head_dim: usize, out: &mut [f32]) {
        let wide = simd.wide();
        let width = out.len();
        for (head, out) in out.chunks_exact_mut(head_dim).enumerate() {
            let state = |record: &[f32]| (record[width + 2 * head], record[width + 2 * head + 1]);
            let records = || records.chunks_exact(record_len);
            let most = records().fold(LOWEST, |most, record| {
                let other = state(record).0;
                if other > most { other } else { most }
            });
            out.fill(0.0);
            let mut sum = 0.0;
            for record in records() {
                let mut factor = [0.0; WIDTH];
                wide.store(wide.exp2(wide.splat(state(record).0), wide.splat(most)), &mut factor);
                sum += state(record).1 * factor[0];
                for (out, value) in out.iter_mut().zip(&record[head * head_dim..][..head_dim]) {
                    *out += value * factor[0];
                }
            }
            let scale = 1.0 / sum;
            out.iter_mut().for_each(|value| *value *= scale);
        }
    }
}
