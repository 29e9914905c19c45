//! Rotary positions.

use crate::config::MAX_CONTEXT;
use crate::config::check::within;
use crate::{FormatError, Result};

/// How rotary positions stretch to long contexts.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Plain rotary positions.
    None,
    /// Llama 3's: low frequencies are slowed by `factor`, high ones kept, the middle blended.
    Llama3 {
        /// How much low frequencies are slowed.
        factor: f64,
        /// Wavelengths above `original_context / low_freq_factor` count as low.
        low_freq_factor: f64,
        /// Wavelengths below `original_context / high_freq_factor` count as high.
        high_freq_factor: f64,
        /// The context the model was first trained on, in tokens.
        original_context: u32,
    },
    /// The file has a divisor for each frequency: the F32 tensor [`RopeScaling::FACTORS`] of shape `[rotary_dim / 2]`.
    Factors,
    /// All positions are divided by `factor`.
    Linear {
        /// Above 0.
        factor: f64,
    },
    /// YaRN: slow turns are interpolated, fast ones kept, a ramp between, and rotations are scaled by a factor.
    Yarn {
        /// How much slow turns are slowed.
        factor: f64,
        /// The context the model was first trained on, in tokens.
        original_context: u32,
        /// Turns over the original context above which a pair is kept.
        beta_fast: f64,
        /// Turns over the original context below which a pair is interpolated.
        beta_slow: f64,
        /// What sines and cosines are multiplied by.
        attention_factor: f64,
        /// Whether the ends of the ramp are rounded outwards to whole pairs.
        truncate: bool,
    },
    /// Phi's: a divisor for each frequency, one list for short contexts and one for long ones.
    LongRope {
        /// Divisors while the engine's context is at most `original_context`; `rotary_dim / 2` of them.
        short: Vec<f64>,
        /// Divisors for longer ones; as many.
        long: Vec<f64>,
        /// The context the model was first trained on, in tokens.
        original_context: u32,
        /// What sines and cosines are multiplied by.
        attention_factor: f64,
    },
    /// As [`RopeScaling::LongRope`], with the divisors in the file: the F32 tensors [`RopeScaling::SHORT_FACTORS`] and
    /// [`RopeScaling::LONG_FACTORS`], each of shape `[rotary_dim / 2]`.
    LongFactors {
        /// The longest context that the short list is for, in tokens.
        original_context: u32,
        /// What sines and cosines are multiplied by.
        attention_factor: f64,
    },
}

/// From the smallest number above 0 to one no model comes near.
const FACTOR: std::ops::RangeInclusive<f64> = f64::MIN_POSITIVE..=1e6;

impl RopeScaling {
    /// The name of the tensor of divisors.
    pub const FACTORS: &'static str = "rope_freqs.weight";
    /// The name of the tensor of divisors for short contexts.
    pub const SHORT_FACTORS: &'static str = "rope_factors_short.weight";
    /// The name of the tensor of divisors for long contexts.
    pub const LONG_FACTORS: &'static str = "rope_factors_long.weight";
}

/// Rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// The stretch to long contexts.
    pub scaling: RopeScaling,
}

impl Rope {
    /// Checks every number against its range, for heads of which `rotary_dim` dimensions rotate.
    pub(super) fn check(&self, file: &str, rotary_dim: usize) -> Result<()> {
        let factor =
            |what: &str, value: f64| within(file, format_args!("the rotary scaling's {what}"), value, FACTOR);
        let context = |tokens: u32| {
            within(file, "the rotary scaling's original context", tokens as usize, 1..=MAX_CONTEXT)
        };
        within(file, "the rotary base", self.theta, 1.0..=1e12)?;
        match &self.scaling {
            RopeScaling::None | RopeScaling::Factors => Ok(()),
            RopeScaling::Linear { factor: by } => factor("factor", *by),
            RopeScaling::Llama3 { factor: by, low_freq_factor, high_freq_factor, original_context } => {
                within(file, "the rotary scaling's factor", *by, 1.0..=1e6)?;
                factor("low_freq_factor", *low_freq_factor)?;
                factor("high_freq_factor", *high_freq_factor)?;
                context(*original_context)?;
                match high_freq_factor > low_freq_factor {
                    true => Ok(()),
                    false => {
                        Err(FormatError::malformed(file, "high_freq_factor is not above low_freq_factor"))
                    }
                }
            }
            RopeScaling::Yarn {
                factor: by,
                original_context,
                beta_fast,
                beta_slow,
                attention_factor,
                ..
            } => {
                factor("factor", *by)?;
                factor("beta_fast", *beta_fast)?;
                factor("beta_slow", *beta_slow)?;
                factor("attention factor", *attention_factor)?;
                context(*original_context)?;
                match beta_fast > beta_slow && self.theta > 1.0 {
                    true => Ok(()),
                    false => Err(FormatError::malformed(
                        file,
                        "beta_fast is not above beta_slow, or the base is 1",
                    )),
                }
            }
            RopeScaling::LongRope { short, long, original_context, attention_factor } => {
                for (what, list) in [("short", short), ("long", long)] {
                    if list.len() != rotary_dim / 2 {
                        let (found, due) = (list.len(), rotary_dim / 2);
                        let what = format_args!(
                            "the {what} list of rotary divisors has {found} items; {due} are due"
                        );
                        return Err(FormatError::malformed(file, what));
                    }
                    list.iter().try_for_each(|divisor| factor("divisor", *divisor))?;
                }
                factor("attention factor", *attention_factor)?;
                context(*original_context)
            }
            RopeScaling::LongFactors { original_context, attention_factor } => {
                factor("attention factor", *attention_factor)?;
                context(*original_context)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(scaling: RopeScaling) {
        let text = format!("{scaling:?}");
        assert!(Rope { theta: 10_000.0, scaling }.check("t", 8).is_err(), "{text}");
    }

    #[test]
    fn every_kind_has_its_ranges() {
        for (factor, low, high, context) in
            [(0.0, 1.0, 4.0, 8192), (f64::NAN, 1.0, 4.0, 8192), (8.0, 4.0, 4.0, 8192), (8.0, 1.0, 4.0, 0)]
        {
            refused(RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: context,
            });
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            refused(RopeScaling::Linear { factor: bad });
            refused(RopeScaling::LongFactors { original_context: 64, attention_factor: bad });
            let long = |short: Vec<f64>, attention_factor| RopeScaling::LongRope {
                short,
                long: vec![1.0; 4],
                original_context: 64,
                attention_factor,
            };
            refused(long(vec![1.0, 1.0, bad, 1.0], 1.0));
            refused(long(vec![1.0; 4], bad));
            refused(long(vec![1.0; 3], 1.0));
            let yarn = |factor, attention_factor, original_context| RopeScaling::Yarn {
                factor,
                original_context,
                beta_fast: 32.0,
                beta_slow: 1.0,
                attention_factor,
                truncate: true,
            };
            refused(yarn(bad, 1.0, 64));
            refused(yarn(4.0, bad, 64));
            refused(yarn(4.0, 1.0, 0));
            assert!(Rope { theta: 10_000.0, scaling: yarn(4.0, 1.0, 64) }.check("t", 8).is_ok());
            assert!(Rope { theta: 1.0, scaling: yarn(4.0, 1.0, 64) }.check("t", 8).is_err());
        }
    }
}
