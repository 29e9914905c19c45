//! From text to token ids, and what each id stands for.

use super::bytes_table::{BytesTable, Entry, Kind};
use super::decoding::Decoding;
use super::detokenizer::Detokenizer;
use super::error::{TextError, foreign};
use super::gguf::{self, GgufVocab};
use super::normalizer::{Run, Steps};
use super::splitter::Splitter;
use super::tokenizer_json;
use std::fmt;
use std::sync::Arc;
use tokenizers::models::ModelWrapper;
use tokenizers::{AddedVocabulary, Model, OffsetReferential, OffsetType, PreTokenizedString, Token};

/// The default of [`Tokenizer::with_max_text`], in bytes.
pub const MAX_TEXT: usize = 64 << 20;

/// What a file's reader hands over.
pub(super) struct Parts {
    pub(super) added: AddedVocabulary,
    pub(super) normalizer: Steps,
    pub(super) splitter: Splitter,
    pub(super) model: ModelWrapper,
    /// Ids before and after a text.
    pub(super) prefix: Vec<u32>,
    pub(super) suffix: Vec<u32>,
    pub(super) decoding: Decoding,
    /// The ids that are not simply text, sorted (the added tokens come on top).
    pub(super) listed: Vec<Listed>,
}

/// An id that is not simply text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Listed {
    pub(super) id: u32,
    pub(super) kind: Kind,
    /// What it stands for, if not for its spelling.
    pub(super) shown: Option<&'static str>,
}

/// A model's tokenizer. Immutable: share it between threads.
///
/// Encoding gives the ids that the Hugging Face `tokenizers` library gives, or an error: no part of a text is ever dropped
/// or mangled silently.
pub struct Tokenizer {
    added: AddedVocabulary,
    /// The same tokens with the control tokens switched off, for text that is only text.
    added_literal: AddedVocabulary,
    normalizer: Steps,
    splitter: Splitter,
    model: ModelWrapper,
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    table: Arc<BytesTable>,
    decoding: Decoding,
    max_text: usize,
}

impl Tokenizer {
    /// Reads a Hugging Face tokenizer.json.
    ///
    /// # Errors
    /// Any [`TextError`] about tokenizers: what is malformed, out of bounds or not supported is named.
    pub fn from_json(json: &[u8]) -> Result<Self, TextError> {
        Self::new(tokenizer_json::read(json)?)
    }

    /// Builds the tokenizer that a GGUF file describes.
    ///
    /// # Errors
    /// As for [`from_json`](Self::from_json); a pre-tokeniser of unknown name is [`TextError::Unsupported`].
    pub fn from_gguf(vocab: &GgufVocab) -> Result<Self, TextError> {
        Self::new(gguf::read(vocab)?)
    }

    fn new(parts: Parts) -> Result<Self, TextError> {
        let Parts { added, normalizer, splitter, model, prefix, suffix, decoding, listed } = parts;
        let spelled = model.get_vocab();
        let added_tokens = added.get_added_tokens_decoder();
        let largest =
            spelled.values().chain(added_tokens.keys()).chain(listed.iter().map(|token| &token.id)).max();
        let size = largest.map_or(0, |id| id.saturating_add(1));
        let tokens = spelled.iter().map(|(token, id)| {
            let listed = listed.binary_search_by_key(id, |listed| listed.id).ok().map(|at| listed[at]);
            let kind = listed.map_or(Kind::Text, |listed| listed.kind);
            match listed.and_then(|listed| listed.shown) {
                Some(shown) => Entry { id: *id, token: shown, kind, literal: true },
                None => Entry { id: *id, token, kind, literal: false },
            }
        });
        let tokens = tokens.chain(added_tokens.iter().map(|(id, token)| {
            let kind = if token.special { Kind::Special } else { Kind::Text };
            Entry { id: *id, token: token.content.as_str(), kind, literal: !decoding.decodes_added }
        }));
        let table = Arc::new(BytesTable::new(size, &decoding, tokens)?);
        if let Some(id) = prefix.iter().chain(&suffix).find(|id| table.get(**id).is_none()) {
            return Err(TextError::Tokenizer(format!(
                "the post-processor adds the id {id}, which has no token"
            )));
        }
        let mut added_literal = added.clone();
        added_literal.set_encode_special_tokens(true);
        let max_text = MAX_TEXT;
        Ok(Tokenizer {
            added,
            added_literal,
            normalizer,
            splitter,
            model,
            prefix,
            suffix,
            table,
            decoding,
            max_text,
        })
    }

