//! The normaliser of a tokenizer: steps that rewrite text before it is split.

use super::charsmap::{Charsmap, base64};
use super::error::{TextError, foreign, quoted};
use super::pattern::{Regex, escape};
use super::whitespace::Whitespace;
use serde_json::Value;
use std::sync::Mutex;
use tokenizers::normalizers::{NFC, NormalizerWrapper};
use tokenizers::{NormalizedString, Normalizer, Result};

/// Most steps. Real tokenizers have up to five.
const MAX_STEPS: usize = 16;

/// The steps, in order.
#[derive(Debug, Default)]
pub(super) struct Steps(Vec<Step>);

#[derive(Debug)]
enum Step {
    /// Unlike the crate's `Replace`, this one reports a failing match.
    Replace {
        pattern: Regex,
        content: String,
    },
    /// All that SentencePiece does.
    Whitespace(Whitespace),
    Plain(NormalizerWrapper),
}

impl Steps {
    /// Canonical composition only.
    pub(super) fn nfc() -> Self {
        Steps(vec![Step::Plain(NFC.into())])
    }

    /// SentencePiece's normalisation.
    pub(super) fn sentencepiece(whitespace: Whitespace) -> Self {
        Steps(vec![Step::Whitespace(whitespace)])
    }

    /// No steps: the text stays as it is.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Reads the `normalizer` object of a tokenizer.json. The second value bounds how much longer text can become.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`], [`TextError::Unsupported`], [`TextError::TooLarge`].
    pub(super) fn from_json(json: &Value) -> std::result::Result<(Self, u64), TextError> {
        let mut steps = Steps::default();
        let mut growth = 1_u64;
        if !json.is_null() {
            steps.push(json, &mut growth)?;
        }
        Ok((steps, growth))
    }

    fn push(&mut self, json: &Value, growth: &mut u64) -> std::result::Result<(), TextError> {
        let kind = json.get("type").and_then(Value::as_str).unwrap_or_default();
        if kind == "Sequence" {
            let children = json.get("normalizers").and_then(Value::as_array);
            let children =
                children.ok_or_else(|| TextError::Tokenizer("a sequence without normalizers".into()))?;
            return children.iter().try_for_each(|child| self.push(child, growth));
        }
        if self.0.len() >= MAX_STEPS {
            let (got, limit) = (self.0.len() as u64 + 1, MAX_STEPS as u64);
            return Err(TextError::TooLarge { what: "normaliser steps", got, limit });
        }
        let (step, factor) = match kind {
            "Replace" => replace(json)?,
            "Prepend" => {
                let added = json.get("prepend").and_then(Value::as_str).map_or(0, str::len) as u64;
                (plain(json)?, added.saturating_add(1))
            }
            "Bert" | "BertNormalizer" | "Lowercase" | "ByteLevel" => (plain(json)?, 2),
            // These do not grow what they have already treated, so a chain of them is as long as one.
            "NFC" | "NFD" | "NFKC" | "NFKD" | "Strip" | "StripAccents" | "Nmt" => (plain(json)?, 1),
            "Precompiled" => {
                // The crate trusts these rules: it asks for the memory they speak of, and indexes as they say.
                let rules = json.get("precompiled_charsmap").and_then(Value::as_str).and_then(base64);
                let fault = || TextError::Tokenizer("the normaliser Precompiled has no base64 rules".into());
                let growth = Charsmap::parse(&rules.ok_or_else(fault)?)?.growth();
                (plain(json)?, growth)
            }
            _ => return Err(TextError::Unsupported { what: "normaliser", name: quoted(kind) }),
        };
        *growth = growth.saturating_mul(factor);
        self.0.push(step);
        Ok(())
    }

    fn apply(&self, text: &mut NormalizedString) -> Result<()> {
        for step in &self.0 {
            match step {
                Step::Replace { pattern, content } => text.replace(pattern, content)?,
                Step::Whitespace(step) => step.apply(text),
                Step::Plain(step) => step.normalize(text)?,
            }
        }
        Ok(())
    }
}

fn plain(json: &Value) -> std::result::Result<Step, TextError> {
    serde_json::from_value(json.clone())
        .map(Step::Plain)
        .map_err(|e| TextError::Tokenizer(format!("normaliser: {}", foreign(&e))))
}

