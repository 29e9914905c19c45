//! The way of tokens from an engine to whoever reads them.

use crate::{EngineError, Lease};
use std::collections::TryReserveError;
use std::mem::size_of;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
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
/// pays for it.
pub struct Ring {
    state: Mutex<State>,
    arrived: Condvar,
    top: usize,
    _lease: Lease,
}

struct State {
    tokens: Vec<TokenEvent>,
    tops: Vec<TopLogprob>,
    read: usize,
    finish: Option<Finish>,
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
        let mut state = State { tokens: Vec::new(), tops: Vec::new(), read: 0, finish: None };
        state.tokens.try_reserve_exact(tokens)?;
        // A product beyond usize cannot be reserved either; saturating asks for it and is refused.
        state.tops.try_reserve_exact(tokens.saturating_mul(top))?;
        Ok(Ring { state: Mutex::new(state), arrived: Condvar::new(), top, _lease: lease })
    }

    /// Adds a token and its most likely alternatives (at most as many as the ring was made for). Returns false when the
    /// ring is full: the engine generated more than was granted.
    pub fn push(&self, token: TokenEvent, tops: &[TopLogprob]) -> bool {
        let mut state = self.lock();
        if state.finish.is_some() || state.tokens.len() == state.tokens.capacity() {
            return false;
        }
        state.tokens.push(token);
        let filler = TopLogprob { id: u32::MAX, logprob: f32::NEG_INFINITY };
        state.tops.extend((0..self.top).map(|i| tops.get(i).copied().unwrap_or(filler)));
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
            if let Some(&token) = state.tokens.get(state.read) {
                let from = state.read * self.top;
                tops.extend(state.tops[from..from + self.top].iter().filter(|top| top.id != u32::MAX));
                state.read += 1;
                return Next::Token(token);
            }
            if let Some(finish) = &state.finish {
                return Next::Finished(finish.clone());
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

    struct NoBooks;
    impl Accounts for NoBooks {
        fn release(&self, _: Region, _: Owner, _: u64) {}
    }

    fn ring(tokens: u32, top: u32) -> Ring {
        let bytes = Ring::bytes(tokens, top).unwrap();
        Ring::new(
            tokens,
            top,
            Lease::issue(Arc::new(NoBooks), Region::Host, Owner::Request(RequestId(1)), bytes),
        )
        .unwrap()
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
