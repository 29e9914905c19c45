//! A step executor that follows a script.

use super::memory::{Allocation, Purpose, ScriptedMemory};
use super::{Fault, Misstep, Script, ScriptedConfig};
use plimsoll_engine::{EngineError, Request, RequestId, Shape, TokenEvent, TopLogprob};
use plimsoll_scheduler::{Lane, Layers, Limits, StepExecutor};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One lane's part in a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fed {
    /// Whose.
    pub request: RequestId,
    /// Where the first fed token stands.
    pub position: usize,
    /// The fed tokens.
    pub tokens: Vec<u32>,
    /// The token that was chosen after them.
    pub sampled: Option<u32>,
}

/// What every completed step fed, shared between an executor and a test.
#[derive(Clone, Debug, Default)]
pub struct Record(Arc<Mutex<Vec<Vec<Fed>>>>);

impl Record {
    /// The steps so far.
    pub fn steps(&self) -> Vec<Vec<Fed>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<Fed>>> {
        // Whole steps are pushed, so a poisoned lock is safe to enter.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Feeds ids into blocks of real memory and samples by a [`Script`].
pub struct ScriptedExecutor {
    limits: Limits,
    vocab_size: u32,
    memory: Arc<ScriptedMemory>,
    workspace: Allocation,
    held: Vec<u32>,
    step_time: Duration,
    missteps: BTreeMap<u64, Misstep>,
    script: Option<Script>,
    record: Option<Record>,
    fault: Option<Fault>,
    leaked: Vec<Arc<Allocation>>,
    steps: u64,
}

impl fmt::Debug for ScriptedExecutor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedExecutor").field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl ScriptedExecutor {
    /// An executor whose workspace is allocated.
    ///
    /// # Errors
    /// Sizes that do not fit together; [`EngineError::OutOfMemory`].
    pub fn new(config: &ScriptedConfig, memory: &Arc<ScriptedMemory>) -> Result<Self, EngineError> {
        config.check()?;
        let unbooked = if config.fault == Some(Fault::UnbookedWorkspace) { 4096 } else { 0 };
        Ok(ScriptedExecutor {
            limits: config.limits,
            vocab_size: config.vocab_size,
            workspace: memory.allocate(Purpose::Workspace, config.workspace_bytes + unbooked)?,
            memory: Arc::clone(memory),
            held: Vec::with_capacity(config.limits.context_length),
            step_time: config.step_time,
            missteps: config.missteps.clone(),
            script: config.script.clone(),
            record: config.record.clone(),
            fault: config.fault,
            leaked: Vec::new(),
            steps: 0,
        })
    }

    /// Chooses the token after the last fed one from what the lane's blocks hold.
    fn choose(&mut self, lane: &Lane<Self>) -> u32 {
        let block_tokens = self.limits.block_tokens;
        let end = lane.position + lane.feed;
        let scratch = self.workspace.words();
        for (position, word) in scratch[..end].iter().enumerate() {
            let block = lane.blocks.whole[position / block_tokens].data().words();
            word.store(block[position % block_tokens].load(Ordering::Relaxed), Ordering::Relaxed);
        }
        self.held.clear();
        self.held.extend(scratch[..end].iter().map(|id| id.load(Ordering::Relaxed)));
        match &self.script {
            Some(script) => script(&self.held),
            None => hash(&self.held) % self.vocab_size,
        }
    }

    fn misstep(&mut self) -> Result<(), EngineError> {
        let step = self.steps;
        self.steps += 1;
        match self.missteps.get(&step) {
            None => Ok(()),
            Some(Misstep::Sleep(time)) => {
                std::thread::sleep(*time);
                Ok(())
            }
            Some(Misstep::Panic) => panic!("scripted panic in step {step}"),
            Some(Misstep::Fail(error)) => Err(error.clone()),
        }
    }
}

/// A hash of ids in their order.
fn hash(ids: &[u32]) -> u32 {
    let mixed = ids.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &id| {
        (hash ^ u64::from(id)).wrapping_mul(0x0100_0000_01b3).rotate_left(17)
    });
    // The upper half, of which each bit depends on all ids.
    (mixed >> 32) as u32
}

impl StepExecutor for ScriptedExecutor {
    type Block = Arc<Allocation>;
    type Sequence = RequestId;

    fn limits(&self) -> Limits {
        self.limits
    }

    fn sequence_bytes(_: &Limits, _: &Shape) -> Option<u64> {
        Some(0)
    }

    fn allocate(&mut self, _: Layers) -> Result<Self::Block, EngineError> {
        let block = Arc::new(self.memory.allocate(Purpose::Kv, self.limits.block_bytes)?);
        if self.fault == Some(Fault::LeakedBlock) && self.leaked.is_empty() {
            self.leaked.push(Arc::clone(&block));
        }
        Ok(block)
    }

    fn open(&mut self, request: &Request) -> Result<RequestId, EngineError> {
        match request.tokens.iter().find(|&&id| id >= self.vocab_size) {
            None => Ok(request.id),
            Some(id) => Err(EngineError::Invalid(format!(
                "token {id} is beyond the vocabulary of {} tokens",
                self.vocab_size
            ))),
        }
    }

    fn copy(&mut self, from: &Self::Block, to: &Self::Block) -> Result<bool, EngineError> {
        for (from, to) in from.words().iter().zip(to.words()) {
            to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        Ok(true)
    }

    fn step(&mut self, lanes: &mut [Lane<Self>]) -> Result<(), EngineError> {
        if !self.step_time.is_zero() {
            std::thread::sleep(self.step_time);
        }
        let block_tokens = self.limits.block_tokens;
        for lane in lanes.iter().filter(|lane| lane.feed > 0) {
            for position in lane.position..lane.position + lane.feed {
                lane.blocks.whole[position / block_tokens].data().words()[position % block_tokens]
                    .store(lane.tokens[position], Ordering::Relaxed);
            }
        }
        self.misstep()?;
        for lane in lanes.iter_mut().filter(|lane| lane.sample) {
            let id = self.choose(lane);
            lane.sampled = TokenEvent { id, logprob: -0.5 };
            let alternatives = lane.tops.capacity();
            lane.tops.clear();
            let vocab_size = self.vocab_size;
            lane.tops.extend((0_u16..).take(alternatives).map(|rank| TopLogprob {
                id: (id + u32::from(rank)) % vocab_size,
                logprob: -0.5 - f32::from(rank),
            }));
        }
        if let Some(record) = &self.record {
            let fed = |lane: &Lane<Self>| Fed {
                request: lane.sequence,
                position: lane.position,
                tokens: lane.tokens[lane.position..lane.position + lane.feed].to_vec(),
                sampled: lane.sample.then_some(lane.sampled.id),
            };
            let step = lanes.iter().filter(|lane| lane.feed > 0).map(fed).collect();
            record.lock().push(step);
        }
        Ok(())
    }
}
