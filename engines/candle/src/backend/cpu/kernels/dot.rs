//! Products of weight rows with a few activation rows.

use super::{Format, LANES, per_level, sum_lanes};
use crate::backend::cpu::matmul::Target;
use std::array;

/// The dot products of one stored row with `R` rows of activations of the same length. Each sum has its own lanes:
/// it does not depend on the other rows.
#[inline(always)]
pub(super) fn dot_rows<const R: usize, F: Format>(stored: &[u8], rows: [&[f32]; R]) -> [f32; R] {
    let len = rows.first().map_or(0, |row| row.len());
    let full = len / LANES * F::STRIDE;
    let mut sums = [[0.0; LANES]; R];
    for (at, bytes) in stored[..full].chunks_exact(F::STRIDE).enumerate() {
        add_products(&mut sums, F::decode(bytes), array::from_fn(|r| &rows[r].as_chunks().0[at]));
    }
    let rest = len % LANES;
    if rest > 0 {
        let mut padded = [[0.0; LANES]; R];
        for (padded, row) in padded.iter_mut().zip(rows) {
            padded[..rest].copy_from_slice(&row[len - rest..]);
        }
        add_products(&mut sums, F::decode_tail(&stored[full..]), array::from_fn(|r| &padded[r]));
    }
    array::from_fn(|r| sum_lanes(sums[r]))
}

#[inline(always)]
fn add_products<const R: usize>(
    sums: &mut [[f32; LANES]; R],
    stored: [f32; LANES],
    rows: [&[f32; LANES]; R],
) {
    for (sums, row) in sums.iter_mut().zip(rows) {
        for i in 0..LANES {
            sums[i] += stored[i] * row[i];
        }
    }
}

per_level! {
    /// The products of a run of weight rows, the first of which makes output `first`, with all rows of `inputs`,
    /// each `cols` long. Every weight row comes from memory once.
    pub(crate) fn products<F: Format>(
        weights: &[u8], first: usize, inputs: &[f32], cols: usize, target: &Target<'_>,
    ) {
        for (at, stored) in weights.chunks_exact(F::row_bytes(cols)).enumerate() {
            for (group, rows) in inputs.chunks(4 * cols).enumerate() {
                let row = |r: usize| &rows[r * cols..(r + 1) * cols];
                let put = |values: &[f32]| target.put(4 * group, first + at, values);
                match rows.len() / cols {
                    1 => put(&dot_rows::<1, F>(stored, [row(0)])),
                    2 => put(&dot_rows::<2, F>(stored, [row(0), row(1)])),
                    3 => put(&dot_rows::<3, F>(stored, [row(0), row(1), row(2)])),
                    _ => put(&dot_rows::<4, F>(stored, [row(0), row(1), row(2), row(3)])),
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
        fn dot_pair(stored: &[u8], a: &[f32], b: &[f32]) -> [f32; 2] {
            dot_rows::<2, F32>(stored, [a, b])
        }
    }

    per_level! {
        fn dot_one(stored: &[u8], a: &[f32]) -> [f32; 1] {
            dot_rows::<1, F32>(stored, [a])
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
