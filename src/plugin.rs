//! Models over plug-ins: from a table to a model.

use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::model::{Loaded, Model, TextSide, tokenizer_error};
use crate::runtime::Runtime;
use crate::text::Tokenizer;
use plimsoll_engine::Owner;
use plimsoll_plugin::{Plugin, PluginError, Settings};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The longest tokenizer.json that is read.
const MOST_BYTES: u64 = 1 << 28;
/// How long a reader waits for the end of a request that it has cancelled.
const GRACE: Duration = Duration::from_secs(2);
/// A tokenizer that knows no text: its only token is empty, and no text is short enough for it.
const NO_TEXT: &[u8] =
    br#"{"version":"1.0","added_tokens":[],"model":{"type":"WordLevel","vocab":{"":0},"unk_token":""}}"#;

impl Runtime {
    /// A model over a plug-in, under a logical name. The guard must grant the weights and the workspace that the plug-in
    /// describes before it is loaded. `config` takes `plugin.*` keys.
    ///
    /// # Errors
    /// `InvalidArgument` for a description that makes no sense, `MemoryRefused` with its numbers, `EngineFailed` and
    /// `OutOfMemory` where the plug-in does not load, `InvalidConfig`.
    pub fn plugin(&self, name: &str, plugin: Plugin, text: TextSide, config: &Config) -> Result<Model> {
        config.only_model()?;
        let inner = self.inner();
        let description = plugin.describe().map_err(plugin_error)?;
        let id = inner.next_model();
        let weights = inner.lease(Owner::Weights(id), description.weights_bytes)?;
        let workspace = inner.lease(Owner::Workspace(id), description.workspace_bytes)?;
        let settings = Settings {
            clock: Arc::clone(&inner.clock),
            grace: config.integer("plugin.grace_ms").map_or(GRACE, Duration::from_millis),
            reclaim_deadline: inner.guard.config().reclaim_deadline,
        };
        let engine = plugin.load(&description, weights, workspace, settings).map_err(plugin_error)?;
        log::info!("model {name:?} is ready: plug-in {}", description.capabilities.name);
        Ok(Model::new(Arc::clone(inner), name, Arc::new(Loaded::new(id, engine, text, None))))
    }
}

impl TextSide {
    /// The text side of a model whose weights are not read, or a tokenizer.json alone, which brings neither a chat template
    /// nor ids that end an answer. Without the feature `native` only the latter.
    ///
    /// # Errors
    /// `Model*` and `Tokenizer` for what is wrong with the files.
    pub fn open(path: &Path) -> Result<TextSide> {
        #[cfg(feature = "native")]
        if path.extension().is_none_or(|extension| extension != "json") {
            return crate::native::text_of(path);
        }
        tokenizer_json(path)
    }

    /// For models that take and give token ids only: their texts are empty, and text is refused.
    ///
    /// # Errors
    /// None but `Internal`.
    pub fn ids_only() -> Result<TextSide> {
        let tokenizer = Tokenizer::from_json(NO_TEXT)
            .map_err(|error| Error::caused(ErrorCode::Internal, &error))?
            .with_max_text(0);
        Ok(TextSide { tokenizer, template: None, stop_tokens: Arc::default() })
    }
}

fn tokenizer_json(path: &Path) -> Result<TextSide> {
    let not_found =
        |error: std::io::Error| Error::new(ErrorCode::ModelNotFound, format!("{}: {error}", path.display()));
    let length = std::fs::metadata(path).map_err(not_found)?.len();
    if length > MOST_BYTES {
        let text = format!("{}: {length} bytes are too many for a tokenizer", path.display());
        return Err(Error::new(ErrorCode::ModelMalformed, text));
    }
    let json = std::fs::read(path).map_err(not_found)?;
    let tokenizer = Tokenizer::from_json(&json).map_err(tokenizer_error)?;
    Ok(TextSide { tokenizer, template: None, stop_tokens: Arc::default() })
}

/// A plug-in's error as the library's.
pub(crate) fn plugin_error(error: PluginError) -> Error {
    let code = match &error {
        PluginError::NullTable => ErrorCode::NullPointer,
        PluginError::TableSize(_) => ErrorCode::InvalidStructSize,
        PluginError::Version(_) => ErrorCode::Unsupported,
        PluginError::Missing(_) | PluginError::Description { .. } => ErrorCode::InvalidArgument,
        PluginError::Failed { status, .. } if *status == ErrorCode::OutOfMemory as i32 => {
            ErrorCode::OutOfMemory
        }
        PluginError::Thread(_) => ErrorCode::OutOfMemory,
        _ => ErrorCode::EngineFailed,
    };
    Error::caused(code, &error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_plugin::status;

    #[test]
    fn a_plug_in_speaks_with_the_librarys_numbers() {
        let pairs = [
            (status::INVALID_ARGUMENT, ErrorCode::InvalidArgument),
            (status::NULL_POINTER, ErrorCode::NullPointer),
            (status::INVALID_STRUCT_SIZE, ErrorCode::InvalidStructSize),
            (status::INVALID_TOKEN, ErrorCode::InvalidToken),
            (status::MEMORY_REFUSED, ErrorCode::MemoryRefused),
            (status::OUT_OF_MEMORY, ErrorCode::OutOfMemory),
            (status::QUEUE_FULL, ErrorCode::QueueFull),
            (status::BUSY, ErrorCode::Busy),
            (status::ENGINE_CLOSED, ErrorCode::EngineClosed),
            (status::INTERNAL, ErrorCode::Internal),
        ];
        for (number, code) in pairs {
            assert_eq!(number, code as i32);
        }
        use crate::outcome::Ending;
        let endings = [
            (status::END_OF_TEXT, Ending::EndOfText),
            (status::LENGTH, Ending::Length),
            (status::STOPPED, Ending::Stopped),
            (status::CANCELLED, Ending::Cancelled),
            (status::DEADLINE, Ending::Deadline),
        ];
        for (number, ending) in endings {
            assert_eq!(number, ending as i32);
        }
    }

    #[test]
    fn without_text_there_are_ids() {
        let text = TextSide::ids_only().unwrap();
        assert!(text.tokenizer.encode("hello", false).is_err());
        let mut out = String::new();
        let mut detokenizer = text.tokenizer.detokenizer();
        detokenizer.push(0, &mut out);
        detokenizer.push(7, &mut out);
        detokenizer.finish(&mut out);
        assert_eq!(out, "");
    }

    #[test]
    fn a_tokenizer_alone_is_enough() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
        let alone = TextSide::open(&folder.join("tokenizer.json")).unwrap();
        assert!(alone.template.is_none() && alone.tokenizer.encode("hello", false).is_ok());
        #[cfg(feature = "native")]
        assert!(TextSide::open(&folder).unwrap().template.is_some());
        assert_eq!(
            TextSide::open(&folder.join("none.json")).err().map(|error| error.code()),
            Some(ErrorCode::ModelNotFound)
        );
    }
}
