//! A running request, read event by event.

use crate::answer::Writing;
use crate::conversation::{Answer, Prepared};
use crate::error::{Error, ErrorCode, Result};
use crate::guard::{BusyMark, Degraded, Grant, Recovery, Verdict};
use crate::launch::{Launched, launch};
use crate::outcome::{Ending, Outcome};
use crate::request::Request;
use crate::session::SessionInner;
use crate::turn::Turn;
use plimsoll_engine::{Bell, Cancel, EngineError, FinishReason, Next, TokenEvent, TopLogprob};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Something that happened in a running request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'a> {
    /// Which answer it is of: 0 for the first, which is the only one unless the request asks for more.
    pub answer: u32,
    /// Text that is now certain: whole characters, and no part of a stop string. Often empty for a token that ends inside
    /// a character.
    pub text: &'a str,
    /// The token that came; `None` for text that was held back and is released at the end.
    pub token: Option<TokenEvent>,
    /// The most likely tokens at this position, most likely first, when the request asked for them.
    pub tops: &'a [TopLogprob],
}

/// What [`Stream::next`] found.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one lives at a time, on its reader's stack")]
pub enum Polled<'a> {
    /// An event.
    Event(Event<'a>),
    /// The answer has ended, or all of several; the same again on every later call.
    Finished(Outcome),
    /// Nothing came in time.
    TimedOut,
}

/// A running request. Dropping it cancels the request and waits for the step in which it runs.
///
/// ```
/// use plimsoll::{Cancel, Ending, Polled, Request};
/// use std::time::Duration;
///
/// # fn main() -> plimsoll::Result<()> {
/// # use plimsoll::{Config, Model, Runtime};
/// # use std::path::Path;
/// # let runtime = Runtime::new(&Config::new())?;
/// # let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true)?;
/// # let session = plimsoll::Session::open(&model, &Config::new())?;
/// let mut stream = session.stream(&Request::user("Hello!"), None, &Cancel::new())?;
/// let mut answer = String::new();
/// let outcome = loop {
///     match stream.next(Some(Duration::from_millis(100)))? {
///         Polled::Event(event) => answer.push_str(event.text),
///         Polled::TimedOut => {} // time for something else
///         Polled::Finished(outcome) => break outcome,
///     }
/// };
/// assert_eq!(outcome.text, answer);
/// assert_eq!(outcome.ending, Ending::EndOfText);
/// # Ok(())
/// # }
/// ```
pub struct Stream {
    session: Arc<SessionInner>,
    answers: Vec<Writing>,
    bell: Option<Arc<Bell>>,
    /// The answer to be heard first.
    turn: usize,
    cancel: Cancel,
    verdict: Verdict,
    degraded: Degraded,
    tops: Vec<TopLogprob>,
    running: Option<Running>,
    /// What to run again, once, if memory that was granted is refused before the first token.
    again: Option<Request>,
    /// By the runtime's clock.
    deadline: Option<Duration>,
    recovery: Option<Recovery>,
    /// The error that ends the request when its answers have ended.
    failure: Option<Failure>,
    result: Option<Result<Outcome>>,
}

/// What went wrong first.
struct Failure {
    error: Error,
    /// Whether it is memory that was granted and refused, so that the request may run again.
    refused: bool,
}

/// What is given back when the request ends, in this order.
struct Running {
    prepared: Prepared,
    _busy: BusyMark,
    turn: Turn,
}

impl Stream {
    pub(crate) fn start(
        session: Arc<SessionInner>,
        turn: Turn,
        request: &Request,
        (mut prepared, grant, mut verdict): (Prepared, Grant, Verdict),
        deadline: Option<Duration>,
        cancel: &Cancel,
    ) -> Result<Stream> {
        let mut tops = Vec::new();
        tops.try_reserve_exact(request.sampling.top_logprobs as usize)
            .map_err(|_| Error::no_memory("the system has no memory for a token's alternatives"))?;
        let cancel = cancel.child();
        let mut again = Some(request.clone());
        let mut recovery = None;
        let ends = (deadline, &cancel);
        let launched = match launch(&session, request, &prepared, grant, &verdict, ends, &mut tops) {
            Err(error) if error.code() == ErrorCode::OutOfMemory => {
                recovery = Some(session.model.runtime.guard.recover());
                again = None;
                let grant;
                (prepared, grant, verdict) = session.once_more(request, &cancel)?;
                launch(&session, request, &prepared, grant, &verdict, ends, &mut tops)?
            }
            launched => launched?,
        };
        let Launched { answers, bell, busy, degraded } = launched;
        Ok(Stream {
            session,
            answers,
            bell,
            turn: 0,
            cancel,
            verdict,
            degraded,
            tops,
            running: Some(Running { prepared, _busy: busy, turn }),
            again,
            deadline,
            recovery,
            failure: None,
            result: None,
        })
    }

