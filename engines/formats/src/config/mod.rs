//! What a model is: the numbers an engine needs to build it, checked against fixed ranges.

mod architecture;
mod check;
mod family;
mod generation;
mod rope;

pub use crate::hf::config::parse;
pub use architecture::Architecture;
pub(crate) use check::check_layers;
pub(crate) use family::{Bias, Family, MAX_WINDOW_LAYERS, WINDOW, WindowRule};
pub use generation::GenerationConfig;
pub use rope::{Rope, RopeScaling};

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

impl Window {
    /// The window of these layers; `None` where it hides nothing from any of them.
    pub(crate) fn within(context: usize, tokens: Option<usize>, layers: Vec<bool>) -> Option<Self> {
        let tokens = tokens.filter(|tokens| *tokens < context && layers.contains(&true))?;
        Some(Self { tokens, layers })
    }
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
}
