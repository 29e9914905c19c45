//! Requests as the suite makes them: a session, its turns, their answers.

use crate::Subject;
use crate::subject::POLL;
use plimsoll::guard::{Ask, BusyMark, Decision, Seat};
use plimsoll_engine::{
    Cancel, EngineError, Estimate, Finish, FinishReason, Job, Next, Request, Ring, Sampling, Shape,
    TokenEvent, TopLogprob,
};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a turn differs from a greedy one that keeps its KV.
#[derive(Clone, Default)]
pub(crate) struct Manner {
    /// Nothing is kept.
    pub(crate) forget: bool,
    /// Deadline, on the subject's clock.
    pub(crate) deadline: Option<Duration>,
    /// Alternatives per token.
    pub(crate) top_logprobs: u32,
    /// Ids that end the text.
    pub(crate) stop_tokens: Vec<u32>,
}

/// A session, with the tokens that the engine may hold KV of.
pub(crate) struct Talk<'s> {
    subject: &'s Subject,
    pub(crate) seat: Seat,
    history: Vec<u32>,
}

/// A request that was granted.
pub(crate) struct Turn {
    pub(crate) ring: Arc<Ring>,
    pub(crate) cancel: Cancel,
    pub(crate) price: Estimate,
    granted: u32,
    prompt: Vec<u32>,
    read: Vec<TokenEvent>,
    tops: Vec<Vec<TopLogprob>>,
    patience: Duration,
    // Dropped once the end was read, or with the turn.
    busy: Option<BusyMark>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<u32>,
    pub(crate) events: Vec<TokenEvent>,
    pub(crate) tops: Vec<Vec<TopLogprob>>,
    pub(crate) finish: Finish,
}

impl<'s> Talk<'s> {
    /// Opens a session.
    pub(crate) fn open(subject: &'s Subject) -> Result<Self, String> {
        let seat = subject.guard.open_session(Arc::clone(&subject.engine), None);
        Ok(Talk { subject, seat: seat.map_err(|error| error.to_string())?, history: Vec::new() })
    }

    /// Prices a request, has it granted and makes the job.
    pub(crate) fn job(
        &self,
        prompt: &[u32],
        max_tokens: u32,
        manner: &Manner,
    ) -> Result<(Job, Turn), String> {
        let sampling = Sampling { top_logprobs: manner.top_logprobs, ..Sampling::default() };
        let prompt_tokens = u32::try_from(prompt.len()).map_err(|error| error.to_string())?;
        let shape = Shape { prompt_tokens, max_tokens, top_logprobs: manner.top_logprobs, penalties: false };
        let price = self.subject.engine.estimate(&shape).map_err(|error| error.to_string())?;
        let admitted = self.subject.guard.admit(
            &self.seat,
            &Ask { shape, answers: 1, min_tokens: max_tokens, degradable: true, priority: 0 },
        );
        let (verdict, grant) = admitted.map_err(|error| error.to_string())?;
        let grant = grant.filter(|_| verdict.decision == Decision::Accept);
        let grant = grant.ok_or_else(|| format!("the subject has no room for the suite: {verdict}"))?;
        let (id, granted) = (grant.request, grant.granted_tokens);
        let (kv, mut host, busy) = grant.into_parts();
        let paid = host.split(price.ring_bytes).map_err(|error| error.to_string())?;
        let ring = Ring::new(max_tokens, manner.top_logprobs, paid).map_err(|error| error.to_string())?;
        let ring = Arc::new(ring);
        let cancel = Cancel::new();
        let same = |(a, b): &(&u32, &u32)| a == b;
        let request = Request {
            id,
            session: self.seat.key(),
            tokens: prompt.to_vec(),
            shared_prefix: prompt.iter().zip(&self.history).take_while(same).count(),
            max_tokens: granted,
            sampling,
            stop_tokens: manner.stop_tokens.as_slice().into(),
            deadline: manner.deadline,
            keep_kv: !manner.forget,
            beside: None,
        };
        let turn = Turn {
            ring: Arc::clone(&ring),
            cancel: cancel.clone(),
            price,
            granted,
            prompt: prompt.to_vec(),
            read: Vec::new(),
            tops: Vec::new(),
            patience: self.subject.patience,
            busy: Some(busy),
        };
        Ok((Job { request, kv, host, ring, cancel }, turn))
    }

