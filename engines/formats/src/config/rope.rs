//! Rotary positions.

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
