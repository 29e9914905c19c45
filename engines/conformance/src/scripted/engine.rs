//! The scripted executor as an engine.

use super::memory::{Allocation, Purpose, ScriptedMemory};
use super::{Fault, ScriptedConfig, ScriptedExecutor};
use crate::Subject;
use crossbeam_channel::Sender;
use plimsoll::guard::{GuardConfig, GuardError, MemoryGuard, Refusal};
use plimsoll_engine::{
    Capabilities, Clock, Engine, EngineError, Estimate, Holdings, Job, Lease, ModelId, Owner, Reading,
    Region, Rejected, SessionKey, Shape, SystemClock,
};
use plimsoll_scheduler::{Config, Handle, Limits, price, spawn};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Why a scripted engine was not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The guard has no room.
    #[error("{0}")]
    Refused(Refusal),
    /// The configuration makes no sense, or memory was refused.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The guard of a subject could not be made.
    #[error("{0}")]
    Guard(GuardError),
}

/// The real scheduler over a [`ScriptedExecutor`].
#[derive(Debug)]
pub struct ScriptedEngine {
    // Fields drop in this order: thread and workspace, weights, and only then what pays for them.
    handle: Handle,
    _weights: Allocation,
    _leases: [Lease; 2],
    memory: Arc<ScriptedMemory>,
    capabilities: Capabilities,
    limits: Limits,
    workspace_bytes: u64,
    fault: Option<Fault>,
}

impl ScriptedEngine {
    /// Leases weights and workspace, allocates them and starts the scheduler.
    ///
    /// # Errors
    /// Sizes that do not fit together, a refusal, [`EngineError::OutOfMemory`].
    pub fn load(
        guard: &Arc<MemoryGuard>,
        model: ModelId,
        config: &ScriptedConfig,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<ScriptedEngine>, LoadError> {
        let ScriptedConfig { limits, region, weights_bytes, workspace_bytes, fault, .. } = *config;
        let lease = |owner, bytes| guard.lease(region, owner, bytes).map_err(LoadError::Refused);
        let leases =
            [lease(Owner::Weights(model), weights_bytes)?, lease(Owner::Workspace(model), workspace_bytes)?];
        let memory = ScriptedMemory::new(region, config.capacity, config.refuse_allocation);
        let weights = memory.allocate(Purpose::Weights, weights_bytes)?;
        let executor = ScriptedExecutor::new(config, &memory)?;
        let scheduler =
            Config { model: "scripted".into(), queue: config.queue, kv_region: region, ..Config::default() };
        let handle = spawn(executor, &scheduler, clock)?;
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let capabilities = Capabilities {
            name: "scripted".into(),
            context_length: count(limits.context_length),
            vocab_size: config.vocab_size,
            block_tokens: count(limits.block_tokens),
            kv_region: region,
            max_sequences: count(limits.max_sequences),
        };
        Ok(Arc::new(ScriptedEngine {
            handle,
            _weights: weights,
            _leases: leases,
            memory,
            capabilities,
            limits,
            workspace_bytes,
            fault,
        }))
    }

    /// Its region, to look into.
    pub fn memory(&self) -> &Arc<ScriptedMemory> {
        &self.memory
    }
}

impl Engine for ScriptedEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError> {
        price::<ScriptedExecutor>(&self.limits, self.capabilities.kv_region, self.workspace_bytes, shape)
    }

    fn submit(&self, mut job: Job) -> Result<(), Box<Rejected>> {
        if self.fault == Some(Fault::DoubleRelease) {
            release_twice(&mut job.kv);
        }
        self.handle.submit(job)
    }

    fn reclaim(&self, session: SessionKey, freed: Sender<u64>) {
        self.handle.reclaim(session, freed);
    }

    fn holdings(&self) -> Holdings {
        self.memory.held()
    }
}

/// Returns a lease's bytes now, though it will return them again. No safe code can, so this is what a bug in unsafe code
/// or across a language border would do.
fn release_twice(lease: &mut Lease) {
    let Ok(reference) = lease.split(0) else { return };
    // One more reference to the books, which the copy takes with it when it goes.
    std::mem::forget(reference);
    // SAFETY: `lease` is valid for reads. The copy shares its reference to the books, and that was paid for by the
    // forgotten part just above; its other fields are plain numbers. So dropping both touches no freed memory: it only
    // returns the same bytes twice.
    drop(unsafe { std::ptr::read(lease) });
}

/// A scripted engine under a guard of its own with 16 MiB in the engine's region and on the host.
///
/// # Errors
/// As [`ScriptedEngine::load`].
pub fn scripted_subject(config: &ScriptedConfig) -> Result<Subject, LoadError> {
    const ROOM: u64 = 1 << 24;
    let devices = match config.region {
        Region::Device(index) => vec![(index, ROOM)],
        _ => Vec::new(),
    };
    let settings = GuardConfig {
        budget: Some(ROOM),
        pressure: None,
        device_budgets: devices,
        threshold: 1.0,
        reserve: Some(0),
        reclaim_deadline: Duration::from_secs(30),
        ..GuardConfig::default()
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let unread = Arc::new(Mutex::<Option<Reading>>::new(None));
    let guard = MemoryGuard::new(settings, unread, Arc::clone(&clock)).map_err(LoadError::Guard)?;
    let model = ModelId(1);
    let engine = ScriptedEngine::load(&guard, model, config, Arc::clone(&clock))?;
    let vocab = u64::from(config.vocab_size);
    // Below the vocabulary's size, so it fits.
    let id = move |seed: u64, at: u64| u32::try_from((seed * 131 + at * 7) % vocab).unwrap_or(0);
    Ok(Subject {
        engine,
        guard,
        clock,
        models: vec![model],
        leases: Vec::new(),
        prompt: Box::new(move |seed, length| (0..length as u64).map(|at| id(seed, at)).collect()),
        deterministic: true,
        queue: config.queue,
        patience: Duration::from_secs(60),
    })
}