fn replace(json: &Value) -> std::result::Result<(Step, u64), TextError> {
    let fault = || TextError::Tokenizer("a Replace normaliser needs a pattern and its content".into());
    let content = json.get("content").and_then(Value::as_str).ok_or_else(fault)?.to_owned();
    let pattern = json.get("pattern").ok_or_else(fault)?;
    let (pattern, shortest) = match (pattern.get("String"), pattern.get("Regex")) {
        (Some(Value::String(literal)), None) => (Regex::new(&escape(literal)?)?, literal.len()),
        // What the converters of SentencePiece's models write.
        (None, Some(Value::String(regex))) => (Regex::new(regex)?, if regex == " {2,}" { 2 } else { 0 }),
        _ => return Err(fault()),
    };
    // An empty match inserts the content beside every character, so text can grow by one content for each.
    let factor = if shortest == 0 { content.len() + 1 } else { content.len().div_ceil(shortest).max(1) };
    Ok((Step::Replace { pattern, content }, factor as u64))
}

/// One use of the steps. The crate drops a normaliser's errors while it extracts added tokens, so they are kept here.
pub(super) struct Run<'a> {
    steps: &'a Steps,
    failure: Mutex<Option<String>>,
}

impl<'a> Run<'a> {
    pub(super) fn new(steps: &'a Steps) -> Self {
        Run { steps, failure: Mutex::new(None) }
    }

    /// The first failure since the start.
    pub(super) fn finish(self) -> std::result::Result<(), TextError> {
        let failure = self.failure.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        failure.map_or(Ok(()), |message| Err(TextError::Encode(message)))
    }
}

impl Normalizer for Run<'_> {
    fn normalize(&self, text: &mut NormalizedString) -> Result<()> {
        self.steps.apply(text).inspect_err(|error| {
            let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            failure.get_or_insert_with(|| foreign(error));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn run(json: Value, text: &str) -> String {
        let (steps, _) = Steps::from_json(&json).unwrap();
        let mut normalized = NormalizedString::from(text);
        let run = Run::new(&steps);
        run.normalize(&mut normalized).unwrap();
        run.finish().unwrap();
        normalized.get().to_owned()
    }

    #[test]
    fn replaces_literals_and_patterns() {
        let literal = json!({"type": "Replace", "pattern": {"String": "a.b"}, "content": "-"});
        assert_eq!(run(literal, "a.b axb"), "- axb");
        let spaces = json!({"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "});
        assert_eq!(run(spaces, "x   y z"), "x y z");
        let llama = json!({"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]});
        assert_eq!(run(llama, "a b"), "▁a▁b");
    }

    #[test]
    fn growth_multiplies_along_a_chain() {
        let step = json!({"type": "Replace", "pattern": {"String": "a"}, "content": "aa"});
        let chain = json!({"type": "Sequence", "normalizers": vec![step; 10]});
        assert_eq!(Steps::from_json(&chain).unwrap().1, 1 << 10);
    }

    #[test]
    fn a_failing_match_is_kept() {
        let json = json!({"type": "Replace", "pattern": {"Regex": "(?:a|aa)+(?!a)$"}, "content": ""});
        let (steps, _) = Steps::from_json(&json).unwrap();
        let run = Run::new(&steps);
        let mut text = NormalizedString::from("a".repeat(60) + "b");
        assert!(run.normalize(&mut text).is_err());
        assert!(matches!(run.finish(), Err(TextError::Encode(_))));
    }

    #[test]
    fn long_chains_and_unknown_kinds_are_refused() {
        let chain = json!({"type": "Sequence", "normalizers": vec![json!({"type": "NFC"}); 40]});
        assert!(matches!(Steps::from_json(&chain), Err(TextError::TooLarge { .. })));
        let unknown = json!({"type": "Bogus"});
        assert!(matches!(Steps::from_json(&unknown), Err(TextError::Unsupported { .. })));
        // The first would have the crate reserve gigabytes.
        for rules in ["/////w==", "AAAA", "", "!!!!"] {
            let precompiled = json!({"type": "Precompiled", "precompiled_charsmap": rules});
            assert!(matches!(Steps::from_json(&precompiled), Err(TextError::Tokenizer(_))), "{rules}");
        }
    }
}
