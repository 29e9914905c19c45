//! In which a model's layers differ, out of GGUF metadata: windows and experts.

use crate::Result;
use crate::config::{Experts, Family, WINDOW, Window, WindowRule};
use crate::gguf::keys::Keys;

const TOKENS: &str = "attention.sliding_window";
const PATTERN: &str = "attention.sliding_window_pattern";
/// The sigmoid gate's number is 2; this is the softmax.
const SOFTMAX: usize = 1;

/// The file has a window.
pub(super) fn has_window(keys: &Keys<'_>) -> Result<bool> {
    Ok(keys.size(TOKENS)?.is_some_and(|tokens| tokens > 0))
}

/// The file has a mixture of experts.
pub(super) fn has_experts(keys: &Keys<'_>) -> Result<bool> {
    Ok(keys.size("expert_count")?.is_some_and(|count| count > 0))
}

/// Which layers attend to the last tokens only. `layers` is within its range.
pub(super) fn window(
    keys: &Keys<'_>,
    family: &Family,
    layers: usize,
    context: usize,
) -> Result<Option<Window>> {
    // Gemma 2's first files have no key for its window.
    let default = matches!(family.window, WindowRule::Period(_)) && family.window_theta.is_none();
    let tokens = keys.size(TOKENS)?.or(default.then_some(WINDOW)).filter(|tokens| *tokens > 0);
    let Some(tokens) = tokens else { return Ok(None) };
    let key = keys.full(PATTERN);
    let listed = match keys.metadata.is_array(&key) {
        true => keys.metadata.flags(&key)?,
        false => None,
    };
    let list = match (listed, family.window) {
        (Some(listed), _) if listed.len() != layers => {
            return keys.malformed(format_args!("{key} has {} items for {layers} layers", listed.len()));
        }
        (Some(listed), _) => listed.to_vec(),
        (None, WindowRule::Every { switched: false, .. }) => vec![true; layers],
        (None, WindowRule::Period(period)) => {
            let period = keys.size(PATTERN)?.unwrap_or(period);
            let full = |layer: usize| period > 0 && (layer + 1).is_multiple_of(period);
            (0..layers).map(|layer| !full(layer)).collect()
        }
        // Which layers have it is not said.
        _ if tokens < context => {
            return keys.unsupported(format_args!("attention in a sliding window of {tokens} tokens"));
        }
        _ => return Ok(None),
    };
    Ok(Window::within(context, Some(tokens), list))
}

/// The mixture of experts, which all layers have. `intermediate` is the feed-forward part's width.
pub(super) fn experts(
    keys: &Keys<'_>,
    family: &Family,
    layers: usize,
    intermediate: usize,
) -> Result<Option<Experts>> {
    let Some(rule) = family.experts else {
        for key in ["expert_count", "expert_used_count"] {
            if let Some(experts) = keys.size(key)?.filter(|n| *n > 0) {
                return keys.unsupported(format_args!("a mixture of experts ({key} is {experts})"));
            }
        }
        return Ok(None);
    };
    if let Some(gate) = keys.size("expert_gating_func")?.filter(|gate| !matches!(*gate, 0 | SOFTMAX)) {
        return keys.unsupported(format_args!("experts weighed by function {gate}; only softmax is built"));
    }
    if let Some(scale) = keys.float("expert_weights_scale")?.filter(|scale| !matches!(*scale, 0.0 | 1.0)) {
        return keys.unsupported(format_args!("experts' weights multiplied by {scale}"));
    }
    let width = |key: &str, needed: bool| match keys.size(key)? {
        None if needed => Err(keys.absent(key)),
        width => Ok(width),
    };
    Ok(Some(Experts {
        count: keys.need("expert_count")?,
        used: keys.need("expert_used_count")?,
        intermediate_size: width("expert_feed_forward_length", rule.own_width)?.unwrap_or(intermediate),
        shared: match rule.shared {
            true => Some(keys.need("expert_shared_feed_forward_length")?),
            false => None,
        },
        normalise: keys.flag("expert_weights_norm")?.unwrap_or(rule.normalise_gguf),
        layers: vec![true; layers],
    }))
}
