//! Prices, and bytes held against bytes booked.

use super::{FEW, LONG, MANY, SHORT, block_bytes_of};
use crate::Subject;
use crate::subject::{ensure, same};
use crate::turn::{Manner, Talk};
use plimsoll_engine::{Owner, Ring, Shape};

/// The engine says what it is, in figures that make sense.
pub(super) fn capabilities(subject: &Subject) -> Result<(), String> {
    let capabilities = subject.engine.capabilities();
    let sane = !capabilities.name.is_empty()
        && capabilities.vocab_size > 0
        && capabilities.block_tokens > 0
        && capabilities.max_sequences > 0;
    ensure(sane, || format!("{capabilities:?}"))?;
    let needed = LONG + MANY as usize;
    ensure(capabilities.context_length as usize >= needed, || {
        format!("the suite needs a context of {needed} tokens, not {}", capabilities.context_length)
    })?;
    let known = subject.guard.stats().region(subject.kv_region()).is_some();
    ensure(known, || format!("the guard does not manage {} memory", subject.kv_region()))
}

/// A price depends on the shape alone, covers it in whole blocks and grows with it; one that is too large is an error.
pub(super) fn estimate_is_pure(subject: &Subject) -> Result<(), String> {
    let shape = |prompt_tokens, max_tokens, top_logprobs| Shape {
        prompt_tokens,
        max_tokens,
        top_logprobs,
        penalties: false,
    };
    let price = |shape: Shape| subject.engine.estimate(&shape).map_err(|error| error.to_string());
    let mut talk = Talk::open(subject)?;
    let idle = price(shape(20, 20, 2))?;
    let turn = talk.start(&(subject.prompt)(1, SHORT), MANY, &Manner::default())?;
    same("prices of an engine that idles and one that runs", price(shape(20, 20, 2))?, idle)?;
    turn.cancel.cancel();
    talk.finish(turn)?;
    let mut last = price(shape(20, 0, 2))?;
    for max_tokens in 1..100 {
        let now = price(shape(20, max_tokens, 2))?;
        ensure(now.kv_bytes >= last.kv_bytes && now.request_bytes > last.request_bytes, || {
            format!("{max_tokens} tokens cost {now:?}, one less {last:?}")
        })?;
        same(
            "KV bytes, priced and by blocks",
            now.kv_bytes,
            block_bytes_of(subject, 20 + max_tokens as usize)?,
        )?;
        same("ring bytes", Some(now.ring_bytes), Ring::bytes(max_tokens, 2))?;
        same("KV region", now.kv_region, subject.kv_region())?;
        same("workspace, priced and held", now.workspace_bytes, subject.engine.holdings().workspace)?;
        last = now;
    }
    // Any answer but a panic or a price that wrapped around will do.
    match subject.engine.estimate(&shape(u32::MAX, u32::MAX, u32::MAX)) {
        Err(_) => Ok(()),
        Ok(huge) => ensure(huge.kv_bytes > last.kv_bytes && huge.request_bytes > u64::from(u32::MAX), || {
            format!("the largest shape costs {huge:?}")
        }),
    }
}

/// Weights and workspace are booked to the byte: at the start, while a request runs, after it.
pub(super) fn fixed_memory_is_booked(subject: &Subject) -> Result<(), String> {
    subject.check_fixed()?;
    let mut talk = Talk::open(subject)?;
    let mut turn = talk.start(&(subject.prompt)(1, LONG), MANY, &Manner::default())?;
    turn.token()?;
    subject.check_fixed()?;
    talk.finish(turn)?;
    subject.check_fixed()
}

/// How often a request is run again because it ended before this thread looked.
const LOOKS: usize = 50;

/// The KV that is allocated equals the estimate: none before the start, all of it from the first step to the last, and
/// after the end the blocks of what is kept.
pub(super) fn kv_equals_the_estimate(subject: &Subject) -> Result<(), String> {
    for prompt in [SHORT, LONG] {
        let mut looks = 1;
        while !watch_kv(subject, prompt, MANY)? {
            ensure(looks < LOOKS, || "the request was never seen running".to_owned())?;
            looks += 1;
        }
    }
    watch_kv(subject, LONG, FEW).map(drop)
}

/// Compares KV while one request runs and after it. Answers whether it was seen running.
fn watch_kv(subject: &Subject, prompt: usize, max_tokens: u32) -> Result<bool, String> {
    let mut talk = Talk::open(subject)?;
    same("KV bytes before the start", subject.engine.holdings().kv, 0)?;
    let mut turn = talk.start(&(subject.prompt)(3, prompt), max_tokens, &Manner::default())?;
    let price = turn.price;
    let mut seen = false;
    while turn.token()? {
        let (held, booked) = (subject.engine.holdings().kv, subject.booked_kv());
        // Asked after the figures, so that they are those of a running request.
        if turn.has_more() {
            seen = true;
            same("KV bytes, held and priced", held, price.kv_bytes)?;
            same("KV bytes, booked and priced", booked, price.kv_bytes)?;
        }
    }
    let answer = talk.finish(turn)?;
    let kept = block_bytes_of(subject, answer.finish.kv_tokens)?;
    same("KV bytes, held and kept", subject.engine.holdings().kv, kept)?;
    subject.check_kv()?;
    subject.guard.evict_session(&talk.seat);
    subject.check_kv()?;
    Ok(seen)
}

/// When the end is read, nothing is booked but what the session keeps.
pub(super) fn leases_return(subject: &Subject) -> Result<(), String> {
    for forget in [true, false] {
        let mut talk = Talk::open(subject)?;
        let manner = Manner { forget, ..Manner::default() };
        for turn in 1..4 {
            let turn = talk.start(&(subject.prompt)(turn, LONG), FEW, &manner)?;
            let ring_bytes = turn.price.ring_bytes;
            let answer = talk.finish(turn)?;
            let requests = || subject.booked(|owner| matches!(owner, Owner::Request(_)));
            let left = requests();
            ensure(left == 0 || left == ring_bytes, || {
                format!("{left} bytes of an ended request are booked")
            })?;
            ensure(!forget || answer.finish.kv_tokens == 0, || "KV is kept unasked".to_owned())?;
            let kept = block_bytes_of(subject, answer.finish.kv_tokens)?;
            same("KV bytes, booked and kept", subject.booked_kv(), kept)?;
            subject.check_kv()?;
            // The ring has its own lease, and the engine a reference to the ring until it has told the end.
            subject.wait_until("the leases of an ended request return", || requests() == 0)?;
            subject.check_fixed()?;
        }
        subject.guard.evict_session(&talk.seat);
        same("KV bytes of an evicted session", subject.booked_kv(), 0)?;
        subject.check_kv()?;
    }
    Ok(())
}

/// A closed session frees its KV, also one that is closed while it runs.
pub(super) fn sessions_close(subject: &Subject) -> Result<(), String> {
    for running in [false, true] {
        let mut talk = Talk::open(subject)?;
        let mut turn = talk.start(&(subject.prompt)(1, LONG), MANY, &Manner::default())?;
        if running {
            turn.token()?;
            drop(talk);
            turn.cancel.cancel();
            turn.finish()?;
        } else {
            talk.finish(turn)?;
            drop(talk);
        }
        subject.wait_until("a closed session gives its KV back", || subject.booked_kv() == 0)?;
        subject.check_kv()?;
    }
    Ok(())
}
