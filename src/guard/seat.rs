//! What a session and a request own of the guard: a seat, and a grant.

use super::MemoryGuard;
use plimsoll_engine::{Engine, Lease, Owner, Region, RequestId, SessionKey};
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

/// An admitted request: its bytes, booked. Dropping it unused gives everything back, in one step.
#[derive(Debug)]
pub struct Grant {
    /// The request's name in the ledger, and its first answer's for the engine. The others' numbers follow it.
    pub request: RequestId,
    /// How many answers the leases pay for, each with the same share of the price; the first has what the session holds besides.
    pub answers: u32,
    /// The session key of the second answer, for its engine alone; the others' follow. No session has any of them.
    pub branches: SessionKey,
    /// The KV that the session does not hold yet.
    pub kv: Lease,
    /// The request's own host bytes, the ring's included.
    pub host: Lease,
    /// `max_tokens` that were granted.
    pub granted_tokens: u32,
    pub(super) busy: BusyMark,
}

/// A session's running request, which keeps the session from being evicted and from being granted another one. Keep it until
/// the engine has said that the request ended; then drop it.
pub struct BusyMark {
    guard: Arc<MemoryGuard>,
    session: SessionKey,
    ended: bool,
}

impl Grant {
    /// KV, host bytes and mark, for whoever runs the request. The leases go first: the bytes are back before the session counts
    /// as idle.
    pub fn into_parts(mut self) -> (Lease, Lease, BusyMark) {
        let BusyMark { guard, session, ended } = &mut self.busy;
        let busy =
            BusyMark { guard: Arc::clone(guard), session: *session, ended: std::mem::replace(ended, true) };
        (self.kv.take(), self.host.take(), busy)
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let Grant { kv, host, busy, .. } = self;
        busy.end([(kv.region(), kv.owner(), kv.redeem()), (host.region(), host.owner(), host.redeem())]);
    }
}

impl BusyMark {
    pub(super) fn new(guard: &Arc<MemoryGuard>, session: SessionKey) -> Self {
        BusyMark { guard: Arc::clone(guard), session, ended: false }
    }

    /// Gives back bytes, and ends the session's request.
    fn end(&mut self, back: [(Region, Owner, u64); 2]) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let now = self.guard.clock.now();
        if self.guard.books.end(self.session, back, now, &self.guard.pool) {
            self.guard.close(self.session);
        }
    }
}

impl Drop for BusyMark {
    fn drop(&mut self) {
        let nothing = (Region::Host, Owner::Kv(self.session), 0);
        self.end([nothing, nothing]);
    }
}

impl fmt::Debug for BusyMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusyMark(session {})", self.session.0)
    }
}
