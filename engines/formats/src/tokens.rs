//! What a checkpoint brings for text: its tokenizer and its chat template, as found, not yet built.

/// Where the tokenizer is described.
#[derive(Clone, Debug)]
pub enum TokenizerSource {
    /// The bytes of a `tokenizer.json`; at most 128 MiB, not yet parsed.
    Json(Vec<u8>),
    /// The tables of a GGUF file.
    Gguf(GgufTokenizer),
}

impl TokenizerSource {
    /// Bytes of the description, a list's items with 8 for their lengths.
    pub fn bytes(&self) -> u64 {
        match self {
            TokenizerSource::Json(json) => json.len() as u64,
            TokenizerSource::Gguf(found) => {
                let texts = found.tokens.iter().chain(&found.merges).map(|text| text.len() as u64 + 8);
                texts.sum::<u64>() + found.charsmap.len() as u64 + 4 * found.scores.len() as u64
            }
        }
    }
}

/// A tokenizer out of GGUF metadata. Checked: token texts are unique and not empty, every table has its length, every
/// merge joins two tokens into a third, scores are finite, ids are below the number of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct GgufTokenizer {
    /// The kind: `gpt2` (byte-level BPE), `llama` (SentencePiece BPE) or `t5` (SentencePiece unigram).
    pub model: String,
    /// The name of the pre-tokenizer, such as `llama-bpe` or `qwen2`; `default` when the file has none.
    pub pre: String,
    /// The text of each token, for `gpt2` in the byte-level alphabet; the index is the id.
    pub tokens: Vec<String>,
    /// ggml's type of each token: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    pub token_types: Vec<i32>,
    /// Merges of the kind `gpt2` from the most to the least wanted, each `left right`.
    pub merges: Vec<String>,
    /// The score of each token; empty for the kind `gpt2`.
    pub scores: Vec<f32>,
    /// SentencePiece's compiled normalisation rules, not yet parsed; empty for none.
    pub charsmap: Vec<u8>,
    /// Begin of sequence.
    pub bos: Option<u32>,
    /// End of sequence.
    pub eos: Option<u32>,
    /// End of turn.
    pub eot: Option<u32>,
    /// End of message.
    pub eom: Option<u32>,
    /// Unknown text.
    pub unk: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Whether a prompt begins with `bos`; `None` leaves it to the pre-tokenizer's habit.
    pub add_bos: Option<bool>,
    /// Whether a prompt ends with `eos`.
    pub add_eos: Option<bool>,
    /// Whether a space is put before the text.
    pub add_space_prefix: Option<bool>,
    /// Whether runs of spaces become one and those at the ends go.
    pub remove_extra_whitespaces: Option<bool>,
}

/// A chat template and the texts it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChatTemplate {
    /// The Jinja source; at most 4 MiB.
    pub source: String,
    /// The source for chats with tools, where the model has one of its own (named `tool_use`); at most 4 MiB.
    pub tool_use: Option<String>,
    /// The text of the token that begins a sequence.
    pub bos_token: Option<String>,
    /// The text of the token that ends one.
    pub eos_token: Option<String>,
}
