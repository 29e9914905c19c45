//! The guard against a plain model, over random steps: sessions in three regions with limits of their own, requests,
//! tickets that are thrown away, requests that wait, leases, models that come and go, memory of the pool, engines that answer late, limits that fall and readings that are old. The model is
//! told nothing of what was decided; after every step both must agree in every number.

mod homes;
mod model;
mod price;
mod room;
mod shelf;
mod step;

use super::engine::CONTEXT;
use super::*;
use model::{Expected, HOST, Model, Place, REGIONS, Session, Waiter};
use plimsoll_engine::Buffer;
use price::{Asked, Price};
use proptest::prelude::*;
use shelf::{Load, Shelf};
use step::{Step, step};

/// The machine's memory at first, and what the devices have.
const LIMITS: [u64; REGIONS] = [1_500, 900, 700];
const NAMES: [Region; REGIONS] = [Region::Host, Region::Device(0), Region::Device(1)];
const KV_LIMIT: u64 = 1_400;
/// So many may wait.
const QUEUE: usize = 3;
/// Readings may be this old.
const AGE: u64 = 100;
const IDLE_TIMEOUT: u64 = 5_000;

/// What a session of the model is in the guard.
struct Real {
    seat: Option<Seat>,
    ring: Option<Buffer>,
    grant: Option<Grant>,
}

/// Someone who waits, and until when.
struct InLine {
    waiting: Waiting,
    waiter: Waiter,
    until: u64,
}

struct Machine {
    line: Vec<InLine>,
    arrivals: u64,
    guard: Arc<MemoryGuard>,
    clock: Arc<ManualClock>,
    probe: Arc<Mutex<Option<Reading>>>,
    engines: [Arc<FakeEngine>; REGIONS],
    homes: Vec<homes::Real>,
    sessions: Vec<Real>,
    loads: Vec<Load>,
    shelf: Shelf,
    model: Model,
    /// Milliseconds, now and when the last reading was taken.
    now: u64,
    taken: u64,
    lazy: bool,
    /// Whether requests give up something while memory is short.
    presses: bool,
    /// The last reading that was not the one before again though what is ours had changed, and what was ours then.
    last: (Reading, u64),
}

impl Machine {
    fn new(presses: bool) -> Self {
        let config = GuardConfig {
            budget: None,
            device_budgets: vec![(0, LIMITS[1]), (1, LIMITS[2])],
            threshold: 1.0,
            reserve: Some(0),
            kv_limit: KV_LIMIT,
            idle_timeout: Duration::from_millis(IDLE_TIMEOUT),
            // Who has not answered when asked is late.
            reclaim_deadline: Duration::ZERO,
            pressure: presses.then(Levels::default),
            queue: QUEUE,
            pool_limit: shelf::LIMIT,
            pool_timeout: Duration::from_millis(IDLE_TIMEOUT),
            ..GuardConfig::default()
        };
        let clock = Arc::new(ManualClock::default());
        let first = Reading { capacity: LIMITS[HOST], used: 0 };
        let probe = Arc::new(Mutex::new(Some(first)));
        let guard = MemoryGuard::new(config, probe.clone(), clock.clone()).unwrap();
        let engines = NAMES.map(FakeEngine::new);
        engines.iter().for_each(|engine| engine.watch(&guard));
        let model = Model::new(LIMITS, KV_LIMIT);
        let (sessions, loads) = (Vec::new(), Vec::new());
        let (now, taken, lazy, last) = (0, 0, false, (first, 0));
        let (line, arrivals) = (Vec::new(), 0);
        Machine {
            line,
            arrivals,
            guard,
            clock,
            probe,
            engines,
            homes: Vec::new(),
            sessions,
            loads,
            shelf: Shelf::default(),
            model,
            now,
            taken,
            lazy,
            presses,
            last,
        }
    }

    /// What the guard does before it decides: a look at the machine when the last one is old. KV that is leased and not yet
    /// allocated is in no reading, nor is a model before it is loaded, and a reading that stands still while what is ours changes says nothing about others.
    fn refresh(&mut self) {
        let here = self.model.sessions.iter().filter(|session| session.region == HOST);
        let (kv, kept) = here.fold((0, 0), |(kv, kept), session| (kv + session.kv(), kept + session.kept));
        let allocated = if self.lazy { kept } else { kv };
        self.all_engines().iter().for_each(|engine| engine.holdings.lock().unwrap().kv = 0);
        for (at, session) in self.model.sessions.iter().enumerate().filter(|(_, s)| s.region == HOST) {
            let held = if self.lazy { session.kept } else { session.kv() };
            self.engine_of(at).holdings.lock().unwrap().kv += held;
        }
        if self.now - self.taken < AGE {
            return;
        }
        self.taken = self.now;
        let reading = self.probe.lock().unwrap().unwrap();
        let ours = self.model.used(HOST) - (kv - allocated) - self.model.absent() + self.shelf.bytes();
        let space = &mut self.model.spaces[HOST];
        space.limit = reading.capacity;
        if self.last.0 != reading || self.last.1 == ours {
            self.last = (reading, ours);
            space.others = reading.used.saturating_sub(ours);
        }
    }

