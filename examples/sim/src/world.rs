//! The world of a run: the product's runtime over an engine that is stepped, and the requests that run in it.

use crate::engine::{Parts, Stepped};
use crate::executor::{Cost, END, SimExecutor};
use crate::journal::{Ask, Event, Journal, how};
use crate::machine::Machine;
use crate::setup::Setup;
use crate::{Broken, Fault};
use plimsoll::guard::{AlertKind, MemoryGuard, MemoryStats};
use plimsoll::text::Tokenizer;
use plimsoll::{
    Cancel, Decision, ErrorCode, Input, Model, Outcome, Polled, Queued, Request, Runtime, Session, Stream,
    TextSide, Ticket, Verdict, Waiting,
};
use plimsoll_engine::{Clock, Holdings, Lease, ManualClock, ModelId, Owner, Region, Ring};
use plimsoll_scheduler::StepExecutor;
use std::sync::Arc;
use std::time::Duration;

/// Two words, of which the first ends answers: text is nothing that memory depends on.
const TOKENIZER: &str = r#"{"version": "1.0", "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
    "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "vocab": {".": 0, "a": 1}, "unk_token": "a"}}"#;
/// Ids are below this.
const VOCABULARY: u32 = 2;
/// The id of prompts.
const WORD: u32 = 1;
/// The runtime's first model.
const MODEL: ModelId = ModelId(1);

/// A request that waits for a lane or runs.
struct Running {
    serial: u64,
    talk: u32,
    stream: Stream,
    ring: Arc<Ring>,
    cancel: Cancel,
    request_bytes: u64,
}

/// All requests that run. Dropped, it ends them: a stream that is dropped waits for a step, which nobody else would run.
struct Flying<E: StepExecutor> {
    engine: Arc<Stepped<E>>,
    requests: Vec<Running>,
}

impl<E: StepExecutor> Drop for Flying<E> {
    fn drop(&mut self) {
        self.requests.iter().for_each(|request| request.cancel.cancel());
        while self.engine.step() {}
    }
}

/// What came of asking.
#[derive(Debug)]
pub enum Asked {
    /// It waits for a lane or runs, under this number; numbers count up.
    Runs(u64, Verdict),
    /// The guard refused it.
    Refused(Verdict),
    /// It waits for bytes; the verdict is the refusal that it would have been.
    Waits(Waiting, Verdict),
    /// It was granted, and the scheduler's queue was full.
    QueueFull(Duration),
    /// The conversation does not fit in the context.
    TooLong,
}

/// A request that has ended.
#[derive(Debug)]
pub struct Ended {
    /// Its number.
    pub serial: u64,
    /// Its conversation.
    pub talk: u32,
    /// How it ended.
    pub outcome: Outcome,
}

/// The product's runtime, one model in it, and what runs.
pub struct World<E: StepExecutor> {
    runtime: Runtime,
    model: Model,
    engine: Arc<Stepped<E>>,
    machine: Arc<Machine>,
    clock: Arc<dyn Clock>,
    running: Flying<E>,
    next: u64,
    /// What happened.
    pub journal: Journal,
}

impl World<SimExecutor> {
    /// A world in which time is what steps cost. `clock` moves by them.
    ///
    /// # Errors
    /// The setup makes no sense.
    pub fn simulated(
        setup: &Setup,
        cost: Cost,
        clock: &Arc<ManualClock>,
        machine: &Arc<Machine>,
        fault: Option<Fault>,
    ) -> Result<Self, Broken> {
        let (probe, time) = (Arc::clone(machine), Arc::clone(clock));
        let runtime = Runtime::without_threads(&setup.config()?, probe, time)?;
        let executor = SimExecutor::new(setup.limits(), cost, Arc::clone(clock), Arc::clone(machine), fault);
        World::new(setup, runtime, executor, clock.clone(), machine, None, fault)
    }
}

