//! Models that may be unloaded: what the plain model knows of them, and what they are in the guard.

use super::super::engine::{Answers, FakeEngine};
use super::super::*;
use super::model::{HOST, Missing, Model, Place, REGIONS, Waiter};
use super::price::Price;
use super::{Machine, NAMES};
use plimsoll_engine::Engine;
use std::sync::Weak;

/// There are at most so many.
pub(super) const HOMES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    In,
    Due,
    Out,
    /// Being loaded: so many quarters of it have come.
    Loading(u64),
}

/// A model, where its weights are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    pub(super) region: usize,
    pub(super) bytes: u64,
    pub(super) idles: bool,
    pub(super) at: At,
    /// Whether it was loaded before.
    pub(super) known: bool,
    /// Grows with every use.
    pub(super) order: u64,
}

impl Home {
    /// Bytes that it has booked in a region.
    pub(super) fn booked(&self, region: usize) -> u64 {
        if self.at != At::Out && region == self.region { self.bytes } else { 0 }
    }
}

impl Model {
    /// Host bytes of models that are booked and have not come.
    pub(super) fn absent(&self) -> u64 {
        let absent = |home: &Home| match home.at {
            At::Due => home.booked(HOST),
            At::Loading(quarters) => home.booked(HOST) - home.booked(HOST) * quarters / 4,
            At::In | At::Out => 0,
        };
        self.homes.iter().map(absent).sum()
    }

    /// What a session's model takes before it runs.
    pub(super) fn load_of(&self, session: usize) -> Option<(usize, u64)> {
        let home = self.homes[self.sessions[session].home?];
        (home.at == At::Out).then_some((home.region, home.bytes))
    }

    fn is_granted(&self, home: usize) -> bool {
        self.sessions.iter().any(|s| s.home == Some(home) && matches!(s.place, Place::Busy(..)))
    }

    /// Those that are loaded, not used, and may go by themselves.
    pub(super) fn idle_homes(&self) -> Vec<usize> {
        let idle = |&h: &usize| self.homes[h].idles && self.homes[h].at == At::In && !self.is_granted(h);
        (0..self.homes.len()).filter(idle).collect()
    }

    /// Models of those who wait, whom pressure does not rule out.
    pub(super) fn waited_for(&self, waiters: &[Waiter]) -> Vec<usize> {
        let waits = waiters.iter().filter(|waiter| !self.rules_out(waiter));
        waits.filter_map(|waiter| self.sessions[waiter.session].home).collect()
    }

    /// Those that may go for someone behind these, the least recently used first.
    pub(super) fn could_go(&self, asking: Option<usize>, before: &[Waiter]) -> Vec<usize> {
        let waited = self.waited_for(before);
        let mut could = self.idle_homes();
        could.retain(|&h| Some(h) != asking && !waited.contains(&h));
        could.sort_by_key(|&h| self.homes[h].order);
        could
    }

    /// Of these, from the first, as many as have what each region lacks, without those that are not needed in the end.
    pub(super) fn pick(&self, could: &[usize], lacks: [u64; REGIONS]) -> Vec<usize> {
        let sum =
            |picked: &[usize], region| -> u64 { picked.iter().map(|&h| self.homes[h].booked(region)).sum() };
        let mut picked = Vec::new();
        for &home in could {
            let region = self.homes[home].region;
            if sum(&picked, region) < lacks[region] {
                picked.push(home);
            }
        }
        for home in picked.clone() {
            let others: Vec<usize> = picked.iter().copied().filter(|&other| other != home).collect();
            if (0..REGIONS).all(|region| sum(&others, region) >= lacks[region]) {
                picked = others;
            }
        }
        picked
    }

    /// Who goes for a request that is refused otherwise.
    pub(super) fn picked(
        &self,
        session: usize,
        least: Price,
        gone: &[usize],
        before: &[Waiter],
    ) -> Option<Vec<usize>> {
        let could = self.could_go(self.sessions[session].home, before);
        let fits = self.fits(session, least, gone, &could) && self.spares(session, least, before);
        fits.then(|| self.pick(&could, self.missing_for(session, least, gone, &[]).regions))
    }

    /// Models go, with the KV of their sessions, however late their engines are. Returns the KV that nobody had asked for yet.
    pub(super) fn unload(&mut self, homes: &[usize]) -> u64 {
        let mut freed = 0;
        for &home in homes {
            self.homes[home].at = At::Out;
            self.moves[0] += 1;
            for session in self.sessions.iter_mut().filter(|session| session.home == Some(home)) {
                match session.place {
                    Place::Idle => freed += std::mem::take(&mut session.kept),
                    Place::Leaving(_) => (session.place, session.kept) = (Place::Idle, 0),
                    Place::Busy(..) => panic!("model {home} is in use"),
                }
            }
        }
        freed
    }

