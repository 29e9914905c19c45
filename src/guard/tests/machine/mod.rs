//! The guard against a plain model, over random steps: sessions in three regions with limits of their own, requests,
//! tickets that are thrown away, leases, engines that answer late, limits that fall and readings that are old. The model is
//! told nothing of what was decided; after every step both must agree in every number.

mod model;

use super::engine::{CONTEXT, price};
use super::*;
use model::{Expected, HOST, Model, Place, REGIONS, Session};
use plimsoll_engine::Lease;
use proptest::prelude::*;

/// The machine's memory at first, and what the devices have.
const LIMITS: [u64; REGIONS] = [1_500, 900, 700];
const NAMES: [Region; REGIONS] = [Region::Host, Region::Device(0), Region::Device(1)];
const KV_LIMIT: u64 = 1_400;
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
        prompt: u32,
        max: u32,
        min: u32,
    },
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
        10 => (some.clone(), 1..CONTEXT + 3, 0..CONTEXT + 3, 0..9_u32)
            .prop_map(|(session, prompt, max, min)| Step::Admit { session, prompt, max, min }),
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

struct Machine {
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
        Machine { guard, clock, probe, engines, sessions, loads, model, now, taken, lazy, last }
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

    fn admit(&mut self, at: usize, prompt: u32, max: u32, min: u32) {
        self.refresh();
        let request = ask(prompt, max, min);
        let seat = self.sessions[at].seat.as_ref().unwrap();
        let kept = self.model.sessions[at].kept;
        let punctual = !self.model.late
            && !self.model.sessions.iter().any(|session| matches!(session.place, Place::Leaving(_)));
        let foreseen = self.guard.what_if(seat, &request).unwrap();
        let (verdict, grant) = self.guard.admit(seat, &request).unwrap();
        if punctual {
            assert_eq!(verdict, foreseen, "what-if and admit agree");
        }
        let expected = self.model.admit(at, prompt, max, min);
        let Verdict { decision, granted_tokens: granted, fits_tokens: fits, .. } = verdict;
        let evicted = (verdict.evict_sessions, verdict.evict_bytes);
        let retry = verdict.retry_after.is_some();
        let reclaim = verdict.reason == Reason::Reclaim;
        assert_eq!(Expected { decision, granted, fits, retry, evicted, reclaim }, expected, "{verdict:?}");
        assert!(Model::reason(&expected).is_none_or(|reason| reason == verdict.reason), "{verdict:?}");
        assert_eq!(grant.is_some(), decision != Decision::Reject);
        if let Some(grant) = &grant {
            let (kv, host) = price(prompt, granted);
            assert_eq!((grant.kv.bytes(), grant.host.bytes()), (kv.saturating_sub(kept), host));
        }
        if grant.is_some() {
            self.sessions[at].grant = grant;
        }
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
                    drop(self.sessions[at].seat.take());
                    self.model.close(at);
                }
            }
            Step::Admit { session, prompt, max, min } => {
                if let Some(at) = self.pick(session) {
                    self.admit(at, prompt, max, min);
                }
            }
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
            drop(self.sessions[at].seat.take());
            self.model.close(at);
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
