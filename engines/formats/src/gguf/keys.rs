//! The keys of a GGUF file under its architecture's name.

use crate::gguf::value::Metadata;
use crate::{FormatError, Result};

/// Keys under `prefix`.
pub(super) struct Keys<'a> {
    pub(super) metadata: &'a Metadata,
    pub(super) file: &'a str,
    pub(super) prefix: &'static str,
}

impl<'a> Keys<'a> {
    pub(super) fn full(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>> {
        let value = self.metadata.whole(&self.full(key))?;
        // Every size is checked against a range far below, so a value that does not fit is only made to fail there.
        Ok(value.map(|value| usize::try_from(value).unwrap_or(usize::MAX)))
    }

    pub(super) fn need(&self, key: &str) -> Result<usize> {
        self.size(key)?.ok_or_else(|| self.absent(key))
    }

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>> {
        self.metadata.float(&self.full(key))
    }

    pub(super) fn need_float(&self, key: &str) -> Result<f64> {
        self.float(key)?.ok_or_else(|| self.absent(key))
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>> {
        self.metadata.flag(&self.full(key))
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>> {
        self.metadata.text(&self.full(key))
    }

    pub(super) fn absent(&self, key: &str) -> FormatError {
        FormatError::malformed(self.file, format_args!("the key {} is missing", self.full(key)))
    }

    pub(super) fn unsupported<T>(&self, what: std::fmt::Arguments<'_>) -> Result<T> {
        Err(FormatError::unsupported(self.file, what))
    }

    pub(super) fn malformed<T>(&self, what: std::fmt::Arguments<'_>) -> Result<T> {
        Err(FormatError::malformed(self.file, what))
    }

    pub(super) fn must_equal(&self, key: &str, value: usize, what: &str) -> Result<()> {
        match self.size(key)? {
            Some(other) if other != value => {
                let key = self.full(key);
                self.malformed(format_args!("{key} is {other}, but {what} is {value}"))
            }
            _ => Ok(()),
        }
    }
}
