//! A session: a conversation with a model. It owns text and tokens; the engine owns only KV, keyed by it.

use crate::config::Config;
use crate::conversation::{Answer, Conversation, Prepared};
use crate::error::{Error, ErrorCode, Numbers, Result};
use crate::guard::{self, Ask, Decision, Grant, GuardError, Reason, Seat, Talk, Verdict};
use crate::model::Model;
use crate::outcome::Outcome;
use crate::request::Request;
use crate::stream::{Event, Polled, Stream};
use crate::ticket::{Granted, Ticket};
use crate::turn::{Holder, Turn, Turns};
use crate::waiting::{Queued, Waiting};
use plimsoll_engine::{Cancel, SessionKey, Shape};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What a session holds of the host's memory before anything is said, rounded up: itself, its line, its places in the guard's
/// tables and in its engine's.
const SESSION_BYTES: u64 = 1024;

const _: () = assert!(size_of::<SessionInner>() + size_of::<Turns>() + size_of::<Conversation>() <= 512);

/// A conversation. Clones are the same conversation; its requests run one at a time, in order of arrival.
///
/// ```
/// use plimsoll::{Cancel, Flow, Request, Session};
///
/// # fn main() -> plimsoll::Result<()> {
/// # use plimsoll::{Config, Model, Runtime};
/// # use std::path::Path;
/// # let runtime = Runtime::new(&Config::new())?;
/// # let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true)?;
/// let session = Session::open(&model, &Config::new())?;
/// let answer = |question: &str| {
///     session.generate(&Request::user(question), None, &Cancel::new(), |_| Flow::Continue)
/// };
/// let first = answer("Hello!")?;
/// assert_eq!(first.cached_tokens, 0);
///
/// // The second turn computes only what is new.
/// let second = answer("What is a lease?")?;
/// assert!(second.cached_tokens > 0 && second.prompt_tokens > first.prompt_tokens);
///
/// // The conversation outlives its KV, which is computed again when it is needed.
/// assert!(session.evict()? > 0);
/// assert_eq!(answer("Thank you!")?.cached_tokens, 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Session(pub(crate) Arc<SessionInner>);

pub(crate) struct SessionInner {
    pub(crate) model: Model,
    pub(crate) seat: Seat,
    turns: Arc<Turns>,
    said: Mutex<Said>,
}

struct Said {
    /// Shared with whoever prepares a turn from it; a turn that ends meanwhile goes into a copy.
    conversation: Arc<Conversation>,
    /// What it counts for.
    talk: Talk,
}

/// What to do after an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    Continue,
    /// End the answer; no further event comes.
    Stop,
}

impl Session {
    /// Opens a session of `model`. `config` takes `session.*` keys.
    ///
    /// # Errors
    /// `InvalidConfig`; `OutOfMemory` when there is none for one more session.
    pub fn open(model: &Model, config: &Config) -> Result<Session> {
        config.only_session()?;
        let limit = config.integer("session.kv_limit_mb");
        let seat =
            model.runtime.guard.open_session(Arc::clone(&model.loaded.engine), limit).map_err(|error| {
                let short = matches!(error, GuardError::OutOfMemory | GuardError::TooManySessions { .. });
                let code = if short { ErrorCode::OutOfMemory } else { ErrorCode::Unsupported };
                Error::caused(code, &error)
            })?;
        let said = Said { conversation: Arc::default(), talk: model.runtime.guard.talk(SESSION_BYTES) };
        let inner =
            SessionInner { model: model.clone(), seat, turns: Arc::default(), said: Mutex::new(said) };
        Ok(Session(Arc::new(inner)))
    }

    /// Its id, as in memory statistics.
    pub fn id(&self) -> u64 {
        self.0.seat.key().0
    }

    /// Its model.
    pub fn model(&self) -> &Model {
        &self.0.model
    }

    /// What would happen to `request` now: the same walk as [`Session::admit`], without the grant and without any effect.
    ///
    /// ```
    /// use plimsoll::{Decision, Request};
    ///
    /// # fn main() -> plimsoll::Result<()> {
    /// # use plimsoll::{Config, Model, Runtime};
    /// # use std::path::Path;
    /// # let runtime = Runtime::new(&Config::new())?;
    /// # let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true)?;
    /// # let session = plimsoll::Session::open(&model, &Config::new())?;
    /// let mut request = Request::user("Hello!");
    /// request.max_tokens = 1_000_000; // more than the model's context
    /// let verdict = session.what_if(&request)?;
    /// assert_eq!(verdict.decision, Decision::Shrink);
    /// println!("{} bytes for {} tokens: {verdict}", verdict.bytes_asked, verdict.granted_tokens);
    /// assert_eq!(session.kv_bytes(), 0);
    /// # Ok(())
    /// # }
    /// ```
    /// # Errors
    /// What is wrong with the request itself; a refusal is a verdict, not an error.
    pub fn what_if(&self, request: &Request) -> Result<Verdict> {
        let prepared = self.0.prepare(request)?;
        self.0.what_if(request, &prepared)
    }

