//! The model's shape out of GGUF metadata.

use std::collections::BTreeMap;

use crate::config::{Activation, Architecture, ModelConfig, Rope, RopeScaling};
use crate::gguf::value::Metadata;
use crate::names::{EMBEDDING, OUTPUT};
use crate::{FormatError, GgufTokenizer, Result, TensorInfo};

/// The architecture the file names.
pub(super) fn architecture(metadata: &Metadata, file: &str) -> Result<Architecture> {
    const KEY: &str = "general.architecture";
    match metadata.text(KEY)? {
        Some(name) => Architecture::named(file, name),
        None => Err(FormatError::malformed(file, format_args!("the key {KEY} is missing"))),
    }
}

/// The shape, from the keys under the architecture's name; what has no key follows from which tensors are present.
pub(super) fn read(
    metadata: &Metadata,
    file: &str,
    architecture: Architecture,
    tokenizer: &GgufTokenizer,
    tensors: &BTreeMap<String, TensorInfo>,
) -> Result<ModelConfig> {
    let keys = Keys { metadata, file, architecture: architecture.name() };
    keys.refuse_unsupported()?;

    let hidden_size = keys.need("embedding_length")?;
    let heads = keys.need("attention.head_count")?;
    let head_dim = keys.head_dim(hidden_size, heads)?;
    let vocab_size = tokenizer.tokens.len();
    keys.must_equal("vocab_size", vocab_size, "the tokenizer's length")?;
    let rows = tensors.get(EMBEDDING).and_then(|tensor| tensor.shape.first());
    if let Some(rows) = rows.filter(|rows| **rows != vocab_size as u64) {
        let what = format_args!("it has {vocab_size} tokens and embeddings for {rows}");
        return Err(FormatError::malformed(file, what));
    }

    let present = |name: &str| tensors.contains_key(name);
    let bias = |part: &str| present(&format!("model.layers.0.{part}.bias"));
    let config = ModelConfig {
        architecture,
        vocab_size,
        hidden_size,
        intermediate_size: keys.need("feed_forward_length")?,
        layers: keys.need("block_count")?,
        heads,
        kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        context_length: keys.need("context_length")?,
        rms_norm_eps: keys.need_float("attention.layer_norm_rms_epsilon")?,
        rope: Rope {
            theta: keys.float("rope.freq_base")?.unwrap_or(10_000.0),
            scaling: if present(RopeScaling::FACTORS) { RopeScaling::Factors } else { RopeScaling::None },
        },
        window_rope: None,
        rotary_dim: head_dim,
        attention_scale: 1.0 / (head_dim as f64).sqrt(),
        attention_softcap: None,
        logit_softcap: None,
        window: None,
        experts: None,
        activation: Activation::Silu,
        embedding_scale: None,
        post_norms: false,
        norms_less_one: false,
        rope_interleaved: architecture == Architecture::Llama,
        tie_embeddings: !present(OUTPUT),
        qkv_bias: architecture == Architecture::Qwen2 || bias("self_attn.q_proj"),
        attention_out_bias: bias("self_attn.o_proj"),
        mlp_bias: bias("mlp.gate_proj"),
        qk_norm: architecture == Architecture::Qwen3,
        bos: tokenizer.bos.into_iter().collect(),
        eos: tokenizer.eos.into_iter().collect(),
    };
    config.check(file)?;
    Ok(config)
}

/// Keys under the architecture's name.
struct Keys<'a> {
    metadata: &'a Metadata,
    file: &'a str,
    architecture: &'static str,
}

impl Keys<'_> {
    fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn size(&self, key: &str) -> Result<Option<usize>> {
        let value = self.metadata.whole(&self.full(key))?;
        // Every size is checked against a range far below, so a value that does not fit is only made to fail there.
        Ok(value.map(|value| usize::try_from(value).unwrap_or(usize::MAX)))
    }

    fn need(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.absent(key))
    }

    fn float(&self, key: &str) -> Result<Option<f64>> {
        self.metadata.float(&self.full(key))
    }

    fn need_float(&self, key: &str) -> Result<f64> {
        self.float(key)?.ok_or_else(|| self.absent(key))
    }

    fn absent(&self, key: &str) -> FormatError {
        FormatError::malformed(self.file, format_args!("the key {} is missing", self.full(key)))
    }

    fn must_equal(&self, key: &str, value: usize, what: &str) -> Result<()> {
        match self.size(key)? {
            Some(other) if other != value => {
                let key = self.full(key);
                Err(FormatError::malformed(
                    self.file,
                    format_args!("{key} is {other}, but {what} is {value}"),
                ))
            }
            _ => Ok(()),
        }
    }

    /// The head's width: the key's, or the hidden size divided among the heads. Keys and values have the same width,
    /// and all of it rotates.
    fn head_dim(&self, hidden: usize, heads: usize) -> Result<usize> {
        let head_dim = match self.size("attention.key_length")? {
            Some(width) => width,
            None => match hidden.checked_rem(heads) {
                Some(0) => hidden / heads,
                _ => {
                    let what = format_args!("{hidden} dimensions cannot be divided among {heads} heads");
                    return Err(FormatError::malformed(self.file, what));
                }
            },
        };
        self.must_equal("attention.value_length", head_dim, "the head's width")?;
        match self.size("rope.dimension_count")? {
            Some(rotated) if rotated > head_dim => {
                let what = format_args!("{rotated} dimensions of a head of {head_dim} are to rotate");
                Err(FormatError::malformed(self.file, what))
            }
            Some(rotated) if rotated < head_dim => {
                let what = format_args!("partial rotary positions ({rotated} of {head_dim} dimensions)");
                Err(FormatError::unsupported(self.file, what))
            }
            _ => Ok(head_dim),
        }
    }

    /// Features that change what the model computes and are not built.
    fn refuse_unsupported(&self) -> Result<()> {
        let unsupported = |what: std::fmt::Arguments<'_>| Err(FormatError::unsupported(self.file, what));
        for key in ["expert_count", "expert_used_count"] {
            if let Some(experts) = self.size(key)?.filter(|n| *n > 0) {
                return unsupported(format_args!("a mixture of experts ({key} is {experts})"));
            }
        }
        if let Some(kind) =
            self.metadata.text(&self.full("rope.scaling.type"))?.filter(|kind| *kind != "none")
        {
            return unsupported(format_args!("rotary scaling of type {kind:?}"));
        }
        // The spelling before `rope.scaling.type` existed.
        if let Some(scale) = self.float("rope.scale_linear")?.filter(|scale| *scale != 1.0) {
            return unsupported(format_args!("rotary scaling of type \"linear\" by {scale}"));
        }
        if let Some(window) = self.size("attention.sliding_window")?.filter(|window| *window > 0) {
            let context = self.need("context_length")?;
            if window < context {
                return unsupported(format_args!("attention in a sliding window of {window} tokens"));
            }
        }
        if self.metadata.flag(&self.full("attention.causal"))? == Some(false) {
            return unsupported(format_args!("attention that is not causal"));
        }
        Ok(())
    }
}
