//! Root mean square normalisation.

use super::{LANES, Simd, per_level};

/// `1 / sqrt(mean(x^2) + eps)`.
#[inline(always)]
fn inverse_rms<S: Simd>(simd: S, values: &[f32], eps: f32) -> f32 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut padded = [0.0; LANES];
    padded[..rest.len()].copy_from_slice(rest);
    let mut sum = simd.zero();
    for chunk in chunks.iter().chain([&padded]) {
        let chunk = simd.load(chunk);
        sum = simd.add(sum, simd.mul(chunk, chunk));
    }
    1.0 / (simd.sum(sum) / values.len() as f32 + eps).sqrt()
}

per_level! {
    /// Normalises runs of `weight.len()` values in place. To normalise into another place, copy first.
    pub(crate) fn rms_norm[simd](values: &mut [f32], weight: &[f32], eps: f32) {
        for run in values.chunks_exact_mut(weight.len()) {
            let scale = inverse_rms(simd, run, eps);
            for (value, weight) in run.iter_mut().zip(weight) {
                *value = *value * scale * weight;
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
    fn follows_the_definition() {
        let mut random = Random::new(2);
        for len in [1, 16, 33, 64, 257] {
            let (values, weight) = (random.floats(3 * len), random.floats(len));
            for level in Level::all() {
                let mut got = values.clone();
                rms_norm(level, &mut got, &weight, 1e-5);
                for (got, values) in got.chunks(len).zip(values.chunks(len)) {
                    let square: f64 = values.iter().map(|v| f64::from(*v).powi(2)).sum();
                    let scale = 1.0 / (square / len as f64 + 1e-5).sqrt();
                    for i in 0..len {
                        let want = f64::from(values[i]) * scale * f64::from(weight[i]);
                        assert!((f64::from(got[i]) - want).abs() < 2e-6 * want.abs().max(1.0));
                    }
                }
            }
        }
    }
}
