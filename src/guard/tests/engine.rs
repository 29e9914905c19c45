//! An engine that computes nothing: it prices, keeps leases, and gives them back when told to.

use super::super::{Grant, MemoryGuard};
use crossbeam_channel::Sender;
use plimsoll_engine::{
    Capabilities, Engine, EngineError, Estimate, Holdings, Job, Lease, Owner, Region, Rejected, SessionKey,
    Shape,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

/// Tokens per block, bytes per block, most tokens of a request.
pub(super) const BLOCK_TOKENS: u32 = 4;
pub(super) const BLOCK_BYTES: u64 = 100;
pub(super) const CONTEXT: u32 = 48;

/// What an engine does with a reclaim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answers {
    /// It gives everything back and says so.
    AtOnce,
    /// The same, and a round of the guard's timer comes before whoever asked for it.
    Overtaken,
    /// It says that nothing is freed, as for a session that runs.
    Nothing,
    /// It keeps the message until [`FakeEngine::catch_up`].
    Later,
    /// It loses the message.
    Dropped,
}

pub(super) struct FakeEngine {
    capabilities: Capabilities,
    kept: Mutex<HashMap<SessionKey, Lease>>,
    answers: Mutex<Answers>,
    late: Mutex<Vec<(SessionKey, Sender<u64>)>>,
    guard: OnceLock<Weak<MemoryGuard>>,
    pub(super) holdings: Mutex<Holdings>,
}

/// The price of a request, as a plain formula.
pub(super) fn price(prompt_tokens: u32, max_tokens: u32) -> (u64, u64) {
    let blocks = u64::from(prompt_tokens + max_tokens).div_ceil(u64::from(BLOCK_TOKENS));
    (blocks * BLOCK_BYTES, 10 + 3 * u64::from(max_tokens))
}

impl FakeEngine {
    pub(super) fn new(kv_region: Region) -> Arc<Self> {
        Arc::new(FakeEngine {
            capabilities: Capabilities {
                name: "fake".to_owned(),
                context_length: CONTEXT,
                vocab_size: 10,
                block_tokens: BLOCK_TOKENS,
                kv_region,
                max_sequences: 4,
            },
            kept: Mutex::default(),
            answers: Mutex::new(Answers::AtOnce),
            late: Mutex::default(),
            guard: OnceLock::new(),
            holdings: Mutex::default(),
        })
    }

    /// From now on every call takes the guard's lock: it hangs if the guard holds it.
    pub(super) fn watch(&self, guard: &Arc<MemoryGuard>) {
        self.guard.set(Arc::downgrade(guard)).unwrap();
    }

    fn enter(&self) {
        if let Some(guard) = self.guard.get().and_then(Weak::upgrade) {
            guard.releases();
        }
    }

    pub(super) fn answer(&self, answers: Answers) {
        *self.answers.lock().unwrap() = answers;
    }

    /// Ends a request: of the session's KV, `kept` bytes stay.
    pub(super) fn finish(&self, grant: Grant, kept: u64) {
        let (kv, host, busy) = grant.into_parts();
        let Owner::Kv(session) = kv.owner() else { panic!("{kv:?}") };
        let mut leases = self.kept.lock().unwrap();
        let mut all = match leases.remove(&session) {
            Some(mut held) => held.absorb(kv).map(|()| held).unwrap(),
            None => kv,
        };
        all.shrink_to(kept);
        leases.insert(session, all);
        drop(leases);
        drop((host, busy));
    }

    /// Answers what was put off.
    pub(super) fn catch_up(&self) {
        let late: Vec<_> = self.late.lock().unwrap().drain(..).collect();
        for (session, freed) in late {
            self.free(session, &freed);
        }
    }

    /// It goes with all that it holds, and with what it was asked.
    pub(super) fn forget(&self) {
        self.enter();
        let leases: Vec<_> = self.kept.lock().unwrap().drain().collect();
        drop((leases, std::mem::take(&mut *self.late.lock().unwrap())));
    }

    fn free(&self, session: SessionKey, freed: &Sender<u64>) {
        let lease = self.kept.lock().unwrap().remove(&session);
        let bytes = lease.as_ref().map_or(0, Lease::bytes);
        drop(lease);
        // Nobody may be waiting any more.
        let _ = freed.send(bytes);
    }
}

impl Engine for FakeEngine {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError> {
        self.enter();
        if shape.prompt_tokens + shape.max_tokens > CONTEXT {
            return Err(EngineError::Invalid("beyond the context".to_owned()));
        }
        if shape.top_logprobs > 0 {
            return Err(EngineError::PriceOverflow);
        }
        let (kv_bytes, request_bytes) = price(shape.prompt_tokens, shape.max_tokens);
        Ok(Estimate {
            kv_region: self.capabilities.kv_region,
            kv_bytes,
            kv_block_bytes: BLOCK_BYTES,
            request_bytes,
            ring_bytes: 3 * u64::from(shape.max_tokens),
            workspace_bytes: 77,
        })
    }

    fn submit(&self, job: Job) -> Result<(), Box<Rejected>> {
        Err(Box::new(Rejected { job, error: EngineError::Closed }))
    }

    fn reclaim(&self, session: SessionKey, freed: Sender<u64>) {
        self.enter();
        let answers = *self.answers.lock().unwrap();
        match answers {
            Answers::AtOnce => self.free(session, &freed),
            Answers::Overtaken => {
                self.free(session, &freed);
                drop(freed);
                self.guard.get().and_then(Weak::upgrade).unwrap().evict_idle();
            }
            Answers::Nothing => freed.send(0).unwrap_or(()),
            Answers::Later => self.late.lock().unwrap().push((session, freed)),
            Answers::Dropped => {}
        }
    }

    fn holdings(&self) -> Holdings {
        *self.holdings.lock().unwrap()
    }
}
