//! From text to token ids, and what each id stands for.

use super::bytes_table::{BytesTable, Entry, Kind};
use super::controls::{Controls, Rendered};
use super::decoding::Decoding;
use super::detokenizer::Detokenizer;
use super::error::{TextError, foreign};
use super::gguf::{self, GgufVocab};
use super::marked::Marked;
use super::normalizer::{Run, Steps};
use super::splitter::Splitter;
use super::tokenizer_json;
use std::fmt;
use std::sync::{Arc, OnceLock};
use tokenizers::models::ModelWrapper;
use tokenizers::{AddedVocabulary, Model, OffsetReferential, OffsetType, PreTokenizedString, Token};

/// The default of [`Tokenizer::with_max_text`], in bytes.
pub const MAX_TEXT: usize = 64 << 20;

/// Text may become this many times longer before it is split into tokens, in the worst case; and so many times with texts
/// of any length.
const MAX_GROWTH: u64 = 128;
const FREE_GROWTH: u64 = 32;

/// How often a piece is cut, each time in its parts, until it holds no control token.
const MAX_CUTS: usize = 4;

/// What a control token in a text is.
#[derive(Clone, Copy)]
enum Meaning<'a> {
    /// A control token.
    Control,
    /// Text.
    Text,
    /// A control token where it is marked, else text.
    Marked(&'a Marked),
}

/// What a file's reader hands over.
pub(super) struct Parts {
    pub(super) added: AddedVocabulary,
    /// Whether the texts of added tokens are normalised like any text, where they are looked for after that.
    pub(super) normalizes_added: bool,
    /// The model never takes a control token, or one for a byte, for what only spells it.
    pub(super) spells_all: bool,
    /// Text can become this many times longer before the model sees it.
    pub(super) growth: u64,
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
    /// The same tokens with the control tokens under other names, for text that partly means them. Rarely needed.
    marked: OnceLock<Result<Marked, TextError>>,
    normalizes_added: bool,
    controls: Controls,
    /// The model's tokens for controls and bytes are never text, whatever the text.
    spells_all: bool,
    growth: u64,
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
        let Parts {
            added,
            normalizes_added,
            spells_all,
            growth,
            normalizer,
            splitter,
            model,
            prefix,
            suffix,
            decoding,
            listed,
        } = parts;
        if growth > MAX_GROWTH {
            let limit = MAX_GROWTH;
            return Err(TextError::TooLarge { what: "growth of normalised text", got: growth, limit });
        }
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
        // A token that is looked for in normalised text is decoded from its normalised spelling, as in the reference.
        let outside: Vec<(u32, Kind, bool, String)> = added_tokens
            .iter()
            .map(|(id, token)| {
                let (kind, decodes) = match token.special {
                    true => (Kind::Special, decoding.decodes_special),
                    false => (Kind::Text, decoding.decodes_added),
                };
                let normalized = added.simple_id_to_token(*id).filter(|_| decodes);
                (*id, kind, !decodes, normalized.unwrap_or_else(|| token.content.clone()))
            })
            .collect();
        let outside = outside.iter().map(|(id, kind, literal, token)| Entry {
            id: *id,
            token,
            kind: *kind,
            literal: *literal,
        });
        let tokens = tokens.chain(outside);
        let table = Arc::new(BytesTable::new(size, &decoding, tokens)?);
        if let Some(id) = prefix.iter().chain(&suffix).find(|id| table.get(**id).is_none()) {
            return Err(TextError::Tokenizer(format!(
                "the post-processor adds the id {id}, which has no token"
            )));
        }
        let mut added_literal = added.clone();
        added_literal.set_encode_special_tokens(true);
        let special = added_tokens.values().filter(|token| token.special);
        let controls = Controls::new(special.map(|token| token.content.as_str()));
        let max_text = MAX_TEXT;
        Ok(Tokenizer {
            added,
            added_literal,
            marked: OnceLock::new(),
            normalizes_added,
            controls,
            spells_all,
            growth,
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

    /// The ids of a text that may hold control tokens, as a prompt does that was put together by hand: those written in it
    /// are recognised. `add_special` also adds what the model expects around a text, such as a token for its beginning.
    ///
    /// # Errors
    /// [`TextError::TooLarge`] over [`with_max_text`](Self::with_max_text), [`TextError::Encode`] for a text that the
    /// tokenizer's patterns cannot split or its vocabulary cannot spell.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        self.around(add_special, |ids| self.encode_with(text, &self.added, Meaning::Control, ids))
    }

    /// The ids of text that is nothing but text: a control token written in it is spelled out, not recognised. Whatever
    /// the text, none of its ids is a control token's; `add_special` adds those around it.
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_literal(&self, text: &str, add_special: bool) -> Result<Vec<u32>, TextError> {
        self.around(add_special, |ids| self.encode_with(text, &self.added_literal, Meaning::Text, ids))
    }

    /// The ids of a rendered conversation: control tokens that the template wrote are recognised, those that a message
    /// spells are text. Where no message spells one, these are the ids of [`encode`](Self::encode).
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_rendered(&self, rendered: &Rendered, add_special: bool) -> Result<Vec<u32>, TextError> {
        let text = rendered.text();
        self.check_length(text)?;
        let (written, spelled) = match rendered.has_foreign() {
            true => self.controls.find(rendered),
            false => (Vec::new(), false),
        };
        let marked = || Marked::new(&self.added, &self.model, self.added_normalizer().as_ref());
        let marked = match rendered.has_foreign() && (spelled || self.finds_normalized()) {
            true => self.marked.get_or_init(marked).as_ref().map_err(Clone::clone)?,
            false => return self.encode(text, add_special),
        };
        let text = marked.mark(text, &written)?;
        self.around(add_special, |ids| self.encode_with(&text, marked.added(), Meaning::Marked(marked), ids))
    }

    /// The control tokens, for the chat template.
    pub fn controls(&self) -> &Controls {
        &self.controls
    }

    /// Whether control tokens are looked for in normalised text, where other spellings of them are found, too.
    fn finds_normalized(&self) -> bool {
        let tokens = || self.added.get_added_tokens_decoder().values();
        !self.normalizer.is_empty() && tokens().any(|token| token.special && token.normalized)
    }

    fn added_normalizer(&self) -> Option<Run<'_>> {
        self.normalizes_added.then(|| Run::new(&self.normalizer))
    }

