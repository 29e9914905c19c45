//! Reads a Hugging Face tokenizer.json, piece by piece, so that each part is checked before the crate builds it.

use super::bpe::{self, Merge, Rules};
use super::bytes_table::Spelling;
use super::detokenizer::LeadingSpaces;
use super::error::{TextError, foreign, quoted};
use super::normalizer::Steps;
use super::splitter::Splitter;
use super::tokenizer::Parts;
use serde::Deserialize;
use serde_json::Value;
use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, AddedVocabulary, Encoding, PostProcessor};

/// Largest file, in bytes. The largest in use have 34 MB.
const MAX_FILE: usize = 128 << 20;

/// Most added tokens. Models in use have fewer than 7,000.
const MAX_ADDED: usize = 1 << 16;

/// Text may become this many times longer before it is split into tokens, in the worst case.
const MAX_GROWTH: u64 = 32;

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
    continuing_subword_prefix: Option<String>,
}

#[derive(Deserialize)]
struct File {
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
    model: ModelFile,
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
struct ModelFile {
    vocab: Vocab,
    merges: Vec<Merge>,
    unk_token: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    fuse_unk: bool,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

/// Reads the file.
pub(super) fn read(json: &[u8]) -> Result<Parts, TextError> {
    if json.len() > MAX_FILE {
        let (got, limit) = (json.len() as u64, MAX_FILE as u64);
        return Err(TextError::TooLarge { what: "bytes of tokenizer.json", got, limit });
    }
    let head: Head = serde_json::from_slice(json).map_err(|e| TextError::Tokenizer(foreign(&e)))?;
    check_model(&head.model)?;
    let file: File = serde_json::from_slice(json).map_err(|e| TextError::Tokenizer(foreign(&e)))?;
    if file.added_tokens.len() > MAX_ADDED {
        let (got, limit) = (file.added_tokens.len() as u64, MAX_ADDED as u64);
        return Err(TextError::TooLarge { what: "added tokens", got, limit });
    }
    let (normalizer, growth) = Steps::from_json(&file.normalizer)?;
    let (splitter, more) = Splitter::from_json(&file.pre_tokenizer)?;
    let growth = growth.saturating_mul(more);
    if growth > MAX_GROWTH {
        return Err(TextError::TooLarge {
            what: "growth of normalised text",
            got: growth,
            limit: MAX_GROWTH,
        });
    }
    let (spelling, leading) = decoder(&file.decoder, &splitter)?;
    let rules = Rules {
        unknown: file.model.unk_token,
        fuse_unknown: file.model.fuse_unk,
        byte_fallback: file.model.byte_fallback,
        ignore_merges: file.model.ignore_merges,
        end_of_word: file.model.end_of_word_suffix.filter(|suffix| !suffix.is_empty()),
    };
    let model = bpe::build(file.model.vocab, file.model.merges, rules)?;
    let added = added_vocabulary(file.added_tokens, &model, &normalizer)?;
    let (prefix, suffix) = affixes(&file.post_processor)?;
    Ok(Parts { added, normalizer, splitter, model, prefix, suffix, spelling, leading, bytes: Vec::new() })
}

fn check_model(model: &ModelHead) -> Result<(), TextError> {
    let unsupported = |what, name: &str| Err(TextError::Unsupported { what, name: quoted(name) });
    match model.kind.as_deref() {
        None | Some("BPE") => {}
        Some(other) => return unsupported("tokenizer model", other),
    }
    if model.dropout.is_some_and(|rate| rate != 0.0) {
        return unsupported("tokenizer option", "dropout");
    }
    if model.continuing_subword_prefix.as_ref().is_some_and(|prefix| !prefix.is_empty()) {
        return unsupported("tokenizer option", "continuing_subword_prefix");
    }
    Ok(())
}

fn added_vocabulary(
    tokens: Vec<Added>,
    model: &BPE,
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

/// The ids that the post-processor puts before and after a text, found by letting it process one stand-in token.
fn affixes(json: &Value) -> Result<(Vec<u32>, Vec<u32>), TextError> {
    if json.is_null() {
        return Ok((Vec::new(), Vec::new()));
    }
    let fault = |message: String| TextError::Tokenizer(format!("post_processor: {message}"));
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

/// How tokens become text.
fn decoder(json: &Value, splitter: &Splitter) -> Result<(Spelling, LeadingSpaces), TextError> {
    let steps = match json.get("decoders").and_then(Value::as_array) {
        Some(steps) => steps.as_slice(),
        None if json.is_null() && splitter.is_byte_level() => {
            return Ok((Spelling::ByteLevel, LeadingSpaces::Keep));
        }
        None => std::slice::from_ref(json),
    };
    let mut spelling = Spelling::Pieces;
    let mut leading = LeadingSpaces::Keep;
    for step in steps {
        let text = |key: &str| step.get(key).and_then(Value::as_str);
        let kind = text("type").unwrap_or("none");
        let known = match kind {
            "ByteLevel" => {
                spelling = Spelling::ByteLevel;
                true
            }
            "Replace" => {
                let pattern = step.get("pattern").and_then(|pattern| pattern.get("String"));
                pattern.and_then(Value::as_str) == Some("▁") && text("content") == Some(" ")
            }
            "Metaspace" => {
                let never = text("prepend_scheme") == Some("never")
                    || step.get("add_prefix_space").and_then(Value::as_bool) == Some(false);
                if !never {
                    leading = LeadingSpaces::DropFirstToken;
                }
                text("replacement") == Some("▁")
            }
            "Strip" => {
                let count = |key: &str| step.get(key).and_then(Value::as_u64).unwrap_or(0);
                leading = LeadingSpaces::Drop(usize::try_from(count("start")).unwrap_or(usize::MAX));
                text("content") == Some(" ") && count("stop") == 0
            }
            "ByteFallback" | "Fuse" => true,
            _ => false,
        };
        if !known {
            return Err(TextError::Unsupported { what: "token decoder", name: quoted(kind) });
        }
    }
    Ok((spelling, leading))
}
