//! Running a request with a callback.

use super::admit::{plimsoll_ticket, plimsoll_verdict};
use super::boundary::poisoning;
use super::cancel::{flag, plimsoll_cancel};
use super::convert::{self, CallerSized, borrow, lend};
use super::error::plimsoll_error;
use super::request::plimsoll_request;
use super::session::plimsoll_session;
use super::status::{plimsoll_status, plimsoll_str};
use crate::guard::Degraded;
use crate::outcome::{Ending, Outcome};
use crate::session::Flow;
use crate::stream::Event;
use plimsoll_engine::TopLogprob;
use std::ffi::c_void;
use std::time::Duration;

/// A token came, with the text that is now certain.
pub const PLIMSOLL_EVENT_TOKEN: i32 = 1;
/// Text that was held back is released; there is no token.
pub const PLIMSOLL_EVENT_TEXT: i32 = 2;
/// The answer has ended; from plimsoll_stream_next() only.
pub const PLIMSOLL_EVENT_END: i32 = 3;
/// Nothing came in time; from plimsoll_stream_next() only.
pub const PLIMSOLL_EVENT_TIMEOUT: i32 = 4;

/// The model ended the answer.
pub const PLIMSOLL_ENDING_END_OF_TEXT: i32 = 1;
/// The granted tokens are used up.
pub const PLIMSOLL_ENDING_LENGTH: i32 = 2;
/// A stop string came.
pub const PLIMSOLL_ENDING_STOP_STRING: i32 = 3;
/// The callback stopped it.
pub const PLIMSOLL_ENDING_STOPPED: i32 = 4;
/// It was cancelled.
pub const PLIMSOLL_ENDING_CANCELLED: i32 = 5;
/// Its deadline passed.
pub const PLIMSOLL_ENDING_DEADLINE: i32 = 6;

/// Memory pressure left fewer tokens.
pub const PLIMSOLL_DEGRADED_TOKENS: u32 = 1;
/// Memory pressure lowered top_p.
pub const PLIMSOLL_DEGRADED_TOP_P: u32 = 2;
/// Memory pressure lowered the temperature; at 0 the answer is greedy.
pub const PLIMSOLL_DEGRADED_TEMPERATURE: u32 = 4;

/// One of the likeliest tokens at a position.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_logprob {
    /// Its id.
    pub token: u32,
    /// The natural logarithm of its probability.
    pub logprob: f32,
}

/// Something that happened in a running request. It and all it points to live until the callback returns or the next call on
/// the stream.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_event {
    /// In, for plimsoll_stream_next(): bytes of this struct. Out: bytes of it that were written.
    pub struct_size: usize,
    /// One of `PLIMSOLL_EVENT_*`.
    pub kind: i32,
    /// The token's id; `UINT32_MAX` where there is none.
    pub token: u32,
    /// The natural logarithm of its probability, before sampling settings; 0 where there is no token.
    pub logprob: f32,
    /// How many items `top` has.
    pub top_count: u32,
    /// The likeliest tokens at this position, likeliest first, when the request asked for them.
    pub top: *const plimsoll_logprob,
    /// Text that is now certain: whole UTF-8 characters, and no part of a stop string. Often empty.
    pub text: plimsoll_str,
    /// Which answer it is of: 0 for the first, which is the only one unless the request asks for more.
    pub answer: u32,
    /// Always 0.
    pub reserved: u32,
}

// SAFETY: repr(C), struct_size first, any bytes are valid.
unsafe impl CallerSized for plimsoll_event {
    const NAME: &'static str = "plimsoll_event";
    fn with_size(mut self, size: usize) -> Self {
        self.struct_size = size;
        self
    }
}

// The alternatives are lent to C as they are.
const _: () = {
    assert!(size_of::<plimsoll_logprob>() == size_of::<TopLogprob>());
    assert!(std::mem::offset_of!(TopLogprob, id) == 0 && std::mem::offset_of!(TopLogprob, logprob) == 4);
};

