//! Several requests at once.

use super::{FEW, LONG, MANY, SHORT};
use crate::Subject;
use crate::subject::{ensure, same};
use crate::turn::{Manner, Talk};

/// Requests of different lengths in one batch give the texts that each gives alone.
pub(super) fn batch_equals_alone(subject: &Subject) -> Result<(), String> {
    let lengths = [SHORT, LONG, 1, LONG / 2, SHORT * 3];
    let prompts: Vec<Vec<u32>> =
        (0..).zip(lengths).map(|(seed, length)| (subject.prompt)(seed, length)).collect();
    let manner = Manner::default();
    let mut together = Vec::new();
    for prompt in &prompts {
        let mut talk = Talk::open(subject)?;
        let turn = talk.start(prompt, MANY, &manner)?;
        together.push((talk, turn));
    }
    for ((mut talk, turn), prompt) in together.into_iter().zip(&prompts) {
        let batched = talk.finish(turn)?;
        let alone = Talk::open(subject)?.say(prompt, MANY, &manner)?;
        same("tokens", batched.tokens.len(), alone.tokens.len())?;
        if subject.deterministic {
            same("texts in a batch and alone", batched.tokens, alone.tokens)?;
        }
    }
    Ok(())
}

/// Requests start in the order in which they came.
pub(super) fn arrival_order(subject: &Subject) -> Result<(), String> {
    let lanes = subject.engine.capabilities().max_sequences as usize;
    let mut under_way = Vec::new();
    for seed in 0..(lanes + subject.queue.min(4)) as u64 {
        let mut talk = Talk::open(subject)?;
        let before = subject.clock.now();
        let turn = talk.start(&(subject.prompt)(seed, SHORT), FEW, &Manner::default())?;
        under_way.push((before, subject.clock.now(), talk, turn));
    }
    let mut earliest = None;
    for (before, after, mut talk, turn) in under_way {
        let queued = talk.finish(turn)?.finish.queued;
        // The submission lies between the two readings.
        ensure(earliest.is_none_or(|earliest| earliest <= after + queued), || {
            "a request started before one that came earlier".to_owned()
        })?;
        earliest = earliest.max(Some(before + queued));
    }
    Ok(())
}

/// Many threads use the engine at once: every request ends, and the ledger adds up all the time.
pub(super) fn many_threads(subject: &Subject) -> Result<(), String> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|index| scope.spawn(move || worker(subject, index))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a thread panicked".to_owned())))
    })
}

fn worker(subject: &Subject, index: u64) -> Result<(), String> {
    let mut talk = Talk::open(subject)?;
    let prompt = (subject.prompt)(index, SHORT);
    for round in 0..6 {
        let turn = talk.start(&prompt, FEW, &Manner::default())?;
        if (round + index).is_multiple_of(3) {
            turn.cancel.cancel();
        }
        talk.finish(turn)?;
        if round % 2 == 0 {
            subject.guard.evict_session(&talk.seat);
        }
        subject.guard.check_integrity().map_err(|error| format!("the ledger: {error}"))?;
    }
    Ok(())
}