    /// One of the open sessions.
    fn pick(&self, at: usize) -> Option<usize> {
        let open: Vec<_> = (0..self.sessions.len()).filter(|&i| self.sessions[i].seat.is_some()).collect();
        (!open.is_empty()).then(|| open[at % open.len()])
    }

    fn admit(&mut self, newcomer: Waiter, wait: Option<u64>) {
        self.refresh();
        let Waiter { session: at, ask: asked, priority, degradable, .. } = newcomer;
        let (prompt, max, min, answers) = asked;
        let request = Ask { priority, degradable, answers, ..ask(prompt, max, min) };
        let seat = self.sessions[at].seat.as_ref().unwrap();
        let punctual = !self.model.late
            && !self.model.sessions.iter().any(|session| matches!(session.place, Place::Leaving(_)));
        let foreseen = self.guard.what_if(seat, &request).unwrap();
        let queued = self.guard.enqueue(seat, &request, Duration::from_millis(wait.unwrap_or(0))).unwrap();
        let full = self.model.line.len() >= QUEUE;
        let expected = self.model.admit(newcomer);
        let (verdict, grant) = match queued {
            Queued::Decided(verdict, grant) => {
                if grant.is_none() {
                    self.model.count(Decision::Reject);
                }
                assert!(expected.position == 0 || wait.is_none() || full, "{verdict:?}");
                (verdict, grant)
            }
            Queued::Waits(verdict, waiting) => {
                assert!(expected.position > 0 && !full, "{verdict:?}");
                let waiter = Waiter { arrival: self.arrivals, ..newcomer };
                self.arrivals += 1;
                self.model.line.push(waiter);
                self.line.push(InLine { waiting, waiter, until: self.now + wait.unwrap() });
                (verdict, None)
            }
        };
        if punctual {
            let reason = verdict.reason;
            assert_eq!(verdict, Verdict { reason, ..foreseen }, "what-if and admit agree");
            assert!(reason == foreseen.reason || (reason == Reason::QueueFull && full && wait.is_some()));
        }
        self.agree(at, &verdict, grant, expected, asked);
    }

    fn agree(
        &mut self,
        at: usize,
        verdict: &Verdict,
        grant: Option<Grant>,
        expected: Expected,
        asked: Asked,
    ) {
        let Verdict { decision, granted_tokens: granted, fits_tokens: fits, position, .. } = *verdict;
        let evicted = (verdict.evict_sessions, verdict.evict_bytes);
        let (unloaded, load) = ((verdict.unload_models, verdict.unload_bytes), verdict.load_bytes);
        let retry = verdict.retry_after.is_some();
        let masked = verdict.reason == Reason::QueueFull;
        let reclaim = verdict.reason == Reason::Reclaim || (expected.reclaim && masked);
        let refused = decision == Decision::Reject;
        let ruled_out = refused && verdict.reason == Reason::Pressure || (expected.ruled_out && masked);
        let seen = Expected {
            decision,
            granted,
            fits,
            retry,
            evicted,
            unloaded,
            load,
            reclaim,
            ruled_out,
            position,
        };
        assert_eq!(seen, expected, "{verdict:?}");
        let known = Model::reason(&expected).filter(|_| verdict.reason != Reason::QueueFull);
        assert!(known.is_none_or(|reason| reason == verdict.reason), "{verdict:?}");
        assert_eq!(grant.is_some(), decision != Decision::Reject);
        // What it had before and did not lose for itself.
        let kept = self.model.sessions[at].kept;
        if let Some(grant) = &grant {
            let price = Price::of(asked, granted);
            assert_eq!((grant.kv.bytes(), grant.host.bytes()), (price.new_kv(kept), price.request()));
            assert_eq!(grant.answers, asked.3.max(1));
            let new = verdict.items().into_iter().filter(|item| item.what.is_new());
            let lines: u64 = new.map(|item| item.bytes).sum();
            assert_eq!(lines, price.new_kv(kept) + price.request() + load, "the lines are the leases");
        }
        if grant.is_some() {
            self.sessions[at].grant = grant;
            self.take_ring(at);
        }
    }