impl plimsoll_event {
    pub(super) fn bare(kind: i32) -> Self {
        plimsoll_event {
            struct_size: size_of::<plimsoll_event>(),
            kind,
            token: u32::MAX,
            logprob: 0.0,
            top_count: 0,
            top: std::ptr::null(),
            text: lend(b""),
            answer: 0,
            reserved: 0,
        }
    }

    pub(super) fn lend(event: &Event<'_>) -> Self {
        let kind = if event.token.is_some() { PLIMSOLL_EVENT_TOKEN } else { PLIMSOLL_EVENT_TEXT };
        plimsoll_event {
            token: event.token.map_or(u32::MAX, |token| token.id),
            logprob: event.token.map_or(0.0, |token| token.logprob),
            top_count: u32::try_from(event.tops.len()).unwrap_or(0),
            top: event.tops.as_ptr().cast(),
            text: lend(event.text.as_bytes()),
            answer: event.answer,
            ..plimsoll_event::bare(kind)
        }
    }
}

/// Hears of a request's events, on the thread that called plimsoll_generate(), with no lock held. Returns 0 to go on, anything
/// else to stop: no further event comes then. It must not throw. Getters, and raising a cancel token, are allowed inside;
/// running another request of the same session is not (`REENTRANT`), nor is freeing what runs.
pub type plimsoll_on_event =
    Option<unsafe extern "C" fn(event: *const plimsoll_event, user_data: *mut c_void) -> i32>;

/// Tells a host of an event, if it wants to hear of it.
///
/// # Safety
/// The header's rules for callbacks.
pub(super) unsafe fn on_event_flow(
    on_event: plimsoll_on_event,
    user_data: *mut c_void,
    event: &Event<'_>,
) -> Flow {
    match on_event {
        // SAFETY: the caller's promise.
        Some(call) if unsafe { call(&plimsoll_event::lend(event), user_data) } != 0 => Flow::Stop,
        _ => Flow::Continue,
    }
}

/// A finished answer's numbers.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_result {
    /// In: bytes of this struct. Out: bytes of it that were written.
    pub struct_size: usize,
    /// Why the answer ended, one of `PLIMSOLL_ENDING_*`.
    pub ending: i32,
    /// What was decided before, one of `PLIMSOLL_DECISION_*`.
    pub decision: i32,
    /// Tokens of the conversation up to where the answer began.
    pub prompt_tokens: u32,
    /// Of these, tokens whose KV the session already held.
    pub cached_tokens: u32,
    /// Tokens generated, an end-of-text token left out.
    pub generated_tokens: u32,
    /// max_tokens granted.
    pub granted_tokens: u32,
    /// Microseconds from submission to the first step.
    pub queued_us: u64,
    /// Microseconds from the first step to the first token.
    pub prefill_us: u64,
    /// Microseconds from the first token to the last.
    pub decode_us: u64,
    /// Generated tokens per second after the first; 0 for fewer than two.
    pub tokens_per_second: f64,
    /// Bytes that were leased for this request.
    pub leased_bytes: u64,
    /// Bytes of KV that the session holds now.
    pub kv_bytes: u64,
    /// Bytes free in the region of the KV now.
    pub bytes_free: u64,
    /// How short memory was when the request was admitted, one of `PLIMSOLL_PRESSURE_*`.
    pub pressure: i32,
    /// What that changed: bits of `PLIMSOLL_DEGRADED_*`.
    pub degraded: u32,
    /// Which answer this is; the conversation goes on with 0.
    pub answer: u32,
    /// How many there are.
    pub answers: u32,
}

// SAFETY: repr(C), struct_size first, any bytes are valid.
unsafe impl CallerSized for plimsoll_result {
    const NAME: &'static str = "plimsoll_result";
    fn with_size(mut self, size: usize) -> Self {
        self.struct_size = size;
        self
    }
}

