//! Which layers of a folder's model attend to the last tokens only.

use crate::config::{MAX_WINDOW_LAYERS, Window, WindowRule};
use crate::hf::keys::{FILE, Keys, unsupported};
use crate::json::Json;
use crate::{FormatError, Result};

/// `layers` is within its range.
pub(super) fn read(keys: &Keys<'_>, layers: usize, context: usize) -> Result<Option<Window>> {
    let rule = keys.family.window;
    let switch = keys.is_set("use_sliding_window")?;
    let (tokens, used) = match rule {
        WindowRule::Never if switch => {
            return unsupported(format_args!("attention in a sliding window (use_sliding_window)"));
        }
        WindowRule::Never => (None, false),
        WindowRule::Every { tokens, switched } => (tokens, switch || !switched),
        WindowRule::From | WindowRule::EvenBelow => (Some(crate::config::WINDOW), switch),
        WindowRule::Period(_) => (Some(crate::config::WINDOW), true),
    };
    let tokens = match keys.fields.has("sliding_window") {
        true => keys.size("sliding_window")?,
        false => tokens,
    };
    let tokens = tokens.filter(|_| used);
    let split = keys.size("max_window_layers")?.unwrap_or(MAX_WINDOW_LAYERS);
    let period = match rule {
        WindowRule::Period(period) => keys.size("sliding_window_pattern")?.unwrap_or(period),
        _ => 1,
    };
    if period == 0 {
        return Err(FormatError::malformed(FILE, "sliding_window_pattern is 0"));
    }
    let holds = |layer: usize| match rule {
        WindowRule::Never => false,
        WindowRule::Every { .. } => true,
        WindowRule::From => layer >= split,
        WindowRule::EvenBelow => layer.is_multiple_of(2) && layer < split,
        WindowRule::Period(_) => !(layer + 1).is_multiple_of(period),
    };
    let ruled: Vec<bool> = (0..layers).map(|layer| tokens.is_some() && holds(layer)).collect();
    let Some(listed) = layer_types(keys, layers)? else {
        return Ok(Window::within(context, tokens, ruled));
    };
    let free = !matches!(rule, WindowRule::Never | WindowRule::Every { .. });
    if listed != ruled && (!free || tokens.is_none()) {
        return unsupported(format_args!(
            "layer_types, where {} layers are of the kind sliding_attention, with a sliding window of {}",
            listed.iter().filter(|windowed| **windowed).count(),
            tokens.map_or_else(|| "no tokens".to_owned(), |tokens| format!("{tokens} tokens")),
        ));
    }
    Ok(Window::within(context, tokens, listed))
}

/// For each layer, whether `layer_types` gives it a window.
fn layer_types(keys: &Keys<'_>, layers: usize) -> Result<Option<Vec<bool>>> {
    let kinds = match keys.fields.get("layer_types") {
        None => return Ok(None),
        Some(Json::List(kinds)) => kinds,
        Some(other) => {
            let what = format_args!("layer_types is {other}; a list is needed");
            return Err(FormatError::malformed(FILE, what));
        }
    };
    if kinds.len() != layers {
        let what = format_args!("layer_types has {} items for {layers} layers", kinds.len());
        return Err(FormatError::malformed(FILE, what));
    }
    let windowed = kinds.iter().map(|kind| match kind {
        Json::Text(kind) if kind == "full_attention" => Ok(false),
        Json::Text(kind) if kind == "sliding_attention" => Ok(true),
        other => unsupported(format_args!("a layer of the kind {other} (layer_types)")),
    });
    windowed.collect::<Result<Vec<_>>>().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Family;
    use crate::hf::keys::WANTED;
    use crate::json::Fields;

    fn window(family: &str, text: &str) -> Result<Option<Window>> {
        let fields = Fields::parse(FILE, text.as_bytes(), WANTED)?;
        read(&Keys { fields: &fields, family: Family::of_folder(FILE, family)? }, 4, 8192)
    }

    fn layers(family: &str, text: &str) -> Option<(usize, String)> {
        let window = window(family, text).unwrap()?;
        let list = window.layers.iter().map(|windowed| if *windowed { 'w' } else { '-' });
        Some((window.tokens, list.collect()))
    }

    #[test]
    fn each_family_has_its_rule() {
        let every = |tokens| Some((tokens, "wwww".to_owned()));
        assert_eq!(layers("llama", r#"{"sliding_window": 8}"#), None);
        assert_eq!(layers("mistral", "{}"), every(4096));
        assert_eq!(layers("mistral", r#"{"sliding_window": null}"#), None);
        assert_eq!(layers("mistral", r#"{"sliding_window": 8191}"#), every(8191));
        assert_eq!(layers("mistral", r#"{"sliding_window": 8192}"#), None, "as long as the context");
        assert_eq!(layers("mixtral", "{}"), None);
        assert_eq!(layers("phi3", r#"{"sliding_window": 8}"#), every(8));
        assert_eq!(layers("qwen3_moe", r#"{"sliding_window": 8}"#), None);
        assert_eq!(layers("qwen3_moe", r#"{"sliding_window": 8, "use_sliding_window": true}"#), every(8));

        let qwen = r#"{"sliding_window": 8, "use_sliding_window": true, "max_window_layers": 3}"#;
        assert_eq!(layers("qwen2", qwen), Some((8, "---w".to_owned())));
        assert_eq!(layers("qwen2", &qwen.replace("true", "false")), None);
        assert_eq!(layers("qwen2", &qwen.replace(": 3", ": 4")), None, "above the last layer");
        assert_eq!(layers("qwen2_moe", qwen), Some((8, "w-w-".to_owned())));

        assert_eq!(layers("gemma2", "{}"), Some((4096, "w-w-".to_owned())));
        assert_eq!(layers("gemma3_text", r#"{"sliding_window": 8}"#), every(8));
        let pattern = r#"{"sliding_window": 8, "sliding_window_pattern": 3}"#;
        assert_eq!(layers("gemma3_text", pattern), Some((8, "ww-w".to_owned())));
        let one = r#"{"sliding_window": 8, "sliding_window_pattern": 1}"#;
        assert_eq!(layers("gemma3_text", one), None);
    }

    #[test]
    fn the_list_of_layers_goes_before_the_rule() {
        let (full, slides) = (r#""full_attention""#, r#""sliding_attention""#);
        let list = format!(r#"{{"sliding_window": 8, "layer_types": [{full}, {slides}, {slides}, {full}]}}"#);
        assert_eq!(layers("gemma2", &list), Some((8, "-ww-".to_owned())));
        for (family, text, word) in [
            ("mistral", list.as_str(), "2 layers are of the kind sliding_attention"),
            ("llama", &list, "sliding_attention"),
            ("qwen3", &list, "no tokens"),
            ("gemma2", r#"{"layer_types": ["full_attention"]}"#, "1 items for 4 layers"),
            ("gemma2", r#"{"layer_types": 3}"#, "a list is needed"),
            ("qwen3", &list.replace(full, "\"linear_attention\""), "linear_attention"),
            ("llama", r#"{"use_sliding_window": true}"#, "use_sliding_window"),
            ("gemma3_text", r#"{"sliding_window_pattern": 0}"#, "pattern is 0"),
            ("gemma3_text", r#"{"sliding_window": -1}"#, "sliding_window is -1"),
            ("gemma3_text", r#"{"sliding_window": "8"}"#, "sliding_window is the string"),
        ] {
            let error = window(family, text).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
        assert_eq!(layers("mistral", &list.replace(full, slides)), Some((8, "wwww".to_owned())));
    }
}
