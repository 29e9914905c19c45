//! The keys of a `config.json`, with what a family has where one is left out.

use crate::config::Family;
use crate::json::Fields;
use crate::{FormatError, Result};

/// The name every message gives the file.
pub(super) const FILE: &str = "config.json";

/// The keys that matter, at every level.
pub(super) const WANTED: &[&str] = &[
    "model_type",
    "text_config",
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
    "hidden_activation",
    "tie_word_embeddings",
    "attention_bias",
    "qkv_bias",
    "mlp_bias",
    "bos_token_id",
    "eos_token_id",
    "sliding_window",
    "use_sliding_window",
    "max_window_layers",
    "sliding_window_pattern",
    "layer_types",
    "use_bidirectional_attention",
    "query_pre_attn_scalar",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "num_experts",
    "num_local_experts",
    "num_experts_per_tok",
    "moe_intermediate_size",
    "shared_expert_intermediate_size",
    "norm_topk_prob",
    "decoder_sparse_step",
    "mlp_only_layers",
    "quantization_config",
    "quant_method",
    "rope_theta",
    "rope_local_base_freq",
    "rope_scaling",
    "rope_parameters",
    "rope_type",
    "type",
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
    "attention_factor",
    "beta_fast",
    "beta_slow",
    "truncate",
    "mscale",
    "mscale_all_dim",
    "short_factor",
    "long_factor",
    "short_mscale",
    "long_mscale",
    "partial_rotary_factor",
    "full_attention",
    "sliding_attention",
];

/// The keys that describe the model, be they at the top or inside `text_config`.
pub(super) struct Keys<'a> {
    pub(super) fields: &'a Fields,
    pub(super) family: &'static Family,
}

impl Keys<'_> {
    /// A size; the family's where the key is left out.
    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        // Every size is checked against a range far below, so a value that does not fit is only made to fail there.
        let found = self.fields.whole(FILE, key)?.map(|value| usize::try_from(value).unwrap_or(usize::MAX));
        Ok(found.or(self.family.size(key)))
    }

    /// A size that must be known.
    pub(super) fn need(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| absent(key))
    }

    /// Whether a key is there and true.
    pub(super) fn is_set(&self, key: &str) -> Result<bool> {
        Ok(self.fields.flag(FILE, key)?.unwrap_or(false))
    }

    /// A number; `default` where the key is left out, none where it is null.
    pub(super) fn number_or(&self, key: &str, default: Option<f64>) -> Result<Option<f64>> {
        match self.fields.has(key) {
            true => self.fields.number(FILE, key),
            false => Ok(default),
        }
    }
}

pub(super) fn absent(key: &str) -> FormatError {
    FormatError::malformed(FILE, format_args!("the key {key} is missing"))
}

pub(super) fn unsupported<T>(what: std::fmt::Arguments<'_>) -> Result<T> {
    Err(FormatError::unsupported(FILE, what))
}
