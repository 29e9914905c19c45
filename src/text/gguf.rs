//! Builds a tokenizer from the vocabulary in a GGUF file.

use super::bpe::{self, Merge, Rules};
use super::bytes_table::Kind;
use super::decoding::{Decoding, byte_token};
use super::error::{TextError, foreign, quoted};
use super::normalizer::Steps;
use super::pre;
use super::sentencepiece;
use super::splitter::Splitter;
use super::tokenizer::{Listed, Parts};
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::Vocab;
use tokenizers::{AddedToken, AddedVocabulary, Normalizer};

/// The tokenizer keys of a GGUF file.
#[derive(Clone, Copy, Debug, Default)]
pub struct GgufVocab<'a> {
    /// `model`: `gpt2` (byte-level byte-pair encoding), `llama` (SentencePiece's, by scores) or `t5` (unigram).
    pub model: &'a str,
    /// `tokens`: the spelling of each id.
    pub tokens: &'a [String],
    /// `token_type`: 1 text, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. As many as tokens.
    pub token_types: &'a [i32],
    /// `merges`, for `gpt2`: two tokens with a space between, the most important first.
    pub merges: &'a [String],
    /// `scores`, for `llama` and `t5`: as many as tokens, the most wanted the greatest.
    pub scores: &'a [f32],
    /// `precompiled_charsmap`, for `llama` and `t5`: SentencePiece's normalisation rules; empty for none.
    pub charsmap: &'a [u8],
    /// `pre`, for `gpt2`: the name of the pre-tokeniser.
    pub pre: &'a str,
    /// `bos_token_id`.
    pub bos: Option<u32>,
    /// `eos_token_id`.
    pub eos: Option<u32>,
    /// `eot_token_id`.
    pub eot: Option<u32>,
    /// `unknown_token_id`.
    pub unknown: Option<u32>,
    /// `add_bos_token`: a text begins with the token `bos`. `None` leaves it to the kind's habit.
    pub add_bos: Option<bool>,
    /// `add_eos_token`: a text ends with the token `eos`. `None` leaves it to the kind's habit.
    pub add_eos: Option<bool>,
    /// `add_space_prefix`, for `llama` and `t5`: a text begins with a space (the default).
    pub add_space_prefix: Option<bool>,
    /// `remove_extra_whitespaces`, for `llama` and `t5`: runs of spaces become one, those at the ends go.
    pub remove_extra_whitespaces: Option<bool>,
}

/// Builds the parts.
pub(super) fn read(vocab: &GgufVocab) -> Result<Parts, TextError> {
    check(vocab)?;
    match vocab.model {
        "gpt2" => byte_level(vocab),
        "llama" => sentencepiece::pairs(vocab),
        "t5" => sentencepiece::unigram(vocab),
        other => Err(TextError::Unsupported { what: "tokenizer model", name: quoted(other) }),
    }
}

fn byte_level(vocab: &GgufVocab) -> Result<Parts, TextError> {
    // As in llama.cpp, an unknown name is an error: cut otherwise, a text has other tokens and the answers are worse
    // without anyone seeing why.
    let pre = pre::by_name(vocab.pre)
        .ok_or_else(|| TextError::Unsupported { what: "pre-tokeniser", name: quoted(vocab.pre) })?;
    let mut merges = Vec::new();
    merges.try_reserve_exact(vocab.merges.len()).map_err(|_| TextError::NoMemory("the merges"))?;
    for (rank, merge) in vocab.merges.iter().enumerate() {
        match merge.split_once(' ') {
            Some((left, right)) => merges.push(Merge(left.to_owned(), right.to_owned())),
            None => return Err(TextError::Tokenizer(format!("merge {rank} has no space"))),
        }
    }
    let rules = Rules { ignore_merges: pre.ignore_merges, ..Rules::default() };
    let model = bpe::build(ids(vocab)?, merges, rules)?.into();
    let normalizer = if pre.nfc { Steps::nfc() } else { Steps::default() };
    let (prefix, suffix) = affixes(vocab, pre.add_bos, false)?;
    Ok(Parts {
        added: added(vocab, &model, false)?,
        normalizes_added: false,
        growth: 2,
        spells_all: true,
        splitter: Splitter::byte_level(pre.patterns)?,
        normalizer,
        model,
        prefix,
        suffix,
        decoding: Decoding::byte_level(),
        listed: listed(vocab)?,
    })
}

