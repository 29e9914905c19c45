//! Loading into the native engine: from a path to a model.

use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::model::{Loaded, Model, TextSide, template_error, tokenizer_error};
use crate::runtime::{Inner, Runtime};
use crate::shared::Shared;
use crate::side;
use crate::text::{ChatTemplate, GgufVocab, Tokenizer};
use plimsoll_candle::{BackendKind, Environment, KvDtype, LoadError, LoadKey, LoadPlan, Options, Quantize};
use plimsoll_engine::{EngineError, LoadState, Owner, Progress};
use plimsoll_formats::{self as formats, FormatError};
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// The native engines that are loaded, by their files and settings.
pub(crate) type Registry = Shared<LoadKey, Loaded>;

impl Runtime {
    /// Loads a model, a folder or a `.gguf` file, under a logical name. The guard must grant its weights and its workspace
    /// first. The same files with the same settings are loaded once and shared, also when two threads ask at once.
    /// `config` takes `native.*` keys; `progress` is called on this thread and returns whether to go on. Whoever finds the
    /// model loaded is only told that it is ready.
    ///
    /// # Errors
    /// `Model*` for what is wrong with the files, `MemoryRefused` with its numbers, `OutOfMemory`, `InvalidConfig`,
    /// `LoadCancelled`.
    pub fn load_model(
        &self,
        name: &str,
        path: &Path,
        config: &Config,
        progress: &dyn Fn(&Progress) -> bool,
    ) -> Result<Model> {
        config.only_model()?;
        let plan = LoadPlan::inspect(path, options(config)?).map_err(load_error)?;
        let inner = self.inner();
        let ready = ready(plan.checkpoint());
        let mut found = true;
        let loaded = inner.native.get_or_try_make(plan.key(), || {
            found = false;
            load(inner, plan, progress)
        })?;
        if found {
            // There is nothing left to stop, so the answer does not matter.
            progress(&ready);
        }
        log::info!("model {name:?} is ready: {}", loaded.engine.capabilities().name);
        Ok(Model::new(Arc::clone(inner), name, loaded))
    }
}

fn load(inner: &Arc<Inner>, mut plan: LoadPlan, progress: &dyn Fn(&Progress) -> bool) -> Result<Arc<Loaded>> {
    let id = inner.next_model();
    let weights = inner.lease(Owner::Weights(id), plan.weights_bytes())?;
    let workspace = inner.lease(Owner::Workspace(id), plan.workspace_bytes())?;
    let covered = weights.bytes().saturating_add(workspace.bytes());
    let checkpoint = plan.checkpoint();
    let description = checkpoint.tokenizer.bytes();
    let (text, text_lease) = side::text(inner, id, description, covered, || text_side(checkpoint))?;
    let tables = side::tables(inner, id, &plan)?;
    plan.forget_tokenizer();
    let environment = Environment {
        clock: Arc::clone(&inner.clock),
        throttle: Arc::clone(inner.guard.throttle()),
        ..Environment::default()
    };
    let report = |now: Progress| match progress(&now) {
        true => ControlFlow::Continue(()),
        false => ControlFlow::Break(()),
    };
    let engine = match plan.load(weights, workspace, &environment, &report).map_err(load_error) {
        Err(error) if error.code() == ErrorCode::OutOfMemory => {
            let recovery = inner.guard.recover();
            let weights = inner.lease(Owner::Weights(id), plan.weights_bytes())?;
            let workspace = inner.lease(Owner::Workspace(id), plan.workspace_bytes())?;
            let engine = plan.load(weights, workspace, &environment, &report).map_err(load_error)?;
            recovery.succeeded();
            engine
        }
        engine => engine?,
    };
    Ok(Arc::new(Loaded { id, engine, text, side: vec![text_lease, tables] }))
}

/// The last report of a load.
fn ready(checkpoint: &formats::Checkpoint) -> Progress {
    let (shards, bytes) = (checkpoint.files.len(), checkpoint.weight_bytes());
    Progress { state: LoadState::Ready, shard: shards, shards, bytes_done: bytes, bytes_total: bytes }
}

