//! The model's shape out of GGUF metadata.

use std::collections::BTreeMap;

use crate::config::{Architecture, Bias, Family, ModelConfig, check_layers};
use crate::gguf::keys::Keys;
use crate::gguf::value::Metadata;
use crate::gguf::{layers, rope};
use crate::names::{EMBEDDING, OUTPUT};
use crate::{FormatError, GgufTokenizer, Result, TensorInfo};

/// The family the file names.
pub(super) fn family(metadata: &Metadata, file: &str) -> Result<&'static Family> {
    const KEY: &str = "general.architecture";
    let Some(name) = metadata.text(KEY)? else {
        return Err(FormatError::malformed(file, format_args!("the key {KEY} is missing")));
    };
    let prefix = Family::of_gguf(file, name, false, false)?.gguf;
    let keys = Keys { metadata, file, prefix };
    Family::of_gguf(file, name, layers::has_experts(&keys)?, layers::has_window(&keys)?)
}

/// The shape, from the keys under the architecture's name; what has no key follows from which tensors are present.
pub(super) fn read(
    metadata: &Metadata,
    file: &str,
    family: &'static Family,
    tokenizer: &GgufTokenizer,
    tensors: &BTreeMap<String, TensorInfo>,
) -> Result<ModelConfig> {
    let keys = Keys { metadata, file, prefix: family.gguf };
    if keys.flag("attention.causal")? == Some(false) {
        return keys.unsupported(format_args!("attention that is not causal"));
    }
    let layers = keys.need("block_count")?;
    check_layers(file, layers)?;
    let hidden_size = keys.need("embedding_length")?;
    let heads = keys.need("attention.head_count")?;
    let head_dim = head_dim(&keys, hidden_size, heads)?;
    let intermediate_size = keys.need("feed_forward_length")?;
    let context_length = keys.need("context_length")?;
    let vocab_size = tokenizer.tokens.len();
    keys.must_equal("vocab_size", vocab_size, "the tokenizer's length")?;
    let rows = tensors.get(EMBEDDING).and_then(|tensor| tensor.shape.first());
    if let Some(rows) = rows.filter(|rows| **rows != vocab_size as u64) {
        return keys.malformed(format_args!("it has {vocab_size} tokens and embeddings for {rows}"));
    }

    let present = |name: &str| tensors.contains_key(name);
    let bias = |part: &str| present(&format!("model.layers.0.{part}.bias"));
    let qkv_bias = bias("self_attn.q_proj") || bias("self_attn.qkv_proj");
    let rope = rope::read(&keys, present, context_length)?;
    let window = layers::window(&keys, family, layers, context_length)?;
    let window_rope =
        rope::of_windows(&keys, family)?.filter(|windowed| window.is_some() && *windowed != rope);
    let cap = |key: &str, default: Option<f64>| Ok(keys.float(key)?.or(default).filter(|cap| *cap != 0.0));
    let (attention_softcap, logit_softcap) = match family.soft_caps {
        None => (None, None),
        Some((attention, logits)) => {
            (cap("attn_logit_softcapping", attention)?, cap("final_logit_softcapping", logits)?)
        }
    };
    let config = ModelConfig {
        architecture: family.architecture,
        vocab_size,
        hidden_size,
        intermediate_size,
        layers,
        heads,
        kv_heads: keys.size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        context_length,
        rms_norm_eps: keys.need_float("attention.layer_norm_rms_epsilon")?,
        rope,
        window_rope,
        rotary_dim: rope::rotary_dim(&keys, family, head_dim)?,
        attention_scale: attention_scale(family.architecture, layers, hidden_size, heads, head_dim),
        attention_softcap,
        logit_softcap,
        window,
        experts: layers::experts(&keys, family, layers, intermediate_size)?,
        activation: family.activation,
        embedding_scale: family.gemma.then(|| (hidden_size as f64).sqrt()),
        post_norms: family.gemma,
        // Converters add the one.
        norms_less_one: false,
        rope_interleaved: family.interleaved,
        tie_embeddings: !present(OUTPUT),
        qkv_bias: family.bias == Bias::Qkv || qkv_bias,
        attention_out_bias: bias("self_attn.o_proj"),
        mlp_bias: bias("mlp.gate_proj"),
        qk_norm: family.qk_norm,
        bos: tokenizer.bos.into_iter().collect(),
        eos: tokenizer.eos.into_iter().collect(),
    };
    config.check(file)?;
    Ok(config)
}

/// The head's width: the key's, or the hidden size divided among the heads. Keys and values have the same width.
fn head_dim(keys: &Keys<'_>, hidden: usize, heads: usize) -> Result<usize> {
    let head_dim = match (keys.size("attention.key_length")?, hidden.checked_rem(heads)) {
        (Some(width), _) => width,
        (None, Some(0)) => hidden / heads,
        (None, _) => {
            return keys.malformed(format_args!("{hidden} dimensions cannot be divided among {heads} heads"));
        }
    };
    keys.must_equal("attention.value_length", head_dim, "the head's width")?;
    Ok(head_dim)
}

/// What scores are multiplied by. The largest Gemmas, known by their layers as there is no key for it, divide by the
/// root of their hidden size for each head, which is not their heads' width.
fn attention_scale(family: Architecture, layers: usize, hidden: usize, heads: usize, head_dim: usize) -> f64 {
    let largest = matches!((family, layers), (Architecture::Gemma2, 46) | (Architecture::Gemma3, 62));
    let divided = if largest { hidden.checked_div(heads).unwrap_or(head_dim) } else { head_dim };
    1.0 / (divided as f64).sqrt()
}
