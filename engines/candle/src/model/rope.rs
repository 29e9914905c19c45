//! The speeds at which rotary positions turn, in f32 as the models' authors compute them.

use crate::backend::RopeSpec;
use plimsoll_formats::{ModelConfig, Rope, RopeScaling};
use std::f32::consts::TAU;

/// The rotations of a model whose sequences have at most `context` tokens: that of all layers, or that of the layers
/// without a window and then that of those with one. `factors` are the file's divisors for this context where the scaling
/// says that there are some, one for each pair; they are not looked at otherwise.
pub(crate) fn rotations(config: &ModelConfig, context: usize, factors: &[f32]) -> Vec<RopeSpec> {
    let ropes = std::iter::once(&config.rope).chain(&config.window_rope);
    let spec = |rope: &Rope| RopeSpec {
        inv_freq: inv_freq(rope, config.rotary_dim, context, factors),
        magnitude: magnitude(&rope.scaling),
        interleaved: config.rope_interleaved,
    };
    ropes.map(spec).collect()
}

/// What sines and cosines are multiplied by.
fn magnitude(scaling: &RopeScaling) -> f32 {
    match scaling {
        RopeScaling::Yarn { attention_factor, .. }
        | RopeScaling::LongRope { attention_factor, .. }
        | RopeScaling::LongFactors { attention_factor, .. } => *attention_factor as f32,
        _ => 1.0,
    }
}

/// Radians per position of each pair, `rotary_dim / 2` of them.
fn inv_freq(rope: &Rope, rotary_dim: usize, context: usize, factors: &[f32]) -> Vec<f32> {
    let base = rope.theta as f32;
    let plain = (0..rotary_dim / 2).map(|pair| base.powf((2 * pair) as f32 / rotary_dim as f32).recip());
    match &rope.scaling {
        RopeScaling::None => plain.collect(),
        RopeScaling::Factors | RopeScaling::LongFactors { .. } => {
            plain.zip(factors).map(|(speed, factor)| speed / factor).collect()
        }
        RopeScaling::Linear { factor } => plain.map(|speed| speed / *factor as f32).collect(),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
            let band = Band {
                factor: *factor as f32,
                low: *low_freq_factor as f32,
                high: *high_freq_factor as f32,
                context: *original_context as f32,
            };
            plain.map(|speed| band.scale(speed)).collect()
        }
        RopeScaling::Yarn { factor, original_context, beta_fast, beta_slow, truncate, .. } => {
            let end = |turns: f64| yarn_end(turns, rope.theta, rotary_dim, f64::from(*original_context));
            let ramp = Ramp::new(end(*beta_fast), end(*beta_slow), rotary_dim, *truncate);
            let scale = |(pair, speed): (usize, f32)| {
                let slowed = ramp.at(pair);
                speed / *factor as f32 * slowed + speed * (1.0 - slowed)
            };
            plain.enumerate().map(scale).collect()
        }
        RopeScaling::LongRope { short, long, original_context, .. } => {
            let divisors = if context > *original_context as usize { long } else { short };
            plain.zip(divisors).map(|(speed, divisor)| speed / *divisor as f32).collect()
        }
    }
}

/// The pair, as a fraction, that makes so many turns over the original context.
fn yarn_end(turns: f64, theta: f64, rotary_dim: usize, context: f64) -> f64 {
    rotary_dim as f64 * (context / (turns * std::f64::consts::TAU)).ln() / (2.0 * theta.ln())
}

/// YaRN's ramp over pairs: 0 keeps a pair's speed, 1 slows it in full.
struct Ramp {
    low: f32,
    width: f32,
}

impl Ramp {
    fn new(fast: f64, slow: f64, rotary_dim: usize, truncate: bool) -> Self {
        let (low, high) = if truncate { (fast.floor(), slow.ceil()) } else { (fast, slow) };
        let (low, high) = (low.max(0.0), high.min(rotary_dim as f64 - 1.0));
        // A ramp without width would divide by zero.
        let width = if low == high { 0.001 } else { high - low };
        Ramp { low: low as f32, width: width as f32 }
    }