const _: () = {
    assert!(PLIMSOLL_ENDING_END_OF_TEXT == Ending::EndOfText as i32);
    assert!(PLIMSOLL_ENDING_LENGTH == Ending::Length as i32);
    assert!(PLIMSOLL_ENDING_STOP_STRING == Ending::StopString as i32);
    assert!(PLIMSOLL_ENDING_STOPPED == Ending::Stopped as i32);
    assert!(PLIMSOLL_ENDING_CANCELLED == Ending::Cancelled as i32);
    assert!(PLIMSOLL_ENDING_DEADLINE == Ending::Deadline as i32);
};

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn bits(degraded: &Degraded) -> u32 {
    let bit = |changed: bool, bit: u32| if changed { bit } else { 0 };
    bit(degraded.max_tokens.is_some(), PLIMSOLL_DEGRADED_TOKENS)
        | bit(degraded.top_p.is_some(), PLIMSOLL_DEGRADED_TOP_P)
        | bit(degraded.temperature.is_some(), PLIMSOLL_DEGRADED_TEMPERATURE)
}

impl From<&Outcome> for plimsoll_result {
    fn from(outcome: &Outcome) -> Self {
        plimsoll_result {
            struct_size: size_of::<plimsoll_result>(),
            ending: outcome.ending as i32,
            decision: plimsoll_verdict::from(&outcome.verdict).decision,
            prompt_tokens: outcome.prompt_tokens,
            cached_tokens: outcome.cached_tokens,
            generated_tokens: outcome.generated_tokens,
            granted_tokens: outcome.verdict.granted_tokens,
            queued_us: micros(outcome.queued),
            prefill_us: micros(outcome.prefill),
            decode_us: micros(outcome.decode),
            tokens_per_second: outcome.tokens_per_second(),
            leased_bytes: outcome.verdict.bytes_asked,
            kv_bytes: outcome.kv_bytes,
            bytes_free: outcome.bytes_free,
            pressure: outcome.verdict.pressure as i32,
            degraded: bits(&outcome.degraded),
            answer: 0,
            answers: u32::try_from(outcome.others.len() + 1).unwrap_or(u32::MAX),
        }
    }
}

/// Runs a request and returns when its answer has ended, or all of several; `result` is that of answer 0, and
/// plimsoll_generate_answers() has the others'. With `ticket` NULL the request is admitted first; a ticket is consumed when the
/// run starts. `cancel`, `on_event` and `result` may be NULL; else set `result->struct_size` first. Requests of one session run
/// one at a time, in arrival order; those of different sessions run together. The answer joins the session's conversation, also
/// when it was stopped, cancelled or late; after an error the conversation is as it was before.
///
/// Ownership: borrows all. Threads: any; `on_event` is called on this one. Errors: `MEMORY_REFUSED` with its numbers,
/// `QUEUE_FULL`, `OUT_OF_MEMORY`, `BUSY` while a stream or a ticket of the session is outstanding, `REENTRANT`, `TICKET_*`,
/// `EMPTY_REQUEST`, `INVALID_ARGUMENT`, `INVALID_TOKEN`, `PROMPT_TOO_LONG`, `TEMPLATE`, `TOKENIZER`, `ENGINE_*`, `POISONED`,
/// `INVALID_STRUCT_SIZE`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_generate(
    session: *const plimsoll_session,
    request: *const plimsoll_request,
    ticket: *const plimsoll_ticket,
    cancel: *const plimsoll_cancel,
    on_event: plimsoll_on_event,
    user_data: *mut c_void,
    result: *mut plimsoll_result,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles, sized structs and callbacks.
    unsafe {
        let poison = session.as_ref().map(|session| &session.poison);
        poisoning("plimsoll_generate", poison, error, || {
            let (session, request) = (borrow(session, "session")?, borrow(request, "request")?);
            let size = if result.is_null() { None } else { Some(convert::sized(result)?) };
            let ticket = ticket.as_ref().map(|ticket| &ticket.0);
            let outcome = session.session.generate(&request.0, ticket, &flag(cancel), |event| {
                on_event_flow(on_event, user_data, event)
            })?;
            if let Some(size) = size {
                convert::write_sized(result, size, plimsoll_result::from(&outcome));
            }
            Ok(())
        })
    }
}
