//! The runtime.

use super::boundary::{boundary, quiet};
use super::config::{plimsoll_config, settings};
use super::convert::{hand_out, output, take_back};
use super::error::plimsoll_error;
use super::status::plimsoll_status;
use crate::runtime::Runtime;

/// A runtime: one memory guard, and the models under it.
pub struct plimsoll_runtime(pub(super) Runtime);

/// Makes a runtime. `config` takes the keys that begin with `memory.`, `guard.` and `monitor.`; NULL is every default: the
/// budget is then what the machine or its cgroup allows.
///
/// Ownership: copies `config`; the caller frees `*out` with plimsoll_runtime_free(). Threads: any. Errors:
/// `INVALID_CONFIG`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_runtime_new(
    config: *const plimsoll_config,
    out: *mut *mut plimsoll_runtime,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_runtime_new", error, || {
            let out = output(out, "out")?;
            hand_out(out, plimsoll_runtime(Runtime::new(&settings(config))?))
        })
    }
}

/// 1 when the host may take `bytes` of memory for itself, and `margin` of them more (0.1 is a tenth), without coming near
/// the limit, else 0; also 0 for NULL. A cheap check: nothing is reserved.
///
/// Ownership: borrows the runtime. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_can_allocate(
    runtime: *const plimsoll_runtime,
    bytes: u64,
    margin: f64,
) -> i32 {
    quiet(0, || {
        // SAFETY: the header's rule for handles.
        let runtime = unsafe { runtime.as_ref() };
        runtime.is_some_and(|runtime| runtime.0.can_allocate(bytes, margin)).into()
    })
}

/// 1 when at least the share `threshold` (0 to 1) of the host's capacity is in use, by plimsoll and others, else 0; also 0
/// for NULL.
///
/// Ownership: borrows the runtime. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_is_low_memory(runtime: *const plimsoll_runtime, threshold: f64) -> i32 {
    quiet(0, || {
        // SAFETY: the header's rule for handles.
        let runtime = unsafe { runtime.as_ref() };
        runtime.is_some_and(|runtime| runtime.0.is_low_memory(threshold)).into()
    })
}

/// Frees a runtime; NULL is fine. Models and sessions made from it keep what they need and stay usable.
///
/// Ownership: takes the runtime. Threads: one. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_runtime_free(runtime: *mut plimsoll_runtime) {
    // SAFETY: the header's rule for frees.
    unsafe { take_back(runtime) };
}
