//! Where the decoder's operations run.
//!
//! The decoder is generic over [`Backend`], so dispatch is static within a step. Activations live in named [`Slot`]s,
//! matrices of f32 with one row per token, whose sizes follow from a `StepSpec`: a backend plans its workspace from it
//! before the first token, and the plan's bytes are what the ledger leases.

pub(crate) mod candle;
pub(crate) mod cpu;
mod spec;

pub(crate) use candle::CandleBackend;
pub(crate) use cpu::CpuBackend;
pub(crate) use spec::{ExpertSpec, MAX_ROPES, RopeSpec, StepSpec, WindowSpec};
pub use spec::{KvDtype, MAX_THREADS};

use plimsoll_engine::{Buffers, EngineError, Source};
use plimsoll_formats::{Activation, Dtype};
use plimsoll_scheduler::{BlockTable, KvBlock, Layers};
use std::sync::Arc;

/// A named activation: a row of f32 per token of the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Slot {
    /// `[rows, hidden]`: the residual stream.
    Hidden,
    /// `[rows, hidden]`: the normalised input of a sub-layer.
    Normed,
    /// `[rows, heads * head_dim]`.
    Query,
    /// `[rows, kv_heads * head_dim]`.
    Key,
    /// `[rows, kv_heads * head_dim]`.
    Value,
    /// `[rows, heads * head_dim]`: attention's output before its projection.
    Attended,
    /// `[rows, width]`, packed at the width of the feed-forward part that runs, at most `intermediate`; takes the
    /// gated product in place.
    Gate,
    /// `[rows, width]` as above.
    Up,
    /// `[rows, hidden]`: the rows of one expert, in and then out.
    Routed,
    /// `[rows, experts]`: the router's scores; the gate of the expert that all rows share is packed at width 1.
    Router,
    /// `[max_sequences, hidden]`: the rows whose logits are wanted.
    Last,
    /// `[max_sequences, vocab]`.
    Logits,
}

impl Slot {
    /// Whether rows may be packed narrower than the slot is wide.
    pub fn is_elastic(self) -> bool {
        matches!(self, Slot::Gate | Slot::Up | Slot::Router)
    }

    /// All of them, in order.
    pub const ALL: [Slot; 12] = [
        Slot::Hidden,
        Slot::Normed,
        Slot::Query,
        Slot::Key,
        Slot::Value,
        Slot::Attended,
        Slot::Gate,
        Slot::Up,
        Slot::Routed,
        Slot::Router,
        Slot::Last,
        Slot::Logits,
    ];
}

/// One sequence's share of a step.
#[derive(Clone, Copy)]
pub struct Span<'a, B> {
    /// Its first row in the slots.
    pub first_row: usize,
    /// Its rows.
    pub rows: usize,
    /// Position of its first row in the sequence: so many tokens are already in the blocks.
    pub position: usize,
    /// Its KV blocks, enough for `position + rows` tokens and for what these attend to.
    pub blocks: &'a BlockTable<B>,
}

/// Where the KV of one layer is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// In which blocks.
    layers: Layers,
    /// The layer's number within these.
    pub(crate) number: usize,
}

impl Place {
    /// The blocks of a span that have it, and how many came before the first of them.
    pub(crate) fn blocks<'a, B>(&self, span: &Span<'a, B>) -> (&'a [KvBlock<B>], usize) {
        span.blocks.of(self.layers)
    }
}

/// The sequences of a step, without a list of their own: a step allocates nothing.
pub trait Spans<B>: Sync {
    /// How many sequences take part.
    fn count(&self) -> usize;
    /// The one with this index, below [`Spans::count`].
    fn span(&self, index: usize) -> Span<'_, B>;
}

