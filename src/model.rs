//! A model: a logical name over an engine, with the text side that turns messages into ids and back.

use crate::config::Config;
use crate::error::{Error, ErrorCode, Result};
use crate::guard::IntegrityError;
use crate::heap::GivesBack;
use crate::request::{Input, Message, Request};
use crate::runtime::Inner;
use crate::text::{Chat, ChatTemplate, Json, Rendered, TextError, Tokenizer};
use plimsoll_engine::{Capabilities, Engine, Lease, ModelId};
use std::sync::Arc;

/// What a model knows about text.
pub struct TextSide {
    /// Text to ids and back.
    pub tokenizer: Tokenizer,
    /// Messages to text; `None` for a model that came without a template.
    pub template: Option<ChatTemplate>,
    /// Ids that end an answer.
    pub stop_tokens: Arc<[u32]>,
}

/// A loaded model: shared by every logical model over the same files.
pub(crate) struct Loaded {
    pub(crate) id: ModelId,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) text: TextSide,
    /// The same engine, where it can be unloaded and loaded again.
    #[cfg(feature = "native")]
    pub(crate) resident: Option<Arc<crate::resident::Resident>>,
    /// Pays for the text; dropped after it.
    pub(crate) side: Option<Lease>,
    /// Dropped last, when the memory of all of these is free.
    pub(crate) _given: GivesBack,
}

impl Loaded {
    pub(crate) fn new(id: ModelId, engine: Arc<dyn Engine>, text: TextSide, side: Option<Lease>) -> Self {
        Loaded {
            id,
            engine,
            text,
            #[cfg(feature = "native")]
            resident: None,
            side,
            _given: GivesBack,
        }
    }

    /// Loads the model again for a request that was granted, if it was unloaded. Returns whether it is there: not when the
    /// request was `over` before.
    ///
    /// # Errors
    /// Those of a load.
    #[cfg_attr(not(feature = "native"), allow(unused_variables, reason = "nothing else is loaded again"))]
    pub(crate) fn ready(&self, over: &dyn Fn() -> bool) -> Result<bool> {
        #[cfg(feature = "native")]
        if let Some(resident) = &self.resident {
            return resident.ready(over);
        }
        Ok(true)
    }

    pub(crate) fn vocab_size(&self) -> u32 {
        self.engine.capabilities().vocab_size
    }

    pub(crate) fn context_length(&self) -> u32 {
        self.engine.capabilities().context_length
    }

    /// The conversation through the chat template.
    pub(crate) fn render<'a>(
        &self,
        messages: impl Iterator<Item = &'a Message>,
        tools: Option<&Json>,
    ) -> Result<Rendered> {
        let Some(template) = &self.text.template else {
            let text = "the model has no chat template; send text or tokens instead of messages";
            return Err(Error::new(ErrorCode::Template, text));
        };
        let turns: Vec<_> = messages.map(Message::turn).collect();
        let chat = Chat { turns: &turns, tools, add_generation_prompt: true };
        template.render_chat_for(&chat, self.text.tokenizer.controls()).map_err(template_error)
    }

    /// Ids of a text, which follows `before` others; `start` also adds what the model expects around a text. A text so long
    /// that it cannot fit in the context, even were each of its tokens the longest there is, is refused before it is
    /// tokenised.
    pub(crate) fn encode(&self, text: &Rendered, start: bool, before: usize) -> Result<Vec<u32>> {
        self.check(text.text(), before)?;
        self.known(self.text.tokenizer.encode_rendered(text, start))
    }

    /// As [`encode`](Self::encode), for a text that is only text: its control tokens are spelled out.
    pub(crate) fn encode_literal(&self, text: &str, start: bool, before: usize) -> Result<Vec<u32>> {
        self.check(text, before)?;
        self.known(self.text.tokenizer.encode_literal(text, start))
    }

    fn check(&self, text: &str, before: usize) -> Result<()> {
        let longest = self.text.tokenizer.bytes_table().longest().max(1);
        let fewest = before.saturating_add(text.len() / longest);
        if fewest > self.context_length() as usize {
            let text = format!(
                "the conversation has at least {fewest} tokens, the model's context {}",
                self.context_length()
            );
            return Err(Error::new(ErrorCode::PromptTooLong, text));
        }
        Ok(())
    }

    fn known(&self, tokens: std::result::Result<Vec<u32>, TextError>) -> Result<Vec<u32>> {
        let tokens = tokens.map_err(tokenizer_error)?;
        let vocab = self.vocab_size();
        match tokens.iter().find(|&&id| id >= vocab) {
            // A tokenizer may know more ids than the weights have rows for.
            Some(id) => {
                let text = format!("the tokenizer gave id {id}, the model has {vocab}");
                Err(Error::new(ErrorCode::InvalidToken, text))
            }
            None => Ok(tokens),
        }
    }

    /// A text whose control tokens are meant, after one that is only text.
    pub(crate) fn meant(&self, text: &str, meant: &str) -> Rendered {
        self.text.tokenizer.controls().join(text, meant)
    }

    /// Text of `tokens`, special tokens left out, incomplete characters replaced.
    pub(crate) fn decode(&self, tokens: &[u32]) -> String {
        let mut text = String::new();
        let mut detokenizer = self.text.tokenizer.detokenizer();
        for &token in tokens {
            detokenizer.push(token, &mut text);
        }
        detokenizer.finish(&mut text);
        text
    }
}

