//! Unloading: which idle models go, for whom, and letting them go with no lock held.
//!
//! # The rule
//!
//! A model that may go by itself goes when nobody uses it and its bytes are needed by a load, or by a request that would be
//! refused without them, after idle sessions' KV is reckoned with. Models go from the least recently used, as many as the
//! smallest acceptable form of the request needs and no more, and none where all of them were not enough; with the room there is
//! then the request is granted as much as fits. A model that turns out not to be needed beside later ones stays.
//!
//! A request whose model is out takes that model's bytes as well, booked with its own under one lock; whoever runs first loads it.
//!
//! # Those who wait
//!
//! A request that waits keeps its model from those behind it and from those who do not wait, as it keeps bytes (`line.rs`): what
//! loading the models of those before takes is kept, once for each, and models of those before count as taken. From those before
//! it a waiter keeps nothing, or two who wait for each other's models would wait for ever. Loads stand in no line, and take no
//! model that anybody waits for. A waiter who keeps no bytes does not keep its model, from loads neither. A model
//! stands in the table from the moment that its first load books it, so that what it takes is known to go again.

use super::MemoryGuard;
use super::books::{State, waits_for};
use super::line::{For, Place as InLine, Waiter};
use super::models::{Footprint, Home, Leave, Model};
use super::pool::Pool as IdleMemory;
use super::room::{Freeing, Pool, Room, Shortage};
use super::sessions::{Post, Selection, Wait};
use plimsoll_engine::sync::{Receiver, RecvTimeoutError};
use plimsoll_engine::{Estimate, Memory, ModelId, Owner, Region, SessionKey};
use std::time::Instant;

/// A model that is to be unloaded is used: by a request, a ticket, a load, or somebody in the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the model is used by a request that runs or waits, a ticket, or a load")]
pub struct InUse;

/// What is to be done for room once the lock is released.
pub(super) struct Errand {
    posts: Vec<Post>,
    waits: Vec<Wait>,
    leaves: Vec<Leave>,
    answers: Vec<Receiver<u64>>,
}

impl Errand {
    /// Sessions that are asked for their KV.
    pub(super) fn posted(&self) -> u32 {
        u32::try_from(self.posts.len()).unwrap_or(u32::MAX)
    }
}

/// Takes note that a model's leases are back, whatever happens on the way.
pub(super) struct Departure<'g> {
    pub(super) guard: &'g MemoryGuard,
    pub(super) leave: Leave,
    pub(super) unloaded: bool,
}

impl State {
    /// The session's model, if it may be unloaded.
    fn model_of(&self, session: SessionKey) -> Option<&Model> {
        self.sessions.models.get(self.sessions.get(session)?.model?)
    }

    /// Whether the session's model is on its way out, and what tells of its end.
    pub(super) fn model_leaves(&self, session: SessionKey) -> Option<Receiver<u64>> {
        match &self.model_of(session)?.home {
            Home::Leaving(answer) => Some(answer.clone()),
            _ => None,
        }
    }

    /// What of a model's bytes is in the books.
    fn booked(&self, model: &Model) -> u64 {
        self.ledger.region(model.footprint.region).map_or(0, |book| model.booked(book))
    }

    /// Models of those who stand before a place, but for those who keep nothing.
    fn waited_for(&self, place: InLine) -> Vec<ModelId> {
        let keeps = |waiter: &&Waiter| waits_for(&self.ledger, &self.sessions, waiter) == For::Bytes;
        let waiters = self.line.ahead(place).filter(keeps);
        waiters.filter_map(|waiter| self.sessions.get(waiter.session)?.model).collect()
    }

