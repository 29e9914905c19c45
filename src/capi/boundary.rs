//! The one place where panics stop and errors become C's.

use super::error::plimsoll_error;
use super::status::{PLIMSOLL_OK, plimsoll_status};
use crate::error::{Error, ErrorCode, Result};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

/// A handle's mark that a panic happened in it.
#[derive(Debug, Default)]
pub(super) struct Poison(AtomicBool);

impl Poison {
    fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Acquire) {
            return Err(Error::new(
                ErrorCode::Poisoned,
                "a panic happened in this handle; it can only be freed",
            ));
        }
        Ok(())
    }
}

/// Runs `body`, turns its error and any panic into a status, and fills `error` when the caller wants one.
///
/// # Safety
/// `error` is NULL or valid for a write.
pub(super) unsafe fn boundary(
    call: &'static str,
    error: *mut *mut plimsoll_error,
    body: impl FnOnce() -> Result<()>,
) -> plimsoll_status {
    // SAFETY: the caller's promise on `error`.
    unsafe { poisoning(call, None, error, body) }
}

/// The same for a handle that a panic poisons.
///
/// # Safety
/// `error` is NULL or valid for a write.
pub(super) unsafe fn poisoning(
    call: &'static str,
    poison: Option<&Poison>,
    error: *mut *mut plimsoll_error,
    body: impl FnOnce() -> Result<()>,
) -> plimsoll_status {
    // Whatever a panic leaves half done is behind a poisoned handle or a lock that its users know to be whole.
    let caught = catch_unwind(AssertUnwindSafe(|| {
        fault(call);
        poison.map_or(Ok(()), Poison::check)?;
        body()
    }));
    let failure = match caught {
        Ok(Ok(())) => return PLIMSOLL_OK,
        Ok(Err(failure)) => failure,
        Err(panic) => {
            if let Some(poison) = poison {
                poison.0.store(true, Ordering::Release);
            }
            Error::new(ErrorCode::Internal, format!("{call} panicked: {}", panic_text(&*panic)))
        }
    };
    let status = failure.code() as plimsoll_status;
    if !error.is_null() {
        // SAFETY: the caller's promise.
        unsafe { error.write(plimsoll_error::allocate(failure)) };
    }
    status
}

/// Runs an infallible call: a free or a getter. A panic inside gives `fallback`.
pub(super) fn quiet<T>(fallback: T, body: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or(fallback)
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        text
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text
    } else {
        "no message"
    }
}

/// Panics in the call that the environment names: how the tests of the C ABI force a panic through every export.
#[cfg(feature = "faults")]
fn fault(call: &str) {
    if std::env::var("PLIMSOLL_PANIC_IN").is_ok_and(|name| name == call) {
        panic!("forced by PLIMSOLL_PANIC_IN");
    }
}

#[cfg(not(feature = "faults"))]
fn fault(_: &str) {}
