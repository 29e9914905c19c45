//! Rotary positions.

use super::{LANES, Simd, per_level};

per_level! {
    /// Rotates the heads of one row, each `head_dim` wide, in their first `2 * cos.len()` values. Pairs are neighbours
    /// when `interleaved`, else the halves of these.
    pub(crate) fn rope[simd](row: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32], interleaved: bool) {
        match interleaved {
            false => halves(simd, row, head_dim, cos, sin),
            true => neighbours(simd, row, head_dim, cos, sin),
        }
    }
}

// Angles first, heads within: so all heads share what is loaded or made of the angles.

#[inline(always)]
fn halves<S: Simd>(simd: S, row: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    let (cos_chunks, cos_rest) = cos.as_chunks::<LANES>();
    let (sin_chunks, sin_rest) = sin.as_chunks::<LANES>();
    for (chunk, (cos, sin)) in cos_chunks.iter().zip(sin_chunks).enumerate() {
        let (cos, sin) = (simd.load(cos), simd.load(sin));
        let minus_sin = simd.mul(sin, simd.splat(-1.0));
        for head in row.chunks_exact_mut(head_dim) {
            let (low, high) = head[..2 * half].split_at_mut(half);
            let low = low.as_chunks_mut().0.get_mut(chunk);
            let (Some(low), Some(high)) = (low, high.as_chunks_mut().0.get_mut(chunk)) else { continue };
            let (a, b) = (simd.load(low), simd.load(high));
            simd.store(simd.add(simd.mul(a, cos), simd.mul(b, minus_sin)), low);
            simd.store(simd.add(simd.mul(a, sin), simd.mul(b, cos)), high);
        }
    }
    if cos_rest.is_empty() {
        return;
    }
    for head in row.chunks_exact_mut(head_dim) {
        let (low, high) = head[..2 * half].split_at_mut(half);
        let (low, high) = (low.as_chunks_mut::<LANES>().1, high.as_chunks_mut::<LANES>().1);
        for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos_rest).zip(sin_rest) {
            (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
        }
    }
}

/// Pairs in a vector.
const PAIRS: usize = LANES / 2;

#[inline(always)]
fn neighbours<S: Simd>(simd: S, row: &mut [f32], head_dim: usize, cos: &[f32], sin: &[f32]) {
    let (cos_chunks, cos_rest) = cos.as_chunks::<PAIRS>();
    let (sin_chunks, sin_rest) = sin.as_chunks::<PAIRS>();
    for (chunk, (cos, sin)) in cos_chunks.iter().zip(sin_chunks).enumerate() {
        // A pair is [a, b]: itself by [cos, cos] and its reverse by [-sin, sin].
        let (mut own, mut other) = ([0.0; LANES], [0.0; LANES]);
        for i in 0..PAIRS {
            (own[2 * i], own[2 * i + 1]) = (cos[i], cos[i]);
            (other[2 * i], other[2 * i + 1]) = (-sin[i], sin[i]);
        }
        let (own, other) = (simd.load(&own), simd.load(&other));
        for head in row.chunks_exact_mut(head_dim) {
            let Some(pairs) = head.as_chunks_mut().0.get_mut(chunk) else { continue };
            let values = simd.load(pairs);
            let turned = simd.mul(simd.reverse_pairs(values), other);
            simd.store(simd.add(simd.mul(values, own), turned), pairs);
        }
    }
    if cos_rest.is_empty() {
        return;
    }
    let done = 2 * PAIRS * cos_chunks.len();
    for head in row.chunks_exact_mut(head_dim) {
        let rest = &mut head[done..2 * cos.len()];
        for ((pair, cos), sin) in rest.as_chunks_mut::<2>().0.iter_mut().zip(cos_rest).zip(sin_rest) {
            let [a, b] = *pair;
            *pair = [a * cos - b * sin, a * sin + b * cos];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::Level;
    use crate::backend::cpu::kernels::reference::Random;

    #[test]
    fn heads_of_all_widths_turn_by_the_definition() {
        let mut random = Random::new(6);
        for pairs in [1, 15, 16, 17, 32, 40, 64] {
            let (cos, sin) = (random.floats(pairs), random.floats(pairs));
            let head_dim = 2 * pairs + 3;
            let row = random.floats(3 * head_dim);
            for interleaved in [false, true] {
                let mut want = row.clone();
                for head in want.chunks_mut(head_dim) {
                    for i in 0..pairs {
                        let (a, b) = if interleaved { (2 * i, 2 * i + 1) } else { (i, i + pairs) };
                        let turned = head[a] * cos[i] - head[b] * sin[i];
                        (head[a], head[b]) = (turned, head[a] * sin[i] + head[b] * cos[i]);
                    }
                }
                for level in Level::all() {
                    let mut got = row.clone();
                    rope(level, &mut got, head_dim, &cos, &sin, interleaved);
                    assert_eq!(got, want, "{pairs} pairs at {level:?}");
                }
            }
        }
    }

    #[test]
    fn both_rotations_turn_their_pairs_and_leave_the_rest() {
        let (cos, sin) = ([0.0, 0.6], [1.0, 0.8]);
        for level in Level::all() {
            for rest in [&[][..], &[7.0, 8.0]] {
                let turned = |head: [f32; 4], interleaved| {
                    // Two heads, so that the second begins where it should.
                    let mut row = [&head, rest, &head, rest].concat();
                    rope(level, &mut row, 4 + rest.len(), &cos, &sin, interleaved);
                    let (first, second) = row.split_at(4 + rest.len());
                    assert_eq!(first, second);
                    assert_eq!(&first[4..], rest);
                    first[..4].to_vec()
                };
                let halves = turned([1.0, 10.0, 2.0, 20.0], false);
                assert_eq!(halves, [-2.0, 10.0 * 0.6 - 20.0 * 0.8, 1.0, 10.0 * 0.8 + 20.0 * 0.6]);
                let neighbours = turned([1.0, 2.0, 10.0, 20.0], true);
                assert_eq!(neighbours, [-2.0, 1.0, 10.0 * 0.6 - 20.0 * 0.8, 10.0 * 0.8 + 20.0 * 0.6]);
            }
        }
    }
}
