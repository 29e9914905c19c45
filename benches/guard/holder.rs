//! An engine that prices like the scheduler, keeps the KV leases of sessions, and gives them back at once: what is timed
//! is the guard.

use crossbeam_channel::Sender;
use plimsoll::guard::{
    Ask, Enrolment, Footprint, Grant, GuardConfig, Levels, MemoryGuard, Seat, SystemProbe, Unload,
};
use plimsoll_conformance::scripted::{ScriptedConfig, ScriptedEngine};
use plimsoll_engine::{
    Capabilities, Engine, EngineError, Estimate, Holdings, Job, Lease, ModelId, Owner, Region, Rejected,
    SessionKey, Shape, SystemClock,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

pub(crate) const BLOCK_TOKENS: u32 = 16;
const BLOCK_BYTES: u64 = 4_096;
const CONTEXT: usize = 8_192;
const WEIGHTS: u64 = 1 << 16;
const WORKSPACE: u64 = 4 * CONTEXT as u64;

/// Prices come from the scripted engine; the leases are its own.
pub(crate) struct Holder {
    scripted: Arc<ScriptedEngine>,
    kept: Mutex<HashMap<SessionKey, Lease>>,
}

impl Holder {
    /// Ends a request whose session keeps all of its KV.
    pub(crate) fn finish(&self, grant: Grant) {
        let (kv, host, busy) = grant.into_parts();
        let Owner::Kv(session) = kv.owner() else { unreachable!("{kv:?}") };
        let mut kept = self.kept.lock().unwrap();
        match kept.get_mut(&session) {
            Some(held) => held.absorb(kv).unwrap(),
            None => drop(kept.insert(session, kv)),
        }
        drop(kept);
        drop((host, busy));
    }
}

impl Engine for Holder {
    fn capabilities(&self) -> &Capabilities {
        self.scripted.capabilities()
    }

    fn estimate(&self, shape: &Shape) -> Result<Estimate, EngineError> {
        self.scripted.estimate(shape)
    }

    fn submit(&self, job: Job) -> Result<(), Box<Rejected>> {
        self.scripted.submit(job)
    }

    fn reclaim(&self, session: SessionKey, freed: Sender<u64>) {
        let lease = self.kept.lock().unwrap().remove(&session);
        let bytes = lease.as_ref().map_or(0, Lease::bytes);
        drop(lease);
        // Nobody waits when a session is closed.
        let _ = freed.send(bytes);
    }

    fn holdings(&self) -> Holdings {
        self.scripted.holdings()
    }
}

pub(crate) struct World {
    pub(crate) guard: Arc<MemoryGuard>,
    pub(crate) engine: Arc<Holder>,
    _models: [(Vec<Lease>, Enrolment); 2],
}

/// Has no model to unload.
struct Nobody;

impl Unload for Nobody {
    fn unload(&self) {}
}

impl World {
    /// A guard with more room than anyone asks for.
    pub(crate) fn roomy() -> Self {
        Self::with(Some(1 << 40), Some(Levels::default()))
    }

    /// A guard in which this much may be leased beside what the engine took when it was loaded. It is meant to be full, so
    /// nobody is degraded for that.
    pub(crate) fn of(bytes: u64) -> Self {
        Self::with(Some(3 * (WEIGHTS + WORKSPACE) + bytes), None)
    }

    /// A guard that reads the machine's memory and control groups.
    pub(crate) fn on_the_machine() -> Self {
        Self::with(None, Some(Levels::default()))
    }

    fn with(budget: Option<u64>, pressure: Option<Levels>) -> Self {
        let settings = GuardConfig {
            budget,
            pressure,
            threshold: 1.0,
            reserve: Some(0),
            session_limit: u64::MAX,
            kv_limit: u64::MAX,
            ..GuardConfig::default()
        };
        let clock = Arc::new(SystemClock::default());
        let guard = MemoryGuard::new(settings, Arc::new(SystemProbe::default()), clock.clone()).unwrap();
        let mut script = ScriptedConfig {
            weights_bytes: WEIGHTS,
            workspace_bytes: WORKSPACE,
            ..ScriptedConfig::default()
        };
        script.limits.block_bytes = BLOCK_BYTES;
        script.limits.context_length = CONTEXT;
        let scripted = ScriptedEngine::load(&guard, ModelId(1), &script, clock).unwrap();
        let engine = Arc::new(Holder { scripted, kept: Mutex::default() });
        let dynamic: Arc<dyn Engine> = engine.clone();
        let enrol = |id| {
            let parts =
                [(Owner::Weights(id), WEIGHTS), (Owner::Workspace(id), WORKSPACE), (Owner::Tables(id), 0)];
            let footprint = Footprint { region: Region::Host, parts };
            let nobody: Weak<Nobody> = Weak::new();
            let enrolment = guard.enrol(id, footprint, true).unwrap();
            let mut loading = enrolment.book(None, &mut guard.set_aside(None)).unwrap().unwrap();
            enrolment.attach(&dynamic, nobody).unwrap();
            let leases = loading.take().unwrap().into();
            loading.done();
            (leases, enrolment)
        };
        // The sessions' own and another: decisions look through both.
        let _models = [enrol(ModelId(2)), enrol(ModelId(3))];
        World { guard, engine, _models }
    }

    pub(crate) fn seat(&self) -> Seat {
        self.guard.open_session(self.engine.clone(), None).unwrap()
    }

    /// Sessions that hold KV of so many tokens each.
    pub(crate) fn holding(&self, sessions: usize, tokens: u32) -> Vec<Seat> {
        let seats: Vec<_> = (0..sessions).map(|_| self.seat()).collect();
        seats.iter().for_each(|seat| self.keep(seat, tokens));
        seats
    }

    /// A session takes KV of so many tokens, and keeps it.
    pub(crate) fn keep(&self, seat: &Seat, tokens: u32) {
        let shape = Shape { prompt_tokens: tokens, max_tokens: 0, top_logprobs: 0, penalties: false };
        let (_, grant) = self
            .guard
            .admit(seat, &Ask { shape, answers: 1, min_tokens: 0, degradable: true, priority: 0 })
            .unwrap();
        self.engine.finish(grant.unwrap());
    }

    /// A request of a session that needs no new KV; while it runs the session is not evicted.
    pub(crate) fn run(&self, seat: &Seat) -> Grant {
        let shape = Shape { prompt_tokens: 1, max_tokens: 0, top_logprobs: 0, penalties: false };
        self.guard
            .admit(seat, &Ask { shape, answers: 1, min_tokens: 0, degradable: true, priority: 0 })
            .unwrap()
            .1
            .unwrap()
    }

    /// KV of so many sessions of so many tokens, and their requests' own bytes while they run.
    pub(crate) fn held_bytes(&self, sessions: usize, tokens: u32) -> u64 {
        let blocks = u64::from(tokens.div_ceil(BLOCK_TOKENS));
        sessions as u64 * (blocks * BLOCK_BYTES + self.request_bytes(1))
    }

    /// A request's own bytes, for a prompt of so many tokens without an answer.
    pub(crate) fn request_bytes(&self, tokens: u32) -> u64 {
        let shape = Shape { prompt_tokens: tokens, max_tokens: 0, top_logprobs: 0, penalties: false };
        self.engine.estimate(&shape).unwrap().request_bytes
    }
}
