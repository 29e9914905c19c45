//! What a plug-in says of itself, checked.

use crate::PluginError;
use crate::abi::plimsoll_engine_description;
use plimsoll_engine::{Capabilities, Region};

/// The longest context and the largest vocabulary: sums and products of either fit in 64 bits.
const MOST: u32 = 1 << 30;
const MOST_SEQUENCES: u32 = 1 << 16;
const LONGEST_NAME: usize = 64;
/// More than any machine has, and far from overflow.
const MOST_BYTES: u64 = 1 << 60;

/// What an engine is, and what it holds besides its requests.
#[derive(Clone, Debug)]
pub struct Description {
    /// What it is and can do.
    pub capabilities: Capabilities,
    /// Bytes of its weights, to be leased before it is loaded.
    pub weights_bytes: u64,
    /// Bytes of its workspace, likewise.
    pub workspace_bytes: u64,
}

impl Description {
    /// Checks what `describe` wrote.
    ///
    /// # Safety
    /// `name` is NULL or has `name_len` readable bytes.
    pub(crate) unsafe fn checked(raw: &plimsoll_engine_description) -> Result<Description, PluginError> {
        let wrong = |what, value: String, range| PluginError::Description { what, value, range };
        let number = |what, value: u32, most: u32, range| match (1..=most).contains(&value) {
            true => Ok(()),
            false => Err(wrong(what, value.to_string(), range)),
        };
        number("context_length", raw.context_length, MOST, "from 1 to 2^30")?;
        number("vocab_size", raw.vocab_size, MOST, "from 1 to 2^30")?;
        number("block_tokens", raw.block_tokens, raw.context_length, "from 1 to context_length")?;
        number("max_sequences", raw.max_sequences, MOST_SEQUENCES, "from 1 to 65536")?;
        for (what, bytes) in [("weights_bytes", raw.weights_bytes), ("workspace_bytes", raw.workspace_bytes)]
        {
            if bytes > MOST_BYTES {
                return Err(wrong(what, bytes.to_string(), "at most 2^60"));
            }
        }
        if raw.name.is_null() || !(1..=LONGEST_NAME).contains(&raw.name_len) {
            return Err(wrong("name_len", raw.name_len.to_string(), "from 1 to 64, with a name"));
        }
        // SAFETY: not NULL, at most 64 bytes, and the caller's promise.
        let name = unsafe { std::slice::from_raw_parts(raw.name.cast::<u8>(), raw.name_len) };
        let name = match std::str::from_utf8(name) {
            Ok(name) if !name.chars().any(char::is_control) => name.to_owned(),
            _ => return Err(wrong("name", String::from_utf8_lossy(name).into_owned(), "printable UTF-8")),
        };
        Ok(Description {
            capabilities: Capabilities {
                name,
                context_length: raw.context_length,
                vocab_size: raw.vocab_size,
                block_tokens: raw.block_tokens,
                kv_region: Region::Host,
                max_sequences: raw.max_sequences,
            },
            weights_bytes: raw.weights_bytes,
            workspace_bytes: raw.workspace_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_that_make_no_sense_are_named() {
        let good = plimsoll_engine_description {
            struct_size: size_of::<plimsoll_engine_description>(),
            context_length: 100,
            vocab_size: 10,
            block_tokens: 100,
            max_sequences: 1,
            weights_bytes: 0,
            workspace_bytes: 0,
            name: c"a".as_ptr(),
            name_len: 1,
        };
        // SAFETY: names are literals here and below.
        assert!(unsafe { Description::checked(&good) }.is_ok());
        type Spoil = fn(&mut plimsoll_engine_description);
        let cases: [(&str, Spoil); 13] = [
            ("context_length", |d| d.context_length = 0),
            ("context_length", |d| d.context_length = u32::MAX),
            ("vocab_size", |d| d.vocab_size = 0),
            ("vocab_size", |d| d.vocab_size = MOST + 1),
            ("block_tokens", |d| d.block_tokens = 0),
            ("block_tokens", |d| d.block_tokens = 101),
            ("max_sequences", |d| d.max_sequences = 0),
            ("max_sequences", |d| d.max_sequences = u32::MAX),
            ("weights_bytes", |d| d.weights_bytes = u64::MAX),
            ("workspace_bytes", |d| d.workspace_bytes = u64::MAX),
            ("name_len", |d| d.name = std::ptr::null()),
            ("name_len", |d| d.name_len = usize::MAX),
            ("name", |d| d.name = c"\x1b".as_ptr()),
        ];
        for (wanted, spoil) in cases {
            let mut spoilt = good;
            spoil(&mut spoilt);
            // SAFETY: as above.
            let found = unsafe { Description::checked(&spoilt) };
            assert!(
                matches!(found, Err(PluginError::Description { what, .. }) if what == wanted),
                "{wanted}: {found:?}"
            );
        }
    }
}
