//! A mixture of experts in place of the feed-forward part.

use super::{Decoder, gated};
use crate::backend::{Backend, Into as How, Slot};
use crate::weights::Mixture;
use plimsoll_engine::EngineError;

impl Decoder {
    /// Adds the mixture's output for the first rows of [`Slot::Normed`] to the same rows of `stream`. Expert by expert:
    /// its rows are gathered, go through it side by side, and return with their weights.
    pub(super) fn mix<B: Backend>(
        &mut self,
        backend: &mut B,
        mixture: &Mixture<B>,
        stream: Slot,
        rows: usize,
    ) -> Result<(), EngineError> {
        let activation = self.activation;
        let Some(routing) = &mut self.routing else {
            return Err(EngineError::Execution("a mixture was planned without routing".into()));
        };
        backend.matmul(&mixture.router, None, Slot::Normed, Slot::Router, How::Set, rows)?;
        routing.choose(backend.router(mixture.experts.len(), rows)?, rows)?;
        for (index, expert) in mixture.experts.iter().enumerate() {
            let (tokens, weights) = routing.expert(index);
            if tokens.is_empty() {
                continue;
            }
            backend.gather(tokens)?;
            gated(backend, activation, expert, (Slot::Routed, Slot::Routed, How::Set), tokens.len())?;
            backend.scatter(stream, tokens, weights)?;
        }
        let Some(shared) = &mixture.shared else { return Ok(()) };
        gated(backend, activation, &shared.part, (Slot::Normed, Slot::Routed, How::Set), rows)?;
        backend.matmul(&shared.gate, None, Slot::Normed, Slot::Router, How::Set, rows)?;
        let (tokens, weights) = routing.share(backend.router(1, rows)?)?;
        backend.scatter(stream, tokens, weights)
    }
}
