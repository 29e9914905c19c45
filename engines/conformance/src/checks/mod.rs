//! The checks, by what they look at.

mod batch;
mod ends;
mod kv;
mod memory;
mod refusals;
mod tokens;

use crate::Subject;

pub(crate) use ends::unload_while_running;

/// Looks at one promise; says how it is broken.
pub(crate) type Check = fn(&Subject) -> Result<(), String>;

/// Every check with its name.
pub(crate) const ALL: &[(&str, Check)] = &[
    ("capabilities", memory::capabilities),
    ("estimate_is_pure", memory::estimate_is_pure),
    ("fixed_memory_is_booked", memory::fixed_memory_is_booked),
    ("kv_equals_the_estimate", memory::kv_equals_the_estimate),
    ("leases_return", memory::leases_return),
    ("sessions_close", memory::sessions_close),
    ("tokens_in_order", tokens::tokens_in_order),
    ("stop_tokens", tokens::stop_tokens),
    ("alternatives", tokens::alternatives),
    ("cancel_before_the_start", ends::cancel_before_the_start),
    ("cancel_in_prefill", ends::cancel_in_prefill),
    ("cancel_in_decode", ends::cancel_in_decode),
    ("deadline", ends::deadline),
    ("second_turn", kv::second_turn),
    ("changed_text", kv::changed_text),
    ("reclaim", kv::reclaim),
    ("eviction", kv::eviction),
    ("queue_full", refusals::queue_full),
    ("unpaid", refusals::unpaid),
    ("invalid", refusals::invalid),
    ("batch_equals_alone", batch::batch_equals_alone),
    ("arrival_order", batch::arrival_order),
    ("many_threads", batch::many_threads),
];

/// A short prompt: less than a block where blocks are large.
const SHORT: usize = 7;
/// A prompt of several chunks for a small engine.
const LONG: usize = 101;
/// A short answer.
const FEW: u32 = 6;
/// An answer that takes a while.
const MANY: u32 = 56;

/// Bytes of the blocks that this many tokens need.
fn block_bytes_of(subject: &Subject, tokens: usize) -> Result<u64, String> {
    let shape = plimsoll_engine::Shape { prompt_tokens: 1, max_tokens: 0, top_logprobs: 0, penalties: false };
    let price = subject.engine.estimate(&shape).map_err(|error| error.to_string())?;
    let blocks = tokens.div_ceil(subject.engine.capabilities().block_tokens as usize);
    Ok(blocks as u64 * price.kv_block_bytes)
}
