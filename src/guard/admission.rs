//! Admission: from a price and the room there is to a grant.
//!
//! Prices are asked from the engine with no lock held, and the books may move meanwhile. So the search for the largest
//! request that fits works on a copy of the room, and its result is tried again under the lock: it stands if it still fits
//! and one more token still does not. Else the search is repeated: then another request was admitted or ended in the
//! microseconds between, so the guard as a whole moves on.

use super::books::State;
use super::quote::{Best, Quote};
use super::room::{Freeing, Room};
use super::sessions::Place;
use super::verdict::{Ask, Decision, Reason, Verdict};
use super::{BusyMark, Grant, MemoryGuard, Pressure, Seat};
use plimsoll_engine::sync::MutexGuard;
use plimsoll_engine::{EngineError, Estimate, Owner, Region, RequestId};
use std::sync::Arc;
use std::time::Duration;

/// How often sessions are evicted for one request, should others keep taking what they gave.
const EVICTION_ROUNDS: usize = 64;

/// A decision in the making: the lock, and what was seen and found under it.
struct Appraisal<'g> {
    state: MutexGuard<'g, State>,
    room: Room,
    found: Found,
}

enum Found {
    /// No search was needed to refuse.
    Refused(Verdict),
    /// The largest request that fits, and the price of the whole.
    Best(Best, Estimate),
}

impl MemoryGuard {
    /// The verdict that [`MemoryGuard::admit`] would give now, without granting or evicting anything. It never waits.
    ///
    /// # Errors
    /// As [`MemoryGuard::admit`].
    pub fn what_if(&self, seat: &Seat, ask: &Ask) -> Result<Verdict, EngineError> {
        let pressure = self.observe(Some(seat.engine.capabilities().kv_region));
        let quote = Quote::new(&*seat.engine, ask, pressure)?;
        let now = self.clock.now();
        let Appraisal { mut state, room, found } = self.appraise(seat, &quote, Freeing::Idle, now)?;
        let (best, full) = match found {
            Found::Refused(verdict) => return Ok(verdict),
            Found::Best(best, full) => (best, full),
        };
        let mut verdict = quote.judge(&best, &full, &room, Freeing::Idle, state.retry_after(None, now));
        if let (true, Some(price)) = (verdict.decision != Decision::Reject, &best.price) {
            state.settle_answered();
            let selection = state.sessions.select(Some(seat.key), room.shortage(price));
            verdict.evict_sessions = u32::try_from(selection.victims.len()).unwrap_or(u32::MAX);
            verdict.evict_bytes = selection.bytes;
        }
        Ok(verdict)
    }

    /// Decides about a request and, unless it is refused, books its bytes: prompt and granted tokens, for the whole of the
    /// request's life. Idle sessions lose their KV, the least recently used first, if the request needs it; when all of it
    /// is not enough, the request is shrunk to the most tokens that fit, but never below `min_tokens`.
    ///
    /// It returns at once unless engines must give back KV; then it waits for them, at most for the reclaim deadline.
    ///
    /// # Errors
    /// The engine cannot price the request, or the session is not one of this guard's.
    pub fn admit(self: &Arc<Self>, seat: &Seat, ask: &Ask) -> Result<(Verdict, Option<Grant>), EngineError> {
        let pressure = self.observe(Some(seat.engine.capabilities().kv_region));
        let quote = Quote::new(&*seat.engine, ask, pressure)?;
        let now = self.clock.now();
        let mut freeing = Freeing::Idle;
        let (mut until, mut bytes_free) = (None, None);
        let (mut rounds, mut evict_sessions, mut evict_bytes) = (0_usize, 0_u32, 0_u64);
        loop {
            let Appraisal { mut state, room, found } = self.appraise(seat, &quote, freeing, now)?;
            let leaving = state.sessions.waits_for(seat.key);
            let (best, full) = match found {
                Found::Refused(verdict) => return Ok(state.refuse(verdict)),
                Found::Best(best, full) => (best, full),
            };
            let retry = state.retry_after(None, now);
            let mut verdict = quote.judge(&best, &full, &room, freeing, retry);
            (verdict.evict_sessions, verdict.evict_bytes) = (evict_sessions, evict_bytes);
            // What was free before anything was evicted, as a what-if says.
            verdict.bytes_free = *bytes_free.get_or_insert(verdict.bytes_free);
            if verdict.decision == Decision::Reject && verdict.retry_after.is_none() {
                return Ok(state.refuse(verdict));
            }
            if freeing == Freeing::Nothing && (leaving.is_some() || !best.is_whole()) {
                let retry_after = Some(self.config.reclaim_deadline.max(retry));
                let refusal = quote.refusal(Some(&full), &room, Reason::Reclaim, verdict.region);
                let (fits_tokens, evict_sessions) = (verdict.fits_tokens, verdict.evict_sessions);
                return Ok(state.refuse(Verdict {
                    fits_tokens: if leaving.is_some() { 0 } else { fits_tokens },
                    evict_sessions,
                    evict_bytes,
                    retry_after,
                    ..refusal
                }));
            }
            let price = match best.price {
                Some(price) if verdict.decision != Decision::Reject => price,
                _ => return Ok(state.refuse(verdict)),
            };
            let shortage = room.shortage(&price);
            if leaving.is_none() && shortage.is_met() {
                return Ok(self.grant(state, seat, &room, &price, verdict, now));
            }
            state.settle_answered();
            let selection = state.sessions.select(Some(seat.key), shortage);
            let mut waits = selection.waits;
            waits.extend(leaving);
            let posts: Vec<_> =
                selection.victims.into_iter().filter_map(|victim| state.sessions.leave(victim)).collect();
            let seen = state.releases();
            drop(state);
            let posted = u32::try_from(posts.len()).unwrap_or(u32::MAX);
            let until = *until.get_or_insert_with(|| self.reclaim_until());
            let (freed, in_time) = self.reclaim(posts, waits, until);
            evict_sessions = evict_sessions.saturating_add(posted);
            evict_bytes = evict_bytes.saturating_add(freed);
            rounds += 1;
            if !in_time || rounds >= EVICTION_ROUNDS || self.releases() == seen {
                freeing = Freeing::Nothing;
            }
        }
    }

