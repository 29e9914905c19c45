//! Rotary positions in `config.json`: `rope_theta` with `rope_scaling`, or `rope_parameters` with both inside.

use crate::config::{MAX_CONTEXT, Rope, RopeScaling};
use crate::json::Fields;
use crate::{FormatError, Result};

/// transformers' default base for the supported architectures.
const DEFAULT_THETA: f64 = 10_000.0;

pub(super) fn read(file: &str, config: &Fields) -> Result<Rope> {
    let newer = config.object(file, "rope_parameters")?;
    let classic = config.object(file, "rope_scaling")?;
    let kind = |fields: Option<&Fields>| -> Result<String> {
        let Some(fields) = fields else { return Ok("default".to_owned()) };
        let kind = fields.text(file, "rope_type")?;
        Ok(kind.or(fields.text(file, "type")?).unwrap_or("default").to_owned())
    };
    if newer.is_some() && classic.is_some() && kind(newer)? != kind(classic)? {
        return Err(FormatError::malformed(file, "rope_parameters and rope_scaling are of different types"));
    }
    let fields = newer.or(classic);

    let mut theta = config.number(file, "rope_theta")?;
    let mut partial = config.number(file, "partial_rotary_factor")?;
    if let Some(fields) = fields {
        for nested in ["full_attention", "sliding_attention"] {
            if fields.get(nested).is_some() {
                let what = format_args!("rotary positions that differ between layers ({nested})");
                return Err(FormatError::unsupported(file, what));
            }
        }
        theta = fields.number(file, "rope_theta")?.or(theta);
        partial = fields.number(file, "partial_rotary_factor")?.or(partial);
    }
    if let Some(part) = partial.filter(|part| *part != 1.0) {
        return Err(FormatError::unsupported(
            file,
            format_args!("partial rotary positions ({part} of each head)"),
        ));
    }
    let scaling = match (kind(fields)?.as_str(), fields) {
        ("default", _) | (_, None) => RopeScaling::None,
        ("llama3", Some(fields)) => llama3(file, fields)?,
        (other, Some(_)) => {
            let what = format_args!("rotary scaling of type {other:?}; default and llama3 are built");
            return Err(FormatError::unsupported(file, what));
        }
    };
    Ok(Rope { theta: theta.unwrap_or(DEFAULT_THETA), scaling })
}

fn llama3(file: &str, fields: &Fields) -> Result<RopeScaling> {
    let absent =
        |key: &str| FormatError::malformed(file, format_args!("the key {key} of rotary scaling is missing"));
    let number = |key: &str| fields.number(file, key)?.ok_or_else(|| absent(key));
    const CONTEXT: &str = "original_max_position_embeddings";
    let context = fields.whole(file, CONTEXT)?.ok_or_else(|| absent(CONTEXT))?;
    Ok(RopeScaling::Llama3 {
        factor: number("factor")?,
        low_freq_factor: number("low_freq_factor")?,
        high_freq_factor: number("high_freq_factor")?,
        original_context: u32::try_from(context)
            .map_err(|_| FormatError::too_large(file, CONTEXT, context, MAX_CONTEXT as u64))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: &[&str] = &[
        "rope_theta",
        "rope_scaling",
        "rope_parameters",
        "rope_type",
        "type",
        "factor",
        "low_freq_factor",
        "high_freq_factor",
        "original_max_position_embeddings",
        "full_attention",
    ];

    fn rope(text: &str) -> Result<Rope> {
        read("t", &Fields::parse("t", text.as_bytes(), WANTED)?)
    }

    const LLAMA3: &str = r#""factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4,
        "original_max_position_embeddings": 8192"#;

    #[test]
    fn both_layouts_agree() {
        let expected = Rope {
            theta: 500_000.0,
            scaling: RopeScaling::Llama3 {
                factor: 32.0,
                low_freq_factor: 1.0,
                high_freq_factor: 4.0,
                original_context: 8192,
            },
        };
        for text in [
            format!(r#"{{"rope_theta": 500000, "rope_scaling": {{"rope_type": "llama3", {LLAMA3}}}}}"#),
            format!(r#"{{"rope_theta": 500000, "rope_scaling": {{"type": "llama3", {LLAMA3}}}}}"#),
            format!(r#"{{"rope_parameters": {{"rope_theta": 500000.0, "rope_type": "llama3", {LLAMA3}}}}}"#),
        ] {
            assert_eq!(rope(&text).unwrap(), expected);
        }
        assert_eq!(rope("{}").unwrap(), Rope { theta: 10_000.0, scaling: RopeScaling::None });
        assert_eq!(rope(r#"{"rope_scaling": null}"#).unwrap().scaling, RopeScaling::None);
    }

    #[test]
    fn what_is_incomplete_or_other_is_refused() {
        for (text, word) in [
            (r#"{"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}"#, "missing"),
            (r#"{"rope_scaling": {"rope_type": "linear", "factor": 8.0}}"#, "linear"),
            (r#"{"rope_scaling": {"type": "dynamic", "factor": 8.0}}"#, "dynamic"),
            (
                r#"{"rope_scaling": {"type": "llama3"}, "rope_parameters": {"rope_type": "default"}}"#,
                "different",
            ),
            (r#"{"rope_parameters": {"full_attention": {"rope_type": "default"}}}"#, "differ between layers"),
            (r#"{"rope_scaling": 3}"#, "an object is needed"),
        ] {
            let error = rope(text).unwrap_err().to_string();
            assert!(error.contains(word), "{word}: {error}");
        }
    }
}
