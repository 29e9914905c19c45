//! Admission: from a price and the room there is to a grant.
//!
//! Prices are asked from the engine with no lock held, and the books may move meanwhile. So the search for the largest
//! request that fits works on a copy of the room, and its result is tried again under the lock: it stands if it still fits
//! and one more token still does not. Else the search is repeated: then another request was admitted or ended in the
//! microseconds between, so the guard as a whole moves on.

use super::books::State;
use super::line::Place;
use super::quote::{Best, Quote};
use super::room::{Freeing, Room};
use super::sessions::{Place as SessionPlace, Selection};
use super::verdict::{Ask, Decision, Reason, Verdict};
use super::{BusyMark, Grant, MemoryGuard, Pressure, Seat};
use plimsoll_engine::sync::MutexGuard;
use plimsoll_engine::{Engine, EngineError, Estimate, ModelId, Owner, Region, RequestId, SessionKey};
use std::sync::Arc;
use std::time::Duration;

/// How often sessions are evicted for one request, should others keep taking what they gave.
const EVICTION_ROUNDS: usize = 64;

/// A decision in the making: the lock, and what was seen and found under it.
struct Appraisal<'g> {
    state: MutexGuard<'g, State>,
    room: Room,
    found: Found,
    /// Models that go for it.
    unload: Vec<ModelId>,
    /// Whether its own session's KV goes for it, and is taken to be gone in the room.
    clears: bool,
}

enum Found {
    /// No search was needed to refuse.
    Refused(Verdict),
    /// The largest request that fits, and the price of the whole.
    Best(Best, Estimate),
}

/// Whose request it is, and where it stands.
pub(super) struct Asker<'a> {
    pub(super) engine: &'a dyn Engine,
    pub(super) key: SessionKey,
    pub(super) ask: &'a Ask,
    pub(super) place: Place,
    /// How long it has waited.
    pub(super) waited: Duration,
}

/// A decision. A refusal comes with the lock under which it was right, and counts only when it is final.
pub(super) enum Decided<'g> {
    Granted(Verdict, Grant),
    Refused(MutexGuard<'g, State>, Verdict),
}

impl<'a> Asker<'a> {
    /// One that does not wait.
    pub(super) fn newcomer(seat: &'a Seat, ask: &'a Ask) -> Self {
        let place = Place::newcomer(ask.priority);
        Asker { engine: &*seat.engine, key: seat.key, ask, place, waited: Duration::ZERO }
    }
}

impl MemoryGuard {
    /// The verdict that [`MemoryGuard::admit`] would give now, without granting or evicting anything. It never waits.
    ///
    /// # Errors
    /// As [`MemoryGuard::admit`].
    pub fn what_if(&self, seat: &Seat, ask: &Ask) -> Result<Verdict, EngineError> {
        self.foresee(&Asker::newcomer(seat, ask))
    }

    /// The verdict on a request at its place in the line.
    pub(super) fn foresee(&self, asker: &Asker<'_>) -> Result<Verdict, EngineError> {
        let mut quote = Quote::new(asker.engine, asker.ask)?;
        let now = self.clock.now();
        self.refresh_at(now);
        let Appraisal { mut state, room, found, unload, clears } =
            self.appraise(asker, &mut quote, Freeing::Idle, now)?;
        let (best, full) = match found {
            Found::Refused(verdict) => return Ok(state.placed(verdict, asker)),
            Found::Best(best, full) => (best, full),
        };
        let retry = |least: &Estimate| state.ready_in(asker.key, &room, least, now);
        let mut verdict = quote.judge(&best, &full, &room, Freeing::Idle, retry);
        if let (true, Some(price)) = (verdict.decision != Decision::Reject, &best.price) {
            state.settle_answered();
            let mut shortage = room.shortage(price);
            let own = state.sessions.get(asker.key).filter(|_| clears).map_or(0, |session| session.kv);
            shortage.cover(room.kv_region, own);
            let selection = state.plan(Some(asker.key), shortage, unload);
            let others = u32::try_from(selection.victims.len()).unwrap_or(u32::MAX);
            verdict.evict_sessions = others.saturating_add(clears.into());
            verdict.evict_bytes = selection.bytes.saturating_add(own);
            verdict.unload_models = u32::try_from(selection.models.len()).unwrap_or(u32::MAX);
            verdict.unload_bytes = selection.model_bytes;
        }
        Ok(state.placed(verdict, asker))
    }