    /// Finds the largest request that fits, and returns with the lock held under which it does.
    fn appraise(
        &self,
        seat: &Seat,
        quote: &Quote<'_>,
        freeing: Freeing,
        now: Duration,
    ) -> Result<Appraisal<'_>, EngineError> {
        let stranger = || EngineError::Invalid("the session is not one of this guard's".to_owned());
        let mut best = quote.full.as_ref().map(|full| quote.whole(full));
        loop {
            let mut state = self.books.lock();
            state.settle_if_answered(seat.key);
            let room = state.room(seat.key).ok_or_else(stranger)?;
            let session = state.sessions.get(seat.key).ok_or_else(stranger)?;
            let (Some(full), Some(candidate)) = (quote.full, best) else {
                let verdict = quote.refusal(None, &room, Reason::Context, room.kv_region);
                return Ok(Appraisal { state, room, found: Found::Refused(verdict) });
            };
            if session.place == Place::Busy {
                let retry_after = Some(state.retry_after(Some(session.last_used), now));
                let refusal = quote.refusal(Some(&full), &room, Reason::Busy, room.kv_region);
                let verdict = Verdict { retry_after, ..refusal };
                return Ok(Appraisal { state, room, found: Found::Refused(verdict) });
            }
            if quote.is_ruled_out() {
                let retry_after = Some(state.retry_after(None, now));
                let refusal = quote.refusal(Some(&full), &room, Reason::Pressure, room.kv_region);
                let verdict = Verdict { retry_after, ..refusal };
                return Ok(Appraisal { state, room, found: Found::Refused(verdict) });
            }
            if candidate.stands(&room, freeing) {
                return Ok(Appraisal { state, room, found: Found::Best(candidate, full) });
            }
            drop(state);
            best = Some(quote.search(&full, &room, freeing)?);
        }
    }

    fn grant(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        seat: &Seat,
        room: &Room,
        price: &Estimate,
        verdict: Verdict,
        now: Duration,
    ) -> (Verdict, Option<Grant>) {
        let request = RequestId(state.next_request());
        let (kv, host) = (room.new_kv(price), price.request_bytes);
        let (kv_owner, host_owner) = (Owner::Kv(seat.key), Owner::Request(request));
        // Under the same lock the room had place for both; a ledger that differs still never books over its limit.
        if !state.book(room.kv_region, kv_owner, kv) {
            return state.refuse(Verdict { decision: Decision::Reject, granted_tokens: 0, ..verdict });
        }
        if !state.book(Region::Host, host_owner, host) {
            state.unbook(room.kv_region, kv_owner, kv);
            return state.refuse(Verdict { decision: Decision::Reject, granted_tokens: 0, ..verdict });
        }
        state.sessions.begin(seat.key, now);
        state.tally.count(verdict.decision);
        state.tally.degraded += u64::from(verdict.pressure > Pressure::Low);
        drop(state);
        let grant = Grant {
            request,
            kv: self.books.issue(room.kv_region, kv_owner, kv),
            host: self.books.issue(Region::Host, host_owner, host),
            granted_tokens: verdict.granted_tokens,
            busy: BusyMark { guard: Arc::clone(self), session: seat.key },
        };
        (verdict, Some(grant))
    }
}

impl State {
    fn refuse(&mut self, verdict: Verdict) -> (Verdict, Option<Grant>) {
        self.tally.count(verdict.decision);
        (verdict, None)
    }
}
