//! From token id to the bytes it stands for: one block of bytes and one of offsets.

use super::bpe::MAX_VOCAB;
use super::decoding::{Decoding, Spelled, byte_token};
use super::error::{TextError, quoted};

/// What an id is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// No token has this id.
    Absent,
    /// Text.
    Text,
    /// Bytes of text, spelled `<0xNN>`.
    Byte,
    /// A control token, not text.
    Special,
    /// Text that the vocabulary has no token for.
    Unknown,
}

/// The bytes of every token of a vocabulary.
#[derive(Debug)]
pub struct BytesTable {
    bytes: Vec<u8>,
    /// Token `id` is `bytes[offsets[id]..offsets[id + 1]]`.
    offsets: Vec<u32>,
    kinds: Vec<Kind>,
    /// What a token is at the start of a text, where dropping spaces does not give it; sorted by id.
    firsts: Vec<(u32, Box<[u8]>)>,
    longest: usize,
}

/// A token of a vocabulary.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub(super) id: u32,
    /// As the vocabulary spells it.
    pub(super) token: &'a str,
    pub(super) kind: Kind,
    /// It stands for itself: nothing is decoded.
    pub(super) literal: bool,
}

impl BytesTable {
    /// Builds the table. An id given twice keeps the last entry.
    ///
    /// # Errors
    /// [`TextError::TooLarge`] for ids or bytes out of bounds, [`TextError::Tokenizer`] for a malformed byte token.
    pub(super) fn new<'a>(
        size: u32,
        decoding: &Decoding,
        tokens: impl Iterator<Item = Entry<'a>>,
    ) -> Result<Self, TextError> {
        let too_large = |what, got: usize, limit: u32| {
            Err(TextError::TooLarge { what, got: got as u64, limit: limit.into() })
        };
        if size > MAX_VOCAB {
            return too_large("vocabulary size", size as usize, MAX_VOCAB);
        }
        let mut entries = vec![None; size as usize];
        for token in tokens {
            match entries.get_mut(token.id as usize) {
                Some(entry) => *entry = Some(token),
                None => return too_large("token id", token.id as usize, size),
            }
        }
        let mut table = BytesTable {
            bytes: Vec::new(),
            offsets: Vec::with_capacity(entries.len() + 1),
            kinds: Vec::with_capacity(entries.len()),
            firsts: Vec::new(),
            longest: 0,
        };
        table.offsets.push(0);
        for entry in entries {
            let start = table.bytes.len();
            let kind = match entry {
                None => Kind::Absent,
                Some(entry) => table.push(entry, decoding)?,
            };
            table.kinds.push(kind);
            table.longest = table.longest.max(table.bytes.len() - start);
            match u32::try_from(table.bytes.len()) {
                Ok(end) => table.offsets.push(end),
                Err(_) => return too_large("bytes of a vocabulary", table.bytes.len(), u32::MAX),
            }
        }
        table.bytes.shrink_to_fit();
        Ok(table)
    }

    fn push(&mut self, entry: Entry<'_>, decoding: &Decoding) -> Result<Kind, TextError> {
        let Entry { id, token, kind, literal } = entry;
        if literal {
            self.bytes.extend_from_slice(token.as_bytes());
            return Ok(kind);
        }
        if kind == Kind::Byte {
            let byte = byte_token(token)
                .ok_or_else(|| TextError::Tokenizer(format!("{} is not a byte token", quoted(token))))?;
            self.bytes.push(byte);
            return Ok(Kind::Byte);
        }
        match decoding.spell(token, false)? {
            Spelled::Byte(byte) => {
                self.bytes.push(byte);
                // A control token stays one, whatever it looks like.
                Ok(if kind == Kind::Text { Kind::Byte } else { kind })
            }
            Spelled::Text(bytes) => {
                let mut leading = decoding.leading;
                if decoding.knows_first()
                    && let Spelled::Text(first) = decoding.spell(token, true)?
                    && first != leading.strip(&bytes)
                {
                    self.firsts.push((id, first.into()));
                }
                self.bytes.extend_from_slice(&bytes);
                Ok(kind)
            }
        }
    }

    /// What the token is at the start of a text, where that is not what dropping spaces gives.
    pub(super) fn first(&self, id: u32) -> Option<&[u8]> {
        let at = self.firsts.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        Some(&self.firsts[at].1)
    }

    /// One more than the largest id.
    pub fn vocab_size(&self) -> u32 {
        self.kinds.len() as u32
    }

    /// The bytes of a token, or `None` if no token has this id. Control tokens give the text they are written as.
    pub fn get(&self, id: u32) -> Option<&[u8]> {
        let index = id as usize;
        if *self.kinds.get(index)? == Kind::Absent {
            return None;
        }
        let (start, end) = (self.offsets[index] as usize, self.offsets[index + 1] as usize);
        self.bytes.get(start..end)
    }

    /// Whether the id is a control token: not text, hidden from a reader.
    pub fn is_special(&self, id: u32) -> bool {
        self.kinds.get(id as usize) == Some(&Kind::Special)
    }

    /// What the id is.
    pub(super) fn kind(&self, id: u32) -> Kind {
        self.kinds.get(id as usize).copied().unwrap_or(Kind::Absent)
    }

    /// Bytes of the longest token: no token adds more than this to a text.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Heap bytes of the table.
    pub fn heap_bytes(&self) -> usize {
        let firsts: usize = self.firsts.iter().map(|(_, bytes)| bytes.len()).sum();
        self.bytes.capacity()
            + self.offsets.capacity() * size_of::<u32>()
            + self.kinds.capacity()
            + self.firsts.capacity() * size_of::<(u32, Box<[u8]>)>()
            + firsts
    }
}

