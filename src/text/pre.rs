//! The pre-tokenisers that a GGUF file names in `tokenizer.ggml.pre`, by what they do.

use super::splitter::GPT2;

/// How text is cut and merged under one name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pre {
    /// Patterns applied one after the other; matches and gaps are pieces.
    pub(super) patterns: &'static [&'static str],
    /// A piece that is a token is taken whole, whatever the merges say.
    pub(super) ignore_merges: bool,
    /// Text is composed canonically first.
    pub(super) nfc: bool,
}

const LLAMA3: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const QWEN2: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}",
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const GPT4O: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

const TEKKEN: &str = concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+",
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*",
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// The pre-tokeniser of this name, if it is known.
pub(super) fn by_name(name: &str) -> Option<Pre> {
    let plain = |patterns| Pre { patterns, ignore_merges: false, nfc: false };
    Some(match name {
        "llama-bpe" | "llama3" | "llama-v3" => Pre { ignore_merges: true, ..plain(&[LLAMA3]) },
        "qwen2" => Pre { nfc: true, ..plain(&[QWEN2]) },
        "deepseek-r1-qwen" => plain(&[QWEN2]),
        "gpt-4o" => plain(&[GPT4O]),
        "tekken" => Pre { ignore_merges: true, ..plain(&[TEKKEN]) },
        "gpt-2" | "gpt2" | "phi-2" | "default" => plain(&[GPT2]),
        "smollm" | "starcoder" | "refact" | "command-r" => plain(&[r"\p{N}", GPT2]),
        _ => return None,
    })
}
