//! The way of tokens from an engine to whoever reads them.

use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::{EngineError, Lease};
use std::collections::TryReserveError;
use std::mem::size_of;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// A generated token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenEvent {
    /// Its id.
    pub id: u32,
    /// Its natural-log probability under the model, before sampling settings.
    pub logprob: f32,
}

/// One of the most likely tokens at a position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopLogprob {
    /// Its id.
    pub id: u32,
    /// Its natural-log probability.
    pub logprob: f32,
}

/// Why a request ended.
#[derive(Clone, Debug, PartialEq)]
pub enum FinishReason {
    /// A stop token came.
    EndOfText,
    /// The granted tokens are used up.
    Length,
    /// It was cancelled.
    Cancelled,
    /// Its deadline passed.
    Deadline,
    /// It failed.
    Failed(EngineError),
}

/// The last word on a request, sent after its leases are back.
#[derive(Clone, Debug, PartialEq)]
pub struct Finish {
    /// Why.
    pub reason: FinishReason,
    /// Leading tokens of the request whose KV was already held.
    pub cached_tokens: usize,
    /// Leading tokens (prompt, then generated) whose KV the engine keeps for the session now.
    pub kv_tokens: usize,
    /// Time from submission to the first step.
    pub queued: Duration,
    /// Time from the first step to the first token, or to the end when there was none.
    pub prefill: Duration,
    /// Time from the first token to the last.
    pub decode: Duration,
}

/// What [`Ring::next`] found.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// The next token.
    Token(TokenEvent),
    /// All tokens were read and the request has ended; the same answer again on every later call.
    Finished(Finish),
    /// Nothing came in time.
    TimedOut,
}

/// Room for every granted token of one request, and its end. The engine writes, one consumer reads.
///
/// Nothing is allocated after [`Ring::new`], and the engine never waits for the reader. The ring owns the lease that
/// pays for it. Memory and lease go when the end is read, whoever still has the ring: a request that follows at once finds
/// the bytes free.
pub struct Ring {
    state: Mutex<State>,
    arrived: Condvar,
    top: usize,
}

struct State {
    room: Option<Room>,
    read: usize,
    finish: Option<Finish>,
}

/// The fields are dropped in this order: first the memory, then what paid for it.
struct Room {
    tokens: Vec<TokenEvent>,
    tops: Vec<TopLogprob>,
    _lease: Lease,
}

impl Ring {
    /// Heap bytes of a ring for this many tokens with this many alternatives each; `None` on overflow.
    pub fn bytes(tokens: u32, top: u32) -> Option<u64> {
        let token = (size_of::<TokenEvent>() as u64)
            .checked_add(u64::from(top).checked_mul(size_of::<TopLogprob>() as u64)?)?;
        u64::from(tokens).checked_mul(token)
    }

    /// A ring with its memory reserved, paid for by `lease`.
    pub fn new(tokens: u32, top: u32, lease: Lease) -> Result<Ring, TryReserveError> {
        let (tokens, top) = (tokens as usize, top as usize);
        let mut room = Room { tokens: Vec::new(), tops: Vec::new(), _lease: lease };
        room.tokens.try_reserve_exact(tokens)?;
        // A product beyond usize cannot be reserved either; saturating asks for it and is refused.
        room.tops.try_reserve_exact(tokens.saturating_mul(top))?;
        let state = State { room: Some(room), read: 0, finish: None };
        Ok(Ring { state: Mutex::new(state), arrived: Condvar::new(), top })
    }

    /// Adds a token and its most likely alternatives (at most as many as the ring was made for). Returns false when the
    /// ring is full: the engine generated more than was granted.
    pub fn push(&self, token: TokenEvent, tops: &[TopLogprob]) -> bool {
        let mut state = self.lock();
        let ended = state.finish.is_some();
        let Some(room) = state.room.as_mut() else { return false };
        if ended || room.tokens.len() == room.tokens.capacity() {
            return false;
        }
        room.tokens.push(token);
        let filler = TopLogprob { id: u32::MAX, logprob: f32::NEG_INFINITY };
        room.tops.extend((0..self.top).map(|i| tops.get(i).copied().unwrap_or(filler)));
        drop(state);
        self.arrived.notify_one();
        true
    }

    /// Ends the request. Only the first call counts.
    pub fn finish(&self, finish: Finish) {
        let mut state = self.lock();
        state.finish.get_or_insert(finish);
        drop(state);
        self.arrived.notify_all();
    }