#[cfg(test)]
mod tests {
    use super::super::detokenizer::LeadingSpaces;
    use super::*;

    fn entries<'a>(tokens: &[(u32, &'a str, Kind, bool)]) -> Vec<Entry<'a>> {
        tokens.iter().map(|&(id, token, kind, literal)| Entry { id, token, kind, literal }).collect()
    }

    fn pieces() -> Decoding {
        Decoding::pieces(LeadingSpaces::Keep)
    }

    #[test]
    fn byte_level() {
        let tokens =
            [(0, "ĠHelloĊ", Kind::Text, false), (1, "Ã©", Kind::Text, false), (3, "日", Kind::Text, false)];
        let table = BytesTable::new(4, &Decoding::byte_level(), entries(&tokens).into_iter()).unwrap();
        assert_eq!(table.get(0), Some(&b" Hello\n"[..]));
        assert_eq!(table.get(1), Some("é".as_bytes()));
        assert_eq!(table.get(2), None);
        assert_eq!(table.get(3), Some("日".as_bytes()));
        assert_eq!((table.get(4), table.vocab_size(), table.longest()), (None, 4, 7));
    }

    #[test]
    fn pieces_and_byte_tokens() {
        let tokens = [
            (0, "▁the▁", Kind::Text, false),
            (1, "<0xE9>", Kind::Text, false),
            (2, "<0xZZ>", Kind::Text, false),
            (3, "▁", Kind::Special, true),
        ];
        let table = BytesTable::new(4, &pieces(), entries(&tokens).into_iter()).unwrap();
        assert_eq!(table.get(0), Some(&b" the "[..]));
        assert_eq!(table.get(1), Some(&[0xE9][..]));
        assert_eq!(table.get(2), Some(&b"<0xZZ>"[..]));
        assert_eq!(table.get(3), Some("▁".as_bytes()));
        assert!(table.is_special(3) && !table.is_special(0) && !table.is_special(99));
    }

    #[test]
    fn malformed_byte_tokens_and_wild_ids_are_refused() {
        for token in ["<0x-1>", "<0x100>", "<0xZZ>", "<0x1>", "x"] {
            let tokens = entries(&[(0, token, Kind::Byte, false)]);
            assert!(BytesTable::new(1, &pieces(), tokens.into_iter()).is_err(), "{token}");
        }
        let tokens = entries(&[(7, "x", Kind::Text, false)]);
        assert!(BytesTable::new(7, &pieces(), tokens.into_iter()).is_err());
        assert!(BytesTable::new(MAX_VOCAB + 1, &pieces(), std::iter::empty()).is_err());
    }
}
