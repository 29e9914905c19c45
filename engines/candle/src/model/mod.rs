//! One decoder for every supported family, assembled from its configuration and generic over the backend.

mod rope;
mod unbuilt;

pub(crate) use rope::inv_freq;
pub(crate) use unbuilt::refuse_unbuilt;

use crate::backend::{Backend, Into as How, Slot, Spans};
use crate::weights::{LayerWeights, Linear, Weights};
use plimsoll_engine::EngineError;
use plimsoll_formats::ModelConfig;

/// The order of operations; it holds no memory of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder {
    eps: f32,
}

impl Decoder {
    /// The decoder of a configuration. What the configuration switches on and off (biases, head norms, a tied head) is
    /// seen in which weights there are.
    pub(crate) fn new(config: &ModelConfig) -> Self {
        Decoder { eps: config.rms_norm_eps as f32 }
    }

    /// Feeds one row per id through all layers: writes their KV and leaves their final states in [`Slot::Hidden`].
    /// `ids` and `positions` have one entry for each row of `spans`, in their order.
    pub(crate) fn forward<B: Backend, S: Spans<B::Block>>(
        &self,
        backend: &mut B,
        weights: &Weights<B>,
        spans: &S,
        ids: &[u32],
        positions: &[u32],
    ) -> Result<(), EngineError> {
        backend.embed(&weights.embed, ids)?;
        backend.rope_prepare(positions)?;
        for (index, layer) in weights.layers.iter().enumerate() {
            self.attend(backend, layer, index, spans, ids.len())?;
            self.feed_forward(backend, layer, ids.len())?;
        }
        Ok(())
    }

    /// Logits of these rows of [`Slot::Hidden`], in their order, into [`Slot::Logits`]; at most `max_sequences` rows.
    pub(crate) fn head<B: Backend>(
        &self,
        backend: &mut B,
        weights: &Weights<B>,
        wanted: &[u32],
    ) -> Result<(), EngineError> {
        if wanted.is_empty() {
            return Ok(());
        }
        backend.select(wanted)?;
        backend.rms_norm(Slot::Last, &weights.norm, self.eps, Slot::Last, wanted.len())?;
        backend.matmul(&weights.head, None, Slot::Last, Slot::Logits, How::Set, wanted.len())
    }

    fn attend<B: Backend, S: Spans<B::Block>>(
        &self,
        backend: &mut B,
        layer: &LayerWeights<B>,
        index: usize,
        spans: &S,
        rows: usize,
    ) -> Result<(), EngineError> {
        backend.rms_norm(Slot::Hidden, &layer.attn_norm, self.eps, Slot::Normed, rows)?;
        apply(backend, &layer.q, Slot::Normed, Slot::Query, How::Set, rows)?;
        apply(backend, &layer.k, Slot::Normed, Slot::Key, How::Set, rows)?;
        apply(backend, &layer.v, Slot::Normed, Slot::Value, How::Set, rows)?;
        if let Some((q_norm, k_norm)) = &layer.qk_norm {
            backend.head_norm(Slot::Query, q_norm, self.eps, rows)?;
            backend.head_norm(Slot::Key, k_norm, self.eps, rows)?;
        }
        backend.rope(rows)?;
        backend.store_kv(index, spans)?;
        backend.attention(index, spans)?;
        apply(backend, &layer.o, Slot::Attended, Slot::Hidden, How::Add, rows)
    }

    fn feed_forward<B: Backend>(
        &self,
        backend: &mut B,
        layer: &LayerWeights<B>,
        rows: usize,
    ) -> Result<(), EngineError> {
        backend.rms_norm(Slot::Hidden, &layer.ffn_norm, self.eps, Slot::Normed, rows)?;
        apply(backend, &layer.gate, Slot::Normed, Slot::Gate, How::Set, rows)?;
        apply(backend, &layer.up, Slot::Normed, Slot::Up, How::Set, rows)?;
        backend.swiglu(rows)?;
        apply(backend, &layer.down, Slot::Gate, Slot::Hidden, How::Add, rows)
    }
}

fn apply<B: Backend>(
    backend: &mut B,
    linear: &Linear<B>,
    src: Slot,
    dst: Slot,
    how: How,
    rows: usize,
) -> Result<(), EngineError> {
    backend.matmul(&linear.matrix, linear.bias.as_ref(), src, dst, how, rows)
}
