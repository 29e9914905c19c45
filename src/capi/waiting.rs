//! How a request waits for memory.

use super::boundary::boundary;
use super::convert::borrow_mut;
use super::error::plimsoll_error;
use super::request::plimsoll_request;
use super::status::plimsoll_status;
use crate::error::{Error, ErrorCode};
use std::time::Duration;

/// How long the request may wait for memory, in milliseconds [0: it is refused at once]. Requests that wait are granted in order
/// of priority, and within one in order of arrival; nobody who comes later takes what they wait for. A request waits for as long
/// as not even its min_tokens fit, and is then given as many tokens as do. The waiting ends with a grant, or with a refusal and
/// the numbers of that moment: when the time is over, or the deadline, or when the cancel token is raised. What can never fit
/// does not wait; nor does a request for which the line is full (the key `guard.queue`), which is `QUEUE_FULL`.
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_wait_ms(
    request: *mut plimsoll_request,
    value: u64,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        boundary("plimsoll_request_set_wait_ms", error, || {
            borrow_mut(request, "request")?.0.wait = Duration::from_millis(value);
            Ok(())
        })
    }
}

/// The request's place among those who wait for memory [0]: before all of a lower priority. From -128 to 127.
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_priority(
    request: *mut plimsoll_request,
    value: i32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        boundary("plimsoll_request_set_priority", error, || {
            let request = borrow_mut(request, "request")?;
            request.0.priority = i8::try_from(value).map_err(|_| {
                let text = format!("priority is {value}; it must be from {} to {}", i8::MIN, i8::MAX);
                Error::new(ErrorCode::InvalidArgument, text)
            })?;
            Ok(())
        })
    }
}
