//! The step executor over a backend: lanes of tokens in, sampled tokens out.

use crate::backend::{Backend, Span, Spans, StepSpec};
use crate::engine::Forward;
use crate::sampler::{Sampler, Scratch};
use plimsoll_engine::{EngineError, Entropy, Request, Shape};
use plimsoll_scheduler::{Lane, Layers, Limits, StepExecutor};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Most requests that choose their tokens side by side: each wants a [`Scratch`], three times the bytes of its logits, and what
/// four of them leave of the time is little.
const MOST_CHOOSERS: usize = 4;

/// Requests that choose side by side.
fn choosers<B: Backend>(spec: &StepSpec) -> usize {
    B::readers(spec).min(spec.max_sequences).clamp(1, MOST_CHOOSERS)
}

/// Heap bytes of an executor's own lists and scratches; `None` on overflow.
pub(crate) fn scratch_bytes<B: Backend>(spec: &StepSpec) -> Option<u64> {
    let per_row = spec.max_rows.checked_mul(2 * size_of::<u32>())?;
    let per_lane = spec.max_sequences.checked_mul(size_of::<u32>() + size_of::<Active>())?;
    let per_chooser = Scratch::bytes(spec.vocab)?.checked_add(size_of::<Mutex<Scratch>>() as u64)?;
    let all = per_chooser.checked_mul(choosers::<B>(spec) as u64)?;
    u64::try_from(per_row.checked_add(per_lane)?).ok()?.checked_add(all)
}

/// A lane that takes part in a step.
#[derive(Clone, Copy, Debug)]
struct Active {
    /// Its index among all lanes.
    lane: usize,
    /// Its first row in the slots.
    first_row: usize,
}

/// Runs the decoder for the scheduler. All lists have their full capacity from the start, so that a step allocates
/// nothing of its own.
pub(crate) struct NativeExecutor<B: Backend> {
    ids: Vec<u32>,
    positions: Vec<u32>,
    wanted: Vec<u32>,
    active: Vec<Active>,
    /// One for each request that chooses while others do.
    scratches: Vec<Mutex<Scratch>>,
    limits: Limits,
    vocab: usize,
    entropy: Arc<dyn Entropy>,
    // Declared last: its lease pays for the lists too.
    forward: Forward<B>,
}

impl<B: Backend> NativeExecutor<B> {
    /// An executor over a loaded model.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    pub(crate) fn new(
        forward: Forward<B>,
        limits: Limits,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, EngineError> {
        let (rows, lanes) = (limits.max_step_tokens, limits.max_sequences);
        let spec = forward.backend.spec();
        let (vocab, choosers) = (spec.vocab, choosers::<B>(spec));
        let mut scratches = reserved(choosers)?;
        for _ in 0..choosers {
            scratches.push(Mutex::new(Scratch::new(vocab)?));
        }
        Ok(NativeExecutor {
            ids: reserved(rows)?,
            positions: reserved(rows)?,
            wanted: reserved(lanes)?,
            active: reserved(lanes)?,
            scratches,
            limits,
            vocab,
            entropy,
            forward,
        })
    }

    /// Bytes of weights held.
    pub(crate) fn weights_held(&self) -> u64 {
        self.forward.weights_bytes()
    }

    /// Bytes of workspace held, counted from what is allocated.
    pub(crate) fn workspace_held(&self) -> u64 {
        let rows = (self.ids.capacity() + self.positions.capacity()) * size_of::<u32>();
        let lanes = self.wanted.capacity() * size_of::<u32>() + self.active.capacity() * size_of::<Active>();
        let scratches = self.scratches.capacity() * size_of::<Mutex<Scratch>>();
        let choosers: u64 = self.scratches.iter().map(|scratch| locked(scratch).held()).sum();
        self.forward.workspace_held() + (rows + lanes + scratches) as u64 + choosers
    }

    /// Lists the rows of this step: their ids, their positions, and which of them want logits.
    fn gather(&mut self, lanes: &[Lane<Self>]) -> Result<(), EngineError> {
        self.ids.clear();
        self.positions.clear();
        self.wanted.clear();
        self.active.clear();
        for (index, lane) in lanes.iter().enumerate().filter(|(_, lane)| lane.feed > 0) {
            let first_row = self.ids.len();
            let end = lane.position.checked_add(lane.feed);
            let fed = end.and_then(|end| lane.tokens.get(lane.position..end));
            let fed = fed.ok_or_else(|| refused("feeds more tokens than it has"))?;
            if !lane.blocks.covers(&self.limits, lane.position, lane.feed) {
                return Err(refused("has too few KV blocks"));
            }
            if first_row + lane.feed > self.limits.max_step_tokens
                || self.active.len() == self.limits.max_sequences
            {
                return Err(refused("is one too many for a step"));
            }
            if fed.iter().any(|id| *id as usize >= self.vocab) {
                return Err(refused("has an id beyond the vocabulary"));
            }
            self.ids.extend_from_slice(fed);
            // Positions are below the context's length, which fits.
            self.positions.extend((lane.position..lane.position + lane.feed).map(|position| position as u32));
            if lane.sample {
                self.wanted.push((first_row + lane.feed - 1) as u32);
            }
            self.active.push(Active { lane: index, first_row });
        }
        Ok(())
    }

