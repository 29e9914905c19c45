//! Prices: what a request will hold, before it runs.

use crate::{EngineError, Region};

/// The shape of a request: all that its price depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tokens of the whole conversation that the engine will see, those it already holds included.
    pub prompt_tokens: u32,
    /// Tokens that may be generated.
    pub max_tokens: u32,
    /// Alternatives reported per token; 0 for none.
    pub top_logprobs: u32,
    /// Whether counts of seen tokens are kept, for penalties.
    pub penalties: bool,
}

/// What a request of some [`Shape`] holds at its largest. Every figure equals what is then allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Where the KV blocks live.
    pub kv_region: Region,
    /// The most bytes of the session's KV blocks at once, those it already holds included: the sum over layers of
    /// `tokens * kv_heads * (k_dim + v_dim) * element bytes`, with tokens rounded up to whole blocks. A layer with a
    /// sliding window counts the tokens of the window and of one step where these are fewer.
    pub kv_bytes: u64,
    /// Bytes of one KV block over all layers: the granule of `kv_bytes`.
    pub kv_block_bytes: u64,
    /// Host bytes of the request itself: ring, token ids, block table, sampler state.
    pub request_bytes: u64,
    /// Of `request_bytes`, those of the [`crate::Ring`].
    pub ring_bytes: u64,
    /// Bytes of the engine's workspace that the request will share. They were leased when the model was loaded and are
    /// not charged again.
    pub workspace_bytes: u64,
}

impl Estimate {
    /// The price of so many requests of this shape side by side. The workspace is shared, and the granule stays what it is.
    ///
    /// # Errors
    /// [`EngineError::PriceOverflow`].
    pub fn times(self, requests: u32) -> Result<Estimate, EngineError> {
        let all = |bytes: u64| bytes.checked_mul(requests.into()).ok_or(EngineError::PriceOverflow);
        Ok(Estimate {
            kv_bytes: all(self.kv_bytes)?,
            request_bytes: all(self.request_bytes)?,
            ring_bytes: all(self.ring_bytes)?,
            ..self
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_requests_share_the_workspace_and_nothing_else() {
        let one = Estimate {
            kv_region: Region::Host,
            kv_bytes: 100,
            kv_block_bytes: 50,
            request_bytes: 7,
            ring_bytes: 3,
            workspace_bytes: 9,
        };
        let three = Estimate { kv_bytes: 300, request_bytes: 21, ring_bytes: 9, ..one };
        assert_eq!((one.times(1), one.times(3)), (Ok(one), Ok(three)));
        for huge in
            [Estimate { kv_bytes: u64::MAX, ..one }, Estimate { request_bytes: u64::MAX / 2 + 1, ..one }]
        {
            assert_eq!(huge.times(2), Err(EngineError::PriceOverflow));
        }
    }
}
