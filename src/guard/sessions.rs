//! The session table: what each session holds, whether it runs, and in which order sessions were last used.
//!
//! Every session is at one [`Place`]. Those that hold KV and do not run are in a list from the least to the most recently
//! used; so are those that run, and those whose KV is on its way back. The lists run through the table itself
//! ([`super::slab`]), so that touching, evicting and finding the oldest take the same time whatever the number of sessions.

use super::GuardError;
use super::models::Models;
use super::room::Shortage;
use super::slab::{End, List, Slab};
use super::stats::SessionStats;
use plimsoll_engine::sync::{Receiver, Sender, TryRecvError, unbounded};
use plimsoll_engine::{Engine, ModelId, Region, RequestId, SessionKey};
use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Where a session is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// It holds no KV and does not run.
    Empty,
    /// It holds KV and does not run: it may be evicted.
    Idle,
    /// Its engine was asked to free its KV and has not answered.
    Leaving,
    /// It has a grant.
    Busy,
}

/// One session.
pub(super) struct Session {
    pub(super) key: SessionKey,
    /// Weak, so that the table never is the last to hold an engine: it may be touched from the engine's own thread.
    pub(super) engine: Weak<dyn Engine>,
    /// Its model, if that may be unloaded.
    pub(super) model: Option<ModelId>,
    pub(super) region: Region,
    pub(super) limit: u64,
    pub(super) kv: u64,
    pub(super) place: Place,
    /// The request that it runs.
    pub(super) request: Option<RequestId>,
    pub(super) requests: u64,
    pub(super) evictions: u64,
    pub(super) opened: Duration,
    pub(super) last_used: Duration,
    /// No seat is left; the session stays in the table until its KV is back.
    pub(super) closed: bool,
    /// When the monitor first saw that, and KV.
    pub(super) seen_closed: Cell<Option<Duration>>,
    /// The reclaim that was posted.
    pub(super) reclaim: Option<Wait>,
    /// KV bytes that reclaims brought back.
    pub(super) returned: u64,
}

/// A reclaim to be posted once the lock is released.
pub(super) struct Post {
    pub(super) key: SessionKey,
    pub(super) engine: Option<Arc<dyn Engine>>,
    pub(super) answer_to: Sender<u64>,
    pub(super) wait: Wait,
}

/// The answer that is waited for, of a reclaim posted by whomever.
#[derive(Clone)]
pub(super) struct Wait {
    pub(super) key: SessionKey,
    pub(super) answer: Receiver<u64>,
    /// What the session held, and [`Session::returned`], when it was posted.
    held: u64,
    returned: u64,
}

/// Which idle sessions and models go, and which answers to wait for, to cover a shortage.
#[derive(Default)]
pub(super) struct Selection {
    pub(super) victims: Vec<SessionKey>,
    pub(super) bytes: u64,
    pub(super) waits: Vec<Wait>,
    /// Models to unload, and what they have booked.
    pub(super) models: Vec<ModelId>,
    pub(super) model_bytes: u64,
    /// Of models on their way out.
    pub(super) answers: Vec<Receiver<u64>>,
}

/// What came of a reclaim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// KV bytes that came back.
    pub(super) freed: u64,
    /// Whether an open session lost KV: an eviction.
    pub(super) evicted: bool,
}

