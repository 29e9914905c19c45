//! Memory shared by all samplers.

use super::distribution::{self, Distribution};
use crate::backend::cpu::kernels::Level;
use plimsoll_engine::{EngineError, Region};

/// Vectors as long as the vocabulary, used while one request chooses a token.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The logits after penalties.
    pub(super) penalised: Vec<f32>,
    /// The probability of each id over that of the likeliest, at the request's temperature.
    pub(super) weights: Vec<f32>,
    /// Ids in the order that truncation needs.
    pub(super) candidates: Vec<u32>,
    pub(super) level: Level,
}

impl Scratch {
    /// Heap bytes for a vocabulary of this size; `None` on overflow.
    pub(crate) fn bytes(vocab: usize) -> Option<u64> {
        u64::try_from(vocab.checked_mul(2 * size_of::<f32>() + size_of::<u32>())?).ok()
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
            level: Level::detect(),
        })
    }

    /// Heap bytes held: as many as [`Scratch::bytes`] says.
    pub(crate) fn held(&self) -> u64 {
        let floats = (self.penalised.capacity() + self.weights.capacity()) * size_of::<f32>();
        (floats + self.candidates.capacity() * size_of::<u32>()) as u64
    }

    /// Checks the logits and measures the distribution they stand for.
    pub(super) fn measure(&self, logits: &[f32]) -> Result<Distribution, EngineError> {
        if logits.len() != self.weights.len() {
            let (got, vocab) = (logits.len(), self.weights.len());
            return Err(EngineError::Execution(format!("{got} logits for a vocabulary of {vocab}")));
        }
        Distribution::measure(self.level, logits)
    }

    /// Fills `weights` from logits of which one at least is above -inf.
    pub(super) fn weigh(&mut self, logits: &[f32], temperature: f32) {
        let largest = distribution::largest(self.level, logits);
        distribution::weigh(self.level, logits, largest, temperature, &mut self.weights);
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
