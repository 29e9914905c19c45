//! One decoder for every supported family, assembled from its configuration and generic over the backend.

mod layers;
mod mixture;
mod rope;
mod routing;

pub(crate) use rope::rotations;
pub(crate) use routing::Routing;

use crate::backend::{Backend, GatedPart, Into as How, Product, Slot, Spans, StepSpec};
use crate::weights::{FeedForward, Gated, LayerWeights, Linear, Weights};
use layers::LayerFacts;
use plimsoll_engine::EngineError;
use plimsoll_formats::{Activation, ModelConfig};

/// The order of operations. Its only memory is the routing of mixtures; activations are the backend's.
#[derive(Debug)]
pub(crate) struct Decoder {
    eps: f32,
    activation: Activation,
    embedding_scale: Option<f32>,
    logit_softcap: Option<f32>,
    layers: Vec<LayerFacts>,
    routing: Option<Routing>,
}

impl Decoder {
    /// The decoder of a configuration, for steps of this size. What the configuration switches on and off (biases, norms,
    /// mixtures, a tied head) is seen in which weights there are.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    pub(crate) fn new(config: &ModelConfig, spec: &StepSpec) -> Result<Self, EngineError> {
        let normalise = config.experts.as_ref().is_some_and(|experts| experts.normalise);
        Ok(Decoder {
            eps: config.rms_norm_eps as f32,
            activation: config.activation,
            embedding_scale: config.embedding_scale.map(|scale| scale as f32),
            logit_softcap: config.logit_softcap.map(|cap| cap as f32),
            layers: LayerFacts::of(config),
            routing: Routing::new(spec, normalise)?,
        })
    }

    /// Heap bytes held: as many as [`Routing::bytes`] says.
    pub(crate) fn held(&self) -> u64 {
        self.routing.as_ref().map_or(0, Routing::held)
    }

    /// Feeds one row per id through all layers, writes their KV, and leaves logits of the `wanted` rows, at most
    /// `max_sequences` of them, in their order in [`Slot::Logits`]. `ids` and `positions` have one entry for each row of
    /// `spans`, in their order.
    pub(crate) fn step<B: Backend, S: Spans<B::Block>>(
        &mut self,
        backend: &mut B,
        weights: &Weights<B>,
        spans: &S,
        (ids, positions): (&[u32], &[u32]),
        wanted: &[u32],
    ) -> Result<(), EngineError> {
        self.begin(backend, weights, ids, positions)?;
        let last = weights.layers.len().saturating_sub(1);
        for (index, layer) in weights.layers.iter().enumerate() {
            self.attend(backend, layer, index, spans, ids.len())?;
            if index < last {
                self.feed_forward(backend, layer, Slot::Hidden, ids.len())?;
            }
        }
        // Past the last attention no row needs another: only those whose logits are wanted go on.
        if wanted.is_empty() {
            return Ok(());
        }
        backend.select(wanted)?;
        if let Some(layer) = weights.layers.last() {
            self.feed_forward(backend, layer, Slot::Last, wanted.len())?;
        }
        self.output(backend, weights, wanted.len())
    }

    /// The same for all rows, whose final states stay in [`Slot::Hidden`] for [`Decoder::head`].
    pub(crate) fn states<B: Backend, S: Spans<B::Block>>(
        &mut self,
        backend: &mut B,
        weights: &Weights<B>,
        spans: &S,
        (ids, positions): (&[u32], &[u32]),
    ) -> Result<(), EngineError> {
        self.begin(backend, weights, ids, positions)?;
        for (index, layer) in weights.layers.iter().enumerate() {
            self.attend(backend, layer, index, spans, ids.len())?;
            self.feed_forward(backend, layer, Slot::Hidden, ids.len())?;
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
        backend.select(wanted)?;
        self.output(backend, weights, wanted.len())
    }

    fn begin<B: Backend>(
        &self,
        backend: &mut B,
        weights: &Weights<B>,
        ids: &[u32],
        positions: &[u32],
    ) -> Result<(), EngineError> {
        backend.embed(&weights.embed, ids)?;
        if let Some(scale) = self.embedding_scale {
            backend.scale(Slot::Hidden, scale, ids.len())?;
        }
        backend.rope_prepare(positions)
    }

    fn output<B: Backend>(
        &self,
        backend: &mut B,
        weights: &Weights<B>,
        rows: usize,
    ) -> Result<(), EngineError> {
        backend.rms_norm(Slot::Last, &weights.norm, self.eps, Slot::Last, rows)?;
        backend.matmul(&weights.head, None, Slot::Last, Slot::Logits, How::Set, rows)?;
        match self.logit_softcap {
            None => Ok(()),
            Some(cap) => backend.softcap(Slot::Logits, cap, rows),
        }
    }

    fn attend<B: Backend, S: Spans<B::Block>>(
        &self,
        backend: &mut B,
        layer: &LayerWeights<B>,
        index: usize,
        spans: &S,
        rows: usize,
    ) -> Result<(), EngineError> {
        let Some(facts) = self.layers.get(index) else {
            return Err(EngineError::Execution(format!("the configuration has no layer {index}")));
        };
        backend.rms_norm(Slot::Hidden, &layer.attn_norm, self.eps, Slot::Normed, rows)?;
        let heads = [(&layer.q, Slot::Query), (&layer.k, Slot::Key), (&layer.v, Slot::Value)];
        backend.matmul_many(heads.map(product), Slot::Normed, rows)?;
        if let Some((q_norm, k_norm)) = &layer.qk_norm {
            backend.head_norm(Slot::Query, q_norm, self.eps, rows)?;
            backend.head_norm(Slot::Key, k_norm, self.eps, rows)?;
        }
        backend.rope(facts.rope, rows)?;
        backend.store_kv(index, spans)?;
        backend.attention(index, facts.attention, spans)?;
        let through = |backend: &mut B, dst, how| apply(backend, &layer.o, Slot::Attended, dst, how, rows);
        self.join(backend, through, layer.attn_post_norm.as_ref(), Slot::Hidden, rows)
    }

    /// The feed-forward part of the first rows of `stream`, which is [`Slot::Hidden`] or [`Slot::Last`].
    fn feed_forward<B: Backend>(
        &mut self,
        backend: &mut B,
        layer: &LayerWeights<B>,
        stream: Slot,
        rows: usize,
    ) -> Result<(), EngineError> {
        backend.rms_norm(stream, &layer.ffn_norm, self.eps, Slot::Normed, rows)?;
        match &layer.feed_forward {
            FeedForward::Dense(part) => {
                let through = |backend: &mut B, dst, how| {
                    gated(backend, self.activation, part, (Slot::Normed, dst, how), rows)
                };
                self.join(backend, through, layer.ffn_post_norm.as_ref(), stream, rows)
            }
            FeedForward::Mixture(mixture) => self.mix(backend, mixture, stream, rows),
        }
    }

    /// What `through` puts into a slot goes into the residual stream, through a norm where the model has one there.
    fn join<B: Backend>(
        &self,
        backend: &mut B,
        through: impl FnOnce(&mut B, Slot, How) -> Result<(), EngineError>,
        post_norm: Option<&B::Vector>,
        stream: Slot,
        rows: usize,
    ) -> Result<(), EngineError> {
        let Some(norm) = post_norm else {
            return through(backend, stream, How::Add);
        };
        through(backend, Slot::Normed, How::Set)?;
        backend.rms_norm(Slot::Normed, norm, self.eps, Slot::Normed, rows)?;
        backend.add(Slot::Normed, stream, rows)
    }
}

/// A feed-forward part of `src`, into `dst`.
fn gated<B: Backend>(
    backend: &mut B,
    activation: Activation,
    part: &Gated<B>,
    (src, dst, how): (Slot, Slot, How),
    rows: usize,
) -> Result<(), EngineError> {
    let products = [(&part.gate, Slot::Gate), (&part.up, Slot::Up)].map(product);
    let down = product((&part.down, dst));
    backend.feed_forward(&GatedPart { activation, width: part.width, products, down, how }, src, rows)
}

fn product<'a, B: Backend>((linear, dst): (&'a Linear<B>, Slot)) -> Product<'a, B> {
    Product { matrix: &linear.matrix, bias: linear.bias.as_ref(), dst }
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
