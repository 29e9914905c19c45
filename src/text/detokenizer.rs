//! From a stream of token ids to text, a valid piece at a time.

use super::bytes_table::BytesTable;
use super::decoding::Decoding;
use std::sync::Arc;

/// What happens to spaces at the start of a text: vocabularies that write a space before every word have one too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LeadingSpaces {
    /// They stay.
    Keep,
    /// Up to so many are dropped.
    Drop(usize),
    /// All of the first token's are dropped.
    DropFirstToken,
}

/// One request's decoder. Holds at most the bytes of one unfinished character.
#[derive(Clone, Debug)]
pub struct Detokenizer {
    table: Arc<BytesTable>,
    leading: LeadingSpaces,
    show_special: bool,
    fuses_repeats: bool,
    drops_last_space: bool,
    /// The last token that was shown.
    last: Option<u32>,
    /// A space that is text only if something follows.
    held_space: bool,
    tail: Tail,
}

/// The unfinished character at the end: `bytes[..len]` is a proper prefix of a UTF-8 sequence.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    bytes: [u8; 4],
    len: usize,
}

impl Detokenizer {
    pub(super) fn new(table: Arc<BytesTable>, decoding: &Decoding) -> Self {
        Detokenizer {
            table,
            leading: decoding.leading,
            show_special: false,
            fuses_repeats: decoding.fuses_repeats,
            drops_last_space: decoding.drops_last_space,
            last: None,
            held_space: false,
            tail: Tail::default(),
        }
    }

    /// Also shows control tokens, as the text they are written as.
    #[must_use]
    pub fn show_special(mut self) -> Self {
        self.show_special = true;
        self
    }

    /// Keeps a space at the very start, for text that goes on from earlier text.
    #[must_use]
    pub fn keep_leading_spaces(mut self) -> Self {
        self.leading = LeadingSpaces::Keep;
        self
    }

    /// Appends the text that this token completes. An id without a token, and a control token unless shown, adds nothing.
    /// Bytes that can never become valid UTF-8 turn into U+FFFD, one for each maximal invalid part.
    pub fn push(&mut self, id: u32, out: &mut String) {
        if self.table.is_special(id) && !self.show_special {
            return;
        }
        let Some(bytes) = self.table.get(id) else { return };
        if self.fuses_repeats && self.last == Some(id) {
            return;
        }
        let mut bytes = match self.table.first(id) {
            Some(first) if self.last.is_none() && self.leading != LeadingSpaces::Keep => {
                self.leading = LeadingSpaces::Keep;
                first
            }
            _ => self.leading.strip(bytes),
        };
        self.last = Some(id);
        if std::mem::take(&mut self.held_space) {
            out.push(' ');
        }
        if let (true, Some(rest)) = (self.drops_last_space, bytes.strip_suffix(b" ")) {
            self.held_space = true;
            bytes = rest;
        }
        let bytes = self.tail.complete(bytes, out);
        for chunk in bytes.utf8_chunks() {
            out.push_str(chunk.valid());
            let invalid = chunk.invalid();
            let at_end = invalid.as_ptr_range().end == bytes.as_ptr_range().end;
            if at_end && is_unfinished(invalid) {
                self.tail.bytes[..invalid.len()].copy_from_slice(invalid);
                self.tail.len = invalid.len();
            } else if !invalid.is_empty() {
                out.push(char::REPLACEMENT_CHARACTER);
            }
        }
    }

    /// Whether the text so far ends with a whole character.
    pub fn is_whole(&self) -> bool {
        self.tail.len == 0
    }

    /// Ends the text: an unfinished character becomes U+FFFD.
    pub fn finish(&mut self, out: &mut String) {
        if std::mem::take(&mut self.tail.len) > 0 {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

impl LeadingSpaces {
    /// Drops what the vocabulary put before the first word.
    pub(super) fn strip<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let spaces = || bytes.iter().take_while(|byte| **byte == b' ').count();
        let dropped = match *self {
            LeadingSpaces::Keep => return bytes,
            LeadingSpaces::Drop(most) => spaces().min(most),
            LeadingSpaces::DropFirstToken => spaces(),
        };
        *self = match *self {
            // A token of nothing but spaces leaves the rest to the next one.
            LeadingSpaces::Drop(most) if dropped == bytes.len() && most > dropped => {
                LeadingSpaces::Drop(most - dropped)
            }
            _ => LeadingSpaces::Keep,
        };
        &bytes[dropped..]
    }
}

impl Tail {
    /// Completes or rejects the held bytes with the next ones, and returns those not used.
    fn complete<'a>(&mut self, bytes: &'a [u8], out: &mut String) -> &'a [u8] {
        let mut used = 0;
        while self.len > 0 {
            let Some(byte) = bytes.get(used) else { return &[] };
            self.bytes[self.len] = *byte;
            let candidate = &self.bytes[..=self.len];
            if let Ok(text) = std::str::from_utf8(candidate) {
                out.push_str(text);
                self.len = 0;
            } else if is_unfinished(candidate) {
                self.len += 1;
            } else {
                // What was held is a maximal invalid part; the byte that ended it starts anew.
                out.push(char::REPLACEMENT_CHARACTER);
                self.len = 0;
                return &bytes[used..];
            }
            used += 1;
        }
        &bytes[used..]
    }
}