/// Checks that there is this layer, that the spans lie within the step's rows and that their blocks are enough, for what
/// `attention` looks at too where there is one. Returns the end of the last row and where the layer's KV is.
pub(crate) fn check_spans<B, S: Spans<B>>(
    spec: &StepSpec,
    layer: usize,
    attention: Option<Attention>,
    spans: &S,
) -> Result<(usize, Place), EngineError> {
    let Some((layers, number)) = spec.place(layer) else {
        return Err(EngineError::Execution(format!("layer {layer} of {} does not exist", spec.layers)));
    };
    let place = Place { layers, number };
    let mut rows = 0;
    for index in 0..spans.count() {
        let span = spans.span(index);
        let (blocks, before) = place.blocks(&span);
        let end = span.first_row.checked_add(span.rows).filter(|end| *end <= spec.max_rows);
        let tokens = span.position.checked_add(span.rows);
        let room = before.saturating_add(blocks.len()).saturating_mul(spec.block_tokens);
        let from = attention.map_or(span.position, |attention| attention.first(span.position));
        let begun = before.saturating_mul(spec.block_tokens) <= from;
        let (Some(end), Some(true), true) = (end, tokens.map(|tokens| tokens <= room), begun) else {
            return Err(EngineError::Execution(format!("sequence {index} of the step does not fit")));
        };
        rows = rows.max(end);
    }
    Ok((rows, place))
}

/// What a layer's attention looks at, and how its scores are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attention {
    /// What the products of queries and keys are multiplied by.
    pub scale: f32,
    /// Scores then become `cap * tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// How many tokens a row looks at, its own included; `None` for all before it.
    pub window: Option<usize>,
}

impl Attention {
    /// The first token that a row at `position` looks at.
    pub fn first(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }
}

/// Fills the slice with the tensor's next bytes from its file, in file order.
pub type Fill<'a> = dyn FnMut(&mut [u8]) -> Result<(), EngineError> + 'a;

/// What to do with the destination of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Into {
    /// Overwrite it.
    Set,
    /// Add to it: the residual connection.
    Add,
}

/// A matrix to be multiplied with inputs that it shares with others.
pub struct Product<'a, B: Backend> {
    /// `[rows (outputs), cols (inputs)]`.
    pub matrix: &'a B::Matrix,
    /// Added to each row of products.
    pub bias: Option<&'a B::Vector>,
    /// What is overwritten with the products.
    pub dst: Slot,
}

impl<B: Backend> Product<'_, B> {
    /// Computes it by itself.
    ///
    /// # Errors
    /// Those of [`Backend::matmul`].
    pub fn alone(&self, backend: &mut B, src: Slot, rows: usize) -> Result<(), EngineError> {
        backend.matmul(self.matrix, self.bias, src, self.dst, Into::Set, rows)
    }
}

/// A feed-forward part: `down(activation(gate(x)) * up(x))`.
pub struct GatedPart<'a, B: Backend> {
    /// What the gate goes through.
    pub activation: Activation,
    /// Outputs of gate and up, at which their slots are packed.
    pub width: usize,
    /// The gate's product into [`Slot::Gate`], then the other into [`Slot::Up`].
    pub products: [Product<'a, B>; 2],
    /// The way back.
    pub down: Product<'a, B>,
    /// How the way back meets what is at its end.
    pub how: Into,
}

/// A task of [`Backend::share_logits`]: its number, and the logits.
pub type Reader<'a> = dyn Fn(usize, &[f32]) + Sync + 'a;

