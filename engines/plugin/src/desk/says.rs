//! What the plug-in says of its requests and sessions.

use super::{Desk, State};
use crate::error::failure;
use crate::request::{Entry, Session};
use crate::status;
use plimsoll_engine::{EngineError, FinishReason, RequestId, SessionKey, TokenEvent, TopLogprob};
use std::sync::atomic::Ordering;

/// An end that the plug-in tells.
pub(crate) struct End<'a> {
    pub(crate) status: i32,
    pub(crate) ending: i32,
    pub(crate) cached_tokens: usize,
    pub(crate) kv_tokens: usize,
    pub(crate) message: &'a str,
}

impl Desk {
    /// Counts a call that means nothing, and says so.
    pub(crate) fn ignore(&self, what: &str, id: u64) -> i32 {
        if self.ignored.fetch_add(1, Ordering::Relaxed) == 0 {
            log::warn!(
                "the plug-in calls {what} for {id}, which is not there; later such calls are only counted"
            );
        }
        status::INVALID_ARGUMENT
    }

    pub(crate) fn begin(&self, id: u64) -> i32 {
        let now = self.now();
        let mut state = self.lock();
        let entry = state.requests.get_mut(&RequestId(id)).filter(|entry| entry.runs());
        let known = entry.map(|entry| entry.started.get_or_insert(now)).is_some();
        drop(state);
        if known { status::OK } else { self.ignore("begin", id) }
    }

    pub(crate) fn grow(&self, key: u64, bytes: u64) -> i32 {
        let now = self.now();
        let mut state = self.lock();
        let State { requests, sessions, .. } = &mut *state;
        let session = sessions.get_mut(&SessionKey(key));
        let running = session.and_then(|session| {
            let entry = requests.get_mut(&session.running?)?;
            entry.started.get_or_insert(now);
            Some((session, entry.purse.as_mut()?))
        });
        let Some((session, purse)) = running else {
            drop(state);
            return self.ignore("lease_grow", key);
        };
        let Ok(part) = purse.split(bytes) else { return status::MEMORY_REFUSED };
        let joined = match &mut session.held {
            Some(held) => held.absorb(part),
            held @ None => {
                *held = Some(part);
                Ok(())
            }
        };
        drop(state);
        // All leases of a session come from one guard; others would go back to theirs.
        if joined.is_err() { status::INTERNAL } else { status::OK }
    }

    pub(crate) fn shrink(&self, key: u64, bytes: u64) -> i32 {
        let mut state = self.lock();
        let State { requests, sessions, .. } = &mut *state;
        let parts = sessions.get_mut(&SessionKey(key)).and_then(|session| {
            let part = session.held.as_mut()?.split(bytes).ok()?;
            if session.running.is_none() && session.held() == 0 {
                session.valid = 0;
            }
            Some((part, session.running))
        });
        let Some((part, running)) = parts else {
            drop(state);
            return self.ignore("lease_shrink", key);
        };
        let purse = running.and_then(|id| requests.get_mut(&id)).and_then(|entry| entry.purse.as_mut());
        let returned = match purse {
            Some(purse) => purse.absorb(part).err(),
            None => Some(part),
        };
        state.tidy(SessionKey(key));
        drop(state);
        drop(returned);
        status::OK
    }

    pub(crate) fn token(&self, id: u64, token: TokenEvent, tops: &[TopLogprob]) -> i32 {
        let id = RequestId(id);
        let now = self.now();
        let possible = |id: u32, logprob: f32| id < self.vocab_size && logprob <= 0.0 && logprob.is_finite();
        let mut state = self.lock();
        let Some(entry) = state.requests.get_mut(&id).filter(|entry| entry.runs()) else {
            drop(state);
            return self.ignore("emit_token", id.0);
        };
        let (wrong, answer) = if !possible(token.id, token.logprob) {
            let text = format!("token {} with the log-probability {}", token.id, token.logprob);
            (Some(text), status::INVALID_TOKEN)
        } else if !tops.iter().all(|top| possible(top.id, top.logprob)) {
            (Some("alternatives that cannot be".to_owned()), status::INVALID_TOKEN)
        } else if entry.generated >= entry.max_tokens || !entry.ring.push(token, tops) {
            (Some(format!("more than the {} granted tokens", entry.max_tokens)), status::INVALID_ARGUMENT)
        } else {
            entry.generated += 1;
            entry.started.get_or_insert(now);
            entry.first.get_or_insert(now);
            entry.last = now;
            (None, status::OK)
        };
        drop(state);
        if let Some(wrong) = wrong {
            self.fail(id, EngineError::Execution(format!("the plug-in emits {wrong}")), false);
        }
        answer
    }

    /// A token or an end that cannot be read fails its request.
    pub(crate) fn unreadable(&self, id: u64, what: &str, over: bool, answer: i32) -> i32 {
        let error = EngineError::Execution(format!("the plug-in emits {what} that cannot be read"));
        if !self.end(RequestId(id), FinishReason::Failed(error), 0, 0, over) {
            self.ignore("emit_token or emit_end", id);
        }
        answer
    }

    pub(crate) fn ended(&self, id: u64, end: &End<'_>) -> i32 {
        let now = self.now();
        let state = self.lock();
        let Some(entry) = state.requests.get(&RequestId(id)) else {
            drop(state);
            return self.ignore("emit_end", id);
        };
        let judged = match end.status {
            // It was told to stop because the engine goes.
            status::OK if state.closed && end.ending == status::STOPPED => {
                Ok(FinishReason::Failed(EngineError::Closed))
            }
            status::OK => entry
                .judge(end.ending, end.cached_tokens, end.kv_tokens, now)
                .and_then(|reason| self.nothing_left(&state, entry).map(|()| reason)),
            status => Ok(FinishReason::Failed(failure(status, "request", end.message))),
        };
        // What was ended for its reader is not judged a second time.
        let runs = entry.runs();
        drop(state);
        let (reason, cached, kv, answer) = match judged {
            Ok(reason @ FinishReason::Failed(_)) => (reason, 0, 0, status::OK),
            Ok(reason) => (reason, end.cached_tokens, end.kv_tokens, status::OK),
            Err(why) => {
                let error = EngineError::Execution(format!("the plug-in ends a request with {why}"));
                (FinishReason::Failed(error), 0, 0, status::INVALID_ARGUMENT)
            }
        };
        match self.end(RequestId(id), reason, cached, kv, true) {
            true if runs => answer,
            true => status::OK,
            false => self.ignore("emit_end", id),
        }
    }

    /// A plug-in that keeps KV between requests has given back that of a session which keeps none.
    fn nothing_left(&self, state: &State, entry: &Entry) -> Result<(), String> {
        let held = state.sessions.get(&entry.session).map_or(0, Session::held);
        if !self.keeps || entry.keep_kv || held == 0 {
            return Ok(());
        }
        Err(format!("{held} bytes of KV leased, of a session that keeps none"))
    }

    pub(crate) fn interrupted(&self, id: u64) -> i32 {
        let now = self.now();
        let state = self.lock();
        let entry = state.requests.get(&RequestId(id)).filter(|entry| entry.runs() && !state.closed);
        match entry.map(|entry| entry.interrupted(now)) {
            Some(None) => 0,
            Some(Some(FinishReason::Cancelled)) => status::CANCELLED,
            Some(Some(_)) => status::DEADLINE,
            None => status::STOPPED,
        }
    }
}
