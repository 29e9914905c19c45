//! Control tokens written in a text: by the chat template, which means them, or by a message, which only spells them.

use std::collections::HashSet;
use std::ops::Range;

/// The control tokens of a vocabulary, as they are written.
#[derive(Clone, Debug, Default)]
pub struct Controls {
    texts: HashSet<Box<str>>,
    /// Their lengths in bytes, from the greatest.
    lengths: Vec<usize>,
    firsts: Vec<char>,
    /// The characters that one of them begins or ends with.
    edges: Vec<char>,
}

impl Controls {
    pub(super) fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let texts: HashSet<Box<str>> = texts.filter(|text| !text.is_empty()).map(Box::from).collect();
        let sorted = |mut all: Vec<char>| {
            all.sort_unstable();
            all.dedup();
            all
        };
        let firsts = sorted(texts.iter().filter_map(|text| text.chars().next()).collect());
        let lasts = texts.iter().filter_map(|text| text.chars().last());
        let edges = sorted(lasts.chain(firsts.iter().copied()).collect());
        let mut lengths: Vec<usize> = texts.iter().map(|text| text.len()).collect();
        lengths.sort_unstable_by(|a, b| b.cmp(a));
        lengths.dedup();
        Controls { texts, lengths, firsts, edges }
    }

    /// Whether a control token begins or ends with the character.
    pub(super) fn is_edge(&self, character: char) -> bool {
        self.edges.binary_search(&character).is_ok()
    }

    pub(super) fn edges(&self) -> &[char] {
        &self.edges
    }

    pub(super) fn texts(&self) -> impl Iterator<Item = &str> {
        self.texts.iter().map(AsRef::as_ref)
    }

    /// Lengths of the control tokens that the text begins with, from the longest.
    pub(super) fn at_start(&self, text: &str) -> impl Iterator<Item = usize> {
        let known = text.chars().next().is_some_and(|first| self.firsts.binary_search(&first).is_ok());
        let lengths = self.lengths.iter().copied().filter(move |_| known);
        lengths.filter(move |length| text.get(..*length).is_some_and(|start| self.texts.contains(start)))
    }

    /// A text that is only text, followed by one whose control tokens are meant.
    pub fn join(&self, text: &str, meant: &str) -> Rendered {
        let foreign = text.char_indices().filter(|(_, c)| self.is_edge(*c)).map(|(at, _)| at).collect();
        Rendered::new([text, meant].concat(), foreign)
    }

    /// Where the template wrote control tokens, and whether a message spells one.
    pub(super) fn find(&self, rendered: &Rendered) -> (Vec<Range<usize>>, bool) {
        let (mut written, mut spelled) = (Vec::new(), false);
        let text = rendered.text();
        let mut next = 0;
        for (at, first) in text.char_indices() {
            if at < next || self.firsts.binary_search(&first).is_err() {
                continue;
            }
            for length in self.at_start(&text[at..]) {
                let last = text[..at + length].char_indices().last().map_or(at, |(last, _)| last);
                if !rendered.is_foreign(at) && !rendered.is_foreign(last) {
                    written.push(at..at + length);
                    next = at + length;
                    break;
                }
                spelled = true;
            }
        }
        (written, spelled)
    }
}

/// A conversation as its chat template writes it, with a memory of what came from its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rendered {
    text: String,
    /// Where the characters from messages stand that a control token could begin or end with, sorted.
    foreign: Vec<usize>,
}

impl Rendered {
    pub(super) fn new(text: String, foreign: Vec<usize>) -> Self {
        debug_assert!(foreign.is_sorted());
        Rendered { text, foreign }
    }

    /// The whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The whole text.
    pub fn into_text(self) -> String {
        self.text
    }

    /// What follows the first `bytes`, which end with a whole character.
    #[must_use]
    pub fn after(&self, bytes: usize) -> Rendered {
        let foreign = self.foreign.iter().filter_map(|at| at.checked_sub(bytes)).collect();
        Rendered { text: self.text.get(bytes..).unwrap_or("").to_owned(), foreign }
    }

    /// Whether the character that stands there came from a message.
    fn is_foreign(&self, at: usize) -> bool {
        self.foreign.binary_search(&at).is_ok()
    }

    pub(super) fn has_foreign(&self) -> bool {
        !self.foreign.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_template_wrote_and_what_a_message_spells() {
        let controls = Controls::new(["<a>", "<a><b>", "[x]"].into_iter());
        assert_eq!(controls.edges(), ['<', '>', '[', ']']);
        let text = "<a><b>.<a>[x]<a>";
        let all = Rendered::new(text.into(), Vec::new());
        assert_eq!(controls.find(&all), (vec![0..6, 7..10, 10..13, 13..16], false));
        // The first `<`, and the last `>`: of the longest token only a part is the template's.
        let some = Rendered::new(text.into(), vec![5, 7, 15]);
        assert_eq!(controls.find(&some), (vec![0..3, 10..13], true));
        assert_eq!(some.after(7), Rendered::new("<a>[x]<a>".into(), vec![0, 8]));
        assert_eq!(Controls::default().find(&some), (Vec::new(), false));
    }
}