/// The id of each token that is not empty.
pub(super) fn ids(vocab: &GgufVocab) -> Result<Vocab, TextError> {
    let mut map = Vocab::default();
    map.try_reserve(vocab.tokens.len()).map_err(|_| TextError::NoMemory("the vocabulary"))?;
    for (id, token) in (0..).zip(vocab.tokens) {
        // Some files fill gaps with empty tokens: they have ids but no text.
        if !token.is_empty() && map.insert(token.clone(), id).is_some() {
            return Err(TextError::Tokenizer(format!("the token {} appears twice", quoted(token))));
        }
    }
    Ok(map)
}

/// The tokens that are found before the model sees a text. User-defined ones are found in the text as it was, or, for
/// SentencePiece, which puts its space before the whole text, in the normalised one.
pub(super) fn added(
    vocab: &GgufVocab,
    model: &ModelWrapper,
    after_normalizer: bool,
) -> Result<AddedVocabulary, TextError> {
    let tokens = vocab.tokens.iter().zip(vocab.token_types).filter_map(|(token, kind)| match *kind {
        CONTROL => Some(AddedToken::from(token.clone(), true).normalized(false)),
        USER_DEFINED => Some(AddedToken::from(token.clone(), false).normalized(after_normalizer)),
        _ => None,
    });
    let mut added = AddedVocabulary::new();
    // They are spelled as the normalised text spells them.
    added.add_tokens(tokens, model, None::<&Verbatim>).map_err(|e| TextError::Tokenizer(foreign(&e)))?;
    Ok(added)
}

/// Stands for a normaliser where there is none.
struct Verbatim;

impl Normalizer for Verbatim {
    fn normalize(&self, _: &mut tokenizers::NormalizedString) -> tokenizers::Result<()> {
        Ok(())
    }
}

/// Ids before and after a text.
pub(super) fn affixes(vocab: &GgufVocab, bos: bool, eos: bool) -> Result<(Vec<u32>, Vec<u32>), TextError> {
    let affix = |name: &str, id: Option<u32>, wanted: Option<bool>, habit: bool| match (id, wanted) {
        (None, Some(true)) => {
            Err(TextError::Tokenizer(format!("a text has the token {name}, but no id is given for it")))
        }
        (id, wanted) => Ok(id.filter(|_| wanted.unwrap_or(habit)).into_iter().collect()),
    };
    Ok((affix("bos", vocab.bos, vocab.add_bos, bos)?, affix("eos", vocab.eos, vocab.add_eos, eos)?))
}

/// What each id is. There is room for one more.
pub(super) fn listed(vocab: &GgufVocab) -> Result<Vec<Listed>, TextError> {
    let tokens = (0..).zip(vocab.tokens.iter().zip(vocab.token_types));
    let tokens = tokens.filter(|(_, (token, _))| !token.is_empty());
    let found = tokens.filter_map(|(id, (_, kind))| {
        let kind = match *kind {
            CONTROL => Kind::Special,
            BYTE => Kind::Byte,
            _ => return None,
        };
        Some(Listed { id, kind, shown: None })
    });
    let mut listed = Vec::new();
    listed.try_reserve_exact(found.clone().count() + 1).map_err(|_| TextError::NoMemory("the vocabulary"))?;
    listed.extend(found);
    Ok(listed)
}

pub(super) const TEXT: i32 = 1;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
pub(super) const BYTE: i32 = 6;

/// Checks counts, ids and byte tokens.
fn check(vocab: &GgufVocab) -> Result<(), TextError> {
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
    let ids = [("bos", vocab.bos), ("eos", vocab.eos), ("eot", vocab.eot), ("unknown", vocab.unknown)];
    for (name, id) in ids {
        if let Some(id) = id.filter(|id| *id >= size) {
            return fault(format!("the {name} id {id} is not in the vocabulary of {size} tokens"));
        }
    }
    for (token, kind) in vocab.tokens.iter().zip(vocab.token_types) {
        match *kind {
            BYTE if byte_token(token).is_none() => {
                return fault(format!("{} is not a byte token", quoted(token)));
            }
            0..=6 => {}
            kind => return fault(format!("{kind} is not a token type")),
        }
    }
    Ok(())
}
