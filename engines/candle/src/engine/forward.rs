//! A decoder with its weights and its workspace: all that a forward pass needs but KV.

use super::plan::LoadPlan;
use crate::backend::{Backend, Span, Spans, StepSpec};
use crate::model::{Decoder, Routing};
use crate::weights::{Watch, Weights};
use crate::{LoadError, executor};
use plimsoll_engine::{Buffers, EngineError, Lease, LoadState};
use plimsoll_scheduler::BlockTable;
use std::sync::Arc;

/// Weights, workspace and the order of operations over them.
pub(crate) struct Forward<B: Backend> {
    pub(crate) backend: B,
    decoder: Decoder,
    weights: Weights<B>,
    // Declared last, so that the memory is gone before its bytes are free in the books. It pays for the caller's lists
    // too, which the owner of this declares before it.
    _workspace: Lease,
}

impl<B: Backend> Forward<B> {
    /// Bytes of the workspace of a spec: the backend's and the decoder's; pure.
    ///
    /// # Errors
    /// [`EngineError::PriceOverflow`].
    pub(crate) fn workspace_bytes(spec: &StepSpec) -> Result<u64, EngineError> {
        let routing = Routing::bytes(spec).ok_or(EngineError::PriceOverflow)?;
        B::workspace_bytes(spec)?.checked_add(routing).ok_or(EngineError::PriceOverflow)
    }

    /// Bytes of workspace that are allocated.
    pub(crate) fn workspace_held(&self) -> u64 {
        self.backend.workspace_held() + self.decoder.held()
    }

    /// Commits the workspace, reads the weights and runs a first step.
    pub(crate) fn load(
        plan: &LoadPlan,
        weights: Lease,
        mut workspace: Lease,
        buffers: &Arc<dyn Buffers>,
        watch: &Watch<'_>,
    ) -> Result<Self, LoadError> {
        let needed = plan.workspace_bytes();
        if workspace.bytes() < needed {
            return Err(EngineError::Unpaid { what: "workspace", paid: workspace.bytes(), needed }.into());
        }
        workspace.shrink_to(needed);
        // The first thing that is taken, and gone before its lease returns: it may be memory that was kept for this lease.
        let backend = B::within(plan.spec.clone(), buffers)?;
        watch.tell(LoadState::Queued)?;
        let weights = Weights::load(&plan.checkpoint, &plan.weights, weights, watch)?;
        watch.tell(LoadState::Preparing)?;
        let lists = executor::scratch_bytes::<B>(&plan.spec).ok_or(EngineError::PriceOverflow)?;
        let decoder = Decoder::new(&plan.checkpoint.config, &plan.spec)?;
        let held = backend.workspace_held().saturating_add(decoder.held()).saturating_add(lists);
        if held > needed {
            return Err(EngineError::Unpaid { what: "workspace", paid: needed, needed: held }.into());
        }
        let mut forward = Forward { backend, decoder, weights, _workspace: workspace };
        forward.warm()?;
        watch.tell(LoadState::Warm)?;
        Ok(forward)
    }

    /// Feeds a row per id and leaves logits of the `wanted` rows, in their order, for [`Backend::logits`].
    pub(crate) fn step<S: Spans<B::Block>>(
        &mut self,
        spans: &S,
        ids: &[u32],
        positions: &[u32],
        wanted: &[u32],
    ) -> Result<(), EngineError> {
        self.decoder.step(&mut self.backend, &self.weights, spans, (ids, positions), wanted)
    }

    /// Feeds a row per id and keeps all their final states, for [`Forward::head`].
    pub(crate) fn states<S: Spans<B::Block>>(
        &mut self,
        spans: &S,
        ids: &[u32],
        positions: &[u32],
    ) -> Result<(), EngineError> {
        self.decoder.states(&mut self.backend, &self.weights, spans, (ids, positions))
    }

    /// Leaves logits of these rows' states, in their order, for [`Backend::logits`].
    pub(crate) fn head(&mut self, wanted: &[u32]) -> Result<(), EngineError> {
        self.decoder.head(&mut self.backend, &self.weights, wanted)
    }

    /// Bytes of weights held.
    pub(crate) fn weights_bytes(&self) -> u64 {
        self.weights.bytes()
    }

    /// One token through every layer: touches every weight, wakes the threads, and shows whether the weights compute
    /// numbers. It attends to nothing, as no KV is paid for yet.
    fn warm(&mut self) -> Result<(), LoadError> {
        self.step(&NoSpans::default(), &[0], &[0], &[0])?;
        match self.backend.logits(1)?.iter().all(|logit| logit.is_finite()) {
            true => Ok(()),
            false => Err(LoadError::NotNumbers),
        }
    }
}

/// A step of no sequence.
struct NoSpans<Block>(BlockTable<Block>);

impl<Block> Default for NoSpans<Block> {
    fn default() -> Self {
        NoSpans(BlockTable::default())
    }
}

impl<Block: Send + Sync> Spans<Block> for NoSpans<Block> {
    fn count(&self) -> usize {
        0
    }

    fn span(&self, _: usize) -> Span<'_, Block> {
        Span { first_row: 0, rows: 0, position: 0, blocks: &self.0 }
    }
}
