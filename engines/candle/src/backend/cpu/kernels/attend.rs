//! Attention of one row's query heads that share a key head.

use super::dot::dot_rows;
use super::{Format, LANES, Simd, exp, per_level, tanh};

/// Keys and values of one head, block by block.
pub(crate) trait Head {
    /// Keys and values of a block: `[block_tokens, head_dim]` each, as stored.
    fn block(&self, index: usize) -> (&[u8], &[u8]);
}

/// The sizes of one task.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    /// Width of a head.
    pub(crate) head_dim: usize,
    /// Tokens per block.
    pub(crate) block_tokens: usize,
    /// The first token to look at; below `held`.
    pub(crate) from: usize,
    /// The end of the tokens to look at: the row's own is the last.
    pub(crate) held: usize,
    /// What products of queries and keys are multiplied by.
    pub(crate) scale: f32,
    /// Scores then become `cap * tanh(score / cap)`.
    pub(crate) softcap: Option<f32>,
}

/// Floats of scratch for a group of so many query heads: scores of one block, and each head's maximum and sum.
pub(crate) const fn scratch_len(group: usize, block_tokens: usize) -> Option<usize> {
    match block_tokens.checked_add(2) {
        Some(per_head) => group.checked_mul(per_head),
        None => None,
    }
}

per_level! {
    /// `out = softmax(query . keys * scale) . values` over tokens `from .. held` for the query heads of one key head,
    /// `[group, head_dim]` each, in one pass over their blocks: the running maximum rescales what was summed before.
    pub(crate) fn attend<F: Format>[simd](
        extent: Extent, head: &dyn Head, query: &[f32], out: &mut [f32], scratch: &mut [f32],
    ) {
        let Extent { head_dim, block_tokens, from, held, .. } = extent;
        let group = query.len() / head_dim;
        let (scores, state) = scratch.split_at_mut(group * block_tokens);
        let (most, sum) = state.split_at_mut(group);
        most.fill(f32::NEG_INFINITY);
        sum[..group].fill(0.0);
        out.fill(0.0);
        let row_bytes = F::row_bytes(head_dim);
        for index in from / block_tokens..held.div_ceil(block_tokens) {
            let skipped = from.saturating_sub(index * block_tokens);
            let tokens = block_tokens.min(held - index * block_tokens) - skipped;
            let (keys, values) = head.block(index);
            let (keys, values) = (&keys[skipped * row_bytes..], &values[skipped * row_bytes..]);
            // Up to four query heads share each key that is decoded.
            for first in (0..group).step_by(4) {
                let heads = 4.min(group - first);
                let query = &query[first * head_dim..(first + heads) * head_dim];
                let scores = &mut scores[first * block_tokens..(first + heads) * block_tokens];
                match heads {
                    1 => score::<1, S, F>(simd, extent, tokens, keys, query, scores),
                    2 => score::<2, S, F>(simd, extent, tokens, keys, query, scores),
                    3 => score::<3, S, F>(simd, extent, tokens, keys, query, scores),
                    _ => score::<4, S, F>(simd, extent, tokens, keys, query, scores),
                }
            }
            for h in 0..group {
                let scores = &mut scores[h * block_tokens..][..tokens];
                let new_most = scores.iter().fold(most[h], |most, &score| if score > most { score } else { most });
                let shrink = exp(most[h] - new_most);
                if shrink != 1.0 {
                    sum[h] *= shrink;
                    out[h * head_dim..][..head_dim].iter_mut().for_each(|value| *value *= shrink);
                }
                for score in scores.iter_mut() {
                    *score = exp(*score - new_most);
                }
                sum[h] += scores.iter().sum::<f32>();
                most[h] = new_most;
            }
            for first in (0..group).step_by(4) {
                let heads = 4.min(group - first);
                let weights = &scores[first * block_tokens..(first + heads) * block_tokens];
                let out = &mut out[first * head_dim..(first + heads) * head_dim];
                match heads {
                    1 => gather::<1, S, F>(simd, extent, tokens, values, weights, out),
                    2 => gather::<2, S, F>(simd, extent, tokens, values, weights, out),
                    3 => gather::<3, S, F>(simd, extent, tokens, values, weights, out),
                    _ => gather::<4, S, F>(simd, extent, tokens, values, weights, out),
                }
            }
        }
        for (out, sum) in out.chunks_exact_mut(head_dim).zip(sum) {
            let scale = 1.0 / *sum;
            out.iter_mut().for_each(|value| *value *= scale);
        }
    }
}

/// `scores[r][token] = query[r] . keys[token] * scale`, capped, of one block; rows of scores are `block_tokens` apart.
#[inline(always)]
fn score<const R: usize, S: Simd, F: Format>(
    simd: S,
    extent: Extent,
    tokens: usize,
    keys: &[u8],
    query: &[f32],
    scores: &mut [f32],
) {
    let key_bytes = F::row_bytes(extent.head_dim);
    let mut rows: [&[f32]; R] = [&[]; R];
    for r in 0..R {
        rows[r] = &query[r * extent.head_dim..(r + 1) * extent.head_dim];
    }
    for token in 0..tokens {
        let products = dot_rows::<R, S, F>(simd, &keys[token * key_bytes..(token + 1) * key_bytes], rows);
        for r in 0..R {
            scores[r * extent.block_tokens + token] = products[r] * extent.scale;
        }
    }
    if let Some(cap) = extent.softcap {
        for r in 0..R {
            let scores = &mut scores[r * extent.block_tokens..][..tokens];
            scores.iter_mut().for_each(|score| *score = cap * tanh(*score / cap));
        }
    }
}

