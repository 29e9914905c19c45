//! Products of weight rows with a few activation rows.

use super::{Format, LANES, Simd, per_level};
use crate::backend::cpu::matmul::Target;

/// The dot products of one stored row with `R` rows of activations of the same length. Each sum has its own lanes:
/// it does not depend on the other rows.
#[inline(always)]
pub(super) fn dot_rows<const R: usize, S: Simd, F: Format>(
    simd: S,
    stored: &[u8],
    rows: [&[f32]; R],
) -> [f32; R] {
    let (stored, tail) = F::chunks(stored);
    // Loops, not `array::map`: it is not always inlined, and vectors would pass through memory.
    let mut inputs: [&[[f32; LANES]]; R] = [&[]; R];
    for r in 0..R {
        inputs[r] = &rows[r].as_chunks().0[..stored.len() * F::GROUPS];
    }
    let mut sums = [simd.zero(); R];
    for (at, stored) in stored.iter().enumerate() {
        for group in 0..F::GROUPS {
            let stored = F::decode(simd, stored, group);
            for r in 0..R {
                let input = simd.load(&inputs[r][at * F::GROUPS + group]);
                sums[r] = simd.add(sums[r], simd.mul(stored, input));
            }
        }
    }
    if !tail.is_empty() {
        let stored = F::decode_tail(simd, tail);
        for r in 0..R {
            let rest = rows[r].as_chunks::<LANES>().1;
            let mut padded = [0.0; LANES];
            padded[..rest.len()].copy_from_slice(rest);
            sums[r] = simd.add(sums[r], simd.mul(stored, simd.load(&padded)));
        }
    }
    let mut products = [0.0; R];
    for r in 0..R {
        products[r] = simd.sum(sums[r]);
    }
    products
}

per_level! {
    /// The products of a run of weight rows, the first of which makes output `first`, with all rows of `inputs`,
    /// each `cols` long. Every weight row comes from memory once.
    pub(crate) fn products<F: Format>[simd](
        weights: &[u8], first: usize, inputs: &[f32], cols: usize, target: &Target<'_>,
    ) {
        for (at, stored) in weights.chunks_exact(F::row_bytes(cols)).enumerate() {
            for (group, rows) in inputs.chunks(4 * cols).enumerate() {
                let row = |r: usize| &rows[r * cols..(r + 1) * cols];
                let put = |values: &[f32]| target.put(4 * group, first + at, values);
                match rows.len() / cols {
                    1 => put(&dot_rows::<1, S, F>(simd, stored, [row(0)])),
                    2 => put(&dot_rows::<2, S, F>(simd, stored, [row(0), row(1)])),
                    3 => put(&dot_rows::<3, S, F>(simd, stored, [row(0), row(1), row(2)])),
                    _ => put(&dot_rows::<4, S, F>(simd, stored, [row(0), row(1), row(2), row(3)])),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::reference::Random;
    use crate::backend::cpu::kernels::{F32, Level};

    per_level! {
        fn dot_pair[simd](stored: &[u8], a: &[f32], b: &[f32]) -> [f32; 2] {
            dot_rows::<2, S, F32>(simd, stored, [a, b])
        }
    }

    per_level! {
        fn dot_one[simd](stored: &[u8], a: &[f32]) -> [f32; 1] {
            dot_rows::<1, S, F32>(simd, stored, [a])
        }
    }

    #[test]
    fn sums_are_close_to_exact_alike_on_all_levels_and_free_of_their_neighbours() {
        let mut random = Random::new(1);
        for len in [1, 2, 31, 32, 33, 64, 100, 1000] {
            let (weights, a, b) = (random.floats(len), random.floats(len), random.floats(len));
            let stored: Vec<u8> = weights.iter().flat_map(|value| value.to_le_bytes()).collect();
            let exact: f64 = weights.iter().zip(&a).map(|(w, a)| f64::from(*w) * f64::from(*a)).sum();
            let portable = dot_one(Level::all()[0], &stored, &a);
            assert!((f64::from(portable[0]) - exact).abs() < 1e-6 * len as f64, "{portable:?} {exact}");
            for level in Level::all() {
                assert_eq!(dot_one(level, &stored, &a), portable);
                assert_eq!(dot_pair(level, &stored, &a, &b)[0], portable[0]);
            }
        }
    }
}
