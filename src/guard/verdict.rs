//! Verdicts: what was decided about a request, and every number behind it.

use super::Pressure;
use plimsoll_engine::{Region, Shape};
use std::fmt;
use std::time::Duration;

/// What a session wants to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The request, with the `max_tokens` asked for.
    pub shape: Shape,
    /// How many answers of this shape run side by side, all or none of them; 0 counts as 1. The first goes on with the
    /// session's KV.
    pub answers: u32,
    /// The smallest `max_tokens` that is still worth running; 0 counts as 1. Equal to the shape's `max_tokens`, the
    /// request is never shrunk.
    pub min_tokens: u32,
    /// Whether it may be given less than it asks for while memory is under pressure. If not, it is refused then.
    pub degradable: bool,
    /// Its place among those who wait: before all of a lower priority, behind those of its own and of a higher one.
    pub priority: i8,
}

impl Ask {
    /// How many answers it is for.
    pub(super) fn count(&self) -> u32 {
        self.answers.max(1)
    }

    /// The fewest tokens a grant may have: never more than were asked for.
    pub(super) fn smallest(&self) -> u32 {
        self.min_tokens.max(1).min(self.shape.max_tokens)
    }
}

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs as asked.
    Accept,
    /// It runs with fewer tokens.
    Shrink,
    /// Another engine takes it. A guard alone never says so: whoever has several engines asks for each.
    Route,
    /// It does not run.
    Reject,
}

/// What bounds a request: the constraint that one more token, or for a refusal the smallest acceptable request, breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// Nothing: it runs as asked.
    Fits,
    /// The engine's context length.
    Context,
    /// The session's KV limit.
    SessionLimit,
    /// The KV limit of all sessions.
    KvLimit,
    /// The bytes of a region.
    Budget,
    /// The session already has a grant: it runs one request at a time.
    Busy,
    /// Memory is under pressure, which leaves fewer tokens, or refuses what may not be degraded.
    Pressure,
    /// Idle sessions hold enough, but their engines did not give it back in time.
    Reclaim,
    /// Its bytes are kept for those who wait before it.
    Queued,
    /// It would have waited, and too many wait already.
    QueueFull,
    /// It was cancelled while it waited.
    Cancelled,
}

impl Decision {
    /// The decision's name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Decision::Accept => "accept",
            Decision::Shrink => "shrink",
            Decision::Route => "route",
            Decision::Reject => "reject",
        }
    }
}

impl Reason {
    /// The reason's name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Fits => "fits",
            Reason::Context => "context",
            Reason::SessionLimit => "session_limit",
            Reason::KvLimit => "kv_limit",
            Reason::Budget => "budget",
            Reason::Busy => "busy",
            Reason::Pressure => "pressure",
            Reason::Reclaim => "reclaim",
            Reason::Queued => "queued",
            Reason::QueueFull => "queue_full",
            Reason::Cancelled => "cancelled",
        }
    }
}

