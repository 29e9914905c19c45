//! A model's place in the guard, and the loads that bring it there: its first one and all others alike.

use super::models::{Footprint, Home, Leave, Model, PARTS, Unload};
use super::unloading::Departure;
use super::{Aside, GuardError, MemoryGuard, Refusal};
use plimsoll_engine::{Buffers, Engine, Lease, ModelId, Owner, Region, Source};
use std::fmt;
use std::sync::{Arc, Weak};

/// A model's place in the guard. Dropped, the guard forgets it; its leases are its holder's.
pub struct Enrolment {
    guard: Arc<MemoryGuard>,
    id: ModelId,
    footprint: Footprint,
}

/// A model being loaded, and the leases for it. Dropped before [`Loading::done`], the model is out.
pub struct Loading {
    guard: Arc<MemoryGuard>,
    id: ModelId,
    leases: Option<[Lease; PARTS]>,
    beside: Option<Lease>,
    /// Idle memory that was booked with it.
    aside: Option<Aside>,
    /// The way out of a load that was given up.
    leave: Option<Leave>,
    /// Whether it had been loaded before.
    again: bool,
    done: bool,
}

impl MemoryGuard {
    /// Takes in a model that is about to be loaded: [`Enrolment::book`] books its bytes, [`Enrolment::attach`] says what came of it.
    /// `idles` says whether it goes by itself, when it is not used and room is needed.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn enrol(
        self: &Arc<Self>,
        id: ModelId,
        footprint: Footprint,
        idles: bool,
    ) -> Result<Enrolment, GuardError> {
        self.books.lock().sessions.models.add(id, footprint, idles)?;
        Ok(Enrolment { guard: Arc::clone(self), id, footprint })
    }
}

impl Enrolment {
    /// What of the model's bytes is taken from the pool, in one piece: a request whose model is out has it set aside when that is
    /// booked.
    pub fn set_arena(&self, arena: Option<(&'static Source, usize)>) {
        let mut state = self.guard.books.lock();
        if let Some(model) = state.sessions.models.get_mut(self.id) {
            model.arena = arena;
        }
    }

    /// Ties the model to the engine that was loaded for the first time, and to who can let that go. Sessions that are opened on
    /// `engine` from now on are its.
    ///
    /// # Errors
    /// `NoRegion`: its bytes are neither in the host's memory nor where its KV is.
    pub fn attach(&self, engine: &Arc<dyn Engine>, holder: Weak<dyn Unload>) -> Result<(), GuardError> {
        let region = self.footprint.region;
        if region != Region::Host && region != engine.capabilities().kv_region {
            return Err(GuardError::NoRegion { region });
        }
        let mut state = self.guard.books.lock();
        if let Some(model) = state.sessions.models.get_mut(self.id) {
            model.attach(Arc::downgrade(engine), holder);
        }
        Ok(())
    }

    /// From now on the model goes only when it is asked to, if it is there. Returns whether it is, and nobody loads it.
    pub fn keep(&self) -> bool {
        let mut state = self.guard.books.lock();
        let there = |model: &&mut Model| matches!(model.home, Home::In) && model.loads == 0;
        let Some(model) = state.sessions.models.get_mut(self.id).filter(there) else { return false };
        model.idles = false;
        // Who waited for its bytes may have to hear that they will never come.
        state.ring();
        true
    }

    /// The leases that a grant has booked for the model, if nobody has taken them: who has them loads it.
    pub fn collect(&self) -> Option<Loading> {
        let mut state = self.guard.books.lock();
        let model = state.sessions.models.get_mut(self.id)?;
        if !matches!(model.home, Home::Due) {
            return None;
        }
        model.begin();
        let found = model.found.take();
        drop(state);
        Some(self.loading(None, Aside::found(&self.guard, found)))
    }

    /// Books the model's bytes without a request, if it is not loaded, and `beside` with them: as for any load, idle sessions and
    /// idle models make room. `None` for one that is loaded, or that somebody loads. What was set aside is the model's once it is
    /// booked. Bytes that a grant has booked are collected, and nothing beside them.
    ///
    /// # Errors
    /// The region cannot hold that much more.
    pub fn book(&self, beside: Option<(Owner, u64)>, aside: &mut Aside) -> Result<Option<Loading>, Refusal> {
        let Footprint { region, parts: [first, second, third] } = self.footprint;
        // The last comes last: a refusal names the part that did not fit.
        let all = [first, second, beside.unwrap_or(third), third];
        let all = if beside.is_some() { &all[..] } else { &all[..PARTS] };
        loop {
            if let Some(loading) = self.collect() {
                return Ok(Some(loading));
            }
            if self.guard.book_parts(region, all, Some(self.id), Some(&mut *aside))? {
                let aside = Aside::found(&self.guard, aside.take());
                return Ok(Some(self.loading(beside, aside)));
            }
            let state = self.guard.books.lock();
            if !state.sessions.models.get(self.id).is_some_and(|model| matches!(model.home, Home::Due)) {
                return Ok(None);
            }
            // A request was granted meanwhile, and its model booked with it.
        }
    }

    fn loading(&self, beside: Option<(Owner, u64)>, aside: Aside) -> Loading {
        let issue = |(owner, bytes)| self.guard.books.issue(self.footprint.region, owner, bytes);
        let leases = Some(self.footprint.parts.map(issue));
        let state = self.guard.books.lock();
        let again = state.sessions.models.get(self.id).is_some_and(Model::is_known);
        drop(state);
        let (guard, beside, aside) = (Arc::clone(&self.guard), beside.map(issue), Some(aside));
        Loading { guard, id: self.id, leases, beside, aside, leave: None, again, done: false }
    }
}

impl Drop for Enrolment {
    fn drop(&mut self) {
        let mut state = self.guard.books.lock();
        let model = state.sessions.models.remove(self.id);
        state.ring();
        drop(state);
        drop(model);
    }
}

impl Loading {
    /// The leases, in the order of the model's footprint; once.
    pub fn take(&mut self) -> Option<[Lease; PARTS]> {
        self.leases.take()
    }

