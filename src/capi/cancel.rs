//! Cancel tokens.

use super::boundary::boundary;
use super::convert::{hand_out, output, take_back};
use super::error::plimsoll_error;
use super::status::plimsoll_status;
use plimsoll_engine::Cancel;

/// A flag that ends every request it was given to. It may be freed while they run: each holds its own reference.
pub struct plimsoll_cancel(Cancel);

/// The flag behind a handle; one that is never raised for NULL.
///
/// # Safety
/// `cancel` is NULL or live.
pub(super) unsafe fn flag(cancel: *const plimsoll_cancel) -> Cancel {
    // SAFETY: the caller's promise.
    unsafe { cancel.as_ref() }.map(|cancel| cancel.0.clone()).unwrap_or_default()
}

/// Makes a cancel token.
///
/// Ownership: the caller frees `*out` with plimsoll_cancel_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_cancel_new(
    out: *mut *mut plimsoll_cancel,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for output pointers.
    unsafe {
        boundary("plimsoll_cancel_new", error, || {
            hand_out(output(out, "out")?, plimsoll_cancel(Cancel::new()))
        })
    }
}

/// Cancels every request that was or will be given this token. It never blocks, may be called from any thread, a callback
/// or a signal handler, and more than once; NULL is fine. The requests end within one step, their bytes come back, and then
/// the result says `PLIMSOLL_ENDING_CANCELLED`. One that waits for memory is refused, with `MEMORY_REFUSED`.
///
/// Ownership: borrows the token. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_cancel_raise(cancel: *const plimsoll_cancel) {
    // SAFETY: the header's rule for handles.
    if let Some(cancel) = unsafe { cancel.as_ref() } {
        cancel.0.cancel();
    }
}

/// Frees a cancel token; NULL is fine. Requests that have it go on.
///
/// Ownership: takes the token. Threads: one. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_cancel_free(cancel: *mut plimsoll_cancel) {
    // SAFETY: the header's rule for frees.
    unsafe { take_back(cancel) };
}
