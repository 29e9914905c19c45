//! The speeds at which rotary positions turn, in f32 as the models' authors compute them.

use plimsoll_formats::{Rope, RopeScaling};
use std::f32::consts::TAU;

/// Radians per position of each pair, `head_dim / 2` of them. `factors` are the file's divisors where the scaling is
/// [`RopeScaling::Factors`], one for each pair; they are not looked at otherwise.
pub(crate) fn inv_freq(rope: &Rope, head_dim: usize, factors: &[f32]) -> Vec<f32> {
    let base = rope.theta as f32;
    let plain = (0..head_dim / 2).map(|pair| base.powf((2 * pair) as f32 / head_dim as f32).recip());
    match &rope.scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Factors => plain.zip(factors).map(|(speed, factor)| speed / factor).collect(),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            let band = Band {
                factor: *factor as f32,
                low: *low_freq_factor as f32,
                high: *high_freq_factor as f32,
                context: *original_context as f32,
            };
            plain.map(|speed| band.scale(speed)).collect()
        }
        // A configuration with these does not pass `refuse_unbuilt`.
        RopeScaling::Linear { .. }
        | RopeScaling::Yarn { .. }
        | RopeScaling::LongRope { .. }
        | RopeScaling::LongFactors { .. } => plain.collect(),
    }
}

/// Llama 3's scaling: slow turns are slowed further, fast ones kept, the band between blended.
struct Band {
    factor: f32,
    low: f32,
    high: f32,
    context: f32,
}

impl Band {
    fn scale(&self, speed: f32) -> f32 {
        let wavelength = TAU / speed;
        if wavelength > self.context / self.low {
            return speed / self.factor;
        }
        if wavelength < self.context / self.high {
            return speed;
        }
        let kept = (self.context / wavelength - self.low) / (self.high - self.low);
        (1.0 - kept) * speed / self.factor + kept * speed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: &[f32], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let error = (f64::from(*found) - expected).abs();
            assert!(error <= 1e-6 * expected, "{found} is not {expected}");
        }
    }

    #[test]
    fn plain_speeds_are_powers_of_the_base() {
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::None };
        close(&inv_freq(&rope, 8, &[]), &[1.0, 0.1, 0.01, 0.001]);
    }

    #[test]
    fn divisors_divide() {
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::Factors };
        close(&inv_freq(&rope, 8, &[1.0, 2.0, 4.0, 8.0]), &[1.0, 0.05, 0.0025, 0.000125]);
    }

    #[test]
    fn llama3_slows_long_waves_keeps_short_ones_and_blends_between() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 128,
        };
        let found = inv_freq(&Rope { theta: 10_000.0, scaling }, 8, &[]);
        // Waves of 6.3, 62.8, 628 and 6283 positions; the band is 32 to 128. Worked by hand for 62.8:
        // kept = (128 / 62.83185 - 1) / 3 = 0.3457273, speed = 0.1 * ((1 - kept) / 8 + kept).
        let kept = (128.0 * 0.1 / std::f64::consts::TAU - 1.0) / 3.0;
        close(&found, &[1.0, 0.1 * ((1.0 - kept) / 8.0 + kept), 0.01 / 8.0, 0.001 / 8.0]);
    }
}
