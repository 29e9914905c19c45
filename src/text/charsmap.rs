//! SentencePiece's compiled normalisation rules: a double array of the texts to be replaced, and their replacements.
//!
//! A double array is a trie in one table, which may share its ends. A unit's low byte is the label it is reached by; exclusive-or of its place, its
//! offset and a label is the place of the child. A text that ends at a unit has its value, a place among the
//! replacements, at the child of label 0.

use super::error::TextError;
use std::collections::VecDeque;

/// Largest rules, in bytes. SentencePiece's own have about 240 KB.
const MAX_BYTES: usize = 1 << 20;

/// Longest text that a rule replaces, in bytes: a table can lead in a circle. Those of SentencePiece have about 20.
const MAX_KEY: usize = 64;

/// Marks a unit that is a value.
const VALUE: u32 = 1 << 31;

/// The rules: checked, so that no walk leaves the table.
#[derive(Debug)]
pub(super) struct Charsmap {
    units: Vec<u32>,
    replacements: String,
    growth: u64,
}

impl Charsmap {
    /// Parses the rules: the length of the table in bytes, the table, the replacements, each with a NUL at its end.
    ///
    /// # Errors
    /// [`TextError::Tokenizer`], [`TextError::TooLarge`].
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TextError> {
        let fault = |what: &str| TextError::Tokenizer(format!("normalisation rules: {what}"));
        if bytes.len() > MAX_BYTES {
            let (got, limit) = (bytes.len() as u64, MAX_BYTES as u64);
            return Err(TextError::TooLarge { what: "bytes of normalisation rules", got, limit });
        }
        let (length, rest) = bytes.split_first_chunk().ok_or_else(|| fault("they are cut short"))?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > rest.len() || !length.is_multiple_of(4) || length == 0 {
            return Err(fault("their table is not in them"));
        }
        let (table, replacements) = rest.split_at(length);
        let units =
            table.chunks_exact(4).map(|unit| u32::from_le_bytes([unit[0], unit[1], unit[2], unit[3]]));
        let replacements =
            String::from_utf8(replacements.to_vec()).map_err(|_| fault("a replacement is not UTF-8"))?;
        let mut rules = Charsmap { units: units.collect(), replacements, growth: 1 };
        rules.check().map_err(fault)?;
        Ok(rules)
    }

    /// Walks the whole table: that every place in it is there. The shortest way to each unit comes first.
    fn check(&mut self) -> Result<(), &'static str> {
        let mut seen = vec![false; self.units.len()];
        let mut open = VecDeque::from([(0, 0)]);
        while let Some((at, depth)) = open.pop_front() {
            if std::mem::replace(&mut seen[at], true) {
                continue;
            }
            let base = at ^ offset(self.units[at]);
            if base | 0xFF >= self.units.len() {
                return Err("their table points outside of itself");
            }
            if depth > 0 && has_value(self.units[at]) {
                let replacement = self.replacement(base).ok_or("a replacement is not there")?;
                self.growth = self.growth.max(replacement.len().div_ceil(depth) as u64);
            }
            for label in 1..=0xFF {
                if self.units[base ^ label] & (VALUE | 0xFF) == label as u32 && !seen[base ^ label] {
                    open.push_back((base ^ label, depth + 1));
                }
            }
        }
        Ok(())
    }

    /// The replacement whose place is the value at `at`.
    fn replacement(&self, at: usize) -> Option<&str> {
        let start = (self.units.get(at)? & !VALUE) as usize;
        let text = self.replacements.get(start..)?;
        text.find('\0').map(|end| &text[..end])
    }

    /// How many times longer a text can become.
    pub(super) fn growth(&self) -> u64 {
        self.growth
    }

    /// The longest text to be replaced that `text` begins with: its bytes, and what replaces it.
    pub(super) fn longest(&self, text: &str) -> Option<(usize, &str)> {
        let mut base = offset(self.units[0]);
        let mut found = None;
        for (read, byte) in text.bytes().take(MAX_KEY).enumerate().take_while(|(_, byte)| *byte != 0) {
            let at = base ^ byte as usize;
            let unit = self.units[at];
            if unit & (VALUE | 0xFF) != u32::from(byte) {
                break;
            }
            base = at ^ offset(unit);
            // A rule that ends inside a character is none.
            if has_value(unit) && text.is_char_boundary(read + 1) {
                found = self.replacement(base).map(|replacement| (read + 1, replacement));
            }
        }
        found
    }
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

fn has_value(unit: u32) -> bool {
    unit & (VALUE | 1 << 8) == 1 << 8
}

/// Decodes base64 with padding, as tokenizer.json writes the rules.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let digits = text.trim_end_matches('=');
    if !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 || text.len() > MAX_BYTES * 2 {
        return None;
    }
    let mut bytes = Vec::with_capacity(digits.len() / 4 * 3 + 3);
    for group in digits.as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for byte in group {
            bits = bits << 6 | u32::from(digit(*byte)?);
        }
        bits <<= 6 * (4 - group.len());
        bytes.extend_from_slice(&bits.to_be_bytes()[1..group.len()]);
    }
    Some(bytes)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Rules that replace `a` by `bc` and `é` by nothing. The root's children are in the second block of units, theirs in
    /// the third, the values in the first.
    pub(in super::super) fn small() -> Vec<u8> {
        let mut units = vec![0_u32; 768];
        units[0] = 256 << 10;
        let mut node = |at: u32, base: u32, value: u32| {
            let label = at & 0xFF;
            units[at as usize] = (at ^ base) << 10 | value << 8 | label;
        };
        node(256 ^ 0x61, 1, 1);
        node(256 ^ 0xC3, 512, 0);
        node(512 ^ 0xA9, 2, 1);
        units[1] = VALUE;
        units[2] = VALUE | 3;
        let mut bytes = (units.len() as u32 * 4).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend_from_slice(b"bc\0\0");
        bytes
    }

    #[test]
    fn the_longest_rule_is_found() {
        let rules = Charsmap::parse(&small()).unwrap();
        assert_eq!(rules.longest("ab"), Some((1, "bc")));
        assert_eq!(rules.longest("é"), Some((2, "")));
        assert_eq!(rules.longest("b"), None);
        assert_eq!(rules.longest("\0"), None);
        assert_eq!(rules.longest("ã"), None);
        assert_eq!(rules.growth(), 2);
    }

    #[test]
    fn every_truncation_and_every_wrong_unit_is_safe() {
        let whole = small();
        for end in 0..whole.len() {
            assert!(Charsmap::parse(&whole[..end]).is_err(), "{end}");
        }
        for at in 0..770 {
            for byte in [0, 1, 0x7F, 0xFF] {
                let mut bytes = whole.clone();
                bytes[at * 4 % whole.len()] ^= byte;
                bytes[(at * 4 + 2) % whole.len()] ^= byte;
                if let Ok(rules) = Charsmap::parse(&bytes) {
                    for text in ["a", "é", "\u{ffff}", "xyz"] {
                        rules.longest(text);
                    }
                }
            }
        }
    }

    #[test]
    fn base64_of_all_lengths() {
        for (text, bytes) in
            [("", &b""[..]), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9v", b"foo"), ("+/+/", b"\xFB\xFF\xBF")]
        {
            assert_eq!(base64(text).as_deref(), Some(bytes), "{text}");
        }
        for bad in ["Z", "Zg=", "Zg===", "Zm9!", "Z===", "===="] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }
}
