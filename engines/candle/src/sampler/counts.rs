//! Which tokens a request has seen and generated.

use plimsoll_engine::{EngineError, Region, Sampling};

/// A token of the prompt or the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Count {
    id: u32,
    /// How often it was generated; 0 when it is only in the prompt.
    generated: u32,
}

/// The distinct tokens of prompt and answer, by id, with room for every token that may still come.
#[derive(Debug)]
pub(super) struct Counts(Vec<Count>);

impl Counts {
    /// Heap bytes of the table for so many tokens, prompt and generated; `None` on overflow.
    pub(super) fn bytes(tokens: u64) -> Option<u64> {
        tokens.checked_mul(size_of::<Count>() as u64)
    }

    /// The table of a prompt, with room for `max_tokens` more.
    pub(super) fn new(prompt: &[u32], max_tokens: u32) -> Result<Self, EngineError> {
        let tokens = prompt.len().saturating_add(max_tokens as usize);
        let mut table = Vec::new();
        table.try_reserve_exact(tokens).map_err(|_| EngineError::OutOfMemory {
            region: Region::Host,
            bytes: Counts::bytes(tokens as u64).unwrap_or(u64::MAX),
        })?;
        table.extend(prompt.iter().map(|&id| Count { id, generated: 0 }));
        table.sort_unstable_by_key(|count| count.id);
        table.dedup();
        Ok(Counts(table))
    }

    /// Counts a generated token.
    pub(super) fn add(&mut self, id: u32) {
        match self.0.binary_search_by_key(&id, |count| count.id) {
            Ok(at) => self.0[at].generated = self.0[at].generated.saturating_add(1),
            Err(at) => self.0.insert(at, Count { id, generated: 1 }),
        }
    }

    /// Applies the penalties to the logits of the tokens seen. Finite ones stay finite.
    pub(super) fn penalise(&self, sampling: &Sampling, logits: &mut [f32]) {
        for count in &self.0 {
            let Some(logit) = logits.get_mut(count.id as usize) else { continue };
            if *logit == f32::NEG_INFINITY {
                continue;
            }
            let mut value = match *logit > 0.0 {
                true => *logit / sampling.repetition_penalty,
                false => *logit * sampling.repetition_penalty,
            };
            if count.generated > 0 {
                value -= sampling.presence_penalty + sampling.frequency_penalty * count.generated as f32;
            }
            *logit = value.clamp(f32::MIN, f32::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetition_counts_the_prompt_and_the_others_only_the_answer() {
        let mut counts = Counts::new(&[2, 0, 2], 3).unwrap();
        let capacity = counts.0.capacity();
        assert_eq!((capacity * size_of::<Count>()) as u64, Counts::bytes(6).unwrap());
        counts.add(1);
        counts.add(1);
        counts.add(2);
        assert_eq!(counts.0.capacity(), capacity, "room for all was reserved");
        let sampling = Sampling {
            repetition_penalty: 2.0,
            presence_penalty: 0.5,
            frequency_penalty: 0.25,
            ..Sampling::default()
        };
        let mut logits = [4.0, 4.0, -4.0, 4.0];
        counts.penalise(&sampling, &mut logits);
        assert_eq!(logits, [2.0, 2.0 - 1.0, -8.0 - 0.75, 4.0]);
    }

    #[test]
    fn penalties_do_not_make_infinities() {
        let counts = Counts::new(&[0, 1, 2], 0).unwrap();
        let mut logits = [f32::MAX, f32::NEG_INFINITY, f32::MIN];
        for repetition_penalty in [0.01, 100.0] {
            counts.penalise(&Sampling { repetition_penalty, ..Sampling::default() }, &mut logits);
            assert!(logits[0].is_finite() && logits[2].is_finite(), "{logits:?}");
            assert_eq!(logits[1], f32::NEG_INFINITY);
        }
    }
}
