//! Prices line by line.

use super::admit::plimsoll_ticket;
use super::boundary::{boundary, poisoning};
use super::convert::{borrow, hand_out, output};
use super::error::plimsoll_error;
use super::request::plimsoll_request;
use super::session::plimsoll_session;
use super::status::plimsoll_status;
use super::text::plimsoll_text;

/// What plimsoll_admit() would decide now, as a JSON object: decision, reason, the numbers of plimsoll_verdict, and "items", the
/// price of all "answers" together line by line. Each line has "region" ("host", "device 0"), "what" ("kv", "kv_held", "ring",
/// "buffers", "workspace", "load"), "purpose" (the ledger's column: "kv", "request", "workspace"), "bytes", and "new": whether a
/// grant books them, as the others were booked by an earlier turn or when the model was loaded. "new_bytes" is the sum of the
/// new lines. Nothing is granted and nothing changes.
///
/// Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: those of plimsoll_admit(). Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_what_if_json(
    session: *const plimsoll_session,
    request: *const plimsoll_request,
    out: *mut *mut plimsoll_text,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        let poison = session.as_ref().map(|session| &session.poison);
        poisoning("plimsoll_what_if_json", poison, error, || {
            let (session, request) = (borrow(session, "session")?, borrow(request, "request")?);
            let out = output(out, "out")?;
            let verdict = session.session.what_if(&request.0)?;
            hand_out(out, plimsoll_text(verdict.to_json().to_string()))
        })
    }
}

/// What was granted to a ticket, as plimsoll_what_if_json() writes it. Each line also has its "owner" in the ledger, as in
/// plimsoll_memory_stats_json(): what is new, of one owner, is what this ticket holds until it is used, freed or expires.
///
/// Ownership: the caller frees `*out` with plimsoll_text_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_ticket_json(
    ticket: *const plimsoll_ticket,
    out: *mut *mut plimsoll_text,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_ticket_json", error, || {
            let (ticket, out) = (borrow(ticket, "ticket")?, output(out, "out")?);
            hand_out(out, plimsoll_text(ticket.0.to_json().to_string()))
        })
    }
}