/// `out[r] += weights[r][token] * values[token]` over one block; rows of weights are `block_tokens` apart.
#[inline(always)]
fn gather<const R: usize, S: Simd, F: Format>(
    simd: S,
    extent: Extent,
    tokens: usize,
    values: &[u8],
    weights: &[f32],
    out: &mut [f32],
) {
    let Extent { head_dim, block_tokens, .. } = extent;
    let value_bytes = F::row_bytes(head_dim);
    for chunk in 0..head_dim.div_ceil(LANES) {
        let from = chunk * LANES;
        let count = LANES.min(head_dim - from);
        let mut sums = [simd.zero(); R];
        for token in 0..tokens {
            let (chunks, tail) = F::chunks(&values[token * value_bytes..(token + 1) * value_bytes]);
            let value = match chunks.get(chunk) {
                Some(value) => F::decode(simd, value, 0),
                None => F::decode_tail(simd, tail),
            };
            for r in 0..R {
                let weight = simd.splat(weights[r * block_tokens + token]);
                sums[r] = simd.add(sums[r], simd.mul(weight, value));
            }
        }
        for r in 0..R {
            let out = &mut out[r * head_dim + from..][..count];
            let mut added = [0.0; LANES];
            simd.store(sums[r], &mut added);
            out.iter_mut().zip(added).for_each(|(out, added)| *out += added);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::{self, Random};
    use crate::backend::cpu::kernels::{F16, F32, Level};

    struct Stored {
        keys: Vec<u8>,
        values: Vec<u8>,
        block_bytes: usize,
        before: usize,
    }

    impl Head for Stored {
        fn block(&self, index: usize) -> (&[u8], &[u8]) {
            assert!(index >= self.before);
            let from = index * self.block_bytes;
            (&self.keys[from..][..self.block_bytes], &self.values[from..][..self.block_bytes])
        }
    }

    fn compare<F: Format>(store: fn(f32) -> Vec<u8>, load: fn(f32) -> f32) {
        let mut random = Random::new(5);
        for (group, head_dim, block_tokens, from, held, softcap) in [
            (1, 16, 4, 0, 1usize, None),
            (2, 32, 16, 0, 16, None),
            (3, 40, 16, 0, 33, Some(5.0)),
            (7, 64, 16, 0, 50, None),
            (5, 8, 1, 0, 9, None),
            (2, 16, 16, 5, 9, None),
            (3, 16, 16, 15, 50, Some(2.5)),
            (2, 16, 16, 16, 40, None),
            (4, 24, 16, 47, 48, None),
            (1, 16, 1, 7, 11, None),
        ] {
            let scale = 1.0 / (head_dim as f32 + 3.0).sqrt();
            let room = held.div_ceil(block_tokens) * block_tokens * head_dim;
            // Large scores make the running maximum move.
            let query: Vec<f32> = random.floats(group * head_dim).iter().map(|value| value * 8.0).collect();
            let (keys, values) = (random.floats(room), random.floats(room));
            let bytes = |floats: &[f32]| floats.iter().flat_map(|&value| store(value)).collect::<Vec<u8>>();
            let block_bytes = block_tokens * F::row_bytes(head_dim);
            let head = Stored { keys: bytes(&keys), values: bytes(&values), block_bytes, before: 0 };
            let rounded = |floats: &[f32]| floats.iter().map(|&value| load(value)).collect::<Vec<f32>>();
            let extent = Extent { head_dim, block_tokens, from, held, scale, softcap };
            let want = reference::attention(&query, &rounded(&keys), &rounded(&values), extent);
            // Blocks before the first token are not looked at.
            let head = Stored { before: from / block_tokens, ..head };
            let portable = run::<F>(Level::all()[0], extent, &head, &query);
            for (got, want) in portable.iter().zip(&want) {
                assert!((f64::from(*got) - want).abs() < 2e-5, "{got} {want}");
            }
            for level in Level::all() {
                assert_eq!(run::<F>(level, extent, &head, &query), portable);
            }
        }
    }

    fn run<F: Format>(level: Level, extent: Extent, head: &Stored, query: &[f32]) -> Vec<f32> {
        let group = query.len() / extent.head_dim;
        let mut out = vec![f32::NAN; query.len()];
        let mut scratch = vec![f32::NAN; scratch_len(group, extent.block_tokens).unwrap()];
        attend::<F>(level, extent, head, query, &mut out, &mut scratch);
        out
    }

    #[test]
    fn follows_the_definition_in_single_precision() {
        compare::<F32>(|value| value.to_le_bytes().to_vec(), |value| value);
    }

    #[test]
    fn follows_the_definition_over_half_precision() {
        compare::<F16>(
            |value| half::f16::from_f32(value).to_le_bytes().to_vec(),
            |value| half::f16::from_f32(value).to_f32(),
        );
    }
}