pub(crate) fn tokenizer_error(error: TextError) -> Error {
    text_error(ErrorCode::Tokenizer, &error)
}

pub(crate) fn template_error(error: TextError) -> Error {
    text_error(ErrorCode::Template, &error)
}

/// An error of the text side: of memory, or with the code of the part that it came from.
pub(crate) fn text_error(code: ErrorCode, error: &TextError) -> Error {
    Error::caused(if matches!(error, TextError::NoMemory(_)) { ErrorCode::OutOfMemory } else { code }, error)
}

/// A handle on a loaded model. Clones share it; the model is gone when its last handle and its last session are. It may be
/// unloaded before ([`Model::unload`]): then all but what runs goes on, and the next request loads it again.
///
/// ```
/// use plimsoll::Message;
///
/// # fn main() -> plimsoll::Result<()> {
/// # use plimsoll::{Config, Model, Runtime};
/// # use std::path::Path;
/// # let runtime = Runtime::new(&Config::new())?;
/// # let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true)?;
/// let ids = model.tokenize("Hello there")?;
/// assert!(ids.iter().all(|&id| id < model.vocab_size()));
/// let bytes: Vec<u8> = ids.iter().filter_map(|&id| model.token_bytes(id)).flatten().copied().collect();
/// assert_eq!(bytes, b"Hello there");
///
/// let question = Message::new("user", "Hello!");
/// assert!(model.render(&[question])?.contains("Hello!"));
///
/// // Allocators and ledger agree to the byte.
/// model.check_integrity()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Model {
    pub(crate) runtime: Arc<Inner>,
    pub(crate) loaded: Arc<Loaded>,
    name: Arc<str>,
}

impl Model {
    pub(crate) fn new(runtime: Arc<Inner>, name: &str, loaded: Arc<Loaded>) -> Self {
        runtime.guard.attend(&loaded.engine);
        Model { runtime, loaded, name: name.into() }
    }

    /// Its logical name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its engine is.
    pub fn capabilities(&self) -> &Capabilities {
        self.loaded.engine.capabilities()
    }

    /// Attaches a further engine, named by the key `engine.kind`. A loaded model has its native engine from the start, so
    /// `native` changes nothing.
    ///
    /// # Errors
    /// `Unsupported` for every other kind, `InvalidConfig`.
    pub fn attach(&self, config: &Config) -> Result<()> {
        config.only_model()?;
        match config.name("engine.kind") {
            Some("native") => Ok(()),
            Some("plugin") => Err(Error::new(
                ErrorCode::Unsupported,
                "a plug-in makes a model of its own: plimsoll_model_attach(), Runtime::plugin()",
            )),
            Some(kind) => Err(Error::new(
                ErrorCode::Unsupported,
                format!("engines of kind {kind:?} are not supported yet"),
            )),
            None => {
                Err(Error::new(ErrorCode::InvalidConfig, "engine.kind is not set; it says what to attach"))
            }
        }
    }

    /// Most tokens of a conversation.
    pub fn context_length(&self) -> u32 {
        self.loaded.context_length()
    }

    /// Token ids are below this.
    pub fn vocab_size(&self) -> u32 {
        self.loaded.vocab_size()
    }

