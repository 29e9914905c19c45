//! What can go wrong with text, and how untrusted words are shown in messages.

/// Most bytes of an untrusted string that an error message repeats.
const MAX_QUOTED: usize = 120;

/// A tokenizer, a template or a text was refused. Messages are bounded and escaped: they may go to a log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// A size is over its limit.
    #[error("{what}: {got} is over the limit of {limit}")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// The size found.
        got: u64,
        /// The largest size taken.
        limit: u64,
    },
    /// A tokenizer's files contradict themselves or cannot be parsed.
    #[error("tokenizer: {0}")]
    Tokenizer(String),
    /// A well-formed part that this library does not implement.
    #[error("{what} `{name}` is not supported")]
    Unsupported {
        /// The kind of part.
        what: &'static str,
        /// Its name in the file.
        name: String,
    },
    /// This text cannot be split by the tokenizer's patterns within their limits, or has no tokens for a part of it.
    #[error("the text cannot be tokenised: {0}")]
    Encode(String),
    /// JSON that is none, or none of the kind that is needed.
    #[error("{what}: {message}")]
    Json {
        /// What it should be.
        what: &'static str,
        /// The fault, with line and column, both counted from 1.
        message: String,
    },
    /// Stop strings out of bounds.
    #[error("stop strings: {0}")]
    Stop(&'static str),
    /// The system refuses memory.
    #[error("the system has no memory for {0}")]
    NoMemory(&'static str),
    /// A chat template has a fault, at a line counted from 1.
    #[error("chat template, line {line}: {message}")]
    Template {
        /// Line of the template's source.
        line: u32,
        /// The fault.
        message: String,
    },
    /// The template itself refused the conversation (`raise_exception`).
    #[error("the chat template refused the messages: {0}")]
    Raised(String),
    /// A chat template needs more steps or more memory than it is given.
    #[error("chat template, line {line}: {limit} exhausted")]
    TemplateLimit {
        /// Line of the template's source, counted from 1.
        line: u32,
        /// Which limit.
        limit: &'static str,
    },
}

/// An untrusted string as it may be shown: quoted, control characters escaped, cut after [`MAX_QUOTED`] bytes.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown = String::from("`");
    for c in text.chars() {
        if shown.len() > MAX_QUOTED {
            shown.push('…');
            break;
        }
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown.push('`');
    shown
}

/// The message of a foreign error, without quotes, bounded and escaped like [`quoted`].
pub(crate) fn foreign(error: &dyn std::fmt::Display) -> String {
    let shown = quoted(&error.to_string());
    shown.trim_matches('`').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_escapes_and_cuts() {
        assert_eq!(quoted("a\x1b[31mb"), "`a\\u{1b}[31mb`");
        assert!(quoted(&"x".repeat(10_000)).len() < MAX_QUOTED + 16);
    }
}
