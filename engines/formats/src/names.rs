//! One set of tensor names for both formats: Hugging Face's.

use crate::config::RopeScaling;

/// The embedding.
pub(crate) const EMBEDDING: &str = "model.embed_tokens.weight";
/// The norm after the last layer.
pub(crate) const FINAL_NORM: &str = "model.norm.weight";
/// The output matrix; absent when it is the embedding.
pub(crate) const OUTPUT: &str = "lm_head.weight";
/// What the names of a layer's tensors begin with; the layer's number and a dot follow.
pub(crate) const LAYER: &str = "model.layers.";

/// GGUF's names of tensors that belong to no layer.
const GLOBAL: &[(&str, &str)] = &[
    ("token_embd.weight", EMBEDDING),
    ("output_norm.weight", FINAL_NORM),
    ("output.weight", OUTPUT),
    (RopeScaling::FACTORS, RopeScaling::FACTORS),
];

/// GGUF's names of a layer's parts; `.weight` or `.bias` follows.
const PARTS: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// The Hugging Face name of a GGUF tensor; `None` for a tensor no supported model has.
pub(crate) fn from_gguf(name: &str) -> Option<String> {
    if let Some((_, ours)) = GLOBAL.iter().find(|(theirs, _)| *theirs == name) {
        return Some((*ours).to_owned());
    }
    let (layer, rest) = split_layer(name.strip_prefix("blk.")?)?;
    let (part, kind) = rest.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    let (_, ours) = PARTS.iter().find(|(theirs, _)| *theirs == part)?;
    Some(format!("{LAYER}{layer}.{ours}.{kind}"))
}

/// Splits `7.rest` into the layer's number and the rest. Only the plain spelling counts, so that two names never
/// mean the same tensor.
pub(crate) fn split_layer(name: &str) -> Option<(usize, &str)> {
    let (digits, rest) = name.split_once('.')?;
    let plain = digits == "0" || !digits.starts_with('0');
    let only_digits = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    (plain && only_digits).then_some(())?;
    Some((digits.parse().ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gguf_names_become_hugging_face_names() {
        for (theirs, ours) in [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output.weight", "lm_head.weight"),
            ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"),
            ("blk.31.attn_k.bias", "model.layers.31.self_attn.k_proj.bias"),
            ("blk.2.attn_k_norm.weight", "model.layers.2.self_attn.k_norm.weight"),
            ("blk.2.ffn_norm.weight", "model.layers.2.post_attention_layernorm.weight"),
        ] {
            assert_eq!(from_gguf(theirs).as_deref(), Some(ours));
        }
    }

    #[test]
    fn other_names_have_no_counterpart() {
        for name in [
            "",
            "blk.",
            "blk.0",
            "blk.00.attn_q.weight",
            "blk.+1.attn_q.weight",
            "blk.99999999999999999999.attn_q.weight",
            "blk.0.attn_q.scale",
            "blk.0.ffn_gate_exps.weight",
            "../x",
        ] {
            assert_eq!(from_gguf(name), None, "{name}");
        }
    }
}
