//! Requests.

use super::boundary::boundary;
use super::convert::{borrow_mut, hand_out, items, output, take_back, text};
use super::error::plimsoll_error;
use super::status::plimsoll_status;
use crate::copied::copied;
use crate::error::{Error, ErrorCode, Result};
use crate::request::{Input, Message, Request};
use std::ffi::c_char;
use std::time::Duration;

/// What to say, how to choose tokens, when to stop. A request can be run again and again, also in several sessions.
pub struct plimsoll_request(pub(super) Request);

/// Changes a copy of the request and takes it over when its sampling settings are all in range.
///
/// # Safety
/// `request` is NULL or live and nobody else uses it; `error` is NULL or valid for a write.
unsafe fn change(
    call: &'static str,
    request: *mut plimsoll_request,
    error: *mut *mut plimsoll_error,
    change: impl FnOnce(&mut Request),
) -> plimsoll_status {
    // SAFETY: the caller's promises.
    unsafe {
        boundary(call, error, || {
            let request = borrow_mut(request, "request")?;
            let before = (request.0.sampling.clone(), request.0.max_tokens, request.0.min_tokens);
            change(&mut request.0);
            request.0.sampling.validate().map_err(|fault| {
                (request.0.sampling, request.0.max_tokens, request.0.min_tokens) = before;
                Error::caused(ErrorCode::InvalidArgument, &fault)
            })
        })
    }
}

/// Makes a request with every setting at its default and nothing to say yet.
///
/// Ownership: the caller frees `*out` with plimsoll_request_free(). Threads: any. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_new(
    out: *mut *mut plimsoll_request,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for output pointers.
    unsafe {
        boundary("plimsoll_request_new", error, || {
            hand_out(output(out, "out")?, plimsoll_request(Request::default()))
        })
    }
}

/// Adds a message, such as role "user" with what the user said. Messages go through the model's chat template together with
/// the session's conversation. A request that held text or tokens holds messages from then on.
///
/// Ownership: copies both texts. Threads: one at a time per request. Errors: `INVALID_UTF8`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_add_message(
    request: *mut plimsoll_request,
    role: *const c_char,
    role_len: usize,
    content: *const c_char,
    content_len: usize,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and texts.
    unsafe {
        boundary("plimsoll_request_add_message", error, || {
            let request = borrow_mut(request, "request")?;
            let (role, content) = (text(role, role_len, "role")?, text(content, content_len, "content")?);
            request.0.try_add(Message::new(copied(role)?, copied(content)?))?;
            Ok(())
        })
    }
}

/// Adds a message as a JSON object, as OpenAI's chat format has it: "role", and such fields as "content", "tool_calls",
/// "tool_call_id" and "name". So the assistant's tool calls come back into a conversation, and messages of several parts
/// where the model's chat template knows them; the template gets all fields, those that are null left out. A tool's result
/// is also a message of plimsoll_request_add_message(), with role "tool".
///
/// Ownership: copies the text. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` with line and column for what
/// is no JSON object with a "role", nests more than 32 deep, or is longer than 16 MiB; `INVALID_UTF8`, `NULL_POINTER`. The
/// request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_add_message_json(
    request: *mut plimsoll_request,
    json: *const c_char,
    json_len: usize,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and texts.
    unsafe {
        boundary("plimsoll_request_add_message_json", error, || {
            let request = borrow_mut(request, "request")?;
            request.0.try_add(Message::from_json(text(json, json_len, "json")?)?)?;
            Ok(())
        })
    }
}

/// Sets the functions that the model may call: a JSON list of descriptions, as OpenAI's chat format has them; NULL with
/// length 0 takes them back. The model's chat template renders them with the whole conversation (its template for tools,
/// where it has one of its own). What the model answers comes as text: calls are in the form that its template teaches it.
/// Give each turn of a session the same tools, or its KV has to be computed again. A request of text or tokens has no use
/// for them.
///
/// Ownership: copies the text. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` with line and column for what
/// is no JSON list of objects, nests more than 32 deep, or is longer than 16 MiB; `INVALID_UTF8`, `NULL_POINTER`. The
/// request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_tools(
    request: *mut plimsoll_request,
    json: *const c_char,
    json_len: usize,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and texts.
    unsafe {
        boundary("plimsoll_request_set_tools", error, || {
            let request = borrow_mut(request, "request")?;
            let tools = text(json, json_len, "json")?;
            request.0.set_tools((!json.is_null()).then_some(tools))
        })
    }
}

/// Text instead of messages: appended to the session's text as it is, without a template.
///
/// Ownership: copies the text. Threads: one at a time per request. Errors: `INVALID_UTF8`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_text(
    request: *mut plimsoll_request,
    content: *const c_char,
    content_len: usize,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and texts.
    unsafe {
        boundary("plimsoll_request_set_text", error, || {
            let request = borrow_mut(request, "request")?;
            request.0.set_input(Input::Text(copied(text(content, content_len, "content")?)?));
            Ok(())
        })
    }
}

/// Token ids instead of messages: appended to the session's tokens as they are.
///
/// Ownership: copies the ids. Threads: one at a time per request. Errors: `NULL_POINTER`; an id beyond the vocabulary is
/// refused when the request runs. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_tokens(
    request: *mut plimsoll_request,
    tokens: *const u32,
    count: usize,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and arrays.
    unsafe {
        boundary("plimsoll_request_set_tokens", error, || {
            let request = borrow_mut(request, "request")?;
            let tokens = items(tokens, count, "tokens")?;
            let mut copy = Vec::new();
            copy.try_reserve_exact(tokens.len())
                .map_err(|_| Error::no_memory("the system has no memory for a copy of the tokens"))?;
            copy.extend_from_slice(tokens);
            request.0.set_input(Input::Tokens(copy));
            Ok(())
        })
    }
}