    /// Sets the longest text that is taken, in bytes. Encoding needs up to about 100 bytes of memory for each.
    #[must_use]
    pub fn with_max_text(mut self, bytes: usize) -> Self {
        self.max_text = bytes;
        self
    }

    /// The ids of a rendered chat template: control tokens written in the text are recognised. `add_special` also adds
    /// what the model expects around a text, such as a token for its beginning.
    ///
    /// # Errors
    /// [`TextError::TooLarge`] over [`with_max_text`](Self::with_max_text), [`TextError::Encode`] for a text that the
    /// tokenizer's patterns cannot split or its vocabulary cannot spell.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        if !add_special {
            return self.encode_with(text, &self.added, Vec::new());
        }
        let mut ids = self.encode_with(text, &self.added, self.prefix.clone())?;
        ids.extend_from_slice(&self.suffix);
        Ok(ids)
    }

    /// The ids of text that is nothing but text: a control token written in it is spelled out, not recognised.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_literal(&self, text: &str) -> Result<Vec<u32>, TextError> {
        self.encode_with(text, &self.added_literal, Vec::new())
    }

    fn encode_with(
        &self,
        text: &str,
        added: &AddedVocabulary,
        mut ids: Vec<u32>,
    ) -> Result<Vec<u32>, TextError> {
        if text.len() > self.max_text {
            let (got, limit) = (text.len() as u64, self.max_text as u64);
            return Err(TextError::TooLarge { what: "bytes of text", got, limit });
        }
        let run = Run::new(&self.normalizer);
        let mut pieces = added.extract_and_normalize(Some(&run), text);
        run.finish()?;
        self.splitter.apply(&mut pieces).map_err(|e| TextError::Encode(foreign(&e)))?;
        self.check_cover(&pieces, text.len())?;
        for (piece, _, tokens) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            match tokens {
                Some(tokens) => ids.extend(tokens.iter().map(|token| token.id)),
                None => {
                    let tokens = self.model.tokenize(piece).map_err(|e| TextError::Encode(foreign(&e)))?;
                    check_spelled(piece, &tokens)?;
                    ids.extend(tokens.iter().map(|token| token.id));
                }
            }
        }
        Ok(ids)
    }

    /// Whether the pieces are the whole text, where nothing may be left out.
    fn check_cover(&self, pieces: &PreTokenizedString, length: usize) -> Result<(), TextError> {
        if !self.splitter.is_lossless() || !self.normalizer.is_empty() {
            return Ok(());
        }
        let mut covered = 0;
        for (_, (start, end), _) in pieces.get_splits(OffsetReferential::Original, OffsetType::Byte) {
            if start > covered {
                break;
            }
            covered = covered.max(end);
        }
        if covered != length {
            return Err(TextError::Encode(format!("the bytes from {covered} on are in no piece")));
        }
        Ok(())
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> u32 {
        self.table.vocab_size()
    }

    /// The bytes a token stands for; `None` if no token has this id. Control tokens give the text they are written as.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.table.get(id)
    }

    /// Whether the id is a control token, which is hidden from a reader.
    pub fn is_special(&self, id: u32) -> bool {
        self.table.is_special(id)
    }

    /// The id of a token as the vocabulary spells it, for control tokens such as `<|im_end|>`.
    pub fn id_of(&self, token: &str) -> Option<u32> {
        self.added.token_to_id(token, &self.model)
    }

    /// The bytes of every token, shared.
    pub fn bytes_table(&self) -> &Arc<BytesTable> {
        &self.table
    }

    /// A decoder for one stream of ids.
    pub fn detokenizer(&self) -> Detokenizer {
        Detokenizer::new(Arc::clone(&self.table), &self.decoding)
    }
}

/// Whether the tokens spell the whole piece: the model skips characters for which it has no token.
fn check_spelled(piece: &str, tokens: &[Token]) -> Result<(), TextError> {
    let spelled = tokens.last().map_or(0, |token| token.offsets.1);
    if spelled != piece.len() {
        return Err(TextError::Encode("the vocabulary has no token for a part of it".into()));
    }
    Ok(())
}

impl fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokenizer").field("vocab_size", &self.vocab_size()).finish_non_exhaustive()
    }
}
