//! An engine without a model: the real scheduler over an executor that does as it is told.
//!
//! Its KV blocks are real memory and hold the ids that were fed; the next token is a function of what the blocks hold. So
//! a block that is missing, stale or swapped changes the text, as it does with a model.

mod engine;
mod executor;
mod memory;

pub use engine::{LoadError, ScriptedEngine, scripted_subject};
pub use executor::{Fed, Record, ScriptedExecutor};
pub use memory::{Allocation, Purpose, ScriptedMemory};

use plimsoll_engine::{EngineError, Region};
use plimsoll_scheduler::Limits;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Chooses the next token from the ids of which KV is held, the last fed one included. It answers ids of the vocabulary.
pub type Script = Arc<dyn Fn(&[u32]) -> u32 + Send + Sync>;

/// What a step does besides its work.
#[derive(Clone, Debug)]
pub enum Misstep {
    /// It takes this long.
    Sleep(Duration),
    /// It panics before it samples.
    Panic,
    /// It fails.
    Fail(EngineError),
}

/// A fault that the suite must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The KV lease of each job is returned twice.
    DoubleRelease,
    /// A block's memory stays allocated after its request and its lease have gone.
    LeakedBlock,
    /// More workspace is allocated than is leased.
    UnbookedWorkspace,
}

/// How a scripted engine is made.
#[derive(Clone)]
pub struct ScriptedConfig {
    /// The executor's limits; a block has at least 4 bytes per token, in multiples of 4.
    pub limits: Limits,
    /// Ids are below this.
    pub vocab_size: u32,
    /// Where everything lives: the host, or a scripted device.
    pub region: Region,
    /// Bytes of weights, in multiples of 4.
    pub weights_bytes: u64,
    /// Bytes of workspace, in multiples of 4: 4 for each token of the context at least.
    pub workspace_bytes: u64,
    /// Bytes that the region has.
    pub capacity: u64,
    /// The allocation, counted from 0, that the region refuses though there is room.
    pub refuse_allocation: Option<u64>,
    /// Most requests that wait.
    pub queue: usize,
    /// How long each step takes.
    pub step_time: Duration,
    /// What single steps do besides, counted from 0.
    pub missteps: BTreeMap<u64, Misstep>,
    /// Chooses tokens; `None` takes a hash of all ids.
    pub script: Option<Script>,
    /// Records what is fed.
    pub record: Option<Record>,
    /// A planted fault.
    pub fault: Option<Fault>,
}

impl Default for ScriptedConfig {
    fn default() -> Self {
        let limits = Limits {
            block_tokens: 16,
            block_bytes: 256,
            rolling: None,
            max_sequences: 4,
            max_step_tokens: 24,
            context_length: 256,
        };
        ScriptedConfig {
            limits,
            vocab_size: 1000,
            region: Region::Host,
            weights_bytes: 1 << 16,
            workspace_bytes: 1 << 12,
            capacity: 1 << 24,
            refuse_allocation: None,
            queue: 8,
            step_time: Duration::from_micros(200),
            missteps: BTreeMap::new(),
            script: None,
            record: None,
            fault: None,
        }
    }
}

impl fmt::Debug for ScriptedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedConfig")
            .field("limits", &self.limits)
            .field("region", &self.region)
            .field("fault", &self.fault)
            .finish_non_exhaustive()
    }
}

impl ScriptedConfig {
    fn check(&self) -> Result<(), EngineError> {
        let Limits { block_tokens, block_bytes, context_length, .. } = self.limits;
        let words = |bytes: u64, least: usize| bytes.is_multiple_of(4) && bytes / 4 >= least as u64;
        let fits = words(block_bytes, block_tokens)
            && self.limits.rolling.is_none()
            && words(self.weights_bytes, 0)
            && words(self.workspace_bytes, context_length)
            && self.vocab_size > 0;
        if fits { Ok(()) } else { Err(EngineError::Invalid(format!("sizes that do not fit: {self:?}"))) }
    }
}
