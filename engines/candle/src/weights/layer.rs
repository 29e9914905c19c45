//! The weights of one decoder layer.

use super::Parts;
use crate::backend::Backend;
use plimsoll_engine::EngineError;
use plimsoll_formats::{Experts, ModelConfig};

/// A linear map with its bias, where it has one.
pub(crate) struct Linear<B: Backend> {
    pub(crate) matrix: B::Matrix,
    pub(crate) bias: Option<B::Vector>,
}

/// A gated feed-forward part: `down(activation(gate(x)) * up(x))`.
pub(crate) struct Gated<B: Backend> {
    pub(crate) gate: Linear<B>,
    pub(crate) up: Linear<B>,
    pub(crate) down: Linear<B>,
    /// Outputs of `gate` and `up`.
    pub(crate) width: usize,
}

/// The expert that every token goes through.
pub(crate) struct Shared<B: Backend> {
    pub(crate) part: Gated<B>,
    /// One output, whose sigmoid weighs the expert's.
    pub(crate) gate: B::Matrix,
}

/// A mixture of experts.
pub(crate) struct Mixture<B: Backend> {
    /// An output for each expert.
    pub(crate) router: B::Matrix,
    pub(crate) experts: Vec<Gated<B>>,
    pub(crate) shared: Option<Shared<B>>,
}

/// What follows attention in a layer.
pub(crate) enum FeedForward<B: Backend> {
    Dense(Gated<B>),
    Mixture(Mixture<B>),
}

/// The weights of one decoder layer.
pub(crate) struct LayerWeights<B: Backend> {
    pub(crate) attn_norm: B::Vector,
    pub(crate) q: Linear<B>,
    pub(crate) k: Linear<B>,
    pub(crate) v: Linear<B>,
    pub(crate) o: Linear<B>,
    /// Norms within each query and key head.
    pub(crate) qk_norm: Option<(B::Vector, B::Vector)>,
    /// The norm after attention, before the residual connection.
    pub(crate) attn_post_norm: Option<B::Vector>,
    pub(crate) ffn_norm: B::Vector,
    pub(crate) feed_forward: FeedForward<B>,
    /// The norm after the feed-forward part, before the residual connection.
    pub(crate) ffn_post_norm: Option<B::Vector>,
}

impl<B: Backend> LayerWeights<B> {
    /// Takes the weights of layer `index` out of the loaded parts.
    pub(super) fn take(
        parts: &mut Parts<B>,
        index: usize,
        config: &ModelConfig,
    ) -> Result<Self, EngineError> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let qk_norm = match config.qk_norm {
            true => Some((
                parts.norm(&name("self_attn.q_norm.weight"))?,
                parts.norm(&name("self_attn.k_norm.weight"))?,
            )),
            false => None,
        };
        let attn_norm = parts.norm(&name("input_layernorm.weight"))?;
        let after = parts.norm(&name("post_attention_layernorm.weight"))?;
        let (attn_post_norm, ffn_norm, ffn_post_norm) = match config.post_norms {
            false => (None, after, None),
            true => (
                Some(after),
                parts.norm(&name("pre_feedforward_layernorm.weight"))?,
                Some(parts.norm(&name("post_feedforward_layernorm.weight"))?),
            ),
        };
        let experts = config.experts.as_ref().filter(|experts| experts.layers.get(index) == Some(&true));
        let feed_forward = match experts {
            None => {
                FeedForward::Dense(parts.gated(&name("mlp"), config.mlp_bias, config.intermediate_size)?)
            }
            Some(_) if config.post_norms => {
                return Err(EngineError::Invalid("a mixture of experts with a norm after it".into()));
            }
            Some(experts) => FeedForward::Mixture(parts.mixture(&name("mlp"), experts)?),
        };
        Ok(LayerWeights {
            attn_norm,
            q: parts.linear(&name("self_attn.q_proj"), config.qkv_bias)?,
            k: parts.linear(&name("self_attn.k_proj"), config.qkv_bias)?,
            v: parts.linear(&name("self_attn.v_proj"), config.qkv_bias)?,
            o: parts.linear(&name("self_attn.o_proj"), config.attention_out_bias)?,
            qk_norm,
            attn_post_norm,
            ffn_norm,
            feed_forward,
            ffn_post_norm,
        })
    }
}

impl<B: Backend> Parts<B> {
    fn gated(&mut self, name: &str, bias: bool, width: usize) -> Result<Gated<B>, EngineError> {
        Ok(Gated {
            gate: self.linear(&format!("{name}.gate_proj"), bias)?,
            up: self.linear(&format!("{name}.up_proj"), bias)?,
            down: self.linear(&format!("{name}.down_proj"), bias)?,
            width,
        })
    }

    fn mixture(&mut self, name: &str, experts: &Experts) -> Result<Mixture<B>, EngineError> {
        let shared = match experts.shared {
            None => None,
            Some(width) => Some(Shared {
                part: self.gated(&format!("{name}.shared_expert"), false, width)?,
                gate: self.matrix(&format!("{name}.shared_expert_gate.weight"))?,
            }),
        };
        let expert = |index| self.gated(&format!("{name}.experts.{index}"), false, experts.intermediate_size);
        let parts = (0..experts.count).map(expert).collect::<Result<_, _>>()?;
        Ok(Mixture { router: self.matrix(&format!("{name}.gate.weight"))?, experts: parts, shared })
    }
}
