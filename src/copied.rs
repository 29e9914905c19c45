//! Copies of text, of which there may be much, so that a machine without memory for one says so.

use crate::error::{Error, Result};

/// A copy of a text.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn copied(text: &str) -> Result<String> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len())
        .map_err(|_| Error::no_memory("the system has no memory for a copy of the text"))?;
    copy.push_str(text);
    Ok(copy)
}
