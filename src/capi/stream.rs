//! Running a request and pulling its events.

use super::admit::plimsoll_ticket;
use super::boundary::{Poison, poisoning};
use super::cancel::{flag, plimsoll_cancel};
use super::convert::{self, borrow, hand_out, output, take_back};
use super::error::plimsoll_error;
use super::generate::{PLIMSOLL_EVENT_END, PLIMSOLL_EVENT_TIMEOUT, plimsoll_event, plimsoll_result};
use super::request::plimsoll_request;
use super::session::plimsoll_session;
use super::status::plimsoll_status;
use crate::error::{Error, ErrorCode};
use crate::outcome::Outcome;
use crate::stream::{Polled, Stream};
use plimsoll_engine::Cancel;
use std::cell::UnsafeCell;
use std::time::Duration;

/// A running request whose events are pulled.
pub struct plimsoll_stream {
    /// Of the thread that pulls. A cell, since others may hold references to the whole meanwhile, to cancel it.
    pub(super) pulled: UnsafeCell<Pulled>,
    cancel: Cancel,
    pub(super) poison: Poison,
}

pub(super) struct Pulled {
    stream: Stream,
    pub(super) outcome: Option<Outcome>,
}

/// Starts a request; its events come from plimsoll_stream_next(). Until the stream has ended or is freed its session runs
/// nothing else. Tokens that are not pulled wait in memory that the request has paid for, so a slow reader slows nobody.
///
/// Ownership: borrows all; the caller frees `*out` with plimsoll_stream_free(). Threads: any. Errors: as plimsoll_generate().
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_stream_start(
    session: *const plimsoll_session,
    request: *const plimsoll_request,
    ticket: *const plimsoll_ticket,
    cancel: *const plimsoll_cancel,
    out: *mut *mut plimsoll_stream,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        let poison = session.as_ref().map(|session| &session.poison);
        poisoning("plimsoll_stream_start", poison, error, || {
            let (session, request) = (borrow(session, "session")?, borrow(request, "request")?);
            let out = output(out, "out")?;
            let ticket = ticket.as_ref().map(|ticket| &ticket.0);
            let stream = session.session.stream(&request.0, ticket, &flag(cancel))?;
            let cancel = stream.canceller();
            let pulled = UnsafeCell::new(Pulled { stream, outcome: None });
            hand_out(out, plimsoll_stream { pulled, cancel, poison: Poison::default() })
        })
    }
}

/// Waits for the next event, at most `timeout_ms` milliseconds; a negative number waits for ever. Set `event->struct_size`
/// first. The kind is `PLIMSOLL_EVENT_END` when the answer has ended, and stays so; then plimsoll_stream_result() has the
/// numbers.
///
/// Ownership: what `event` points to lives until the next call on this stream. Threads: one at a time. Errors: `ENGINE_*`,
/// `OUT_OF_MEMORY` when the request failed, the same again on every later call; `INVALID_STRUCT_SIZE`, `POISONED`,
/// `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_stream_next(
    stream: *mut plimsoll_stream,
    timeout_ms: i64,
    event: *mut plimsoll_event,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and sized structs; by them one thread at a time pulls.
    unsafe {
        let poison = stream.as_ref().map(|stream| &stream.poison);
        poisoning("plimsoll_stream_next", poison, error, || {
            let Pulled { stream, outcome } = &mut *borrow(stream, "stream")?.pulled.get();
            let size = convert::sized(event)?;
            let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
            let value = match stream.next(timeout)? {
                Polled::Event(next) => plimsoll_event::lend(&next),
                Polled::TimedOut => plimsoll_event::bare(PLIMSOLL_EVENT_TIMEOUT),
                Polled::Finished(finished) => {
                    outcome.get_or_insert(finished);
                    plimsoll_event::bare(PLIMSOLL_EVENT_END)
                }
            };
            convert::write_sized(event, size, value);
            Ok(())
        })
    }
}

/// The numbers of an answer whose `PLIMSOLL_EVENT_END` has come. Set `result->struct_size` first.
///
/// Ownership: borrows the stream. Threads: one at a time. Errors: `INVALID_ARGUMENT` before the end, `INVALID_STRUCT_SIZE`,
/// `POISONED`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_stream_result(
    stream: *const plimsoll_stream,
    result: *mut plimsoll_result,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and sized structs; by them no other thread pulls meanwhile.
    unsafe {
        let poison = stream.as_ref().map(|stream| &stream.poison);
        poisoning("plimsoll_stream_result", poison, error, || {
            let pulled = &*borrow(stream, "stream")?.pulled.get();
            let size = convert::sized(result)?;
            let Some(outcome) = &pulled.outcome else {
                return Err(Error::new(ErrorCode::InvalidArgument, "the stream has not ended yet"));
            };
            convert::write_sized(result, size, plimsoll_result::from(outcome));
            Ok(())
        })
    }
}

/// Cancels the stream's request; NULL is fine. It never blocks; the end still comes through plimsoll_stream_next().
///
/// Ownership: borrows the stream. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_stream_cancel(stream: *const plimsoll_stream) {
    // SAFETY: the header's rule for handles. Another thread may be in plimsoll_stream_next() meanwhile; what it has to itself is
    // in a cell.
    if let Some(stream) = unsafe { stream.as_ref() } {
        stream.cancel.cancel();
    }
}

/// Frees a stream; NULL is fine. A running request is cancelled first, and the call waits for the step it is in.
///
/// Ownership: takes the stream. Threads: one. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_stream_free(stream: *mut plimsoll_stream) {
    // SAFETY: the header's rule for frees.
    unsafe { take_back(stream) };
}