    fn at(&self, pair: usize) -> f32 {
        ((pair as f32 - self.low) / self.width).clamp(0.0, 1.0)
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
        close(&inv_freq(&rope, 8, 64, &[]), &[1.0, 0.1, 0.01, 0.001]);
    }

    #[test]
    fn divisors_divide() {
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::Factors };
        close(&inv_freq(&rope, 8, 64, &[1.0, 2.0, 4.0, 8.0]), &[1.0, 0.05, 0.0025, 0.000125]);
    }

    #[test]
    fn llama3_slows_long_waves_keeps_short_ones_and_blends_between() {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 128,
        };
        let found = inv_freq(&Rope { theta: 10_000.0, scaling }, 8, 64, &[]);
        // Waves of 6.3, 62.8, 628 and 6283 positions; the band is 32 to 128. Worked by hand for 62.8:
        // kept = (128 / 62.83185 - 1) / 3 = 0.3457273, speed = 0.1 * ((1 - kept) / 8 + kept).
        let kept = (128.0 * 0.1 / std::f64::consts::TAU - 1.0) / 3.0;
        close(&found, &[1.0, 0.1 * ((1.0 - kept) / 8.0 + kept), 0.01 / 8.0, 0.001 / 8.0]);
    }

    #[test]
    fn linear_scaling_slows_every_pair() {
        let rope = Rope { theta: 10_000.0, scaling: RopeScaling::Linear { factor: 4.0 } };
        close(&inv_freq(&rope, 8, 64, &[]), &[0.25, 0.025, 0.0025, 0.00025]);
    }

    fn yarn(truncate: bool, beta_fast: f64, beta_slow: f64) -> Rope {
        let scaling = RopeScaling::Yarn {
            factor: 4.0,
            original_context: 4096,
            beta_fast,
            beta_slow,
            attention_factor: 1.25,
            truncate,
        };
        Rope { theta: 10_000.0, scaling }
    }

    #[test]
    fn yarn_keeps_fast_turns_and_slows_slow_ones() {
        // Pairs make 651.9, 65.19, 6.519, 0.6519 turns in 4096 positions; a pair is slowed by its place between the pairs
        // that would make 32 turns and 1: 8 ln(4096 / (32 * 2 pi)) / (2 ln 10000) = 1.309 and 2.814.
        let end = |turns: f64| 8.0 * (4096.0 / (turns * std::f64::consts::TAU)).ln() / (2.0 * 1e4f64.ln());
        let slowed = (2.0 - end(32.0)) / (end(1.0) - end(32.0));
        let third = 0.01 * (slowed / 4.0 + 1.0 - slowed);
        close(&inv_freq(&yarn(false, 32.0, 1.0), 8, 64, &[]), &[1.0, 0.1, third, 0.001 / 4.0]);
        // Rounded outwards the ends are 1 and 3.
        let third = 0.01 * (0.5 / 4.0 + 0.5);
        close(&inv_freq(&yarn(true, 32.0, 1.0), 8, 64, &[]), &[1.0, 0.1, third, 0.001 / 4.0]);
        assert_eq!(magnitude(&yarn(true, 32.0, 1.0).scaling), 1.25);
        // A ramp without width is a step.
        let step = inv_freq(&yarn(true, 65.0, 65.0), 8, 64, &[]);
        assert!(step.iter().all(|speed| speed.is_finite()), "{step:?}");
    }

    #[test]
    fn longrope_takes_its_list_by_the_engines_context() {
        let scaling = RopeScaling::LongRope {
            short: vec![1.0, 2.0],
            long: vec![4.0, 8.0],
            original_context: 64,
            attention_factor: 1.5,
        };
        assert_eq!(magnitude(&scaling), 1.5);
        let rope = Rope { theta: 10_000.0, scaling };
        close(&inv_freq(&rope, 4, 64, &[]), &[1.0, 0.005]);
        close(&inv_freq(&rope, 4, 65, &[]), &[0.25, 0.00125]);
    }
}