    /// A room for a session of this model, with what models take, may give, and need.
    pub(super) fn with_models(&self, mut room: Room, asking: Option<ModelId>, place: InLine) -> Room {
        if self.sessions.models.is_empty() {
            return room;
        }
        let waited = self.waited_for(place);
        for book in self.ledger.regions() {
            let fixed = self.sessions.models.fixed(book, asking).saturating_add(book.talk);
            room.each_pool(book.region, |pool| pool.fixed = fixed);
        }
        for model in self.sessions.models.iter() {
            let (region, booked, bytes) = (model.footprint.region, self.booked(model), model.bytes);
            let (asks, waited) = (asking == Some(model.id), waited.contains(&model.id));
            let add = |sum: &mut u64, bytes: u64| *sum = sum.saturating_add(bytes);
            room.each_pool(region, |pool| {
                if matches!(model.home, Home::Leaving(_)) {
                    add(&mut pool.evictable, booked);
                }
                if asks {
                    add(&mut pool.own, if model.idles { booked } else { 0 });
                } else if waited {
                    add(&mut pool.kept, if model.is_out() { bytes } else { 0 });
                } else if model.may_go() {
                    add(&mut pool.unloadable, booked);
                }
            });
            if asks && model.is_out() {
                room.load = (region, bytes);
            }
        }
        room
    }

    /// The models that go for a request whose smallest acceptable price fits only without them, and the room there is then.
    /// `None` where it fits as it is, or not even so.
    pub(super) fn unloading(
        &self,
        session: SessionKey,
        place: InLine,
        room: &Room,
        least: &Estimate,
    ) -> Option<(Room, Vec<ModelId>)> {
        if self.sessions.models.is_empty() || room.fits(least, Freeing::Idle) {
            return None;
        }
        let all = room.unloading(|_, pool| pool.unloadable);
        if !all.fits(least, Freeing::Idle) {
            return None;
        }
        let mut but = self.waited_for(place);
        but.extend(self.sessions.get(session)?.model);
        let lacks = |region| {
            let pool = room.pool(region);
            (region, pool.short(room.new_bytes(least, region)).saturating_sub(pool.evictable))
        };
        let picked = self.pick(&but, &[lacks(room.kv_region), lacks(Region::Host)]);
        let there = |region| self.bytes_of(&picked, region);
        Some((room.unloading(|region, _| there(region)), picked))
    }

    /// The room where the asking session holds nothing, if the smallest acceptable price of its request fits only then: it holds
    /// more than one answer goes on with, as after a turn that was cut short, and nobody but itself is in its way.
    pub(super) fn clearing(
        &self,
        session: SessionKey,
        place: InLine,
        room: &Room,
        least: &Estimate,
    ) -> Option<Room> {
        let mut cleared = *room;
        let own = std::mem::take(&mut cleared.all_kv.own);
        if own == 0 || room.fits(least, Freeing::Idle) {
            return None;
        }
        cleared.held = 0;
        cleared.all_kv.evictable = cleared.all_kv.evictable.saturating_add(own);
        cleared.each_pool(room.kv_region, |pool| {
            pool.evictable = pool.evictable.saturating_add(own);
            pool.own = pool.own.saturating_sub(own);
        });
        let fits = cleared.fits(least, Freeing::Idle);
        (fits || self.unloading(session, place, &cleared, least).is_some()).then_some(cleared)
    }

    fn bytes_of(&self, models: &[ModelId], region: Region) -> u64 {
        let here = |model: &&Model| model.footprint.region == region && models.contains(&model.id);
        self.sessions.models.iter().filter(here).fold(0, |sum, model| sum.saturating_add(self.booked(model)))
    }

    /// Idle models, the least recently used first, that together have so many bytes of each region.
    fn pick(&self, but: &[ModelId], needs: &[(Region, u64)]) -> Vec<ModelId> {
        let lacks = |picked: &[ModelId], region| {
            needs.iter().any(|&(at, bytes)| at == region && self.bytes_of(picked, at) < bytes)
        };
        let covers = |picked: &[ModelId]| !needs.iter().any(|&(at, _)| lacks(picked, at));
        let mut picked = Vec::new();
        for model in self.sessions.models.idle(but) {
            if lacks(&picked, model.footprint.region) {
                picked.push(model.id);
            }
        }
        let mut at = 0;
        while at < picked.len() {
            let stays = picked.remove(at);
            if !covers(&picked) {
                picked.insert(at, stays);
                at += 1;
            }
        }
        picked
    }

