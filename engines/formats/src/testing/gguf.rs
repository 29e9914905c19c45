//! A writer of GGUF files, sound or broken on purpose.

use crate::Dtype;
use crate::testing::tiny_config;

/// A file in the making. Everything is public, so that a test can spoil any part.
#[derive(Clone)]
pub(crate) struct Gguf {
    pub(crate) version: u32,
    /// Each key with its type number and the bytes of its value.
    pub(crate) keys: Vec<(Vec<u8>, u32, Vec<u8>)>,
    pub(crate) tensors: Vec<Tensor>,
    /// Written instead of the true counts of tensors and keys.
    pub(crate) counts: Option<(u64, u64)>,
    pub(crate) alignment: u64,
}

#[derive(Clone)]
pub(crate) struct Tensor {
    pub(crate) name: Vec<u8>,
    /// Innermost first, as in the file.
    pub(crate) dims: Vec<u64>,
    pub(crate) rank: u32,
    pub(crate) kind: u32,
    pub(crate) offset: u64,
    /// How much data to write for it.
    pub(crate) bytes: u64,
}

fn text(value: &[u8]) -> Vec<u8> {
    [&(value.len() as u64).to_le_bytes()[..], value].concat()
}

impl Gguf {
    pub(crate) fn new() -> Self {
        Self { version: 3, keys: Vec::new(), tensors: Vec::new(), counts: None, alignment: 32 }
    }

    /// Sets a key to a raw value, replacing an earlier one.
    pub(crate) fn raw(&mut self, key: &str, kind: u32, value: &[u8]) -> &mut Self {
        self.keys.retain(|(known, ..)| known != key.as_bytes());
        self.keys.push((key.into(), kind, value.to_vec()));
        self
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) -> &mut Self {
        self.raw(key, 4, &value.to_le_bytes())
    }

    pub(crate) fn f32(&mut self, key: &str, value: f32) -> &mut Self {
        self.raw(key, 6, &value.to_le_bytes())
    }

    pub(crate) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.raw(key, 8, &text(value.as_bytes()))
    }

    /// An array of elements that are already bytes.
    pub(crate) fn array(&mut self, key: &str, element: u32, count: u64, items: &[u8]) -> &mut Self {
        let value = [&element.to_le_bytes()[..], &count.to_le_bytes(), items].concat();
        self.raw(key, 9, &value)
    }

    pub(crate) fn texts(&mut self, key: &str, items: &[&str]) -> &mut Self {
        let bytes: Vec<u8> = items.iter().flat_map(|item| text(item.as_bytes())).collect();
        self.array(key, 8, items.len() as u64, &bytes)
    }

    pub(crate) fn ints(&mut self, key: &str, items: &[i32]) -> &mut Self {
        let bytes: Vec<u8> = items.iter().flat_map(|item| item.to_le_bytes()).collect();
        self.array(key, 5, items.len() as u64, &bytes)
    }

    pub(crate) fn remove(&mut self, key: &str) -> &mut Self {
        self.keys.retain(|(known, ..)| known != key.as_bytes());
        self
    }

    /// Adds a sound tensor after the others.
    pub(crate) fn tensor(&mut self, name: &str, dims: &[u64], dtype: Dtype) -> &mut Self {
        let end = self.tensors.last().map_or(0, |tensor| tensor.offset + tensor.bytes);
        self.tensors.push(Tensor {
            name: name.into(),
            dims: dims.to_vec(),
            rank: dims.len() as u32,
            kind: dtype.ggml_number(),
            offset: end.next_multiple_of(self.alignment),
            bytes: dtype.bytes_for(dims.iter().product()).unwrap(),
        });
        self
    }

    pub(crate) fn named(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.name == name.as_bytes()).unwrap()
    }

    /// The file up to its tensors' data, without padding.
    pub(crate) fn header(&self) -> Vec<u8> {
        let mut out = b"GGUF".to_vec();
        out.extend(self.version.to_le_bytes());
        let (tensors, keys) = self.counts.unwrap_or((self.tensors.len() as u64, self.keys.len() as u64));
        out.extend(tensors.to_le_bytes());
        out.extend(keys.to_le_bytes());
        for (key, kind, value) in &self.keys {
            out.extend(text(key));
            out.extend(kind.to_le_bytes());
            out.extend(value);
        }
        for tensor in &self.tensors {
            out.extend(text(&tensor.name));
            out.extend(tensor.rank.to_le_bytes());
            out.extend(tensor.dims.iter().flat_map(|dim| dim.to_le_bytes()));
            out.extend(tensor.kind.to_le_bytes());
            out.extend(tensor.offset.to_le_bytes());
        }
        out
    }

    /// The whole file, without padding after the last tensor.
    pub(crate) fn build(&self) -> Vec<u8> {
        let mut out = self.header();
        for tensor in &self.tensors {
            out.resize(out.len().next_multiple_of(self.alignment as usize), 0);
            out.resize(out.len() + tensor.bytes as usize, 0x5a);
        }
        out
    }
}

/// A sound file of the tiny model.
pub(crate) fn tiny_gguf() -> Gguf {
    let config = tiny_config();
    let (hidden, inner) = (config.hidden_size as u64, config.intermediate_size as u64);
    let (q, kv) = (config.q_width() as u64, config.kv_width() as u64);
    let mut file = Gguf::new();
    file.text("general.architecture", "llama")
        .u32("llama.context_length", config.context_length as u32)
        .u32("llama.embedding_length", config.hidden_size as u32)
        .u32("llama.block_count", config.layers as u32)
        .u32("llama.feed_forward_length", config.intermediate_size as u32)
        .u32("llama.attention.head_count", config.heads as u32)
        .u32("llama.attention.head_count_kv", config.kv_heads as u32)
        .u32("llama.rope.dimension_count", config.head_dim as u32)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "llama-bpe")
        .texts(
            "tokenizer.ggml.tokens",
            &["<|b|>", "<|e|>", "a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "ab", "abc"],
        )
        .ints("tokenizer.ggml.token_type", &[3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1])
        .texts("tokenizer.ggml.merges", &["a b", "ab c"])
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 1)
        .text("tokenizer.chat_template", "{{ messages }}")
        .tensor("token_embd.weight", &[hidden, config.vocab_size as u64], Dtype::Q8_0)
        .tensor("output_norm.weight", &[hidden], Dtype::F32);
    for layer in 0..config.layers {
        for (part, dims, dtype) in [
            ("attn_norm", &[hidden][..], Dtype::F32),
            ("attn_q", &[hidden, q], Dtype::F16),
            ("attn_k", &[hidden, kv], Dtype::BF16),
            ("attn_v", &[hidden, kv], Dtype::F32),
            ("attn_output", &[q, hidden], Dtype::Q8_0),
            ("ffn_norm", &[hidden], Dtype::F32),
            ("ffn_gate", &[hidden, inner], Dtype::Q8_0),
            ("ffn_up", &[hidden, inner], Dtype::Q8_0),
            ("ffn_down", &[inner, hidden], Dtype::Q8_0),
        ] {
            file.tensor(&format!("blk.{layer}.{part}.weight"), dims, dtype);
        }
    }
    file
}