    /// Prices `request` and, when it is accepted or shrunk, grants its bytes to a ticket. A request with time to wait waits on
    /// this thread; it is not granted after its deadline, which for a run begins anew.
    ///
    /// # Errors
    /// What is wrong with the request itself; a refusal is a verdict without a ticket.
    pub fn admit(&self, request: &Request) -> Result<(Verdict, Option<Ticket>)> {
        self.admit_cancellable(request, &Cancel::new())
    }

    /// As [`Session::admit`], and `cancel` ends the waiting with a refusal.
    ///
    /// # Errors
    /// As [`Session::admit`].
    pub fn admit_cancellable(&self, request: &Request, cancel: &Cancel) -> Result<(Verdict, Option<Ticket>)> {
        let prepared = self.0.prepare(request)?;
        let (verdict, grant) = self.0.grant(request, &prepared, cancel)?;
        Ok((verdict, grant.map(|grant| self.ticket(request, prepared, grant, verdict))))
    }

    /// As [`Session::admit`], but a request with time to wait does so while its caller does something else.
    ///
    /// # Errors
    /// As [`Session::admit`].
    pub fn enqueue(&self, request: &Request) -> Result<Queued> {
        let prepared = self.0.prepare(request)?;
        self.0.model.runtime.sweep_tickets();
        let guard = &self.0.model.runtime.guard;
        let ask = SessionInner::ask(request, &prepared);
        Ok(match guard.enqueue(&self.0.seat, &ask, request.patience())? {
            guard::Queued::Decided(verdict, grant) => {
                Queued::Decided(verdict, grant.map(|grant| self.ticket(request, prepared, grant, verdict)))
            }
            guard::Queued::Waits(verdict, waiting) => {
                Queued::Waits(verdict, Waiting::new(self.clone(), request.clone(), prepared, waiting))
            }
        })
    }

    pub(crate) fn ticket(
        &self,
        request: &Request,
        prepared: Prepared,
        grant: Grant,
        verdict: Verdict,
    ) -> Ticket {
        let granted = Granted { request: request.clone(), prepared, grant, verdict };
        let model = &self.0.model;
        model.runtime.issue_ticket(model.loaded.id, self.0.seat.key(), granted)
    }

    /// Runs `request` and hands each event to `on_event` on this thread, with no lock held. Without a ticket it is admitted
    /// first. A request that ends before it has generated anything leaves the conversation as it was.
    ///
    /// # Errors
    /// What is wrong with the request or the ticket, `MemoryRefused` with its numbers, or the engine's failure. The
    /// conversation is then as it was before.
    pub fn generate(
        &self,
        request: &Request,
        ticket: Option<&Ticket>,
        cancel: &Cancel,
        mut on_event: impl FnMut(&Event<'_>) -> Flow,
    ) -> Result<Outcome> {
        let mut stream = self.start(request, ticket, cancel, Holder::Call)?;
        loop {
            match stream.next(None)? {
                Polled::Event(event) => {
                    if on_event(&event) == Flow::Stop {
                        stream.stop();
                    }
                }
                Polled::Finished(outcome) => return Ok(outcome),
                Polled::TimedOut => {}
            }
        }
    }

    /// Starts `request` and returns the stream of its events. The session is taken until the stream has finished or is
    /// dropped.
    ///
    /// # Errors
    /// As [`Session::generate`].
    pub fn stream(&self, request: &Request, ticket: Option<&Ticket>, cancel: &Cancel) -> Result<Stream> {
        self.start(request, ticket, cancel, Holder::Stream)
    }

    fn start(
        &self,
        request: &Request,
        ticket: Option<&Ticket>,
        cancel: &Cancel,
        as_what: Holder,
    ) -> Result<Stream> {
        request.validate()?;
        let deadline = request.deadline.map(|limit| self.0.model.runtime.clock.now().saturating_add(limit));
        let turn = self.0.turns.take(as_what)?;
        let admitted = match ticket {
            Some(ticket) => {
                // A ticket whose time is over is not good, even when nobody has looked at the clock since.
                self.0.model.runtime.sweep_tickets();
                let turn = self.0.conversation().turn();
                let Granted { prepared, grant, verdict, .. } =
                    ticket.consume(self.0.seat.key(), request, turn)?;
                (prepared, grant, verdict)
            }
            None => {
                let prepared = self.0.prepare(request)?;
                match self.0.grant(request, &prepared, cancel)? {
                    (verdict, Some(grant)) => (prepared, grant, verdict),
                    (verdict, None) => return Err(refusal(&verdict)),
                }
            }
        };
        Stream::start(Arc::clone(&self.0), turn, request, admitted, deadline, cancel)
    }

    /// Starts the conversation again, and gives its KV back.
    ///
    /// # Errors
    /// `Busy` or `Reentrant` while a request runs.
    pub fn reset(&self) -> Result<()> {
        let _turn = self.turn()?;
        self.0.change(Conversation::reset);
        self.0.model.runtime.guard.evict_session(&self.0.seat);
        Ok(())
    }

    /// Gives the session's KV back; the conversation stays, and the next turn computes it again.
    ///
    /// Returns the bytes freed.
    ///
    /// # Errors
    /// `Busy` or `Reentrant` while a request runs.
    pub fn evict(&self) -> Result<u64> {
        let _turn = self.turn()?;
        let freed = self.0.model.runtime.guard.evict_session(&self.0.seat);
        self.0.forget_kv();
        Ok(freed)
    }

    fn turn(&self) -> Result<Turn> {
        self.0.turns.take(Holder::Call)
    }

    /// Bytes of KV that the session holds.
    pub fn kv_bytes(&self) -> u64 {
        self.0.seat.kv_bytes()
    }
}

impl SessionInner {
    fn conversation(&self) -> Arc<Conversation> {
        Arc::clone(&self.lock().conversation)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Conversation) -> T) -> T {
        let mut said = self.lock();
        let conversation = Arc::make_mut(&mut said.conversation);
        let result = change(conversation);
        let bytes = SESSION_BYTES.saturating_add(conversation.heap_bytes() as u64);
        said.talk.set(bytes);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        // A panic while the lock is held can only come from an allocation; the old conversation is then still whole.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn key(&self) -> SessionKey {
        self.seat.key()
    }

