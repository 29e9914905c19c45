//! Where the decoder's operations run.
//!
//! The decoder is generic over [`Backend`], so dispatch is static within a step. Activations live in named [`Slot`]s,
//! matrices of f32 with one row per token, whose sizes follow from a [`StepSpec`]: a backend plans its workspace from it
//! before the first token, and the plan's bytes are what the ledger leases.

pub(crate) mod candle;
pub(crate) mod cpu;

pub(crate) use candle::CandleBackend;
pub(crate) use cpu::CpuBackend;

use plimsoll_engine::EngineError;
use plimsoll_formats::Dtype;
use plimsoll_scheduler::KvBlock;

/// Most threads of one backend.
pub const MAX_THREADS: usize = 1024;

/// Element type of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum KvDtype {
    /// 4 bytes per value.
    F32,
    /// 2 bytes per value.
    #[default]
    F16,
}

impl KvDtype {
    /// Bytes per value.
    pub fn size(self) -> usize {
        match self {
            KvDtype::F32 => 4,
            KvDtype::F16 => 2,
        }
    }
}

/// Rotary embedding: which pairs turn, and how fast.
#[derive(Clone, Debug, PartialEq)]
pub struct RopeSpec {
    /// Radians per position for each pair, `head_dim / 2` of them, scaling included.
    pub inv_freq: Vec<f32>,
    /// True: pairs are neighbours (2i, 2i+1). False: halves (i, i + head_dim / 2).
    pub interleaved: bool,
}

/// All that a step's memory depends on.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSpec {
    /// Width of the residual stream.
    pub hidden: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head, of keys and of values.
    pub head_dim: usize,
    /// Ids are below this.
    pub vocab: usize,
    /// Most tokens of one sequence.
    pub context: usize,
    /// Most tokens fed in one step.
    pub max_rows: usize,
    /// Most sequences in one step, hence most rows of logits.
    pub max_sequences: usize,
    /// Tokens per KV block.
    pub block_tokens: usize,
    /// Element type of the KV cache.
    pub kv_dtype: KvDtype,
    /// Threads that compute.
    pub threads: usize,
    /// Rotary embedding.
    pub rope: RopeSpec,
}

impl StepSpec {
    /// Bytes of one KV block over all layers:
    /// `layers * block_tokens * kv_heads * (head_dim + head_dim) * element bytes`; `None` on overflow.
    pub fn block_bytes(&self) -> Option<u64> {
        let per_token =
            self.kv_heads.checked_mul(self.head_dim.checked_mul(2)?)?.checked_mul(self.kv_dtype.size())?;
        u64::try_from(self.layers.checked_mul(self.block_tokens)?.checked_mul(per_token)?).ok()
    }

    /// Most rows of a slot and the values in each; `None` on overflow.
    pub fn extent(&self, slot: Slot) -> Option<(usize, usize)> {
        Some(match slot {
            Slot::Hidden | Slot::Normed => (self.max_rows, self.hidden),
            Slot::Query | Slot::Attended => (self.max_rows, self.heads.checked_mul(self.head_dim)?),
            Slot::Key | Slot::Value => (self.max_rows, self.kv_heads.checked_mul(self.head_dim)?),
            Slot::Gate | Slot::Up => (self.max_rows, self.intermediate),
            Slot::Last => (self.max_sequences, self.hidden),
            Slot::Logits => (self.max_sequences, self.vocab),
        })
    }

    /// Checks what every backend builds on: no size is 0, heads share key heads evenly, the rotation covers a head.
    ///
    /// # Errors
    /// [`EngineError::Invalid`] names the size.
    pub fn validate(&self) -> Result<(), EngineError> {
        let invalid = |what: String| Err(EngineError::Invalid(what));
        let sizes = [
            ("hidden", self.hidden),
            ("intermediate", self.intermediate),
            ("layers", self.layers),
            ("heads", self.heads),
            ("kv_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("vocab", self.vocab),
            ("context", self.context),
            ("max_rows", self.max_rows),
            ("max_sequences", self.max_sequences),
            ("block_tokens", self.block_tokens),
            ("threads", self.threads),
        ];
        if let Some((name, _)) = sizes.iter().find(|(_, size)| *size == 0) {
            return invalid(format!("{name} must not be 0"));
        }
        if self.threads > MAX_THREADS {
            return invalid(format!("threads is {}; it must be at most {MAX_THREADS}", self.threads));
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return invalid(format!("{} heads cannot share {} key heads evenly", self.heads, self.kv_heads));
        }
        if !self.head_dim.is_multiple_of(2) || self.rope.inv_freq.len() != self.head_dim / 2 {
            let pairs = self.rope.inv_freq.len();
            return invalid(format!("a head of {} values cannot be rotated in {pairs} pairs", self.head_dim));
        }
        Ok(())
    }
}

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
    /// `[rows, intermediate]`; takes `silu(gate) * up` in place.
    Gate,
    /// `[rows, intermediate]`.
    Up,
    /// `[max_sequences, hidden]`: the rows whose logits are wanted.
    Last,
    /// `[max_sequences, vocab]`.
    Logits,
}

