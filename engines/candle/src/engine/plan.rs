//! What a load will take, known before a byte of weights is read.

use super::Forward;
use super::{Environment, NativeEngine, Options};
use crate::backend::{Backend, StepSpec};
use crate::weights::{Watch, WeightsPlan};
use crate::{LoadError, executor};
use plimsoll_engine::{EngineError, Lease, Progress};
use plimsoll_formats::{Checkpoint, ModelKey, RopeScaling, Source, Text, TokenizerSource, fingerprint};
use plimsoll_scheduler::Layers;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Loads with equal keys give equal engines, so they can share one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoadKey {
    /// The files, whatever paths lead to them.
    pub files: ModelKey,
    /// The settings.
    pub options: Options,
}

/// A checked model and the bytes that loading and running it take.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The last part of the path, for thread names and logs.
    pub(super) name: String,
    pub(super) checkpoint: Checkpoint,
    pub(super) options: Options,
    pub(super) weights: WeightsPlan,
    pub(super) spec: StepSpec,
    workspace_bytes: u64,
    arena: Option<(&'static plimsoll_engine::Source, usize)>,
    block_bytes: u64,
}

impl LoadPlan {
    /// Opens a model (a folder with `config.json`, or a GGUF file), checks it, and prices it for these options. Reads
    /// no weights.
    ///
    /// # Errors
    /// An option is out of its range; a file is missing, malformed or not supported; a size overflows.
    pub fn inspect(path: &Path, options: Options) -> Result<Self, LoadError> {
        options.validate()?;
        let checkpoint = plimsoll_formats::open(path)?;
        let config = &checkpoint.config;
        let name = Text::new(path.file_name().unwrap_or(path.as_os_str()).display()).as_str().to_owned();
        let factors = rope_factors(&checkpoint, options.context(config))?;
        let spec = options.step_spec(config, &factors);
        super::with_backend!(options.backend, B => Self::price::<B>(name, checkpoint, options, spec))
    }

    fn price<B: Backend>(
        name: String,
        checkpoint: Checkpoint,
        options: Options,
        spec: StepSpec,
    ) -> Result<Self, LoadError> {
        let weights = WeightsPlan::new::<B>(&checkpoint, options.quantize, spec.threads)?;
        // What a backend cannot do it says here.
        let forward = Forward::<B>::workspace_bytes(&spec)?;
        let workspace_bytes = executor::scratch_bytes::<B>(&spec)
            .and_then(|lists| forward.checked_add(lists))
            .ok_or(EngineError::PriceOverflow)?;
        let arena = B::arena(&spec)?;
        let bytes = |layers| spec.block_bytes(layers).ok_or(EngineError::PriceOverflow);
        let block_bytes = bytes(Layers::Whole)?.checked_add(bytes(Layers::Rolling)?);
        let block_bytes = block_bytes.ok_or(EngineError::PriceOverflow)?;
        Ok(LoadPlan { name, checkpoint, options, weights, spec, workspace_bytes, arena, block_bytes })
    }

    /// The model on disk: its configuration, tokenizer, chat template and generation settings.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Frees the tokenizer's description, which a load has no use for. [`LoadPlan::key`] stays as it was.
    pub fn forget_tokenizer(&mut self) {
        self.checkpoint.tokenizer = TokenizerSource::Json(Vec::new());
    }

    /// Threads that compute.
    pub fn threads(&self) -> usize {
        self.spec.threads
    }

    /// The settings it was made with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What a load is known by, so that the same files loaded twice share one engine.
    pub fn key(&self) -> LoadKey {
        LoadKey { files: fingerprint(&self.checkpoint), options: self.options.clone() }
    }

    /// Bytes of the weights in the backend's layout.
    pub fn weights_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// Bytes of the workspace: activations, logits, attention and sampling scratch of the largest step.
    pub fn workspace_bytes(&self) -> u64 {
        self.workspace_bytes
    }

    /// What of the workspace is taken from [`Environment::buffers`], in one piece: bytes of a source. Equal loads take as many.
    pub fn arena(&self) -> Option<(&'static plimsoll_engine::Source, usize)> {
        self.arena
    }

    /// Bytes of one KV block over all layers.
    pub fn block_bytes(&self) -> u64 {
        self.block_bytes
    }

    /// Commits the workspace, reads the weights, runs a first step and starts the scheduler's thread. `weights` and
    /// `workspace` pay for [`LoadPlan::weights_bytes`] and [`LoadPlan::workspace_bytes`]; what they hold beyond is
    /// given back at once, the rest when the engine is dropped. `progress` is called on this thread; breaking stops the
    /// load.
    ///
    /// # Errors
    /// The files changed or cannot be read, memory was refused, the weights give no numbers, or the load was stopped.
    /// All memory is then free and both leases are back.
    pub fn load(
        &self,
        weights: Lease,
        workspace: Lease,
        environment: &Environment,
        progress: &dyn Fn(Progress) -> ControlFlow<()>,
    ) -> Result<Arc<NativeEngine>, LoadError> {
        let watch = Watch::new(progress, &self.weights);
        let done = super::with_backend!(self.options.backend, B =>
            NativeEngine::start::<B>(self, weights, workspace, environment, &watch));
        watch.end(done)
    }
}

/// The divisors that a GGUF file brings for its rotary speeds in contexts of this many tokens; empty where there are
/// none.
fn rope_factors(checkpoint: &Checkpoint, context: usize) -> Result<Vec<f32>, LoadError> {
    let config = &checkpoint.config;
    let name = match config.rope.scaling {
        RopeScaling::Factors => RopeScaling::FACTORS,
        RopeScaling::LongFactors { original_context, .. } if context > original_context as usize => {
            RopeScaling::LONG_FACTORS
        }
        RopeScaling::LongFactors { .. } => RopeScaling::SHORT_FACTORS,
        _ => return Ok(Vec::new()),
    };
    // Both the tensor's presence and its shape and type were checked when the file was opened.
    let Some(tensor) = checkpoint.tensors.get(name) else { return Ok(Vec::new()) };
    let mut bytes = vec![0; config.rotary_dim / 2 * size_of::<f32>()];
    checkpoint.open_file(tensor.file)?.read_exact_at(tensor.offset, &mut bytes)?;
    let factors: Vec<f32> =
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
    match factors.iter().all(|factor| factor.is_normal() && *factor > 0.0) {
        true => Ok(factors),
        false => Err(EngineError::Invalid(format!("{name} has divisors that are not above 0")).into()),
    }
}
