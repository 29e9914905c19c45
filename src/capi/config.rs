//! Configuration.

use super::boundary::boundary;
use super::convert::{borrow_mut, hand_out, output, take_back, text};
use super::error::plimsoll_error;
use super::status::plimsoll_status;
use crate::config::Config;
use crate::error::Result;
use std::ffi::c_char;

/// Settings for a runtime, a model or a session, as keys and values. Every key has a default.
pub struct plimsoll_config(Config);

/// The settings behind a handle; the defaults for NULL.
///
/// # Safety
/// `config` is NULL or live.
pub(super) unsafe fn settings(config: *const plimsoll_config) -> Config {
    // SAFETY: the caller's promise.
    unsafe { config.as_ref() }.map(|config| config.0.clone()).unwrap_or_default()
}

/// Makes an empty configuration: every default holds.
///
/// Ownership: the caller frees `*out` with plimsoll_config_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_config_new(
    out: *mut *mut plimsoll_config,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for output pointers.
    unsafe {
        boundary("plimsoll_config_new", error, || {
            hand_out(output(out, "out")?, plimsoll_config(Config::new()))
        })
    }
}

/// Sets one key, such as "memory.budget" to "512MiB". An empty value takes the setting back. The keys for a runtime begin
/// with `memory.`, `guard.` and `monitor.`, for a model with `native.`, `plugin.` and `engine.`, for a session with `session.`; the error
/// for an unknown key lists them all.
///
/// Ownership: copies both texts. Threads: one at a time per configuration. Errors: `INVALID_CONFIG` with the reason,
/// `INVALID_UTF8`, `NULL_POINTER`; the configuration is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_config_set(
    config: *mut plimsoll_config,
    key: *const c_char,
    key_len: usize,
    value: *const c_char,
    value_len: usize,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and texts.
    unsafe {
        boundary("plimsoll_config_set", error, || -> Result<()> {
            let config = borrow_mut(config, "config")?;
            config.0.set(text(key, key_len, "key")?, text(value, value_len, "value")?)
        })
    }
}

/// Frees a configuration; NULL is fine. What was made with it is not affected.
///
/// Ownership: takes the configuration. Threads: one. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_config_free(config: *mut plimsoll_config) {
    // SAFETY: the header's rule for frees.
    unsafe { take_back(config) };
}