impl Slot {
    /// All of them, in order.
    pub const ALL: [Slot; 10] = [
        Slot::Hidden,
        Slot::Normed,
        Slot::Query,
        Slot::Key,
        Slot::Value,
        Slot::Attended,
        Slot::Gate,
        Slot::Up,
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
    /// Its KV blocks, enough for `position + rows` tokens.
    pub blocks: &'a [KvBlock<B>],
}

/// The sequences of a step, without a list of their own: a step allocates nothing.
pub trait Spans<B>: Sync {
    /// How many sequences take part.
    fn count(&self) -> usize;
    /// The one with this index, below [`Spans::count`].
    fn span(&self, index: usize) -> Span<'_, B>;
}

/// Checks that there is this layer, that the spans lie within the step's rows and that their blocks are enough. Returns
/// the end of the last row.
pub(crate) fn check_spans<B, S: Spans<B>>(
    spec: &StepSpec,
    layer: usize,
    spans: &S,
) -> Result<usize, EngineError> {
    if layer >= spec.layers {
        return Err(EngineError::Execution(format!("layer {layer} of {} does not exist", spec.layers)));
    }
    let mut rows = 0;
    for index in 0..spans.count() {
        let span = spans.span(index);
        let end = span.first_row.checked_add(span.rows).filter(|end| *end <= spec.max_rows);
        let tokens = span.position.checked_add(span.rows);
        let room = span.blocks.len().saturating_mul(spec.block_tokens);
        let (Some(end), Some(true)) = (end, tokens.map(|tokens| tokens <= room)) else {
            return Err(EngineError::Execution(format!("sequence {index} of the step does not fit")));
        };
        rows = rows.max(end);
    }
    Ok(rows)
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

/// A place where tensors live and operations run. One thread drives it; it may use its own inside.
pub trait Backend: Send + Sized + 'static {
    /// A weight matrix `[rows (outputs), cols (inputs)]` in the layout the backend reads.
    type Matrix: Send + Sync;
    /// A vector of f32: a norm's weight, a bias.
    type Vector: Send + Sync;
    /// One KV block over all layers. Written through a shared reference by the one thread that steps.
    type Block: Send + Sync;

    /// Its name in configuration: `cpu`, `candle`.
    const NAME: &'static str;

    /// Bytes of the workspace that [`Backend::new`] will commit; pure.
    ///
    /// # Errors
    /// [`EngineError::PriceOverflow`].
    fn workspace_bytes(spec: &StepSpec) -> Result<u64, EngineError>;

    /// A backend with its workspace committed.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    fn new(spec: StepSpec) -> Result<Self, EngineError>;

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

    /// A KV block, zeroed, its pages committed.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    fn allocate_block(&mut self) -> Result<Self::Block, EngineError>;

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

    /// Prepares the rotations of this step's rows, one position each.
    fn rope_prepare(&mut self, positions: &[u32]) -> Result<(), EngineError>;

    /// Rotates every head of [`Slot::Query`] and [`Slot::Key`] by the prepared rotations.
    fn rope(&mut self, rows: usize) -> Result<(), EngineError>;

    /// Writes the rows of [`Slot::Key`] and [`Slot::Value`] into the blocks of `layer`.
    fn store_kv<S: Spans<Self::Block>>(&mut self, layer: usize, spans: &S) -> Result<(), EngineError>;

    /// Causal attention of [`Slot::Query`] over the blocks of `layer` into [`Slot::Attended`], scaled by
    /// `1 / sqrt(head_dim)`; query head `h` reads key head `h / (heads / kv_heads)`. Rows of no span attend to nothing:
    /// what they get is finite and otherwise not specified.
    fn attention<S: Spans<Self::Block>>(&mut self, layer: usize, spans: &S) -> Result<(), EngineError>;

    /// `Gate = silu(Gate) * Up`.
    fn swiglu(&mut self, rows: usize) -> Result<(), EngineError>;

    /// Copies these rows of [`Slot::Hidden`] to [`Slot::Last`], in order.
    fn select(&mut self, rows: &[u32]) -> Result<(), EngineError>;

    /// Row `index` of [`Slot::Logits`], `vocab` values.
    fn logits(&mut self, index: usize) -> Result<&[f32], EngineError>;
}