    /// Chooses tokens for the lanes that want one, several at a time. What one chooses does not depend on the others.
    fn choose(&mut self, lanes: &mut [Lane<Self>]) -> Result<(), EngineError> {
        let (rows, vocab) = (self.wanted.len(), self.vocab);
        if rows == 0 {
            return Ok(());
        }
        let lanes = lanes.iter_mut().filter(|lane| lane.feed > 0 && lane.sample);
        let queue = Mutex::new(lanes.zip(0..rows));
        // Not in a loop's head, where the lock would be held until the lane has chosen.
        let next = || locked(&queue).next();
        let first_error = Mutex::new(None);
        let scratches = &self.scratches;
        self.forward.backend.share_logits(rows, scratches.len().min(rows), &|number, logits| {
            let mut scratch = locked(&scratches[number]);
            while let Some((lane, row)) = next() {
                match lane.sequence.sample(&logits[row * vocab..][..vocab], &mut scratch, &mut lane.tops) {
                    Ok(token) => lane.sampled = token,
                    Err(error) => {
                        let mut first = locked(&first_error);
                        if first.as_ref().is_none_or(|(earlier, _)| row < *earlier) {
                            *first = Some((row, error));
                        }
                    }
                }
            }
        })?;
        match first_error.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

impl<B: Backend> StepExecutor for NativeExecutor<B> {
    type Block = B::Block;
    type Sequence = Sampler;

    fn limits(&self) -> Limits {
        self.limits
    }

    fn sequence_bytes(_: &Limits, shape: &Shape) -> Option<u64> {
        Sampler::bytes(shape)
    }

    fn allocate(&mut self, layers: Layers) -> Result<B::Block, EngineError> {
        self.forward.backend.allocate_block(layers)
    }

    fn copy(&mut self, from: &B::Block, to: &B::Block) -> Result<bool, EngineError> {
        self.forward.backend.copy_block(from, to).map(|()| true)
    }

    fn open(&mut self, request: &Request) -> Result<Sampler, EngineError> {
        if let Some(id) = request.tokens.iter().find(|id| **id as usize >= self.vocab) {
            let vocab = self.vocab;
            return Err(EngineError::Invalid(format!("token id {id} is not below the vocabulary's {vocab}")));
        }
        Sampler::new(request, self.entropy.as_ref())
    }

    fn step(&mut self, lanes: &mut [Lane<Self>]) -> Result<(), EngineError> {
        self.gather(lanes)?;
        if self.ids.is_empty() {
            return Ok(());
        }
        let spans = LaneSpans { lanes, active: &self.active };
        self.forward.step(&spans, &self.ids, &self.positions, &self.wanted)?;
        self.choose(lanes)
    }
}

/// The lanes of a step as a backend sees them.
struct LaneSpans<'a, B: Backend> {
    lanes: &'a [Lane<NativeExecutor<B>>],
    active: &'a [Active],
}

impl<B: Backend> Spans<B::Block> for LaneSpans<'_, B> {
    fn count(&self) -> usize {
        self.active.len()
    }

    fn span(&self, index: usize) -> Span<'_, B::Block> {
        let active = self.active[index];
        let lane = &self.lanes[active.lane];
        Span { first_row: active.first_row, rows: lane.feed, position: lane.position, blocks: &lane.blocks }
    }
}

/// What a lock guards; a panic of another thread is told by the pool.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A step that the scheduler should not have asked for.
fn refused(what: &str) -> EngineError {
    EngineError::Execution(format!("a lane {what}"))
}

/// An empty list with room for exactly `len` items.
fn reserved<T>(len: usize) -> Result<Vec<T>, EngineError> {
    let mut list = Vec::new();
    let bytes = (len as u64).saturating_mul(size_of::<T>() as u64);
    let refused = |_| EngineError::OutOfMemory { region: plimsoll_engine::Region::Host, bytes };
    list.try_reserve_exact(len).map_err(refused)?;
    Ok(list)
}
