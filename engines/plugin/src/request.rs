//! A request at the desk: what is told of it, and what pays for it.

use crate::status;
use plimsoll_engine::{Cancel, Finish, FinishReason, Lease, RequestId, Ring, SessionKey};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request that the plug-in has, or is being given.
pub(crate) struct Entry {
    pub(crate) session: SessionKey,
    /// The session that its bytes are leased to, where that is another's.
    pub(crate) beside: Option<SessionKey>,
    pub(crate) ring: Arc<Ring>,
    pub(crate) cancel: Cancel,
    pub(crate) deadline: Option<Duration>,
    /// What was admitted and not yet taken; `None` once the request has ended for its reader.
    pub(crate) purse: Option<Lease>,
    /// Pays for the request's host bytes until the plug-in ends it.
    pub(crate) host: Lease,
    pub(crate) prompt_tokens: usize,
    pub(crate) shared_prefix: usize,
    pub(crate) max_tokens: usize,
    pub(crate) keep_kv: bool,
    pub(crate) generated: usize,
    pub(crate) submitted: Duration,
    pub(crate) started: Option<Duration>,
    pub(crate) first: Option<Duration>,
    pub(crate) last: Duration,
    /// When the plug-in was told that the request should end.
    pub(crate) told: Option<Instant>,
}

impl Entry {
    /// Whether its reader still waits for it.
    pub(crate) fn runs(&self) -> bool {
        self.purse.is_some()
    }

    /// Why it should end, if it should.
    pub(crate) fn interrupted(&self, now: Duration) -> Option<FinishReason> {
        if self.cancel.is_cancelled() {
            return Some(FinishReason::Cancelled);
        }
        self.deadline.is_some_and(|deadline| deadline <= now).then_some(FinishReason::Deadline)
    }

    /// The end for its reader.
    pub(crate) fn finish(
        &self,
        reason: FinishReason,
        cached_tokens: usize,
        kv_tokens: usize,
        now: Duration,
    ) -> Finish {
        let started = self.started.unwrap_or(now);
        Finish {
            reason,
            cached_tokens,
            kv_tokens,
            queued: started.saturating_sub(self.submitted),
            prefill: self.first.unwrap_or(now).saturating_sub(started),
            decode: self.first.map_or(Duration::ZERO, |first| self.last.saturating_sub(first)),
        }
    }

    /// Checks an end that the plug-in tells.
    pub(crate) fn judge(
        &self,
        ending: i32,
        cached_tokens: usize,
        kv_tokens: usize,
        now: Duration,
    ) -> Result<FinishReason, String> {
        let interrupted = self.interrupted(now);
        let reason = match ending {
            status::END_OF_TEXT => FinishReason::EndOfText,
            status::LENGTH if self.generated == self.max_tokens => FinishReason::Length,
            status::LENGTH => {
                return Err(format!("its length after {} of {} tokens", self.generated, self.max_tokens));
            }
            status::CANCELLED if self.cancel.is_cancelled() => FinishReason::Cancelled,
            status::CANCELLED => return Err("cancelled, which it was not".to_owned()),
            status::DEADLINE if interrupted.is_some() => FinishReason::Deadline,
            status::DEADLINE => return Err("late, which it was not".to_owned()),
            other => return Err(format!("ending {other}, which is none")),
        };
        let tokens = self.prompt_tokens + self.generated;
        if cached_tokens > self.shared_prefix || cached_tokens >= self.prompt_tokens {
            return Err(format!(
                "{cached_tokens} cached tokens of a prompt of {}, {} of which were shared",
                self.prompt_tokens, self.shared_prefix
            ));
        }
        if kv_tokens > tokens {
            return Err(format!("KV of {kv_tokens} of {tokens} tokens"));
        }
        Ok(reason)
    }
}

/// What the desk remembers of a session.
#[derive(Default)]
pub(crate) struct Session {
    /// Pays for the KV that it holds.
    pub(crate) held: Option<Lease>,
    /// Leading tokens, of those of the session's last request, whose KV may be reused.
    pub(crate) valid: usize,
    /// The request that it has under way with the plug-in.
    pub(crate) running: Option<RequestId>,
    /// A reclaim that the plug-in has not answered.
    pub(crate) reclaim: Option<Reclaim>,
}

/// A reclaim that was posted.
pub(crate) struct Reclaim {
    pub(crate) answer_to: Vec<crossbeam_channel::Sender<u64>>,
    pub(crate) held_before: u64,
}

impl Session {
    pub(crate) fn held(&self) -> u64 {
        self.held.as_ref().map_or(0, Lease::bytes)
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_empty(&self) -> bool {
        self.held() == 0 && self.running.is_none() && self.reclaim.is_none()
    }
}
