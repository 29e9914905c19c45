//! What can be wrong with a model file, in words that are safe to log.

use std::fmt::{self, Display, Write};
use std::path::Path;

/// Text from outside (a name, a path, another library's message), made safe to show: control and invisible
/// formatting characters are escaped and at most [`Text::LIMIT`] characters are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text(String);

impl Text {
    /// The most characters a text keeps; what was cut is marked with an ellipsis.
    pub const LIMIT: usize = 400;

    /// Formats `shown`, stopping at the limit, so a huge input costs no more than a short one.
    pub fn new(shown: impl Display) -> Self {
        let mut clip = Clip { out: String::new(), left: Self::LIMIT };
        // The only error is the clip's own "enough".
        if write!(clip, "{shown}").is_err() {
            clip.out.push('…');
        }
        Self(clip.out)
    }

    /// The safe text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

struct Clip {
    out: String,
    left: usize,
}

impl Write for Clip {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            self.left = self.left.checked_sub(1).ok_or(fmt::Error)?;
            if must_escape(c) {
                write!(self.out, "{}", c.escape_unicode())?;
            } else {
                self.out.push(c);
            }
        }
        Ok(())
    }
}

/// Control characters, and the invisible ones that reorder or hide the text around them.
fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Why a model cannot be opened. Every text is bounded and free of control characters.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The operating system refused a read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: Text,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Something that must be there is not.
    #[error("{path}: {what}")]
    Missing {
        /// Where it was looked for.
        path: Text,
        /// What is absent, and what to do about it.
        what: Text,
    },
    /// The file contradicts its format or itself.
    #[error("{file} is malformed: {what}")]
    Malformed {
        /// The file.
        file: Text,
        /// The contradiction.
        what: Text,
    },
    /// A sound file of a kind that is not supported.
    #[error("{file} is not supported: {what}")]
    Unsupported {
        /// The file.
        file: Text,
        /// The feature, by name.
        what: Text,
    },
    /// A size beyond a fixed limit.
    #[error("{file}: {what} is {size}; the limit is {limit}")]
    TooLarge {
        /// The file.
        file: Text,
        /// What is too large, with its unit.
        what: Text,
        /// Its size.
        size: u64,
        /// The largest that is accepted.
        limit: u64,
    },
    /// A tensor the model needs is absent.
    #[error("tensor {tensor} of shape {expected:?} is missing")]
    TensorMissing {
        /// Its name in Hugging Face's convention.
        tensor: Text,
        /// The shape it should have, outermost dimension first.
        expected: Vec<u64>,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {tensor} has shape {found:?}; the configuration makes it {expected:?}")]
    Shape {
        /// Its name in Hugging Face's convention.
        tensor: Text,
        /// The shape it should have, outermost dimension first.
        expected: Vec<u64>,
        /// The shape in the file.
        found: Vec<u64>,
    },
    /// A tensor this architecture has no use for: the model would compute something else than its authors meant.
    #[error("tensor {tensor} is not part of a {architecture} model of this configuration")]
    TensorUnexpected {
        /// Its name.
        tensor: Text,
        /// The architecture's name.
        architecture: &'static str,
    },
    /// A file is no longer the one that was described.
    #[error("{path} changed after it was opened")]
    Changed {
        /// The file.
        path: Text,
    },
    /// The host has no memory for a description of this size.
    #[error("no memory for {bytes} bytes of {what}")]
    OutOfMemory {
        /// What the bytes were for.
        what: &'static str,
        /// How many were asked for.
        bytes: u64,
    },
}

impl FormatError {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        Self::Io { path: Text::new(path.display()), source }
    }

    pub(crate) fn missing(path: &Path, what: impl Display) -> Self {
        Self::Missing { path: Text::new(path.display()), what: Text::new(what) }
    }

    pub(crate) fn malformed(file: &str, what: impl Display) -> Self {
        Self::Malformed { file: Text::new(file), what: Text::new(what) }
    }

    pub(crate) fn unsupported(file: &str, what: impl Display) -> Self {
        Self::Unsupported { file: Text::new(file), what: Text::new(what) }
    }

    pub(crate) fn too_large(file: &str, what: impl Display, size: u64, limit: u64) -> Self {
        Self::TooLarge { file: Text::new(file), what: Text::new(what), size, limit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_bounded_and_escaped() {
        let text = Text::new("a\u{1b}[2Jb\u{202e}\0\n");
        assert_eq!(text.as_str(), "a\\u{1b}[2Jb\\u{202e}\\u{0}\\u{a}");
        let long = Text::new("\u{7}".repeat(1 << 20));
        assert!(long.as_str().len() < 8 * Text::LIMIT);
        assert!(long.as_str().ends_with('…'));
    }

    #[test]
    fn errors_name_their_file_and_reason() {
        let error = FormatError::malformed("m.gguf", format_args!("key {:?} appears twice", "a"));
        assert_eq!(error.to_string(), "m.gguf is malformed: key \"a\" appears twice");
    }
}
