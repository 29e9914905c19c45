//! What the scheduler drives: anything that can run a step over lanes of tokens.

use crate::{BlockTable, Layers, Rolling};
use plimsoll_engine::{EngineError, Lease, Request, Shape, TokenEvent, TopLogprob};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The fixed limits of a step executor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tokens per KV block.
    pub block_tokens: usize,
    /// Bytes of one KV block over the layers that keep every token; 0 where all layers roll.
    pub block_bytes: u64,
    /// The layers with a sliding window, where there are any.
    pub rolling: Option<Rolling>,
    /// Most lanes in one step.
    pub max_sequences: usize,
    /// Most tokens fed in one step, over all lanes.
    pub max_step_tokens: usize,
    /// Most tokens of one sequence, prompt and generated.
    pub context_length: usize,
}

/// Runs steps. A step feeds each lane that takes part its next tokens and samples where it is asked to.
///
/// The scheduler calls it from one thread. After [`StepExecutor::open`] and the allocation of its blocks, a lane's steps
/// need no further memory.
pub trait StepExecutor: Send + Sized + 'static {
    /// One KV block over all layers of a kind.
    type Block: Send;
    /// What a request needs besides KV: its sampler, its counts.
    type Sequence: Send;

    /// The limits, fixed for the executor's life.
    fn limits(&self) -> Limits;

    /// Heap bytes of [`StepExecutor::Sequence`] for a request of this shape; `None` on overflow.
    fn sequence_bytes(limits: &Limits, shape: &Shape) -> Option<u64>;

    /// A fresh block with its pages committed.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`] when the system refuses.
    fn allocate(&mut self, layers: Layers) -> Result<Self::Block, EngineError>;

    /// The state of a new request.
    ///
    /// # Errors
    /// What the request asks for cannot be done.
    fn open(&mut self, request: &Request) -> Result<Self::Sequence, EngineError>;

    /// Copies what a block holds to another of the same layers. Answers whether it did: an executor that cannot has every
    /// sequence compute its own.
    ///
    /// # Errors
    /// As where it cannot.
    fn copy(&mut self, from: &Self::Block, to: &Self::Block) -> Result<bool, EngineError> {
        let _ = (from, to);
        Ok(false)
    }

    /// Runs one step over the lanes with `feed > 0`: writes the KV of `tokens[position..position + feed]` and, where
    /// `sample` is set, chooses the next token from the last fed one's logits into `sampled` and `tops`.
    /// It changes nothing else in a lane: the scheduler moves the position and appends the token.
    ///
    /// After a panic the scheduler runs every lane that took part once more, alone, to find the one at fault. So the
    /// sequence of a lane should change only where its token is chosen, after all that can panic.
    ///
    /// # Errors
    /// Any error fails every lane that took part.
    fn step(&mut self, lanes: &mut [Lane<Self>]) -> Result<(), EngineError>;
}

/// Bytes of the blocks that are alive, wherever they are.
#[derive(Clone, Debug, Default)]
pub(crate) struct BlockBytes(Arc<AtomicU64>);

impl BlockBytes {
    /// Bytes alive now.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// One block in a [`BlockBytes`].
#[derive(Debug)]
struct Counted(BlockBytes, u64);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(self.1, Ordering::AcqRel);
    }
}

/// A KV block and the lease that pays for it: the block cannot outlive its lease.
#[derive(Debug)]
pub struct KvBlock<B> {
    // Fields drop in this order: the memory is gone before it leaves the count, and that before its bytes are free in
    // the books.
    data: B,
    _counted: Option<Counted>,
    lease: Lease,
}

impl<B> KvBlock<B> {
    /// Binds a block to its lease.
    pub fn new(data: B, lease: Lease) -> Self {
        KvBlock { data, _counted: None, lease }
    }

    /// Binds a block to its lease and counts it for as long as it lives.
    pub(crate) fn counted(data: B, alive: &BlockBytes, lease: Lease) -> Self {
        alive.0.fetch_add(lease.bytes(), Ordering::AcqRel);
        let counted = Some(Counted(alive.clone(), lease.bytes()));
        KvBlock { data, _counted: counted, lease }
    }

    /// Frees the block and hands out the lease that paid for it.
    pub(crate) fn into_lease(self) -> Lease {
        let KvBlock { data, _counted, lease } = self;
        drop(data);
        drop(_counted);
        lease
    }

    /// The block's storage.
    pub fn data(&self) -> &B {
        &self.data
    }
}

/// A running request as a step executor sees it.
pub struct Lane<E: StepExecutor> {
    /// Prompt and generated tokens so far; capacity for every granted token.
    pub tokens: Vec<u32>,
    /// Leading tokens whose KV is in `blocks`.
    pub position: usize,
    /// Tokens to feed in this step, from `position`; 0 sits the step out.
    pub feed: usize,
    /// Whether to choose a token after the last fed one.
    pub sample: bool,
    /// Its KV blocks: of the layers that keep every token enough for every granted token, of the others enough for
    /// every step to come.
    pub blocks: BlockTable<E::Block>,
    /// The executor's own state of this request.
    pub sequence: E::Sequence,
    /// Out: the chosen token.
    pub sampled: TokenEvent,
    /// Out: its most likely alternatives, most likely first; capacity for as many as the request asked for.
    pub tops: Vec<TopLogprob>,
}
