//! Statuses and small shared types.

/// The outcome of a call: `PLIMSOLL_OK` (0), or one of the `PLIMSOLL_ERR_*` codes. 1xx are the caller's mistakes, 2xx
/// resources, 3xx model and engine, 4xx network, 9xx internal. Numbers are never changed and never reused.
pub type plimsoll_status = i32;

/// Success.
pub const PLIMSOLL_OK: i32 = 0;
/// An argument is out of its range.
pub const PLIMSOLL_ERR_INVALID_ARGUMENT: i32 = 100;
/// A required pointer is NULL.
pub const PLIMSOLL_ERR_NULL_POINTER: i32 = 101;
/// Text is not UTF-8.
pub const PLIMSOLL_ERR_INVALID_UTF8: i32 = 102;
/// A configuration key is unknown or its value does not parse.
pub const PLIMSOLL_ERR_INVALID_CONFIG: i32 = 103;
/// The struct_size of a caller's struct is not set.
pub const PLIMSOLL_ERR_INVALID_STRUCT_SIZE: i32 = 104;
/// A blocking call was made on a handle from inside its own callback.
pub const PLIMSOLL_ERR_REENTRANT: i32 = 105;
/// The ticket's time is over; its bytes are back.
pub const PLIMSOLL_ERR_TICKET_EXPIRED: i32 = 106;
/// The ticket was used before.
pub const PLIMSOLL_ERR_TICKET_CONSUMED: i32 = 107;
/// The ticket was granted for another session, request or turn.
pub const PLIMSOLL_ERR_TICKET_MISMATCH: i32 = 108;
/// A panic happened in this handle before; it can only be freed.
pub const PLIMSOLL_ERR_POISONED: i32 = 109;
/// The library has this call but not yet this use of it.
pub const PLIMSOLL_ERR_UNSUPPORTED: i32 = 110;
/// The request has no message, no text and no tokens.
pub const PLIMSOLL_ERR_EMPTY_REQUEST: i32 = 111;
/// The conversation does not fit in the model's context.
pub const PLIMSOLL_ERR_PROMPT_TOO_LONG: i32 = 112;
/// A token id is not below the vocabulary's size.
pub const PLIMSOLL_ERR_INVALID_TOKEN: i32 = 113;
/// The guard refused: the bytes are not there. The error carries the numbers.
pub const PLIMSOLL_ERR_MEMORY_REFUSED: i32 = 200;
/// The system refused memory that the guard had granted.
pub const PLIMSOLL_ERR_OUT_OF_MEMORY: i32 = 201;
/// Too many requests wait.
pub const PLIMSOLL_ERR_QUEUE_FULL: i32 = 202;
/// The session has a request, a stream or a ticket outstanding.
pub const PLIMSOLL_ERR_BUSY: i32 = 203;
/// No model at this path, or a file of it is missing or unreadable.
pub const PLIMSOLL_ERR_MODEL_NOT_FOUND: i32 = 300;
/// A model file is damaged or contradicts itself.
pub const PLIMSOLL_ERR_MODEL_MALFORMED: i32 = 301;
/// The model is of a kind that is not supported.
pub const PLIMSOLL_ERR_MODEL_UNSUPPORTED: i32 = 302;
/// The tokenizer cannot be built or cannot encode a text.
pub const PLIMSOLL_ERR_TOKENIZER: i32 = 303;
/// The chat template is missing, or failed, or went over its limits.
pub const PLIMSOLL_ERR_TEMPLATE: i32 = 304;
/// The engine failed while it ran a request.
pub const PLIMSOLL_ERR_ENGINE_FAILED: i32 = 305;
/// The engine is shutting down.
pub const PLIMSOLL_ERR_ENGINE_CLOSED: i32 = 306;
/// Loading was stopped by the caller's progress callback.
pub const PLIMSOLL_ERR_LOAD_CANCELLED: i32 = 307;
/// A fault of plimsoll: a caught panic or a broken invariant.
pub const PLIMSOLL_ERR_INTERNAL: i32 = 900;

/// Borrowed bytes, UTF-8 unless stated otherwise, without a final NUL. The function that returns it says for how long
/// they live. `ptr` is never NULL when `len` is not 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct plimsoll_str {
    /// The first byte.
    pub ptr: *const std::ffi::c_char,
    /// How many bytes.
    pub len: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[test]
    fn every_code_has_its_constant() {
        let constants = [
            PLIMSOLL_ERR_INVALID_ARGUMENT,
            PLIMSOLL_ERR_NULL_POINTER,
            PLIMSOLL_ERR_INVALID_UTF8,
            PLIMSOLL_ERR_INVALID_CONFIG,
            PLIMSOLL_ERR_INVALID_STRUCT_SIZE,
            PLIMSOLL_ERR_REENTRANT,
            PLIMSOLL_ERR_TICKET_EXPIRED,
            PLIMSOLL_ERR_TICKET_CONSUMED,
            PLIMSOLL_ERR_TICKET_MISMATCH,
            PLIMSOLL_ERR_POISONED,
            PLIMSOLL_ERR_UNSUPPORTED,
            PLIMSOLL_ERR_EMPTY_REQUEST,
            PLIMSOLL_ERR_PROMPT_TOO_LONG,
            PLIMSOLL_ERR_INVALID_TOKEN,
            PLIMSOLL_ERR_MEMORY_REFUSED,
            PLIMSOLL_ERR_OUT_OF_MEMORY,
            PLIMSOLL_ERR_QUEUE_FULL,
            PLIMSOLL_ERR_BUSY,
            PLIMSOLL_ERR_MODEL_NOT_FOUND,
            PLIMSOLL_ERR_MODEL_MALFORMED,
            PLIMSOLL_ERR_MODEL_UNSUPPORTED,
            PLIMSOLL_ERR_TOKENIZER,
            PLIMSOLL_ERR_TEMPLATE,
            PLIMSOLL_ERR_ENGINE_FAILED,
            PLIMSOLL_ERR_ENGINE_CLOSED,
            PLIMSOLL_ERR_LOAD_CANCELLED,
            PLIMSOLL_ERR_INTERNAL,
        ];
        let codes: Vec<i32> = ErrorCode::ALL.iter().map(|&code| code as i32).collect();
        assert_eq!(constants.as_slice(), codes);
    }
}
