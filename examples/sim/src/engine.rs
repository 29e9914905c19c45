//! An engine without a thread: the product's scheduler, one step for each call.

use crate::Fault;
use crossbeam_channel::Sender;
use plimsoll_engine::{
    Capabilities, Clock, Engine, EngineError, Estimate, Holdings, Job, Lease, Region, Rejected, Ring,
    SessionKey, Shape,
};
use plimsoll_scheduler::{Config, Limits, Scheduler, StepExecutor, price};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What an engine is made of besides its executor.
pub struct Parts {
    /// Ids are below this.
    pub vocab_size: u32,
    /// Bytes of workspace that each price names.
    pub workspace: u64,
    /// Most requests that wait for a lane.
    pub queue: usize,
    /// Pay for weights and workspace.
    pub leases: Vec<Lease>,
    /// What the executor's allocators hold.
    pub holdings: Box<dyn Fn() -> Holdings + Send + Sync>,
    /// A planted fault.
    pub fault: Option<Fault>,
}

/// The product's scheduler as an engine that its host steps. A reclaim is answered at once, as between two steps of a
/// scheduler with a thread.
pub struct Stepped<E: StepExecutor> {
    scheduler: Mutex<Scheduler<E>>,
    submitted: Mutex<Option<Arc<Ring>>>,
    capabilities: Capabilities,
    limits: Limits,
    parts: Parts,
}

impl<E: StepExecutor> Stepped<E> {
    /// An engine with nothing to do.
    ///
    /// # Errors
    /// Those of [`Scheduler::new`].
    pub fn new(executor: E, parts: Parts, clock: Arc<dyn Clock>) -> Result<Arc<Self>, EngineError> {
        let limits = executor.limits();
        let config = Config { model: "sim".into(), queue: parts.queue, ..Config::default() };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let capabilities = Capabilities {
            name: "stepped".into(),
            context_length: count(limits.context_length),
            vocab_size: parts.vocab_size,
            block_tokens: count(limits.block_tokens),
            kv_region: Region::Host,
            max_sequences: count(limits.max_sequences),
        };
        let scheduler = Mutex::new(Scheduler::new(executor, &config, clock)?);
        Ok(Arc::new(Stepped { scheduler, submitted: Mutex::default(), capabilities, limits, parts }))
    }

    /// Runs one step. Answers whether there is more to do.
    pub fn step(&self) -> bool {
        self.scheduler().tick()
    }

    /// Whether nothing waits or runs.
    pub fn is_idle(&self) -> bool {
        let scheduler = self.scheduler();
        scheduler.waiting() + scheduler.running() == 0
    }

    /// Requests that have a lane.
    pub fn running(&self) -> usize {
        self.scheduler().running()
    }

    /// Speaks to the executor.
    pub fn with_executor<T>(&self, speak: impl FnOnce(&mut E) -> T) -> T {
        speak(self.scheduler().executor_mut())
    }

    /// The ring of the job that was submitted last.
    pub fn submitted(&self) -> Option<Arc<Ring>> {
        self.submitted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn scheduler(&self) -> MutexGuard<'_, Scheduler<E>> {
        // There is one thread; a panic in it ends the run.
        self.scheduler.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: StepExecutor> Engine for Stepped<E> {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError> {
        let mut estimate = price::<E>(&self.limits, Region::Host, self.parts.workspace, shape)?;
        let block = estimate.kv_block_bytes;
        if self.parts.fault == Some(Fault::ShortEstimate) && estimate.kv_bytes > 64 * block {
            estimate.kv_bytes -= block;
        }
        Ok(estimate)
    }

    fn submit(&self, job: Job) -> Result<(), Box<Rejected>> {
        let ring = Arc::clone(&job.ring);
        self.scheduler().submit(job)?;
        *self.submitted.lock().unwrap_or_else(PoisonError::into_inner) = Some(ring);
        Ok(())
    }

    fn reclaim(&self, session: SessionKey, freed: Sender<u64>) {
        let bytes = self.scheduler().reclaim(session);
        // Whoever asked may have gone.
        let _ = freed.try_send(bytes);
    }

    fn holdings(&self) -> Holdings {
        (self.parts.holdings)()
    }
}
