//! Stop strings over streamed text: a text ends before the first of them, and nothing of a stop string is ever shown.

use super::error::TextError;
use std::collections::TryReserveError;
use std::sync::Arc;

/// Most stop strings of a request.
pub const MAX_STOPS: usize = 64;

/// Most bytes of one stop string.
pub const MAX_STOP_BYTES: usize = 1024;

/// Stop strings, compiled: for any number of texts.
#[derive(Debug)]
pub struct Stops(Vec<Stop>);

/// One stop string (Knuth, Morris and Pratt's automaton).
#[derive(Debug)]
struct Stop {
    bytes: Vec<u8>,
    /// `shorter[n]`: the longest proper prefix that is also a suffix of the first `n + 1` bytes.
    shorter: Vec<u16>,
}

impl Stop {
    fn new(text: &str) -> Result<Self, TryReserveError> {
        let (mut bytes, mut shorter) = (Vec::new(), Vec::new());
        bytes.try_reserve_exact(text.len())?;
        shorter.try_reserve_exact(text.len())?;
        bytes.extend_from_slice(text.as_bytes());
        shorter.push(0);
        let mut stop = Stop { bytes, shorter };
        for at in 1..stop.bytes.len() {
            let longest = stop.step(stop.shorter[at - 1], stop.bytes[at]);
            stop.shorter.push(longest);
        }
        Ok(stop)
    }

    /// How much of it a text ends with that ended with its first `matched` bytes, not all of them, once this byte has come.
    fn step(&self, matched: u16, byte: u8) -> u16 {
        let mut matched = usize::from(matched);
        while matched > 0 && byte != self.bytes[matched] {
            matched = self.shorter[matched - 1].into();
        }
        // A stop string's length fits.
        (matched + usize::from(byte == self.bytes[matched])) as u16
    }
}

impl Stops {
    /// Compiles these strings; none of them is the empty string.
    ///
    /// # Errors
    /// [`TextError::Stop`] for an empty string, more than [`MAX_STOPS`], or one over [`MAX_STOP_BYTES`];
    /// [`TextError::NoMemory`].
    pub fn new<S: AsRef<str>>(stops: impl IntoIterator<Item = S>) -> Result<Self, TextError> {
        let mut compiled = Vec::new();
        for stop in stops {
            let stop = stop.as_ref();
            if compiled.len() == MAX_STOPS {
                return Err(TextError::Stop("more than 64"));
            }
            if stop.is_empty() {
                return Err(TextError::Stop("one is empty"));
            }
            if stop.len() > MAX_STOP_BYTES {
                return Err(TextError::Stop("one is longer than 1,024 bytes"));
            }
            let stop = compiled.try_reserve(1).and_then(|()| Stop::new(stop));
            compiled.push(stop.map_err(|_| TextError::NoMemory("stop strings"))?);
        }
        Ok(Stops(compiled))
    }
}

/// Finds the stop string that is complete first in a text, wherever its chunks are cut. Of those complete at the same place the
/// longest is taken, then the one given first.
#[derive(Debug)]
pub struct StopMatcher {
    stops: Arc<Stops>,
    /// Of each, how much of it the text so far ends with.
    matched: Vec<u16>,
    /// Text that may still turn out to be part of a stop string.
    held: String,
    found: Option<usize>,
}

impl StopMatcher {
    /// A matcher at the beginning of a text.
    ///
    /// # Errors
    /// [`TextError::NoMemory`].
    pub fn new(stops: &Arc<Stops>) -> Result<Self, TextError> {
        let mut matched = Vec::new();
        matched.try_reserve_exact(stops.0.len()).map_err(|_| TextError::NoMemory("stop strings"))?;
        matched.resize(stops.0.len(), 0);
        Ok(StopMatcher { stops: Arc::clone(stops), matched, held: String::new(), found: None })
    }

    /// Makes room for so many bytes of text, which [`StopMatcher::push`] may hold back.
    ///
    /// # Errors
    /// The system refuses it.
    pub fn try_reserve(&mut self, bytes: usize) -> Result<(), TryReserveError> {
        if self.matched.is_empty() { Ok(()) } else { self.held.try_reserve(bytes) }
    }