/// A decision with its numbers. Prices are those of what is granted, or, when nothing is, of what was asked as far as the
/// context goes; all are 0 when the prompt alone exceeds the context. Sizes are bytes, of all answers together; tokens are those
/// of each answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// What happens.
    pub decision: Decision,
    /// What bounds the request.
    pub reason: Reason,
    /// `max_tokens` asked for.
    pub asked_tokens: u32,
    /// `max_tokens` granted; 0 when refused.
    pub granted_tokens: u32,
    /// The largest `max_tokens` that would be granted now, at most those asked for; 0 when there is none.
    pub fits_tokens: u32,
    /// New bytes that are needed in `region`: KV less what the session holds and the request's own bytes, as far as they
    /// live there.
    pub bytes_asked: u64,
    /// Bytes free in `region` after threshold and reserve, before anything is evicted.
    pub bytes_free: u64,
    /// KV of the whole session, of all answers, when the request ends at its longest.
    pub kv_bytes: u64,
    /// Of these, what the session holds already.
    pub kv_held: u64,
    /// Host bytes of the request itself.
    pub request_bytes: u64,
    /// The engine's workspace that the request shares, leased long ago.
    pub workspace_bytes: u64,
    /// Idle sessions that lose their KV for this.
    pub evict_sessions: u32,
    /// The KV that they lose.
    pub evict_bytes: u64,
    /// When a refused request might be granted, estimated from those that run; `None` for one that was granted, and for one
    /// that does not fit even when all sessions are gone.
    pub retry_after: Option<Duration>,
    /// The region that bounds the request; the KV's where no region does.
    pub region: Region,
    /// How short memory was.
    pub pressure: Pressure,
    /// Its place in the line: of one that waits, or of one that is refused now and could wait. The first is 1; 0 for one that
    /// is granted, or that waiting does not help.
    pub position: u32,
    /// How long it waited for this.
    pub waited: Duration,
    /// Of `request_bytes`, those of the ring, which has room for every granted token.
    pub ring_bytes: u64,
    /// Where the KV is.
    pub kv_region: Region,
    /// What loading its model again takes first; 0 for one that is loaded. Part of `bytes_asked` where that is in `region`.
    pub load_bytes: u64,
    /// Where its model is loaded.
    pub load_region: Region,
    /// Idle models that are unloaded for this.
    pub unload_models: u32,
    /// What they take, without KV.
    pub unload_bytes: u64,
    /// How many answers this is about: at least 1.
    pub answers: u32,
}

impl Verdict {
    /// Of the KV that the session holds, what the request goes on with: only the first answer does, and it may need less.
    pub(super) fn kv_reused(&self) -> u64 {
        self.kv_held.min(self.kv_bytes / u64::from(self.answers.max(1)))
    }

    /// Whether waiting for bytes may help: it was refused for now, and not because its session is busy.
    pub(super) fn may_wait(&self) -> bool {
        self.decision == Decision::Reject && self.retry_after.is_some() && self.reason != Reason::Busy
    }

    /// A refusal of which nothing else is known.
    pub(super) fn refusal(reason: Reason, asked_tokens: u32, region: Region) -> Self {
        Verdict {
            decision: Decision::Reject,
            reason,
            asked_tokens,
            granted_tokens: 0,
            fits_tokens: 0,
            bytes_asked: 0,
            bytes_free: 0,
            kv_bytes: 0,
            kv_held: 0,
            request_bytes: 0,
            workspace_bytes: 0,
            evict_sessions: 0,
            evict_bytes: 0,
            retry_after: None,
            region,
            pressure: Pressure::Low,
            position: 0,
            waited: Duration::ZERO,
            ring_bytes: 0,
            kv_region: region,
            load_bytes: 0,
            load_region: Region::Host,
            unload_models: 0,
            unload_bytes: 0,
            answers: 1,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { asked_tokens, granted_tokens, fits_tokens, bytes_asked, bytes_free, region, .. } = self;
        write!(f, "{} ({}): ", self.decision.name(), self.reason.name())?;
        if self.answers > 1 {
            write!(f, "{} answers of ", self.answers)?;
        }
        match self.decision {
            Decision::Reject => write!(f, "{asked_tokens} tokens ")?,
            _ => write!(f, "{granted_tokens} of {asked_tokens} tokens ")?,
        }
        write!(f, "need {bytes_asked} bytes of {region} memory, {bytes_free} are free")?;
        if self.evict_sessions > 0 {
            write!(f, ", {} more from {} idle sessions", self.evict_bytes, self.evict_sessions)?;
        }
        if self.unload_models > 0 {
            write!(f, ", {} more from {} idle models", self.unload_bytes, self.unload_models)?;
        }
        if self.load_bytes > 0 {
            write!(f, "; its model is loaded again with {} of them", self.load_bytes)?;
        }
        if self.decision == Decision::Reject {
            write!(f, "; {fits_tokens} tokens would fit now")?;
            match self.retry_after {
                Some(after) => write!(f, ", retry in {:.1} s", after.as_secs_f64())?,
                None => f.write_str(", it never fits")?,
            }
            if self.position > 1 {
                write!(f, ", {} wait before it", self.position - 1)?;
            }
        }
        if !self.waited.is_zero() {
            write!(f, "; waited {:.1} s", self.waited.as_secs_f64())?;
        }
        Ok(())
    }
}
