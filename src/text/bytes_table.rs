//! From token id to the bytes it stands for: one block of bytes and one of offsets.

use super::bpe::MAX_VOCAB;
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
}

/// How a vocabulary spells bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spelling {
    /// Each byte is one printable character, as in GPT-2.
    ByteLevel,
    /// Text with `▁` for a space, and `<0xNN>` for bytes without a token.
    Pieces,
}

/// The bytes of every token of a vocabulary.
#[derive(Debug)]
pub struct BytesTable {
    bytes: Vec<u8>,
    /// Token `id` is `bytes[offsets[id]..offsets[id + 1]]`.
    offsets: Vec<u32>,
    kinds: Vec<Kind>,
    longest: usize,
}

impl BytesTable {
    /// Builds the table. Each entry is an id, the token as spelled and its kind; literal entries (added tokens) stand for
    /// themselves. An id given twice keeps the last entry.
    ///
    /// # Errors
    /// [`TextError::TooLarge`] for ids or bytes out of bounds, [`TextError::Tokenizer`] for a malformed byte token.
    pub(super) fn new<'a>(
        size: u32,
        spelling: Spelling,
        tokens: impl Iterator<Item = (u32, &'a str, Kind, bool)>,
    ) -> Result<Self, TextError> {
        let too_large = |what, got: usize, limit: u32| {
            Err(TextError::TooLarge { what, got: got as u64, limit: limit.into() })
        };
        if size > MAX_VOCAB {
            return too_large("vocabulary size", size as usize, MAX_VOCAB);
        }
        let mut entries = vec![None; size as usize];
        for (id, token, kind, literal) in tokens {
            match entries.get_mut(id as usize) {
                Some(entry) => *entry = Some((token, kind, literal)),
                None => return too_large("token id", id as usize, size),
            }
        }
        let decode = decoder();
        let mut table = BytesTable {
            bytes: Vec::new(),
            offsets: Vec::with_capacity(entries.len() + 1),
            kinds: Vec::with_capacity(entries.len()),
            longest: 0,
        };
        table.offsets.push(0);
        for entry in entries {
            let start = table.bytes.len();
            let kind = match entry {
                None => Kind::Absent,
                Some((token, kind, true)) => {
                    table.bytes.extend_from_slice(token.as_bytes());
                    kind
                }
                Some((token, kind, false)) => table.push_spelled(token, kind, spelling, &decode)?,
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

    fn push_spelled(
        &mut self,
        token: &str,
        kind: Kind,
        spelling: Spelling,
        decode: &[Option<u8>; DECODED],
    ) -> Result<Kind, TextError> {
        if kind == Kind::Byte || (kind == Kind::Text && spelling == Spelling::Pieces) {
            match (byte_token(token), kind) {
                (Some(byte), _) => {
                    self.bytes.push(byte);
                    return Ok(Kind::Byte);
                }
                (None, Kind::Byte) => {
                    return Err(TextError::Tokenizer(format!("{} is not a byte token", quoted(token))));
                }
                (None, _) => {}
            }
        }
        let start = self.bytes.len();
        match spelling {
            Spelling::ByteLevel => {
                for c in token.chars() {
                    match decode.get(c as usize).copied().flatten() {
                        Some(byte) => self.bytes.push(byte),
                        // Not byte-level text: the token stands for itself, as in the reference decoder.
                        None => {
                            self.bytes.truncate(start);
                            self.bytes.extend_from_slice(token.as_bytes());
                            break;
                        }
                    }
                }
            }
            Spelling::Pieces => {
                for c in token.chars() {
                    let c = if c == '▁' { ' ' } else { c };
                    self.bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                }
            }
        }
        Ok(kind)
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

    /// Bytes of the longest token: no token adds more than this to a text.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Heap bytes of the table.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.capacity() + self.offsets.capacity() * size_of::<u32>() + self.kinds.capacity()
    }
}

/// The byte of a token spelled `<0xNN>`, two hexadecimal digits exactly.
fn byte_token(token: &str) -> Option<u8> {
    match token.as_bytes() {
        [b'<', b'0', b'x', high, low, b'>'] => {
            let (high, low) = ((*high as char).to_digit(16)?, (*low as char).to_digit(16)?);
            u8::try_from(high * 16 + low).ok()
        }
        _ => None,
    }
}

/// Characters that stand for bytes are below this.
const DECODED: usize = 0x144;

/// The byte of each character of byte-level text: printable Latin-1 stands for itself, the other 68 bytes take the
/// characters from U+0100 on, in order.
fn decoder() -> [Option<u8>; DECODED] {
    let mut table = [None; DECODED];
    let mut next = 0x100;
    for byte in 0..=255_u8 {
        if matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF) {
            table[byte as usize] = Some(byte);
        } else {
            table[next] = Some(byte);
            next += 1;
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_level_spells_every_byte_once() {
        let mut bytes: Vec<u8> = decoder().iter().filter_map(|byte| *byte).collect();
        bytes.sort_unstable();
        assert!(bytes.iter().copied().eq(0..=255));
        let tokens =
            [(0, "ĠHelloĊ", Kind::Text, false), (1, "Ã©", Kind::Text, false), (3, "日", Kind::Text, false)];
        let table = BytesTable::new(4, Spelling::ByteLevel, tokens.into_iter()).unwrap();
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
        let table = BytesTable::new(4, Spelling::Pieces, tokens.into_iter()).unwrap();
        assert_eq!(table.get(0), Some(&b" the "[..]));
        assert_eq!(table.get(1), Some(&[0xE9][..]));
        assert_eq!(table.get(2), Some(&b"<0xZZ>"[..]));
        assert_eq!(table.get(3), Some("▁".as_bytes()));
        assert!(table.is_special(3) && !table.is_special(0) && !table.is_special(99));
    }

    #[test]
    fn malformed_byte_tokens_and_wild_ids_are_refused() {
        for token in ["<0x-1>", "<0x100>", "<0xZZ>", "<0x1>", "x"] {
            let tokens = [(0, token, Kind::Byte, false)];
            assert!(BytesTable::new(1, Spelling::ByteLevel, tokens.into_iter()).is_err(), "{token}");
        }
        let tokens = [(7, "x", Kind::Text, false)];
        assert!(BytesTable::new(7, Spelling::ByteLevel, tokens.into_iter()).is_err());
        assert!(BytesTable::new(MAX_VOCAB + 1, Spelling::ByteLevel, std::iter::empty()).is_err());
    }
}
