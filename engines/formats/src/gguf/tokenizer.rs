//! The tokenizer tables and the chat template in GGUF metadata.

use std::collections::HashSet;

use crate::gguf::value::Metadata;
use crate::{ChatTemplate, FormatError, GgufTokenizer, Result};

const MODEL: &str = "tokenizer.ggml.model";
const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";
const MERGES: &str = "tokenizer.ggml.merges";
const CHARSMAP: &str = "tokenizer.ggml.precompiled_charsmap";

/// The longest normalisation rules, in bytes. SentencePiece's own have about 240 KB.
const MAX_CHARSMAP: u64 = 4 << 20;

/// Moves the tables out of the metadata and checks them against each other.
pub(super) fn read(metadata: &mut Metadata, file: &str) -> Result<GgufTokenizer> {
    let malformed = |what: std::fmt::Arguments<'_>| FormatError::malformed(file, what);
    let absent = |key: &str| malformed(format_args!("the key {key} is missing"));

    let model = metadata.take_text(MODEL)?.ok_or_else(|| absent(MODEL))?;
    let scored = match model.as_str() {
        "gpt2" => false,
        "llama" | "t5" => true,
        _ => {
            let what = format_args!("the tokenizer {model:?}; gpt2, llama and t5 are read");
            return Err(FormatError::unsupported(file, what));
        }
    };
    let pre = metadata.take_text("tokenizer.ggml.pre")?.unwrap_or_else(|| "default".to_owned());

    let tokens = metadata.take_texts(TOKENS)?.ok_or_else(|| absent(TOKENS))?;
    let token_types = metadata.take_ints(TYPES)?.ok_or_else(|| absent(TYPES))?;
    let merges = metadata.take_texts(MERGES)?;
    let scores = metadata.take_floats(SCORES)?;
    let count = tokens.len() as u64;
    let lengths = [(TYPES, Some(token_types.len())), (SCORES, scores.as_ref().map(Vec::len))];
    for (key, len) in lengths {
        if let Some(len) = len.filter(|len| *len as u64 != count) {
            return Err(malformed(format_args!("{key} has {len} items for {count} tokens")));
        }
    }
    let (merges, scores) = match scored {
        false => (merges.ok_or_else(|| absent(MERGES))?, Vec::new()),
        true => (Vec::new(), scores.ok_or_else(|| absent(SCORES))?),
    };
    if let Some(id) = scores.iter().position(|score| !score.is_finite()) {
        return Err(malformed(format_args!("the score of token {id} is {}", scores[id])));
    }
    let charsmap = metadata.take_bytes(CHARSMAP)?.unwrap_or_default();
    if charsmap.len() as u64 > MAX_CHARSMAP {
        let what = format_args!("the length of {CHARSMAP}");
        return Err(FormatError::too_large(file, what, charsmap.len() as u64, MAX_CHARSMAP));
    }
    if let Some(odd) = token_types.iter().find(|kind| !(0..=6).contains(*kind)) {
        return Err(malformed(format_args!("{TYPES} has the unknown type {odd}")));
    }
    check_merges(file, &known_tokens(file, &tokens)?, &merges)?;

    let id = |name: &str| -> Result<Option<u32>> {
        let key = format!("tokenizer.ggml.{name}_token_id");
        match metadata.whole(&key)? {
            None => Ok(None),
            Some(id) if id < count => Ok(u32::try_from(id).ok()),
            Some(id) => Err(malformed(format_args!("{key} is {id}, but there are {count} tokens"))),
        }
    };
    Ok(GgufTokenizer {
        bos: id("bos")?,
        eos: id("eos")?,
        eot: id("eot")?,
        eom: id("eom")?,
        unk: id("unknown")?,
        pad: id("padding")?,
        add_bos: metadata.flag("tokenizer.ggml.add_bos_token")?,
        add_eos: metadata.flag("tokenizer.ggml.add_eos_token")?,
        add_space_prefix: metadata.flag("tokenizer.ggml.add_space_prefix")?,
        remove_extra_whitespaces: metadata.flag("tokenizer.ggml.remove_extra_whitespaces")?,
        model,
        pre,
        tokens,
        token_types,
        merges,
        scores,
        charsmap,
    })
}

/// The chat template with the texts of its begin and end tokens.
pub(super) fn chat_template(
    metadata: &mut Metadata,
    file: &str,
    tokenizer: &GgufTokenizer,
) -> Result<Option<ChatTemplate>> {
    let mut take = |key: &str| match metadata.take_text(key)? {
        Some(source) if source.contains('\0') => {
            Err(FormatError::malformed(file, "the chat template contains a NUL"))
        }
        source => Ok(source),
    };
    let (source, tool_use) = (take("tokenizer.chat_template")?, take("tokenizer.chat_template.tool_use")?);
    // The only one serves for all.
    let (Some(source), tool_use) = (source.or_else(|| tool_use.clone()), tool_use) else { return Ok(None) };
    let text = |id: Option<u32>| id.and_then(|id| tokenizer.tokens.get(id as usize)).cloned();
    let (bos_token, eos_token) = (text(tokenizer.bos), text(tokenizer.eos));
    Ok(Some(ChatTemplate { source, tool_use, bos_token, eos_token }))
}

/// The set of token texts; each must occur once and be something.
fn known_tokens<'a>(file: &str, tokens: &'a [String]) -> Result<HashSet<&'a str>> {
    let mut known = HashSet::new();
    known.try_reserve(tokens.len()).map_err(|_| FormatError::OutOfMemory {
        what: "the set of tokens",
        bytes: (tokens.len() * size_of::<&str>()) as u64,
    })?;
    for (id, token) in tokens.iter().enumerate() {
        if token.is_empty() {
            return Err(FormatError::malformed(file, format_args!("token {id} is empty")));
        }
        if !known.insert(token.as_str()) {
            return Err(FormatError::malformed(file, format_args!("token {id}, {token:?}, occurs before")));
        }
    }
    Ok(known)
}

/// Each merge joins two tokens, separated by one space, into a token.
fn check_merges(file: &str, known: &HashSet<&str>, merges: &[String]) -> Result<()> {
    let mut joined = String::new();
    for (rank, merge) in merges.iter().enumerate() {
        let sound = merge.split_once(' ').is_some_and(|(left, right)| {
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            known.contains(left) && known.contains(right) && known.contains(joined.as_str())
        });
        if !sound {
            let what = format_args!("merge {rank}, {merge:?}, does not join two tokens into a token");
            return Err(FormatError::malformed(file, what));
        }
    }
    Ok(())
}
