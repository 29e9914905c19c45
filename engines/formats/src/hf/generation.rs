//! `generation_config.json`: end tokens and sampling defaults.

use crate::config::GenerationConfig;
use crate::json::{Fields, Json};
use crate::{FormatError, Result};

const FILE: &str = "generation_config.json";
const WANTED: &[&str] = &["eos_token_id", "do_sample", "temperature", "top_p", "top_k", "repetition_penalty"];

/// Reads the bytes of a `generation_config.json`.
///
/// # Errors
/// When it is no JSON object, or a number is of the wrong type or out of range.
pub fn parse(bytes: &[u8]) -> Result<GenerationConfig> {
    let fields = Fields::parse(FILE, bytes, WANTED)?;
    let number = |key: &str, sound: fn(f64) -> bool| match fields.number(FILE, key)? {
        Some(value) if !sound(value) => Err(FormatError::malformed(FILE, format_args!("{key} is {value}"))),
        other => Ok(other),
    };
    Ok(GenerationConfig {
        eos: fields.ids(FILE, "eos_token_id")?.unwrap_or_default(),
        do_sample: fields.flag(FILE, "do_sample")?,
        temperature: number("temperature", |value| value.is_finite() && value >= 0.0)?,
        top_p: number("top_p", |value| value > 0.0 && value <= 1.0)?,
        top_k: match fields.get("top_k") {
            // Some exporters write -1 for no limit.
            Some(Json::Negative(_)) => Some(0),
            _ => fields.whole(FILE, "top_k")?.map(|value| u32::try_from(value).unwrap_or(u32::MAX)),
        },
        repetition_penalty: number("repetition_penalty", |value| value.is_finite() && value > 0.0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_read() {
        let text = r#"{"bos_token_id": 1, "do_sample": true, "eos_token_id": [5, 6], "temperature": 0.7,
            "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05, "transformers_version": "4.37.0"}"#;
        let expected = GenerationConfig {
            eos: vec![5, 6],
            do_sample: Some(true),
            temperature: Some(0.7),
            top_p: Some(0.8),
            top_k: Some(20),
            repetition_penalty: Some(1.05),
        };
        assert_eq!(parse(text.as_bytes()).unwrap(), expected);
        assert_eq!(parse(b"{}").unwrap(), GenerationConfig::default());
        assert_eq!(parse(b"{\"top_k\": -1}").unwrap().top_k, Some(0));
    }

    #[test]
    fn numbers_out_of_range_are_named() {
        for (text, key) in [
            (r#"{"temperature": -1}"#, "temperature"),
            (r#"{"top_p": 0}"#, "top_p"),
            (r#"{"top_p": 1.5}"#, "top_p"),
            (r#"{"top_k": 0.5}"#, "top_k"),
            (r#"{"repetition_penalty": 0}"#, "repetition_penalty"),
            (r#"{"eos_token_id": -1}"#, "eos_token_id"),
            (r#"{"eos_token_id": 4294967296}"#, "eos_token_id"),
        ] {
            let error = parse(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
