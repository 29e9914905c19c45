//! Operations on each value or pair of values.

use super::{exp, per_level};

per_level! {
    /// `gate = silu(gate) * up`, with `silu(x) = x / (1 + e^-x)`.
    pub(crate) fn swiglu[_simd](gate: &mut [f32], up: &[f32]) {
        for (gate, up) in gate.iter_mut().zip(up) {
            *gate = *gate / (1.0 + exp(-*gate)) * up;
        }
    }
}

per_level! {
    /// Rotates the heads of one row, each `2 * cos.len()` wide. Pairs are neighbours when `interleaved`, else the
    /// halves of a head.
    pub(crate) fn rope[_simd](row: &mut [f32], cos: &[f32], sin: &[f32], interleaved: bool) {
        let half = cos.len();
        for head in row.chunks_exact_mut(2 * half) {
            if interleaved {
                for ((pair, cos), sin) in head.as_chunks_mut::<2>().0.iter_mut().zip(cos).zip(sin) {
                    let [a, b] = *pair;
                    *pair = [a * cos - b * sin, a * sin + b * cos];
                }
            } else {
                let (low, high) = head.split_at_mut(half);
                for (((a, b), cos), sin) in low.iter_mut().zip(high).zip(cos).zip(sin) {
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::kernels::Level;
    use crate::backend::cpu::kernels::reference::Random;

    #[test]
    fn swiglu_follows_the_definition_at_all_sizes_of_input() {
        let mut gate = Random::new(3).floats(67);
        gate.extend([-200.0, -88.0, 0.0, 88.0, 200.0]);
        let up = Random::new(4).floats(gate.len());
        for level in Level::all() {
            let mut got = gate.clone();
            swiglu(level, &mut got, &up);
            for i in 0..gate.len() {
                let x = f64::from(gate[i]);
                let want = x / (1.0 + (-x).exp()) * f64::from(up[i]);
                assert!(
                    (f64::from(got[i]) - want).abs() <= 1e-6 * want.abs().max(1.0),
                    "{x}: {} {want}",
                    got[i]
                );
            }
        }
    }

    #[test]
    fn both_rotations_turn_their_pairs() {
        let (cos, sin) = ([0.0, 0.6], [1.0, 0.8]);
        for level in Level::all() {
            let mut halves = [1.0, 10.0, 2.0, 20.0];
            rope(level, &mut halves, &cos, &sin, false);
            assert_eq!(halves, [-2.0, 10.0 * 0.6 - 20.0 * 0.8, 1.0, 10.0 * 0.8 + 20.0 * 0.6]);
            let mut neighbours = [1.0, 2.0, 10.0, 20.0];
            rope(level, &mut neighbours, &cos, &sin, true);
            assert_eq!(neighbours, [-2.0, 1.0, 10.0 * 0.6 - 20.0 * 0.8, 10.0 * 0.8 + 20.0 * 0.6]);
        }
    }
}
