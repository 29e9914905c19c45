//! Jobs that are not taken, or end at once.

use super::{FEW, LONG, MANY, SHORT};
use crate::Subject;
use crate::subject::{ensure, same};
use crate::turn::{Manner, Talk, failure};
use plimsoll_engine::{EngineError, FinishReason, Job};
use std::time::Duration;

/// A full queue gives the job back whole, and never holds more than its bound.
pub(super) fn queue_full(subject: &Subject) -> Result<(), String> {
    let room = subject.engine.capabilities().max_sequences as usize + subject.queue;
    let mut talks = Vec::new();
    let start = std::time::Instant::now();
    let mut seed = 0;
    let (rejected, turn) = loop {
        let talk = Talk::open(subject)?;
        let (job, turn) = talk.job(&(subject.prompt)(seed, SHORT), MANY, &Manner::default())?;
        seed += 1;
        match subject.engine.submit(job) {
            Err(rejected) => break (rejected, turn),
            Ok(()) => talks.push((talk, turn)),
        }
        talks.retain(|(_, turn)| !turn.ring.is_finished());
        ensure(talks.len() <= room, || format!("{} requests under way with room for {room}", talks.len()))?;
        ensure(start.elapsed() < subject.patience, || "the queue does not fill".to_owned())?;
    };
    let EngineError::QueueFull { retry_after, .. } = rejected.error else {
        return Err(format!("a full queue answers {:?}", rejected.error));
    };
    ensure(retry_after > Duration::ZERO, || "a full queue advises to retry at once".to_owned())?;
    let job = rejected.job;
    same("KV paid by a job given back", job.kv.bytes(), turn.price.kv_bytes)?;
    let host = turn.price.request_bytes - turn.price.ring_bytes;
    same("host bytes paid by a job given back", job.host.bytes(), host)?;
    same("prompt of a job given back", job.request.tokens.len(), SHORT)?;
    ensure(!turn.ring.is_finished(), || "a job given back has ended".to_owned())?;
    talks.iter().for_each(|(_, turn)| turn.cancel.cancel());
    for (mut talk, turn) in talks {
        talk.finish(turn)?;
    }
    // There is room again, for this very job.
    subject.engine.submit(job).map_err(|rejected| rejected.error.to_string())?;
    same("ends", turn.finish()?.finish.reason, FinishReason::Length)
}

/// Spoils a job.
type Spoil = fn(&mut Job);

/// Submits spoilt jobs; each must fail with an error of this kind, lose nothing and leave its session usable.
fn fails(subject: &Subject, spoil: Spoil, kind: fn(&EngineError) -> bool, what: &str) -> Result<(), String> {
    // The case before has closed its session, whose KV an engine may free beside the jobs that follow.
    subject.wait_until("a closed session gives its KV back", || subject.booked_kv() == 0)?;
    let mut talk = Talk::open(subject)?;
    let prompt = (subject.prompt)(1, LONG);
    let (mut job, turn) = talk.job(&prompt, FEW, &Manner::default())?;
    spoil(&mut job);
    subject.engine.submit(job).map_err(|rejected| rejected.error.to_string())?;
    let answer = talk.finish(turn)?;
    let error = failure(&answer).map_err(|error| format!("{what}: {error}"))?;
    ensure(kind(error), || format!("{what}: {error:?}"))?;
    same("KV after a request that never ran", (subject.booked_kv(), subject.engine.holdings().kv), (0, 0))?;
    subject.check_fixed()?;
    let answer = talk.say(&prompt, FEW, &Manner::default())?;
    same("ends", &answer.finish.reason, &FinishReason::Length)
}

/// A job that does not pay for what it needs fails, by a single byte.
pub(super) fn unpaid(subject: &Subject) -> Result<(), String> {
    let kind = |error: &EngineError| matches!(error, EngineError::Unpaid { .. });
    let kv: Spoil = |job| job.kv.shrink_to(job.kv.bytes() - 1);
    let host: Spoil = |job| job.host.shrink_to(job.host.bytes() - 1);
    fails(subject, kv, kind, "a KV lease one byte short")?;
    fails(subject, host, kind, "a host lease one byte short")
}

/// A request that makes no sense fails with a reason.
pub(super) fn invalid(subject: &Subject) -> Result<(), String> {
    let cases: [(&str, Spoil); 6] = [
        ("an empty prompt", |job| job.request.tokens.clear()),
        ("an id beyond any vocabulary", |job| job.request.tokens[SHORT] = u32::MAX),
        ("more tokens than any context has", |job| job.request.max_tokens = u32::MAX),
        ("a temperature that is no number", |job| job.request.sampling.temperature = f32::NAN),
        ("a top_p of 0", |job| job.request.sampling.top_p = 0.0),
        ("too many alternatives", |job| job.request.sampling.top_logprobs = u32::MAX),
    ];
    let kind = |error: &EngineError| {
        matches!(error, EngineError::Invalid(_) | EngineError::PriceOverflow) && !error.to_string().is_empty()
    };
    cases.into_iter().try_for_each(|(what, spoil)| fails(subject, spoil, kind, what))
}