    /// After a refusal of granted memory, when all answers have given back what they held: makes room and runs the request once
    /// more. Returns whether it runs.
    fn retry(&mut self) -> Result<bool> {
        let unread = self.answers.iter().all(|answer| answer.tokens() == 0);
        let (Some(request), true) = (self.again.take(), unread) else { return Ok(false) };
        let Some(Running { turn, .. }) = self.running.take() else { return Ok(false) };
        let session = Arc::clone(&self.session);
        session.forget_kv();
        self.recovery = Some(session.model.runtime.guard.recover());
        let (prepared, grant, verdict) = session.once_more(&request, &self.cancel)?;
        let ends = (self.deadline, &self.cancel);
        let Launched { answers, bell, busy, degraded } =
            launch(&session, &request, &prepared, grant, &verdict, ends, &mut self.tops)?;
        (self.answers, self.bell, self.degraded, self.verdict) = (answers, bell, degraded, verdict);
        self.running = Some(Running { prepared, _busy: busy, turn });
        Ok(true)
    }

    /// The next event or the end, waiting at most `timeout` (for ever when `None`). The events of several answers come as
    /// they are generated, in turns where there is more than one.
    ///
    /// # Errors
    /// The engine's failure, of one answer for all of them; the same again on every later call.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Polled<'_>> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(result) = &self.result {
                return result.as_ref().map_err(Error::clone)?.copied().map(Polled::Finished);
            }
            if self.answers.iter().all(|answer| answer.finish.is_some()) {
                self.end();
                continue;
            }
            let (at, next) = self.hear(until);
            let answer = u32::try_from(at).unwrap_or(u32::MAX);
            match next {
                Next::TimedOut => return Ok(Polled::TimedOut),
                // What an engine generated before it saw the stop is not part of the answer.
                Next::Token(_) if self.answers[at].is_cut() || self.failure.is_some() => {}
                Next::Token(token) => {
                    if let Some(recovery) = self.recovery.take() {
                        recovery.succeeded();
                    }
                    self.again = None;
                    let from = self.answers[at].text().len();
                    if let Err(error) = self.take(at, token) {
                        self.fail(error, false);
                        continue;
                    }
                    let text = &self.answers[at].text()[from..];
                    return Ok(Polled::Event(Event { answer, text, token: Some(token), tops: &self.tops }));
                }
                Next::Finished(finish) => {
                    let failed = match &finish.reason {
                        FinishReason::Failed(error) => Some(error.clone()),
                        _ => None,
                    };
                    let writing = &mut self.answers[at];
                    let from = writing.text().len();
                    writing.finish = Some(finish);
                    if let Some(error) = failed {
                        let refused = matches!(error, EngineError::OutOfMemory { .. });
                        self.fail(error.into(), refused);
                    }
                    if self.failure.is_some() {
                        continue;
                    }
                    self.answers[at].flush();
                    if self.answers[at].text().len() > from {
                        let text = &self.answers[at].text()[from..];
                        return Ok(Polled::Event(Event { answer, text, token: None, tops: &[] }));
                    }
                }
            }
        }
    }

    /// What comes next of any answer that has not ended, and of which. Those who have something take turns.
    fn hear(&mut self, until: Option<Instant>) -> (usize, Next) {
        let count = self.answers.len();
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            let mut open = (0..count)
                .map(|step| (self.turn + step) % count)
                .filter(|&at| self.answers[at].finish.is_none());
            let (first, more) = (open.next().unwrap_or(0), open.next().is_some());
            if !more {
                return (first, self.answers[first].ring.next(left, &mut self.tops));
            }
            for step in 0..count {
                let at = (self.turn + step) % count;
                if self.answers[at].finish.is_some() {
                    continue;
                }
                match self.answers[at].ring.next(Some(Duration::ZERO), &mut self.tops) {
                    Next::TimedOut => {}
                    next => {
                        self.turn = (at + 1) % count;
                        return (at, next);
                    }
                }
            }
            // The rings of several answers ring a bell.
            if !self.bell.as_ref().is_some_and(|bell| bell.wait(left)) {
                return (first, Next::TimedOut);
            }
        }
    }

    /// Ends the answers as if their reader had had enough: no further event comes, and the end of those that had not ended
    /// says `Stopped`. The session keeps what was read.
    pub fn stop(&mut self) {
        self.answers.iter_mut().for_each(|answer| answer.cut(Ending::Stopped));
        self.cancel.cancel();
    }

    /// A flag that cancels this request alone, from any thread.
    pub fn canceller(&self) -> Cancel {
        self.cancel.clone()
    }

    /// What was decided before it ran.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// Takes a token into its answer.
    fn take(&mut self, at: usize, token: TokenEvent) -> Result<()> {
        let bytes = self.session.model.loaded.text.tokenizer.token_bytes(token.id).map_or(0, <[u8]>::len);
        let answer = &mut self.answers[at];
        answer.room_for(bytes)?;
        answer.take(token);
        Ok(())
    }

    /// Has the answers that run end, for an error. What comes of them is nobody's; the first error is the request's.
    fn fail(&mut self, error: Error, refused: bool) {
        self.failure.get_or_insert(Failure { error, refused });
        self.answers.iter().filter(|answer| answer.finish.is_none()).for_each(Writing::cancel);
    }

    /// Ends the request with an error: the conversation stays as it was.
    fn abandon(&mut self, error: Error) {
        self.cancel.cancel();
        self.session.forget_kv();
        self.running = None;
        self.recovery = None;
        self.result = Some(Err(error));
    }

    /// Ends the request whose answers have all ended, unless it runs again.
    fn end(&mut self) {
        if let Some(Failure { error, refused }) = self.failure.take() {
            match if refused { self.retry() } else { Ok(false) } {
                Ok(true) => {}
                Ok(false) => self.abandon(error),
                Err(error) => self.abandon(error),
            }
            return;
        }
        let Some(Running { prepared, _busy: busy, turn }) = self.running.take() else { return };
        let mut others = match Outcome::room_for(self.answers.len().saturating_sub(1)) {
            Ok(room) => room,
            Err(error) => return self.abandon(error),
        };
        self.recovery = None;
        let prompt_tokens = count(prepared.tokens());
        if let Some(first) = self.answers.first() {
            let (kept, kept_text) = first.kept();
            let kv_tokens = first.finish.as_ref().map_or(0, |finish| finish.kv_tokens);
            let answer = Answer { text: first.text(), kept, kept_text, kv_tokens };
            if let Err(error) = self.session.commit(prepared, &answer) {
                return self.abandon(error);
            }
        }
        drop(busy);
        drop(turn);
        let bytes_free = self.session.model.runtime.guard.bytes_free(self.verdict.region);
        let kv_bytes = self.session.seat.kv_bytes();
        let outcome = |answer: &mut Writing| {
            let text = answer.take_text();
            let finish = answer.finish.as_ref()?;
            Some(Outcome {
                ending: answer.ending(&finish.reason),
                text,
                verdict: self.verdict,
                degraded: self.degraded,
                prompt_tokens,
                cached_tokens: count(finish.cached_tokens),
                generated_tokens: count(answer.tokens()),
                queued: finish.queued,
                prefill: finish.prefill,
                decode: finish.decode,
                kv_bytes,
                bytes_free,
                others: Vec::new(),
            })
        };
        let mut outcomes = self.answers.iter_mut().filter_map(outcome);
        let first = outcomes.next();
        others.extend(outcomes);
        let none = || Error::new(ErrorCode::Internal, "a request without an answer");
        self.result = Some(first.map(|first| Outcome { others, ..first }).ok_or_else(none));
    }
}

fn count(tokens: usize) -> u32 {
    u32::try_from(tokens).unwrap_or(u32::MAX)
}

impl Drop for Stream {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.stop();
            // The engine ends every job that it took; at the latest when it closes.
            while !matches!(self.next(None), Ok(Polled::Finished(_)) | Err(_)) {}
        }
    }
}
