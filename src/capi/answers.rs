//! Several answers of one request.

use super::admit::plimsoll_ticket;
use super::boundary::{boundary, poisoning};
use super::cancel::{flag, plimsoll_cancel};
use super::convert::{self, borrow, borrow_mut, lend};
use super::error::plimsoll_error;
use super::generate::{on_event_flow, plimsoll_on_event, plimsoll_result};
use super::request::plimsoll_request;
use super::session::plimsoll_session;
use super::status::{plimsoll_status, plimsoll_str};
use super::stream::plimsoll_stream;
use crate::error::{Error, ErrorCode, Result};
use crate::outcome::Outcome;
use crate::request::MAX_ANSWERS;
use std::ffi::c_void;

impl plimsoll_result {
    /// One of the answers; the index is below their number.
    pub(super) fn of(outcome: &Outcome, index: usize) -> Option<plimsoll_result> {
        let answer = outcome.answers().nth(index)?;
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let (answers, index) = (number(outcome.others.len() + 1), number(index));
        Some(plimsoll_result { answer: index, answers, ..plimsoll_result::from(answer) })
    }
}

/// How many answers to generate side by side [1], at most 128: alternatives to each other, of the same prompt. All are granted,
/// or none; max_tokens is for each, and the price is that of one as often. The conversation goes on with answer 0; the KV of the
/// others goes when they end. Answer i draws with the request's seed + i (0 after the largest), so it is what a request for one
/// answer with that seed gets, unless rounding in another batch chooses a different token; without a seed each draws its own.
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for 0 and for more than 128; the
/// request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_answers(
    request: *mut plimsoll_request,
    value: u32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        boundary("plimsoll_request_set_answers", error, || -> Result<()> {
            let request = borrow_mut(request, "request")?;
            if value == 0 || value > MAX_ANSWERS {
                let text = format!("answers is {value}; it must be from 1 to {MAX_ANSWERS}");
                return Err(Error::new(ErrorCode::InvalidArgument, text));
            }
            request.0.answers = value;
            Ok(())
        })
    }
}

/// plimsoll_generate() for several answers: writes the results of the first `count` answers, answer 0 first, into the array
/// `results`. Set `struct_size` of each before; all have the size of the first. With `count` 0 `results` may be NULL. The events say
/// which answer they are of.
///
/// Ownership: borrows all. Threads: any; `on_event` is called on this one. Errors: those of plimsoll_generate();
/// `INVALID_ARGUMENT` when `count` is more than the request's answers, `INVALID_STRUCT_SIZE` when the sizes differ. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_generate_answers(
    session: *const plimsoll_session,
    request: *const plimsoll_request,
    ticket: *const plimsoll_ticket,
    cancel: *const plimsoll_cancel,
    on_event: plimsoll_on_event,
    user_data: *mut c_void,
    results: *mut plimsoll_result,
    count: usize,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles, sized structs, arrays and callbacks.
    unsafe {
        let poison = session.as_ref().map(|session| &session.poison);
        poisoning("plimsoll_generate_answers", poison, error, || {
            let (session, request) = (borrow(session, "session")?, borrow(request, "request")?);
            if count > request.0.answers as usize {
                let text = format!("{count} results of a request for {} answers", request.0.answers);
                return Err(Error::new(ErrorCode::InvalidArgument, text));
            }
            let size = if count == 0 { 0 } else { convert::sized(results)? };
            let stride = if count == 0 { 0 } else { results.cast::<usize>().read() };
            let at = |index: usize| results.cast::<u8>().add(index * stride).cast::<plimsoll_result>();
            for index in 0..count {
                // A size that is not what it should be may be no multiple of the alignment either.
                if at(index).cast::<usize>().read_unaligned() != stride {
                    let text = format!("struct_size of result {index} is not that of result 0, {stride}");
                    return Err(Error::new(ErrorCode::InvalidStructSize, text));
                }
            }
            let ticket = ticket.as_ref().map(|ticket| &ticket.0);
            let outcome = session.session.generate(&request.0, ticket, &flag(cancel), |event| {
                on_event_flow(on_event, user_data, event)
            })?;
            for index in 0..count {
                if let Some(result) = plimsoll_result::of(&outcome, index) {
                    convert::write_sized(at(index), size, result);
                }
            }
            Ok(())
        })
    }
}

/// An answer whose stream has ended: its numbers and its whole text. `result` and `text` may be NULL; else set
/// `result->struct_size` first. plimsoll_stream_result() has the numbers of answer 0.
///
/// Ownership: `*text` lives until the stream is freed. Threads: one at a time. Errors: `INVALID_ARGUMENT` before the end and for an
/// answer that was not asked for, `INVALID_STRUCT_SIZE`, `POISONED`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_stream_answer(
    stream: *const plimsoll_stream,
    answer: u32,
    result: *mut plimsoll_result,
    text: *mut plimsoll_str,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and sized structs; by them no other thread pulls meanwhile.
    unsafe {
        let poison = stream.as_ref().map(|stream| &stream.poison);
        poisoning("plimsoll_stream_answer", poison, error, || {
            let pulled = &*borrow(stream, "stream")?.pulled.get();
            let size = if result.is_null() { None } else { Some(convert::sized(result)?) };
            let Some(outcome) = &pulled.outcome else {
                return Err(Error::new(ErrorCode::InvalidArgument, "the stream has not ended yet"));
            };
            let index = answer as usize;
            let (Some(found), Some(numbers)) =
                (outcome.answers().nth(index), plimsoll_result::of(outcome, index))
            else {
                let count = outcome.others.len() + 1;
                let why = format!("answer {answer} of {count}, which are counted from 0");
                return Err(Error::new(ErrorCode::InvalidArgument, why));
            };
            if let Some(size) = size {
                convert::write_sized(result, size, numbers);
            }
            if let Some(text) = text.as_mut() {
                *text = lend(found.text.as_bytes());
            }
            Ok(())
        })
    }
}
