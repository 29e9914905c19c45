//! The pre-tokeniser of a tokenizer: steps that cut text into the pieces that byte-pair encoding works on.

use super::error::{TextError, foreign};
use super::pattern::{Regex, check_length};
use serde_json::Value;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::split::SplitPattern;
use tokenizers::tokenizer::pattern::Invert;
use tokenizers::{PreTokenizedString, PreTokenizer, SplitDelimiterBehavior};

/// Most steps. Real tokenizers have up to five.
const MAX_STEPS: usize = 16;

/// The pattern of GPT-2, which `ByteLevel` splits by unless told otherwise.
pub(super) const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// The steps, in order.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    steps: Vec<Step>,
    byte_level: bool,
    lossless: bool,
}

#[derive(Debug)]
enum Step {
    Split {
        pattern: Regex,
        behavior: SplitDelimiterBehavior,
        invert: bool,
    },
    /// Each byte becomes one printable character, after an optional leading space and split.
    Bytes {
        prefix_space: bool,
        pattern: Option<Regex>,
    },
    Plain(PreTokenizerWrapper),
}

impl Splitter {
    /// A byte-level splitter: pieces are the matches of each pattern in turn and the gaps between them.
    pub(super) fn byte_level(patterns: &[&str]) -> Result<Self, TextError> {
        let mut steps = Vec::with_capacity(patterns.len() + 1);
        for pattern in patterns {
            let pattern = Regex::new(pattern)?;
            steps.push(Step::Split { pattern, behavior: SplitDelimiterBehavior::Isolated, invert: false });
        }
        steps.push(Step::Bytes { prefix_space: false, pattern: None });
        Ok(Splitter { steps, byte_level: true, lossless: true })
    }

    /// Reads the `pre_tokenizer` object of a tokenizer.json. The second value bounds how much longer text can become.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`], [`TextError::TooLarge`].
    pub(super) fn from_json(json: &Value) -> Result<(Self, u64), TextError> {
        let mut splitter = Splitter { lossless: true, ..Splitter::default() };
        let mut growth = 1;
        if !json.is_null() {
            check_patterns(json)?;
            let parsed: PreTokenizerWrapper = serde_json::from_value(json.clone())
                .map_err(|e| TextError::Tokenizer(format!("pre_tokenizer: {}", foreign(&e))))?;
            splitter.push(parsed, &mut growth)?;
        }
        Ok((splitter, growth))
    }

    fn push(&mut self, step: PreTokenizerWrapper, growth: &mut u64) -> Result<(), TextError> {
        if self.steps.len() >= MAX_STEPS {
            let (got, limit) = (self.steps.len() as u64 + 1, MAX_STEPS as u64);
            return Err(TextError::TooLarge { what: "pre-tokeniser steps", got, limit });
        }
        self.steps.try_reserve(1).map_err(|_| TextError::NoMemory("the pre-tokeniser"))?;
        let (step, factor) = match step {
            PreTokenizerWrapper::Sequence(steps) => {
                return steps.into_iter().try_for_each(|step| self.push(step, growth));
            }
            PreTokenizerWrapper::Split(split) => {
                let pattern = match &split.pattern {
                    SplitPattern::Regex(regex) => Regex::new(regex)?,
                    // A literal cannot backtrack: the crate's own split is exact.
                    SplitPattern::String(_) => {
                        self.lossless &= split.behavior != SplitDelimiterBehavior::Removed;
                        self.steps.push(Step::Plain(PreTokenizerWrapper::Split(split)));
                        return Ok(());
                    }
                };
                self.lossless &= split.behavior != SplitDelimiterBehavior::Removed;
                (Step::Split { pattern, behavior: split.behavior, invert: split.invert }, 1)
            }
            PreTokenizerWrapper::ByteLevel(ByteLevel { add_prefix_space, use_regex, .. }) => {
                let pattern = if use_regex { Some(Regex::new(GPT2)?) } else { None };
                self.byte_level = true;
                (Step::Bytes { prefix_space: add_prefix_space, pattern }, 2)
            }
            PreTokenizerWrapper::Metaspace(metaspace) => {
                let width = metaspace.get_replacement().len_utf8() as u64;
                (Step::Plain(PreTokenizerWrapper::Metaspace(metaspace)), width)
            }
            PreTokenizerWrapper::Digits(digits) => (Step::Plain(PreTokenizerWrapper::Digits(digits)), 1),
            PreTokenizerWrapper::FixedLength(fixed) if fixed.length == 0 => {
                return Err(TextError::Tokenizer("pre_tokenizer: pieces of no characters".into()));
            }
            other => {
                self.lossless = false;
                (Step::Plain(other), 1)
            }
        };
        *growth = growth.saturating_mul(factor);
        self.steps.push(step);
        Ok(())
    }

