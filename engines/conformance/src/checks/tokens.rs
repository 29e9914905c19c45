//! What comes through the ring.

use super::{FEW, MANY, SHORT};
use crate::Subject;
use crate::subject::{ensure, same};
use crate::turn::{Manner, Talk};
use plimsoll_engine::FinishReason;

/// As many tokens as were granted, each of the vocabulary, then one end; the same again for the same prompt.
pub(super) fn tokens_in_order(subject: &Subject) -> Result<(), String> {
    let mut texts = Vec::new();
    for max_tokens in [1, FEW, MANY] {
        let answer = Talk::open(subject)?.say(&(subject.prompt)(1, SHORT), max_tokens, &Manner::default())?;
        same("ends", &answer.finish.reason, &FinishReason::Length)?;
        let vocab = subject.engine.capabilities().vocab_size;
        for event in &answer.events {
            ensure(event.id < vocab && event.logprob.is_finite() && event.logprob <= 0.0, || {
                format!("{event:?} with a vocabulary of {vocab}")
            })?;
        }
        texts.push(answer.tokens);
    }
    if subject.deterministic {
        for text in &texts {
            ensure(texts[2].starts_with(text), || format!("greedy text differs: {texts:?}"))?;
        }
    }
    Ok(())
}

/// A stop token ends the text and is not part of it.
pub(super) fn stop_tokens(subject: &Subject) -> Result<(), String> {
    if !subject.deterministic {
        return Ok(());
    }
    let prompt = (subject.prompt)(2, SHORT);
    let whole = Talk::open(subject)?.say(&prompt, MANY, &Manner::default())?.tokens;
    let stop = whole[whole.len() / 2];
    let manner = Manner { stop_tokens: vec![stop], ..Manner::default() };
    let answer = Talk::open(subject)?.say(&prompt, MANY, &manner)?;
    let until = whole.iter().position(|&id| id == stop).unwrap_or(whole.len());
    same("ends", &answer.finish.reason, &FinishReason::EndOfText)?;
    same("text up to the stop token", answer.tokens.as_slice(), &whole[..until])?;
    same("tokens whose KV is kept", answer.finish.kv_tokens, SHORT + until)
}

/// As many alternatives as were asked for, the most likely first.
pub(super) fn alternatives(subject: &Subject) -> Result<(), String> {
    for top_logprobs in [0, 1, 5] {
        let manner = Manner { top_logprobs, ..Manner::default() };
        let answer = Talk::open(subject)?.say(&(subject.prompt)(4, SHORT), FEW, &manner)?;
        for (event, tops) in answer.events.iter().zip(&answer.tops) {
            same("alternatives", tops.len(), top_logprobs as usize)?;
            let sorted = tops.is_sorted_by(|a, b| a.logprob >= b.logprob);
            let distinct = (1..tops.len()).all(|i| tops[..i].iter().all(|top| top.id != tops[i].id));
            let greedy = tops
                .first()
                .is_none_or(|top| top.id == event.id && (top.logprob - event.logprob).abs() < 1e-4);
            ensure(sorted && distinct && greedy, || format!("{tops:?} for {event:?}"))?;
        }
    }
    Ok(())
}
