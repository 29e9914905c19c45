//! Loading into the native engine: from a path to a model.

use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::guard::Footprint;
use crate::heap;
use crate::model::{Loaded, Model, TextSide, template_error, tokenizer_error};
use crate::resident::{self, Resident, Started};
use crate::runtime::{Inner, Runtime, no_room};
use crate::shared::Shared;
use crate::side;
use crate::text::{ChatTemplate, GgufVocab, Tokenizer};
use plimsoll_candle::{BackendKind, Environment, KvDtype, LoadError, LoadKey, LoadPlan, Options, Quantize};
use plimsoll_engine::{Engine, EngineError, LoadState, Owner, Progress, Region};
use plimsoll_formats::{self as formats, FormatError};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

/// The native engines that are loaded, by their files and settings.
pub(crate) type Registry = Shared<LoadKey, Loaded>;

impl Runtime {
    /// Loads a model, a folder or a `.gguf` file, under a logical name. The guard must grant its weights and its workspace
    /// first. The same files with the same settings are loaded once and shared, also when two threads ask at once.
    /// `config` takes `native.*` keys and `model.unload`; `progress` is called on this thread and returns whether to go on.
    /// Whoever finds the model loaded is only told that it is ready. Who stops a load that requests were granted on meanwhile stops
    /// it for itself alone: it goes on for those. `progress` may use other models; this one it would wait for for ever.
    ///
    /// With `model.unload` set to `idle` the model may be unloaded, least recently used first, while nobody uses it and another
    /// model or another's request needs the room; its next request loads it again. A model that is shared stays if any of its
    /// loads did not say so.
    ///
    /// # Errors
    /// `Model*` for what is wrong with the files, `MemoryRefused` with its numbers, `OutOfMemory`, `InvalidConfig`,
    /// `LoadCancelled`; `Reentrant` for what needs this very model, in `progress`.
    pub fn load_model(
        &self,
        name: &str,
        path: &Path,
        config: &Config,
        progress: &dyn Fn(&Progress) -> bool,
    ) -> Result<Model> {
        config.only_model()?;
        let idles = config.name("model.unload") == Some("idle");
        let plan = LoadPlan::inspect(path, options(config)?).map_err(load_error)?;
        let inner = self.inner();
        let ready = ready(plan.checkpoint());
        let mut found = true;
        let itself = || Error::new(ErrorCode::Reentrant, "the model is being loaded on this very thread");
        let loaded = inner.native.get_or_try_make(plan.key(), itself, || {
            found = false;
            load(inner, plan, path, idles, progress)
        })?;
        if let (true, Some(resident)) = (found, &loaded.resident) {
            loop {
                found &= !resident.load_again(progress)?;
                // It may have gone before it is told to stay.
                if idles || resident.keep() {
                    break;
                }
            }
        }
        if found {
            // There is nothing left to stop, so the answer does not matter.
            progress(&ready);
        }
        log::info!("model {name:?} is ready: {}", loaded.engine.capabilities().name);
        Ok(Model::new(Arc::clone(inner), name, loaded))
    }
}

fn load(
    inner: &Arc<Inner>,
    mut plan: LoadPlan,
    path: &Path,
    idles: bool,
    progress: &dyn Fn(&Progress) -> bool,
) -> Result<Arc<Loaded>> {
    let id = inner.next_model();
    let (weights, workspace) = (plan.weights_bytes(), plan.workspace_bytes());
    let checkpoint = plan.checkpoint();
    let description = checkpoint.tokenizer.bytes();
    let parts = [
        (Owner::Weights(id), weights),
        (Owner::Workspace(id), workspace),
        (Owner::Tables(id), side::tables_bytes(&plan)),
    ];
    // The text stays when the rest goes.
    let text = (Owner::Text(id), side::text_bytes(description, weights.saturating_add(workspace)));
    let enrolled = inner.guard.enrol(id, Footprint { region: Region::Host, parts }, idles);
    let enrolment = enrolled.map_err(|error| Error::caused(ErrorCode::OutOfMemory, &error))?;
    let mut aside = inner.guard.set_aside(plan.arena());
    let booked = enrolment.book(Some(text), &mut aside).map_err(|refused| no_room(&refused))?;
    let lost = || Error::new(ErrorCode::Internal, "a model that is new has been loaded by another");
    let mut loading = booked.ok_or_else(lost)?;
    let text = loading.take_beside().ok_or_else(lost)?;
    let (text, text_lease) = side::text(inner, text, description, || text_side(checkpoint))?;
    plan.forget_tokenizer();
    // What it was read from and made with is a multiple of it, and weights come next.
    heap::give_back();
    let environment = Environment {
        clock: Arc::clone(&inner.clock),
        throttle: Arc::clone(inner.guard.throttle()),
        buffers: inner.guard.buffers(),
        ..Environment::default()
    };
    // Nobody has a request on it yet.
    let Started { running, loading, .. } =
        resident::start(&inner.guard, &plan, (loading, 0), &environment, progress)?;
    let resident = Resident::new(&inner.guard, environment, (&plan, path), enrolment, running)?;
    loading.done();
    let engine = Arc::clone(&resident) as Arc<dyn Engine>;
    Ok(Arc::new(Loaded { resident: Some(resident), ..Loaded::new(id, engine, text, Some(text_lease)) }))
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

pub(crate) fn load_error(error: LoadError) -> Error {
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
