//! A model's weights in the layout its backend reads.

mod plan;
mod quantize;
mod read;

pub(crate) use plan::WeightsPlan;
pub use quantize::Quantize;
pub(crate) use read::Watch;

use crate::LoadError;
use crate::backend::Backend;
use plimsoll_engine::{EngineError, Lease};
use plimsoll_formats::{Checkpoint, ModelConfig};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A tensor as it came from its file.
pub(crate) enum Loaded<B: Backend> {
    Matrix(B::Matrix),
    Vector(B::Vector),
}

/// A linear map with its bias, where it has one.
pub(crate) struct Linear<B: Backend> {
    pub(crate) matrix: B::Matrix,
    pub(crate) bias: Option<B::Vector>,
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
    pub(crate) ffn_norm: B::Vector,
    pub(crate) gate: Linear<B>,
    pub(crate) up: Linear<B>,
    pub(crate) down: Linear<B>,
}

/// All weights of a model, with the lease that pays for them.
pub(crate) struct Weights<B: Backend> {
    pub(crate) embed: Arc<B::Matrix>,
    pub(crate) layers: Vec<LayerWeights<B>>,
    pub(crate) norm: B::Vector,
    /// The output matrix; the embedding itself where the two are tied.
    pub(crate) head: Arc<B::Matrix>,
    bytes: u64,
    // Declared last, so that the memory is gone before its bytes are free in the books.
    _lease: Lease,
}

impl<B: Backend> Weights<B> {
    /// Reads every planned tensor, file by file and front to back.
    ///
    /// # Errors
    /// The lease is too small, a file is no longer what was planned, memory is refused, or `watch` stops the load.
    pub(crate) fn load(
        checkpoint: &Checkpoint,
        plan: &WeightsPlan,
        mut lease: Lease,
        watch: &Watch<'_>,
    ) -> Result<Self, LoadError> {
        if lease.bytes() < plan.bytes() {
            let (paid, needed) = (lease.bytes(), plan.bytes());
            return Err(EngineError::Unpaid { what: "weights", paid, needed }.into());
        }
        lease.shrink_to(plan.bytes());
        let mut parts = Parts::<B>(read::read_all(checkpoint, plan, watch)?);
        let config = &checkpoint.config;
        let embed = Arc::new(parts.matrix("model.embed_tokens.weight")?);
        let head = match config.tie_embeddings {
            true => Arc::clone(&embed),
            false => Arc::new(parts.matrix("lm_head.weight")?),
        };
        let layers = (0..config.layers).map(|index| parts.layer(index, config)).collect::<Result<_, _>>()?;
        let norm = parts.vector("model.norm.weight")?;
        Ok(Weights { embed, layers, norm, head, bytes: plan.bytes(), _lease: lease })
    }

    /// Bytes held, in the backend's layout.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Loaded tensors by name, taken out one by one.
struct Parts<B: Backend>(BTreeMap<String, Loaded<B>>);

impl<B: Backend> Parts<B> {
    fn matrix(&mut self, name: &str) -> Result<B::Matrix, EngineError> {
        match self.0.remove(name) {
            Some(Loaded::Matrix(matrix)) => Ok(matrix),
            _ => Err(absent(name)),
        }
    }

    fn vector(&mut self, name: &str) -> Result<B::Vector, EngineError> {
        match self.0.remove(name) {
            Some(Loaded::Vector(vector)) => Ok(vector),
            _ => Err(absent(name)),
        }
    }

    fn linear(&mut self, name: &str, bias: bool) -> Result<Linear<B>, EngineError> {
        let matrix = self.matrix(&format!("{name}.weight"))?;
        let bias = bias.then(|| self.vector(&format!("{name}.bias"))).transpose()?;
        Ok(Linear { matrix, bias })
    }

    fn layer(&mut self, index: usize, config: &ModelConfig) -> Result<LayerWeights<B>, EngineError> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let qk_norm = match config.qk_norm {
            true => Some((
                self.vector(&name("self_attn.q_norm.weight"))?,
                self.vector(&name("self_attn.k_norm.weight"))?,
            )),
            false => None,
        };
        Ok(LayerWeights {
            attn_norm: self.vector(&name("input_layernorm.weight"))?,
            q: self.linear(&name("self_attn.q_proj"), config.qkv_bias)?,
            k: self.linear(&name("self_attn.k_proj"), config.qkv_bias)?,
            v: self.linear(&name("self_attn.v_proj"), config.qkv_bias)?,
            o: self.linear(&name("self_attn.o_proj"), config.attention_out_bias)?,
            qk_norm,
            ffn_norm: self.vector(&name("post_attention_layernorm.weight"))?,
            gate: self.linear(&name("mlp.gate_proj"), config.mlp_bias)?,
            up: self.linear(&name("mlp.up_proj"), config.mlp_bias)?,
            down: self.linear(&name("mlp.down_proj"), config.mlp_bias)?,
        })
    }
}

/// The plan lists every tensor the configuration calls for, so this says that plan and decoder disagree.
fn absent(name: &str) -> EngineError {
    EngineError::Execution(format!("tensor {name} was not planned"))
}
