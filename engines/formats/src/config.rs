//! What a model is: the numbers an engine needs to build it, checked against fixed ranges.

use std::fmt::{Debug, Display};
use std::ops::RangeInclusive;

pub use crate::hf::config::parse;
use crate::{FormatError, Result};

/// A family of decoders this project runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Architecture {
    /// Llama 2 and 3, and models of the same structure.
    Llama,
    /// Qwen 2 and 2.5: biases on Q, K and V.
    Qwen2,
    /// Qwen 3: a norm on each head of Q and K.
    Qwen3,
}

impl Architecture {
    /// Every supported architecture.
    pub const ALL: [Self; 3] = [Self::Llama, Self::Qwen2, Self::Qwen3];

    /// The name both formats use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// The architecture of that name, or an error that lists the supported ones.
    pub(crate) fn named(file: &str, name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            FormatError::unsupported(file, format_args!("architecture {name:?}; supported are {known}"))
        })
    }
}

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
}

impl RopeScaling {
    /// The name of the tensor of divisors.
    pub const FACTORS: &'static str = "rope_freqs.weight";
}

/// Rotary positions.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// The base of the frequencies.
    pub theta: f64,
    /// The stretch to long contexts.
    pub scaling: RopeScaling,
}

/// The function that gates the feed-forward part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU in its tanh form: `x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))`.
    GeluTanh,
}

/// Attention to the last tokens only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many positions a token attends to, its own included.
    pub tokens: usize,
    /// For each layer, whether the window holds there; at least one is true.
    pub layers: Vec<bool>,
}

/// A mixture of experts in place of the feed-forward part. A softmax over the router's scores weighs all experts; the
/// `used` heaviest are run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Experts {
    /// Experts in a layer.
    pub count: usize,
    /// Experts that a token goes through.
    pub used: usize,
    /// Width inside one expert.
    pub intermediate_size: usize,
    /// Width inside the expert that every token goes through, scaled by a sigmoid gate of its own; where there is one.
    pub shared: Option<usize>,
    /// The weights of the chosen experts are divided by their sum.
    pub normalise: bool,
    /// For each layer, whether it has a mixture; the others have a plain feed-forward part.
    pub layers: Vec<bool>,
}

/// The shape of a model. All numbers are within the ranges of [`ModelConfig::check`], so products of any two
/// dimensions fit a `u64` with room to spare.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The family.
    pub architecture: Architecture,
    /// Rows of the embedding; token ids are below it.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head; even.
    pub head_dim: usize,
    /// The longest context the model was made for, in tokens.
    pub context_length: usize,
    /// Added to the mean square before its root.
    pub rms_norm_eps: f64,
    /// Rotary positions.
    pub rope: Rope,
    /// Rotary positions of the layers with a window, where they differ from the others'.
    pub window_rope: Option<Rope>,
    /// How many of a head's first dimensions rotate; even, at most `head_dim`.
    pub rotary_dim: usize,
    /// What the products of queries and keys are multiplied by; `1 / sqrt(head_dim)` in most families.
    pub attention_scale: f64,
    /// Attention scores become `cap * tanh(score / cap)`.
    pub attention_softcap: Option<f64>,
    /// Logits become `cap * tanh(logit / cap)`.
    pub logit_softcap: Option<f64>,
    /// Attention to the last tokens only, in some layers or all.
    pub window: Option<Window>,
    /// A mixture of experts, in some layers or all.
    pub experts: Option<Experts>,
    /// The function that gates the feed-forward part.
    pub activation: Activation,
    /// What embeddings are multiplied by; `sqrt(hidden_size)` in Gemma.
    pub embedding_scale: Option<f64>,
    /// Both parts of a layer have a norm after them too, before the residual connection. Tensors: `input_layernorm`,
    /// `post_attention_layernorm`, `pre_feedforward_layernorm`, `post_feedforward_layernorm`; without it
    /// `post_attention_layernorm` is the norm before the feed-forward part.
    pub post_norms: bool,
    /// Norms are stored less one (Gemma's folders): 1 is added to each weight.
    pub norms_less_one: bool,
    /// True when rows of Q and K are ordered for rotating neighbours `(2i, 2i + 1)` (GGUF files of `llama`); false
    /// when dimension `i` rotates with `i + head_dim / 2`.
    pub rope_interleaved: bool,
    /// The output matrix is the embedding.
    pub tie_embeddings: bool,
    /// Q, K and V projections have biases.
    pub qkv_bias: bool,
    /// The attention's output projection has a bias.
    pub attention_out_bias: bool,
    /// The feed-forward projections have biases.
    pub mlp_bias: bool,
    /// Each head of Q and K is normalised before rotation.
    pub qk_norm: bool,
    /// Tokens that begin a sequence.
    pub bos: Vec<u32>,
    /// Tokens that end one.
    pub eos: Vec<u32>,
}

/// The longest context a configuration may name, in tokens.
pub(crate) const MAX_CONTEXT: usize = 1 << 24;
/// The most tokens a vocabulary may have.
pub(crate) const MAX_VOCAB: usize = 1 << 22;

