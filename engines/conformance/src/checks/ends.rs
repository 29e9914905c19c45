//! Ends before the end of the text.

use super::{FEW, LONG, MANY, SHORT, block_bytes_of};
use crate::Subject;
use crate::subject::{ensure, same};
use crate::turn::{Answer, Manner, Talk, failure};
use plimsoll_engine::{EngineError, FinishReason};
use std::sync::Arc;
use std::time::Duration;

/// How often a race between a reader and the engine may be lost.
const TRIES: usize = 50;

/// What was kept is valid: the next turn builds on it and gives the text that a fresh session gives.
fn goes_on(subject: &Subject, talk: &mut Talk<'_>, answer: &Answer, prompt: &[u32]) -> Result<(), String> {
    let kept = block_bytes_of(subject, answer.finish.kv_tokens)?;
    same("KV bytes, booked and kept", subject.booked_kv(), kept)?;
    subject.check_kv()?;
    let again = talk.say(prompt, FEW, &Manner::default())?;
    same("tokens reused", again.finish.cached_tokens, answer.finish.kv_tokens.min(prompt.len() - 1))?;
    if subject.deterministic {
        let manner = Manner { forget: true, ..Manner::default() };
        let fresh = Talk::open(subject)?.say(prompt, FEW, &manner)?;
        same("text after an early end, and in a fresh session", again.tokens, fresh.tokens)?;
    }
    subject.guard.evict_session(&talk.seat);
    Ok(())
}

/// A request that is cancelled before it is submitted allocates nothing and ends.
pub(super) fn cancel_before_the_start(subject: &Subject) -> Result<(), String> {
    let mut talk = Talk::open(subject)?;
    let prompt = (subject.prompt)(1, LONG);
    let (job, turn) = talk.job(&prompt, MANY, &Manner::default())?;
    turn.cancel.cancel();
    subject.engine.submit(job).map_err(|rejected| rejected.error.to_string())?;
    let answer = talk.finish(turn)?;
    same("ends", &answer.finish.reason, &FinishReason::Cancelled)?;
    same("tokens and KV", (answer.tokens.len(), answer.finish.kv_tokens), (0, 0))?;
    goes_on(subject, &mut talk, &answer, &prompt)
}

/// A request that is cancelled while its prompt is computed ends; what was computed is kept.
pub(super) fn cancel_in_prefill(subject: &Subject) -> Result<(), String> {
    let prompt = (subject.prompt)(1, LONG);
    for wait in [0, 1, 2, 4] {
        let mut talk = Talk::open(subject)?;
        let turn = talk.start(&prompt, MANY, &Manner::default())?;
        std::thread::sleep(Duration::from_millis(wait));
        turn.cancel.cancel();
        let answer = talk.finish(turn)?;
        // How far it came is the engine's pace; it must not have run to its end unless it got there first.
        let early = answer.finish.reason == FinishReason::Cancelled;
        ensure(early || answer.tokens.len() == MANY as usize, || format!("it ends as {answer:?}"))?;
        goes_on(subject, &mut talk, &answer, &prompt)?;
    }
    Ok(())
}

/// A request that is cancelled after some tokens ends before its length.
pub(super) fn cancel_in_decode(subject: &Subject) -> Result<(), String> {
    let prompt = (subject.prompt)(1, SHORT);
    for _ in 0..TRIES {
        let mut talk = Talk::open(subject)?;
        let mut turn = talk.start(&prompt, MANY, &Manner::default())?;
        ensure(turn.token()? && turn.token()?, || "two tokens do not come".to_owned())?;
        turn.cancel.cancel();
        let answer = talk.finish(turn)?;
        if answer.finish.reason == FinishReason::Cancelled {
            same("tokens kept", answer.finish.kv_tokens, SHORT + answer.tokens.len() - 1)?;
            return goes_on(subject, &mut talk, &answer, &prompt);
        }
        subject.guard.evict_session(&talk.seat);
    }
    Err(format!("of {TRIES} requests none was cancelled before its end"))
}

/// A deadline ends a request before its start and within it.
pub(super) fn deadline(subject: &Subject) -> Result<(), String> {
    let prompt = (subject.prompt)(1, LONG);
    let passed = Manner { deadline: Some(subject.clock.now()), ..Manner::default() };
    let mut talk = Talk::open(subject)?;
    let answer = talk.say(&prompt, MANY, &passed)?;
    same("ends", &answer.finish.reason, &FinishReason::Deadline)?;
    same("tokens", answer.tokens.len(), 0)?;
    goes_on(subject, &mut talk, &answer, &prompt)?;
    // From a time that is surely too short to one that the engine just misses.
    for millis in [1_u64, 3, 10, 30] {
        let mut talk = Talk::open(subject)?;
        let start = subject.clock.now();
        let after = Duration::from_millis(millis);
        let manner = Manner { deadline: Some(start + after), ..Manner::default() };
        let answer = talk.say(&prompt, MANY, &manner)?;
        let finish = &answer.finish;
        // The last step may begin in time and end late, so a request that took all its tokens is excused by that step.
        let late = finish.queued + finish.prefill > after;
        let expected = finish.reason == FinishReason::Deadline || !late;
        ensure(expected, || format!("a deadline of {after:?} was not seen: {finish:?}"))?;
        goes_on(subject, &mut talk, &answer, &prompt)?;
    }
    Ok(())
}

/// The engine goes while requests run and wait: each of them ends as closed, and all bytes return.
pub(crate) fn unload_while_running(subject: Subject) -> Result<(), String> {
    let lanes = subject.engine.capabilities().max_sequences as usize;
    let mut turns = Vec::new();
    for seed in 0..(lanes + subject.queue.min(2)) as u64 {
        let prompt = (subject.prompt)(seed, SHORT);
        turns.push(Talk::open(&subject)?.start(&prompt, MANY, &Manner::default())?);
    }
    // The sessions are closed with their requests under way; the subject holds the last reference.
    same("references to an engine whose sessions are closed", Arc::strong_count(&subject.engine), 1)?;
    let guard = Arc::clone(&subject.guard);
    let (engine, leases) = (subject.engine, subject.leases);
    drop(engine);
    drop(leases);
    for turn in turns {
        ensure(turn.ring.is_finished(), || "a request outlives its engine".to_owned())?;
        let answer = turn.finish()?;
        let complete = answer.finish.reason == FinishReason::Length;
        ensure(complete || failure(&answer)? == &EngineError::Closed, || format!("{answer:?}"))?;
    }
    guard.check_integrity().map_err(|error| format!("the ledger: {error}"))?;
    let left = guard.stats().ledger;
    ensure(left.is_empty(), || format!("booked after the engine was unloaded: {left:?}"))
}
