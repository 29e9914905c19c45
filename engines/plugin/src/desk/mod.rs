//! The desk: which requests the plug-in has, what its sessions hold, and the leases that pay for both.
//!
//! Everything that the plug-in says arrives here. The lock is held for short changes only: neither the plug-in is called under
//! it, nor is a lease dropped or an end told.

mod held_back;
mod jobs;
mod reclaims;
mod says;

pub(crate) use held_back::HeldBack;
pub(crate) use jobs::{Entered, Taken};
pub(crate) use says::End;

use crate::request::{Entry, Session};
use plimsoll_engine::{Clock, EngineError, Finish, FinishReason, Lease, RequestId, Ring, SessionKey};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Weight of history in the moving average of how long requests take.
const HISTORY: u32 = 7;
/// What a request is taken to last before any has ended.
const FIRST_GUESS: Duration = Duration::from_millis(500);

pub(crate) struct Desk {
    state: Mutex<State>,
    /// Woken when a request comes or is held back, and when the engine goes.
    changed: Condvar,
    clock: Arc<dyn Clock>,
    vocab_size: u32,
    /// Whether the plug-in keeps KV between requests: it has a `reclaim`.
    keeps: bool,
    ignored: AtomicU64,
}

pub(crate) struct State {
    pub(crate) requests: HashMap<RequestId, Entry>,
    sessions: HashMap<SessionKey, Session>,
    /// Jobs for which the plug-in's queue has no room, in order.
    held_back: VecDeque<HeldBack>,
    /// Whether somebody brings these to the plug-in.
    resuming: bool,
    closed: bool,
    mean: Duration,
}

/// What the end of a request leaves to be done without the lock, in this order.
#[must_use]
struct Ended {
    leases: Vec<Lease>,
    ring: Arc<Ring>,
    finish: Finish,
}

impl Ended {
    fn tell(self) {
        drop(self.leases);
        self.ring.finish(self.finish);
    }
}

impl Desk {
    pub(crate) fn new(clock: Arc<dyn Clock>, vocab_size: u32, keeps: bool) -> Arc<Desk> {
        let state = State {
            requests: HashMap::new(),
            sessions: HashMap::new(),
            held_back: VecDeque::new(),
            resuming: false,
            closed: false,
            mean: FIRST_GUESS,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        Arc::new(Desk { state, changed, clock, vocab_size, keeps, ignored: AtomicU64::new(0) })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until there is a request or the engine goes, or for `timeout`; whether the engine is still there.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        let mut state = self.lock();
        match timeout {
            _ if state.closed => {}
            Some(timeout) => {
                state = self.changed.wait_timeout(state, timeout).unwrap_or_else(PoisonError::into_inner).0;
            }
            None => {
                while state.requests.is_empty() && state.held_back.is_empty() && !state.closed {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
        !state.closed
    }

    /// Calls of the plug-in that were ignored so far.
    pub(crate) fn ignored(&self) -> u64 {
        self.ignored.load(Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// KV that sessions hold, by what was leased.
    pub(crate) fn kv_bytes(&self) -> u64 {
        self.lock().sessions.values().fold(0, |sum, session| sum.saturating_add(session.held()))
    }

    /// Ends a request for its reader, if it has not ended, and with `over` for the desk. Whether it was known.
    pub(crate) fn end(
        &self,
        id: RequestId,
        reason: FinishReason,
        cached_tokens: usize,
        kv_tokens: usize,
        over: bool,
    ) -> bool {
        let now = self.now();
        let mut state = self.lock();
        let State { requests, sessions, mean, .. } = &mut *state;
        let Some(entry) = requests.get_mut(&id) else { return false };
        let mut leases = Vec::new();
        let failed = matches!(reason, FinishReason::Failed(_));
        let mut kept = 0;
        if let Some(session) = sessions.get_mut(&entry.session) {
            // What may not be kept counts as given back: nobody could ask for it any more.
            if over && !(self.keeps && entry.keep_kv) {
                leases.extend(session.held.take());
            }
            if entry.runs() {
                let keep = entry.keep_kv && over && !failed && session.held() > 0;
                kept = if keep { kv_tokens } else { 0 };
                session.valid = kept;
            }
        }
        let finish = entry.finish(reason, cached_tokens, kept, now);
        let told = entry.purse.take().map(|purse| {
            leases.push(purse);
            *mean =
                mean.saturating_mul(HISTORY).saturating_add(finish.prefill + finish.decode) / (HISTORY + 1);
            Arc::clone(&entry.ring)
        });
        if over && let Some(entry) = requests.remove(&id) {
            leases.push(entry.host);
            state.leave(entry.session);
        }
        drop(state);
        match told {
            Some(ring) => Ended { leases, ring, finish }.tell(),
            None => drop(leases),
        }
        true
    }

    /// Nothing new is taken, and the plug-in is told to stop by whatever it asks.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The plug-in does not come back: every request ends for its reader. What it may still use stays booked.
    pub(crate) fn abandon(&self) {
        self.let_go();
        let ids: Vec<_> = self.lock().requests.keys().copied().collect();
        for id in ids {
            self.fail(id, EngineError::Closed, false);
        }
    }

    /// The plug-in is gone: every request ends and all leases return. How many bytes it had not given back.
    pub(crate) fn settle(&self) -> u64 {
        self.let_go();
        let ids: Vec<_> = self.lock().requests.keys().copied().collect();
        let left = self.kv_bytes();
        let sessions = std::mem::take(&mut self.lock().sessions);
        // The memory is free, so its leases return before the ends are told; who waits for a reclaim sees the channel close.
        drop(sessions);
        for id in ids {
            self.fail(id, EngineError::Closed, true);
        }
        left
    }
}

impl State {
    /// A session's request is over.
    fn leave(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(&key) {
            session.running = None;
        }
        self.tidy(key);
    }

    /// Whether another answer to a request of this session, which has ended for its reader, still holds KV that is leased to it.
    fn owes(&self, key: SessionKey) -> bool {
        let mut late = self.requests.values().filter(|entry| entry.beside == Some(key) && !entry.runs());
        late.any(|entry| self.sessions.get(&entry.session).is_some_and(|session| session.held() > 0))
    }

    fn tidy(&mut self, key: SessionKey) {
        if self.sessions.get(&key).is_some_and(Session::is_empty) {
            self.sessions.remove(&key);
        }
    }

    /// Requests that should end and have not been told, and those that were told `grace` ago and have not ended.
    pub(crate) fn overdue(
        &mut self,
        now: Duration,
        grace: Duration,
    ) -> (Vec<RequestId>, Vec<(RequestId, FinishReason)>) {
        let (mut tell, mut end) = (Vec::new(), Vec::new());
        for (&id, entry) in self.requests.iter_mut().filter(|(_, entry)| entry.runs()) {
            let Some(reason) = entry.interrupted(now) else { continue };
            match entry.told {
                None => {
                    entry.told = Some(Instant::now());
                    tell.push(id);
                }
                Some(told) if told.elapsed() >= grace => end.push((id, reason)),
                Some(_) => {}
            }
        }
        (tell, end)
    }
}
