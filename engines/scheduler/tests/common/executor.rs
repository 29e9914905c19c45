//! An executor whose KV is the token ids themselves and whose next token is a hash of them, so that a wrong, stale or
//! missing block changes the text.

use plimsoll_engine::{EngineError, ManualClock, Region, Request, Shape, TokenEvent, TopLogprob};
use plimsoll_scheduler::{BlockTable, Lane, Layers, Limits, StepExecutor};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

pub const BLOCK_TOKENS: usize = 4;
pub const BLOCK_BYTES: u64 = (BLOCK_TOKENS * size_of::<u32>()) as u64;
/// Bytes of a block of the layers with a window.
pub const ROLLING_BYTES: u64 = 3 * BLOCK_BYTES;
/// Generated ids are below this; prompts may use others.
pub const VOCAB: u32 = 1000;
/// Feeding this id panics.
pub const POISON: u32 = 9_001;
/// Feeding this id panics the first time.
pub const SHY: u32 = 9_002;
/// Feeding this id is an error.
pub const BAD: u32 = 9_003;
/// A request that starts with this id cannot be opened.
pub const CLOSED: u32 = 9_004;

/// A block of real memory.
pub struct Block {
    ids: Box<[AtomicU32]>,
    bytes: u64,
    alive: Arc<AtomicU64>,
}

