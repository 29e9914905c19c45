//! The host functions: from C's arguments to the desk. No panic leaves them.

use crate::abi::{
    PLIMSOLL_ENGINE_ABI_VERSION, plimsoll_engine_end, plimsoll_engine_host, plimsoll_engine_token,
};
use crate::desk::{Desk, End};
use crate::status;
use plimsoll_engine::{MAX_TOP_LOGPROBS, TokenEvent, TopLogprob};
use std::ffi::{c_char, c_void};
use std::mem::{MaybeUninit, offset_of, size_of};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Arc;

/// The longest line for the log, and the longest message, in bytes.
const LONGEST_TEXT: usize = 1024;

/// The functions for the plug-in whose desk this is. Valid for as long as the desk.
pub(crate) fn table(desk: &Arc<Desk>) -> plimsoll_engine_host {
    plimsoll_engine_host {
        struct_size: size_of::<plimsoll_engine_host>(),
        abi_version: PLIMSOLL_ENGINE_ABI_VERSION,
        reserved: 0,
        context: Arc::as_ptr(desk).cast_mut().cast(),
        begin,
        lease_grow,
        lease_shrink,
        emit_token,
        emit_end,
        interrupted,
        reclaimed,
        log,
    }
}

/// Calls the desk behind a context.
///
/// # Safety
/// `context` is NULL, or that of a table whose plug-in has not been freed.
unsafe fn at(context: *mut c_void, body: impl FnOnce(&Desk) -> i32) -> i32 {
    // SAFETY: by the caller's promise the desk lives; it is only ever shared.
    let Some(desk) = (unsafe { context.cast::<Desk>().as_ref() }) else { return status::NULL_POINTER };
    // Critical sections leave the desk whole.
    catch_unwind(AssertUnwindSafe(|| body(desk))).unwrap_or(status::INTERNAL)
}

/// Reads a struct of the plug-in's: as much of it as there is, the rest zero.
///
/// # Safety
/// `raw` is NULL or points to as many readable bytes as its first member, a `usize`, says; any bytes, zeroes too, are a valid `T`.
unsafe fn read<T: Copy>(raw: *const T, least: usize) -> Result<T, i32> {
    if raw.is_null() {
        return Err(status::NULL_POINTER);
    }
    // SAFETY: the caller's promise; the plug-in's struct may be shorter than T, so only the first member is read.
    let size = unsafe { ptr::read(raw.cast::<usize>()) };
    if size < least {
        return Err(status::INVALID_STRUCT_SIZE);
    }
    let mut copy = MaybeUninit::<T>::zeroed();
    // SAFETY: at most the bytes that either has.
    unsafe {
        ptr::copy_nonoverlapping(raw.cast::<u8>(), copy.as_mut_ptr().cast::<u8>(), size.min(size_of::<T>()))
    };
    // SAFETY: the caller's promise on T.
    Ok(unsafe { copy.assume_init() })
}

/// Text of the plug-in's, cut and with what is no UTF-8 replaced.
///
/// # Safety
/// `text` is NULL or has `len` readable bytes.
unsafe fn text(text: *const c_char, len: usize) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: at most the bytes that the caller promises.
    let bytes = unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len.min(LONGEST_TEXT)) };
    String::from_utf8_lossy(bytes).into_owned()
}

unsafe extern "C" fn begin(context: *mut c_void, request: u64) -> i32 {
    // SAFETY: the header's rule for contexts.
    unsafe { at(context, |desk| desk.begin(request)) }
}

unsafe extern "C" fn lease_grow(context: *mut c_void, session: u64, bytes: u64) -> i32 {
    // SAFETY: the header's rule for contexts.
    unsafe { at(context, |desk| desk.grow(session, bytes)) }
}

unsafe extern "C" fn lease_shrink(context: *mut c_void, session: u64, bytes: u64) -> i32 {
    // SAFETY: the header's rule for contexts.
    unsafe { at(context, |desk| desk.shrink(session, bytes)) }
}

unsafe extern "C" fn interrupted(context: *mut c_void, request: u64) -> i32 {
    // SAFETY: the header's rule for contexts.
    unsafe { at(context, |desk| desk.interrupted(request)) }
}

unsafe extern "C" fn reclaimed(context: *mut c_void, session: u64) -> i32 {
    // SAFETY: the header's rule for contexts.
    unsafe { at(context, |desk| desk.reclaimed(session)) }
}

unsafe extern "C" fn emit_token(
    context: *mut c_void,
    request: u64,
    token: *const plimsoll_engine_token,
) -> i32 {
    let emit = |desk: &Desk| {
        // SAFETY: the header's rule for structs of the plug-in; zeroes are valid numbers and pointers.
        let token = match unsafe { read(token, offset_of!(plimsoll_engine_token, top_tokens)) } {
            Ok(token) => token,
            Err(wrong) => return desk.unreadable(request, "a token", false, wrong),
        };
        let mut tops = [TopLogprob { id: 0, logprob: 0.0 }; MAX_TOP_LOGPROBS as usize];
        let count = token.top_count.min(tops.len());
        if count > 0 && (token.top_tokens.is_null() || token.top_logprobs.is_null()) {
            return desk.unreadable(request, "a token", false, status::NULL_POINTER);
        }
        for (i, top) in tops.iter_mut().enumerate().take(count) {
            // SAFETY: both arrays have top_count items, by the header's rule, and `i` is below that.
            let (id, logprob) = unsafe { (*token.top_tokens.add(i), *token.top_logprobs.add(i)) };
            *top = TopLogprob { id, logprob };
        }
        desk.token(request, TokenEvent { id: token.token, logprob: token.logprob }, &tops[..count])
    };
    // SAFETY: the header's rule for contexts.
    unsafe { at(context, emit) }
}

unsafe extern "C" fn emit_end(context: *mut c_void, request: u64, end: *const plimsoll_engine_end) -> i32 {
    let emit = |desk: &Desk| {
        // SAFETY: the header's rule for structs of the plug-in; zeroes are valid numbers and pointers.
        match unsafe { read(end, offset_of!(plimsoll_engine_end, message)) } {
            Ok(end) => {
                // SAFETY: the header's rule for texts.
                let message = unsafe { text(end.message, end.message_len) };
                let plimsoll_engine_end { status, ending, cached_tokens, kv_tokens, .. } = end;
                desk.ended(request, &End { status, ending, cached_tokens, kv_tokens, message: &message })
            }
            Err(wrong) => desk.unreadable(request, "an end", true, wrong),
        }
    };
    // SAFETY: the header's rule for contexts.
    unsafe { at(context, emit) }
}

unsafe extern "C" fn log(context: *mut c_void, level: i32, line: *const c_char, len: usize) -> i32 {
    let write = |_: &Desk| {
        let level = match level {
            1 => log::Level::Error,
            2 => log::Level::Warn,
            3 => log::Level::Info,
            4 => log::Level::Debug,
            5 => log::Level::Trace,
            _ => return status::INVALID_ARGUMENT,
        };
        if line.is_null() && len > 0 {
            return status::NULL_POINTER;
        }
        // SAFETY: the header's rule for texts.
        log::log!(level, "plug-in: {}", unsafe { text(line, len) }.escape_debug());
        status::OK
    };
    // SAFETY: the header's rule for contexts.
    unsafe { at(context, write) }
}