/// Takes messages, text and tokens back; settings, stop strings and tools stay.
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_clear(
    request: *mut plimsoll_request,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        boundary("plimsoll_request_clear", error, || -> Result<()> {
            borrow_mut(request, "request")?.0.set_input(Input::Messages(Vec::new()));
            Ok(())
        })
    }
}

/// Adds a text that ends the answer and is not part of it; at most 64, of at most 1024 bytes each.
///
/// Ownership: copies the text. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` when it is empty, too long or
/// one too many, `INVALID_UTF8`, `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_add_stop(
    request: *mut plimsoll_request,
    content: *const c_char,
    content_len: usize,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rules for handles and texts.
    unsafe {
        boundary("plimsoll_request_add_stop", error, || {
            borrow_mut(request, "request")?.0.add_stop(text(content, content_len, "content")?)
        })
    }
}

/// Most tokens to generate [512]. The guard may grant fewer, down to min_tokens.
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`; 0 is refused when the request runs. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_max_tokens(
    request: *mut plimsoll_request,
    value: u32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_max_tokens", request, error, |request| {
            request.max_tokens = value;
        })
    }
}

/// The fewest granted tokens that are still worth running [1]. Equal to max_tokens, the request is refused rather than shrunk.
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`; 0 and more than max_tokens are refused when the request runs. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_min_tokens(
    request: *mut plimsoll_request,
    value: u32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_min_tokens", request, error, |request| {
            request.min_tokens = value;
        })
    }
}

/// How much chance there is in the choice of tokens [0]: 0 always takes the likeliest.
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_temperature(
    request: *mut plimsoll_request,
    value: f32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_temperature", request, error, |request| {
            request.sampling.temperature = value;
        })
    }
}

/// Choose among the k likeliest tokens [0: among all].
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_top_k(
    request: *mut plimsoll_request,
    value: u32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_top_k", request, error, |request| {
            request.sampling.top_k = value;
        })
    }
}

/// Choose among the likeliest tokens whose probabilities reach this sum [1: among all].
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_top_p(
    request: *mut plimsoll_request,
    value: f32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_top_p", request, error, |request| {
            request.sampling.top_p = value;
        })
    }
}

/// Choose among tokens at least this fraction as likely as the likeliest [0: among all].
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_min_p(
    request: *mut plimsoll_request,
    value: f32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_min_p", request, error, |request| {
            request.sampling.min_p = value;
        })
    }
}

/// Divides the positive and multiplies the negative logits of tokens already seen [1].
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_repetition_penalty(
    request: *mut plimsoll_request,
    value: f32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_repetition_penalty", request, error, |request| {
            request.sampling.repetition_penalty = value;
        })
    }
}

/// Subtracted from the logit of every token generated before [0].
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_presence_penalty(
    request: *mut plimsoll_request,
    value: f32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_presence_penalty", request, error, |request| {
            request.sampling.presence_penalty = value;
        })
    }
}

/// Subtracted from a token's logit for each time it was generated before [0].
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_frequency_penalty(
    request: *mut plimsoll_request,
    value: f32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_frequency_penalty", request, error, |request| {
            request.sampling.frequency_penalty = value;
        })
    }
}

/// Seed of the draws. The same seed gives the same text; without one each run draws its own.
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_seed(
    request: *mut plimsoll_request,
    value: u64,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_seed", request, error, |request| {
            request.sampling.seed = Some(value);
        })
    }
}

/// Report this many of the likeliest tokens with each token, at most 20 [0].
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `INVALID_ARGUMENT` for a value out of its range (NaN included); the request is then unchanged. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_top_logprobs(
    request: *mut plimsoll_request,
    value: u32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_top_logprobs", request, error, |request| {
            request.sampling.top_logprobs = value;
        })
    }
}

/// 0: refuse the request while memory is under pressure, rather than give it fewer tokens and tamer sampling [1]. What was
/// changed stands in the result.
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_degradable(
    request: *mut plimsoll_request,
    value: i32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_degradable", request, error, |request| {
            request.degradable = value != 0;
        })
    }
}

/// Not 0: generate on after end-of-text tokens [0].
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_ignore_eos(
    request: *mut plimsoll_request,
    value: i32,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_ignore_eos", request, error, |request| {
            request.ignore_eos = value != 0;
        })
    }
}

/// Time limit of the answer in milliseconds from the call that starts it, waiting included [0: none].
///
/// Ownership: borrows the request. Threads: one at a time per request. Errors: `NULL_POINTER`. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_set_deadline_ms(
    request: *mut plimsoll_request,
    value: u64,
    error: *mut *mut plimsoll_error,
) -> plimsoll_status {
    // SAFETY: the header's rule for handles.
    unsafe {
        change("plimsoll_request_set_deadline_ms", request, error, |request| {
            request.deadline = (value > 0).then(|| Duration::from_millis(value));
        })
    }
}

/// Frees a request; NULL is fine. Runs and tickets made from it are not affected.
///
/// Ownership: takes the request. Threads: one. Errors: none. Since: 0.1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn plimsoll_request_free(request: *mut plimsoll_request) {
    // SAFETY: the header's rule for frees.
    unsafe { take_back(request) };
}
