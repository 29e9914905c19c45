//! Owned text.

use super::convert::{lend, take_back};
use super::status::plimsoll_str;

/// Text that the caller owns.
pub struct plimsoll_text(pub(super) String);

/// The text's bytes; empty for NULL.
///
/// Ownership: borrowed, lives until the text is freed. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_text_str(text: *const plimsoll_text) -> plimsoll_str {
    // SAFETY: the header's rule for handles.
    unsafe { text.as_ref() }.map_or(lend(b""), |text| lend(text.0.as_bytes()))
}

/// Frees a text; NULL is fine.
///
/// Ownership: takes the text. Threads: one. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_text_free(text: *mut plimsoll_text) {
    // SAFETY: the header's rule for frees.
    unsafe { take_back(text) };
}
