//! Reads a Hugging Face tokenizer.json, piece by piece, so that each part is checked before the crate builds it.

use super::bpe::{self, Merge, Rules};
use super::decoding::Decoding;
use super::error::{TextError, foreign, quoted};
use super::normalizer::Steps;
use super::splitter::Splitter;
use super::tokenizer::Parts;
use super::words;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokenizers::models::ModelWrapper;
use tokenizers::models::bpe::Vocab;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, AddedVocabulary, Encoding, PostProcessor};

/// Largest file, in bytes. The largest in use have 34 MB.
const MAX_FILE: usize = 128 << 20;

/// Most added tokens. Models in use have fewer than 7,000.
const MAX_ADDED: usize = 1 << 16;

/// What to know before the rest is read.
#[derive(Deserialize)]
struct Head {
    model: ModelHead,
}

#[derive(Deserialize)]
struct ModelHead {
    #[serde(rename = "type")]
    kind: Option<String>,
    dropout: Option<f64>,
}

#[derive(Deserialize)]
struct File<M> {
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
    #[serde(default)]
    decoder: Value,
    model: M,
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    normalized: bool,
    #[serde(default)]
    special: bool,
}

#[derive(Deserialize)]
struct BytePairs {
    vocab: Vocab,
    merges: Vec<Merge>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

#[derive(Deserialize)]
struct Unigram {
    vocab: Vec<(String, f64)>,
    unk_id: Option<usize>,
    #[serde(default)]
    byte_fallback: bool,
}

#[derive(Deserialize)]
struct WordPieces {
    vocab: Vocab,
    unk_token: String,
    continuing_subword_prefix: String,
    max_input_chars_per_word: usize,
}

#[derive(Deserialize)]
struct Words {
    vocab: Vocab,
    unk_token: String,
}

impl BytePairs {
    fn build(self) -> Result<ModelWrapper, TextError> {
        let rules = Rules {
            unknown: self.unk_token,
            fuse_unknown: self.fuse_unk,
            byte_fallback: self.byte_fallback,
            ignore_merges: self.ignore_merges,
            end_of_word: self.end_of_word_suffix.filter(|suffix| !suffix.is_empty()),
            continuing: self.continuing_subword_prefix.filter(|prefix| !prefix.is_empty()),
        };
        bpe::build(self.vocab, self.merges, rules).map(Into::into)
    }
}

/// Reads the file.
pub(super) fn read(json: &[u8]) -> Result<Parts, TextError> {
    if json.len() > MAX_FILE {
        let (got, limit) = (json.len() as u64, MAX_FILE as u64);
        return Err(TextError::TooLarge { what: "bytes of tokenizer.json", got, limit });
    }
    let head: Head = serde_json::from_slice(json).map_err(|e| TextError::Tokenizer(foreign(&e)))?;
    if head.model.dropout.is_some_and(|rate| rate != 0.0) {
        return Err(TextError::Unsupported { what: "tokenizer option", name: "dropout".into() });
    }
    match head.model.kind.as_deref() {
        None | Some("BPE") => build(json, BytePairs::build),
        Some("Unigram") => build(json, |model: Unigram| {
            words::unigram(model.vocab, model.unk_id, model.byte_fallback).map(Into::into)
        }),
        Some("WordPiece") => build(json, |model: WordPieces| {
            let WordPieces { vocab, unk_token, continuing_subword_prefix, max_input_chars_per_word } = model;
            let longest = max_input_chars_per_word;
            words::word_pieces(vocab, unk_token, continuing_subword_prefix, longest).map(Into::into)
        }),
        Some("WordLevel") => {
            build(json, |model: Words| words::words(model.vocab, model.unk_token).map(Into::into))
        }
        Some(other) => Err(TextError::Unsupported { what: "tokenizer model", name: quoted(other) }),
    }
}

/// Reads the rest, with a model of the kind `M`.
fn build<M: DeserializeOwned>(
    json: &[u8],
    model: impl FnOnce(M) -> Result<ModelWrapper, TextError>,
) -> Result<Parts, TextError> {
    let file: File<M> = serde_json::from_slice(json).map_err(|e| TextError::Tokenizer(foreign(&e)))?;
    if file.added_tokens.len() > MAX_ADDED {
        let (got, limit) = (file.added_tokens.len() as u64, MAX_ADDED as u64);
        return Err(TextError::TooLarge { what: "added tokens", got, limit });
    }
    let (normalizer, growth) = Steps::from_json(&file.normalizer)?;
    let (splitter, more) = Splitter::from_json(&file.pre_tokenizer)?;
    let growth = growth.saturating_mul(more);
    let decoding = Decoding::from_json(&file.decoder, splitter.is_byte_level())?;
    let model = model(file.model)?;
    let added = added_vocabulary(file.added_tokens, &model, &normalizer)?;
    let (prefix, suffix) = affixes(&file.post_processor)?;
    Ok(Parts {
        added,
        normalizes_added: true,
        growth,
        spells_all: false,
        normalizer,
        splitter,
        model,
        prefix,
        suffix,
        decoding,
        listed: Vec::new(),
    })
}

fn added_vocabulary(
    tokens: Vec<Added>,
    model: &ModelWrapper,
    normalizer: &Steps,
) -> Result<AddedVocabulary, TextError> {
    let mut added = AddedVocabulary::new();
    let declared: Vec<(String, u32)> = tokens.iter().map(|token| (token.content.clone(), token.id)).collect();
    let tokens = tokens.into_iter().map(|token| AddedToken {
        content: token.content,
        single_word: token.single_word,
        lstrip: token.lstrip,
        rstrip: token.rstrip,
        normalized: token.normalized,
        special: token.special,
    });
    let run = super::normalizer::Run::new(normalizer);
    added.add_tokens(tokens, model, Some(&run)).map_err(|e| TextError::Tokenizer(foreign(&e)))?;
    run.finish()?;
    for (content, id) in declared {
        if let Some(given) = added.token_to_id(&content, model).filter(|given| *given != id) {
            let content = quoted(&content);
            return Err(TextError::Tokenizer(format!(
                "{content} is declared as {id} but is {given} by its place"
            )));
        }
    }
    Ok(added)
}

/// The first token of a template that `special_tokens` does not describe: processing with such a template would panic.
fn undescribed(processor: &Value) -> Option<&str> {
    let list = |key: &str| processor[key].as_array().map_or(&[][..], Vec::as_slice);
    let known = |id: &str| processor["special_tokens"].get(id).is_some();
    let absent = list("single")
        .iter()
        .chain(list("pair"))
        .find_map(|piece| piece["SpecialToken"]["id"].as_str().filter(|id| !known(id)));
    absent.or_else(|| list("processors").iter().find_map(undescribed))
}

/// The ids that the post-processor puts before and after a text, found by letting it process one stand-in token.
fn affixes(json: &Value) -> Result<(Vec<u32>, Vec<u32>), TextError> {
    if json.is_null() {
        return Ok((Vec::new(), Vec::new()));
    }
    let fault = |message: String| TextError::Tokenizer(format!("post_processor: {message}"));
    if let Some(token) = undescribed(json) {
        return Err(fault(format!("{} is not among its special_tokens", quoted(token))));
    }
    let processor: PostProcessorWrapper =
        serde_json::from_value(json.clone()).map_err(|e| fault(foreign(&e)))?;
    let stand_in = Encoding::from_tokens(vec![tokenizers::Token::new(u32::MAX, String::new(), (0, 0))], 0);
    let processed = processor.process(stand_in, None, true).map_err(|e| fault(foreign(&e)))?;
    let ids = processed.get_ids();
    let mask = processed.get_special_tokens_mask();
    let texts: Vec<usize> = (0..ids.len()).filter(|at| mask.get(*at) != Some(&1)).collect();
    match texts[..] {
        [at] => Ok((ids[..at].to_vec(), ids[at + 1..].to_vec())),
        _ => Err(fault("the text does not appear exactly once".into())),
    }
}