/// Whether the bytes are a proper prefix of a UTF-8 sequence.
fn is_unfinished(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::super::bytes_table::{Entry, Kind};
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    /// A table whose token `b` is the byte `b`, and 256 a control token.
    fn bytes_table(decoding: &Decoding) -> Arc<BytesTable> {
        let names: Vec<String> = (0..=255_u8).map(|byte| format!("<0x{byte:02X}>")).collect();
        let entry = |(id, token, kind, literal)| Entry { id, token, kind, literal };
        let tokens = names.iter().enumerate().map(|(id, name)| (id as u32, name.as_str(), Kind::Byte, false));
        let tokens = tokens.chain([(256, "<|end|>", Kind::Special, true), (257, "  ", Kind::Text, true)]);
        Arc::new(BytesTable::new(258, decoding, tokens.map(entry)).unwrap())
    }

    fn detokenizer(leading: LeadingSpaces) -> Detokenizer {
        let decoding = Decoding::pieces(leading);
        Detokenizer::new(bytes_table(&decoding), &decoding)
    }

    fn decode(ids: impl IntoIterator<Item = u32>, leading: LeadingSpaces) -> String {
        let mut detokenizer = detokenizer(leading);
        let mut out = String::new();
        for id in ids {
            detokenizer.push(id, &mut out);
            assert!(detokenizer.tail.len < 4);
        }
        detokenizer.finish(&mut out);
        out
    }

    #[test]
    fn a_character_split_over_tokens_comes_whole() {
        let mut detokenizer = detokenizer(LeadingSpaces::Keep);
        let mut out = String::new();
        for (byte, expected) in "🦀".bytes().zip(["", "", "", "🦀"]) {
            detokenizer.push(byte.into(), &mut out);
            assert_eq!(out, expected);
        }
    }

    #[test]
    fn control_tokens_are_hidden_unless_shown() {
        assert_eq!(decode([65, 256, 66, 9999], LeadingSpaces::Keep), "AB");
        let mut shown = detokenizer(LeadingSpaces::Keep).show_special();
        let mut out = String::new();
        shown.push(256, &mut out);
        assert_eq!(out, "<|end|>");
    }

    #[test]
    fn leading_spaces() {
        let ids = [257, 32, 65, 32, 66];
        assert_eq!(decode(ids, LeadingSpaces::Keep), "   A B");
        assert_eq!(decode(ids, LeadingSpaces::Drop(1)), "  A B");
        assert_eq!(decode(ids, LeadingSpaces::Drop(3)), "A B");
        assert_eq!(decode(ids, LeadingSpaces::DropFirstToken), " A B");
    }

    /// Words decoded one by one are what the crate makes of all together.
    #[test]
    fn word_decoders_equal_the_crate() {
        use tokenizers::Decoder;
        let words = ["▁▁x▁y", "##ing", "▁", "go", "x</w>", "<pad>", "l", "|", ".", "▁z</w>"];
        for json in [
            json!({"type": "WordPiece", "prefix": "##", "cleanup": true}),
            json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": true}),
            json!({"type": "BPEDecoder", "suffix": "</w>"}),
            json!({"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": true}),
        ] {
            let decoding = Decoding::from_json(&json, false).unwrap();
            let theirs: tokenizers::DecoderWrapper = serde_json::from_value(json).unwrap();
            let entry = |(id, token): (usize, &&'static str)| Entry {
                id: id as u32,
                token,
                kind: Kind::Text,
                literal: false,
            };
            let table = BytesTable::new(10, &decoding, words.iter().enumerate().map(entry)).unwrap();
            let table = Arc::new(table);
            for first in 0..words.len() {
                for second in 0..words.len() {
                    let ids = [first, second, second, first, 3];
                    let mut ours = Detokenizer::new(Arc::clone(&table), &decoding);
                    let mut text = String::new();
                    ids.iter().for_each(|id| ours.push(*id as u32, &mut text));
                    ours.finish(&mut text);
                    let all = ids.iter().map(|id| words[*id].to_owned()).collect();
                    assert_eq!(text, theirs.decode(all).unwrap(), "{decoding:?} {ids:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn equals_lossy_decoding_of_the_whole(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let ids = bytes.iter().map(|byte| u32::from(*byte));
            prop_assert_eq!(decode(ids, LeadingSpaces::Keep), String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn equals_lossy_decoding_near_utf8(text in "\\PC{0,12}", cut in 0_usize..40) {
            let bytes = &text.as_bytes()[cut.min(text.len())..];
            let ids = bytes.iter().map(|byte| u32::from(*byte));
            prop_assert_eq!(decode(ids, LeadingSpaces::Keep), String::from_utf8_lossy(bytes));
        }
    }
}