    pub(crate) fn prepare(&self, request: &Request) -> Result<Prepared> {
        request.validate()?;
        let prepared = self.conversation().prepare(&self.model.loaded, request)?;
        let (tokens, context) = (prepared.tokens(), self.model.context_length());
        if tokens >= context as usize {
            let text = format!("the conversation has {tokens} tokens, the model's context {context}");
            return Err(Error::new(ErrorCode::PromptTooLong, text));
        }
        Ok(prepared)
    }

    fn ask(request: &Request, prepared: &Prepared) -> Ask {
        Ask {
            shape: Shape {
                // Below the context length, hence below 2^32.
                prompt_tokens: u32::try_from(prepared.tokens()).unwrap_or(u32::MAX),
                max_tokens: request.max_tokens,
                top_logprobs: request.sampling.top_logprobs,
                penalties: request.sampling.penalises(),
            },
            answers: request.answers,
            min_tokens: request.min_tokens,
            degradable: request.degradable,
            priority: request.priority,
        }
    }

    fn what_if(&self, request: &Request, prepared: &Prepared) -> Result<Verdict> {
        self.model.runtime.sweep_tickets();
        Ok(self.model.runtime.guard.what_if(&self.seat, &Self::ask(request, prepared))?)
    }

    pub(crate) fn grant(
        &self,
        request: &Request,
        prepared: &Prepared,
        cancel: &Cancel,
    ) -> Result<(Verdict, Option<Grant>)> {
        self.model.runtime.sweep_tickets();
        let (guard, ask) = (&self.model.runtime.guard, Self::ask(request, prepared));
        Ok(guard.admit_waiting(&self.seat, &ask, request.patience(), cancel)?)
    }

    /// Prepares and admits a request again after its first grant came to nothing.
    pub(crate) fn once_more(&self, request: &Request, cancel: &Cancel) -> Result<(Prepared, Grant, Verdict)> {
        let prepared = self.prepare(request)?;
        match self.grant(request, &prepared, cancel)? {
            (verdict, Some(grant)) => Ok((prepared, grant, verdict)),
            (verdict, None) => Err(refusal(&verdict)),
        }
    }

    /// Takes a finished turn into the conversation.
    ///
    /// # Errors
    /// `OutOfMemory`: the conversation is as it was.
    pub(crate) fn commit(&self, prepared: Prepared, answer: &Answer<'_>) -> Result<()> {
        self.change(|conversation| conversation.commit(prepared, answer))
    }

    /// A failed turn: the engine dropped the session's KV, the conversation stays.
    pub(crate) fn forget_kv(&self) {
        self.change(Conversation::forget_kv);
    }

    /// The prompt of a turn that was prepared for the conversation as it is now.
    pub(crate) fn prompt(&self, prepared: &Prepared) -> Result<Vec<u32>> {
        self.conversation().prompt(prepared)
    }
}

/// A refusal as an error, with its numbers.
pub(crate) fn refusal(verdict: &Verdict) -> Error {
    debug_assert_eq!(verdict.decision, Decision::Reject);
    let code = match verdict.reason {
        Reason::Context => ErrorCode::PromptTooLong,
        Reason::Busy => ErrorCode::Busy,
        Reason::QueueFull => ErrorCode::QueueFull,
        _ => ErrorCode::MemoryRefused,
    };
    Error::new(code, verdict).with_numbers(Numbers {
        bytes_asked: verdict.bytes_asked,
        bytes_free: verdict.bytes_free,
        fits_tokens: verdict.fits_tokens,
        retry_after: verdict.retry_after,
    })
}