    /// Whether pieces are byte-level text: every byte of the input has a printable stand-in.
    pub(super) fn is_byte_level(&self) -> bool {
        self.byte_level
    }

    /// Whether the pieces together are the whole text.
    pub(super) fn is_lossless(&self) -> bool {
        self.lossless
    }

    /// Cuts the text.
    pub(super) fn apply(&self, text: &mut PreTokenizedString) -> tokenizers::Result<()> {
        for step in &self.steps {
            match step {
                Step::Split { pattern, behavior, invert: false } => {
                    text.split(|_, piece| piece.split(pattern, *behavior))?;
                }
                Step::Split { pattern, behavior, invert: true } => {
                    text.split(|_, piece| piece.split(Invert(pattern), *behavior))?;
                }
                Step::Bytes { prefix_space, pattern } => {
                    text.split(|_, mut piece| {
                        if *prefix_space && !piece.get().starts_with(' ') {
                            piece.prepend(" ");
                        }
                        match pattern {
                            Some(pattern) => piece.split(pattern, SplitDelimiterBehavior::Isolated),
                            None => Ok(vec![piece]),
                        }
                    })?;
                    ByteLevel::new(false, true, false).pre_tokenize(text)?;
                }
                Step::Plain(step) => step.pre_tokenize(text)?,
            }
        }
        Ok(())
    }
}

/// Refuses patterns that are long or compile to more than is allowed, before the crate compiles them with wider limits.
fn check_patterns(json: &Value) -> Result<(), TextError> {
    match json {
        Value::Object(fields) if fields.get("Regex").is_some_and(Value::is_string) => {
            Regex::new(fields["Regex"].as_str().unwrap_or_default()).map(drop)
        }
        Value::String(text) => check_length(text),
        Value::Array(items) => items.iter().try_for_each(check_patterns),
        Value::Object(fields) => fields.values().try_for_each(check_patterns),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tokenizers::{OffsetReferential, OffsetType};

    fn pieces(splitter: &Splitter, text: &str) -> Vec<String> {
        let mut pieces = PreTokenizedString::from(text);
        splitter.apply(&mut pieces).unwrap();
        let splits = pieces.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits.iter().map(|(piece, ..)| (*piece).to_owned()).collect()
    }

    #[test]
    fn byte_level_equals_the_crate() {
        let json =
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        let (splitter, growth) = Splitter::from_json(&json).unwrap();
        assert_eq!(growth, 2);
        for text in ["Hello world's  end", "  x\n\n y", "naïve 日本 12ab", " "] {
            let mut theirs = PreTokenizedString::from(text);
            ByteLevel::new(true, true, true).pre_tokenize(&mut theirs).unwrap();
            let theirs = theirs.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let theirs: Vec<_> = theirs.iter().map(|(piece, ..)| *piece).collect();
            assert_eq!(pieces(&splitter, text), theirs);
        }
    }

    #[test]
    fn a_run_beyond_the_backtrack_stack_is_an_error() {
        let splitter = Splitter::byte_level(&[GPT2]).unwrap();
        let mut text = PreTokenizedString::from(" ".repeat(2_000_000) + "then words");
        assert!(splitter.apply(&mut text).is_err());
    }

    #[test]
    fn inverted_and_removed_splits() {
        let json =
            json!({"type": "Split", "pattern": {"Regex": "[a-z]+"}, "behavior": "Removed", "invert": true});
        let (splitter, _) = Splitter::from_json(&json).unwrap();
        assert!(!splitter.is_lossless());
        assert_eq!(pieces(&splitter, "ab 1 cd"), ["ab", "cd"]);
    }

    #[test]
    fn growth_of_a_chain_is_counted() {
        let bytes =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let chain = json!({"type": "Sequence", "pretokenizers": vec![bytes; 12]});
        assert_eq!(Splitter::from_json(&chain).unwrap().1, 1 << 12);
    }
}