impl<E: StepExecutor> World<E> {
    /// A world over an executor. What its allocators hold is what `held` says, or else what the machine counts.
    ///
    /// # Errors
    /// The guard has no room for the model.
    pub fn new(
        setup: &Setup,
        runtime: Runtime,
        executor: E,
        clock: Arc<dyn Clock>,
        machine: &Arc<Machine>,
        held: Option<Box<dyn Fn() -> Holdings + Send + Sync>>,
        fault: Option<Fault>,
    ) -> Result<Self, Broken> {
        let lease = |owner, bytes| -> Result<Lease, Broken> {
            runtime.guard().lease(Region::Host, owner, bytes).map_err(|refusal| Broken(refusal.to_string()))
        };
        let leases = vec![
            lease(Owner::Weights(MODEL), setup.weights)?,
            lease(Owner::Workspace(MODEL), setup.workspace)?,
        ];
        let counted = (Arc::clone(machine), setup.weights, setup.workspace);
        let holdings = held.unwrap_or_else(|| {
            let (machine, weights, workspace) = counted;
            Box::new(move || Holdings { weights, workspace, kv: machine.kv() })
        });
        let (workspace, queue) = (setup.workspace, setup.queue);
        let parts = Parts { vocab_size: VOCABULARY, workspace, queue, leases, holdings, fault };
        let engine = Stepped::new(executor, parts, Arc::clone(&clock))?;
        let tokenizer =
            Tokenizer::from_json(TOKENIZER.as_bytes()).map_err(|error| Broken(error.to_string()))?;
        let text = TextSide { tokenizer, template: None, stop_tokens: Arc::from([END]) };
        let model = runtime.model("sim", Arc::<Stepped<E>>::clone(&engine), text);
        let running = Flying { engine: Arc::clone(&engine), requests: Vec::new() };
        let machine = Arc::clone(machine);
        Ok(World { runtime, model, engine, machine, clock, running, next: 0, journal: Journal::new(false) })
    }

    /// A new session, for the conversation of this number.
    ///
    /// # Errors
    /// Those of the product, which there should be none of.
    pub fn open(&mut self, talk: u32) -> Result<Session, Broken> {
        let session = Session::open(&self.model, &plimsoll::Config::new())?;
        self.note(Event::Open { talk });
        Ok(session)
    }

    /// Closes a session.
    pub fn close(&mut self, talk: u32, session: Session) {
        drop(session);
        self.note(Event::Close { talk });
    }

    /// The request that an ask means.
    pub fn request(ask: &Ask) -> Request {
        let mut request = Request::default();
        request.set_input(Input::Tokens(vec![WORD; ask.new as usize]));
        (request.max_tokens, request.min_tokens) = (ask.max, ask.min);
        request.sampling.seed = (ask.answer > 0).then_some(u64::from(ask.answer));
        request.deadline = (ask.deadline > 0).then(|| Duration::from_nanos(ask.deadline));
        (request.wait, request.priority) = (Duration::from_nanos(ask.wait), ask.priority);
        request
    }

