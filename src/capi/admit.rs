//! Admission: verdicts and tickets.

use super::boundary::poisoning;
use super::convert::{self, CallerSized, borrow, hand_out, lend, take_back};
use super::error::plimsoll_error;
use super::request::plimsoll_request;
use super::session::plimsoll_session;
use super::status::{plimsoll_status, plimsoll_str};
use crate::guard::{Decision, Pressure, Verdict};
use crate::ticket::Ticket;
use plimsoll_engine::Region;
use std::time::Duration;

/// Bytes granted for one run of one request in one session. They return when the run ends, when the ticket is freed, or when
/// it expires.
pub struct plimsoll_ticket(pub(super) Ticket);

/// It runs as asked.
pub const PLIMSOLL_DECISION_ACCEPT: i32 = 1;
/// It runs with fewer tokens.
pub const PLIMSOLL_DECISION_SHRINK: i32 = 2;
/// Another engine takes it.
pub const PLIMSOLL_DECISION_ROUTE: i32 = 3;
/// It does not run.
pub const PLIMSOLL_DECISION_REJECT: i32 = 4;

/// There is enough memory.
pub const PLIMSOLL_PRESSURE_LOW: i32 = 0;
/// 0.9 of the tokens, top_p at most 0.9.
pub const PLIMSOLL_PRESSURE_MEDIUM: i32 = 1;
/// 0.7 of the tokens, temperature at most 0.5, half of the batch at once.
pub const PLIMSOLL_PRESSURE_HIGH: i32 = 2;
/// Half of the tokens, greedy, a quarter of the batch.
pub const PLIMSOLL_PRESSURE_CRITICAL: i32 = 3;
/// 0.3 of the tokens, greedy, one request at a time.
pub const PLIMSOLL_PRESSURE_EMERGENCY: i32 = 4;

const _: () = {
    assert!(PLIMSOLL_PRESSURE_LOW == Pressure::Low as i32);
    assert!(PLIMSOLL_PRESSURE_MEDIUM == Pressure::Medium as i32);
    assert!(PLIMSOLL_PRESSURE_HIGH == Pressure::High as i32);
    assert!(PLIMSOLL_PRESSURE_CRITICAL == Pressure::Critical as i32);
    assert!(PLIMSOLL_PRESSURE_EMERGENCY == Pressure::Emergency as i32);
};

/// What was decided about a request, and every number behind it. Sizes are bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_verdict {
    /// In: bytes of this struct. Out: bytes of it that were written.
    pub struct_size: usize,
    /// One of `PLIMSOLL_DECISION_*`.
    pub decision: i32,
    /// max_tokens asked for.
    pub asked_tokens: u32,
    /// max_tokens granted; 0 when refused.
    pub granted_tokens: u32,
    /// The largest max_tokens that would be granted now.
    pub fits_tokens: u32,
    /// New bytes that the request needs.
    pub bytes_asked: u64,
    /// Bytes free for it, before anything is evicted.
    pub bytes_free: u64,
    /// KV of the whole session when the request ends at its longest.
    pub kv_bytes: u64,
    /// Of these, what the session holds already.
    pub kv_held_bytes: u64,
    /// Host bytes of the request itself.
    pub request_bytes: u64,
    /// The engine's workspace that the request shares; paid when the model was loaded.
    pub workspace_bytes: u64,
    /// KV that idle sessions lose for this request; their conversations stay.
    pub evict_bytes: u64,
    /// How many sessions these are.
    pub evict_sessions: u32,
    /// Always 0.
    pub reserved: u32,
    /// Of a refusal, after how many milliseconds to try again; -1 for a grant and for what can never fit.
    pub retry_after_ms: i64,
    /// What bounds the request, such as "fits", "context", "budget", "session_limit"; static.
    pub reason: plimsoll_str,
    /// How short memory was, one of `PLIMSOLL_PRESSURE_*`.
    pub pressure: i32,
    /// The memory that bounds the request: -1 is the host's, else it is that of the device with this index.
    pub region: i32,
    /// How many milliseconds the request waited for this.
    pub waited_ms: u32,
    /// Of a refusal, the request's place in the line, or the one that it would have had; the first is 1. 0 for a grant, and
    /// where waiting does not help.
    pub position: u32,
    /// What loading the request's model again takes, of the bytes asked; 0 for one that is loaded.
    pub load_bytes: u64,
    /// What idle models take that are unloaded for this request.
    pub unload_bytes: u64,
    /// How many models these are.
    pub unload_models: u64,
    /// How many answers this is about. Bytes are those of all together, tokens those of each.
    pub answers: u32,
    /// Where the KV is: -1 is the host's memory, else that of the device with this index.
    pub kv_region: i32,
}