    /// The bytes that a token stands for; not always whole characters. `None` beyond the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.loaded.text.tokenizer.token_bytes(id)
    }

    /// Ids of a text, special tokens in it recognised.
    ///
    /// # Errors
    /// `Tokenizer`, `PromptTooLong`.
    pub fn tokenize(&self, text: &str) -> Result<Vec<u32>> {
        self.loaded.encode(&self.loaded.meant("", text), false, 0)
    }

    /// Ids of a text that is only text: a control token written in it is spelled out, never recognised.
    ///
    /// # Errors
    /// As [`Model::tokenize`].
    pub fn tokenize_literal(&self, text: &str) -> Result<Vec<u32>> {
        self.loaded.encode_literal(text, false, 0)
    }

    /// Messages as the model's chat template writes them, up to where the answer begins.
    ///
    /// # Errors
    /// `Template`.
    pub fn render(&self, messages: &[Message]) -> Result<String> {
        self.loaded.render(messages.iter(), None).map(Rendered::into_text)
    }

    /// A request's messages and tools as the model's chat template writes them, up to where the answer begins: the text of
    /// a new session's first turn.
    ///
    /// # Errors
    /// `Template`; `InvalidArgument` for a request of text or tokens.
    pub fn render_request(&self, request: &Request) -> Result<String> {
        match request.input() {
            Input::Messages(messages) => {
                self.loaded.render(messages.iter(), request.tools()).map(Rendered::into_text)
            }
            _ => Err(Error::new(
                ErrorCode::InvalidArgument,
                "only messages are rendered; the request has none",
            )),
        }
    }

    /// Host bytes that are leased for the model beside weights and workspace: tokenizer, chat template, the engine's tables. 0
    /// for an engine of the host's own.
    pub fn host_bytes(&self) -> u64 {
        let text = self.loaded.side.as_ref().map_or(0, Lease::bytes);
        #[cfg(feature = "native")]
        let tables = self.loaded.resident.as_ref().map_or(0, |resident| resident.tables_bytes());
        #[cfg(not(feature = "native"))]
        let tables = 0;
        text.saturating_add(tables)
    }

    /// Frees the model's weights, its workspace, its tables and the KV of its sessions. Handle, sessions and their conversations
    /// stay good: the next request that is granted loads the model again, from the same path, and computes what it needs of the
    /// conversation. Returns the bytes freed; 0 for a model that is not loaded. Handles on the same files share the model.
    ///
    /// A model that was loaded with `model.unload` set to `idle` is also unloaded by itself, when nobody uses it and its bytes
    /// are needed.
    ///
    /// ```
    /// use plimsoll::{Cancel, Flow, Request, Session};
    ///
    /// # fn main() -> plimsoll::Result<()> {
    /// # use plimsoll::{Config, Model, Runtime};
    /// # use std::path::Path;
    /// # let runtime = Runtime::new(&Config::new())?;
    /// # let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true)?;
    /// let session = Session::open(&model, &Config::new())?;
    /// assert!(model.unload()? > 0);
    /// assert!(!model.is_loaded() && model.holdings().weights == 0);
    ///
    /// let request = Request::user("Hello!");
    /// assert!(session.what_if(&request)?.load_bytes > 0);
    /// let outcome = session.generate(&request, None, &Cancel::new(), |_| Flow::Continue)?;
    /// assert!(model.is_loaded() && !outcome.text.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    /// # Errors
    /// `Busy` while a request of it runs or waits, a ticket is outstanding, or it is being loaded; `Unsupported` for an engine of
    /// the host's own and for a plug-in.
    pub fn unload(&self) -> Result<u64> {
        #[cfg(feature = "native")]
        if self.loaded.resident.is_some() {
            self.runtime.sweep_tickets();
            let freed = self.runtime.guard.unload(self.loaded.id);
            return freed.map_err(|in_use| Error::caused(ErrorCode::Busy, &in_use));
        }
        Err(Error::new(ErrorCode::Unsupported, "only models of the native engine are unloaded"))
    }

    /// Whether the model is loaded. One that is not stays good, and is loaded by its next request.
    pub fn is_loaded(&self) -> bool {
        #[cfg(feature = "native")]
        if let Some(resident) = &self.loaded.resident {
            return resident.is_loaded();
        }
        true
    }

    /// Bytes that the model's engine holds: weights, workspace, and KV of all its sessions.
    pub fn holdings(&self) -> plimsoll_engine::Holdings {
        self.loaded.engine.holdings()
    }

    /// Compares what the engine's allocators hold with what the ledger says, to the byte.
    ///
    /// # Errors
    /// `Internal` naming what differs; `Busy` while a request of the model waits or runs, since what is granted and what is
    /// allocated differ then.
    pub fn check_integrity(&self) -> Result<()> {
        let guard = &self.runtime.guard;
        guard
            .check_integrity()
            .and_then(|()| guard.check_holdings(self.loaded.id, &*self.loaded.engine))
            .map_err(|error| {
                let unsettled = matches!(error, IntegrityError::Unsettled { .. });
                Error::caused(if unsettled { ErrorCode::Busy } else { ErrorCode::Internal }, &error)
            })
    }
}