    /// Decides about a request and, unless it is refused, books its bytes: prompt and granted tokens, for the whole of the
    /// request's life. Idle sessions lose their KV, the least recently used first, if the request needs it; when all of it
    /// is not enough, the request is shrunk to the most tokens that fit, but never below `min_tokens`; and where less would fit,
    /// idle models are unloaded for it. A session that holds more than its own request goes on with, and is in its own way by that,
    /// loses its KV too. A model that is out is booked with it. Bytes that are kept for those who wait before it
    /// are not there for it.
    ///
    /// It returns at once unless engines must give back KV; then it waits for them, at most for the reclaim deadline.
    ///
    /// # Errors
    /// The engine cannot price the request, or the session is not one of this guard's.
    pub fn admit(self: &Arc<Self>, seat: &Seat, ask: &Ask) -> Result<(Verdict, Option<Grant>), EngineError> {
        Ok(match self.decide(&Asker::newcomer(seat, ask))? {
            Decided::Granted(verdict, grant) => (verdict, Some(grant)),
            Decided::Refused(mut state, verdict) => (state.refuse(verdict), None),
        })
    }

    /// Decides about a request at its place in the line, and evicts for it. One that is granted has left the line.
    pub(super) fn decide(self: &Arc<Self>, asker: &Asker<'_>) -> Result<Decided<'_>, EngineError> {
        let mut quote = Quote::new(asker.engine, asker.ask)?;
        let now = self.clock.now();
        self.refresh_at(now);
        let mut freeing = Freeing::Idle;
        let (mut until, mut bytes_free) = (None, None);
        let (mut rounds, mut evict_sessions, mut evict_bytes) = (0_usize, 0_u32, 0_u64);
        let (mut unload_models, mut unload_bytes) = (0_u32, 0_u64);
        loop {
            let Appraisal { mut state, room, found, unload, clears } =
                self.appraise(asker, &mut quote, freeing, now)?;
            let leaving = state.sessions.waits_for(asker.key);
            let model_leaves = state.model_leaves(asker.key);
            let itself = leaving.is_some() || model_leaves.is_some();
            let (best, full) = match found {
                Found::Refused(verdict) => return Ok(refused(state, verdict, asker)),
                Found::Best(best, full) => (best, full),
            };
            let retry = |least: &Estimate| state.ready_in(asker.key, &room, least, now);
            let mut verdict = quote.judge(&best, &full, &room, freeing, retry);
            (verdict.evict_sessions, verdict.evict_bytes) = (evict_sessions, evict_bytes);
            (verdict.unload_models, verdict.unload_bytes) = (unload_models, unload_bytes);
            // What was free before anything was evicted, as a what-if says.
            verdict.bytes_free = *bytes_free.get_or_insert(verdict.bytes_free);
            if verdict.decision == Decision::Reject && verdict.retry_after.is_none() {
                return Ok(refused(state, verdict, asker));
            }
            if freeing == Freeing::Nothing && (itself || !best.is_whole()) {
                let retry_after = Some(self.config.reclaim_deadline.max(state.retry_after(None, now)));
                let refusal = quote.refusal(Some(&full), &room, Reason::Reclaim, verdict.region);
                let (fits_tokens, evict_sessions) = (verdict.fits_tokens, verdict.evict_sessions);
                let verdict = Verdict {
                    fits_tokens: if itself { 0 } else { fits_tokens },
                    evict_sessions,
                    evict_bytes,
                    unload_models,
                    unload_bytes,
                    retry_after,
                    ..refusal
                };
                return Ok(refused(state, verdict, asker));
            }
            let price = match best.price {
                Some(price) if verdict.decision != Decision::Reject => price,
                _ => return Ok(refused(state, verdict, asker)),
            };
            let shortage = room.shortage(&price);
            if !itself && !clears && shortage.is_met() {
                return Ok(self.grant(state, asker, &room, &price, verdict, now));
            }
            state.settle_answered();
            let mut selection = match clears {
                // Then it is as if it had never held any.
                true => Selection { victims: vec![asker.key], ..Selection::default() },
                false => state.plan(Some(asker.key), shortage, unload),
            };
            selection.waits.extend(leaving);
            selection.answers.extend(model_leaves);
            let models = u32::try_from(selection.models.len()).unwrap_or(u32::MAX);
            unload_models = unload_models.saturating_add(models);
            unload_bytes = unload_bytes.saturating_add(selection.model_bytes);
            let errand = state.start(selection);
            let seen = state.releases();
            drop(state);
            let posted = errand.posted();
            let until = *until.get_or_insert_with(|| self.reclaim_until());
            let (freed, in_time) = self.run(errand, until);
            evict_sessions = evict_sessions.saturating_add(posted);
            evict_bytes = evict_bytes.saturating_add(freed);
            rounds += 1;
            if !in_time || rounds >= EVICTION_ROUNDS || self.releases() == seen {
                freeing = Freeing::Nothing;
            }
        }
    }

    /// Finds the largest request that fits under the pressure there is, and returns with the lock held under which it does.
    fn appraise(
        &self,
        asker: &Asker<'_>,
        quote: &mut Quote<'_>,
        freeing: Freeing,
        now: Duration,
    ) -> Result<Appraisal<'_>, EngineError> {
        let stranger = || EngineError::Invalid("the session is not one of this guard's".to_owned());
        let region = asker.engine.capabilities().kv_region;
        let mut best = quote.full.as_ref().map(|full| quote.whole(full));
        let mut least = None;
        // The smallest acceptable price of one that is refused unless models go for it.
        let mut unload_for: Option<Estimate> = None;
        // The same of one that is refused unless its session loses the KV that it holds.
        let mut clear_for: Option<Estimate> = None;
        loop {
            let mut state = self.books.lock();
            if let Some(change) = self.press(&mut state) {
                drop(state);
                change.tell();
                continue;
            }
            let pressure = state.pressure(Some(region));
            if !quote.is_under(pressure) {
                drop(state);
                quote.put_under(pressure)?;
                best = quote.full.as_ref().map(|full| quote.whole(full));
                continue;
            }
            state.settle_if_answered(asker.key);
            let room = state.room(asker.key, asker.place).ok_or_else(stranger)?;
            let mut room = Room { answers: quote.answers, ..room };
            let unloading = |state: &State, room: &Room, least: Option<Estimate>| {
                least.and_then(|least| state.unloading(asker.key, asker.place, room, &least))
            };
            let clearing = |room: &Room, least: Option<Estimate>| {
                least.and_then(|least| state.clearing(asker.key, asker.place, room, &least))
            };
            let clears = match clearing(&room, clear_for) {
                Some(then) => {
                    room = then;
                    true
                }
                None => {
                    clear_for = None;
                    false
                }
            };
            let mut unload = Vec::new();
            match unloading(&state, &room, unload_for) {
                Some((then, models)) => (room, unload) = (then, models),
                None => unload_for = None,
            }
            let Some(full) = quote.full else {
                let verdict = quote.refusal(None, &room, Reason::Context, room.kv_region);
                return Ok(Appraisal { state, room, found: Found::Refused(verdict), unload, clears });
            };
            if let Some((reason, after)) = state.hindrance(asker, quote, now) {
                // Whoever is told to come again must have a chance then.
                let Some(smallest) = least else {
                    drop(state);
                    least = Some(quote.least()?);
                    continue;
                };
                let never = match smallest {
                    Some(price) => room.obstacle(&price, Freeing::Everything),
                    None => Some((Reason::Context, room.kv_region)),
                };
                let (reason, region) = never.unwrap_or((reason, room.kv_region));
                let refusal = quote.refusal(Some(&full), &room, reason, region);
                let retry_after = never.is_none().then_some(after);
                let found = Found::Refused(Verdict { retry_after, ..refusal });
                return Ok(Appraisal { state, room, found, unload, clears });
            }
            if let Some(best) = best.take_if(|best| best.stands(&room, freeing)) {
                let refused = best.least().filter(|_| freeing == Freeing::Idle && unload_for.is_none());
                if let Some((then, _)) = unloading(&state, &room, refused) {
                    (unload_for, room) = (refused, then);
                } else if let Some(then) = clearing(&room, refused.filter(|_| !clears)) {
                    (clear_for, room) = (refused, then);
                } else {
                    return Ok(Appraisal { state, room, found: Found::Best(best, full), unload, clears });
                }
            }
            drop(state);
            best = Some(quote.search(&full, &room, freeing)?);
        }
    }

