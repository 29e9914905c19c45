//! What came of a request: each answer, why it ended, and its numbers.

use crate::copied::copied;
use crate::error::{Error, Result};
use crate::guard::{Degraded, Verdict};
use std::time::Duration;

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Ending {
    /// The model ended it.
    EndOfText = 1,
    /// The granted tokens are used up.
    Length = 2,
    /// A stop string came.
    StopString = 3,
    /// The reader stopped it.
    Stopped = 4,
    /// It was cancelled.
    Cancelled = 5,
    /// Its deadline passed.
    Deadline = 6,
}

/// A finished answer and its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why it ended.
    pub ending: Ending,
    /// The whole answer.
    pub text: String,
    /// What was decided before it ran.
    pub verdict: Verdict,
    /// What memory pressure changed about it.
    pub degraded: Degraded,
    /// Tokens of the conversation up to where the answer began.
    pub prompt_tokens: u32,
    /// Of these, tokens whose KV was already held.
    pub cached_tokens: u32,
    /// Tokens generated, an end-of-text token left out.
    pub generated_tokens: u32,
    /// From submission to the first step.
    pub queued: Duration,
    /// From the first step to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
    /// Bytes of KV that the session holds now.
    pub kv_bytes: u64,
    /// Bytes free in the region of the KV now.
    pub bytes_free: u64,
    /// The other answers, where the request asked for several: the second first. What is the request's and not an answer's is
    /// the same in all, and these have no others.
    pub others: Vec<Outcome>,
}

impl Outcome {
    /// All answers: this one, which the conversation goes on with, then the others.
    pub fn answers(&self) -> impl Iterator<Item = &Outcome> {
        std::iter::once(self).chain(&self.others)
    }

    /// A copy.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn copied(&self) -> Result<Outcome> {
        let mut others = Self::room_for(self.others.len())?;
        for other in &self.others {
            others.push(other.copied()?);
        }
        Ok(Outcome { text: copied(&self.text)?, others, ..*self })
    }

    /// Room for so many, and no more.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn room_for(count: usize) -> Result<Vec<Outcome>> {
        let mut room = Vec::new();
        room.try_reserve_exact(count)
            .map_err(|_| Error::no_memory("the system has no memory for the outcomes of the answers"))?;
        Ok(room)
    }

    /// Generated tokens per second after the first; 0 for fewer than two.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.decode.as_secs_f64();
        if self.generated_tokens < 2 || seconds <= 0.0 {
            return 0.0;
        }
        f64::from(self.generated_tokens - 1) / seconds
    }
}