    /// Asks for a turn, and starts it where it is granted.
    ///
    /// # Errors
    /// What was granted did not start.
    pub fn ask(&mut self, talk: u32, session: &Session, ask: &Ask) -> Result<Asked, Broken> {
        let request = Self::request(ask);
        let decided = |decided| Event::Ask { talk, ask: *ask, decided };
        match session.enqueue(&request) {
            Ok(Queued::Decided(verdict, ticket)) => {
                self.note(decided(Some((&verdict).into())));
                self.start(talk, session, &request, verdict, ticket)
            }
            Ok(Queued::Waits(verdict, waiting)) => {
                self.note(decided(Some((&verdict).into())));
                Ok(Asked::Waits(waiting, verdict))
            }
            Err(error) if error.code() == ErrorCode::PromptTooLong => {
                self.note(decided(None));
                Ok(Asked::TooLong)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What became of a turn that waits, if there are news; it is started where it is granted.
    ///
    /// # Errors
    /// What was granted did not start.
    pub fn poll(&mut self, talk: u32, ask: &Ask, waiting: &mut Waiting) -> Result<Option<Asked>, Broken> {
        let Some((verdict, ticket)) = waiting.poll()? else { return Ok(None) };
        self.note(Event::Ask { talk, ask: *ask, decided: Some((&verdict).into()) });
        self.start(talk, waiting.session(), &Self::request(ask), verdict, ticket).map(Some)
    }

    fn start(
        &mut self,
        talk: u32,
        session: &Session,
        request: &Request,
        verdict: Verdict,
        ticket: Option<Ticket>,
    ) -> Result<Asked, Broken> {
        let Some(ticket) = ticket else { return Ok(Asked::Refused(verdict)) };
        if verdict.decision == Decision::Reject {
            return Err(Broken("a refused request has a ticket".into()));
        }
        let cancel = Cancel::new();
        let stream = match session.stream(request, Some(&ticket), &cancel) {
            Ok(stream) => stream,
            Err(error) => {
                return match (error.code(), error.numbers().retry_after) {
                    (ErrorCode::QueueFull, Some(retry)) => Ok(Asked::QueueFull(retry)),
                    _ => Err(error.into()),
                };
            }
        };
        let ring = self.engine.submitted().ok_or_else(|| Broken("nothing was submitted".into()))?;
        let (serial, request_bytes) = (self.next, verdict.request_bytes);
        self.next += 1;
        self.machine.count_request(request_bytes, true);
        self.running.requests.push(Running { serial, talk, stream, ring, cancel, request_bytes });
        Ok(Asked::Runs(serial, verdict))
    }

    /// Cancels the request of this number, if it has not ended.
    pub fn cancel(&mut self, serial: u64) {
        if let Some(running) = self.running.requests.iter().find(|running| running.serial == serial) {
            running.cancel.cancel();
            let talk = running.talk;
            self.note(Event::Cancel { talk });
        }
    }

    /// Cancels what runs for a conversation.
    pub fn cancel_talk(&mut self, talk: u32) {
        let serial =
            self.running.requests.iter().find(|running| running.talk == talk).map(|running| running.serial);
        if let Some(serial) = serial {
            self.cancel(serial);
        }
    }

    /// Runs a step.
    pub fn step(&mut self) {
        self.engine.step();
        self.note(Event::Step);
    }

    /// The next request that has ended, read to its end.
    ///
    /// # Errors
    /// It failed: what was admitted must not.
    pub fn ended(&mut self) -> Result<Option<Ended>, Broken> {
        let Some(at) = self.running.requests.iter().position(|running| running.ring.is_finished()) else {
            return Ok(None);
        };
        let Running { serial, talk, mut stream, request_bytes, .. } = self.running.requests.remove(at);
        let outcome = loop {
            match stream.next(Some(Duration::ZERO))? {
                Polled::Event(_) => {}
                Polled::Finished(outcome) => break outcome,
                Polled::TimedOut => return Err(Broken("a finished request has no end".into())),
            }
        };
        self.machine.count_request(request_bytes, false);
        let Outcome { ending, prompt_tokens, cached_tokens, generated_tokens, .. } = outcome;
        self.note(Event::End {
            talk,
            how: how(ending).into(),
            prompt: prompt_tokens,
            cached: cached_tokens,
            generated: generated_tokens,
        });
        Ok(Some(Ended { serial, talk, outcome }))
    }

    /// Has the monitor look at memory. Not part of recordings: what it reads is nothing that decisions follow from.
    pub fn tick(&self) {
        self.runtime.tick();
    }

    /// Whether the monitor saw a leak so far.
    ///
    /// # Errors
    /// It did.
    pub fn no_leak(&self) -> Result<(), Broken> {
        let monitor = self.guard().monitor();
        let leaks =
            monitor.alerts.iter().chain(&monitor.cleared).filter(|alert| alert.kind == AlertKind::Leak);
        let said: Vec<String> = leaks.map(ToString::to_string).collect();
        match monitor.raised[AlertKind::Leak as usize] {
            0 => Ok(()),
            _ => Err(Broken(format!("the monitor saw a leak: {}", said.join("; ")))),
        }
    }

    /// Looks for idle sessions and expired tickets.
    pub fn sweep(&mut self) -> u64 {
        let freed = self.runtime.sweep();
        self.note(Event::Sweep { freed });
        freed
    }

    /// Whether nothing waits or runs.
    pub fn is_idle(&self) -> bool {
        self.engine.is_idle()
    }

    /// Requests that were granted and have not been read to their end.
    pub fn in_flight(&self) -> usize {
        self.running.requests.len()
    }

    /// The guard.
    pub fn guard(&self) -> &Arc<MemoryGuard> {
        self.runtime.guard()
    }

    /// The engine.
    pub fn engine(&self) -> &Arc<Stepped<E>> {
        &self.engine
    }

    /// The machine.
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// The guard's figures.
    pub fn stats(&self) -> MemoryStats {
        self.runtime.memory()
    }

    /// The time.
    pub fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Proves the books; where nothing runs, also that the engine holds what is leased.
    ///
    /// # Errors
    /// They are wrong.
    pub fn check(&self) -> Result<(), Broken> {
        match self.is_idle() && self.running.requests.is_empty() {
            true => Ok(self.model.check_integrity()?),
            false => self.guard().check_integrity().map_err(|error| Broken(error.to_string())),
        }
    }

    /// Ends the world: closes the model and proves that every byte is back.
    ///
    /// # Errors
    /// Bytes are still leased.
    pub fn end(self) -> Result<MemoryStats, Broken> {
        let World { runtime, model, engine, running, .. } = self;
        drop(running);
        let before = runtime.memory();
        drop((model, engine));
        let stats = runtime.memory();
        if stats.host().used != 0 || !stats.ledger.is_empty() || stats.active_sessions != 0 {
            return Err(Broken(format!("bytes are still leased at the end: {:?}", stats.ledger)));
        }
        runtime.guard().check_integrity().map_err(|error| Broken(error.to_string()))?;
        Ok(before)
    }

    fn note(&mut self, event: Event) {
        let now = u64::try_from(self.clock.now().as_nanos()).unwrap_or(u64::MAX);
        self.journal.note(now, event);
    }
}
