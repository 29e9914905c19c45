//! SentencePiece's own normalisation: its rules, then its treatment of spaces.

use super::charsmap::Charsmap;
use tokenizers::NormalizedString;

/// What stands for a space.
pub(super) const SPACE: char = '▁';

/// The steps in SentencePiece's order: rules, runs of spaces, a space in front, another character for spaces.
#[derive(Debug, Default)]
pub(super) struct Whitespace {
    pub(super) rules: Option<Charsmap>,
    /// Runs of spaces become one, and those at the ends go.
    pub(super) collapse: bool,
    /// A text that is not empty begins with a space.
    pub(super) prefix: bool,
}

impl Whitespace {
    /// How many times longer a text can become, in bytes.
    pub(super) fn growth(&self) -> u64 {
        let rules = self.rules.as_ref().map_or(1, Charsmap::growth);
        rules.saturating_mul(SPACE.len_utf8() as u64).saturating_add(u64::from(self.prefix))
    }

    /// Normalises one stretch of text. The new text is not aligned with the old one: nobody asks where it came from.
    pub(super) fn apply(&self, text: &mut NormalizedString) {
        let old = text.get();
        let new = self.normalized(old);
        let (had, has) = (old.chars().count(), new.chars().count());
        if has == 0 {
            text.transform(std::iter::empty(), had);
            return;
        }
        // The first characters take the places of the old ones; further ones are added, or further old ones removed.
        let last = has - 1;
        let change = |at: usize| match at {
            at if at >= had => 1,
            at if at == last => -(had.saturating_sub(has) as isize),
            _ => 0,
        };
        text.transform(new.chars().enumerate().map(|(at, c)| (c, change(at))), 0);
    }

    fn normalized(&self, text: &str) -> String {
        let mut rest = text;
        if self.collapse {
            while let Some((used, piece)) = self.next(rest).filter(|(_, piece)| *piece == " ") {
                debug_assert_eq!(piece.len(), 1);
                rest = &rest[used..];
            }
        }
        let mut new = String::new();
        if rest.is_empty() {
            return new;
        }
        new.reserve(rest.len() + rest.len() / 4);
        if self.prefix {
            new.push(SPACE);
        }
        let mut after_space = self.collapse;
        while let Some((used, piece)) = self.next(rest) {
            rest = &rest[used..];
            let piece = if after_space { piece.trim_start_matches(' ') } else { piece };
            if let Some(last) = piece.chars().last() {
                new.extend(piece.chars().map(|c| if c == ' ' { SPACE } else { c }));
                after_space = self.collapse && last == ' ';
            }
        }
        if self.collapse {
            new.truncate(new.trim_end_matches(SPACE).len());
        }
        new
    }

    /// The bytes that the text begins with, up to the end of a rule or a character, and what becomes of them.
    fn next<'a>(&'a self, text: &'a str) -> Option<(usize, &'a str)> {
        let width = text.chars().next()?.len_utf8();
        Some(self.rules.as_ref().and_then(|rules| rules.longest(text)).unwrap_or((width, &text[..width])))
    }
}

#[cfg(test)]
mod tests {
    use super::super::charsmap::tests::small;
    use super::*;

    fn run(steps: &Whitespace, text: &str) -> String {
        let mut normalized = NormalizedString::from(text);
        steps.apply(&mut normalized);
        assert_eq!(normalized.get(), steps.normalized(text));
        // The string's own tables are still whole: every part of it can be cut out.
        for (at, c) in normalized.get().char_indices() {
            let end = at + c.len_utf8();
            assert!(normalized.slice(tokenizers::normalizer::Range::Normalized(at..end)).is_some());
        }
        normalized.get().to_owned()
    }

    #[test]
    fn spaces_as_sentencepiece_treats_them() {
        let keep = Whitespace { prefix: true, ..Whitespace::default() };
        for (text, expected) in
            [("", ""), (" ", "▁▁"), ("a b", "▁a▁b"), (" a  b ", "▁▁a▁▁b▁"), ("\ta", "▁\ta")]
        {
            assert_eq!(run(&keep, text), expected, "{text:?}");
        }
        let collapse = Whitespace { prefix: true, collapse: true, ..Whitespace::default() };
        for (text, expected) in [("", ""), ("  ", ""), (" a  b ", "▁a▁b"), ("ab   cd", "▁ab▁cd")] {
            assert_eq!(run(&collapse, text), expected, "{text:?}");
        }
    }

    #[test]
    fn rules_come_first() {
        let rules = Some(Charsmap::parse(&small()).unwrap());
        let steps = Whitespace { rules, collapse: true, prefix: false };
        assert_eq!(run(&steps, "éa éxé é "), "bc▁x");
        assert_eq!(run(&steps, "ééé"), "");
        assert_eq!(steps.growth(), 6);
    }
}
