//! A model's weights in the layout its backend reads.

mod layer;
mod plan;
mod quantize;
mod read;

pub(crate) use layer::{FeedForward, Gated, LayerWeights, Linear, Mixture};

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
        let mut parts = Parts::<B>::new(read::read_all(checkpoint, plan, watch)?, &checkpoint.config);
        let config = &checkpoint.config;
        let embed = Arc::new(parts.matrix("model.embed_tokens.weight")?);
        let head = match config.tie_embeddings {
            true => Arc::clone(&embed),
            false => Arc::new(parts.matrix("lm_head.weight")?),
        };
        let layers = (0..config.layers)
            .map(|index| LayerWeights::take(&mut parts, index, config))
            .collect::<Result<_, _>>()?;
        let norm = parts.norm("model.norm.weight")?;
        Ok(Weights { embed, layers, norm, head, bytes: plan.bytes(), _lease: lease })
    }

    /// Bytes held, in the backend's layout.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// Loaded tensors by name, taken out one by one.
struct Parts<B: Backend> {
    tensors: BTreeMap<String, Loaded<B>>,
    norms_less_one: bool,
}

impl<B: Backend> Parts<B> {
    fn new(tensors: BTreeMap<String, Loaded<B>>, config: &ModelConfig) -> Self {
        Parts { tensors, norms_less_one: config.norms_less_one }
    }

    fn matrix(&mut self, name: &str) -> Result<B::Matrix, EngineError> {
        match self.tensors.remove(name) {
            Some(Loaded::Matrix(matrix)) => Ok(matrix),
            _ => Err(absent(name)),
        }
    }

    fn vector(&mut self, name: &str) -> Result<B::Vector, EngineError> {
        match self.tensors.remove(name) {
            Some(Loaded::Vector(vector)) => Ok(vector),
            _ => Err(absent(name)),
        }
    }

    /// A norm's weight, whole where the file has it less one.
    fn norm(&mut self, name: &str) -> Result<B::Vector, EngineError> {
        let mut norm = self.vector(name)?;
        if self.norms_less_one {
            B::shift_vector(&mut norm, 1.0)?;
        }
        Ok(norm)
    }

    fn linear(&mut self, name: &str, bias: bool) -> Result<Linear<B>, EngineError> {
        let matrix = self.matrix(&format!("{name}.weight"))?;
        let bias = bias.then(|| self.vector(&format!("{name}.bias"))).transpose()?;
        Ok(Linear { matrix, bias })
    }
}

/// The plan lists every tensor the configuration calls for, so this says that plan and decoder disagree.
fn absent(name: &str) -> EngineError {
    EngineError::Execution(format!("tensor {name} was not planned"))
}
