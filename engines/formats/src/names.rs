//! One set of tensor names for both formats: Hugging Face's.

use crate::config::{Architecture, Family, RopeScaling};

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
    (RopeScaling::SHORT_FACTORS, RopeScaling::SHORT_FACTORS),
    (RopeScaling::LONG_FACTORS, RopeScaling::LONG_FACTORS),
];

/// GGUF's names of a layer's parts; `.weight` or `.bias` follows.
const PARTS: &[(&str, &str)] = &[
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("attn_q_norm", "self_attn.q_norm"),
    ("attn_k_norm", "self_attn.k_norm"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
    ("ffn_gate_inp", "mlp.gate"),
    ("ffn_gate_exps", "mlp.experts.gate_proj"),
    ("ffn_up_exps", "mlp.experts.up_proj"),
    ("ffn_down_exps", "mlp.experts.down_proj"),
    ("ffn_gate_up_exps", "mlp.experts.gate_up_proj"),
    ("ffn_gate_inp_shexp", "mlp.shared_expert_gate"),
    ("ffn_gate_shexp", "mlp.shared_expert.gate_proj"),
    ("ffn_up_shexp", "mlp.shared_expert.up_proj"),
    ("ffn_down_shexp", "mlp.shared_expert.down_proj"),
];

/// The parts with other meanings where both halves of a layer have norms after them too.
const POST_NORMS: &[(&str, &str)] = &[
    ("ffn_norm", "pre_feedforward_layernorm"),
    ("post_attention_norm", "post_attention_layernorm"),
    ("post_ffw_norm", "post_feedforward_layernorm"),
];

/// The parts with other meanings where the gate's rows come with those that it gates.
const FUSED: &[(&str, &str)] = &[("ffn_up", "mlp.gate_up_proj")];

/// The Hugging Face name of a GGUF tensor; `None` for a tensor no model of the family has. Stacked and fused tensors get
/// a name of the same kind, to be split by [`crate::views`].
pub(crate) fn from_gguf(name: &str, family: &Family) -> Option<String> {
    if let Some((_, ours)) = GLOBAL.iter().find(|(theirs, _)| *theirs == name) {
        return Some((*ours).to_owned());
    }
    let (layer, rest) = split_layer(name.strip_prefix("blk.")?)?;
    let (part, kind) = rest.rsplit_once('.')?;
    if !matches!(kind, "weight" | "bias") {
        return None;
    }
    let own: &[_] = match (family.gemma, family.fused_up) {
        (true, _) => POST_NORMS,
        (_, true) => FUSED,
        _ => &[],
    };
    let (_, ours) = own.iter().chain(PARTS).find(|(theirs, _)| *theirs == part)?;
    Some(format!("{LAYER}{layer}.{ours}.{kind}"))
}

/// The name of a folder's tensor as all families have it: Mixtral's older names, stacked experts without `.weight`, and
/// the text part of a Gemma 3 with eyes. `None` for what its text does not need.
pub(crate) fn from_folder(name: &str, architecture: Architecture) -> Option<String> {
    const BLIND: [&str; 4] =
        ["vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector."];
    let mut name = name.to_owned();
    if architecture == Architecture::Gemma3 {
        if BLIND.iter().any(|prefix| name.starts_with(prefix)) {
            return None;
        }
        if let Some(rest) = name.strip_prefix("model.language_model.") {
            name = format!("model.{rest}");
        } else if let Some(rest) = name.strip_prefix("language_model.") {
            name = rest.to_owned();
        }
    }
    let Some((layer, rest)) = name.strip_prefix(LAYER).and_then(split_layer) else { return Some(name) };
    if let Some(stacked @ ("gate_up_proj" | "down_proj")) = rest.strip_prefix("mlp.experts.") {
        return Some(format!("{LAYER}{layer}.mlp.experts.{stacked}.weight"));
    }
    let Some(rest) = rest.strip_prefix("block_sparse_moe.") else { return Some(name) };
    let expert = rest.strip_prefix("experts.").and_then(split_layer);
    let ours = match expert {
        Some((expert, "w1.weight")) => format!("experts.{expert}.gate_proj.weight"),
        Some((expert, "w3.weight")) => format!("experts.{expert}.up_proj.weight"),
        Some((expert, "w2.weight")) => format!("experts.{expert}.down_proj.weight"),
        _ => rest.to_owned(),
    };
    Some(format!("{LAYER}{layer}.mlp.{ours}"))
}

/// Splits `7.rest` into a layer's or expert's number and the rest. Only the plain spelling counts, so that two names never
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

    fn gguf(family: &str, name: &str) -> Option<String> {
        from_gguf(name, Family::of_gguf("t", family, false, false).unwrap())
    }

    #[test]
    fn gguf_names_become_hugging_face_names() {
        for (family, theirs, ours) in [
            ("llama", "token_embd.weight", "model.embed_tokens.weight"),
            ("llama", "output.weight", "lm_head.weight"),
            ("llama", "blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"),
            ("llama", "blk.31.attn_k.bias", "model.layers.31.self_attn.k_proj.bias"),
            ("qwen3", "blk.2.attn_k_norm.weight", "model.layers.2.self_attn.k_norm.weight"),
            ("llama", "blk.2.ffn_norm.weight", "model.layers.2.post_attention_layernorm.weight"),
            ("gemma3", "blk.2.ffn_norm.weight", "model.layers.2.pre_feedforward_layernorm.weight"),
            ("gemma2", "blk.2.post_attention_norm.weight", "model.layers.2.post_attention_layernorm.weight"),
            ("gemma2", "blk.2.post_ffw_norm.weight", "model.layers.2.post_feedforward_layernorm.weight"),
            ("phi3", "blk.2.ffn_up.weight", "model.layers.2.mlp.gate_up_proj.weight"),
            ("phi3", "blk.2.attn_qkv.weight", "model.layers.2.self_attn.qkv_proj.weight"),
            ("phi3", "rope_factors_long.weight", "rope_factors_long.weight"),
            ("qwen2moe", "blk.2.ffn_gate_inp.weight", "model.layers.2.mlp.gate.weight"),
            ("qwen2moe", "blk.2.ffn_up_exps.weight", "model.layers.2.mlp.experts.up_proj.weight"),
            ("qwen2moe", "blk.2.ffn_gate_inp_shexp.weight", "model.layers.2.mlp.shared_expert_gate.weight"),
        ] {
            assert_eq!(gguf(family, theirs).as_deref(), Some(ours));
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
            "blk.0.post_ffw_norm.weight",
            "blk.0.ffn_gate.3.weight",
            "../x",
        ] {
            assert_eq!(gguf("llama", name), None, "{name}");
        }
    }

    #[test]
    fn folders_have_older_and_longer_names() {
        for (theirs, ours) in [
            ("model.norm.weight", "model.norm.weight"),
            ("language_model.model.norm.weight", "model.norm.weight"),
            ("language_model.lm_head.weight", "lm_head.weight"),
            ("model.language_model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
            ("model.layers.3.block_sparse_moe.gate.weight", "model.layers.3.mlp.gate.weight"),
            (
                "model.layers.3.block_sparse_moe.experts.7.w1.weight",
                "model.layers.3.mlp.experts.7.gate_proj.weight",
            ),
            (
                "model.layers.3.block_sparse_moe.experts.7.w2.weight",
                "model.layers.3.mlp.experts.7.down_proj.weight",
            ),
            (
                "model.layers.3.block_sparse_moe.experts.7.w3.weight",
                "model.layers.3.mlp.experts.7.up_proj.weight",
            ),
            (
                "model.layers.3.block_sparse_moe.experts.07.w3.weight",
                "model.layers.3.mlp.experts.07.w3.weight",
            ),
            ("model.layers.3.mlp.experts.gate_up_proj", "model.layers.3.mlp.experts.gate_up_proj.weight"),
            ("model.layers.3.mlp.experts.down_proj", "model.layers.3.mlp.experts.down_proj.weight"),
        ] {
            assert_eq!(from_folder(theirs, Architecture::Gemma3).as_deref(), Some(ours));
        }
        for name in ["vision_tower.vision_model.embeddings.x", "model.multi_modal_projector.y"] {
            assert_eq!(from_folder(name, Architecture::Gemma3), None, "{name}");
            // Where they are not expected, they stay, to be refused.
            assert_eq!(from_folder(name, Architecture::Llama).as_deref(), Some(name));
        }
    }
}