fn text_side(checkpoint: &formats::Checkpoint) -> Result<TextSide> {
    let tokenizer = match &checkpoint.tokenizer {
        formats::TokenizerSource::Json(bytes) => Tokenizer::from_json(bytes),
        formats::TokenizerSource::Gguf(vocab) => Tokenizer::from_gguf(&GgufVocab {
            model: &vocab.model,
            tokens: &vocab.tokens,
            token_types: &vocab.token_types,
            merges: &vocab.merges,
            scores: &vocab.scores,
            charsmap: &vocab.charsmap,
            pre: &vocab.pre,
            bos: vocab.bos,
            eos: vocab.eos,
            eot: vocab.eot,
            unknown: vocab.unk,
            add_bos: vocab.add_bos,
            add_eos: vocab.add_eos,
            add_space_prefix: vocab.add_space_prefix,
            remove_extra_whitespaces: vocab.remove_extra_whitespaces,
        }),
    }
    .map_err(tokenizer_error)?;
    let template = checkpoint.chat_template.as_ref().map(|found| {
        let template =
            ChatTemplate::new(&found.source, found.bos_token.as_deref(), found.eos_token.as_deref())?;
        match &found.tool_use {
            Some(source) => template.with_tool_use(source),
            None => Ok(template),
        }
    });
    let template = template.transpose().map_err(template_error)?;
    Ok(TextSide { tokenizer, template, stop_tokens: checkpoint.generation.eos.as_slice().into() })
}

fn options(config: &Config) -> Result<Options> {
    let mut options = Options::default();
    if config.name("native.backend") == Some("candle") {
        options.backend = BackendKind::Candle;
    }
    options.kv_dtype = match config.name("native.kv_type") {
        Some("f32") => KvDtype::F32,
        Some("q8_0") => KvDtype::Q8_0,
        _ => KvDtype::F16,
    };
    options.quantize = match config.name("native.quantize") {
        Some("q8_0") => Some(Quantize::Q8_0),
        Some("q4_0") => Some(Quantize::Q4_0),
        Some("q4_k") => Some(Quantize::Q4K),
        _ => None,
    };
    let set = |key, field: &mut u32| {
        if let Some(value) = config.integer(key) {
            // Every key's range ends below 2^32.
            *field = u32::try_from(value).unwrap_or(u32::MAX);
        }
    };
    set("native.threads", &mut options.threads);
    set("native.block_tokens", &mut options.block_tokens);
    set("native.max_sequences", &mut options.max_sequences);
    set("native.max_step_tokens", &mut options.max_step_tokens);
    set("native.step_ms", &mut options.step_ms);
    set("native.context_length", &mut options.context_length);
    set("native.queue", &mut options.queue);
    Ok(options)
}

/// The text side of a model, whose weights are not read.
#[cfg(feature = "plugin")]
pub(crate) fn text_of(path: &Path) -> Result<TextSide> {
    let checkpoint = formats::open(path).map_err(|error| Error::caused(format_code(&error), &error))?;
    text_side(&checkpoint)
}

fn format_code(error: &FormatError) -> ErrorCode {
    match error {
        FormatError::OutOfMemory { .. } => ErrorCode::OutOfMemory,
        FormatError::Io { source, .. } if source.kind() == ErrorKind::OutOfMemory => ErrorCode::OutOfMemory,
        FormatError::Io { .. } | FormatError::Missing { .. } => ErrorCode::ModelNotFound,
        FormatError::Unsupported { .. } => ErrorCode::ModelUnsupported,
        _ => ErrorCode::ModelMalformed,
    }
}

fn load_error(error: LoadError) -> Error {
    let code = match &error {
        LoadError::Option { .. } => ErrorCode::InvalidConfig,
        LoadError::Cancelled => ErrorCode::LoadCancelled,
        LoadError::Format(format) => format_code(format),
        // Nobody has made a request yet: what is invalid or too large came from the files.
        LoadError::Engine(EngineError::Invalid(_) | EngineError::PriceOverflow) => ErrorCode::ModelMalformed,
        LoadError::Engine(engine) => return engine.clone().into(),
        _ => ErrorCode::ModelMalformed,
    };
    Error::caused(code, &error)
}