/// All sessions.
pub(super) struct Sessions {
    pub(super) slab: Slab<Session>,
    pub(super) index: HashMap<SessionKey, u32>,
    pub(super) idle: List,
    pub(super) leaving: List,
    pub(super) busy: List,
    // KV of idle and leaving sessions by region; a handful.
    pub(super) evictable: Vec<(Region, u64)>,
    pub(super) open: usize,
    /// Models that may be unloaded.
    pub(super) models: Models,
    next_key: u64,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Sessions {
            slab: Slab::new(),
            index: HashMap::new(),
            idle: List::new(),
            leaving: List::new(),
            busy: List::new(),
            evictable: Vec::new(),
            open: 0,
            models: Models::default(),
            next_key: 1,
        }
    }

    /// Adds a session without KV.
    pub(super) fn open(
        &mut self,
        engine: Weak<dyn Engine>,
        region: Region,
        limit: u64,
        now: Duration,
    ) -> Result<SessionKey, GuardError> {
        self.slab.reserve().ok_or(GuardError::OutOfMemory)?;
        self.index.try_reserve(1).map_err(|_| GuardError::OutOfMemory)?;
        let key = SessionKey(self.next_key);
        let model = self.models.of(&engine);
        let session = Session {
            key,
            engine,
            model,
            region,
            limit,
            kv: 0,
            place: Place::Empty,
            request: None,
            requests: 0,
            evictions: 0,
            opened: now,
            last_used: now,
            closed: false,
            seen_closed: Cell::new(None),
            reclaim: None,
            returned: 0,
        };
        let at = self.slab.insert(session).ok_or(GuardError::TooManySessions { open: self.open })?;
        self.index.insert(key, at);
        self.next_key += 1;
        self.open += 1;
        Ok(key)
    }

    /// Keys that no session has nor ever will, for so many of an engine's own; the first of them.
    pub(super) fn next_keys(&mut self, count: u64) -> SessionKey {
        let first = SessionKey(self.next_key);
        self.next_key += count;
        first
    }

    /// One session.
    pub(super) fn get(&self, key: SessionKey) -> Option<&Session> {
        self.index.get(&key).and_then(|&at| self.slab.get(at))
    }

    /// All sessions in the table, closed ones that still hold KV included.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.slab.iter().map(|(_, session)| session)
    }

    /// KV of idle and leaving sessions in one region, or in all.
    pub(super) fn evictable(&self, region: Option<Region>) -> u64 {
        let here = self.evictable.iter().filter(|&&(at, _)| region.is_none_or(|region| region == at));
        here.fold(0, |sum, &(_, bytes)| sum.saturating_add(bytes))
    }

    /// When the request that has run longest began.
    pub(super) fn oldest_request(&self) -> Option<Duration> {
        self.busy.first().and_then(|at| self.slab.get(at)).map(|session| session.last_used)
    }

    /// Counts KV booked for a session.
    pub(super) fn booked(&mut self, key: SessionKey, bytes: u64) {
        let Some((at, session)) = self.slot(key) else {
            return;
        };
        session.kv = session.kv.saturating_add(bytes);
        let (region, place) = (session.region, session.place);
        match place {
            Place::Empty => self.move_to(at, Place::Idle, End::Last),
            Place::Idle | Place::Leaving => self.count_evictable(region, bytes, true),
            Place::Busy => {}
        }
    }

    /// Counts KV given back by a session.
    pub(super) fn released(&mut self, key: SessionKey, bytes: u64) {
        let Some((at, session)) = self.slot(key) else {
            return;
        };
        session.kv = session.kv.saturating_sub(bytes);
        let (region, place, gone) = (session.region, session.place, session.kv == 0);
        let closed = session.closed;
        if matches!(place, Place::Idle | Place::Leaving) {
            self.count_evictable(region, bytes, false);
        }
        match place {
            Place::Idle | Place::Leaving if gone && closed => self.remove(at),
            Place::Idle if gone => self.move_to(at, Place::Empty, End::Last),
            _ => {}
        }
    }

    /// A session begins a request. The caller has seen that it neither runs nor is leaving.
    pub(super) fn begin(&mut self, key: SessionKey, request: RequestId, now: Duration) {
        if let Some((at, session)) = self.slot(key) {
            session.request = Some(request);
            session.requests += 1;
            session.last_used = now;
            let model = session.model;
            self.models.count_busy(model, true);
            self.move_to(at, Place::Busy, End::Last);
        }
    }

    /// A session's request has ended. Returns how long it took, and whether the session was closed meanwhile.
    pub(super) fn end(&mut self, key: SessionKey, now: Duration) -> Option<(Duration, bool)> {
        let (at, session) = self.slot(key)?;
        if session.place != Place::Busy {
            return None;
        }
        let took = now.saturating_sub(session.last_used);
        (session.last_used, session.request) = (now, None);
        let (kv, closed, model) = (session.kv, session.closed, session.model);
        self.models.count_busy(model, false);
        self.move_to(at, if kv > 0 { Place::Idle } else { Place::Empty }, End::Last);
        Some((took, closed))
    }

    /// The last seat of a session is gone. Returns the reclaim to post, unless one is under way, a request still runs
    /// (then [`Sessions::end`] asks for another call), or nothing was ever run.
    pub(super) fn close(&mut self, key: SessionKey) -> Option<Post> {
        let (at, session) = self.slot(key)?;
        let first = !std::mem::replace(&mut session.closed, true);
        let (place, unused, kv) = (session.place, session.requests == 0 && session.kv == 0, session.kv);
        self.open -= usize::from(first);
        match place {
            Place::Busy | Place::Leaving => None,
            Place::Empty | Place::Idle => {
                let post = if unused { None } else { self.leave(key) };
                if kv == 0 {
                    self.remove(at);
                }
                post
            }
        }
    }

    /// Marks a session without a running request as leaving and returns the reclaim to post.
    pub(super) fn leave(&mut self, key: SessionKey) -> Option<Post> {
        let (at, session) = self.slot(key)?;
        if !matches!(session.place, Place::Idle | Place::Empty) {
            return None;
        }
        let (answer_to, answer) = unbounded();
        let wait = Wait { key, answer, held: session.kv, returned: session.returned };
        session.reclaim = Some(wait.clone());
        let engine = session.engine.upgrade();
        self.move_to(at, Place::Leaving, End::Last);
        Some(Post { key, engine, answer_to, wait })
    }

    /// The answer a leaving session waits for.
    pub(super) fn waits_for(&self, key: SessionKey) -> Option<Wait> {
        self.get(key)?.reclaim.clone()
    }

    /// The answer to a reclaim has come: the session is no longer leaving. Several threads may wait for one answer: the first
    /// call moves the session, and all of them are told what came back.
    pub(super) fn settle(&mut self, wait: &Wait) -> Settled {
        let Some((at, session)) = self.slot(wait.key) else {
            // A session stays in the table until all of its KV is back.
            return Settled { freed: wait.held, evicted: false };
        };
        let reclaim = session.reclaim.take_if(|reclaim| reclaim.answer.same_channel(&wait.answer));
        let first = if reclaim.is_some() { wait.held.saturating_sub(session.kv) } else { 0 };
        session.returned = session.returned.saturating_add(first);
        let freed = session.returned.saturating_sub(wait.returned).min(wait.held);
        let evicted = first > 0 && !session.closed;
        session.evictions += u64::from(evicted);
        match (session.kv, session.closed) {
            _ if reclaim.is_none() => {}
            (0, true) => self.remove(at),
            (0, false) => self.move_to(at, Place::Empty, End::Last),
            // What is left of a closed session is of use to nobody: it is asked for first.
            (_, true) => self.move_to(at, Place::Idle, End::First),
            (_, false) => self.move_to(at, Place::Idle, End::Last),
        }
        Settled { freed, evicted }
    }

    /// The session's answer, if it has already come.
    pub(super) fn answered(&self, key: SessionKey) -> Option<Wait> {
        self.waits_for(key).filter(|wait| wait.answer.try_recv() != Err(TryRecvError::Empty))
    }

    /// All answers that have already come.
    pub(super) fn all_answered(&self) -> Vec<Wait> {
        self.list(&self.leaving).filter_map(|session| self.answered(session.key)).collect()
    }

    /// Idle sessions of models that go; then leaving sessions, then idle ones from the least recently used, until the shortage
    /// is covered. Sessions that do not help stay.
    pub(super) fn select(
        &self,
        asking: Option<SessionKey>,
        mut shortage: Shortage,
        going: &[ModelId],
    ) -> Selection {
        let mut selection = Selection::default();
        let goes = |session: &Session| session.model.is_some_and(|model| going.contains(&model));
        if !going.is_empty() {
            for session in self.list(&self.idle).filter(|session| goes(session)) {
                shortage.cover(session.region, session.kv);
                selection.victims.push(session.key);
                selection.bytes += session.kv;
            }
        }
        for session in self.list(&self.leaving) {
            if shortage.is_met() {
                break;
            }
            if shortage.cover(session.region, session.kv) {
                selection.waits.extend(self.waits_for(session.key));
            }
        }
        for session in self.list(&self.idle) {
            if shortage.is_met() {
                break;
            }
            let candidate = Some(session.key) != asking && !goes(session);
            if candidate && shortage.cover(session.region, session.kv) {
                selection.victims.push(session.key);
                selection.bytes += session.kv;
            }
        }
        selection
    }

    /// Closed sessions that still hold KV, and idle ones last used at `before` or earlier.
    pub(super) fn idle_since(&self, before: Option<Duration>) -> Vec<SessionKey> {
        let old = |session: &Session| before.is_some_and(|before| session.last_used <= before);
        let expired = |session: &&Session| session.closed || old(session);
        self.list(&self.idle).take_while(expired).map(|session| session.key).collect()
    }

    /// What there is to say about each open session.
    pub(super) fn stats(&self, now: Duration) -> impl Iterator<Item = SessionStats> {
        self.iter().filter(|session| !session.closed).map(move |session| {
            let busy = session.place == Place::Busy;
            SessionStats {
                id: session.key,
                kv_bytes: session.kv,
                limit: session.limit,
                requests: session.requests,
                evictions: session.evictions,
                busy,
                idle: if busy { Duration::ZERO } else { now.saturating_sub(session.last_used) },
                age: now.saturating_sub(session.opened),
            }
        })
    }

    /// The sessions of a list, in its order.
    pub(super) fn list<'a>(&'a self, list: &List) -> impl Iterator<Item = &'a Session> + use<'a> {
        self.slab.follow(list.first()).filter_map(|at| self.slab.get(at))
    }

    fn slot(&mut self, key: SessionKey) -> Option<(u32, &mut Session)> {
        let at = *self.index.get(&key)?;
        Some((at, self.slab.get_mut(at)?))
    }

    /// The only way from one place to another: keeps lists and sums.
    fn move_to(&mut self, at: u32, place: Place, end: End) {
        let Some(session) = self.slab.get_mut(at) else {
            return;
        };
        let from = std::mem::replace(&mut session.place, place);
        let (region, kv) = (session.region, session.kv);
        let counts = |place| matches!(place, Place::Idle | Place::Leaving);
        if counts(from) != counts(place) {
            self.count_evictable(region, kv, counts(place));
        }
        if let Some(list) = Self::list_of(&mut self.idle, &mut self.leaving, &mut self.busy, from) {
            self.slab.unlink(list, at);
        }
        if let Some(list) = Self::list_of(&mut self.idle, &mut self.leaving, &mut self.busy, place) {
            self.slab.link(list, at, end);
        }
    }

    fn list_of<'a>(
        idle: &'a mut List,
        leaving: &'a mut List,
        busy: &'a mut List,
        place: Place,
    ) -> Option<&'a mut List> {
        match place {
            Place::Empty => None,
            Place::Idle => Some(idle),
            Place::Leaving => Some(leaving),
            Place::Busy => Some(busy),
        }
    }

    fn remove(&mut self, at: u32) {
        self.move_to(at, Place::Empty, End::Last);
        if let Some(session) = self.slab.remove(at) {
            self.index.remove(&session.key);
        }
    }

    fn count_evictable(&mut self, region: Region, bytes: u64, more: bool) {
        let known = self.evictable.iter_mut().find(|&&mut (at, _)| at == region);
        match known {
            Some((_, sum)) if more => *sum = sum.saturating_add(bytes),
            Some((_, sum)) => *sum = sum.saturating_sub(bytes),
            None if more => self.evictable.push((region, bytes)),
            None => {}
        }
    }
}
