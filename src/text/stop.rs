//! Stop strings over streamed text: a text ends before the first of them, and nothing of a stop string is ever shown.

use super::error::TextError;

/// Most stop strings of a request.
pub const MAX_STOPS: usize = 64;

/// Most bytes of one stop string.
pub const MAX_STOP_BYTES: usize = 1024;

/// Finds the stop string that is complete first, wherever the chunks are cut. Of those complete at the same place the
/// longest is taken, then the one given first.
#[derive(Clone, Debug)]
pub struct StopMatcher {
    stops: Vec<Stop>,
    /// Text that may still turn out to be part of a stop string.
    held: String,
    found: Option<usize>,
}

/// One stop string and how much of it the text so far ends with (Knuth, Morris and Pratt's automaton).
#[derive(Clone, Debug)]
struct Stop {
    bytes: Box<[u8]>,
    /// `shorter[n]`: the longest proper prefix that is also a suffix of the first `n + 1` bytes.
    shorter: Box<[u16]>,
    matched: usize,
}

impl Stop {
    fn new(text: &str) -> Self {
        let bytes: Box<[u8]> = text.as_bytes().into();
        let mut shorter = vec![0_u16; bytes.len()];
        let mut matched = 0_usize;
        for at in 1..bytes.len() {
            while matched > 0 && bytes[at] != bytes[matched] {
                matched = shorter[matched - 1].into();
            }
            matched += usize::from(bytes[at] == bytes[matched]);
            shorter[at] = matched as u16;
        }
        Stop { bytes, shorter: shorter.into(), matched: 0 }
    }

    /// Takes the next byte; says whether the stop string is complete. Not called again after that.
    fn step(&mut self, byte: u8) -> bool {
        while self.matched > 0 && byte != self.bytes[self.matched] {
            self.matched = self.shorter[self.matched - 1].into();
        }
        self.matched += usize::from(byte == self.bytes[self.matched]);
        self.matched == self.bytes.len()
    }
}

impl StopMatcher {
    /// A matcher for these strings; none of them is the empty string.
    ///
    /// # Errors
    /// [`TextError::Stop`] for an empty string, more than [`MAX_STOPS`], or one over [`MAX_STOP_BYTES`].
    pub fn new<S: AsRef<str>>(stops: impl IntoIterator<Item = S>) -> Result<Self, TextError> {
        let mut matcher = StopMatcher { stops: Vec::new(), held: String::new(), found: None };
        for stop in stops {
            let stop = stop.as_ref();
            if matcher.stops.len() == MAX_STOPS {
                return Err(TextError::Stop("more than 64"));
            }
            if stop.is_empty() {
                return Err(TextError::Stop("one is empty"));
            }
            if stop.len() > MAX_STOP_BYTES {
                return Err(TextError::Stop("one is longer than 1,024 bytes"));
            }
            matcher.stops.push(Stop::new(stop));
        }
        Ok(matcher)
    }

    /// Takes the next text and appends to `out` what can no longer be part of a stop string. Once a stop string is
    /// complete its index is returned: the text before it is in `out`, and everything from it on is dropped, also in
    /// later calls.
    pub fn push(&mut self, chunk: &str, out: &mut String) -> Option<usize> {
        if self.found.is_some() {
            return self.found;
        }
        if self.stops.is_empty() {
            out.push_str(chunk);
            return None;
        }
        let before = self.held.len();
        self.held.push_str(chunk);
        for (at, byte) in chunk.bytes().enumerate() {
            let mut longest: Option<(usize, usize)> = None;
            for (index, stop) in self.stops.iter_mut().enumerate() {
                if stop.step(byte) && longest.is_none_or(|(_, length)| stop.bytes.len() > length) {
                    longest = Some((index, stop.bytes.len()));
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
        let kept = self.stops.iter().map(|stop| stop.matched).max().unwrap_or(0);
        let released = self.held.len() - kept;
        out.push_str(&self.held[..released]);
        self.held.drain(..released);
        None
    }

    /// Ends the text: what was held back is appended, since no stop string came of it.
    pub fn finish(&mut self, out: &mut String) {
        out.push_str(&self.held);
        self.held.clear();
        for stop in &mut self.stops {
            stop.matched = 0;
        }
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

    fn stream(stops: &[String], chunks: &[&str]) -> (String, Option<usize>) {
        let mut matcher = StopMatcher::new(stops).unwrap();
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
        let mut matcher = StopMatcher::new(["</s>", "\nUser:"]).unwrap();
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
        assert!(StopMatcher::new([""]).is_err());
        assert!(StopMatcher::new(vec!["a"; MAX_STOPS + 1]).is_err());
        assert!(StopMatcher::new(["x".repeat(MAX_STOP_BYTES + 1)]).is_err());
        assert!(StopMatcher::new(vec!["x".repeat(MAX_STOP_BYTES); MAX_STOPS]).is_ok());
        assert!(StopMatcher::new([""; 0]).is_ok());
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
