//! A ticket: a granted request that has not run yet, and owns its bytes.

use crate::conversation::Prepared;
use crate::error::{Error, ErrorCode, Result};
use crate::guard::{Grant, Item, Purpose, Verdict};
use crate::request::Request;
use plimsoll_engine::{ModelId, Owner, RequestId, SessionKey};
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Bytes granted for one run of one request in one session. They return when the ticket is dropped, is used and the
/// request ends, or expires.
///
/// ```
/// use plimsoll::{Cancel, ErrorCode, Flow, Request};
///
/// # fn main() -> plimsoll::Result<()> {
/// # use plimsoll::{Config, Model, Runtime};
/// # use std::path::Path;
/// # let runtime = Runtime::new(&Config::new())?;
/// # let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true)?;
/// # let session = plimsoll::Session::open(&model, &Config::new())?;
/// let request = Request::user("What is a ticket?");
/// let (verdict, ticket) = session.admit(&request)?;
/// let Some(ticket) = ticket else { panic!("refused: {verdict}") };
/// assert!(runtime.memory().request_bytes > 0);
///
/// // Whatever others do meanwhile, the request has its bytes.
/// let outcome = session.generate(&request, Some(&ticket), &Cancel::new(), |_| Flow::Continue)?;
/// assert_eq!(outcome.verdict, verdict);
///
/// // A ticket is good for one run.
/// let again = session.generate(&request, Some(&ticket), &Cancel::new(), |_| Flow::Continue);
/// assert_eq!(again.unwrap_err().code(), ErrorCode::TicketConsumed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Ticket {
    held: Arc<Held>,
    model: ModelId,
    session: SessionKey,
    request: RequestId,
    verdict: Verdict,
}

/// The part that the runtime's sweep can take away when the time is over.
#[derive(Debug)]
pub(crate) struct Held {
    expires: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Ready(Box<Granted>),
    Consumed,
    Expired,
}

/// What a ticket holds.
#[derive(Debug)]
pub(crate) struct Granted {
    pub(crate) request: Request,
    pub(crate) prepared: Prepared,
    pub(crate) grant: Grant,
    pub(crate) verdict: Verdict,
}

impl Ticket {
    pub(crate) fn new(model: ModelId, session: SessionKey, expires: Duration, granted: Granted) -> Self {
        let (verdict, request) = (granted.verdict, granted.grant.request);
        let state = Mutex::new(State::Ready(Box::new(granted)));
        Ticket { held: Arc::new(Held { expires, state }), model, session, request, verdict }
    }

    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.held
    }

    /// What was decided.
    pub fn verdict(&self) -> &Verdict {
        &self.verdict
    }

    /// The price line by line, as it was when the ticket was granted, each with its owner in the ledger. What is new, of one
    /// owner, is what his leases of this ticket hold until it is used, dropped or expires.
    pub fn items(&self) -> Vec<Item> {
        let owner = |purpose| match purpose {
            Purpose::Kv => Some(Owner::Kv(self.session)),
            Purpose::Request => Some(Owner::Request(self.request)),
            Purpose::Workspace => Some(Owner::Workspace(self.model)),
            _ => None,
        };
        let items = self.verdict.items().into_iter();
        items.map(|item| Item { owner: owner(item.what.purpose()), ..item }).collect()
    }

    /// What was decided and the price line by line, as [`Verdict::to_json`] with the owners.
    pub fn to_json(&self) -> Value {
        self.verdict.json_with(&self.items())
    }

    /// Takes the grant out for a run.
    ///
    /// # Errors
    /// `TicketMismatch`, `TicketConsumed` or `TicketExpired`; after a mismatch the ticket is still good.
    pub(crate) fn consume(&self, session: SessionKey, request: &Request, turn: u64) -> Result<Granted> {
        let mut state = self.held.state.lock().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Consumed => {
                return Err(Error::new(ErrorCode::TicketConsumed, "the ticket was used before"));
            }
            State::Expired => {
                return Err(Error::new(
                    ErrorCode::TicketExpired,
                    "the ticket expired and its bytes are back",
                ));
            }
            State::Ready(granted) => {
                let what = if session != self.session {
                    Some("another session")
                } else if granted.request != *request {
                    Some("another request")
                } else if granted.prepared.turn() != turn {
                    Some("an earlier turn of the session")
                } else {
                    None
                };
                if let Some(what) = what {
                    let text = format!("the ticket was granted for {what}");
                    return Err(Error::new(ErrorCode::TicketMismatch, text));
                }
            }
        }
        match std::mem::replace(&mut *state, State::Consumed) {
            State::Ready(granted) => Ok(*granted),
            _ => Err(Error::new(ErrorCode::Internal, "a ticket changed under its lock")),
        }
    }
}

impl Held {
    /// Returns the bytes of an unused ticket whose time is over.
    pub(crate) fn expire(&self, now: Duration) {
        if now < self.expires {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Ready(_)) {
            let granted = std::mem::replace(&mut *state, State::Expired);
            drop(state);
            // Its leases return outside of the lock.
            drop(granted);
        }
    }
}
