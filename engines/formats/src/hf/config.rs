//! `config.json`: the model's shape, in the layouts of transformers 4 and 5.

use crate::config::{Activation, Architecture, Bias, Family, ModelConfig, check_layers};
use crate::hf::keys::{FILE, Keys, WANTED, absent, unsupported};
use crate::hf::{experts, rope, window};
use crate::json::Fields;
use crate::{FormatError, Result};

/// `model_type` of Gemma 3 with eyes: the text model is described inside, under [`TEXT`].
const SEEING: &str = "gemma3";
const TEXT: &str = "text_config";

/// Reads the bytes of a `config.json`.
///
/// # Errors
/// When it is no JSON object, a key is missing, of the wrong type or out of range, or the model needs a feature that
/// is not supported. Keys that name code to run (`auto_map`) are never followed.
pub fn parse(bytes: &[u8]) -> Result<ModelConfig> {
    let whole = Fields::parse(FILE, bytes, WANTED)?;
    let named = |fields: &Fields| -> Result<&'static Family> {
        let name = fields.text(FILE, "model_type")?.ok_or_else(|| absent("model_type"))?;
        Family::of_folder(FILE, name)
    };
    let (fields, family) = match whole.text(FILE, "model_type")? {
        Some(SEEING) => {
            let text = whole.object(FILE, TEXT)?.ok_or_else(|| absent(TEXT))?;
            (text, named(text)?)
        }
        _ => (&whole, named(&whole)?),
    };
    let keys = Keys { fields, family };
    refuse_unsupported(&keys, &whole)?;

    let layers = keys.need("num_hidden_layers")?;
    check_layers(FILE, layers)?;
    let hidden_size = keys.need("hidden_size")?;
    let intermediate_size = keys.need("intermediate_size")?;
    let context_length = keys.need("max_position_embeddings")?;
    let heads = keys.need("num_attention_heads")?;
    let head_dim = head_dim(&keys, hidden_size, heads)?;
    let (qkv_bias, attention_out_bias) = biases(&keys)?;
    let (attention_softcap, logit_softcap) = match family.soft_caps {
        None => (None, None),
        Some((attention, logits)) => (
            keys.number_or("attn_logit_softcapping", attention)?,
            keys.number_or("final_logit_softcapping", logits)?,
        ),
    };
    let window = window::read(&keys, layers, context_length)?;
    let positions = rope::read(&keys, head_dim, context_length)?;
    // A model with eyes says these outside of its text part, where transformers leaves its own defaults.
    let ids = |key: &str| -> Result<Vec<u32>> {
        Ok(whole.ids(FILE, key)?.or(fields.ids(FILE, key)?).unwrap_or_default())
    };
    let tied = fields.flag(FILE, "tie_word_embeddings")?.or(whole.flag(FILE, "tie_word_embeddings")?);
    let config = ModelConfig {
        architecture: family.architecture,
        vocab_size: keys.need("vocab_size")?,
        hidden_size,
        intermediate_size,
        layers,
        heads,
        kv_heads: keys.size("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        context_length,
        rms_norm_eps: fields.number(FILE, "rms_norm_eps")?.unwrap_or(family.eps),
        rope: positions.rope,
        window_rope: positions.window_rope.filter(|_| window.is_some()),
        rotary_dim: positions.rotary_dim,
        attention_scale: attention_scale(&keys, head_dim)?,
        attention_softcap,
        logit_softcap,
        window,
        experts: experts::read(&keys, layers, intermediate_size)?,
        activation: family.activation,
        embedding_scale: family.gemma.then(|| (hidden_size as f64).sqrt()),
        post_norms: family.gemma,
        norms_less_one: family.gemma,
        rope_interleaved: false,
        tie_embeddings: tied.unwrap_or(family.tied),
        qkv_bias,
        attention_out_bias,
        mlp_bias: family.mlp_bias && keys.is_set("mlp_bias")?,
        qk_norm: family.qk_norm,
        bos: ids("bos_token_id")?,
        eos: ids("eos_token_id")?,
    };
    config.check(FILE)?;
    Ok(config)
}

/// The head's width: the key's, the family's, or the hidden size divided among the heads.
fn head_dim(keys: &Keys<'_>, hidden: usize, heads: usize) -> Result<usize> {
    match (keys.size("head_dim")?, hidden.checked_rem(heads)) {
        (Some(width), _) => Ok(width),
        (None, Some(0)) => Ok(hidden / heads),
        (None, _) => {
            let what = format_args!("hidden_size {hidden} cannot be divided among {heads} attention heads");
            Err(FormatError::malformed(FILE, what))
        }
    }
}

/// Whether Q, K and V have biases, and whether the output projection has.
fn biases(keys: &Keys<'_>) -> Result<(bool, bool)> {
    Ok(match keys.family.bias {
        Bias::Never => (false, false),
        Bias::Keyed => [keys.is_set("attention_bias")?; 2].into(),
        Bias::Qkv => (true, false),
        Bias::QkvUnlessKeyed => (keys.fields.flag(FILE, "qkv_bias")?.unwrap_or(true), false),
    })
}

/// Gemma divides by the root of a number of its own, the others by that of the head's width.
fn attention_scale(keys: &Keys<'_>, head_dim: usize) -> Result<f64> {
    let scalar = match keys.family.gemma {
        true => keys.fields.number(FILE, "query_pre_attn_scalar")?.unwrap_or(256.0),
        false => head_dim as f64,
    };
    Ok(1.0 / scalar.sqrt())
}

