//! Regular expressions that report their failures.
//!
//! The tokenizers crate ends a split silently when a backtracking match fails, which turns the rest of the text into one
//! piece and so into other tokens. Here such a failure is an error.

use super::error::{TextError, foreign, quoted};
use tokenizers::tokenizer::pattern::Pattern;
use tokenizers::{Offsets, Result};

/// Longest pattern, in bytes. Real ones are below 1,000.
const MAX_PATTERN: usize = 16 << 10;

/// Most steps back in one match, the reference's own limit.
const BACKTRACK_LIMIT: usize = 1_000_000;

/// Most bytes of a compiled pattern. Real ones need about 100 KiB, for Unicode's classes.
const SIZE_LIMIT: usize = 1 << 20;

/// A compiled pattern whose matching either covers the text or fails.
#[derive(Debug)]
pub(super) struct Regex(fancy_regex::Regex);

impl Regex {
    /// Compiles a pattern.
    pub(super) fn new(pattern: &str) -> std::result::Result<Self, TextError> {
        check_length(pattern)?;
        fancy_regex::RegexBuilder::new(pattern)
            .backtrack_limit(BACKTRACK_LIMIT)
            .delegate_size_limit(SIZE_LIMIT)
            .delegate_dfa_size_limit(SIZE_LIMIT)
            .build()
            .map(Regex)
            .map_err(|e| TextError::Tokenizer(format!("pattern {}: {}", quoted(pattern), foreign(&e))))
    }
}

impl Regex {
    /// The text with every match replaced, if it is not longer than `limit` bytes.
    ///
    /// # Errors
    /// [`TextError::TooLarge`], [`TextError::Tokenizer`] for a match that fails.
    pub(super) fn replace(
        &self,
        text: &str,
        content: &str,
        limit: usize,
    ) -> std::result::Result<String, TextError> {
        let mut replaced = String::new();
        let mut copied = 0;
        for found in self.0.find_iter(text) {
            let found = found.map_err(|e| TextError::Tokenizer(foreign(&e)))?;
            replaced.push_str(&text[copied..found.start()]);
            replaced.push_str(content);
            copied = found.end();
            if replaced.len() > limit {
                let (got, limit) = (replaced.len() as u64, limit as u64);
                return Err(TextError::TooLarge { what: "bytes of a decoded token", got, limit });
            }
        }
        replaced.push_str(&text[copied..]);
        Ok(replaced)
    }
}

/// A pattern that matches exactly this text.
///
/// # Errors
/// [`TextError::TooLarge`].
pub(super) fn escape(literal: &str) -> std::result::Result<String, TextError> {
    check_length(literal)?;
    let mut pattern = String::with_capacity(literal.len());
    for c in literal.chars() {
        if c.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    Ok(pattern)
}

/// Refuses a pattern too long to be compiled in bounded time.
pub(super) fn check_length(pattern: &str) -> std::result::Result<(), TextError> {
    if pattern.len() > MAX_PATTERN {
        let (got, limit) = (pattern.len() as u64, MAX_PATTERN as u64);
        return Err(TextError::TooLarge { what: "bytes of a tokenizer's pattern", got, limit });
    }
    Ok(())
}

impl Pattern for &Regex {
    fn find_matches(&self, inside: &str) -> Result<Vec<(Offsets, bool)>> {
        if inside.is_empty() {
            return Ok(vec![((0, 0), false)]);
        }
        let mut splits = Vec::new();
        let mut covered = 0;
        for found in self.0.find_iter(inside) {
            let found = found?;
            if covered != found.start() {
                splits.push(((covered, found.start()), false));
            }
            splits.push(((found.start(), found.end()), true));
            covered = found.end();
        }
        if covered != inside.len() {
            splits.push(((covered, inside.len()), false));
        }
        Ok(splits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_and_gaps_cover_the_text() {
        let regex = Regex::new("[a-z]+").unwrap();
        let found = (&regex).find_matches("1ab2").unwrap();
        assert_eq!(found, [((0, 1), false), ((1, 3), true), ((3, 4), false)]);
    }

    #[test]
    fn runaway_backtracking_is_an_error() {
        let regex = Regex::new(r"(?:a|aa)+(?!a)$").unwrap();
        let text = "a".repeat(60) + "b";
        assert!((&regex).find_matches(&text).is_err());
    }

    #[test]
    fn bombs_do_not_compile() {
        assert!(Regex::new("(?:(?:x{1000}){1000}){1000}").is_err());
        assert!(Regex::new(&"(".repeat(5000)).is_err());
        assert!(Regex::new(&"a".repeat(1 << 20)).is_err());
    }
}