    /// Which models go for a load, and how many bytes of a region there would be without any idle one.
    pub(super) fn pick_for_load(&self, region: Region, pool: &Pool, bytes: u128) -> (Vec<ModelId>, u64) {
        let evictable = self.coming_back(region, pool);
        if self.sessions.models.is_empty() {
            return (Vec::new(), evictable);
        }
        let waited = self.waited_for(InLine::last());
        let idle: Vec<_> = self.sessions.models.idle(&waited).into_iter().map(|model| model.id).collect();
        let (short, most) = (pool.short(bytes), evictable.saturating_add(self.bytes_of(&idle, region)));
        if short <= evictable || short > most {
            return (Vec::new(), most);
        }
        (self.pick(&waited, &[(region, short - evictable)]), most)
    }

    /// Bytes of a region that are there without unloading anything: KV of idle sessions, and models on their way out.
    pub(super) fn coming_back(&self, region: Region, pool: &Pool) -> u64 {
        let leaving = self.ledger.region(region).map_or(0, |book| self.sessions.models.leaving_bytes(book));
        pool.evictable.saturating_add(leaving)
    }

    /// Who goes, and whom to wait for, to cover a shortage when these models are unloaded for it.
    pub(super) fn plan(
        &self,
        asking: Option<SessionKey>,
        mut shortage: Shortage,
        unload: Vec<ModelId>,
    ) -> Selection {
        let (mut answers, mut model_bytes) = (Vec::new(), 0_u64);
        for model in self.sessions.models.iter() {
            let (region, booked) = (model.footprint.region, self.booked(model));
            match &model.home {
                Home::Leaving(answer) if !shortage.is_met() && shortage.cover_fixed(region, booked) => {
                    answers.push(answer.clone());
                }
                _ if unload.contains(&model.id) => {
                    shortage.cover_fixed(region, booked);
                    model_bytes = model_bytes.saturating_add(booked);
                }
                _ => {}
            }
        }
        let selection = self.sessions.select(asking, shortage, &unload);
        Selection { models: unload, model_bytes, answers, ..selection }
    }

    /// Marks all who go.
    pub(super) fn start(&mut self, selection: Selection) -> Errand {
        let Selection { victims, waits, models, answers, .. } = selection;
        let posts = victims.into_iter().filter_map(|key| self.sessions.leave(key)).collect();
        let leaves = models.into_iter().filter_map(|id| self.sessions.models.leave(id)).collect();
        Errand { posts, waits, leaves, answers }
    }

    /// Books the session's model when it is out. Returns whether it was booked, or need not be.
    #[must_use]
    pub(super) fn book_model(&mut self, session: SessionKey, pool: &IdleMemory) -> bool {
        let Some(model) = self.model_of(session).filter(|model| model.is_out()) else { return true };
        let (id, footprint) = (model.id, model.footprint);
        let booked = self.book_all(footprint.region, &footprint.parts);
        if let (true, Some(model)) = (booked, self.sessions.models.get_mut(id)) {
            model.home = Home::Due;
            model.found = model.arena.and_then(|(source, bytes)| pool.set_aside(source, bytes));
        }
        booked
    }

    /// Books all parts of a region, or none.
    #[must_use]
    pub(super) fn book_all(&mut self, region: Region, parts: &[(Owner, u64)]) -> bool {
        let sum = parts.iter().fold(0_u128, |sum, part| sum + u128::from(part.1));
        // Tried as a whole first, so that the peak never shows a part of what was refused.
        if self.pool(region).is_none_or(|pool| pool.short(sum) > 0) {
            return false;
        }
        parts.iter().enumerate().all(|(done, &(owner, bytes))| {
            let booked = self.book(region, owner, bytes);
            if !booked {
                parts[..done].iter().for_each(|&(owner, bytes)| self.unbook(region, owner, bytes));
            }
            booked
        })
    }

