//! Errors as C sees them.

use super::boundary::quiet;
use super::convert::lend;
use super::status::{PLIMSOLL_OK, plimsoll_status, plimsoll_str};
use crate::error::{Error, ErrorCode, Section};
use std::alloc::{Layout, alloc};

/// Section of arguments, configuration and requests.
pub const PLIMSOLL_SECTION_REQUEST: i32 = 1;
/// Section of reading models.
pub const PLIMSOLL_SECTION_LOADING: i32 = 2;
/// Section of memory and admission.
pub const PLIMSOLL_SECTION_MEMORY: i32 = 3;
/// Section of running models.
pub const PLIMSOLL_SECTION_GENERATION: i32 = 4;
/// Section of freeing and evicting.
pub const PLIMSOLL_SECTION_CLEANUP: i32 = 5;
/// Section of engines' health.
pub const PLIMSOLL_SECTION_HEALTH: i32 = 6;
/// Section of credentials.
pub const PLIMSOLL_SECTION_AUTHENTICATION: i32 = 7;
/// Section of plimsoll's own faults.
pub const PLIMSOLL_SECTION_INTERNAL: i32 = 9;

/// An error: a code, its section, a text with its causes, and for refusals the numbers.
pub struct plimsoll_error(Option<Error>);

/// Handed out when there is no memory for an error: set aside from the start, and never freed.
static NO_MEMORY: plimsoll_error = plimsoll_error(None);

const NO_MEMORY_TEXT: &str = "the system has no memory left, not even for an error";

impl plimsoll_error {
    pub(super) fn allocate(error: Error) -> *mut plimsoll_error {
        // SAFETY: the layout's size is not 0.
        let memory = unsafe { alloc(Layout::new::<plimsoll_error>()) }.cast::<plimsoll_error>();
        if memory.is_null() {
            return (&raw const NO_MEMORY).cast_mut();
        }
        // SAFETY: fresh memory of this very layout.
        unsafe { memory.write(plimsoll_error(Some(error))) };
        memory
    }

    fn code(&self) -> ErrorCode {
        self.0.as_ref().map_or(ErrorCode::OutOfMemory, Error::code)
    }
}

/// Calls `read` on an error, or gives the default for NULL.
///
/// # Safety
/// `error` is NULL or came from this library and is not freed.
unsafe fn read<T>(error: *const plimsoll_error, default: T, read: impl FnOnce(&plimsoll_error) -> T) -> T {
    // SAFETY: the caller's promise.
    match unsafe { error.as_ref() } {
        Some(error) => read(error),
        None => default,
    }
}

/// The code of an error; `PLIMSOLL_OK` for NULL.
///
/// Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_error_code(error: *const plimsoll_error) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe { read(error, PLIMSOLL_OK, |error| error.code() as plimsoll_status) }
}

/// The section of an error, one of `PLIMSOLL_SECTION_*`; 0 for NULL.
///
/// Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_error_section(error: *const plimsoll_error) -> i32 {
    // SAFETY: the header's rule for handles.
    unsafe { read(error, 0, |error| error.code().section() as i32) }
}

/// The text of an error with its causes, at most about 1 KiB, control characters escaped; empty for NULL.
///
/// Ownership: borrowed, lives until the error is freed. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_error_message(error: *const plimsoll_error) -> plimsoll_str {
    // SAFETY: the header's rule for handles.
    unsafe {
        read(error, lend(b""), |error| {
            lend(error.0.as_ref().map_or(NO_MEMORY_TEXT, Error::message).as_bytes())
        })
    }
}

/// 1 when the same call may succeed later without a change, else 0.
///
/// Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_error_is_retryable(error: *const plimsoll_error) -> i32 {
    // SAFETY: the header's rule for handles.
    unsafe { read(error, 0, |error| error.0.as_ref().map_or(1, |error| error.is_retryable().into())) }
}

/// Of a refusal, the bytes that were asked for; else 0.
///
/// Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_error_bytes_asked(error: *const plimsoll_error) -> u64 {
    // SAFETY: the header's rule for handles.
    unsafe { read(error, 0, |error| error.0.as_ref().map_or(0, |error| error.numbers().bytes_asked)) }
}

/// Of a refusal, the bytes that were free for it; else 0.
///
/// Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_error_bytes_free(error: *const plimsoll_error) -> u64 {
    // SAFETY: the header's rule for handles.
    unsafe { read(error, 0, |error| error.0.as_ref().map_or(0, |error| error.numbers().bytes_free)) }
}

/// Of a refusal, the largest max_tokens that would have been granted; else 0.
///
/// Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_error_fits_tokens(error: *const plimsoll_error) -> u32 {
    // SAFETY: the header's rule for handles.
    unsafe { read(error, 0, |error| error.0.as_ref().map_or(0, |error| error.numbers().fits_tokens)) }
}

/// Of a refusal, after how many milliseconds to try again; -1 when it can never fit or no time is known.
///
/// Ownership: borrows the error. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_error_retry_after_ms(error: *const plimsoll_error) -> i64 {
    // SAFETY: the header's rule for handles.
    unsafe {
        read(error, -1, |error| {
            let after = error.0.as_ref().and_then(|error| error.numbers().retry_after);
            after.map_or(-1, |after| i64::try_from(after.as_millis()).unwrap_or(i64::MAX))
        })
    }
}

/// Frees an error; NULL is fine.
///
/// Ownership: takes the error. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_error_free(error: *mut plimsoll_error) {
    if error.is_null() || std::ptr::eq(error, &raw const NO_MEMORY) {
        return;
    }
    // SAFETY: it came from `allocate`, whose layout is Box's, and the header forbids a second free.
    quiet((), || drop(unsafe { Box::from_raw(error) }));
}

const _: () = {
    assert!(PLIMSOLL_SECTION_REQUEST == Section::Request as i32);
    assert!(PLIMSOLL_SECTION_LOADING == Section::Loading as i32);
    assert!(PLIMSOLL_SECTION_MEMORY == Section::Memory as i32);
    assert!(PLIMSOLL_SECTION_GENERATION == Section::Generation as i32);
    assert!(PLIMSOLL_SECTION_CLEANUP == Section::Cleanup as i32);
    assert!(PLIMSOLL_SECTION_HEALTH == Section::Health as i32);
    assert!(PLIMSOLL_SECTION_AUTHENTICATION == Section::Authentication as i32);
    assert!(PLIMSOLL_SECTION_INTERNAL == Section::Internal as i32);
};
