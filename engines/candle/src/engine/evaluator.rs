//! Logits of every position, for tests against other implementations and for measures such as perplexity.

use super::forward::Forward;
use super::plan::LoadPlan;
use crate::LoadError;
use crate::backend::{Backend, Span, Spans};
use crate::weights::Watch;
use plimsoll_engine::{Buffers, EngineError, Lease, Progress, System};
use plimsoll_scheduler::{BlockTable, KvBlock, Layers};
use std::ops::ControlFlow;
use std::sync::Arc;

/// A loaded model that answers with logits instead of tokens. It runs alone, on the caller's thread.
pub struct Evaluator(Box<dyn Evaluate>);

impl Evaluator {
    /// Loads a model as [`LoadPlan::load`] does. `kv` pays for the blocks of the longest text: as many whole blocks of
    /// [`LoadPlan::block_bytes`] as hold its tokens.
    ///
    /// # Errors
    /// Those of [`LoadPlan::load`].
    pub fn load(
        plan: &LoadPlan,
        weights: Lease,
        workspace: Lease,
        kv: Lease,
        progress: &dyn Fn(Progress) -> ControlFlow<()>,
    ) -> Result<Self, LoadError> {
        let watch = Watch::new(progress, &plan.weights);
        let system: Arc<dyn Buffers> = Arc::new(System);
        let done = super::with_backend!(plan.options.backend, B => {
            Forward::<B>::load(plan, weights, workspace, &system, &watch)
                .map(|forward| Box::new(Evaluation { blocks: BlockTable::default(), kv, forward }) as Box<dyn Evaluate>)
        });
        watch.end(done).map(Evaluator)
    }

    /// The logits of every position of `ids`, row after row of `vocab` values, computed from nothing. The text is fed in
    /// pieces of at most `chunk` tokens; the result does not depend on it beyond rounding.
    ///
    /// # Errors
    /// `ids` is empty, longer than the context or has an id beyond the vocabulary; `kv` does not pay for it; memory is
    /// refused.
    pub fn logits(&mut self, ids: &[u32], chunk: usize) -> Result<Vec<f32>, EngineError> {
        self.0.logits(ids, chunk)
    }
}

trait Evaluate: Send {
    fn logits(&mut self, ids: &[u32], chunk: usize) -> Result<Vec<f32>, EngineError>;
}

struct Evaluation<B: Backend> {
    /// All blocks of all layers: nothing rolls.
    blocks: BlockTable<B::Block>,
    kv: Lease,
    forward: Forward<B>,
}

impl<B: Backend> Evaluation<B> {
    /// Blocks for this many tokens, each with its share of the lease.
    fn reserve(&mut self, tokens: usize) -> Result<(), EngineError> {
        let backend = &mut self.forward.backend;
        let count = tokens.div_ceil(backend.spec().block_tokens);
        let kinds = [(Layers::Whole, &mut self.blocks.whole), (Layers::Rolling, &mut self.blocks.rolling)];
        for (layers, blocks) in kinds {
            let bytes = backend.spec().block_bytes(layers).ok_or(EngineError::PriceOverflow)?;
            let count = if bytes > 0 { count } else { 0 };
            for _ in blocks.len()..count {
                let lease = self.kv.split(bytes);
                let lease = lease.map_err(|short| EngineError::Unpaid {
                    what: "KV",
                    paid: short.held,
                    needed: short.asked,
                })?;
                blocks.push(KvBlock::new(backend.allocate_block(layers)?, lease));
            }
        }
        Ok(())
    }
}

impl<B: Backend> Evaluate for Evaluation<B> {
    fn logits(&mut self, ids: &[u32], chunk: usize) -> Result<Vec<f32>, EngineError> {
        let spec = self.forward.backend.spec();
        let (vocab, rows_at_once) = (spec.vocab, spec.max_sequences);
        let chunk = chunk.clamp(1, spec.max_rows);
        let invalid = |what: String| Err(EngineError::Invalid(what));
        if ids.is_empty() || ids.len() > spec.context {
            return invalid(format!("a text of {} tokens; it must be from 1 to {}", ids.len(), spec.context));
        }
        if let Some(id) = ids.iter().find(|id| **id as usize >= vocab) {
            return invalid(format!("token id {id} is not below the vocabulary's {vocab}"));
        }
        self.reserve(ids.len())?;
        let mut all = Vec::new();
        let size = ids.len().checked_mul(vocab).ok_or(EngineError::PriceOverflow)?;
        let bytes = size as u64 * size_of::<f32>() as u64;
        let region = plimsoll_engine::Region::Host;
        all.try_reserve_exact(size).map_err(|_| EngineError::OutOfMemory { region, bytes })?;
        let mut position = 0;
        for piece in ids.chunks(chunk) {
            let span = OneSpan { rows: piece.len(), position, blocks: &self.blocks };
            let positions: Vec<u32> =
                (position..position + piece.len()).map(|position| position as u32).collect();
            self.forward.states(&span, piece, &positions)?;
            let rows: Vec<u32> = (0..piece.len() as u32).collect();
            for wanted in rows.chunks(rows_at_once) {
                self.forward.head(wanted)?;
                all.extend_from_slice(self.forward.backend.logits(wanted.len())?);
            }
            position += piece.len();
        }
        Ok(all)
    }
}

struct OneSpan<'a, Block> {
    rows: usize,
    position: usize,
    blocks: &'a BlockTable<Block>,
}

impl<Block: Send + Sync> Spans<Block> for OneSpan<'_, Block> {
    fn count(&self) -> usize {
        1
    }

    fn span(&self, _: usize) -> Span<'_, Block> {
        Span { first_row: 0, rows: self.rows, position: self.position, blocks: self.blocks }
    }
}