    /// The next token or the end, waiting at most `timeout` (for ever when `None`). `tops` is cleared and filled with
    /// the token's alternatives.
    pub fn next(&self, timeout: Option<Duration>, tops: &mut Vec<TopLogprob>) -> Next {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        loop {
            tops.clear();
            let State { room, read, finish } = &mut *state;
            if let Some((room, &token)) = room.as_ref().and_then(|room| Some((room, room.tokens.get(*read)?)))
            {
                let from = *read * self.top;
                tops.extend(room.tops[from..from + self.top].iter().filter(|top| top.id != u32::MAX));
                *read += 1;
                return Next::Token(token);
            }
            if let Some(finish) = finish {
                let (finish, room) = (finish.clone(), room.take());
                drop(state);
                // The lease returns outside of the lock.
                drop(room);
                return Next::Finished(finish);
            }
            state = match until {
                None => self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Next::TimedOut;
                    }
                    self.arrived.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// Whether the request has ended, read or not.
    pub fn is_finished(&self) -> bool {
        self.lock().finish.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every critical section leaves the state whole, so a poisoned lock is safe to enter.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Accounts, Owner, Region, RequestId};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Bytes that came back.
    #[derive(Default)]
    struct Back(AtomicU64);

    impl Accounts for Back {
        fn release(&self, _: Region, _: Owner, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn ring_of(tokens: u32, top: u32, back: &Arc<Back>) -> Ring {
        let bytes = Ring::bytes(tokens, top).unwrap();
        let books: Arc<dyn Accounts> = Arc::<Back>::clone(back);
        Ring::new(tokens, top, Lease::issue(books, Region::Host, Owner::Request(RequestId(1)), bytes))
            .unwrap()
    }

    fn ring(tokens: u32, top: u32) -> Ring {
        ring_of(tokens, top, &Arc::default())
    }

    fn finish() -> Finish {
        let zero = Duration::ZERO;
        Finish {
            reason: FinishReason::Length,
            cached_tokens: 0,
            kv_tokens: 0,
            queued: zero,
            prefill: zero,
            decode: zero,
        }
    }

    #[test]
    fn tokens_come_in_order_then_the_end_again_and_again() {
        let ring = ring(2, 1);
        let top = TopLogprob { id: 7, logprob: -0.5 };
        let mut tops = Vec::new();
        assert!(ring.push(TokenEvent { id: 5, logprob: -1.0 }, &[top]));
        assert!(ring.push(TokenEvent { id: 6, logprob: -2.0 }, &[]));
        assert!(!ring.push(TokenEvent { id: 7, logprob: 0.0 }, &[]), "more than granted");
        assert_eq!(ring.next(None, &mut tops), Next::Token(TokenEvent { id: 5, logprob: -1.0 }));
        assert_eq!(tops, [top]);
        assert_eq!(ring.next(None, &mut tops), Next::Token(TokenEvent { id: 6, logprob: -2.0 }));
        assert!(tops.is_empty());
        assert_eq!(ring.next(Some(Duration::ZERO), &mut tops), Next::TimedOut);
        ring.finish(finish());
        assert_eq!(ring.next(None, &mut tops), Next::Finished(finish()));
        assert_eq!(ring.next(None, &mut tops), Next::Finished(finish()));
    }

    #[test]
    fn its_bytes_are_back_when_the_end_is_read() {
        let back = Arc::default();
        let ring = ring_of(2, 1, &back);
        assert!(ring.push(TokenEvent { id: 5, logprob: -1.0 }, &[]));
        ring.finish(finish());
        assert!(matches!(ring.next(None, &mut Vec::new()), Next::Token(_)));
        assert_eq!(back.0.load(Ordering::Relaxed), 0);
        assert_eq!(ring.next(None, &mut Vec::new()), Next::Finished(finish()));
        assert_eq!(back.0.load(Ordering::Relaxed), Ring::bytes(2, 1).unwrap());
        assert!(!ring.push(TokenEvent { id: 6, logprob: 0.0 }, &[]));
        drop(ring);
        assert_eq!(back.0.load(Ordering::Relaxed), Ring::bytes(2, 1).unwrap());
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        assert_eq!(Ring::bytes(3, 2), Some(3 * (8 + 2 * 8)));
        assert!(Ring::bytes(u32::MAX, u32::MAX).is_none_or(|bytes| bytes > u64::from(u32::MAX)));
    }

    #[test]
    fn a_waiting_reader_wakes_for_a_token() {
        let ring = Arc::new(ring(1, 0));
        let writer = Arc::clone(&ring);
        let thread = std::thread::spawn(move || writer.push(TokenEvent { id: 1, logprob: 0.0 }, &[]));
        assert!(matches!(ring.next(None, &mut Vec::new()), Next::Token(_)));
        assert!(thread.join().unwrap());
    }
}