impl ModelConfig {
    /// Width of all query heads together.
    pub fn q_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Width of all key heads together; the values' is the same.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// Checks every number against its range: vocabulary 1 to 2²², hidden 1 to 65,536, intermediate 1 to 2²⁰,
    /// layers 1 to 512, heads 1 to 1,024, head width 2 to 512 and even, context 1 to 2²⁴.
    ///
    /// # Errors
    /// Names the first number out of range. `file` is the file they came from.
    pub fn check(&self, file: &str) -> Result<()> {
        within(file, "the vocabulary", self.vocab_size, 1..=MAX_VOCAB)?;
        within(file, "the hidden size", self.hidden_size, 1..=65_536)?;
        within(file, "the intermediate size", self.intermediate_size, 1..=1 << 20)?;
        within(file, "the number of layers", self.layers, 1..=512)?;
        within(file, "the number of attention heads", self.heads, 1..=1024)?;
        within(file, "the number of key/value heads", self.kv_heads, 1..=self.heads)?;
        within(file, "the head dimension", self.head_dim, 2..=512)?;
        within(file, "the context length", self.context_length, 1..=MAX_CONTEXT)?;
        within(file, "the norm's epsilon", self.rms_norm_eps, f64::MIN_POSITIVE..=1.0)?;
        within(file, "the rotary base", self.rope.theta, 1.0..=1e12)?;
        if !self.heads.is_multiple_of(self.kv_heads) {
            let what =
                format_args!("{} heads are no multiple of {} key/value heads", self.heads, self.kv_heads);
            return Err(FormatError::malformed(file, what));
        }
        if !self.head_dim.is_multiple_of(2) {
            return Err(FormatError::malformed(
                file,
                format_args!("the head dimension {} is odd", self.head_dim),
            ));
        }
        if let RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } =
            self.rope.scaling
        {
            within(file, "the rotary scaling's factor", factor, 1.0..=1e6)?;
            within(file, "the rotary scaling's low_freq_factor", low_freq_factor, f64::MIN_POSITIVE..=1e6)?;
            within(file, "the rotary scaling's high_freq_factor", high_freq_factor, f64::MIN_POSITIVE..=1e6)?;
            within(
                file,
                "the rotary scaling's original context",
                original_context as usize,
                1..=MAX_CONTEXT,
            )?;
            if high_freq_factor <= low_freq_factor {
                return Err(FormatError::malformed(file, "high_freq_factor is not above low_freq_factor"));
            }
        }
        self.check_ids(file, "bos", &self.bos)?;
        self.check_ids(file, "eos", &self.eos)
    }

    /// Checks that token ids are below the vocabulary's size.
    pub(crate) fn check_ids(&self, file: &str, what: &str, ids: &[u32]) -> Result<()> {
        match ids.iter().find(|id| **id as usize >= self.vocab_size) {
            None => Ok(()),
            Some(id) => {
                let what =
                    format_args!("{what} token {id} is not below the vocabulary's {}", self.vocab_size);
                Err(FormatError::malformed(file, what))
            }
        }
    }
}

/// `value` in `range`, which refuses NaN too, or an error that names it.
fn within<T: PartialOrd + Display + Debug>(
    file: &str,
    what: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<()> {
    if range.contains(&value) {
        return Ok(());
    }
    let (low, high) = (range.start(), range.end());
    Err(FormatError::malformed(file, format_args!("{what} is {value}; it must be from {low} to {high}")))
}

/// How the model's authors want it sampled. Absent numbers are the engine's to choose.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GenerationConfig {
    /// Tokens that end a reply: the generation configuration's where it has them, else the model's.
    pub eos: Vec<u32>,
    /// Whether replies are sampled at all; `false` is greedy.
    pub do_sample: Option<bool>,
    /// At least 0.
    pub temperature: Option<f64>,
    /// Above 0, at most 1.
    pub top_p: Option<f64>,
    /// 0 is no limit.
    pub top_k: Option<u32>,
    /// Above 0; 1 is none.
    pub repetition_penalty: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::tiny_config;

    #[test]
    fn a_sound_configuration_passes() {
        tiny_config().check("t").unwrap();
    }

    #[test]
    fn every_number_has_its_range() {
        type Spoil = fn(&mut ModelConfig);
        let cases: &[(&str, Spoil)] = &[
            ("vocabulary", |c| c.vocab_size = MAX_VOCAB + 1),
            ("hidden", |c| c.hidden_size = 0),
            ("intermediate", |c| c.intermediate_size = usize::MAX),
            ("layers", |c| c.layers = 513),
            ("layers", |c| c.layers = 0),
            ("attention heads", |c| c.heads = 0),
            ("key/value heads", |c| c.kv_heads = c.heads + 1),
            ("multiple", |c| (c.heads, c.kv_heads) = (6, 4)),
            ("odd", |c| c.head_dim = 3),
            ("head dimension", |c| c.head_dim = 514),
            ("context", |c| c.context_length = 1 << 31),
            ("epsilon", |c| c.rms_norm_eps = f64::NAN),
            ("epsilon", |c| c.rms_norm_eps = f64::INFINITY),
            ("epsilon", |c| c.rms_norm_eps = 0.0),
            ("rotary base", |c| c.rope.theta = f64::NAN),
            ("bos token", |c| c.bos = vec![c.vocab_size as u32]),
            ("eos token", |c| c.eos = vec![u32::MAX]),
        ];
        for (word, break_it) in cases {
            let mut config = tiny_config();
            break_it(&mut config);
            let error = config.check("t").unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn rotary_scaling_has_its_ranges() {
        for (factor, low, high, context) in
            [(0.0, 1.0, 4.0, 8192), (f64::NAN, 1.0, 4.0, 8192), (8.0, 4.0, 4.0, 8192), (8.0, 1.0, 4.0, 0)]
        {
            let mut config = tiny_config();
            config.rope.scaling = RopeScaling::Llama3 {
                factor,
                low_freq_factor: low,
                high_freq_factor: high,
                original_context: context,
            };
            assert!(config.check("t").is_err(), "{factor} {low} {high} {context}");
        }
    }
}