    /// Someone who waits looks. Who is told of no news must have missed none.
    fn look(&mut self, at: usize) {
        self.refresh();
        let Some(at) = (!self.line.is_empty()).then(|| at % self.line.len()) else { return };
        let InLine { waiting, waiter, until } = &mut self.line[at];
        let (waiter, over) = (*waiter, self.now >= *until);
        let session = waiter.session;
        let seat = self.sessions[session].seat.as_ref().unwrap();
        let looks = waiting.has_news() || over;
        let decided = waiting.poll(seat).unwrap();
        if !looks {
            assert!(decided.is_none());
            let foreseen = self.model.clone().decide_for(waiter);
            let region = |waiter: &Waiter| self.model.sessions[waiter.session].region;
            let before = self.model.before(waiter.priority, waiter.arrival);
            // Those behind the first of a region hear of it when that one has looked.
            let told = self.line.iter().any(|other| {
                before.contains(&other.waiter)
                    && region(&other.waiter) == region(&waiter)
                    && other.waiting.has_news()
            });
            // Whom pressure or others rule out keeps nothing from those behind.
            let holds_up = |other: &Waiter| region(other) == region(&waiter) && !self.model.rules_out(other);
            let first = !before.iter().any(holds_up);
            let granted = foreseen.decision != Decision::Reject;
            assert!(!granted || told, "news that nobody was told of: {waiter:?}");
            assert!(foreseen.retry || granted || !first, "it waits for what never comes: {waiter:?}");
            return;
        }
        let expected = self.model.decide_for(waiter);
        let Some((verdict, grant)) = decided else {
            assert!(expected.decision == Decision::Reject && expected.retry && !over, "{expected:?}");
            return;
        };
        assert!(expected.decision != Decision::Reject || !expected.retry || over, "{expected:?}");
        self.line.remove(at);
        self.model.line.retain(|other| *other != waiter);
        if grant.is_none() {
            self.model.count(Decision::Reject);
        }
        self.agree(session, &verdict, grant, expected, waiter.ask);
    }

    /// Someone leaves the line.
    fn leave(&mut self, at: usize) {
        if self.line.is_empty() {
            return;
        }
        let InLine { waiter, waiting, .. } = self.line.remove(at % self.line.len());
        if waiter.arrival.is_multiple_of(2) {
            let verdict = waiting.cancel(self.sessions[waiter.session].seat.as_ref().unwrap()).unwrap();
            assert_eq!((verdict.decision, verdict.reason), (Decision::Reject, Reason::Cancelled));
            self.model.count(Decision::Reject);
        }
        self.model.line.retain(|other| *other != waiter);
    }

