//! The guard against a plain model, over random steps: sessions in three regions with limits of their own, requests,
//! tickets that are thrown away, requests that wait, leases, engines that answer late, limits that fall and readings that are old. The model is
//! told nothing of what was decided; after every step both must agree in every number.

mod model;

use super::engine::{CONTEXT, price};
use super::*;
use model::{Expected, HOST, Model, Place, REGIONS, Session, Waiter};
use plimsoll_engine::Lease;
use proptest::prelude::*;

/// The machine's memory at first, and what the devices have.
const LIMITS: [u64; REGIONS] = [1_500, 900, 700];
const NAMES: [Region; REGIONS] = [Region::Host, Region::Device(0), Region::Device(1)];
const KV_LIMIT: u64 = 1_400;
/// So many may wait.
const QUEUE: usize = 3;
/// Readings may be this old.
const AGE: u64 = 100;
const IDLE_TIMEOUT: u64 = 5_000;

#[derive(Clone, Debug)]
enum Step {
    Open {
        region: usize,
        limit: u64,
    },
    Close(usize),
    Admit {
        session: usize,
        ask: (u32, u32, u32),
        priority: i8,
        /// Milliseconds that it may wait.
        wait: Option<u64>,
    },
    /// Someone who waits looks for news, or leaves.
    Look(usize),
    Leave(usize),
    Finish {
        session: usize,
        kept: u64,
    },
    Abandon(usize),
    Evict(usize),
    Load {
        region: usize,
        workspace: bool,
        bytes: u64,
    },
    Trim {
        load: usize,
        by: u64,
    },
    Unload(usize),
    /// From now on engines answer late, or at once again.
    Late(bool),
    CatchUp,
    /// From now on the KV of requests that run is leased and not yet allocated, or is both.
    Lazy(bool),
    /// The machine's memory, and what others use of it; the guard may look later.
    Machine {
        capacity: u64,
        foreign: u64,
    },
    Wait(u64),
    Sweep,
}

fn step() -> impl Strategy<Value = Step> {
    let some = 0_usize..8;
    let region = || 0..REGIONS;
    prop_oneof![
        2 => (region(), 2..12_u64).prop_map(|(region, limit)| Step::Open { region, limit: limit * 100 }),
        1 => some.clone().prop_map(Step::Close),
        10 => (some.clone(), (1..CONTEXT + 3, 0..CONTEXT + 3, 0..9_u32), -1..2_i8, prop::option::of(1..2_000_u64))
            .prop_map(|(session, ask, priority, wait)| Step::Admit { session, ask, priority, wait }),
        4 => some.clone().prop_map(Step::Look),
        1 => some.clone().prop_map(Step::Leave),
        6 => (some.clone(), 0..9_u64).prop_map(|(session, kept)| Step::Finish { session, kept: kept * 100 }),
        2 => some.clone().prop_map(Step::Abandon),
        1 => some.clone().prop_map(Step::Evict),
        2 => (region(), any::<bool>(), 1..700_u64)
            .prop_map(|(region, workspace, bytes)| Step::Load { region, workspace, bytes }),
        1 => (some.clone(), 1..300_u64).prop_map(|(load, by)| Step::Trim { load, by }),
        2 => some.prop_map(Step::Unload),
        1 => any::<bool>().prop_map(Step::Late),
        1 => Just(Step::CatchUp),
        1 => any::<bool>().prop_map(Step::Lazy),
        1 => (600..2_000_u64, 0..500_u64)
            .prop_map(|(capacity, foreign)| Step::Machine { capacity, foreign }),
        2 => prop_oneof![1..AGE, AGE..2 * AGE, Just(IDLE_TIMEOUT)].prop_map(Step::Wait),
        1 => Just(Step::Sweep),
    ]
}

/// What a session of the model is in the guard.
struct Real {
    seat: Option<Seat>,
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
    sessions: Vec<Real>,
    loads: Vec<Lease>,
    model: Model,
    /// Milliseconds, now and when the last reading was taken.
    now: u64,
    taken: u64,
    lazy: bool,
    /// The last reading that was not the one before again though what is ours had changed, and what was ours then.
    last: (Reading, u64),
}

impl Machine {
    fn new() -> Self {
        let config = GuardConfig {
            budget: None,
            device_budgets: vec![(0, LIMITS[1]), (1, LIMITS[2])],
            threshold: 1.0,
            reserve: Some(0),
            kv_limit: KV_LIMIT,
            idle_timeout: Duration::from_millis(IDLE_TIMEOUT),
            // Who has not answered when asked is late.
            reclaim_deadline: Duration::ZERO,
            pressure: None,
            queue: QUEUE,
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
            sessions,
            loads,
            model,
            now,
            taken,
            lazy,
            last,
        }
    }

