//! The way of tokens from an engine to whoever reads them.

use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::{Bell, Buffer, Buffers, EngineError, Lease, Region, Source};
use std::sync::{Arc, PoisonError};
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

/// Where rings' memory is from.
static RING: Source = Source::heap::<8>("ring");

/// Bytes of an id or of a log-probability.
const VALUE: usize = 4;

/// Below this the sizes of rings are quarters of powers of two, from here on multiples of it.
const PAGE: u64 = 4096;

/// The smallest ring of any tokens.
const SMALLEST: u64 = 64;

/// Room for every granted token of one request, and its end. The engine writes, one consumer reads.
///
/// Nothing is allocated after [`Ring::new`], and the engine never waits for the reader. The ring owns the lease that
/// pays for it. Memory and lease go when the end is read, whoever still has the ring: a request that follows at once finds
/// the bytes free, and may find the memory. What the memory held for a request before can be read by nobody: only tokens that were
/// written are.
pub struct Ring {
    state: Mutex<State>,
    arrived: Condvar,
    /// Of a reader of several rings, which waits for all of them.
    bell: Option<Arc<Bell>>,
    top: usize,
}

struct State {
    room: Option<Room>,
    read: usize,
    finish: Option<Finish>,
}

/// The fields are dropped in this order: first the memory, then what paid for it.
struct Room {
    /// A record for each token: its id and log-probability, then those of its alternatives.
    records: Buffer,
    /// Records that may be written.
    most: usize,
    /// Records that were.
    written: usize,
    _lease: Lease,
}

impl Room {
    fn record(&mut self, index: usize, top: usize) -> Option<&mut [u8]> {
        let length = record_len(top)?;
        let from = index.checked_mul(length)?;
        self.records.as_mut_slice().get_mut(from..from.checked_add(length)?)
    }
}

fn record_len(top: usize) -> Option<usize> {
    top.checked_add(1)?.checked_mul(2 * VALUE)
}

fn put(record: &mut [u8], id: u32, logprob: f32) {
    let (first, second) = record.split_at_mut(VALUE);
    first.copy_from_slice(&id.to_ne_bytes());
    second.copy_from_slice(&logprob.to_ne_bytes());
}

fn get(record: &[u8]) -> (u32, f32) {
    let value = |at: usize| std::array::from_fn(|byte| record[at + byte]);
    (u32::from_ne_bytes(value(0)), f32::from_ne_bytes(value(VALUE)))
}

impl Ring {
    /// Heap bytes of a ring for this many tokens with this many alternatives each; `None` on overflow. Rings of about a length have
    /// one size, so that one serves the next: below a page sizes are a quarter of a power of two apart, above whole pages.
    pub fn bytes(tokens: u32, top: u32) -> Option<u64> {
        let record = record_len(usize::try_from(top).ok()?)?;
        let bytes = u64::from(tokens).checked_mul(u64::try_from(record).ok()?)?;
        match bytes {
            0 => Some(0),
            1..=SMALLEST => Some(SMALLEST),
            // A quarter of the power of two below.
            _ if bytes <= PAGE => Some(bytes.next_multiple_of((1 << (bytes - 1).ilog2()) / 4)),
            _ => bytes.checked_next_multiple_of(PAGE),
        }
    }

