//! The log sink: the one process-wide state of the library.

use super::boundary::boundary;
use super::convert::lend;
use super::error::plimsoll_error;
use super::status::{plimsoll_status, plimsoll_str};
use crate::error::{Error, ErrorCode};
use log::{Level, LevelFilter, Log, Metadata, Record};
use std::ffi::c_void;
use std::sync::{Arc, Once, PoisonError, RwLock};

/// Nothing.
pub const PLIMSOLL_LOG_OFF: i32 = 0;
/// What failed.
pub const PLIMSOLL_LOG_ERROR: i32 = 1;
/// What looks wrong.
pub const PLIMSOLL_LOG_WARN: i32 = 2;
/// Models, sessions, decisions.
pub const PLIMSOLL_LOG_INFO: i32 = 3;
/// Every request.
pub const PLIMSOLL_LOG_DEBUG: i32 = 4;
/// Every step.
pub const PLIMSOLL_LOG_TRACE: i32 = 5;

/// Hears of a log line: its level, the module that wrote it, and its text, both living until it returns. It is called from
/// any thread, several at once; it must not throw and must not call plimsoll_log_set().
pub type plimsoll_on_log = Option<
    unsafe extern "C" fn(level: i32, target: plimsoll_str, text: plimsoll_str, user_data: *mut c_void),
>;

/// Called once with the user data of a registration that has ended.
pub type plimsoll_on_drop = Option<unsafe extern "C" fn(user_data: *mut c_void)>;

struct Sink {
    call: unsafe extern "C" fn(i32, plimsoll_str, plimsoll_str, *mut c_void),
    user_data: *mut c_void,
    drop: plimsoll_on_drop,
}

// SAFETY: the header demands a callback that may be called from any thread with its user data.
unsafe impl Send for Sink {}
// SAFETY: as above, several at once.
unsafe impl Sync for Sink {}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(drop) = self.drop {
            // SAFETY: registered for this user data, called once: here.
            unsafe { drop(self.user_data) };
        }
    }
}

struct Logger;

static LOGGER: Logger = Logger;
static INSTALL: Once = Once::new();
static SINK: RwLock<Option<Arc<Sink>>> = RwLock::new(None);

fn sink() -> Option<Arc<Sink>> {
    SINK.read().unwrap_or_else(PoisonError::into_inner).clone()
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        // Dependencies have nothing to say to a host.
        metadata.target().starts_with("plimsoll")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        if let Some(sink) = sink() {
            let text = record.args().to_string();
            let level = match record.level() {
                Level::Error => PLIMSOLL_LOG_ERROR,
                Level::Warn => PLIMSOLL_LOG_WARN,
                Level::Info => PLIMSOLL_LOG_INFO,
                Level::Debug => PLIMSOLL_LOG_DEBUG,
                Level::Trace => PLIMSOLL_LOG_TRACE,
            };
            // SAFETY: registered for this user data; no lock is held here.
            unsafe {
                (sink.call)(level, lend(record.target().as_bytes()), lend(text.as_bytes()), sink.user_data);
            }
        }
    }

    fn flush(&self) {}
}

/// Sends the library's log lines up to `level` (one of `PLIMSOLL_LOG_*`) to `on_log`, for the whole process; NULL or
/// `PLIMSOLL_LOG_OFF` sends them nowhere, which is how it begins. Lines never hold prompts or answers. `on_drop`, when not
/// NULL, is called exactly once with `user_data`: when another registration replaces this one and no line is on its way any
/// more, or at once when this call fails.
///
/// Ownership: keeps `user_data` until `on_drop`. Threads: any. Errors: `INVALID_ARGUMENT` for an unknown level. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_log_set(
    on_log: plimsoll_on_log,
    level: i32,
    user_data: *mut c_void,
    on_drop: plimsoll_on_drop,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    extern "C" fn nowhere(_: i32, _: plimsoll_str, _: plimsoll_str, _: *mut c_void) {}
    // Made first, so that its drop runs on every way out.
    let new = Sink { call: on_log.unwrap_or(nowhere), user_data, drop: on_drop };
    // SAFETY: the header's rule for output pointers.
    unsafe {
        boundary("plimsoll_log_set", error, move || {
            let filter = match level {
                PLIMSOLL_LOG_OFF => LevelFilter::Off,
                PLIMSOLL_LOG_ERROR => LevelFilter::Error,
                PLIMSOLL_LOG_WARN => LevelFilter::Warn,
                PLIMSOLL_LOG_INFO => LevelFilter::Info,
                PLIMSOLL_LOG_DEBUG => LevelFilter::Debug,
                PLIMSOLL_LOG_TRACE => LevelFilter::Trace,
                _ => {
                    let text = format!("level {level} is none of PLIMSOLL_LOG_*");
                    return Err(Error::new(ErrorCode::InvalidArgument, text));
                }
            };
            INSTALL.call_once(|| {
                // A Rust host that has its own logger keeps it; lines then go there.
                let _ = log::set_logger(&LOGGER);
            });
            log::set_max_level(if on_log.is_some() { filter } else { LevelFilter::Off });
            let old = SINK.write().unwrap_or_else(PoisonError::into_inner).replace(Arc::new(new));
            // Dropped without the lock: its callback may log.
            drop(old);
            Ok(())
        })
    }
}
