//! A running request, read event by event.

use crate::conversation::{Answer, Prepared};
use crate::error::{Error, ErrorCode, Result};
use crate::guard::{BusyMark, Degraded, Grant, Recovery, Verdict};
use crate::request::Request;
use crate::session::SessionInner;
use crate::text::{Detokenizer, StopMatcher};
use crate::turn::Turn;
use plimsoll_engine::{Cancel, EngineError, Finish, FinishReason, Job, Next, Ring, TokenEvent, TopLogprob};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Something that happened in a running request.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event<'a> {
    /// Text that is now certain: whole characters, and no part of a stop string. Often empty for a token that ends inside
    /// a character.
    pub text: &'a str,
    /// The token that came; `None` for text that was held back and is released at the end.
    pub token: Option<TokenEvent>,
    /// The most likely tokens at this position, most likely first, when the request asked for them.
    pub tops: &'a [TopLogprob],
}

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Ending {
    /// The model ended it.
    EndOfText = 1,
    /// The granted tokens are used up.
    Length = 2,
    /// A stop string came.
    StopString = 3,
    /// The reader stopped it.
    Stopped = 4,
    /// It was cancelled.
    Cancelled = 5,
    /// Its deadline passed.
    Deadline = 6,
}

/// A finished answer and its numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Why it ended.
    pub ending: Ending,
    /// The whole answer.
    pub text: String,
    /// What was decided before it ran.
    pub verdict: Verdict,
    /// What memory pressure changed about it.
    pub degraded: Degraded,
    /// Tokens of the conversation up to where the answer began.
    pub prompt_tokens: u32,
    /// Of these, tokens whose KV was already held.
    pub cached_tokens: u32,
    /// Tokens generated, an end-of-text token left out.
    pub generated_tokens: u32,
    /// From submission to the first step.
    pub queued: Duration,
    /// From the first step to the first token.
    pub prefill: Duration,
    /// From the first token to the last.
    pub decode: Duration,
    /// Bytes of KV that the session holds now.
    pub kv_bytes: u64,
    /// Bytes free in the region of the KV now.
    pub bytes_free: u64,
}

impl Outcome {
    /// Generated tokens per second after the first; 0 for fewer than two.
    pub fn tokens_per_second(&self) -> f64 {
        let seconds = self.decode.as_secs_f64();
        if self.generated_tokens < 2 || seconds <= 0.0 {
            return 0.0;
        }
        f64::from(self.generated_tokens - 1) / seconds
    }
}

/// What [`Stream::next`] found.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one lives at a time, on its reader's stack")]
pub enum Polled<'a> {
    /// An event.
    Event(Event<'a>),
    /// The answer has ended; the same again on every later call.
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
    ring: Arc<Ring>,
    cancel: Cancel,
    verdict: Verdict,
    degraded: Degraded,
    detokenizer: Detokenizer,
    stops: StopMatcher,
    tokens: Vec<u32>,
    /// For each token the length of the text up to and with it; `usize::MAX` where it ends inside a character.
    ends: Vec<usize>,
    raw: String,
    answer: String,
    tops: Vec<TopLogprob>,
    early: Option<Ending>,
    flushed: bool,
    running: Option<Running>,
    /// What to run again, once, if memory that was granted is refused before the first token.
    again: Option<Request>,
    /// By the runtime's clock.
    deadline: Option<Duration>,
    recovery: Option<Recovery>,
    result: Option<Result<Outcome>>,
}

