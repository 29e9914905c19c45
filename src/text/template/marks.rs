//! Marks on the characters that messages bring, so that a control token that a message spells is known from one that the
//! template wrote, whatever the template does with the message's text.
//!
//! A mark takes the place of a character that a control token begins or ends with. It is one character for one character,
//! without case, not white space and without a meaning of its own, so lengths, slices, trimming and joining give what they
//! give for the character itself. Where a template looks for a text that it names itself, such as `</think>`, that text
//! is left as it is.

use crate::text::controls::{Controls, Rendered};
use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Characters that Unicode has not assigned, two bytes each: most texts grow little. If they are taken, private ones.
const UNASSIGNED: [(char, char); 8] = [
    ('\u{378}', '\u{379}'),
    ('\u{380}', '\u{383}'),
    ('\u{557}', '\u{558}'),
    ('\u{58B}', '\u{58C}'),
    ('\u{5C8}', '\u{5CF}'),
    ('\u{5EB}', '\u{5EE}'),
    ('\u{5F5}', '\u{5FF}'),
    ('\u{F0000}', '\u{FFFFD}'),
];

/// Which characters are marked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope<'a> {
    /// All that a control token begins or ends with, except in these texts.
    AllBut(&'a [&'a str]),
    /// The first and the last one of whole control tokens.
    Whole,
}

/// The marks of one rendering.
#[derive(Debug)]
pub(super) struct Marks<'a> {
    controls: &'a Controls,
    scope: Scope<'a>,
    /// Each character with its mark.
    pairs: Vec<(char, char)>,
    /// What the messages have of the characters that marks are chosen from.
    seen: Mutex<HashSet<char>>,
}

impl<'a> Marks<'a> {
    /// Marks that are none of the `taken` characters; `None` if there are too few others.
    pub(super) fn new(controls: &'a Controls, scope: Scope<'a>, taken: &HashSet<char>) -> Option<Self> {
        let free =
            UNASSIGNED.iter().flat_map(|(first, last)| *first..=*last).filter(|mark| !taken.contains(mark));
        let pairs: Vec<_> = controls.edges().iter().copied().zip(free).collect();
        let complete = pairs.len() == controls.edges().len();
        complete.then(|| Marks { controls, scope, pairs, seen: Mutex::default() })
    }

    /// The text of a message, marked.
    pub(super) fn mark<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.see(text);
        let mut marked = String::new();
        let mut copied = 0;
        let (mut skip, mut ends) = (0, Vec::new());
        for (at, c) in text.char_indices() {
            if at < skip {
                continue;
            }
            let wanted = match self.scope {
                Scope::AllBut(texts) => {
                    if let Some(text) = texts.iter().find(|named| text[at..].starts_with(**named)) {
                        skip = at + text.len();
                        continue;
                    }
                    self.controls.is_edge(c)
                }
                Scope::Whole => {
                    let starts = self.controls.at_start(&text[at..]);
                    let before = ends.len();
                    ends.extend(starts.map(|length| at + length));
                    ends.len() > before || ends.contains(&(at + c.len_utf8()))
                }
            };
            if let Some((_, mark)) = self.pairs.iter().find(|(edge, _)| wanted && *edge == c) {
                marked.push_str(&text[copied..at]);
                marked.push(*mark);
                copied = at + c.len_utf8();
            }
            ends.retain(|end| *end > at + c.len_utf8());
        }
        match copied {
            0 => Cow::Borrowed(text),
            _ => Cow::Owned(marked + &text[copied..]),
        }
    }

    fn see(&self, text: &str) {
        if !text.is_ascii() {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.extend(choices(text));
        }
    }

    /// The characters that cannot be marks, if one of them was.
    pub(super) fn clash(&self) -> Option<HashSet<char>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        self.pairs.iter().any(|(_, mark)| seen.contains(mark)).then(|| seen.clone())
    }

    /// A rendered text with the characters back in their places.
    pub(super) fn unmark(&self, marked: &str) -> Rendered {
        let (mut text, mut foreign) = (String::with_capacity(marked.len()), Vec::new());
        for c in marked.chars() {
            match self.pairs.iter().find(|(_, mark)| !c.is_ascii() && *mark == c) {
                Some((edge, _)) => {
                    foreign.push(text.len());
                    text.push(*edge);
                }
                None => text.push(c),
            }
        }
        Rendered::new(text, foreign)
    }
}

/// The characters of a text that marks are chosen from.
pub(super) fn choices(text: &str) -> impl Iterator<Item = char> {
    let chosen = |c: &char| UNASSIGNED.iter().any(|(first, last)| (first..=last).contains(&c));
    text.chars().filter(move |c| !c.is_ascii() && chosen(c))
}

/// Of the texts that a template names, those in which no control token can begin or end, even if the template joined other
/// texts to a part of them.
pub(super) fn harmless<'a>(named: impl Iterator<Item = &'a str>, controls: &Controls) -> Vec<&'a str> {
    let safe = |named: &&str| {
        let mut edges = named.char_indices().filter(|(_, c)| controls.is_edge(*c)).peekable();
        edges.peek().is_some()
            && edges.all(|(at, c)| {
                let (rest, start) = (&named[at..], &named[..at + c.len_utf8()]);
                controls.texts().all(|text| {
                    let begins = text.starts_with(rest) || rest.starts_with(text);
                    let ends = text.ends_with(start) || start.ends_with(text);
                    !begins && !ends
                })
            })
    };
    let mut texts: Vec<_> = named.filter(safe).collect();
    // The longest first: `</think>` before `</`.
    texts.sort_unstable_by(|a, b| b.len().cmp(&a.len()).then(a.cmp(b)));
    texts.dedup();
    texts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn controls() -> Controls {
        Controls::new(["<|im_start|>", "<|im_end|>", "<s>", "[INST]"].into_iter())
    }

    #[test]
    fn marks_come_off_where_they_were_put() {
        let controls = controls();
        let texts =
            harmless(["</think>", "<", "<|", "x", "</think>\n", "[INST", "<s> "].into_iter(), &controls);
        assert_eq!(texts, ["</think>\n", "</think>"]);
        for (scope, expected) in
            [(Scope::AllBut(&texts), vec![2, 5, 7, 18, 19, 24, 33]), (Scope::Whole, vec![7, 18, 19, 24])]
        {
            let text = "a < b> <|im_start|>[INST]</think>[é";
            let marks = Marks::new(&controls, scope, &HashSet::new()).unwrap();
            let marked = marks.mark(text);
            assert_eq!(marked.chars().count(), text.chars().count());
            let expected = Rendered::new(text.into(), expected);
            assert_eq!(marks.unmark(&marked), expected, "{scope:?}");
            assert_eq!(marks.clash(), None);
            assert!(matches!(marks.mark("nothing"), Cow::Borrowed(_)));
        }
    }

    #[test]
    fn a_message_cannot_bring_marks() {
        let controls = controls();
        let marks = Marks::new(&controls, Scope::Whole, &HashSet::new()).unwrap();
        marks.mark("a\u{378}b\u{F0000}");
        let taken = marks.clash().unwrap();
        assert_eq!(taken, HashSet::from(['\u{378}', '\u{F0000}']));
        let marks = Marks::new(&controls, Scope::Whole, &taken).unwrap();
        marks.mark("a\u{378}b\u{F0000}");
        assert_eq!(marks.clash(), None);
        let all = UNASSIGNED.iter().flat_map(|(first, last)| *first..=*last).collect();
        assert!(Marks::new(&controls, Scope::Whole, &all).is_none());
    }
}
