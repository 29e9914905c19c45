//! The trait that every engine implements.

use crate::sync::Sender;
use crate::{Cancel, EngineError, Estimate, Lease, Region, Request, Ring, SessionKey, Shape};
use std::fmt;
use std::sync::Arc;

/// What an engine is and can do. Fixed for its life.
#[derive(Clone, Debug)]
pub struct Capabilities {
    /// Which engine, for people: `cpu`, `candle`, ...
    pub name: String,
    /// Most tokens (prompt and generated) of one request.
    pub context_length: u32,
    /// Ids are below this.
    pub vocab_size: u32,
    /// Tokens per KV block.
    pub block_tokens: u32,
    /// Where KV lives.
    pub kv_region: Region,
    /// Most requests in one batch.
    pub max_sequences: u32,
}

/// A request with everything it needs to run.
pub struct Job {
    /// What to do.
    pub request: Request,
    /// Pays for the KV blocks that the session does not hold yet: `kv_bytes` of the estimate less the bytes held.
    pub kv: Lease,
    /// Pays for the request's own host bytes, the ring's left out (the ring has its own).
    pub host: Lease,
    /// Where tokens and the end go.
    pub ring: Arc<Ring>,
    /// Asks for an early end.
    pub cancel: Cancel,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job")
            .field("request", &self.request.id)
            .field("kv", &self.kv)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// A job that was not taken, with the reason. Dropping it returns its leases.
#[derive(Debug)]
pub struct Rejected {
    /// The job, unchanged.
    pub job: Job,
    /// Why.
    pub error: EngineError,
}

/// What an engine's allocators hold now, to be compared with the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// Bytes of weights.
    pub weights: u64,
    /// Bytes of workspace, committed.
    pub workspace: u64,
    /// Bytes of KV blocks, of running requests and of idle sessions.
    pub kv: u64,
}

/// Prices and executes requests; never decides whether they may run.
///
/// All methods may be called from any thread and return without waiting for a step.
pub trait Engine: Send + Sync {
    /// What the engine is.
    fn capabilities(&self) -> &Capabilities;

    /// The price of a request of this shape. Pure: it does not depend on what runs now, and grows with `max_tokens`.
    ///
    /// # Errors
    /// [`EngineError::PriceOverflow`].
    fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError>;

    /// Queues a job. From then on the end comes through the ring, exactly once, after the job's leases are back.
    ///
    /// # Errors
    /// The job comes back with [`EngineError::QueueFull`] or [`EngineError::Closed`].
    fn submit(&self, job: Job) -> Result<(), Box<Rejected>>;

    /// Asks for the KV of an idle session to be freed. The answer, the bytes freed, is sent once their leases are back;
    /// a session that runs or is not known frees 0.
    fn reclaim(&self, session: SessionKey, freed: Sender<u64>);

    /// What the allocators hold.
    fn holdings(&self) -> Holdings;
}