/// A request that an engine has taken.
struct Launched {
    ring: Arc<Ring>,
    busy: BusyMark,
    degraded: Degraded,
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
        let loaded = &session.model.loaded;
        let stops = StopMatcher::new(request.stop())
            .map_err(|error| Error::caused(ErrorCode::InvalidArgument, &error))?;
        let mut tops = Vec::new();
        tops.try_reserve_exact(request.sampling.top_logprobs as usize)
            .map_err(|_| Error::no_memory("the system has no memory for a token's alternatives"))?;
        let detokenizer = loaded.text.tokenizer.detokenizer();
        let cancel = cancel.child();
        let mut again = Some(request.clone());
        let mut recovery = None;
        let launched = match Self::launch(&session, request, &prepared, grant, &verdict, (deadline, &cancel))
        {
            Err(error) if error.code() == ErrorCode::OutOfMemory => {
                recovery = Some(session.model.runtime.guard.recover());
                again = None;
                let grant;
                (prepared, grant, verdict) = session.once_more(request, &cancel)?;
                Self::launch(&session, request, &prepared, grant, &verdict, (deadline, &cancel))?
            }
            launched => launched?,
        };
        let Launched { ring, busy, degraded } = launched;
        Ok(Stream {
            session,
            ring,
            cancel,
            verdict,
            degraded,
            detokenizer,
            stops,
            tokens: Vec::new(),
            ends: Vec::new(),
            raw: String::new(),
            answer: String::new(),
            tops,
            early: None,
            flushed: false,
            running: Some(Running { prepared, _busy: busy, turn }),
            again,
            deadline,
            recovery,
            result: None,
        })
    }

    /// Gives a granted request to its engine.
    fn launch(
        session: &SessionInner,
        request: &Request,
        prepared: &Prepared,
        grant: Grant,
        verdict: &Verdict,
        (deadline, cancel): (Option<Duration>, &Cancel),
    ) -> Result<Launched> {
        let mut sampling = request.sampling.clone();
        let degraded = Degraded {
            max_tokens: (verdict.pressure.tokens(verdict.asked_tokens, request.min_tokens)
                < verdict.asked_tokens)
                .then_some(verdict.granted_tokens),
            ..verdict.pressure.curb(&mut sampling)
        };
        let Grant { request: id, kv, mut host, granted_tokens, busy, .. } = grant;
        let loaded = &session.model.loaded;
        let top = request.sampling.top_logprobs;
        let ring_bytes = Ring::bytes(granted_tokens, top).unwrap_or(u64::MAX);
        let lease = host.split(ring_bytes).map_err(|error| Error::caused(ErrorCode::Internal, &error))?;
        let ring = Ring::new(granted_tokens, top, lease)
            .map_err(|_| Error::no_memory("the system has no memory for the request's ring"))?;
        let ring = Arc::new(ring);
        let job = Job {
            request: plimsoll_engine::Request {
                id,
                session: session.key(),
                tokens: session.prompt(prepared)?,
                shared_prefix: prepared.shared_prefix,
                max_tokens: granted_tokens,
                sampling,
                stop_tokens: if request.ignore_eos {
                    Arc::default()
                } else {
                    Arc::clone(&loaded.text.stop_tokens)
                },
                deadline,
                keep_kv: true,
            },
            kv,
            host,
            ring: Arc::clone(&ring),
            cancel: cancel.clone(),
        };
        loaded.engine.submit(job).map_err(|rejected| Error::from(rejected.error.clone()))?;
        Ok(Launched { ring, busy, degraded })
    }

    /// After a refusal of granted memory: makes room and runs the request once more. Returns whether it runs.
    fn retry(&mut self) -> Result<bool> {
        let (Some(request), true) = (self.again.take(), self.tokens.is_empty()) else { return Ok(false) };
        let Some(Running { turn, .. }) = self.running.take() else { return Ok(false) };
        let session = Arc::clone(&self.session);
        session.forget_kv();
        self.recovery = Some(session.model.runtime.guard.recover());
        let (prepared, grant, verdict) = session.once_more(&request, &self.cancel)?;
        let ends = (self.deadline, &self.cancel);
        let launched = Self::launch(&session, &request, &prepared, grant, &verdict, ends)?;
        (self.ring, self.degraded, self.verdict) = (launched.ring, launched.degraded, verdict);
        self.running = Some(Running { prepared, _busy: launched.busy, turn });
        Ok(true)
    }

    /// The next event or the end, waiting at most `timeout` (for ever when `None`).
    ///
    /// # Errors
    /// The engine's failure; the same again on every later call.
    pub fn next(&mut self, timeout: Option<Duration>) -> Result<Polled<'_>> {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            if let Some(result) = &self.result {
                return result.clone().map(Polled::Finished);
            }
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match self.ring.next(left, &mut self.tops) {
                Next::TimedOut => return Ok(Polled::TimedOut),
                // What an engine generated before it saw the stop is not part of the answer.
                Next::Token(_) if self.early.is_some() => {}
                Next::Token(token) => {
                    if let Some(recovery) = self.recovery.take() {
                        recovery.succeeded();
                    }
                    self.again = None;
                    let from = self.answer.len();
                    if let Err(error) = self.room_for(token) {
                        self.abandon(error);
                        continue;
                    }
                    self.take(token);
                    let text = &self.answer[from..];
                    return Ok(Polled::Event(Event { text, token: Some(token), tops: &self.tops }));
                }
                Next::Finished(Finish {
                    reason: FinishReason::Failed(EngineError::OutOfMemory { region, bytes }),
                    ..
                }) if self.again.is_some() => match self.retry() {
                    Ok(true) => {}
                    Ok(false) => self.abandon(EngineError::OutOfMemory { region, bytes }.into()),
                    Err(error) => self.abandon(error),
                },
                Next::Finished(finish) => {
                    let from = self.answer.len();
                    self.flush();
                    if self.answer.len() > from {
                        return Ok(Polled::Event(Event {
                            text: &self.answer[from..],
                            token: None,
                            tops: &[],
                        }));
                    }
                    self.end(finish);
                }
            }
        }
    }

    /// Ends the answer as if its reader had had enough: no further event comes, and the end says `Stopped`. The session
    /// keeps what was read.
    pub fn stop(&mut self) {
        self.early.get_or_insert(Ending::Stopped);
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

    /// Makes room for what a token adds.
    fn room_for(&mut self, token: TokenEvent) -> Result<()> {
        let bytes = self.session.model.loaded.text.tokenizer.token_bytes(token.id).map_or(0, <[u8]>::len);
        // What is not UTF-8 becomes replacement characters, and a character that was cut is repeated.
        let bytes = 3 * bytes + 16;
        let made = self.tokens.try_reserve(1).is_ok()
            && self.ends.try_reserve(1).is_ok()
            && self.raw.try_reserve(bytes).is_ok()
            && self.answer.try_reserve(self.raw.len().saturating_sub(self.answer.len()) + bytes).is_ok();
        if made { Ok(()) } else { Err(Error::no_memory("the system has no memory for more of the answer")) }
    }

    /// Ends the request with an error of this side: the engine is waited for, the conversation stays as it was.
    fn abandon(&mut self, error: Error) {
        self.cancel.cancel();
        while !matches!(self.ring.next(None, &mut self.tops), Next::Finished(_)) {}
        self.session.forget_kv();
        self.running = None;
        self.recovery = None;
        self.result = Some(Err(error));
    }

    fn take(&mut self, token: TokenEvent) {
        let from = self.raw.len();
        self.detokenizer.push(token.id, &mut self.raw);
        self.tokens.push(token.id);
        self.ends.push(if self.detokenizer.is_whole() { self.raw.len() } else { usize::MAX });
        if self.stops.push(&self.raw[from..], &mut self.answer).is_some() {
            self.early = Some(Ending::StopString);
            self.cancel.cancel();
        }
    }

    /// Releases text that was held back, unless the answer was cut short.
    fn flush(&mut self) {
        if self.flushed || self.early.is_some() {
            return;
        }
        self.flushed = true;
        let from = self.raw.len();
        self.detokenizer.finish(&mut self.raw);
        if self.stops.push(&self.raw[from..], &mut self.answer).is_none() {
            self.stops.finish(&mut self.answer);
        }
    }

    fn end(&mut self, finish: Finish) {
        let Some(running) = self.running.take() else { return };
        let Running { prepared, _busy: busy, turn } = running;
        self.recovery = None;
        let prompt_tokens = prepared.tokens();
        let ending = match finish.reason {
            FinishReason::Failed(error) => {
                self.session.forget_kv();
                drop((busy, turn));
                self.result = Some(Err(error.into()));
                return;
            }
            _ if self.early.is_some() => self.early.unwrap_or(Ending::Stopped),
            FinishReason::EndOfText => Ending::EndOfText,
            FinishReason::Length => Ending::Length,
            FinishReason::Cancelled => Ending::Cancelled,
            FinishReason::Deadline => Ending::Deadline,
        };
        // Only tokens whose text is in the answer as a whole are kept; the rest of the text is tokenised again with the
        // next turn. At the natural end every token counts, also those without text.
        let kept = if self.flushed && self.answer.len() == self.raw.len() {
            self.tokens.len()
        } else {
            self.ends.iter().rposition(|&end| end <= self.answer.len()).map_or(0, |last| last + 1)
        };
        let kept_text = if kept == self.tokens.len() && self.flushed {
            self.answer.as_str()
        } else {
            &self.answer[..kept.checked_sub(1).map_or(0, |last| self.ends[last])]
        };
        let answer =
            Answer { text: &self.answer, kept: &self.tokens[..kept], kept_text, kv_tokens: finish.kv_tokens };
        self.session.commit(prepared, &answer);
        drop(busy);
        drop(turn);
        let guard = &self.session.model.runtime.guard;
        let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        self.result = Some(Ok(Outcome {
            ending,
            text: self.answer.clone(),
            verdict: self.verdict,
            degraded: self.degraded,
            prompt_tokens: count(prompt_tokens),
            cached_tokens: count(finish.cached_tokens),
            generated_tokens: count(self.tokens.len()),
            queued: finish.queued,
            prefill: finish.prefill,
            decode: finish.decode,
            kv_bytes: self.session.seat.kv_bytes(),
            bytes_free: guard.bytes_free(self.verdict.region),
        }));
    }
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
