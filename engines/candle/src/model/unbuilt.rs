//! What a configuration may describe and this decoder does not compute.

use plimsoll_formats::{Activation, FormatError, ModelConfig, RopeScaling, Text};

/// Refuses a configuration that asks for arithmetic which is not built, so that no model computes something else than
/// its authors meant. `name` is the model's, for the message.
pub(crate) fn refuse_unbuilt(name: &str, config: &ModelConfig) -> Result<(), FormatError> {
    let plain_rope =
        matches!(config.rope.scaling, RopeScaling::None | RopeScaling::Factors | RopeScaling::Llama3 { .. });
    let plain_scale = (config.head_dim as f64).sqrt().recip();
    let unbuilt = [
        (!plain_rope || config.window_rope.is_some(), "rotary positions of this kind"),
        (config.rotary_dim != config.head_dim, "rotary positions on a part of each head"),
        (config.attention_scale != plain_scale, "a scale of attention scores of its own"),
        (config.attention_softcap.is_some() || config.logit_softcap.is_some(), "soft caps"),
        (config.window.is_some(), "attention in a sliding window"),
        (config.experts.is_some(), "a mixture of experts"),
        (config.activation != Activation::Silu, "an activation that is not SiLU"),
        (config.embedding_scale.is_some(), "scaled embeddings"),
        (config.post_norms || config.norms_less_one, "norms of this kind"),
    ];
    match unbuilt.iter().find(|(asked, _)| *asked) {
        None => Ok(()),
        Some((_, what)) => {
            let architecture = config.architecture.name();
            let what = Text::new(format_args!("{what} (a {architecture} model)"));
            Err(FormatError::Unsupported { file: Text::new(name), what })
        }
    }
}