// SAFETY: repr(C), struct_size first, any bytes are valid.
unsafe impl CallerSized for plimsoll_verdict {
    const NAME: &'static str = "plimsoll_verdict";
    fn with_size(mut self, size: usize) -> Self {
        self.struct_size = size;
        self
    }
}

fn millis(time: Option<Duration>) -> i64 {
    time.map_or(-1, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

fn index_of(region: Region) -> i32 {
    match region {
        Region::Device(index) => i32::from(index),
        _ => -1,
    }
}

impl From<&Verdict> for plimsoll_verdict {
    fn from(verdict: &Verdict) -> Self {
        plimsoll_verdict {
            struct_size: size_of::<plimsoll_verdict>(),
            decision: match verdict.decision {
                Decision::Accept => PLIMSOLL_DECISION_ACCEPT,
                Decision::Shrink => PLIMSOLL_DECISION_SHRINK,
                Decision::Route => PLIMSOLL_DECISION_ROUTE,
                Decision::Reject => PLIMSOLL_DECISION_REJECT,
            },
            asked_tokens: verdict.asked_tokens,
            granted_tokens: verdict.granted_tokens,
            fits_tokens: verdict.fits_tokens,
            bytes_asked: verdict.bytes_asked,
            bytes_free: verdict.bytes_free,
            kv_bytes: verdict.kv_bytes,
            kv_held_bytes: verdict.kv_held,
            request_bytes: verdict.request_bytes,
            workspace_bytes: verdict.workspace_bytes,
            evict_bytes: verdict.evict_bytes,
            evict_sessions: verdict.evict_sessions,
            reserved: 0,
            retry_after_ms: millis(verdict.retry_after),
            reason: lend(verdict.reason.name().as_bytes()),
            pressure: verdict.pressure as i32,
            region: index_of(verdict.region),
            waited_ms: u32::try_from(verdict.waited.as_millis()).unwrap_or(u32::MAX),
            position: verdict.position,
            load_bytes: verdict.load_bytes,
            unload_bytes: verdict.unload_bytes,
            unload_models: verdict.unload_models.into(),
            answers: verdict.answers,
            kv_region: index_of(verdict.kv_region),
        }
    }
}

/// Prices a request against the memory there is now. A refusal is a verdict, not an error: the call returns `PLIMSOLL_OK`
/// with `PLIMSOLL_DECISION_REJECT`, and `*ticket` is NULL. With `ticket` NULL it is a what-if: nothing is granted and
/// nothing changes. `verdict` may be NULL; else set `verdict->struct_size` first. A request with time to wait
/// (plimsoll_request_set_wait_ms()) may wait in this call; a what-if never waits, and says at which place the request would.
///
/// Ownership: the caller frees `*ticket` with plimsoll_ticket_free(), also after a run consumed it. `verdict->reason` is
/// static. Threads: any. Errors: what is wrong with the request itself, such as `EMPTY_REQUEST`, `INVALID_ARGUMENT`,
/// `PROMPT_TOO_LONG`, `TEMPLATE`, `TOKENIZER`; `INVALID_STRUCT_SIZE`, `POISONED`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_admit(
    session: *const plimsoll_session,
    request: *const plimsoll_request,
    verdict: *mut plimsoll_verdict,
    ticket: *mut *mut plimsoll_ticket,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles, sized structs and output pointers.
    unsafe {
        let poison = session.as_ref().map(|session| &session.poison);
        poisoning("plimsoll_admit", poison, error, || {
            let (session, request) = (borrow(session, "session")?, borrow(request, "request")?);
            let size = if verdict.is_null() { None } else { Some(convert::sized(verdict)?) };
            let decided = if ticket.is_null() {
                session.session.what_if(&request.0)?
            } else {
                let (decided, granted) = session.session.admit(&request.0)?;
                match granted {
                    Some(granted) => hand_out(ticket, plimsoll_ticket(granted))?,
                    None => ticket.write(std::ptr::null_mut()),
                }
                decided
            };
            if let Some(size) = size {
                convert::write_sized(verdict, size, plimsoll_verdict::from(&decided));
            }
            Ok(())
        })
    }
}

/// Frees a ticket; NULL is fine. The bytes of one that did not run return at once; a run that consumed it goes on.
///
/// Ownership: takes the ticket. Threads: one. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_ticket_free(ticket: *mut plimsoll_ticket) {
    // SAFETY: the header's rule for frees.
    unsafe { take_back(ticket) };
}