    /// A ring with fresh memory from the system, paid for by `lease`.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    pub fn new(tokens: u32, top: u32, lease: Lease) -> Result<Ring, EngineError> {
        Self::with(tokens, top, lease, |bytes| Buffer::fresh(&RING, bytes))
    }

    /// A ring whose memory comes from `buffers` and goes back there, paid for by `lease`.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    pub fn within(
        buffers: &Arc<dyn Buffers>,
        tokens: u32,
        top: u32,
        lease: Lease,
    ) -> Result<Ring, EngineError> {
        Self::with(tokens, top, lease, |bytes| Buffer::take(buffers, &RING, bytes))
    }

    fn with(
        tokens: u32,
        top: u32,
        lease: Lease,
        take: impl FnOnce(usize) -> Option<Buffer>,
    ) -> Result<Ring, EngineError> {
        let bytes = Self::bytes(tokens, top).unwrap_or(u64::MAX);
        // What does not fit in an address space is refused like what is not there.
        let records = usize::try_from(bytes).ok().and_then(take);
        let records = records.ok_or(EngineError::OutOfMemory { region: Region::Host, bytes })?;
        let (most, top) = (tokens as usize, top as usize);
        let room = Room { records, most, written: 0, _lease: lease };
        let state = State { room: Some(room), read: 0, finish: None };
        Ok(Ring { state: Mutex::new(state), arrived: Condvar::new(), bell: None, top })
    }

    /// The same ring, which rings this bell with every token and with the end: one reader waits for several rings by it.
    #[must_use]
    pub fn with_bell(self, bell: Arc<Bell>) -> Ring {
        Ring { bell: Some(bell), ..self }
    }

    /// Adds a token and its most likely alternatives (at most as many as the ring was made for). Returns false when the
    /// ring is full: the engine generated more than was granted.
    pub fn push(&self, token: TokenEvent, tops: &[TopLogprob]) -> bool {
        let mut state = self.lock();
        let ended = state.finish.is_some();
        let Some(room) = state.room.as_mut() else { return false };
        if ended || room.written == room.most {
            return false;
        }
        let Some(record) = room.record(room.written, self.top) else { return false };
        let filler = TopLogprob { id: u32::MAX, logprob: f32::NEG_INFINITY };
        let tops = tops.iter().copied().chain(std::iter::repeat(filler));
        let all = std::iter::once((token.id, token.logprob)).chain(tops.map(|top| (top.id, top.logprob)));
        for (part, (id, logprob)) in record.chunks_exact_mut(2 * VALUE).zip(all) {
            put(part, id, logprob);
        }
        room.written += 1;
        drop(state);
        self.arrived.notify_one();
        self.tell();
        true
    }

    /// Ends the request. Only the first call counts.
    pub fn finish(&self, finish: Finish) {
        let mut state = self.lock();
        state.finish.get_or_insert(finish);
        drop(state);
        self.arrived.notify_all();
        self.tell();
    }

    /// Rings the bell, if there is one.
    fn tell(&self) {
        if let Some(bell) = &self.bell {
            bell.ring();
        }
    }

    /// The next token or the end, waiting at most `timeout` (for ever when `None`). `tops` is cleared and filled with
    /// the token's alternatives.
    pub fn next(&self, timeout: Option<Duration>, tops: &mut Vec<TopLogprob>) -> Next {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut state = self.lock();
        loop {
            tops.clear();
            let State { room, read, finish } = &mut *state;
            let written = room.as_mut().filter(|room| *read < room.written);
            if let Some(record) = written.and_then(|room| room.record(*read, self.top)) {
                let (token, rest) = record.split_at(2 * VALUE);
                let others = rest.chunks_exact(2 * VALUE).map(get);
                tops.extend(
                    others.filter(|(id, _)| *id != u32::MAX).map(|(id, logprob)| TopLogprob { id, logprob }),
                );
                *read += 1;
                let (id, logprob) = get(token);
                return Next::Token(TokenEvent { id, logprob });
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
    use crate::{Accounts, Memory, Owner, RequestId};
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

    /// Memory that another request has written all over.
    struct Used;

    impl Buffers for Used {
        fn take(&self, source: &'static Source, bytes: usize) -> Option<Memory> {
            let mut memory = Memory::fresh(source, bytes)?;
            memory.as_mut_slice().fill(0x11);
            Some(memory)
        }

        fn put_back(&self, memory: Memory) {
            assert_eq!(memory.bytes(), 80);
        }
    }

    #[test]
    fn what_its_memory_held_before_is_read_by_nobody() {
        let used: Arc<dyn Buffers> = Arc::new(Used);
        let books: Arc<dyn Accounts> = Arc::new(Back::default());
        let lease = Lease::issue(books, Region::Host, Owner::Request(RequestId(1)), 80);
        let (ring, mut tops) = (Ring::within(&used, 3, 2, lease).unwrap(), Vec::new());
        let poll = |tops: &mut Vec<_>| ring.next(Some(Duration::ZERO), tops);
        assert_eq!((poll(&mut tops), tops.len()), (Next::TimedOut, 0));
        let token = TokenEvent { id: 5, logprob: -1.0 };
        assert!(ring.push(token, &[TopLogprob { id: 5, logprob: -1.0 }]));
        assert_eq!((poll(&mut tops), tops.len()), (Next::Token(token), 1), "one alternative of two");
        assert_eq!(poll(&mut tops), Next::TimedOut);
        ring.finish(finish());
        assert_eq!((poll(&mut tops), tops.len()), (Next::Finished(finish()), 0));
    }

    #[test]
    fn sizes_are_few_and_grow_with_tokens() {
        let sizes = [1, 8, 9, 10, 11, 16, 17, 20, 100, 500, 512, 513, 1024, 1025].map(|n| Ring::bytes(n, 0));
        let expected = [64, 64, 80, 80, 96, 128, 160, 160, 896, 4096, 4096, 8192, 8192, 12288];
        assert_eq!(sizes, expected.map(Some));
        let all: Vec<u64> = (0..3000).map(|tokens| Ring::bytes(tokens, 1).unwrap()).collect();
        assert!(all.is_sorted() && all.iter().zip(0..).all(|(bytes, tokens)| *bytes >= 16 * tokens));
        // Seldom more than a quarter is added, never more than a page.
        let slack =
            |(bytes, tokens): (&u64, u64)| *bytes <= (16 * tokens * 5 / 4).max(64).min(16 * tokens + 4095);
        assert!(all.iter().zip(0..).skip(1).take(255).all(slack));
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        assert_eq!(Ring::bytes(3, 2), Some(80), "3 * (8 + 2 * 8), rounded up");
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