impl Drop for Block {
    fn drop(&mut self) {
        self.alive.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

/// The id that the blocks of these layers hold for a position.
fn held(table: &BlockTable<Block>, layers: Layers, position: usize) -> &AtomicU32 {
    let (blocks, first) = table.of(layers);
    &blocks[position / BLOCK_TOKENS - first].data().ids[position % BLOCK_TOKENS]
}

/// How long a step takes.
pub type Price = fn(usize, usize) -> Duration;

/// One lane's part in a step: request, position, fed, sampled.
pub type Part = (u64, usize, usize, bool);

pub struct Scripted {
    limits: Limits,
    alive: Arc<AtomicU64>,
    shied: HashSet<u64>,
    /// Steps so far; recorded unless `silent`.
    pub steps: Vec<Vec<Part>>,
    /// Requests in the order they were opened.
    pub opened: Vec<u64>,
    pub silent: bool,
    /// Blocks that were copied, and whether it says so.
    pub copies: usize,
    pub copying: bool,
    /// Allocations until the system refuses one.
    pub allocations_left: usize,
    /// What a step with so many lanes that feed one token, and so many other tokens, takes on this clock.
    pub price: Option<(Arc<ManualClock>, Price)>,
    /// Each step waits for a word from here.
    pub gate: Option<crossbeam_channel::Receiver<()>>,
}

impl Scripted {
    pub fn new(limits: Limits) -> Self {
        Scripted {
            limits,
            alive: Arc::default(),
            shied: HashSet::new(),
            steps: Vec::new(),
            opened: Vec::new(),
            silent: false,
            copies: 0,
            copying: true,
            allocations_left: usize::MAX,
            price: None,
            gate: None,
        }
    }

    /// Bytes of the blocks alive.
    pub fn alive(&self) -> u64 {
        self.alive.load(Ordering::SeqCst)
    }

    /// The counter of the bytes of blocks alive, to be read after the executor is gone.
    pub fn counter(&self) -> Arc<AtomicU64> {
        self.alive.clone()
    }
}

fn next(hash: u64, id: u32) -> u64 {
    (hash ^ u64::from(id)).wrapping_mul(0x0100_0000_01b3)
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

fn token(hash: u64) -> u32 {
    u32::try_from((hash >> 20) % u64::from(VOCAB)).unwrap()
}

/// The text that follows a prompt where some layers keep every token.
pub fn reference(prompt: &[u32], count: usize) -> Vec<u32> {
    reference_of(None, prompt, count)
}

/// The text that follows a prompt where all layers have a window, if one is given: it depends on that alone.
pub fn reference_of(window: Option<usize>, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut text = prompt.to_vec();
    for _ in 0..count {
        let seen = window.map_or(0, |window| text.len().saturating_sub(window));
        text.push(token(text[seen..].iter().copied().fold(SEED, next)));
    }
    text.split_off(prompt.len())
}

impl StepExecutor for Scripted {
    type Block = Block;
    type Sequence = (u64, Vec<u8>);

    fn limits(&self) -> Limits {
        self.limits
    }

    fn sequence_bytes(_: &Limits, shape: &Shape) -> Option<u64> {
        Some(if shape.penalties { 1024 } else { 128 })
    }

    fn allocate(&mut self, layers: Layers) -> Result<Block, EngineError> {
        let bytes = if layers == Layers::Whole { BLOCK_BYTES } else { ROLLING_BYTES };
        let refused = EngineError::OutOfMemory { region: Region::Host, bytes };
        self.allocations_left = self.allocations_left.checked_sub(1).ok_or(refused)?;
        self.alive.fetch_add(bytes, Ordering::SeqCst);
        // What fresh memory holds must not matter.
        let ids = (0..BLOCK_TOKENS).map(|_| AtomicU32::new(0xdead)).collect();
        Ok(Block { ids, bytes, alive: self.alive.clone() })
    }

    fn open(&mut self, request: &Request) -> Result<Self::Sequence, EngineError> {
        if request.tokens.first() == Some(&CLOSED) {
            return Err(EngineError::Invalid("cannot be opened".into()));
        }
        if !self.silent {
            self.opened.push(request.id.0);
        }
        Ok((request.id.0, Vec::with_capacity(if request.sampling.penalises() { 1024 } else { 128 })))
    }

    fn copy(&mut self, from: &Block, to: &Block) -> Result<bool, EngineError> {
        assert_eq!(from.bytes, to.bytes, "blocks of the same layers");
        for (from, to) in from.ids.iter().zip(&to.ids) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.copies += 1;
        Ok(self.copying)
    }

    fn step(&mut self, lanes: &mut [Lane<Self>]) -> Result<(), EngineError> {
        if let Some(gate) = &self.gate {
            // A closed gate stands open.
            let _ = gate.recv();
        }
        let Limits { max_sequences, max_step_tokens, block_tokens, block_bytes, rolling, .. } = self.limits;
        assert!(lanes.len() <= max_sequences);
        let fed: usize = lanes.iter().map(|lane| lane.feed).sum();
        assert!(fed > 0 && fed <= max_step_tokens, "{fed} tokens in a step");
        if let Some((clock, price)) = &self.price {
            let single = lanes.iter().filter(|lane| lane.feed == 1).count();
            clock.advance(price(single, fed - single));
        }
        if !self.silent {
            let part = |lane: &Lane<Self>| (lane.sequence.0, lane.position, lane.feed, lane.sample);
            self.steps.push(lanes.iter().map(part).filter(|part| part.2 > 0).collect());
        }
        for lane in lanes.iter_mut().filter(|lane| lane.feed > 0) {
            let end = lane.position + lane.feed;
            let Lane { tokens, blocks, .. } = &*lane;
            let whole = if block_bytes > 0 { tokens.capacity().div_ceil(block_tokens) } else { 0 };
            assert_eq!((blocks.whole.len(), blocks.whole.capacity()), (whole, whole));
            assert!(blocks.covers(&self.limits, lane.position, lane.feed));
            for (position, &id) in lane.tokens.iter().enumerate().take(end).skip(lane.position) {
                match id {
                    POISON => panic!("poison at {position}"),
                    SHY if self.shied.insert(lane.sequence.0) => panic!("shy at {position}"),
                    BAD => return Err(EngineError::Execution(format!("bad at {position}"))),
                    _ => {}
                }
                let kinds = [(block_bytes > 0, Layers::Whole), (rolling.is_some(), Layers::Rolling)];
                for (_, layers) in kinds.into_iter().filter(|(exists, _)| *exists) {
                    held(blocks, layers, position).store(id, Ordering::Relaxed);
                }
            }
            let load = |layers, at| held(blocks, layers, at).load(Ordering::Relaxed);
            // Each fed token sees its whole window, though the blocks before it may be gone.
            let mut window = 0..0;
            if let Some(rolling) = rolling {
                for position in lane.position..end {
                    window = rolling.first(position)..position + 1;
                    let seen = window.clone().map(|at| load(Layers::Rolling, at));
                    assert!(seen.eq(tokens[window.clone()].iter().copied()), "a window at {position}");
                }
            }
            if lane.sample {
                let id = match block_bytes {
                    0 => token(window.map(|at| load(Layers::Rolling, at)).fold(SEED, next)),
                    _ => token((0..end).map(|at| load(Layers::Whole, at)).fold(SEED, next)),
                };
                lane.sampled = TokenEvent { id, logprob: -1.0 };
                let capacity = lane.tops.capacity();
                lane.tops.clear();
                lane.tops.extend((0..capacity).map(|_| TopLogprob { id, logprob: -1.0 }));
            }
        }
        Ok(())
    }
}
