//! Memory that samplers use in turn.

use super::distribution::Distribution;
use super::maxima::{Survey, argmax, parts, survey, top_k};
use crate::backend::cpu::kernels::Level;
use plimsoll_engine::{EngineError, Region, TopLogprob};

/// Vectors as long as the vocabulary, used while one request chooses a token.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The logits after penalties.
    pub(super) penalised: Vec<f32>,
    /// The probability of each id over that of the likeliest, at temperature 1 or at the request's.
    pub(super) weights: Vec<f32>,
    /// Ids in the order that truncation needs.
    pub(super) candidates: Vec<u32>,
    /// The largest logits of parts, of the logits surveyed last.
    pub(super) maxima: Vec<f32>,
    pub(super) level: Level,
}

impl Scratch {
    /// Heap bytes for a vocabulary of this size; `None` on overflow.
    pub(crate) fn bytes(vocab: usize) -> Option<u64> {
        let whole = vocab.checked_mul(2 * size_of::<f32>() + size_of::<u32>())?;
        let maxima = parts(vocab)?.checked_mul(size_of::<f32>())?;
        u64::try_from(whole.checked_add(maxima)?).ok()
    }

    /// Allocates for a vocabulary of this size and commits the pages.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    pub(crate) fn new(vocab: usize) -> Result<Self, EngineError> {
        Ok(Scratch {
            penalised: filled(vocab, -1.0)?,
            weights: filled(vocab, -1.0)?,
            candidates: filled(vocab, u32::MAX)?,
            maxima: filled(parts(vocab).ok_or(EngineError::PriceOverflow)?, -1.0)?,
            level: Level::detect(),
        })
    }

    /// Heap bytes held: as many as [`Scratch::bytes`] says.
    pub(crate) fn held(&self) -> u64 {
        let floats = self.penalised.capacity() + self.weights.capacity() + self.maxima.capacity();
        (floats * size_of::<f32>() + self.candidates.capacity() * size_of::<u32>()) as u64
    }

    /// Checks the logits and measures the distribution they stand for; `weights` are then those at temperature 1.
    pub(super) fn measure(&mut self, logits: &[f32]) -> Result<Distribution, EngineError> {
        if logits.len() != self.weights.len() {
            let (got, vocab) = (logits.len(), self.weights.len());
            return Err(EngineError::Execution(format!("{got} logits for a vocabulary of {vocab}")));
        }
        let survey = self.survey(logits);
        Distribution::measure(self.level, logits, survey, &mut self.weights)
    }

    /// Finds the largest logits.
    pub(super) fn survey(&mut self, logits: &[f32]) -> Survey {
        survey(self.level, logits, &mut self.maxima)
    }

    /// The id of the largest of the logits that were surveyed last, the lowest among equals.
    pub(super) fn argmax(&self, logits: &[f32], largest: f32) -> u32 {
        argmax(logits, &self.maxima, largest)
    }

    /// The `count` most likely tokens, most likely first, the lower id among equals. The logits are surveyed.
    pub(super) fn tops(
        &mut self,
        logits: &[f32],
        model: &Distribution,
        count: usize,
        tops: &mut Vec<TopLogprob>,
    ) {
        tops.clear();
        let count = count.min(logits.len());
        if count > 0 {
            let ids = top_k(self.level, logits, &self.maxima, count, &mut self.candidates);
            tops.extend(ids.iter().map(|&id| TopLogprob { id, logprob: model.logprob(logits[id as usize]) }));
        }
    }
}

/// A vector whose pages are written: the value is not zero, so no allocator can answer with untouched zero pages.
fn filled<T: Copy>(len: usize, value: T) -> Result<Vec<T>, EngineError> {
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    let mut list = Vec::new();
    list.try_reserve_exact(len).map_err(|_| EngineError::OutOfMemory { region: Region::Host, bytes })?;
    list.resize(len, value);
    Ok(list)
}
