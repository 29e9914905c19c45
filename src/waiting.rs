//! A request that waits for memory, without a thread that sleeps for it.

use crate::conversation::Prepared;
use crate::error::Result;
use crate::guard::{self, Verdict};
use crate::request::Request;
use crate::session::Session;
use crate::ticket::Ticket;
use std::time::Duration;

/// What became of a request that may wait.
#[derive(Debug)]
pub enum Queued {
    /// It was decided at once: a refusal has no ticket.
    Decided(Verdict, Option<Ticket>),
    /// It waits. The verdict is the refusal that it would have been, with its place in the line.
    Waits(Verdict, Waiting),
}

/// A request that waits for memory, in order of priority and arrival. Dropped, it waits no longer.
///
/// ```
/// use plimsoll::{Cancel, Flow, Queued, Request};
/// use std::time::Duration;
///
/// # fn main() -> plimsoll::Result<()> {
/// # use plimsoll::{Config, Model, Runtime, Session};
/// # use std::path::Path;
/// # let mut config = Config::new();
/// # config.set("memory.budget", "24MiB")?;
/// # let runtime = Runtime::new(&config)?;
/// # let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true)?;
/// let mut request = Request::user("Hello!");
/// request.wait = Duration::from_secs(60);
/// # let free = runtime.memory().host().free;
/// # use plimsoll_engine::{Owner, Region, RequestId};
/// # let lease = runtime.guard().lease(Region::Host, Owner::Request(RequestId(u64::MAX)), free);
///
/// let session = Session::open(&model, &Config::new())?;
/// let Queued::Waits(verdict, mut waiting) = session.enqueue(&request)? else { panic!("memory is full") };
/// assert_eq!(verdict.position, 1);
/// assert!(waiting.poll()?.is_none());
///
/// // Something ends and gives its memory back.
/// drop(lease);
/// let Some((verdict, Some(ticket))) = waiting.poll()? else { panic!("there is memory again") };
/// let outcome = session.generate(&request, Some(&ticket), &Cancel::new(), |_| Flow::Continue)?;
/// assert_eq!(outcome.verdict, verdict);
/// # Ok(())
/// # }
/// ```
pub struct Waiting {
    turn: Box<Turn>,
    inner: guard::Waiting,
}

struct Turn {
    session: Session,
    request: Request,
    prepared: Prepared,
}

impl Waiting {
    pub(crate) fn new(session: Session, request: Request, prepared: Prepared, inner: guard::Waiting) -> Self {
        Waiting { turn: Box::new(Turn { session, request, prepared }), inner }
    }

    /// What became of the request, if there are news: a ticket, or a refusal without one, when its time is over or it can
    /// never fit any more. It does not sleep, and without news it costs next to nothing.
    ///
    /// # Errors
    /// It was decided before.
    pub fn poll(&mut self) -> Result<Option<(Verdict, Option<Ticket>)>> {
        let Turn { session, request, prepared } = &*self.turn;
        session.model().runtime.sweep_tickets();
        let Some((verdict, grant)) = self.inner.poll(&session.0.seat)? else { return Ok(None) };
        let ticket = |grant| session.ticket(request, prepared.clone(), grant, verdict);
        Ok(Some((verdict, grant.map(ticket))))
    }

    /// When its time is over, on the runtime's clock.
    pub fn until(&self) -> Duration {
        self.inner.until()
    }

    /// Whose request it is.
    pub fn session(&self) -> &Session {
        &self.turn.session
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Waiting").field(&self.inner).finish()
    }
}
