//! Requests as the library makes them: a session, a grant, a job, and what comes of it.

use super::Host;
use super::scripted::{self, Counts, Script};
use plimsoll::guard::{Ask, BusyMark, Seat, Verdict};
use plimsoll_engine::{
    Cancel, Engine, EngineError, Finish, FinishReason, Job, Next, Request, RequestId, Ring, Sampling,
    SessionKey, Shape,
};
use plimsoll_plugin::PluginEngine;
use plimsoll_plugin::abi::plimsoll_engine_table;
use std::sync::Arc;
use std::time::Duration;

/// A scripted plug-in under a guard.
pub struct Rig {
    pub host: Host,
    pub engine: Arc<PluginEngine>,
    pub counts: Arc<Counts>,
}

/// A request that was submitted.
pub struct Turn {
    pub id: u64,
    pub ring: Arc<Ring>,
    pub cancel: Cancel,
    _busy: Arc<BusyMark>,
}

impl Rig {
    pub fn new(script: Script) -> Rig {
        Rig::on(Host::new(1 << 20), &scripted::table(), script)
    }

    pub fn on(host: Host, table: &plimsoll_engine_table, script: Script) -> Rig {
        let counts = Arc::clone(&script.counts);
        // SAFETY: the table's slots take the script's pointer, and its drop takes it back.
        let engine = unsafe { host.attach(table, script.into_user_data(), Some(scripted::drop)) }.unwrap();
        Rig { host, engine, counts }
    }

    pub fn open(&self) -> Seat {
        let engine: Arc<dyn Engine> = Arc::<PluginEngine>::clone(&self.engine);
        self.host.guard.open_session(engine, None).unwrap()
    }

    /// Asks the guard; the verdict when it refuses.
    pub fn try_start(&self, seat: &Seat, prompt: usize, max_tokens: u32) -> Result<Turn, Box<Verdict>> {
        self.try_answers(seat, prompt, max_tokens, 1).map(|mut turns| turns.remove(0))
    }

    /// The same for several answers.
    pub fn try_answers(
        &self,
        seat: &Seat,
        prompt: usize,
        max_tokens: u32,
        answers: u32,
    ) -> Result<Vec<Turn>, Box<Verdict>> {
        let submit = |(job, turn)| {
            self.engine.submit(job).unwrap();
            turn
        };
        Ok(self.try_jobs(seat, prompt, max_tokens, answers)?.into_iter().map(submit).collect())
    }

    /// The same, not yet submitted.
    pub fn try_jobs(
        &self,
        seat: &Seat,
        prompt: usize,
        max_tokens: u32,
        answers: u32,
    ) -> Result<Vec<(Job, Turn)>, Box<Verdict>> {
        let prompt_tokens = u32::try_from(prompt).unwrap();
        let shape = Shape { prompt_tokens, max_tokens, top_logprobs: 0, penalties: false };
        let (verdict, grant) = self
            .host
            .guard
            .admit(seat, &Ask { shape, answers, min_tokens: max_tokens, degradable: true, priority: 0 })
            .unwrap();
        let Some(grant) = grant else { return Err(Box::new(verdict)) };
        let (id, branches) = (grant.request, grant.branches);
        let (mut kv, mut host, busy) = grant.into_parts();
        let (busy, times) = (Arc::new(busy), u64::from(answers));
        let (kv_share, host_share) = (verdict.kv_bytes / times, host.bytes() / times);
        let kv_first = kv.bytes() - (times - 1) * kv_share;
        let job = |answer| {
            let id = RequestId(id.0 + answer);
            let mut host = host.split(host_share).unwrap();
            let kv = kv.split(if answer == 0 { kv_first } else { kv_share }).unwrap();
            let paid = host.split(Ring::bytes(max_tokens, 0).unwrap()).unwrap();
            let ring = Arc::new(Ring::new(max_tokens, 0, paid).unwrap());
            let cancel = Cancel::new();
            let request = Request {
                id,
                session: if answer == 0 { seat.key() } else { SessionKey(branches.0 + answer - 1) },
                tokens: vec![3; prompt],
                shared_prefix: 0,
                max_tokens,
                sampling: Sampling::default(),
                stop_tokens: Arc::new([]),
                deadline: None,
                keep_kv: answer == 0,
                beside: (answer > 0).then(|| seat.key()),
            };
            let turn = Turn { id: id.0, ring: ring.clone(), cancel: cancel.clone(), _busy: busy.clone() };
            (Job { request, kv, host, ring, cancel }, turn)
        };
        Ok((0..times).map(job).collect())
    }

    pub fn start(&self, seat: &Seat, prompt: usize, max_tokens: u32) -> Turn {
        self.try_start(seat, prompt, max_tokens).unwrap()
    }

    /// A request that must run well, on a session of its own.
    pub fn works(&self) {
        let seat = self.open();
        let (tokens, finish) = self.start(&seat, 3, 4).wait();
        assert_eq!((tokens, finish.reason), (4, FinishReason::Length));
    }

    /// Drops the engine; then nothing may be booked, and the plug-in has been freed and dropped once.
    pub fn close(self) {
        let Rig { host, engine, counts } = self;
        std::mem::drop(engine);
        assert_eq!(host.booked(), 0);
        assert_eq!(counts.get(), (1, 1));
    }
}

impl Turn {
    /// How many tokens came, and the end.
    pub fn wait(self) -> (usize, Finish) {
        let mut tokens = 0;
        loop {
            match self.ring.next(Some(Duration::from_secs(20)), &mut Vec::new()) {
                Next::Token(_) => tokens += 1,
                Next::Finished(finish) => return (tokens, finish),
                Next::TimedOut => panic!("no end comes"),
            }
        }
    }

    /// The text of the failure with which it must end.
    pub fn failure(self) -> String {
        match self.wait().1.reason {
            FinishReason::Failed(EngineError::Execution(text) | EngineError::Invalid(text)) => text,
            FinishReason::Failed(other) => other.to_string(),
            other => panic!("it ends as {other:?}, not failed"),
        }
    }
}
