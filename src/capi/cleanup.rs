//! Cleanups.

use super::boundary::boundary;
use super::convert::{borrow, output, text};
use super::error::plimsoll_error;
use super::log::plimsoll_on_drop;
use super::monitor::Registration;
use super::runtime::plimsoll_runtime;
use super::status::plimsoll_status;
use crate::error::{Error, ErrorCode};
use crate::guard::{CleanupId, CleanupStage};
use std::ffi::{c_char, c_void};

/// Frees memory of the host's. `bytes_wanted` is how much is needed, `UINT64_MAX` for all there is. Returns how many bytes it
/// believes to have freed, `UINT64_MAX` when it failed, which is counted. It runs on a thread of the library, or on the one that
/// asked for a cleanup, one thread at a time and with no lock held; any call may be made inside but plimsoll_memory_cleanup().
/// It must not throw.
pub type plimsoll_on_cleanup = Option<unsafe extern "C" fn(bytes_wanted: u64, user_data: *mut c_void) -> u64>;

/// Registers a callback that frees memory in cleanups, after those that were registered before it; caches of the engines and the
/// KV of idle sessions are freed first. Cleanups run by themselves when more than `monitor.cleanup_threshold` of a region is in
/// use, as far as they are needed, and when plimsoll_memory_cleanup() is called. `name` stands for it in the statistics.
/// `on_drop`, when not NULL, is called exactly once with `user_data`: when the callback is unregistered or the runtime and all
/// that was made from it is gone, and the callback does not run any more; or at once when this call fails.
///
/// Ownership: copies `name`; keeps `user_data` until `on_drop`. Threads: any. Errors: `NULL_POINTER`, `INVALID_UTF8`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_cleanup_register(
    runtime: *const plimsoll_runtime,
    name: *const c_char,
    name_len: usize,
    on_cleanup: plimsoll_on_cleanup,
    user_data: *mut c_void,
    on_drop: plimsoll_on_drop,
    id: *mut u64,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // Made first, so that its drop runs on every way out.
    let registration = Registration::new(on_cleanup, user_data, on_drop);
    // SAFETY: the header's rules for handles, texts, output pointers and registrations.
    unsafe {
        boundary("plimsoll_cleanup_register", error, move || {
            let guard = borrow(runtime, "runtime")?.0.guard();
            let (name, id) = (text(name, name_len, "name")?, output(id, "id")?);
            if on_cleanup.is_none() {
                return Err(Error::new(ErrorCode::NullPointer, "on_cleanup is NULL"));
            }
            let callback = move |wanted| {
                let (Some(call), user_data) = registration.parts() else { return None };
                Some(call(wanted, user_data)).filter(|&freed| freed != u64::MAX)
            };
            id.write(guard.on_cleanup(CleanupStage::Host, name, Box::new(callback)).0);
            Ok(())
        })
    }
}

/// Takes a callback back, also from inside it. If a cleanup runs it now, that goes on to its end; it is called no more after it.
///
/// Ownership: borrows the runtime. Threads: any. Errors: `INVALID_ARGUMENT` for an id that is not registered, `NULL_POINTER`.
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_cleanup_unregister(
    runtime: *const plimsoll_runtime,
    id: u64,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        boundary("plimsoll_cleanup_unregister", error, || {
            match borrow(runtime, "runtime")?.0.guard().remove_cleanup(CleanupId(id)) {
                true => Ok(()),
                false => {
                    let text = format!("no cleanup callback has the id {id}");
                    Err(Error::new(ErrorCode::InvalidArgument, text))
                }
            }
        })
    }
}

/// Cleans up: frees caches and pools of the engines, the KV of all idle sessions, whose conversations stay, and what callbacks of
/// the host free. `bytes_freed` gets what came back by the books and by a reading of the machine; it may be NULL.
///
/// Ownership: borrows the runtime. Threads: any; waits for the callbacks, which run on this one. Errors: `BUSY` while another
/// thread cleans up, `REENTRANT` from a cleanup callback, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_memory_cleanup(
    runtime: *const plimsoll_runtime,
    bytes_freed: *mut u64,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_memory_cleanup", error, || {
            let outcome = borrow(runtime, "runtime")?.0.cleanup()?;
            if !bytes_freed.is_null() {
                bytes_freed.write(outcome.freed);
            }
            Ok(())
        })
    }
}