    /// A session's model was used just now, and is forgotten if it was booked for nobody else.
    pub(super) fn used_home(&mut self, session: usize, order: u64) {
        let Some(home) = self.sessions[session].home else { return };
        self.homes[home].order = order;
        if self.homes[home].at == At::Due && !self.is_granted(home) {
            self.homes[home].at = At::Out;
        }
    }

    /// Room for a lease of a model, in which nobody is asked in vain; whether there is any.
    pub(super) fn make_room(&mut self, region: usize, bytes: u64) -> bool {
        let mut new = [0; REGIONS];
        new[region] = bytes;
        let (mut gone, idle) = self.in_order();
        gone.extend(idle);
        let could = self.could_go(None, &self.line);
        let lacks = self.missing(new, 0, &gone, &[]);
        if self.missing(new, 0, &gone, &could) != Missing::default() {
            return false;
        }
        let out = self.pick(&could, lacks.regions);
        let (_, victims) = self.choose(None, self.missing(new, 0, &[], &out), &out);
        self.unload(&out);
        for victim in victims {
            self.leave(victim);
        }
        self.missing(new, 0, &[], &[]) == Missing::default()
    }
}

/// A model's engine and leases in the guard.
pub(super) struct Real {
    id: ModelId,
    pub(super) engine: Arc<FakeEngine>,
    holder: Arc<Holder>,
    loading: Option<Loading>,
    enrolment: Enrolment,
}

/// How a load ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Done,
    Fails,
    /// Its caller wants it to stop.
    Stops,
}

struct Holder {
    engine: Weak<FakeEngine>,
    leases: Mutex<Vec<Lease>>,
}

impl Unload for Holder {
    fn unload(&self) {
        self.leases.lock().unwrap().clear();
        self.engine.upgrade().unwrap().forget();
    }
}

impl Machine {
    /// Somebody begins to load a model, if there is room for it and for one more.
    pub(super) fn enrol(&mut self, kv: usize, host: bool, bytes: u64, idles: bool) {
        if self.homes.len() == HOMES {
            return;
        }
        self.refresh();
        let (id, region) = (ModelId(100 + self.model.next_event()), if host { 0 } else { kv });
        let parts = [
            (Owner::Weights(id), bytes - bytes / 3),
            (Owner::Workspace(id), bytes / 3),
            (Owner::Tables(id), 0),
        ];
        let footprint = Footprint { region: NAMES[region], parts };
        let enrolment = self.guard.enrol(id, footprint, idles).unwrap();
        let loading = enrolment.book(None, &mut self.guard.set_aside(None));
        assert_eq!(loading.is_ok(), self.model.make_room(region, bytes), "{loading:?}");
        let Ok(loading) = loading else { return };
        let engine = FakeEngine::new(NAMES[kv]);
        engine.watch(&self.guard);
        engine.answer(if self.model.late { Answers::Later } else { Answers::AtOnce });
        let holder = Arc::new(Holder { engine: Arc::downgrade(&engine), leases: Mutex::default() });
        assert!(loading.is_some(), "a new model is nobody else's");
        self.homes.push(Real { id, engine, holder, loading, enrolment });
        let order = self.model.next_event();
        let (at, known) = (At::Loading(0), false);
        self.model.homes.push(Home { region, bytes, idles, at, known, order });
        self.make_good();
    }

    /// Of the sessions of a model that was never loaded there are none.
    fn can_open(&self, home: usize) -> bool {
        self.model.homes.get(home).is_some_and(|home| home.known)
    }

    pub(super) fn open(&mut self, region: usize, home: Option<usize>, limit: u64) {
        let home = home.filter(|&home| self.can_open(home));
        let engine = home.map_or(&self.engines[region], |home| &self.homes[home].engine);
        let region = NAMES.iter().position(|&name| name == engine.capabilities().kv_region).unwrap();
        let seat = self.guard.open_session(engine.clone(), Some(limit)).unwrap();
        self.sessions.push(super::Real { seat: Some(seat), ring: None, grant: None });
        self.model.open(region, home, limit, self.now);
    }

    fn pick_home(&self, at: usize) -> Option<usize> {
        (!self.homes.is_empty()).then(|| at % self.homes.len())
    }

