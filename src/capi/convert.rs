//! From C's arguments to Rust's values.

use super::status::plimsoll_str;
use crate::error::{Error, ErrorCode, Result};
use std::alloc::{Layout, alloc};
use std::mem::{MaybeUninit, size_of};
use std::ptr;
use std::slice;

fn null(what: &str) -> Error {
    Error::new(ErrorCode::NullPointer, format!("{what} is NULL"))
}

/// Borrows a handle.
///
/// # Safety
/// `pointer` is NULL or points to a live `T` that nobody changes meanwhile.
pub(super) unsafe fn borrow<'a, T>(pointer: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }.ok_or_else(|| null(what))
}

/// Borrows a handle for changing it.
///
/// # Safety
/// `pointer` is NULL or points to a live `T` that nobody else uses meanwhile.
pub(super) unsafe fn borrow_mut<'a, T>(pointer: *mut T, what: &str) -> Result<&'a mut T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_mut() }.ok_or_else(|| null(what))
}

/// Checks an output pointer before any work is done.
pub(super) fn output<T>(pointer: *mut T, what: &str) -> Result<*mut T> {
    if pointer.is_null() { Err(null(what)) } else { Ok(pointer) }
}

/// Moves a value to the heap and hands it to C; `OUT_OF_MEMORY` where the heap has no room for it.
///
/// # Safety
/// `out` is valid for a write.
pub(super) unsafe fn hand_out<T>(out: *mut *mut T, value: T) -> Result<()> {
    const { assert!(size_of::<T>() > 0) };
    // SAFETY: the layout's size is not 0.
    let memory = unsafe { alloc(Layout::new::<T>()) }.cast::<T>();
    if memory.is_null() {
        return Err(Error::no_memory("the system has no memory for a handle"));
    }
    // SAFETY: fresh memory of this very layout, which is Box's; `out` by the caller's promise.
    unsafe {
        memory.write(value);
        out.write(memory);
    }
    Ok(())
}

/// Takes a handle back from C and drops it; NULL is fine.
///
/// # Safety
/// `handle` is NULL or came from [`hand_out`] and was not taken back before.
pub(super) unsafe fn take_back<T>(handle: *mut T) {
    if !handle.is_null() {
        // SAFETY: the caller's promise.
        super::boundary::quiet((), || drop(unsafe { Box::from_raw(handle) }));
    }
}

/// Borrows text.
///
/// # Safety
/// `pointer` is NULL (only with length 0) or points to `len` readable bytes that nobody changes meanwhile.
pub(super) unsafe fn text<'a>(pointer: *const std::ffi::c_char, len: usize, what: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { items(pointer.cast::<u8>(), len, what) }?;
    std::str::from_utf8(bytes).map_err(|error| {
        let at = error.valid_up_to();
        Error::new(ErrorCode::InvalidUtf8, format!("{what} is not UTF-8 at byte {at} of {len}"))
    })
}

/// Borrows an array.
///
/// # Safety
/// `pointer` is NULL (only with length 0) or points to `len` readable items that nobody changes meanwhile.
pub(super) unsafe fn items<'a, T>(pointer: *const T, len: usize, what: &str) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(null(what));
    }
    if len > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Error::new(
            ErrorCode::InvalidArgument,
            format!("{what} has {len} items; no memory is that large"),
        ));
    }
    // SAFETY: not NULL, the size is possible, and the caller's promise.
    Ok(unsafe { slice::from_raw_parts(pointer, len) })
}

/// Borrowed text for C.
pub(super) fn lend(text: &[u8]) -> plimsoll_str {
    plimsoll_str { ptr: text.as_ptr().cast(), len: text.len() }
}

/// Structs that the caller sizes: `struct_size` is their first member.
///
/// # Safety
/// The implementor is `repr(C)`, its first member is `struct_size: usize`, and any bytes are a valid value of it.
pub(super) unsafe trait CallerSized: Copy {
    /// Its name in the header.
    const NAME: &'static str;
    /// The value with its `struct_size` set.
    fn with_size(self, size: usize) -> Self;
}

/// Checks a caller's struct before any work is done and returns how many bytes of it may be written.
///
/// # Safety
/// `out` is NULL or points to a struct whose first member says how many bytes of it there are.
pub(super) unsafe fn sized<T: CallerSized>(out: *mut T) -> Result<usize> {
    if out.is_null() {
        return Err(null(T::NAME));
    }
    // SAFETY: the first member is a usize by the trait's promise; the caller's struct may be shorter than T, so only that
    // member is read.
    let size = unsafe { ptr::read(out.cast::<usize>()) };
    if size <= size_of::<usize>() {
        let text = format!("struct_size of {} is {size}; set it to sizeof({})", T::NAME, T::NAME);
        return Err(Error::new(ErrorCode::InvalidStructSize, text));
    }
    Ok(size.min(size_of::<T>()))
}

/// Writes the first `size` bytes of `value`; the caller's `struct_size` becomes what was written.
///
/// # Safety
/// `size` came from [`sized`] on `out`.
pub(super) unsafe fn write_sized<T: CallerSized>(out: *mut T, size: usize, value: T) {
    let value = MaybeUninit::new(value.with_size(size));
    // SAFETY: `out` has `size` bytes, and `size` is at most that of T.
    unsafe { ptr::copy_nonoverlapping(value.as_ptr().cast::<u8>(), out.cast::<u8>(), size) };
}