    fn grant<'g>(
        self: &'g Arc<Self>,
        mut state: MutexGuard<'g, State>,
        asker: &Asker<'_>,
        room: &Room,
        price: &Estimate,
        verdict: Verdict,
        now: Duration,
    ) -> Decided<'g> {
        let answers = verdict.answers;
        let request = RequestId(state.next_request(answers));
        let branches = state.sessions.next_keys(u64::from(answers) - 1);
        let (kv, host) = (room.new_kv(price), price.request_bytes);
        let (kv_owner, host_owner) = (Owner::Kv(asker.key), Owner::Request(request));
        // Under the same lock the room had place for both; a ledger that differs still never books over its limit.
        let refusal = Verdict { decision: Decision::Reject, granted_tokens: 0, ..verdict };
        if !state.book(room.kv_region, kv_owner, kv) {
            return refused(state, refusal, asker);
        }
        if !state.book(Region::Host, host_owner, host) {
            state.unbook(room.kv_region, kv_owner, kv);
            return refused(state, refusal, asker);
        }
        if !state.book_model(asker.key, &self.pool) {
            state.unbook(room.kv_region, kv_owner, kv);
            state.unbook(Region::Host, host_owner, host);
            return refused(state, refusal, asker);
        }
        let verdict = Verdict { waited: asker.waited, ..verdict };
        state.sessions.begin(asker.key, request, now);
        state.tally.count(verdict.decision);
        state.tally.degraded += u64::from(verdict.pressure > Pressure::Low);
        if state.line.leave(asker.place) {
            state.tally.waited += 1;
            state.tally.longest_wait = state.tally.longest_wait.max(asker.waited);
            state.ring();
        }
        drop(state);
        self.make_good();
        let grant = Grant {
            request,
            answers,
            branches,
            kv: self.books.issue(room.kv_region, kv_owner, kv),
            host: self.books.issue(Region::Host, host_owner, host),
            granted_tokens: verdict.granted_tokens,
            busy: BusyMark::new(self, asker.key),
        };
        Decided::Granted(verdict, grant)
    }
}

