//! Versions.

use std::ffi::c_char;

/// The number of the ABI. It grows when calls or members are added; it never breaks a program built for a smaller one.
pub const PLIMSOLL_ABI_VERSION: u32 = 2;

const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");

/// The library's version as text, such as "0.1.0", with a final NUL.
///
/// Ownership: static, never freed. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn plimsoll_version() -> *const c_char {
    VERSION.as_ptr().cast()
}

/// The ABI version of the library that is linked; compare it with `PLIMSOLL_ABI_VERSION` of the header.
///
/// Ownership: a plain number. Threads: any. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub extern "C" fn plimsoll_abi_version() -> u32 {
    PLIMSOLL_ABI_VERSION
}