    /// Gives back what was booked for the model of a session whose grant has ended, if nobody has begun to load it, or will.
    /// Returns whether anything came back, and memory that is spare again and to be put on the shelf with the lock released.
    pub(super) fn unbook_unclaimed(
        &mut self,
        session: SessionKey,
        pool: &IdleMemory,
    ) -> (bool, Option<Memory>) {
        let id = self.sessions.get(session).and_then(|session| session.model);
        let due = |model: &&mut Model| model.is_unused() && matches!(model.home, Home::Due);
        let model = id.and_then(|id| self.sessions.models.get_mut(id)).filter(due);
        let Some(model) = model else { return (false, None) };
        model.home = Home::Out;
        let found = model.found.take();
        pool.expect(found.as_ref().map_or(0, |memory| memory.bytes() as u64));
        let Footprint { region, parts } = model.footprint;
        parts.iter().for_each(|&(owner, bytes)| self.unbook(region, owner, bytes));
        (true, found)
    }
}

impl Room {
    /// The pools of a region.
    fn each_pool(&mut self, region: Region, mut change: impl FnMut(&mut Pool)) {
        if region == self.kv_region {
            change(&mut self.kv);
        }
        if region == Region::Host {
            change(&mut self.host);
        }
    }

    /// The room when so much of each region goes with models.
    fn unloading(&self, bytes: impl Fn(Region, &Pool) -> u64) -> Room {
        let mut room = *self;
        room.kv.unloading = bytes(self.kv_region, &self.kv);
        room.host.unloading = bytes(Region::Host, &self.host);
        room
    }
}

impl MemoryGuard {
    /// Unloads a model, whether or not it goes by itself. Returns the bytes that came back, KV of its sessions included: 0 for
    /// one that is not loaded.
    ///
    /// # Errors
    /// It is used.
    pub fn unload(&self, id: ModelId) -> Result<u64, InUse> {
        let until = self.reclaim_until();
        loop {
            let mut state = self.books.lock();
            let mut waiters = state.line.ahead(InLine::last());
            let waited =
                waiters.any(|waiter| state.sessions.get(waiter.session).is_some_and(|s| s.model == Some(id)));
            drop(waiters);
            let Some(model) = state.sessions.models.get(id) else { return Ok(0) };
            match &model.home {
                _ if waited || !model.is_unused() => return Err(InUse),
                Home::Out => return Ok(0),
                Home::Due => return Err(InUse),
                Home::Leaving(answer) => {
                    let answer = answer.clone();
                    drop(state);
                    if answer.recv_deadline(until) == Err(RecvTimeoutError::Timeout) {
                        return Err(InUse);
                    }
                }
                Home::In => {
                    let selection = state.plan(None, Shortage::of(Region::Host, 0), vec![id]);
                    let bytes = selection.model_bytes;
                    let errand = state.start(selection);
                    drop(state);
                    let (freed, _) = self.run(errand, until);
                    return Ok(freed.saturating_add(bytes));
                }
            }
        }
    }

    /// Makes room: asks for KV, unloads models, and waits for those who do the same. Returns the KV that came back, and whether
    /// everyone answered in time.
    pub(super) fn run(&self, errand: Errand, until: Instant) -> (u64, bool) {
        let Errand { posts, waits, leaves, answers } = errand;
        let mut posted = Vec::with_capacity(posts.len());
        self.post(posts, &mut posted);
        for leave in leaves {
            let departure = Departure { guard: self, leave, unloaded: true };
            if let Some(holder) = &departure.leave.holder {
                holder.unload();
            }
        }
        let (freed, mut in_time) = self.settle_all(&posted, &waits, until);
        for answer in answers {
            in_time &= answer.recv_deadline(until) != Err(RecvTimeoutError::Timeout);
        }
        (freed, in_time)
    }
}

impl Drop for Departure<'_> {
    fn drop(&mut self) {
        let mut state = self.guard.books.lock();
        state.sessions.models.gone(self.leave.id);
        state.tally.unloads += u64::from(self.unloaded);
        // A release, even where its leases came back before: whoever waits for the model to be gone decides anew.
        self.guard.books.tell(state, true);
    }
}
