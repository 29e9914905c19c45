//! What a request holds, computed from its shape alone.

use crate::table::Need;
use crate::{KvBlock, Limits, StepExecutor};
use plimsoll_engine::{EngineError, Estimate, Region, Ring, Shape, TopLogprob};
use std::mem::size_of;

/// The price of a request of this shape on executor `E`, equal to what the scheduler allocates for it:
///
/// - `kv_bytes`: whole blocks for every prompt and every granted token; in layers with a sliding window, for the window
///   and the tokens of one step where that is less;
/// - `request_bytes`: the ring, the token ids, the block table, the buffer of alternatives, the executor's sequence.
///
/// `kv_region` and `workspace_bytes` are the engine's and are passed on.
///
/// # Errors
/// [`EngineError::PriceOverflow`].
pub fn price<E: StepExecutor>(
    limits: &Limits,
    kv_region: Region,
    workspace_bytes: u64,
    shape: &Shape,
) -> Result<Estimate, EngineError> {
    let bytes = || {
        let ring_bytes = Ring::bytes(shape.max_tokens, shape.top_logprobs)?;
        Some(Estimate {
            kv_region,
            kv_bytes: blocks_of(limits, shape)?.bytes(limits)?,
            kv_block_bytes: Need { whole: 1, rolling: 1 }.bytes(limits)?,
            request_bytes: ring_bytes.checked_add(host_bytes::<E>(limits, shape)?)?,
            ring_bytes,
            workspace_bytes,
        })
    };
    bytes().ok_or(EngineError::PriceOverflow)
}

/// Host bytes of a request without its ring's; `None` on overflow.
pub(crate) fn host_bytes<E: StepExecutor>(limits: &Limits, shape: &Shape) -> Option<u64> {
    let ids = total_tokens(shape).checked_mul(size_of::<u32>() as u64)?;
    let Need { whole, rolling } = blocks_of(limits, shape)?;
    let table = u64::try_from(whole.checked_add(rolling)?).ok()?;
    let table = table.checked_mul(size_of::<KvBlock<E::Block>>() as u64)?;
    let tops = u64::from(shape.top_logprobs) * size_of::<TopLogprob>() as u64;
    ids.checked_add(table)?.checked_add(tops)?.checked_add(E::sequence_bytes(limits, shape)?)
}

/// The most KV blocks of a request at once; `None` where blocks hold no tokens, and on overflow.
pub(crate) fn blocks_of(limits: &Limits, shape: &Shape) -> Option<Need> {
    let total = usize::try_from(total_tokens(shape)).ok()?;
    limits.need(total, 0, usize::try_from(shape.prompt_tokens).ok()?)
}

/// Prompt and granted tokens together: two `u32` always fit.
pub(crate) fn total_tokens(shape: &Shape) -> u64 {
    u64::from(shape.prompt_tokens) + u64::from(shape.max_tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lane, Rolling};
    use plimsoll_engine::Request;
    use proptest::prelude::*;

    struct Priced;
    impl StepExecutor for Priced {
        type Block = Box<[u8]>;
        type Sequence = ();
        fn limits(&self) -> Limits {
            LIMITS
        }
        fn sequence_bytes(_: &Limits, shape: &Shape) -> Option<u64> {
            u64::from(shape.prompt_tokens).checked_mul(if shape.penalties { 8 } else { 0 })
        }
        fn allocate(&mut self, _: crate::Layers) -> Result<Self::Block, EngineError> {
            Ok(Box::default())
        }
        fn open(&mut self, _: &Request) -> Result<(), EngineError> {
            Ok(())
        }
        fn step(&mut self, _: &mut [Lane<Self>]) -> Result<(), EngineError> {
            Ok(())
        }
    }

    const LIMITS: Limits = Limits {
        block_tokens: 16,
        block_bytes: 4096,
        rolling: None,
        max_sequences: 4,
        max_step_tokens: 64,
        context_length: 1024,
    };

    fn shape(prompt_tokens: u32, max_tokens: u32) -> Shape {
        Shape { prompt_tokens, max_tokens, top_logprobs: 2, penalties: true }
    }

    #[test]
    fn the_price_adds_up() {
        let estimate = price::<Priced>(&LIMITS, Region::Device(1), 77, &shape(30, 3)).unwrap();
        let block = size_of::<KvBlock<Box<[u8]>>>() as u64;
        assert_eq!(
            estimate,
            Estimate {
                kv_region: Region::Device(1),
                kv_bytes: 3 * 4096,
                kv_block_bytes: 4096,
                request_bytes: 80 + 33 * 4 + 3 * block + 2 * 8 + 30 * 8,
                ring_bytes: 80,
                workspace_bytes: 77,
            }
        );
    }

    #[test]
    fn overflow_is_an_error() {
        let huge = Limits { block_bytes: u64::MAX, ..LIMITS };
        let priced = price::<Priced>(&huge, Region::Host, 0, &shape(30, 3));
        assert_eq!(priced, Err(EngineError::PriceOverflow));
        let alternatives = Shape { top_logprobs: u32::MAX, ..shape(1, u32::MAX) };
        let priced = price::<Priced>(&LIMITS, Region::Host, 0, &alternatives);
        assert_eq!(priced, Err(EngineError::PriceOverflow));
        let no_tokens = Limits { block_tokens: 0, ..LIMITS };
        assert_eq!(
            price::<Priced>(&no_tokens, Region::Host, 0, &shape(1, 1)),
            Err(EngineError::PriceOverflow)
        );
    }

    #[test]
    fn layers_with_a_window_are_priced_by_what_they_hold_at_once() {
        let window = 40;
        let limits =
            Limits { block_bytes: 1000, rolling: Some(Rolling { block_bytes: 30, window }), ..LIMITS };
        let kv =
            |prompt, max| price::<Priced>(&limits, Region::Host, 0, &shape(prompt, max)).unwrap().kv_bytes;
        // Short requests hold all their blocks.
        assert_eq!(kv(30, 3), 3 * 1030);
        // Long ones the 39 tokens before a step and the 64 of the step: 8 blocks where these fall worst.
        assert_eq!(kv(500, 100), 38 * 1000 + 8 * 30);
        assert_eq!(kv(500, 500), 63 * 1000 + 8 * 30);
        // A short prompt feeds less in a step.
        assert_eq!(kv(10, 500), 32 * 1000 + 4 * 30);
        let all = Limits { block_bytes: 0, ..limits };
        let estimate = price::<Priced>(&all, Region::Host, 0, &shape(500, 500)).unwrap();
        assert_eq!((estimate.kv_bytes, estimate.kv_block_bytes), (8 * 30, 30));
        let block = size_of::<KvBlock<Box<[u8]>>>() as u64;
        let ring = estimate.ring_bytes;
        assert_eq!(estimate.request_bytes, ring + 1000 * 4 + 8 * block + 2 * 8 + 500 * 8);
    }

    proptest! {
        #[test]
        fn the_price_grows_with_granted_tokens(prompt in 1u32..1 << 20, max in 0u32..1 << 20, more in 1u32..1 << 10) {
            let less = price::<Priced>(&LIMITS, Region::Host, 0, &shape(prompt, max)).unwrap();
            let more = price::<Priced>(&LIMITS, Region::Host, 0, &shape(prompt, max + more)).unwrap();
            prop_assert!(less.kv_bytes <= more.kv_bytes && less.request_bytes < more.request_bytes);
            prop_assert!(less.kv_bytes >= u64::from(prompt + max) * (4096 / 16));
        }
    }
}