/// Features that change what the model computes and are not built. `whole` is the outermost object.
fn refuse_unsupported(keys: &Keys<'_>, whole: &Fields) -> Result<()> {
    for fields in [keys.fields, whole] {
        if let Some(quantized) = fields.object(FILE, "quantization_config")? {
            let method = quantized.text(FILE, "quant_method")?.unwrap_or("unnamed");
            return unsupported(format_args!("weights quantised by {method:?}"));
        }
    }
    // Gemma's `hidden_act` is a leftover: its own models are computed with the other key.
    let (key, built) = match keys.family.activation {
        Activation::Silu => ("hidden_act", "silu"),
        Activation::GeluTanh => ("hidden_activation", "gelu_pytorch_tanh"),
    };
    if let Some(act) = keys.fields.text(FILE, key)?.filter(|act| *act != built) {
        return unsupported(format_args!("{key} {act:?}; only {built} is built"));
    }
    if keys.is_set("use_bidirectional_attention")? {
        return unsupported(format_args!("attention that is not causal (use_bidirectional_attention)"));
    }
    // Its published configurations never set it, and transformers does not compute with it.
    let capped = keys.fields.number(FILE, "attn_logit_softcapping")?.is_some();
    if capped && keys.family.architecture == Architecture::Gemma3 {
        return unsupported(format_args!("a soft cap of attention scores (attn_logit_softcapping)"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Rope, RopeScaling, Window};

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
    fn a_family_s_facts_need_no_keys() {
        let mistral =
            with(r#""llama""#, r#""mistral", "sliding_window": 8, "attention_bias": true"#).unwrap();
        assert_eq!(mistral.window, Some(Window { tokens: 8, layers: vec![true; 2] }));
        assert!(!mistral.qkv_bias && mistral.attention_scale == 0.5);
        let mixtral = r#""mixtral", "num_local_experts": 4, "num_experts_per_tok": 2"#;
        assert_eq!(with(r#""llama""#, mixtral).unwrap().experts.unwrap().intermediate_size, 32);

        let gemma = with(r#""llama""#, r#""gemma2", "head_dim": 8, "query_pre_attn_scalar": 16"#).unwrap();
        assert!(gemma.post_norms && gemma.norms_less_one && gemma.tie_embeddings && !gemma.qk_norm);
        assert_eq!((gemma.attention_softcap, gemma.logit_softcap), (Some(50.0), Some(30.0)));
        assert_eq!((gemma.attention_scale, gemma.embedding_scale), (0.25, Some(4.0)));
        assert_eq!(gemma.activation, Activation::GeluTanh);
        let uncapped = with(r#""llama""#, r#""gemma2", "attn_logit_softcapping": null"#).unwrap();
        assert_eq!((uncapped.attention_softcap, uncapped.head_dim), (None, 256));
        let phi = with(r#""llama""#, r#""phi3", "partial_rotary_factor": 0.5"#).unwrap();
        assert_eq!((phi.head_dim, phi.rotary_dim), (4, 2));
    }

    #[test]
    fn the_text_part_of_a_model_with_eyes_is_read() {
        let text = r#"{"model_type": "gemma3", "eos_token_id": [1, 106], "vision_config": {"hidden_size": 3},
            "text_config": {"model_type": "gemma3_text", "eos_token_id": 1, "hidden_size": 16, "intermediate_size": 32,
            "num_hidden_layers": 8, "sliding_window": 1024, "rope_scaling": {"rope_type": "linear", "factor": 8.0}}}"#;
        let config = parse(text.as_bytes()).unwrap();
        assert_eq!((config.vocab_size, config.heads, config.kv_heads, config.head_dim), (262_208, 8, 4, 256));
        assert_eq!((config.hidden_size, config.context_length), (16, 131_072));
        assert_eq!(config.rope, Rope { theta: 1e6, scaling: RopeScaling::Linear { factor: 8.0 } });
        assert_eq!(config.window_rope, Some(Rope { theta: 10_000.0, scaling: RopeScaling::None }));
        let windowed: Vec<_> = (0..8).map(|layer| layer != 5).collect();
        assert_eq!(config.window, Some(Window { tokens: 1024, layers: windowed }));
        assert_eq!((config.eos, config.tie_embeddings, config.qk_norm), (vec![1, 106], true, true));
        for (from, to, word) in [
            ("text_config", "text", "text_config is missing"),
            ("gemma3_text", "gemma4_text", "gemma4_text"),
            (r#""model_type": "gemma3_text", "#, "", "model_type is missing"),
        ] {
            let error = parse(text.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn what_is_not_built_is_named() {
        for (from, to, word) in [
            (
                r#""llama""#,
                r#""mamba""#,
                "architecture \"mamba\"; supported are llama, mistral, mixtral, qwen2",
            ),
            (r#""llama""#, r#""gemma3_text", "use_bidirectional_attention": true"#, "not causal"),
            (r#""llama""#, r#""gemma3_text", "attn_logit_softcapping": 50.0"#, "soft cap"),
            (r#""llama""#, r#""gemma2", "hidden_activation": "gelu""#, "only gelu_pytorch_tanh"),
            (r#""silu""#, r#""gelu""#, "gelu"),
            (
                r#""llama""#,
                r#""qwen3", "layer_types": ["full_attention", "sliding_attention"]"#,
                "sliding_attention",
            ),
            (r#""llama""#, r#""llama", "quantization_config": {"quant_method": "gptq"}"#, "gptq"),
            (r#""llama""#, r#""llama", "rope_scaling": {"type": "dynamic", "factor": 4.0}"#, "dynamic"),
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