    fn end(&mut self, at: usize, kept: Option<u64>) {
        let Some(grant) = self.sessions[at].grant.take() else { return };
        self.drop_ring(at);
        // A model that nobody has loaded runs nothing.
        let kept = kept.filter(|_| !self.is_coming(at));
        match kept {
            Some(kept) => self.engine_of(at).finish(grant, kept),
            None => drop(grant),
        }
        self.model.end(at, kept, self.now);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Open { region, home, limit } => self.open(region, home, limit),
            Step::Enrol { kv, host, bytes, idles } => self.enrol(kv, host, bytes, idles),
            Step::Reload { home, unasked, come } => self.reload(home, unasked, come),
            Step::EndLoad { load, end } => self.end_load(load, end),
            Step::Keep(home) => self.keep(home),
            Step::SendAway(home) => self.send_away(home),
            Step::Close(at) => {
                if let Some(at) = self.pick(at) {
                    self.close(at);
                }
            }
            Step::Admit { session, ask, priority, degradable, wait } => {
                if let Some(session) = self.pick(session) {
                    self.admit(Waiter { session, ask, priority, degradable, arrival: 0 }, wait);
                }
            }
            Step::Look(at) => self.look(at),
            Step::Leave(at) => self.leave(at),
            // Of any session, closed ones included.
            Step::Finish { session, kept } if !self.sessions.is_empty() => {
                self.end(session % self.sessions.len(), Some(kept));
            }
            Step::Abandon(at) if !self.sessions.is_empty() => self.end(at % self.sessions.len(), None),
            Step::Finish { .. } | Step::Abandon(_) => {}
            Step::Evict(at) => {
                if let Some(at) = self.pick(at) {
                    let freed = self.guard.evict_session(self.sessions[at].seat.as_ref().unwrap());
                    assert_eq!(freed, self.model.leave(at));
                }
            }
            Step::Load { region, workspace, bytes } => self.load(region, workspace, bytes),
            Step::Trim { load, by } => self.trim(load, by),
            Step::Unload(at) => self.unload(at),
            Step::Late(late) => {
                let answers = if late { Answers::Later } else { Answers::AtOnce };
                self.all_engines().iter().for_each(|engine| engine.answer(answers));
                self.model.late = late;
            }
            Step::CatchUp => self.catch_up(),
            Step::Lazy(lazy) => self.lazy = lazy,
            Step::Machine { capacity, foreign } => {
                // What is ours counts as of now, and may have changed when the guard looks.
                let ours = self.model.used(HOST) - self.model.absent() + self.shelf.bytes();
                let used = (foreign + ours).min(capacity);
                *self.probe.lock().unwrap() = Some(Reading { capacity, used });
            }
            Step::Wait(millis) => {
                self.clock.advance(Duration::from_millis(millis));
                self.now += millis;
            }
            Step::Sweep => {
                self.sweep();
                self.sweep_shelf();
            }
        }
        self.compare();
    }

    /// A session is closed; whoever waits for it has nothing to wait for.
    fn close(&mut self, at: usize) {
        drop(self.sessions[at].seat.take());
        self.line.retain(|other| other.waiter.session != at);
        self.model.line.retain(|other| other.session != at);
        self.model.close(at);
    }

    fn catch_up(&mut self) {
        self.all_engines().iter().for_each(|engine| engine.catch_up());
        self.model.catch_up();
    }

    fn sweep(&mut self) {
        let old = |session: &Session| self.now - session.last_used >= IDLE_TIMEOUT;
        let mut expired: Vec<_> =
            (0..self.sessions.len()).filter(|&i| old(&self.model.sessions[i])).collect();
        expired.sort_by_key(|&at| self.model.sessions[at].order);
        let freed: u64 = expired.into_iter().map(|at| self.model.leave(at)).sum();
        assert_eq!(self.guard.evict_idle(), freed);
    }

    fn compare(&mut self) {
        self.compare_shelf();
        self.compare_books();
    }

    fn compare_books(&mut self) {
        self.refresh();
        self.guard.check_integrity().unwrap();
        let stats = self.guard.stats();
        if self.presses {
            self.model.press();
        }
        let level = self.model.spaces.iter().map(|space| space.level).max().unwrap();
        assert_eq!(stats.pressure, Pressure::ALL[level]);
        for (region, name) in NAMES.into_iter().enumerate() {
            let space = self.model.spaces[region];
            let seen = stats.region(name).unwrap();
            let (used, free) = (self.model.used(region), self.model.free(region));
            assert_eq!((seen.limit, seen.others), (space.limit, space.others), "{name}");
            assert_eq!((seen.used, seen.free), (used, free), "{name}");
            assert!(seen.used <= seen.peak);
        }
        let sessions = &self.model.sessions;
        let all_kv: u64 = sessions.iter().map(Session::kv).sum();
        let loads: u64 = self.loads.iter().map(|load| load.lease.bytes()).sum();
        assert_eq!(stats.total_kv_bytes, all_kv);
        assert!(all_kv <= KV_LIMIT);
        let homes: u64 = self.model.homes.iter().map(|home| home.booked(home.region)).sum();
        assert_eq!(stats.weights_bytes + stats.workspace_bytes, loads + homes);
        self.compare_homes(&stats);
        assert_eq!([stats.accepted_count, stats.shrunk_count, stats.rejected_count], self.model.counts);
        assert_eq!(stats.waiting as usize, self.model.line.len());
        assert_eq!(stats.active_sessions as usize, sessions.iter().filter(|s| !s.closed).count());
        for (real, known) in self.sessions.iter().zip(sessions) {
            assert!(real.seat.as_ref().is_none_or(|seat| seat.kv_bytes() == known.kv()));
        }
    }

    fn finish(mut self) {
        self.take(Step::Late(false));
        self.take(Step::CatchUp);
        for at in 0..self.sessions.len() {
            self.end(at, Some(100));
            self.close(at);
        }
        self.homes.clear();
        self.model.homes.clear();
        self.model.sessions.iter_mut().for_each(|session| session.home = None);
        self.clear_shelf();
        self.compare_books();
        assert_eq!([0, 1, 2].map(|region| self.model.used(region)), [0; REGIONS]);
        assert!(self.guard.stats().ledger.is_empty());
    }
}

proptest! {
    // The environment's PROPTEST_CASES, where it is set, says how many (`make model` runs many).
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_guard_does_what_the_model_does(presses: bool, steps in prop::collection::vec(step(), 1..100)) {
        let mut machine = Machine::new(presses);
        for step in steps {
            machine.take(step);
        }
        machine.finish();
    }
}