    fn around(
        &self,
        add_special: bool,
        encode: impl FnOnce(Vec<u32>) -> Result<Vec<u32>, TextError>,
    ) -> Result<Vec<u32>, TextError> {
        if !add_special {
            return encode(Vec::new());
        }
        let mut ids = encode(self.prefix.clone())?;
        ids.extend_from_slice(&self.suffix);
        Ok(ids)
    }

    fn check_length(&self, text: &str) -> Result<(), TextError> {
        let (got, most) = (text.len() as u64, self.max_text as u64);
        let limit = most.saturating_mul(FREE_GROWTH) / self.growth.max(FREE_GROWTH);
        if got > limit {
            return Err(TextError::TooLarge { what: "bytes of text", got, limit });
        }
        Ok(())
    }

    fn encode_with(
        &self,
        text: &str,
        added: &AddedVocabulary,
        meaning: Meaning,
        mut ids: Vec<u32>,
    ) -> Result<Vec<u32>, TextError> {
        self.check_length(text)?;
        let run = Run::new(&self.normalizer);
        let mut pieces = added.extract_and_normalize(Some(&run), text);
        run.finish()?;
        self.splitter.apply(&mut pieces).map_err(|e| TextError::Encode(foreign(&e)))?;
        self.check_cover(&pieces, text.len())?;
        for (piece, _, tokens) in pieces.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            match (tokens, meaning) {
                (Some(tokens), Meaning::Marked(marked)) => {
                    ids.extend(tokens.iter().map(|token| marked.id(token.id)));
                }
                (Some(tokens), _) => ids.extend(tokens.iter().map(|token| token.id)),
                (None, Meaning::Control) if !self.spells_all => {
                    let tokens = self.model.tokenize(piece).map_err(|e| TextError::Encode(foreign(&e)))?;
                    check_spelled(piece, &tokens)?;
                    ids.extend(tokens.iter().map(|token| token.id));
                }
                (None, _) => self.spell(piece, &mut ids, 0)?,
            }
        }
        Ok(ids)
    }

    /// The ids of a piece without control tokens and without tokens for bytes that the piece only spells: a model may
    /// have them among its tokens. Where it takes one, the piece is cut after that token's first character.
    fn spell(&self, piece: &str, ids: &mut Vec<u32>, depth: usize) -> Result<(), TextError> {
        let tokens = self.model.tokenize(piece).map_err(|e| TextError::Encode(foreign(&e)))?;
        check_spelled(piece, &tokens)?;
        let spelled = |token: &&Token| {
            let kind = self.table.kind(token.id);
            let (start, end) = token.offsets;
            matches!(kind, Kind::Special | Kind::Byte | Kind::Unknown)
                && piece.get(start..end) == self.model.id_to_token(token.id).as_deref()
        };
        let mut cuts = tokens
            .iter()
            .filter(spelled)
            .map(|token| token.offsets.0 + piece[token.offsets.0..].chars().next().map_or(0, char::len_utf8));
        let Some(first) = cuts.next() else {
            ids.extend(tokens.iter().map(|token| token.id));
            return Ok(());
        };
        if depth == MAX_CUTS {
            return Err(TextError::Encode("it spells a control token that has no other spelling".into()));
        }
        let mut start = 0;
        for cut in std::iter::once(first).chain(cuts).chain([piece.len()]) {
            if start < cut {
                self.spell(&piece[start..cut], ids, depth + 1)?;
            }
            start = cut;
        }
        Ok(())
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
