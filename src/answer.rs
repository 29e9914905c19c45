//! An answer in the making: from an engine's tokens to text.

use crate::error::{Error, Result};
use crate::outcome::Ending;
use crate::text::{Detokenizer, StopMatcher};
use plimsoll_engine::{Cancel, Finish, FinishReason, Ring, TokenEvent};
use std::sync::Arc;

/// One of a request's answers, as far as it was read.
pub(crate) struct Writing {
    pub(crate) ring: Arc<Ring>,
    /// Ends this answer alone.
    cancel: Cancel,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    tokens: Vec<u32>,
    /// For each token the length of the text up to and with it; `usize::MAX` where it ends inside a character.
    ends: Vec<usize>,
    raw: String,
    text: String,
    early: Option<Ending>,
    flushed: bool,
    /// Its last word, once that was read.
    pub(crate) finish: Option<Finish>,
}

impl Writing {
    pub(crate) fn new(
        ring: Arc<Ring>,
        cancel: Cancel,
        detokenizer: Detokenizer,
        stops: StopMatcher,
    ) -> Writing {
        Writing {
            ring,
            cancel,
            detokenizer,
            stops,
            tokens: Vec::new(),
            ends: Vec::new(),
            raw: String::new(),
            text: String::new(),
            early: None,
            flushed: false,
            finish: None,
        }
    }

    /// What is certain so far.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The same, which leaves none here.
    pub(crate) fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// Tokens that count.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Whether it was cut short: what its engine generated before it saw that is not part of it.
    pub(crate) fn is_cut(&self) -> bool {
        self.early.is_some()
    }

    /// Cuts it short, unless it has ended.
    pub(crate) fn cut(&mut self, ending: Ending) {
        if self.finish.is_none() {
            self.early.get_or_insert(ending);
            self.cancel.cancel();
        }
    }

    /// Asks its engine to end it.
    pub(crate) fn cancel(&self) {
        self.cancel.cancel();
    }

    /// Makes room for a token whose text has so many bytes.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn room_for(&mut self, bytes: usize) -> Result<()> {
        // What is not UTF-8 becomes replacement characters, and a character that was cut is repeated.
        let bytes = 3 * bytes + 16;
        let made = self.tokens.try_reserve(1).is_ok()
            && self.ends.try_reserve(1).is_ok()
            && self.raw.try_reserve(bytes).is_ok()
            && self.stops.try_reserve(bytes).is_ok()
            && self.text.try_reserve(self.raw.len().saturating_sub(self.text.len()) + bytes).is_ok();
        if made { Ok(()) } else { Err(Error::no_memory("the system has no memory for more of the answer")) }
    }

    /// Takes a token in. A stop string ends the answer.
    pub(crate) fn take(&mut self, token: TokenEvent) {
        let from = self.raw.len();
        self.detokenizer.push(token.id, &mut self.raw);
        self.tokens.push(token.id);
        self.ends.push(if self.detokenizer.is_whole() { self.raw.len() } else { usize::MAX });
        if self.stops.push(&self.raw[from..], &mut self.text).is_some() {
            self.cut(Ending::StopString);
        }
    }

    /// Releases text that was held back, unless the answer was cut short.
    pub(crate) fn flush(&mut self) {
        if self.flushed || self.early.is_some() {
            return;
        }
        self.flushed = true;
        let from = self.raw.len();
        self.detokenizer.finish(&mut self.raw);
        if self.stops.push(&self.raw[from..], &mut self.text).is_none() {
            self.stops.finish(&mut self.text);
        }
    }

    /// Why it ended. What failed has no outcome, and no ending of its own.
    pub(crate) fn ending(&self, reason: &FinishReason) -> Ending {
        self.early.unwrap_or(match reason {
            FinishReason::EndOfText => Ending::EndOfText,
            FinishReason::Length => Ending::Length,
            FinishReason::Cancelled | FinishReason::Failed(_) => Ending::Cancelled,
            FinishReason::Deadline => Ending::Deadline,
        })
    }

    /// The tokens that a conversation keeps of it, and their text. Only tokens whose text is in the answer as a whole are
    /// kept; the rest of the text is tokenised again with the next turn. At the natural end every token counts, also those
    /// without text.
    pub(crate) fn kept(&self) -> (&[u32], &str) {
        let kept = if self.flushed && self.text.len() == self.raw.len() {
            self.tokens.len()
        } else {
            self.ends.iter().rposition(|&end| end <= self.text.len()).map_or(0, |last| last + 1)
        };
        let text = if kept == self.tokens.len() && self.flushed {
            self.text.as_str()
        } else {
            &self.text[..kept.checked_sub(1).map_or(0, |last| self.ends[last])]
        };
        (&self.tokens[..kept], text)
    }
}
