//! Eviction: asking engines for the KV of sessions, and waiting for the answer with no lock held.

use super::sessions::{Post, Wait};
use super::{MemoryGuard, Seat};
use plimsoll_engine::SessionKey;
use plimsoll_engine::sync::RecvTimeoutError;
use std::time::{Duration, Instant};

impl MemoryGuard {
    /// Posts reclaims, waits for their answers, and takes note of them. Returns the bytes that came back in time.
    pub(super) fn reclaim(&self, posts: Vec<Post>, until: Instant) -> u64 {
        let mut posted = Vec::with_capacity(posts.len());
        self.post(posts, &mut posted);
        self.settle_all(&posted, &[], until).0
    }

    /// Posts reclaims. What to wait for goes into a list with room for it.
    pub(super) fn post(&self, posts: Vec<Post>, posted: &mut Vec<Wait>) {
        for Post { key, engine, answer_to, wait } in posts {
            // An engine that is gone has dropped its leases; the channel closes, which is an answer.
            if let Some(engine) = engine {
                engine.reclaim(key, answer_to);
            }
            posted.push(wait);
        }
    }

    /// Waits for the answers to posted reclaims and to those of others in `waits`, and takes note of them. Returns the bytes
    /// that the posts brought back, and whether every answer came in time. A late answer is noted by whoever next looks at
    /// the session.
    pub(super) fn settle_all(&self, posted: &[Wait], waits: &[Wait], until: Instant) -> (u64, bool) {
        let mut in_time = true;
        let mut settle = |wait: &Wait| match wait.answer.recv_deadline(until) {
            Err(RecvTimeoutError::Timeout) => {
                in_time = false;
                0
            }
            Ok(_) | Err(RecvTimeoutError::Disconnected) => self.books.lock().settle(wait),
        };
        let freed = posted.iter().map(&mut settle).fold(0, u64::saturating_add);
        for wait in waits {
            settle(wait);
        }
        (freed, in_time)
    }

    /// Frees the KV of sessions that were not used for the idle timeout, and of closed ones that still hold some. Returns
    /// the bytes that came back within the reclaim deadline. Meant to be called from a timer.
    pub fn evict_idle(&self) -> u64 {
        let mut state = self.books.lock();
        state.settle_answered();
        // Before the first timeout has passed no open session is old enough.
        let before = self.clock.now().checked_sub(self.config.idle_timeout);
        let expired = state.sessions.idle_since(before);
        let posts = expired.into_iter().filter_map(|key| state.sessions.leave(key)).collect();
        drop(state);
        self.reclaim(posts, self.reclaim_until())
    }

    /// Frees a session's KV. Returns the bytes that came back within the reclaim deadline: 0 for a session that runs or
    /// holds none. The session stays open.
    pub fn evict_session(&self, seat: &Seat) -> u64 {
        let session = seat.key;
        let mut state = self.books.lock();
        state.settle_if_answered(session);
        let posts = if state.sessions.get(session).is_some_and(|session| session.kv > 0) {
            state.sessions.leave(session).into_iter().collect()
        } else {
            Vec::new()
        };
        drop(state);
        self.reclaim(posts, self.reclaim_until())
    }

    /// The last seat of a session is gone, or a closed session's request has ended.
    pub(super) fn close(&self, session: SessionKey) {
        let mut state = self.books.lock();
        state.line.forget(session);
        let post = state.sessions.close(session);
        state.ring();
        drop(state);
        if let Some(Post { key, engine: Some(engine), answer_to, .. }) = post {
            // Nobody waits: the answer is found when the session is next looked at, or the last KV to come back removes
            // the session by itself.
            engine.reclaim(key, answer_to);
        }
    }

    /// The latest time at which a reclaim posted now may be answered.
    pub(super) fn reclaim_until(&self) -> Instant {
        let now = Instant::now();
        // The configuration bounds the deadline, so the addition only fails at the end of time.
        now.checked_add(self.config.reclaim_deadline).unwrap_or(now)
    }

    /// Waits until bytes come back after the count of releases was `seen`, at most for `timeout`. Returns the new count;
    /// start with [`MemoryGuard::releases`]. For callers that queue refused requests.
    pub fn wait_for_release(&self, seen: u64, timeout: Duration) -> u64 {
        self.books.wait_for_release(seen, timeout)
    }

    /// How many times bytes came back so far.
    pub fn releases(&self) -> u64 {
        self.books.lock().releases()
    }
}
