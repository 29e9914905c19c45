//! KV between a session's turns.

use super::{FEW, LONG, MANY, SHORT, block_bytes_of};
use crate::Subject;
use crate::subject::{ensure, same};
use crate::turn::{Answer, Manner, Talk};
use crossbeam_channel::bounded;
use plimsoll_engine::SessionKey;

/// The text of a prompt in a session of its own.
fn fresh(subject: &Subject, prompt: &[u32]) -> Result<Answer, String> {
    let manner = Manner { forget: true, ..Manner::default() };
    Talk::open(subject)?.say(prompt, FEW, &manner)
}

/// Two greedy texts must be equal if the engine says so.
fn equal(subject: &Subject, what: &str, a: &Answer, b: &Answer) -> Result<(), String> {
    if subject.deterministic { same(what, &a.tokens, &b.tokens) } else { Ok(()) }
}

/// A second and a third turn run only the new tokens and give the text of a fresh session.
pub(super) fn second_turn(subject: &Subject) -> Result<(), String> {
    let mut talk = Talk::open(subject)?;
    let mut prompt = (subject.prompt)(1, SHORT);
    let mut kept = 0;
    for turn in 0..3 {
        let answer = talk.say(&prompt, FEW, &Manner::default())?;
        same("tokens reused, and kept", answer.finish.cached_tokens, kept)?;
        equal(subject, "text on kept KV and in a fresh session", &answer, &fresh(subject, &prompt)?)?;
        kept = answer.finish.kv_tokens;
        prompt.extend(&answer.tokens);
        ensure(kept + 1 >= prompt.len(), || format!("KV of {kept} of {} tokens is kept", prompt.len()))?;
        same("KV bytes, booked and kept", subject.booked_kv(), block_bytes_of(subject, kept)?)?;
        prompt.extend((subject.prompt)(10 + turn, SHORT));
    }
    Ok(())
}

/// A prompt that shares only its beginning with what is held reuses no more than that.
pub(super) fn changed_text(subject: &Subject) -> Result<(), String> {
    let mut talk = Talk::open(subject)?;
    let long = (subject.prompt)(1, LONG);
    for (shared, length) in [(LONG, LONG), (LONG / 2, LONG), (LONG / 2, LONG / 2 + 1), (1, SHORT), (0, LONG)]
    {
        let mut prompt = long[..shared].to_vec();
        prompt.extend((subject.prompt)(2 + length as u64, length - shared));
        talk.say(&long, 1, &Manner::default())?;
        let answer = talk.say(&prompt, FEW, &Manner::default())?;
        let reused = answer.finish.cached_tokens;
        ensure(reused <= shared, || format!("{reused} tokens reused of {shared} shared ones"))?;
        equal(subject, "text on half-valid KV and in a fresh session", &answer, &fresh(subject, &prompt)?)?;
        subject.check_kv()?;
    }
    Ok(())
}

/// A reclaim frees an idle session's KV to the byte and no other; the next turn gives the same text.
pub(super) fn reclaim(subject: &Subject) -> Result<(), String> {
    let ask = |session: SessionKey| {
        let (answer, freed) = bounded(1);
        subject.engine.reclaim(session, answer);
        freed.recv_timeout(subject.patience).map_err(|error| format!("no answer to a reclaim: {error}"))
    };
    same("bytes freed of an unknown session", ask(SessionKey(u64::MAX))?, 0)?;
    let mut talk = Talk::open(subject)?;
    let mut other = Talk::open(subject)?;
    other.say(&(subject.prompt)(9, LONG), FEW, &Manner::default())?;
    let others = subject.booked_kv();
    let prompt = (subject.prompt)(1, LONG);
    let mut turn = talk.start(&prompt, MANY, &Manner::default())?;
    ensure(turn.token()?, || "no token comes".to_owned())?;
    let freed = ask(talk.seat.key())?;
    ensure(freed == 0 || turn.ring.is_finished(), || format!("{freed} bytes freed of a running session"))?;
    let first = talk.finish(turn)?;
    let held = subject.booked_kv() - others;
    ensure(freed == 0 || held == 0, || "KV that was freed is still booked".to_owned())?;
    same("bytes freed, and held", ask(talk.seat.key())?, held)?;
    same("KV bytes left", subject.booked_kv(), others)?;
    subject.check_kv()?;
    same("bytes freed a second time", ask(talk.seat.key())?, 0)?;
    let again = talk.say(&prompt, MANY, &Manner::default())?;
    same("tokens reused after a reclaim", again.finish.cached_tokens, 0)?;
    equal(subject, "text before and after a reclaim", &first, &again)
}

/// The guard takes KV back through the engine, and the session goes on.
pub(super) fn eviction(subject: &Subject) -> Result<(), String> {
    let mut talk = Talk::open(subject)?;
    let prompt = (subject.prompt)(5, LONG);
    let first = talk.say(&prompt, FEW, &Manner::default())?;
    let held = subject.booked_kv();
    same("bytes evicted, and held", subject.guard.evict_session(&talk.seat), held)?;
    same("KV after eviction", (subject.booked_kv(), subject.engine.holdings().kv), (0, 0))?;
    let again = talk.say(&prompt, FEW, &Manner::default())?;
    same("tokens reused after eviction", again.finish.cached_tokens, 0)?;
    equal(subject, "text before and after eviction", &first, &again)
}
