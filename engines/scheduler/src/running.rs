//! A request that has a lane.

use crate::queue::Waiting;
use crate::{Lane, StepExecutor};
use plimsoll_engine::{EngineError, Finish, FinishReason, SessionKey};
use std::time::Duration;

/// The scheduler's side of a lane; the executor's is [`Lane`].
pub(crate) struct Running {
    /// The job. Its prompt went into the lane, its KV lease into the blocks.
    pub(crate) job: Waiting,
    prompt_tokens: usize,
    cached_tokens: usize,
    started: Option<Duration>,
    first: Option<Duration>,
    last: Duration,
    /// Its prompt's place among those of others; smaller is sooner.
    turn: u64,
    /// Tokens of its prompt that were fed in this turn.
    in_turn: usize,
    /// Tokens of its prompt that were fed.
    worked: usize,
    /// The turn that it came with.
    came: u64,
    /// The next newcomer's turn when it got its second token.
    steady: Option<u64>,
    /// Whether it waits for another's prompt, which is its own.
    pub(crate) heir: bool,
    /// Blocks of it that it has.
    pub(crate) inherited: usize,
    /// Whether it sits out steps because others wait for its prompt.
    pub(crate) gives: bool,
    /// Tokens fed in the step under way; 0 sits it out.
    pub(crate) fed: usize,
    /// Set when that step failed for this lane.
    pub(crate) failure: Option<EngineError>,
}

impl Running {
    pub(crate) fn new(job: Waiting, prompt_tokens: usize, cached_tokens: usize, turn: u64) -> Running {
        let heir = job.request.beside.is_some() && cached_tokens == 0;
        Running {
            job,
            prompt_tokens,
            cached_tokens,
            started: None,
            first: None,
            last: Duration::ZERO,
            turn,
            in_turn: 0,
            worked: 0,
            came: turn,
            steady: None,
            heir,
            inherited: 0,
            gives: false,
            fed: 0,
            failure: None,
        }
    }

    /// Feeds `feed` of the lane's tokens in the coming step, which starts at `now`.
    pub(crate) fn feed<E: StepExecutor>(&mut self, lane: &mut Lane<E>, feed: usize, now: Duration) {
        lane.feed = feed;
        lane.sample =
            feed > 0 && lane.position + feed == lane.tokens.len() && self.job.request.max_tokens > 0;
        self.fed = feed;
        if feed > 0 {
            self.started.get_or_insert(now);
        }
    }

    /// Takes in what the step did for this lane; why the request ends, if it does.
    pub(crate) fn settle<E: StepExecutor>(
        &mut self,
        lane: &mut Lane<E>,
        now: Duration,
    ) -> Option<FinishReason> {
        let fed = std::mem::take(&mut self.fed);
        if fed == 0 {
            return None;
        }
        if let Some(error) = self.failure.take() {
            return Some(FinishReason::Failed(error));
        }
        lane.position += fed;
        if !lane.sample {
            // Only a request for no tokens at all reaches its end without a sample.
            return (lane.position == lane.tokens.len()).then_some(FinishReason::Length);
        }
        self.first.get_or_insert(now);
        self.last = now;
        let token = lane.sampled;
        if self.job.request.stop_tokens.contains(&token.id) {
            return Some(FinishReason::EndOfText);
        }
        if !self.job.ring().push(token, &lane.tops) {
            let error = "the ring has no room for a granted token".to_owned();
            return Some(FinishReason::Failed(EngineError::Execution(error)));
        }
        lane.tokens.push(token.id);
        let generated = lane.tokens.len() - self.prompt_tokens;
        (generated >= self.job.request.max_tokens as usize).then_some(FinishReason::Length)
    }

    /// Whether its prompt is fed.
    pub(crate) fn prefills(&self) -> bool {
        !self.decodes() && !self.heir
    }

    /// The session for whose prompt it waits.
    pub(crate) fn waits_for(&self) -> Option<SessionKey> {
        self.job.request.beside.filter(|_| self.heir)
    }

    /// Whether it waits for its next token, no longer for its first.
    pub(crate) fn decodes(&self) -> bool {
        self.first.is_some()
    }

    /// Its prompt's place among those of others: the smallest is fed first.
    pub(crate) fn turn(&self) -> u64 {
        self.turn
    }

    /// Whether its tokens should not wait for this prompt, or no longer than for a newcomer's. They may where the two came
    /// together, before either had two tokens, and the prompt was given less than its own.
    pub(crate) fn has_claim(&self, prompt: &Running) -> bool {
        let came_later = self.steady.is_some_and(|steady| prompt.came >= steady);
        self.decodes() && (came_later || prompt.worked >= self.worked)
    }

    /// Counts what the step fed of its prompt. Where that makes so many tokens in this turn, the turn is over and it takes
    /// the next one.
    pub(crate) fn pass(&mut self, most: usize, next: &mut u64) {
        if self.decodes() {
            self.steady.get_or_insert(*next);
            return;
        }
        self.worked += self.fed;
        self.in_turn += self.fed;
        if self.in_turn >= most {
            self.in_turn = 0;
            self.turn = *next;
            *next += 1;
        }
    }

    /// Tokens of its prompt.
    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// Prompt and granted tokens together.
    pub(crate) fn total_tokens(&self) -> usize {
        self.prompt_tokens + self.job.request.max_tokens as usize
    }

    /// Time from the first step until `now`; `None` before it.
    pub(crate) fn service(&self, now: Duration) -> Option<Duration> {
        self.started.map(|started| now.saturating_sub(started))
    }

    /// Gives back the request's leases, then tells the end.
    pub(crate) fn finish(self, reason: FinishReason, kv_tokens: usize, now: Duration) {
        let started = self.started.unwrap_or(now);
        let finish = Finish {
            reason,
            cached_tokens: self.cached_tokens,
            kv_tokens,
            queued: started.saturating_sub(self.job.submitted),
            prefill: self.first.unwrap_or(now).saturating_sub(started),
            decode: self.first.map_or(Duration::ZERO, |first| self.last.saturating_sub(first)),
        };
        self.job.finish(finish);
    }
}
