//! Sessions.

use super::boundary::{Poison, boundary, poisoning, quiet};
use super::config::{plimsoll_config, settings};
use super::convert::{borrow, hand_out, output, take_back};
use super::error::plimsoll_error;
use super::model::plimsoll_model;
use super::status::plimsoll_status;
use crate::session::Session;

/// A conversation with a model.
pub struct plimsoll_session {
    pub(super) session: Session,
    pub(super) poison: Poison,
}

/// Opens a session. It remembers its conversation: each request adds to it. `config` takes the keys that begin with
/// `session.`; NULL is every default.
///
/// Ownership: copies `config`; the caller frees `*out` with plimsoll_session_free(). The session keeps what it needs of the
/// model. Threads: any. Errors: `INVALID_CONFIG`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_session_open(
    model: *const plimsoll_model,
    config: *const plimsoll_config,
    out: *mut *mut plimsoll_session,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_session_open", error, || {
            let (model, out) = (borrow(model, "model")?, output(out, "out")?);
            let session = Session::open(&model.0, &settings(config))?;
            hand_out(out, plimsoll_session { session, poison: Poison::default() })
        })
    }
}

/// The session's id, as in the memory statistics; 0 for NULL.
///
/// Ownership: borrows the session. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_session_id(session: *const plimsoll_session) -> u64 {
    // SAFETY: the header's rule for handles.
    quiet(0, || unsafe { session.as_ref() }.map_or(0, |session| session.session.id()))
}

/// Bytes of KV that the session holds now; 0 for NULL.
///
/// Ownership: borrows the session. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_session_kv_bytes(session: *const plimsoll_session) -> u64 {
    // SAFETY: the header's rule for handles.
    quiet(0, || unsafe { session.as_ref() }.map_or(0, |session| session.session.kv_bytes()))
}

/// Forgets the conversation and gives its KV back.
///
/// Ownership: borrows the session. Threads: waits behind the session's requests. Errors: `REENTRANT` inside its own
/// callback, `BUSY` while a stream is open, `POISONED`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_session_reset(
    session: *const plimsoll_session,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        let poison = session.as_ref().map(|session| &session.poison);
        poisoning("plimsoll_session_reset", poison, error, || borrow(session, "session")?.session.reset())
    }
}

/// Gives the session's KV back and keeps its conversation: the next request computes it again. The guard does the same to
/// idle sessions when others need the bytes. `freed` may be NULL.
///
/// Ownership: borrows the session. Threads: waits behind the session's requests. Errors: as plimsoll_session_reset().
/// Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_session_evict(
    session: *const plimsoll_session,
    freed: *mut u64,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        let poison = session.as_ref().map(|session| &session.poison);
        poisoning("plimsoll_session_evict", poison, error, || {
            let bytes = borrow(session, "session")?.session.evict()?;
            if !freed.is_null() {
                freed.write(bytes);
            }
            Ok(())
        })
    }
}

/// Closes a session and gives its KV back; NULL is fine. An open stream of it keeps what it needs.
///
/// Ownership: takes the session. Threads: one. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_session_free(session: *mut plimsoll_session) {
    // SAFETY: the header's rule for frees.
    unsafe { take_back(session) };
}
