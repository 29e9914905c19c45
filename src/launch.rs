//! From a grant to jobs: each answer of a request gets its share of the leases, a ring, and a place in the engine's queue.

use crate::answer::Writing;
use crate::conversation::Prepared;
use crate::error::{Error, ErrorCode, Result};
use crate::guard::{BusyMark, Degraded, Grant, Verdict};
use crate::model::text_error;
use crate::request::Request;
use crate::session::SessionInner;
use crate::text::{StopMatcher, Stops, TextError};
use plimsoll_engine::{
    Bell, Cancel, Finish, FinishReason, Job, LeaseShort, Next, RequestId, Ring, Sampling, SessionKey,
    TopLogprob,
};
use std::sync::Arc;
use std::time::Duration;

/// A request that an engine has taken.
pub(crate) struct Launched {
    /// Its answers, in order.
    pub(crate) answers: Vec<Writing>,
    /// Rung by the rings of several answers; one needs none.
    pub(crate) bell: Option<Arc<Bell>>,
    pub(crate) busy: BusyMark,
    pub(crate) degraded: Degraded,
}

/// Gives a granted request to its engine: all its answers, or none.
///
/// The first answer is the session's own. The others are sessions of the engine's alone, which begin with nothing and whose
/// KV goes when they end; their bytes are leased to the session all the same.
pub(crate) fn launch(
    session: &SessionInner,
    request: &Request,
    prepared: &Prepared,
    grant: Grant,
    verdict: &Verdict,
    (deadline, cancel): (Option<Duration>, &Cancel),
    tops: &mut Vec<TopLogprob>,
) -> Result<Launched> {
    let mut sampling = request.sampling.clone();
    let degraded = Degraded {
        max_tokens: (verdict.pressure.tokens(verdict.asked_tokens, request.min_tokens)
            < verdict.asked_tokens)
            .then_some(verdict.granted_tokens),
        ..verdict.pressure.curb(&mut sampling)
    };
    let Grant { request: id, answers: count, branches, granted_tokens, .. } = grant;
    let loaded = &session.model.loaded;
    // The grant keeps it from being unloaded again.
    let clock = &session.model.runtime.clock;
    let late = || deadline.is_some_and(|deadline| clock.now() >= deadline);
    let there = loaded.ready(&|| cancel.is_cancelled() || late())?;
    // The mark is declared first, so that whatever way this ends the bytes are back before the session counts as idle.
    let (kv, host, busy) = grant.into_parts();
    let (mut kv, mut host) = (kv, host);
    let buffers = session.model.runtime.guard.buffers();
    let top = request.sampling.top_logprobs;
    let ring_bytes = Ring::bytes(granted_tokens, top).unwrap_or(u64::MAX);
    // A price is that of one answer as often as there are answers; the first has what the session holds besides.
    let host_share = verdict.request_bytes / u64::from(count.max(1));
    let kv_share = verdict.kv_bytes / u64::from(count.max(1));
    let kv_first = kv.bytes().saturating_sub(kv_share.saturating_mul(u64::from(count.max(1)) - 1));
    let bell = (count > 1).then(|| Arc::new(Bell::new()));
    let stops = Arc::new(Stops::new(request.stop()).map_err(|error| of_stops(&error))?);
    let (mut answers, mut jobs) = (Vec::new(), Vec::new());
    let reserved = answers.try_reserve_exact(count as usize).and(jobs.try_reserve_exact(count as usize));
    reserved.map_err(|_| Error::no_memory("the system has no memory for the request's answers"))?;
    for answer in 0..count {
        let short = |error: LeaseShort| Error::caused(ErrorCode::Internal, &error);
        let lease = host.split(ring_bytes).map_err(short)?;
        let ring = Ring::within(&buffers, granted_tokens, top, lease)
            .map_err(|_| Error::no_memory("the system has no memory for the request's ring"))?;
        // One answer's end is its own, where there are others.
        let (ring, cancel) = match &bell {
            Some(bell) => (Arc::new(ring.with_bell(Arc::clone(bell))), cancel.child()),
            None => (Arc::new(ring), cancel.clone()),
        };
        let stops = StopMatcher::new(&stops).map_err(|error| of_stops(&error))?;
        let detokenizer = loaded.text.tokenizer.detokenizer();
        answers.push(Writing::new(Arc::clone(&ring), cancel.clone(), detokenizer, stops));
        let first = answer == 0;
        let offset = u64::from(answer);
        jobs.push(Job {
            request: plimsoll_engine::Request {
                id: RequestId(id.0 + offset),
                session: if first { session.key() } else { SessionKey(branches.0 + offset - 1) },
                tokens: session.prompt(prepared)?,
                shared_prefix: if first { prepared.shared_prefix } else { 0 },
                max_tokens: granted_tokens,
                sampling: Sampling { seed: request.seed_of(answer), ..sampling.clone() },
                stop_tokens: if request.ignore_eos {
                    Arc::default()
                } else {
                    Arc::clone(&loaded.text.stop_tokens)
                },
                deadline,
                keep_kv: first,
                beside: (!first).then(|| session.key()),
            },
            kv: kv.split(if first { kv_first } else { kv_share }).map_err(short)?,
            host: host.split(host_share.saturating_sub(ring_bytes)).map_err(short)?,
            ring,
            cancel,
        });
    }
    if !there {
        let reason = if cancel.is_cancelled() { FinishReason::Cancelled } else { FinishReason::Deadline };
        jobs.into_iter().for_each(|job| end(job, reason.clone()));
        return Ok(Launched { answers, bell, busy, degraded });
    }
    for (at, job) in jobs.into_iter().enumerate() {
        let Err(rejected) = loaded.engine.submit(job) else { continue };
        let error = Error::from(rejected.error.clone());
        drop(rejected);
        withdraw(&answers[..at], tops);
        if at > 0 {
            session.forget_kv();
        }
        return Err(error);
    }
    Ok(Launched { answers, bell, busy, degraded })
}

fn of_stops(error: &TextError) -> Error {
    text_error(ErrorCode::InvalidArgument, error)
}

/// Ends a job that was over before there was an engine to take it. Its leases go first.
fn end(job: Job, reason: FinishReason) {
    let Job { ring, kv, host, .. } = job;
    drop((kv, host));
    let none = Duration::ZERO;
    ring.finish(Finish { reason, cached_tokens: 0, kv_tokens: 0, queued: none, prefill: none, decode: none });
}

/// Ends answers that run, and waits until their bytes are back. `tops` has room for a token's alternatives.
pub(crate) fn withdraw(answers: &[Writing], tops: &mut Vec<TopLogprob>) {
    answers.iter().for_each(Writing::cancel);
    for answer in answers {
        // The engine ends every job that it took; at the latest when it closes.
        while !matches!(answer.ring.next(None, tops), Next::Finished(_)) {}
    }
}
