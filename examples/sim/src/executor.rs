//! A step executor that computes nothing: it holds counted blocks, takes virtual time, and ends answers where their requests
//! say so.

use crate::machine::Machine;
use crate::{Fault, Shape};
use plimsoll_engine::{EngineError, ManualClock, Region, Request, TokenEvent};
use plimsoll_scheduler::{Lane, Layers, Limits, StepExecutor};
use std::sync::Arc;
use std::time::Duration;

/// The id that ends an answer.
pub const END: u32 = 0;
/// The id that every other generated token has.
const WORD: u32 = 1;

/// What a step takes: nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Of every step: reading the weights.
    pub step: u64,
    /// Of a prompt's token.
    pub prompt: u64,
    /// Of a request that decodes.
    pub decode: u64,
    /// Of each token held by those that take part: reading KV.
    pub held: u64,
}

impl Default for Cost {
    fn default() -> Self {
        Cost { step: 8_000_000, prompt: 100_000, decode: 50_000, held: 40 }
    }
}

/// A counted KV block.
#[derive(Debug)]
pub struct Block(Arc<Page>);

#[derive(Debug)]
struct Page {
    machine: Arc<Machine>,
    bytes: u64,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.machine.free_kv(self.bytes);
    }
}

/// A running answer.
#[derive(Debug)]
pub struct Answer {
    /// Tokens until its end, the end-of-text token included.
    left: u64,
}

/// Advances the clock by what each step costs.
pub struct SimExecutor {
    limits: Limits,
    cost: Cost,
    clock: Arc<ManualClock>,
    machine: Arc<Machine>,
    recorded: Option<Duration>,
    fault: Option<Fault>,
    leaked: Vec<Block>,
    opened: u64,
    out_of_order: bool,
    steps: u64,
}

impl SimExecutor {
    /// An executor that has done nothing yet.
    pub fn new(
        limits: Limits,
        cost: Cost,
        clock: Arc<ManualClock>,
        machine: Arc<Machine>,
        fault: Option<Fault>,
    ) -> SimExecutor {
        let (recorded, leaked) = (None, Vec::new());
        SimExecutor {
            limits,
            cost,
            clock,
            machine,
            recorded,
            fault,
            leaked,
            opened: 0,
            out_of_order: false,
            steps: 0,
        }
    }

    /// The next step takes as long as it did once.
    pub fn replay(&mut self, took: Duration) {
        self.recorded = Some(took);
    }

    /// Whether a request was started before one that came earlier.
    pub fn out_of_order(&self) -> bool {
        self.out_of_order
    }

    /// Steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    fn price(&self, lanes: &[Lane<Self>]) -> Duration {
        let cost = self.cost;
        let nanos = lanes.iter().filter(|lane| lane.feed > 0).fold(cost.step, |sum, lane| {
            let fed = if lane.feed == 1 { cost.decode } else { cost.prompt * lane.feed as u64 };
            sum + fed + cost.held * lane.position as u64
        });
        Duration::from_nanos(nanos)
    }
}

impl StepExecutor for SimExecutor {
    type Block = Block;
    type Sequence = Answer;

    fn limits(&self) -> Limits {
        self.limits
    }

    fn sequence_bytes(_: &Limits, _: &Shape) -> Option<u64> {
        Some(0)
    }

    fn allocate(&mut self, layers: Layers) -> Result<Block, EngineError> {
        let bytes = match layers {
            Layers::Whole => self.limits.block_bytes,
            Layers::Rolling => self.limits.rolling.map_or(0, |rolling| rolling.block_bytes),
        };
        if !self.machine.take_kv(bytes) {
            return Err(EngineError::OutOfMemory { region: Region::Host, bytes });
        }
        let block = Block(Arc::new(Page { machine: Arc::clone(&self.machine), bytes }));
        if self.fault == Some(Fault::LeakedBlock) && self.leaked.is_empty() {
            self.leaked.push(Block(Arc::clone(&block.0)));
        }
        Ok(block)
    }

    /// The answer's length comes as the request's seed.
    fn open(&mut self, request: &Request) -> Result<Answer, EngineError> {
        self.out_of_order |= request.id.0 < self.opened;
        self.opened = self.opened.max(request.id.0);
        Ok(Answer { left: request.sampling.seed.unwrap_or(u64::MAX) })
    }

    fn step(&mut self, lanes: &mut [Lane<Self>]) -> Result<(), EngineError> {
        self.steps += 1;
        let took = self.recorded.take().unwrap_or_else(|| self.price(lanes));
        self.clock.advance(took);
        for lane in lanes.iter_mut().filter(|lane| lane.feed > 0 && lane.sample) {
            lane.sequence.left = lane.sequence.left.saturating_sub(1);
            let id = if lane.sequence.left == 0 { END } else { WORD };
            lane.sampled = TokenEvent { id, logprob: 0.0 };
        }
        Ok(())
    }
}