    /// What the guard does before it decides: a look at the machine when the last one is old. KV that is leased and not yet
    /// allocated is in no reading, and a reading that stands still while what is ours changes says nothing about others.
    fn refresh(&mut self) {
        let here = self.model.sessions.iter().filter(|session| session.region == HOST);
        let (kv, kept) = here.fold((0, 0), |(kv, kept), session| (kv + session.kv(), kept + session.kept));
        let allocated = if self.lazy { kept } else { kv };
        self.engines[HOST].holdings.lock().unwrap().kv = allocated;
        if self.now - self.taken < AGE {
            return;
        }
        self.taken = self.now;
        let reading = self.probe.lock().unwrap().unwrap();
        let ours = self.model.used(HOST) - (kv - allocated);
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

    fn admit(&mut self, at: usize, (prompt, max, min): (u32, u32, u32), priority: i8, wait: Option<u64>) {
        self.refresh();
        let request = Ask { priority, ..ask(prompt, max, min) };
        let seat = self.sessions[at].seat.as_ref().unwrap();
        let kept = self.model.sessions[at].kept;
        let punctual = !self.model.late
            && !self.model.sessions.iter().any(|session| matches!(session.place, Place::Leaving(_)));
        let foreseen = self.guard.what_if(seat, &request).unwrap();
        let queued = self.guard.enqueue(seat, &request, Duration::from_millis(wait.unwrap_or(0))).unwrap();
        let full = self.model.line.len() >= QUEUE;
        let expected = self.model.admit(at, (prompt, max, min), priority);
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
                let arrival = self.arrivals;
                let waiter = Waiter { session: at, ask: (prompt, max, min), priority, arrival };
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
        self.agree(at, kept, &verdict, grant, expected, prompt);
    }

    fn agree(
        &mut self,
        at: usize,
        kept: u64,
        verdict: &Verdict,
        grant: Option<Grant>,
        expected: Expected,
        prompt: u32,
    ) {
        let Verdict { decision, granted_tokens: granted, fits_tokens: fits, position, .. } = *verdict;
        let evicted = (verdict.evict_sessions, verdict.evict_bytes);
        let retry = verdict.retry_after.is_some();
        let reclaim =
            verdict.reason == Reason::Reclaim || (expected.reclaim && verdict.reason == Reason::QueueFull);
        let seen = Expected { decision, granted, fits, retry, evicted, reclaim, position };
        assert_eq!(seen, expected, "{verdict:?}");
        let known = Model::reason(&expected).filter(|_| verdict.reason != Reason::QueueFull);
        assert!(known.is_none_or(|reason| reason == verdict.reason), "{verdict:?}");
        assert_eq!(grant.is_some(), decision != Decision::Reject);
        if let Some(grant) = &grant {
            let (kv, host) = price(prompt, granted);
            assert_eq!((grant.kv.bytes(), grant.host.bytes()), (kv.saturating_sub(kept), host));
        }
        if grant.is_some() {
            self.sessions[at].grant = grant;
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
        let (looks, kept) = (waiting.has_news() || over, self.model.sessions[session].kept);
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
            let first = before.iter().all(|other| region(other) != region(&waiter));
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
        self.agree(session, kept, &verdict, grant, expected, waiter.ask.0);
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
        let Session { region, .. } = self.model.sessions[at];
        match kept {
            Some(kept) => self.engines[region].finish(grant, kept),
            None => drop(grant),
        }
        self.model.end(at, kept, self.now);
    }

    fn load(&mut self, region: usize, workspace: bool, bytes: u64) {
        self.refresh();
        let owner = if workspace { Owner::Workspace(ModelId(1)) } else { Owner::Weights(ModelId(1)) };
        let lease = self.guard.lease(NAMES[region], owner, bytes);
        assert_eq!(lease.is_ok(), self.model.load(region, bytes), "{lease:?}");
        self.loads.extend(lease);
    }

    fn take(&mut self, step: Step) {
        let load = |at: usize, loads: &[Lease]| (!loads.is_empty()).then(|| at % loads.len());
        match step {
            Step::Open { region, limit } => {
                let seat = self.guard.open_session(self.engines[region].clone(), Some(limit)).unwrap();
                self.sessions.push(Real { seat: Some(seat), grant: None });
                self.model.open(region, limit, self.now);
            }
            Step::Close(at) => {
                if let Some(at) = self.pick(at) {
                    self.close(at);
                }
            }
            Step::Admit { session, ask, priority, wait } => {
                if let Some(at) = self.pick(session) {
                    self.admit(at, ask, priority, wait);
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
            Step::Trim { load: at, by } => {
                if let Some(at) = load(at, &self.loads) {
                    let left = self.loads[at].bytes().saturating_sub(by);
                    self.loads[at].shrink_to(left);
                    self.model.loads[at].1 = left;
                }
            }
            Step::Unload(at) => {
                if let Some(at) = load(at, &self.loads) {
                    drop(self.loads.remove(at));
                    self.model.loads.remove(at);
                }
            }
            Step::Late(late) => {
                let answers = if late { Answers::Later } else { Answers::AtOnce };
                self.engines.iter().for_each(|engine| engine.answer(answers));
                self.model.late = late;
            }
            Step::CatchUp => self.catch_up(),
            Step::Lazy(lazy) => self.lazy = lazy,
            Step::Machine { capacity, foreign } => {
                // What is ours counts as of now, and may have changed when the guard looks.
                let used = (foreign + self.model.used(HOST)).min(capacity);
                *self.probe.lock().unwrap() = Some(Reading { capacity, used });
            }
            Step::Wait(millis) => {
                self.clock.advance(Duration::from_millis(millis));
                self.now += millis;
            }
            Step::Sweep => self.sweep(),
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
        self.engines.iter().for_each(|engine| engine.catch_up());
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
        self.refresh();
        self.guard.check_integrity().unwrap();
        let stats = self.guard.stats();
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
        let loads: u64 = self.loads.iter().map(Lease::bytes).sum();
        assert_eq!(stats.total_kv_bytes, all_kv);
        assert!(all_kv <= KV_LIMIT);
        assert_eq!(stats.weights_bytes + stats.workspace_bytes, loads);
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
        self.loads.clear();
        self.model.loads.clear();
        self.compare();
        assert_eq!([0, 1, 2].map(|region| self.model.used(region)), [0; REGIONS]);
        assert!(self.guard.stats().ledger.is_empty());
    }
}

proptest! {
    // The environment's PROPTEST_CASES, where it is set, says how many (`make model` runs many).
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_guard_does_what_the_model_does(steps in prop::collection::vec(step(), 1..100)) {
        let mut machine = Machine::new();
        for step in steps {
            machine.take(step);
        }
        machine.finish();
    }
}
