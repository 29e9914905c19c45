//! `config.json`: the model's shape, in the layouts of transformers 4 and 5.

use crate::config::{Activation, Architecture, ModelConfig};
use crate::hf::rope;
use crate::json::{Fields, Json};
use crate::{FormatError, Result};

const FILE: &str = "config.json";

/// The keys that matter, at the top and in `rope_parameters`, `rope_scaling` and `quantization_config`.
const WANTED: &[&str] = &[
    "model_type",
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "max_position_embeddings",
    "rms_norm_eps",
    "hidden_act",
    "tie_word_embeddings",
    "attention_bias",
    "mlp_bias",
    "bos_token_id",
    "eos_token_id",
    "use_sliding_window",
    "max_window_layers",
    "layer_types",
    "quantization_config",
    "quant_method",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "rope_type",
    "type",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "partial_rotary_factor",
    "full_attention",
    "sliding_attention",
];

/// Reads the bytes of a `config.json`.
///
/// # Errors
/// When it is no JSON object, a key is missing, of the wrong type or out of range, or the model needs a feature that
/// is not supported. Keys that name code to run (`auto_map`) are never followed.
pub fn parse(bytes: &[u8]) -> Result<ModelConfig> {
    let fields = Fields::parse(FILE, bytes, WANTED)?;
    let model_type = fields.text(FILE, "model_type")?.ok_or_else(|| absent("model_type"))?;
    let architecture = Architecture::named(FILE, model_type)?;
    let layers = need(&fields, "num_hidden_layers")?;
    refuse_unsupported(&fields, layers)?;

    let hidden_size = need(&fields, "hidden_size")?;
    let heads = need(&fields, "num_attention_heads")?;
    let bias = fields.flag(FILE, "attention_bias")?.unwrap_or(false);
    // Qwen 2 has biases on Q, K and V and nowhere else, and no key for it.
    let (qkv_bias, attention_out_bias) = match architecture {
        Architecture::Qwen2 => (true, false),
        Architecture::Llama | Architecture::Qwen3 => (bias, bias),
    };
    let head_dim = head_dim(&fields, architecture, hidden_size, heads)?;
    let config = ModelConfig {
        architecture,
        vocab_size: need(&fields, "vocab_size")?,
        hidden_size,
        intermediate_size: need(&fields, "intermediate_size")?,
        layers,
        heads,
        kv_heads: size(&fields, "num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        context_length: need(&fields, "max_position_embeddings")?,
        rms_norm_eps: fields.number(FILE, "rms_norm_eps")?.unwrap_or(1e-6),
        rope: rope::read(FILE, &fields)?,
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
        rope_interleaved: false,
        tie_embeddings: fields.flag(FILE, "tie_word_embeddings")?.unwrap_or(false),
        qkv_bias,
        attention_out_bias,
        mlp_bias: architecture == Architecture::Llama && fields.flag(FILE, "mlp_bias")?.unwrap_or(false),
        qk_norm: architecture == Architecture::Qwen3,
        bos: fields.ids(FILE, "bos_token_id")?.unwrap_or_default(),
        eos: fields.ids(FILE, "eos_token_id")?.unwrap_or_default(),
    };
    config.check(FILE)?;
    Ok(config)
}

fn absent(key: &str) -> FormatError {
    FormatError::malformed(FILE, format_args!("the key {key} is missing"))
}

fn size(fields: &Fields, key: &str) -> Result<Option<usize>> {
    // Every size is checked against a range far below, so a value that does not fit is only made to fail there.
    Ok(fields.whole(FILE, key)?.map(|value| usize::try_from(value).unwrap_or(usize::MAX)))
}

fn need(fields: &Fields, key: &str) -> Result<usize> {
    size(fields, key)?.ok_or_else(|| absent(key))
}

/// The head's width: the key's, else transformers' default for the architecture.
fn head_dim(fields: &Fields, architecture: Architecture, hidden: usize, heads: usize) -> Result<usize> {
    match (size(fields, "head_dim")?, architecture) {
        (Some(width), _) => Ok(width),
        (None, Architecture::Qwen3) => Ok(128),
        (None, _) => match hidden.checked_rem(heads) {
            Some(0) => Ok(hidden / heads),
            _ => {
                let what =
                    format_args!("hidden_size {hidden} cannot be divided among {heads} attention heads");
                Err(FormatError::malformed(FILE, what))
            }
        },
    }
}

/// Features that change what the model computes and are not built.
fn refuse_unsupported(fields: &Fields, layers: usize) -> Result<()> {
    let unsupported = |what: std::fmt::Arguments<'_>| Err(FormatError::unsupported(FILE, what));
    if let Some(act) = fields.text(FILE, "hidden_act")?.filter(|act| *act != "silu") {
        return unsupported(format_args!("hidden_act {act:?}; only silu is built"));
    }
    if let Some(quantized) = fields.object(FILE, "quantization_config")? {
        let method = quantized.text(FILE, "quant_method")?.unwrap_or("unnamed");
        return unsupported(format_args!("weights quantised by {method:?}"));
    }
    // Layers below `max_window_layers` attend to everything.
    let windowed = fields.flag(FILE, "use_sliding_window")?.unwrap_or(false);
    if windowed && size(fields, "max_window_layers")?.is_none_or(|full| full < layers) {
        return unsupported(format_args!("attention in a sliding window (use_sliding_window)"));
    }
    match fields.get("layer_types") {
        None => Ok(()),
        Some(Json::List(kinds)) => {
            let full = |kind: &Json| matches!(kind, Json::Text(kind) if kind == "full_attention");
            match kinds.iter().find(|kind| !full(kind)) {
                None => Ok(()),
                Some(other) => unsupported(format_args!("a layer of the kind {other} (layer_types)")),
            }
        }
        Some(other) => {
            Err(FormatError::malformed(FILE, format_args!("layer_types is {other}; a list is needed")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Rope, RopeScaling};

    const LLAMA: &str = r#"{"model_type": "llama", "vocab_size": 128, "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
        "rms_norm_eps": 1e-05, "rope_theta": 500000.0, "hidden_act": "silu", "torch_dtype": "bfloat16",
        "auto_map": {"AutoModel": "evil.Model"}, "bos_token_id": 1, "eos_token_id": [2, 3]}"#;

    fn with(from: &str, to: &str) -> Result<ModelConfig> {
        assert!(LLAMA.contains(from), "{from}");
        parse(LLAMA.replacen(from, to, 1).as_bytes())
    }

    #[test]
    fn the_classic_layout_is_read() {
        let config = parse(LLAMA.as_bytes()).unwrap();
        assert_eq!(config.architecture, Architecture::Llama);
        assert_eq!((config.heads, config.kv_heads, config.head_dim), (4, 2, 4));
        assert_eq!(config.rope, Rope { theta: 500_000.0, scaling: RopeScaling::None });
        assert_eq!((config.bos.as_slice(), config.eos.as_slice()), (&[1][..], &[2, 3][..]));
        assert!(!config.tie_embeddings && !config.qkv_bias && !config.qk_norm && !config.rope_interleaved);
    }

    #[test]
    fn the_newer_layout_is_read() {
        let config = with(
            r#""rope_theta": 500000.0"#,
            r#""dtype": "float32", "rope_parameters": {"rope_type": "default", "rope_theta": 20000.0}"#,
        );
        assert_eq!(config.unwrap().rope.theta, 20_000.0);
    }

    #[test]
    fn each_architecture_has_its_biases_and_norms() {
        let qwen2 = with(r#""llama""#, r#""qwen2""#).unwrap();
        assert!(qwen2.qkv_bias && !qwen2.attention_out_bias && !qwen2.qk_norm);
        let qwen3 = with(r#""llama""#, r#""qwen3", "head_dim": 8"#).unwrap();
        assert!(!qwen3.qkv_bias && qwen3.qk_norm);
        assert_eq!(qwen3.head_dim, 8);
        let llama = with(r#""llama""#, r#""llama", "attention_bias": true, "mlp_bias": true"#).unwrap();
        assert!(llama.qkv_bias && llama.attention_out_bias && llama.mlp_bias);
    }

    #[test]
    fn what_is_not_built_is_named() {
        for (from, to, word) in [
            (r#""llama""#, r#""mistral""#, "architecture \"mistral\"; supported are llama, qwen2, qwen3"),
            (r#""llama""#, r#""qwen2_moe""#, "qwen2_moe"),
            (r#""silu""#, r#""gelu""#, "gelu"),
            (
                r#""llama""#,
                r#""qwen2", "use_sliding_window": true, "max_window_layers": 1"#,
                "sliding window",
            ),
            (
                r#""llama""#,
                r#""qwen3", "layer_types": ["full_attention", "sliding_attention"]"#,
                "sliding_attention",
            ),
            (r#""llama""#, r#""llama", "quantization_config": {"quant_method": "gptq"}"#, "gptq"),
            (r#""llama""#, r#""llama", "rope_scaling": {"type": "yarn", "factor": 4.0}"#, "yarn"),
            (r#""llama""#, r#""llama", "partial_rotary_factor": 0.5"#, "partial"),
        ] {
            let error = with(from, to).unwrap_err().to_string();
            assert!(error.contains(word) && error.contains("not supported"), "{word}: {error}");
        }
        with(r#""llama""#, r#""qwen2", "use_sliding_window": true, "max_window_layers": 2"#).unwrap();
    }

    #[test]
    fn hostile_numbers_are_named() {
        for (from, to, word) in [
            (r#""num_hidden_layers": 2"#, r#""num_hidden_layers": 1000000000"#, "layers is 1000000000"),
            (r#""num_hidden_layers": 2"#, r#""num_hidden_layers": -1"#, "num_hidden_layers is -1"),
            (r#""num_hidden_layers": 2"#, r#""num_hidden_layers": 1e308"#, "num_hidden_layers is 1e308"),
            (r#""num_hidden_layers": 2"#, r#""num_hidden_layers": "12""#, "the string \"12\""),
            (r#""num_hidden_layers": 2,"#, "", "num_hidden_layers is missing"),
            (r#""hidden_size": 16"#, r#""hidden_size": 0"#, "hidden size is 0"),
            (r#""hidden_size": 16"#, r#""hidden_size": 18"#, "cannot be divided"),
            (r#""vocab_size": 128"#, r#""vocab_size": 1099511627776"#, "vocabulary is 1099511627776"),
            (r#""num_attention_heads": 4"#, r#""num_attention_heads": 0"#, "divided among 0"),
            (r#""rms_norm_eps": 1e-05"#, r#""rms_norm_eps": NaN"#, "malformed"),
            (r#""rms_norm_eps": 1e-05"#, r#""rms_norm_eps": 0"#, "epsilon is 0"),
            (r#""rms_norm_eps": 1e-05"#, r#""rms_norm_eps": true"#, "rms_norm_eps is true"),
            (r#""eos_token_id": [2, 3]"#, r#""eos_token_id": 128"#, "eos token 128"),
            (r#""bos_token_id": 1"#, r#""bos_token_id": 1, "bos_token_id": 1"#, "twice"),
            (r#""rope_theta": 500000.0"#, r#""rope_theta": 1e400"#, "malformed"),
        ] {
            let error = with(from, to).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