    /// The lease that was booked beside them; once.
    pub fn take_beside(&mut self) -> Option<Lease> {
        self.beside.take()
    }

    /// Gives the load up, unless more requests than `own` were granted on the model, who count on it. Returns whether it is given
    /// up: whoever is granted from then on waits until its leases are back, and books them anew.
    pub fn stop(&mut self, own: u64) -> bool {
        if self.leave.is_none() {
            let mut state = self.guard.books.lock();
            let models = &mut state.sessions.models;
            if models.get(self.id).is_some_and(|model| model.busy <= own) {
                self.leave = models.leave(self.id);
            }
        }
        self.leave.is_some()
    }

    /// The pool, with the idle memory that was booked with the model; once.
    pub fn buffers(&mut self) -> Arc<dyn Buffers> {
        self.aside.take().map_or_else(|| self.guard.buffers(), Aside::into_buffers)
    }

    /// So much of what is to be read is in memory, of so much.
    pub fn come(&self, done: u64, total: u64) {
        let mut state = self.guard.books.lock();
        if let Some(model) = state.sessions.models.get_mut(self.id) {
            model.arrive(done, total);
        }
    }

    /// The model is loaded.
    pub fn done(mut self) {
        self.done = self.leave.is_none();
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        if !self.done && self.leave.is_none() {
            self.leave = self.guard.books.lock().sessions.models.leave(self.id);
        }
        // Idle before its lease is back.
        drop(self.aside.take());
        drop((self.leases.take(), self.beside.take()));
        let leave = self.leave.take();
        drop(leave.map(|leave| Departure { guard: &self.guard, leave, unloaded: false }));
        let mut state = self.guard.books.lock();
        state.tally.reloads += u64::from(self.done && self.again);
        state.sessions.models.touch(self.id);
        if let Some(model) = state.sessions.models.get_mut(self.id) {
            model.loads = model.loads.saturating_sub(1);
        }
        // From now on it may go for those who wait.
        state.ring();
    }
}

impl fmt::Debug for Enrolment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Enrolment(model {})", self.id.0)
    }
}

impl fmt::Debug for Loading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Loading(model {}, {:?})", self.id.0, self.leases)
    }
}
