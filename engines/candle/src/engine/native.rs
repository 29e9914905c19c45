//! The engine behind the contract: prices and runs requests on a scheduler's thread.

use super::forward::Forward;
use super::plan::LoadPlan;
use crate::LoadError;
use crate::backend::Backend;
use crate::executor::NativeExecutor;
use crate::weights::Watch;
use crossbeam_channel::Sender;
use plimsoll_engine::{
    Buffers, Capabilities, Clock, Engine, EngineError, Entropy, Estimate, Holdings, Job, Lease, Region,
    Rejected, SessionKey, Shape, System, SystemClock, SystemEntropy, Throttle,
};
use plimsoll_scheduler::{Config, Handle, Layers, Limits, price, spawn};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Where an engine's time, seeds and workspace come from.
#[derive(Clone)]
pub struct Environment {
    /// What deadlines are measured on.
    pub clock: Arc<dyn Clock>,
    /// Seeds of requests that name none.
    pub entropy: Arc<dyn Entropy>,
    /// The share of the batch that may run.
    pub throttle: Arc<Throttle>,
    /// Who has memory for its workspace, in pieces of [`LoadPlan::arena`].
    pub buffers: Arc<dyn Buffers>,
}

impl Default for Environment {
    fn default() -> Self {
        Environment {
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(SystemEntropy::default()),
            throttle: Arc::default(),
            buffers: Arc::new(System),
        }
    }
}

/// What an engine is and what requests cost on it: what stays true while it is not loaded.
#[derive(Clone)]
pub struct Pricer {
    capabilities: Capabilities,
    limits: Limits,
    workspace: u64,
    price: fn(&Limits, Region, u64, &Shape) -> Result<Estimate, EngineError>,
}

impl Pricer {
    /// As [`Engine::capabilities`].
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// As [`Engine::estimate`].
    ///
    /// # Errors
    /// [`EngineError::PriceOverflow`].
    pub fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError> {
        (self.price)(&self.limits, self.capabilities.kv_region, self.workspace, shape)
    }
}

impl fmt::Debug for Pricer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pricer").field("capabilities", &self.capabilities).finish_non_exhaustive()
    }
}

/// A loaded model that runs requests. It has a scheduler's thread and the backend's; dropping the last reference ends
/// them, frees all memory and returns all leases.
pub struct NativeEngine {
    pricer: Pricer,
    weights: u64,
    scheduler: Handle,
}

impl NativeEngine {
    /// Loads a plan's model on one backend.
    pub(super) fn start<B: Backend>(
        plan: &LoadPlan,
        weights: Lease,
        workspace: Lease,
        environment: &Environment,
        watch: &Watch<'_>,
    ) -> Result<Arc<Self>, LoadError> {
        let spec = &plan.spec;
        let limits = Limits {
            block_tokens: spec.block_tokens,
            block_bytes: spec.block_bytes(Layers::Whole).ok_or(EngineError::PriceOverflow)?,
            rolling: spec.rolling().ok_or(EngineError::PriceOverflow)?,
            max_sequences: spec.max_sequences,
            max_step_tokens: spec.max_rows,
            context_length: spec.context,
        };
        let forward = Forward::<B>::load(plan, weights, workspace, &environment.buffers, watch)?;
        let executor = NativeExecutor::new(forward, limits, Arc::clone(&environment.entropy))?;
        let (weights, workspace) = (executor.weights_held(), executor.workspace_held());
        let small = |size: usize| u32::try_from(size).map_err(|_| EngineError::PriceOverflow);
        let capabilities = Capabilities {
            name: B::NAME.to_owned(),
            context_length: small(spec.context)?,
            vocab_size: small(spec.vocab)?,
            block_tokens: small(spec.block_tokens)?,
            kv_region: Region::Host,
            max_sequences: small(spec.max_sequences)?,
        };
        let config = Config {
            model: plan.name.clone(),
            queue: plan.options.queue as usize,
            kv_region: Region::Host,
            step_target: Duration::from_millis(u64::from(plan.options.step_ms)),
            throttle: Arc::clone(&environment.throttle),
        };
        let scheduler = spawn(executor, &config, Arc::clone(&environment.clock))?;
        let price = price::<NativeExecutor<B>>;
        let pricer = Pricer { capabilities, limits, workspace, price };
        Ok(Arc::new(NativeEngine { pricer, weights, scheduler }))
    }

    /// What it is and what requests cost, to be kept beyond its life.
    pub fn pricer(&self) -> &Pricer {
        &self.pricer
    }
}

impl Engine for NativeEngine {
    fn capabilities(&self) -> &Capabilities {
        self.pricer.capabilities()
    }

    fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError> {
        self.pricer.estimate(shape)
    }

    fn submit(&self, job: Job) -> Result<(), Box<Rejected>> {
        self.scheduler.submit(job)
    }

    fn reclaim(&self, session: SessionKey, freed: Sender<u64>) {
        self.scheduler.reclaim(session, freed);
    }

    fn holdings(&self) -> Holdings {
        Holdings { weights: self.weights, workspace: self.pricer.workspace, kv: self.scheduler.kv_bytes() }
    }
}

impl fmt::Debug for NativeEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NativeEngine")
            .field("capabilities", self.capabilities())
            .field("holdings", &self.holdings())
            .finish_non_exhaustive()
    }
}
