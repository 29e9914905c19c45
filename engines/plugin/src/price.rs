//! What a plug-in asks for a request, checked.

use crate::abi::{plimsoll_engine_price, plimsoll_engine_shape};
use plimsoll_engine::{Capabilities, EngineError, Estimate, Ring, Shape};

/// More than any machine has, and far from overflow.
const MOST_BYTES: u64 = 1 << 60;

/// A shape as the plug-in sees it.
pub(crate) fn shape(shape: &Shape) -> plimsoll_engine_shape {
    plimsoll_engine_shape {
        struct_size: size_of::<plimsoll_engine_shape>(),
        prompt_tokens: shape.prompt_tokens,
        max_tokens: shape.max_tokens,
        top_logprobs: shape.top_logprobs,
        penalties: shape.penalties.into(),
    }
}

/// The estimate that the plug-in's price makes: KV in whole blocks, no more than all tokens need; the ring is added.
///
/// # Errors
/// [`EngineError::PriceOverflow`], [`EngineError::Execution`] naming what makes no sense.
pub(crate) fn checked(
    price: &plimsoll_engine_price,
    shape: &Shape,
    capabilities: &Capabilities,
    workspace_bytes: u64,
) -> Result<Estimate, EngineError> {
    let plimsoll_engine_price { kv_bytes, kv_block_bytes, request_bytes, .. } = *price;
    let wrong =
        |why: String| Err(EngineError::Execution(format!("the plug-in's estimate makes no sense: {why}")));
    // Two u32 always fit.
    let tokens = u64::from(shape.prompt_tokens) + u64::from(shape.max_tokens);
    let blocks = tokens.div_ceil(capabilities.block_tokens.into());
    if kv_block_bytes == 0 && kv_bytes > 0 {
        return wrong(format!("{kv_bytes} bytes of KV in blocks of none"));
    }
    if kv_block_bytes > MOST_BYTES || request_bytes > MOST_BYTES {
        return Err(EngineError::PriceOverflow);
    }
    let most = kv_block_bytes.checked_mul(blocks).ok_or(EngineError::PriceOverflow)?;
    if kv_bytes > most {
        return wrong(format!("{kv_bytes} bytes of KV for {tokens} tokens, whose blocks have {most}"));
    }
    if kv_block_bytes > 0 && !kv_bytes.is_multiple_of(kv_block_bytes) {
        return wrong(format!("{kv_bytes} bytes of KV are no whole blocks of {kv_block_bytes}"));
    }
    let ring_bytes = Ring::bytes(shape.max_tokens, shape.top_logprobs).ok_or(EngineError::PriceOverflow)?;
    Ok(Estimate {
        kv_region: capabilities.kv_region,
        kv_bytes,
        kv_block_bytes,
        request_bytes: ring_bytes.checked_add(request_bytes).ok_or(EngineError::PriceOverflow)?,
        ring_bytes,
        workspace_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_engine::Region;

    fn priced(kv_bytes: u64, kv_block_bytes: u64, request_bytes: u64) -> Result<Estimate, EngineError> {
        let capabilities = Capabilities {
            name: "priced".into(),
            context_length: 1000,
            vocab_size: 10,
            block_tokens: 16,
            kv_region: Region::Host,
            max_sequences: 1,
        };
        let price = plimsoll_engine_price { struct_size: 0, kv_bytes, kv_block_bytes, request_bytes };
        let shape = Shape { prompt_tokens: 20, max_tokens: 20, top_logprobs: 1, penalties: false };
        checked(&price, &shape, &capabilities, 7)
    }

    #[test]
    fn a_good_price_gets_its_ring() {
        let estimate = priced(300, 100, 50);
        let ring_bytes = 20 * (8 + 8);
        let wanted = Estimate {
            kv_region: Region::Host,
            kv_bytes: 300,
            kv_block_bytes: 100,
            request_bytes: 50 + ring_bytes,
            ring_bytes,
            workspace_bytes: 7,
        };
        assert_eq!(estimate, Ok(wanted));
        assert!(priced(0, 0, 0).is_ok());
    }

    #[test]
    fn garbage_is_refused() {
        for (kv, block, request, word) in [
            (400, 100, 0, "400 bytes of KV for 40 tokens"),
            (250, 100, 0, "no whole blocks"),
            (1, 0, 0, "blocks of none"),
            (u64::MAX, 100, 0, "whose blocks have 300"),
        ] {
            let error = priced(kv, block, request).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(word), "{error}");
        }
        assert_eq!(priced(0, u64::MAX, 0), Err(EngineError::PriceOverflow));
        assert_eq!(priced(0, 0, u64::MAX), Err(EngineError::PriceOverflow));
    }
}
