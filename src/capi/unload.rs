//! Unloading a model behind its handles.

use super::boundary::{boundary, quiet};
use super::convert::borrow;
use super::error::plimsoll_error;
use super::model::plimsoll_model;
use super::status::plimsoll_status;

/// Frees a model's weights, its workspace, its tables and the KV of its sessions. Model, sessions and their conversations stay good:
/// the next request that is granted loads the model again, from the same path, and computes what it needs of the conversation.
/// `*freed` is how many bytes that were, 0 for a model that is not loaded; `freed` may be NULL. All models over the same files are
/// unloaded together. A model that was loaded with `model.unload` set to `idle` is also unloaded by itself, while nobody uses it
/// and another model or its request needs the room.
///
/// Ownership: borrows the model. Threads: any. Errors: `BUSY` while a request of it runs or waits, a ticket is outstanding, or it is
/// being loaded; `UNSUPPORTED` for a plug-in; `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_evict(
    model: *const plimsoll_model,
    freed: *mut u64,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and output pointers.
    unsafe {
        boundary("plimsoll_model_evict", error, || {
            let bytes = borrow(model, "model")?.0.unload()?;
            if !freed.is_null() {
                freed.write(bytes);
            }
            Ok(())
        })
    }
}

/// 1 while a model is loaded, 0 while it is not and its next request loads it again; 0 for NULL.
///
/// Ownership: borrows the model. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_model_is_loaded(model: *const plimsoll_model) -> i32 {
    quiet(0, || {
        // SAFETY: the header's rule for handles.
        let model = unsafe { model.as_ref() };
        model.is_some_and(|model| model.0.is_loaded()).into()
    })
}