    /// Takes the next text and appends to `out` what can no longer be part of a stop string. Once a stop string is
    /// complete its index is returned: the text before it is in `out`, and everything from it on is dropped, also in
    /// later calls.
    pub fn push(&mut self, chunk: &str, out: &mut String) -> Option<usize> {
        if self.found.is_some() {
            return self.found;
        }
        if self.matched.is_empty() {
            out.push_str(chunk);
            return None;
        }
        let before = self.held.len();
        self.held.push_str(chunk);
        for (at, byte) in chunk.bytes().enumerate() {
            let mut longest: Option<(usize, usize)> = None;
            for (index, (stop, matched)) in self.stops.0.iter().zip(&mut self.matched).enumerate() {
                *matched = stop.step(*matched, byte);
                let length = stop.bytes.len();
                if usize::from(*matched) == length && longest.is_none_or(|(_, other)| length > other) {
                    longest = Some((index, length));
                }
            }
            if let Some((index, length)) = longest {
                self.held.truncate(before + at + 1 - length);
                out.push_str(&self.held);
                self.held = String::new();
                self.found = Some(index);
                return self.found;
            }
        }
        // A stop string starts with a character's first byte, so what is kept starts at a character too.
        let kept = usize::from(self.matched.iter().copied().max().unwrap_or(0));
        let released = self.held.len() - kept;
        out.push_str(&self.held[..released]);
        self.held.drain(..released);
        None
    }

    /// Ends the text: what was held back is appended, since no stop string came of it.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
        self.matched.fill(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, on the whole text: the first end, then the longest, then the first given.
    fn reference(stops: &[String], text: &str) -> (String, Option<usize>) {
        for end in 1..=text.len() {
            let head = &text.as_bytes()[..end];
            let ending = stops.iter().enumerate().filter(|(_, stop)| head.ends_with(stop.as_bytes()));
            if let Some((index, stop)) = ending.max_by_key(|(index, stop)| (stop.len(), usize::MAX - index)) {
                return (text[..end - stop.len()].to_owned(), Some(index));
            }
        }
        (text.to_owned(), None)
    }

    fn matcher<S: AsRef<str>>(stops: impl IntoIterator<Item = S>) -> StopMatcher {
        StopMatcher::new(&Arc::new(Stops::new(stops).unwrap())).unwrap()
    }

    fn stream(stops: &[String], chunks: &[&str]) -> (String, Option<usize>) {
        let mut matcher = matcher(stops);
        let mut out = String::new();
        let mut found = None;
        for chunk in chunks {
            found = matcher.push(chunk, &mut out);
        }
        matcher.finish(&mut out);
        (out, found)
    }

    #[test]
    fn a_stop_across_chunks_is_never_shown() {
        let mut matcher = matcher(["</s>", "\nUser:"]);
        let mut out = String::new();
        assert_eq!(matcher.push("Hello <", &mut out), None);
        assert_eq!(out, "Hello ");
        assert_eq!(matcher.push("/s", &mut out), None);
        assert_eq!(matcher.push("tay", &mut out), None);
        assert_eq!(out, "Hello </stay");
        assert_eq!(matcher.push("\nUs", &mut out), None);
        assert_eq!(matcher.push("er: more", &mut out), Some(1));
        assert_eq!(matcher.push("after", &mut out), Some(1));
        matcher.finish(&mut out);
        assert_eq!(out, "Hello </stay");
    }

    #[test]
    fn bounds() {
        assert!(Stops::new([""]).is_err());
        assert!(Stops::new(vec!["a"; MAX_STOPS + 1]).is_err());
        assert!(Stops::new(["x".repeat(MAX_STOP_BYTES + 1)]).is_err());
        assert!(Stops::new(vec!["x".repeat(MAX_STOP_BYTES); MAX_STOPS]).is_ok());
        assert!(Stops::new([""; 0]).is_ok());
    }

    proptest! {
        #[test]
        fn equals_the_definition_for_any_cut(
            stops in proptest::collection::vec("[abé]{1,4}", 0..4),
            chunks in proptest::collection::vec("[abcé]{0,5}", 0..8),
        ) {
            let chunks: Vec<&str> = chunks.iter().map(String::as_str).collect();
            prop_assert_eq!(stream(&stops, &chunks), reference(&stops, &chunks.concat()));
        }
    }
}