/// A place where tensors live and operations run. One thread drives it; it may use its own inside.
pub trait Backend: Send + Sized + 'static {
    /// A weight matrix `[rows (outputs), cols (inputs)]` in the layout the backend reads.
    type Matrix: Send + Sync;
    /// A vector of f32: a norm's weight, a bias.
    type Vector: Send + Sync;
    /// One KV block over all layers of a kind. Written through a shared reference by the one thread that steps.
    type Block: Send + Sync;

    /// Its name in configuration: `cpu`, `candle`.
    const NAME: &'static str;

    /// Bytes of the workspace that [`Backend::within`] will commit; pure.
    ///
    /// # Errors
    /// [`EngineError::PriceOverflow`].
    fn workspace_bytes(spec: &StepSpec) -> Result<u64, EngineError>;

    /// What of the workspace is taken from [`Buffers`], in one piece: bytes of a source; pure. `None` where nothing is.
    ///
    /// # Errors
    /// [`EngineError::PriceOverflow`].
    fn arena(spec: &StepSpec) -> Result<Option<(&'static Source, usize)>, EngineError>;

    /// A backend with its workspace committed, taken from `buffers` as far as [`Backend::arena`] says.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    fn within(spec: StepSpec, buffers: &Arc<dyn Buffers>) -> Result<Self, EngineError>;

    /// The same with memory from the system.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    #[cfg(any(test, feature = "kernel-bench"))]
    fn new(spec: StepSpec) -> Result<Self, EngineError> {
        Self::within(spec, &(Arc::new(plimsoll_engine::System) as Arc<dyn Buffers>))
    }

    /// The spec it was made with.
    fn spec(&self) -> &StepSpec;

    /// Bytes of workspace that are allocated: equals [`Backend::workspace_bytes`].
    fn workspace_held(&self) -> u64;

    /// Bytes of a matrix in the backend's layout; pure, `None` on overflow.
    fn matrix_bytes(dtype: Dtype, rows: usize, cols: usize) -> Option<u64>;

    /// Reads a matrix in bounded pieces into the backend's layout.
    ///
    /// # Errors
    /// Those of `fill`; [`EngineError::OutOfMemory`].
    fn load_matrix(
        dtype: Dtype,
        rows: usize,
        cols: usize,
        fill: &mut Fill<'_>,
    ) -> Result<Self::Matrix, EngineError>;

    /// Bytes of a vector in the backend's layout; pure, `None` on overflow.
    fn vector_bytes(len: usize) -> Option<u64>;

    /// Reads a vector (f32, f16 or bf16) as f32.
    ///
    /// # Errors
    /// Those of `fill`; [`EngineError::OutOfMemory`].
    fn load_vector(dtype: Dtype, len: usize, fill: &mut Fill<'_>) -> Result<Self::Vector, EngineError>;

    /// Adds a constant to every value: norms that are stored less one.
    ///
    /// # Errors
    /// [`EngineError::Execution`] where the device fails.
    fn shift_vector(vector: &mut Self::Vector, by: f32) -> Result<(), EngineError>;

    /// A KV block, zeroed, its pages committed.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    fn allocate_block(&mut self, layers: Layers) -> Result<Self::Block, EngineError>;

    /// Copies what a KV block holds to another of the same layers.
    ///
    /// # Errors
    /// [`EngineError::Execution`] for blocks that are not alike or of another backend.
    fn copy_block(&mut self, from: &Self::Block, to: &Self::Block) -> Result<(), EngineError>;

    /// Rows of `table` for `ids` into [`Slot::Hidden`].
    fn embed(&mut self, table: &Self::Matrix, ids: &[u32]) -> Result<(), EngineError>;

    /// `dst = src / sqrt(mean(src^2) + eps) * weight`, row by row.
    fn rms_norm(
        &mut self,
        src: Slot,
        weight: &Self::Vector,
        eps: f32,
        dst: Slot,
        rows: usize,
    ) -> Result<(), EngineError>;

    /// The same within each head of a row, in place: Qwen3's query and key norm.
    fn head_norm(
        &mut self,
        slot: Slot,
        weight: &Self::Vector,
        eps: f32,
        rows: usize,
    ) -> Result<(), EngineError>;

    /// `dst = src * matrix^T (+ bias)`, or added to `dst`.
    fn matmul(
        &mut self,
        matrix: &Self::Matrix,
        bias: Option<&Self::Vector>,
        src: Slot,
        dst: Slot,
        how: Into,
        rows: usize,
    ) -> Result<(), EngineError>;

    /// Several products of the same inputs: `dst = src * matrix^T (+ bias)` for each.
    fn matmul_many<const N: usize>(
        &mut self,
        products: [Product<'_, Self>; N],
        src: Slot,
        rows: usize,
    ) -> Result<(), EngineError> {
        products.iter().try_for_each(|product| product.alone(self, src, rows))
    }

    /// A feed-forward part of `src`. What is in [`Slot::Gate`] and [`Slot::Up`] afterwards is nobody's business.
    fn feed_forward(
        &mut self,
        part: &GatedPart<'_, Self>,
        src: Slot,
        rows: usize,
    ) -> Result<(), EngineError> {
        part.products.iter().try_for_each(|product| product.alone(self, src, rows))?;
        self.gate(part.activation, part.width, rows)?;
        let Product { matrix, bias, dst } = part.down;
        self.matmul(matrix, bias, Slot::Gate, dst, part.how, rows)
    }

    /// Prepares all rotations of this step's rows, one position each.
    fn rope_prepare(&mut self, positions: &[u32]) -> Result<(), EngineError>;

    /// Rotates every head of [`Slot::Query`] and [`Slot::Key`] by the rotation with this index among
    /// `StepSpec::ropes`, as prepared.
    fn rope(&mut self, rope: usize, rows: usize) -> Result<(), EngineError>;

    /// Writes the rows of [`Slot::Key`] and [`Slot::Value`] into the blocks of `layer`.
    fn store_kv<S: Spans<Self::Block>>(&mut self, layer: usize, spans: &S) -> Result<(), EngineError>;

    /// Causal attention of [`Slot::Query`] over the blocks of `layer` into [`Slot::Attended`]; query head `h` reads key
    /// head `h / (heads / kv_heads)`. Tokens before the window are not touched. Rows of no span attend to nothing: what
    /// they get is finite and otherwise not specified.
    fn attention<S: Spans<Self::Block>>(
        &mut self,
        layer: usize,
        attention: Attention,
        spans: &S,
    ) -> Result<(), EngineError>;

    /// `Gate = activation(Gate) * Up`, both packed at this width.
    fn gate(&mut self, activation: Activation, width: usize, rows: usize) -> Result<(), EngineError>;

    /// `slot = slot * factor`.
    fn scale(&mut self, slot: Slot, factor: f32, rows: usize) -> Result<(), EngineError>;

    /// `slot = cap * tanh(slot / cap)`.
    fn softcap(&mut self, slot: Slot, cap: f32, rows: usize) -> Result<(), EngineError>;

    /// `dst = dst + src`, two slots of one width.
    fn add(&mut self, src: Slot, dst: Slot, rows: usize) -> Result<(), EngineError>;

    /// The first rows of [`Slot::Router`], packed at this width, on the host.
    fn router(&mut self, width: usize, rows: usize) -> Result<&[f32], EngineError>;

    /// Copies these rows of [`Slot::Normed`] to [`Slot::Routed`], in order.
    fn gather(&mut self, rows: &[u32]) -> Result<(), EngineError>;

    /// Adds each row of [`Slot::Routed`], times its weight, to the row of `dst` that is listed for it; none is listed
    /// twice.
    fn scatter(&mut self, dst: Slot, rows: &[u32], weights: &[f32]) -> Result<(), EngineError>;

    /// Copies these rows of [`Slot::Hidden`] to [`Slot::Last`], in order.
    fn select(&mut self, rows: &[u32]) -> Result<(), EngineError>;

    /// The first `rows` rows of [`Slot::Logits`], `[rows, vocab]`.
    fn logits(&mut self, rows: usize) -> Result<&[f32], EngineError>;

    /// How many tasks of [`Backend::share_logits`] run side by side.
    fn readers(_: &StepSpec) -> usize {
        1
    }

    /// Runs `task(number, logits)` for every number below `tasks`, with the first `rows` rows of [`Slot::Logits`].
    fn share_logits(&mut self, rows: usize, tasks: usize, task: &Reader<'_>) -> Result<(), EngineError> {
        let logits = self.logits(rows)?;
        (0..tasks).for_each(|number| task(number, logits));
        Ok(())
    }
}
