//! Jobs on their way to the plug-in, and back.

use super::{Desk, Ended};
use crate::request::Entry;
use plimsoll_engine::{EngineError, Estimate, Finish, FinishReason, Job, Region, Request, RequestId};
use std::time::Duration;

/// Advice never says "at once".
const SHORTEST_RETRY: Duration = Duration::from_millis(10);

/// What becomes of a job at the desk.
pub(crate) enum Entered {
    /// The plug-in may have it.
    Taken(Box<Taken>),
    /// It has ended already: it cannot run, or was cancelled.
    Ended,
    /// The engine is going.
    Closed(Box<Job>),
}

/// A job whose request the plug-in may have.
pub(crate) struct Taken {
    pub(crate) request: Request,
    /// Leading tokens whose KV may be reused.
    pub(crate) shared_prefix: usize,
    /// Bytes that the plug-in may take.
    pub(crate) kv_bytes: u64,
    /// Host bytes that are paid for.
    pub(crate) request_bytes: u64,
}

impl Desk {
    /// Advice for whom a full queue sends away.
    pub(crate) fn retry_after(&self) -> Duration {
        let state = self.lock();
        let running = u32::try_from(state.requests.len()).unwrap_or(u32::MAX).max(1);
        (state.mean / running).max(SHORTEST_RETRY)
    }

    /// Ends a job that never reached the plug-in. Of its session's KV stays valid what this request shares.
    pub(crate) fn turn_away(&self, job: Job, reason: FinishReason) {
        let Job { request, kv, host, ring, .. } = job;
        let mut state = self.lock();
        let mut kv_tokens = 0;
        if let Some(session) = state.sessions.get_mut(&request.session)
            && session.running.is_none()
        {
            session.valid = session.valid.min(request.shared_prefix);
            kv_tokens = session.valid;
        }
        drop(state);
        let zero = Duration::ZERO;
        let finish =
            Finish { reason, cached_tokens: 0, kv_tokens, queued: zero, prefill: zero, decode: zero };
        Ended { leases: vec![kv, host], ring, finish }.tell();
    }

    /// Takes a job that was priced and came when `submitted` says. [`Desk::withdraw`] undoes it.
    pub(crate) fn enter(&self, job: Job, price: &Estimate, submitted: Duration) -> Entered {
        let now = self.now();
        if job.cancel.is_cancelled() {
            self.turn_away(job, FinishReason::Cancelled);
            return Entered::Ended;
        }
        if job.request.deadline.is_some_and(|deadline| deadline <= now) {
            self.turn_away(job, FinishReason::Deadline);
            return Entered::Ended;
        }
        let id = job.request.id;
        let mut state = self.lock();
        if state.closed {
            return Entered::Closed(Box::new(job));
        }
        let late = state.owes(job.request.session);
        let session = state.sessions.entry(job.request.session).or_default();
        let error = if session.running.is_some() {
            let text =
                format!("session {} has a request that the plug-in has not ended", job.request.session.0);
            Some(EngineError::Invalid(text))
        } else if late {
            let text = format!("the plug-in has not ended an answer of session {}", job.request.session.0);
            Some(EngineError::Invalid(text))
        } else if session.reclaim.is_some() {
            let text = format!("session {} is giving its KV back", job.request.session.0);
            Some(EngineError::Invalid(text))
        } else {
            unpaid(&job, price, session.held())
        };
        if let Some(error) = error {
            if session.is_empty() {
                state.sessions.remove(&job.request.session);
            }
            drop(state);
            self.turn_away(job, FinishReason::Failed(error));
            return Entered::Ended;
        }
        session.running = Some(id);
        let shared_prefix = job.request.shared_prefix.min(session.valid);
        let Job { request, kv, host, ring, cancel } = job;
        let kv_bytes = kv.bytes();
        let entry = Entry {
            session: request.session,
            beside: request.beside,
            ring,
            cancel,
            deadline: request.deadline,
            purse: Some(kv),
            host,
            prompt_tokens: request.tokens.len(),
            shared_prefix,
            max_tokens: request.max_tokens as usize,
            keep_kv: request.keep_kv,
            generated: 0,
            submitted,
            started: None,
            first: None,
            last: Duration::ZERO,
            told: None,
        };
        state.requests.insert(id, entry);
        drop(state);
        self.changed.notify_all();
        let request_bytes = price.request_bytes.saturating_sub(price.ring_bytes);
        Entered::Taken(Box::new(Taken { request, shared_prefix, kv_bytes, request_bytes }))
    }

    /// Takes a job back that the plug-in's queue had no room for, unchanged. `None` where the plug-in has done something with
    /// it; then it has ended as failed.
    pub(crate) fn withdraw(&self, request: Request) -> Option<Job> {
        let id = request.id;
        let mut state = self.lock();
        let untouched = state.requests.get(&id).is_some_and(|entry| entry.runs() && entry.started.is_none());
        if !untouched {
            drop(state);
            let text = "the plug-in began a request that it then had no room for".to_owned();
            self.fail(id, EngineError::Execution(text), true);
            return None;
        }
        let Entry { session, purse, host, ring, cancel, .. } = state.requests.remove(&id)?;
        state.leave(session);
        drop(state);
        Some(Job { request, kv: purse?, host, ring, cancel })
    }

    /// Ends a request as failed. `over` says that the plug-in has done with it; else its host bytes and its session stay
    /// taken until it has.
    pub(crate) fn fail(&self, id: RequestId, error: EngineError, over: bool) {
        self.end(id, FinishReason::Failed(error), 0, 0, over);
    }
}

/// What of the price the job does not pay for, if anything.
fn unpaid(job: &Job, price: &Estimate, held: u64) -> Option<EngineError> {
    let host = price.request_bytes.saturating_sub(price.ring_bytes);
    let kv = price.kv_bytes.saturating_sub(held);
    let paid = job.host.pays(Region::Host, "host memory", host);
    paid.and_then(|()| job.kv.pays(price.kv_region, "KV", kv)).err()
}
