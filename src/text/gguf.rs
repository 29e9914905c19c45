//! Builds a tokenizer from the vocabulary in a GGUF file (the `gpt2` kind: byte-level byte-pair encoding).

use super::bpe::{self, Merge, Rules};
use super::bytes_table::{Kind, Spelling};
use super::detokenizer::LeadingSpaces;
use super::error::{TextError, foreign, quoted};
use super::normalizer::{Run, Steps};
use super::pre;
use super::splitter::Splitter;
use super::tokenizer::Parts;
use tokenizers::models::bpe::Vocab;
use tokenizers::{AddedToken, AddedVocabulary};

/// The tokenizer keys of a GGUF file whose `tokenizer.ggml.model` is `gpt2`.
#[derive(Clone, Copy, Debug)]
pub struct GgufVocab<'a> {
    /// `tokens`: the spelling of each id.
    pub tokens: &'a [String],
    /// `token_type`: 1 text, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. As many as tokens.
    pub token_types: &'a [i32],
    /// `merges`: two tokens with a space between, the most important first.
    pub merges: &'a [String],
    /// `pre`: the name of the pre-tokeniser.
    pub pre: &'a str,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `eot_token_id`.
    pub eot: Option<u32>,
    /// `add_bos_token`: a text begins with the token `bos`.
    pub add_bos: bool,
}

/// Builds the parts.
pub(super) fn read(vocab: &GgufVocab) -> Result<Parts, TextError> {
    let pre = pre::by_name(vocab.pre)
        .ok_or_else(|| TextError::Unsupported { what: "pre-tokeniser", name: quoted(vocab.pre) })?;
    let size = check(vocab)?;
    let mut map = Vocab::default();
    map.try_reserve(vocab.tokens.len())
        .map_err(|_| TextError::Tokenizer("no memory for the vocabulary".into()))?;
    for (id, token) in (0..size).zip(vocab.tokens) {
        // Some files fill gaps with empty tokens: they have ids but no text.
        if !token.is_empty() && map.insert(token.clone(), id).is_some() {
            return Err(TextError::Tokenizer(format!("the token {} appears twice", quoted(token))));
        }
    }
    let mut merges = Vec::with_capacity(vocab.merges.len());
    for (rank, merge) in vocab.merges.iter().enumerate() {
        match merge.split_once(' ') {
            Some((left, right)) => merges.push(Merge(left.to_owned(), right.to_owned())),
            None => return Err(TextError::Tokenizer(format!("merge {rank} has no space"))),
        }
    }
    let rules = Rules { ignore_merges: pre.ignore_merges, ..Rules::default() };
    let model = bpe::build(map, merges, rules)?;
    let normalizer = if pre.nfc { Steps::nfc() } else { Steps::default() };

    let mut added = AddedVocabulary::new();
    let outside_text = vocab.tokens.iter().zip(vocab.token_types).filter_map(|(token, kind)| match *kind {
        CONTROL => Some(AddedToken::from(token.clone(), true).normalized(false)),
        USER_DEFINED => Some(AddedToken::from(token.clone(), false).normalized(false)),
        _ => None,
    });
    let run = Run::new(&normalizer);
    added.add_tokens(outside_text, &model, Some(&run)).map_err(|e| TextError::Tokenizer(foreign(&e)))?;
    run.finish()?;

    let bytes = (0..size)
        .zip(vocab.tokens.iter().zip(vocab.token_types))
        .filter(|(_, (token, _))| !token.is_empty())
        .map(|(id, (_, kind))| {
            let kind = match *kind {
                CONTROL => Kind::Special,
                BYTE => Kind::Byte,
                _ => Kind::Text,
            };
            (id, kind)
        })
        .collect();
    Ok(Parts {
        added,
        splitter: Splitter::byte_level(pre.patterns)?,
        normalizer,
        model,
        prefix: vocab.bos.filter(|_| vocab.add_bos).into_iter().collect(),
        suffix: Vec::new(),
        spelling: Spelling::ByteLevel,
        leading: LeadingSpaces::Keep,
        bytes,
    })
}

const CONTROL: i32 = 3;
const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

/// Checks counts and ids; returns the vocabulary's size.
fn check(vocab: &GgufVocab) -> Result<u32, TextError> {
    let fault = |message: String| Err(TextError::Tokenizer(message));
    let (tokens, types) = (vocab.tokens.len(), vocab.token_types.len());
    if tokens != types {
        return fault(format!("{tokens} tokens but {types} token types"));
    }
    let size = u32::try_from(tokens).unwrap_or(u32::MAX);
    if size > bpe::MAX_VOCAB {
        let limit = bpe::MAX_VOCAB.into();
        return Err(TextError::TooLarge { what: "vocabulary size", got: tokens as u64, limit });
    }
    for (name, id) in [("bos", vocab.bos), ("eos", vocab.eos), ("eot", vocab.eot)] {
        if let Some(id) = id.filter(|id| *id >= size) {
            return fault(format!("the {name} id {id} is not in the vocabulary of {size} tokens"));
        }
    }
    if vocab.add_bos && vocab.bos.is_none() {
        return fault("a text begins with bos, but no id is given for it".into());
    }
    if let Some(kind) = vocab.token_types.iter().find(|kind| !(0..=6).contains(*kind)) {
        return fault(format!("{kind} is not a token type"));
    }
    Ok(size)
}