    /// Somebody begins to load a model, for a request or without one. So many quarters of it come at once.
    pub(super) fn reload(&mut self, at: usize, unasked: bool, come: u64) {
        let Some(home) = self.pick_home(at) else { return };
        self.refresh();
        let Home { region, bytes, at: place, .. } = self.model.homes[home];
        let real = &self.homes[home];
        let loading = if unasked {
            real.enrolment.book(None, &mut self.guard.set_aside(None))
        } else {
            Ok(real.enrolment.collect())
        };
        let booked = match place {
            At::Due => Some(true),
            At::Out if unasked => Some(self.model.make_room(region, bytes)),
            _ => None,
        };
        match loading {
            Ok(None) => assert_eq!(booked, None),
            Err(refused) => assert_eq!(booked, Some(false), "{refused}"),
            Ok(Some(loading)) => {
                assert_eq!(booked, Some(true));
                loading.come(come, 4);
                self.homes[home].loading = Some(loading);
                self.model.homes[home].at = At::Loading(come);
                if place == At::Out {
                    // Booked just now.
                    self.make_good();
                }
            }
        }
    }

    /// Whether a session's model cannot run anything yet.
    pub(super) fn is_coming(&self, session: usize) -> bool {
        let home = self.model.sessions[session].home.map(|home| self.model.homes[home].at);
        matches!(home, Some(At::Due | At::Loading(_)))
    }

    /// A load ends. Who wants to stop it can, as long as nobody was granted a request on its model.
    pub(super) fn end_load(&mut self, at: usize, end: End) {
        let loads: Vec<_> =
            (0..self.homes.len()).filter(|&home| self.homes[home].loading.is_some()).collect();
        let Some(&home) = loads.get(at % loads.len().max(1)) else { return };
        let real = &mut self.homes[home];
        let mut loading = real.loading.take().unwrap();
        let goes = match end {
            End::Done => true,
            End::Fails => false,
            End::Stops => {
                let stopped = loading.stop(0);
                assert_eq!(stopped, !self.model.is_granted(home));
                !stopped
            }
        };
        let leases = loading.take().unwrap();
        assert_eq!(leases.iter().map(Lease::bytes).sum::<u64>(), self.model.homes[home].bytes);
        self.model.homes[home].order = self.model.next_event();
        if !goes {
            drop((leases, loading));
            self.model.homes[home].at = At::Out;
            if !self.model.homes[home].known {
                self.forget(home);
            }
            return;
        }
        self.model.homes[home].at = At::In;
        *real.holder.leases.lock().unwrap() = leases.into();
        if std::mem::replace(&mut self.model.homes[home].known, true) {
            self.model.moves[1] += 1;
        } else {
            let engine = Arc::clone(&real.engine) as Arc<dyn Engine>;
            let holder: Weak<dyn Unload> = Arc::<Holder>::downgrade(&real.holder);
            real.enrolment.attach(&engine, holder).unwrap();
        }
        loading.done();
    }

    /// A first load has come to nothing: there is no such model.
    fn forget(&mut self, home: usize) {
        drop(self.homes.remove(home));
        self.model.homes.remove(home);
        let later = self.model.sessions.iter_mut().filter_map(|session| session.home.as_mut());
        later.filter(|at| **at > home).for_each(|at| *at -= 1);
    }

    /// A model is to stay from now on, if it is there.
    pub(super) fn keep(&mut self, at: usize) {
        let Some(home) = self.pick_home(at) else { return };
        let known = &mut self.model.homes[home];
        let there = known.at == At::In;
        assert_eq!(self.homes[home].enrolment.keep(), there);
        known.idles &= !there;
    }

    /// A model is asked to go.
    pub(super) fn send_away(&mut self, at: usize) {
        let Some(home) = self.pick_home(at) else { return };
        let used = self.model.sessions.iter().enumerate().any(|(at, session)| {
            let waits = self.model.line.iter().any(|waiter| waiter.session == at);
            session.home == Some(home) && (waits || matches!(session.place, Place::Busy(..)))
        });
        let used = used || matches!(self.model.homes[home].at, At::Loading(_));
        let freed = self.guard.unload(self.homes[home].id);
        let Home { bytes, at, .. } = self.model.homes[home];
        match at {
            _ if used => assert_eq!(freed, Err(InUse)),
            At::In => assert_eq!(freed, Ok(self.model.unload(&[home]) + bytes)),
            _ => assert_eq!(freed, Ok(0)),
        }
    }

    /// The engine of a session.
    pub(super) fn engine_of(&self, session: usize) -> Arc<FakeEngine> {
        let known = &self.model.sessions[session];
        known.home.map_or(&self.engines[known.region], |home| &self.homes[home].engine).clone()
    }

    /// All engines.
    pub(super) fn all_engines(&self) -> Vec<Arc<FakeEngine>> {
        self.engines.iter().chain(self.homes.iter().map(|home| &home.engine)).cloned().collect()
    }

    pub(super) fn compare_homes(&self, stats: &MemoryStats) {
        let out = self.model.homes.iter().filter(|home| home.at == At::Out).count() as u64;
        assert_eq!((stats.models_loaded, stats.models_unloaded), (self.model.homes.len() as u64 - out, out));
        assert_eq!([stats.unloads, stats.reloads], self.model.moves);
    }
}