    /// Submits a request, again while the queue is full: a job waits in it for a moment even where a lane is free.
    pub(crate) fn start(&mut self, prompt: &[u32], max_tokens: u32, manner: &Manner) -> Result<Turn, String> {
        let (mut job, turn) = self.job(prompt, max_tokens, manner)?;
        let start = Instant::now();
        loop {
            match self.subject.engine.submit(job) {
                Ok(()) => return Ok(turn),
                Err(rejected) => {
                    let full = matches!(rejected.error, EngineError::QueueFull { .. });
                    if !full || start.elapsed() > self.subject.patience {
                        return Err(rejected.error.to_string());
                    }
                    job = rejected.job;
                    std::thread::sleep(POLL);
                }
            }
        }
    }

    /// Waits for the end of a turn and takes note of its text.
    pub(crate) fn finish(&mut self, turn: Turn) -> Result<Answer, String> {
        let prompt = turn.prompt.clone();
        let answer = turn.finish()?;
        self.history = prompt;
        self.history.extend(&answer.tokens);
        Ok(answer)
    }

    /// A whole turn.
    pub(crate) fn say(&mut self, prompt: &[u32], max_tokens: u32, manner: &Manner) -> Result<Answer, String> {
        let turn = self.start(prompt, max_tokens, manner)?;
        self.finish(turn)
    }
}

impl Turn {
    /// Waits for one token; whether one came before the end.
    pub(crate) fn token(&mut self) -> Result<bool, String> {
        let mut tops = Vec::new();
        match self.ring.next(Some(self.patience), &mut tops) {
            Next::Token(event) => {
                self.read.push(event);
                self.tops.push(tops);
                Ok(true)
            }
            Next::Finished(_) => Ok(false),
            Next::TimedOut => Err("neither a token nor an end comes".to_owned()),
        }
    }

    /// Whether the request certainly has not ended by itself yet: it has tokens to come. Reads those that are there.
    pub(crate) fn has_more(&mut self) -> bool {
        let mut tops = Vec::new();
        while let Next::Token(event) = self.ring.next(Some(Duration::ZERO), &mut tops) {
            self.read.push(event);
            self.tops.push(std::mem::take(&mut tops));
        }
        self.read.len() < self.granted as usize
    }

    /// Waits for the end. Whatever it is, what every end promises is checked here.
    pub(crate) fn finish(mut self) -> Result<Answer, String> {
        while self.token()? {
            if self.read.len() > self.granted as usize {
                return Err(format!("more than the {} granted tokens came", self.granted));
            }
        }
        let end = || match self.ring.next(Some(Duration::ZERO), &mut Vec::new()) {
            Next::Finished(finish) => Ok(finish),
            other => Err(format!("after the end comes {other:?}")),
        };
        let finish = end()?;
        if end()? != finish {
            return Err("the end is told in two ways".to_owned());
        }
        let tokens: Vec<u32> = self.read.iter().map(|event| event.id).collect();
        if finish.kv_tokens > self.prompt.len() + tokens.len() || finish.cached_tokens >= self.prompt.len() {
            return Err(format!("{finish:?} for {} and {} tokens", self.prompt.len(), tokens.len()));
        }
        if finish.reason == FinishReason::Length && tokens.len() != self.granted as usize {
            return Err(format!("{} of {} tokens, ended by length", tokens.len(), self.granted));
        }
        self.busy = None;
        Ok(Answer { tokens, events: self.read, tops: self.tops, finish })
    }
}

/// The failure of a request that must fail.
pub(crate) fn failure(answer: &Answer) -> Result<&EngineError, String> {
    match &answer.finish.reason {
        FinishReason::Failed(error) => Ok(error),
        other => Err(format!("it ends as {other:?}, not failed")),
    }
}
