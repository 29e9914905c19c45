//! What a session and a request own of the guard: a seat, and a grant.

use super::MemoryGuard;
use plimsoll_engine::{Engine, Lease, RequestId, SessionKey};
use std::fmt;
use std::sync::Arc;

/// A session's place in the guard. Dropping it closes the session: its KV is asked back at once, or when the request that
/// still runs has ended.
pub struct Seat {
    pub(super) guard: Arc<MemoryGuard>,
    pub(super) engine: Arc<dyn Engine>,
    pub(super) key: SessionKey,
}

impl Seat {
    /// The session's key, for its engine.
    pub fn key(&self) -> SessionKey {
        self.key
    }

    /// KV bytes that are booked for the session, those of a grant included.
    pub fn kv_bytes(&self) -> u64 {
        self.guard.books.lock().sessions.get(self.key).map_or(0, |session| session.kv)
    }

    /// The engine that holds its KV.
    pub fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.guard.close(self.key);
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seat(session {})", self.key.0)
    }
}

/// An admitted request: its bytes, booked. Dropping it unused gives everything back.
#[derive(Debug)]
pub struct Grant {
    /// The request's name in the ledger.
    pub request: RequestId,
    /// The KV that the session does not hold yet.
    pub kv: Lease,
    /// The request's own host bytes, the ring's included.
    pub host: Lease,
    /// `max_tokens` that were granted.
    pub granted_tokens: u32,
    /// Keeps the session from being evicted and from being granted another request. Declared last, so that the bytes of a
    /// dropped grant are back before the session counts as idle.
    pub busy: BusyMark,
}

/// A session's running request. Keep it until the engine has said that the request ended; then drop it.
pub struct BusyMark {
    pub(super) guard: Arc<MemoryGuard>,
    pub(super) session: SessionKey,
}

impl Drop for BusyMark {
    fn drop(&mut self) {
        let now = self.guard.clock.now();
        let mut state = self.guard.books.lock();
        let ended = state.sessions.end(self.session, now);
        if let Some((took, _)) = ended {
            state.learn(took);
            state.ring();
        }
        drop(state);
        if let Some((_, true)) = ended {
            self.guard.close(self.session);
        }
    }
}

impl fmt::Debug for BusyMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusyMark(session {})", self.session.0)
    }
}