impl State {
    /// What keeps a request from being granted whatever there is room for, and when it may be over.
    fn hindrance(&self, asker: &Asker<'_>, quote: &Quote<'_>, now: Duration) -> Option<(Reason, Duration)> {
        let session = self.sessions.get(asker.key)?;
        let runs = (session.place == SessionPlace::Busy).then_some(session.last_used);
        if runs.is_some() || self.line.has_other(asker.key, asker.place) {
            return Some((Reason::Busy, self.retry_after(runs, now)));
        }
        quote.is_ruled_out().then(|| (Reason::Pressure, self.retry_after(None, now)))
    }

    /// Counts a final refusal.
    pub(super) fn refuse(&mut self, verdict: Verdict) -> Verdict {
        self.tally.count(verdict.decision);
        verdict
    }

    /// A verdict with its place in the line.
    fn placed(&self, verdict: Verdict, asker: &Asker<'_>) -> Verdict {
        let position = match verdict.may_wait() {
            true => u32::try_from(self.line.before(asker.place)).unwrap_or(u32::MAX).saturating_add(1),
            false => 0,
        };
        Verdict { position, waited: asker.waited, ..verdict }
    }
}

fn refused<'g>(state: MutexGuard<'g, State>, verdict: Verdict, asker: &Asker<'_>) -> Decided<'g> {
    let verdict = state.placed(verdict, asker);
    Decided::Refused(state, verdict)
}
