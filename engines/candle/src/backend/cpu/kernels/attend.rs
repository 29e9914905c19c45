//! Attention of one row's query heads that share a key head.

use super::dot::dot_rows;
use super::{Format, LANES, add_scaled, exp, per_level};

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
    /// Tokens to look at, the row's own included.
    pub(crate) held: usize,
}

/// Floats of scratch for a group of so many query heads: scores of one block, and each head's maximum and sum.
pub(crate) const fn scratch_len(group: usize, block_tokens: usize) -> Option<usize> {
    match block_tokens.checked_add(2) {
        Some(per_head) => group.checked_mul(per_head),
        None => None,
    }
}

per_level! {
    /// `out = softmax(query . keys / sqrt(head_dim)) . values` for the query heads of one key head, `[group, head_dim]`
    /// each, in one pass over the blocks: the running maximum rescales what was summed before.
    pub(crate) fn attend<F: Format>(
        extent: Extent, head: &dyn Head, query: &[f32], out: &mut [f32], scratch: &mut [f32],
    ) {
        let Extent { head_dim, block_tokens, held } = extent;
        let group = query.len() / head_dim;
        let (scores, state) = scratch.split_at_mut(group * block_tokens);
        let (most, sum) = state.split_at_mut(group);
        let scale = 1.0 / (head_dim as f32).sqrt();
        most.fill(f32::NEG_INFINITY);
        sum[..group].fill(0.0);
        out.fill(0.0);
        for index in 0..held.div_ceil(block_tokens) {
            let tokens = block_tokens.min(held - index * block_tokens);
            let (keys, values) = head.block(index);
            for (at, key) in keys.chunks_exact(F::row_bytes(head_dim)).take(tokens).enumerate() {
                for (four, queries) in query.chunks(4 * head_dim).enumerate() {
                    let row = |r: usize| &queries[r * head_dim..(r + 1) * head_dim];
                    let mut put = |products: &[f32]| {
                        for (r, product) in products.iter().enumerate() {
                            scores[(4 * four + r) * block_tokens + at] = product * scale;
                        }
                    };
                    match queries.len() / head_dim {
                        1 => put(&dot_rows::<1, F>(key, [row(0)])),
                        2 => put(&dot_rows::<2, F>(key, [row(0), row(1)])),
                        3 => put(&dot_rows::<3, F>(key, [row(0), row(1), row(2)])),
                        _ => put(&dot_rows::<4, F>(key, [row(0), row(1), row(2), row(3)])),
                    }
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
                for score in scores {
                    *score = exp(*score - new_most);
                    sum[h] += *score;
                }
                most[h] = new_most;
            }
            for (at, value) in values.chunks_exact(F::row_bytes(head_dim)).take(tokens).enumerate() {
                let full = head_dim / LANES;
                for chunk in 0..full {
                    let decoded = F::decode(&value[chunk * F::STRIDE..][..F::STRIDE]);
                    for h in 0..group {
                        let out = &mut out[h * head_dim + chunk * LANES..][..LANES];
                        add_scaled(out, scores[h * block_tokens + at], &decoded);
                    }
                }
                let rest = head_dim % LANES;
                if rest > 0 {
                    let decoded = F::decode_tail(&value[full * F::STRIDE..]);
                    for h in 0..group {
                        let out = &mut out[h * head_dim + full * LANES..][..rest];
                        add_scaled(out, scores[h * block_tokens + at], &decoded[..rest]);
                    }
                }
            }
        }
        for (out, sum) in out.chunks_exact_mut(head_dim).zip(sum) {
            let scale = 1.0 / *sum;
            out.iter_mut().for_each(|value| *value *= scale);
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
    }

    impl Head for Stored {
        fn block(&self, index: usize) -> (&[u8], &[u8]) {
            let from = index * self.block_bytes;
            (&self.keys[from..][..self.block_bytes], &self.values[from..][..self.block_bytes])
        }
    }

    fn compare<F: Format>(store: fn(f32) -> Vec<u8>, load: fn(f32) -> f32) {
        let mut random = Random::new(5);
        for (group, head_dim, block_tokens, held) in
            [(1, 16, 4, 1usize), (2, 32, 16, 16), (3, 40, 16, 33), (7, 64, 16, 50), (5, 8, 1, 9)]
        {
            let room = held.div_ceil(block_tokens) * block_tokens * head_dim;
            // Large scores make the running maximum move.
            let query: Vec<f32> = random.floats(group * head_dim).iter().map(|value| value * 8.0).collect();
            let (keys, values) = (random.floats(room), random.floats(room));
            let bytes = |floats: &[f32]| floats.iter().flat_map(|&value| store(value)).collect::<Vec<u8>>();
            let block_bytes = block_tokens * F::row_bytes(head_dim);
            let head = Stored { keys: bytes(&keys), values: bytes(&values), block_bytes };
            let rounded = |floats: &[f32]| floats.iter().map(|&value| load(value)).collect::<Vec<f32>>();
            let want = reference::attention(&query, &rounded(&keys), &rounded(&values), head_dim, held);
            let extent = Extent { head_dim, block_tokens, held };
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
