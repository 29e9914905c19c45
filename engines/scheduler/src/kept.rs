//! KV that outlives its request: the block tables of idle sessions.

use crate::table::Need;
use crate::{BlockTable, Limits};
use plimsoll_engine::{Lease, SessionKey};
use std::collections::HashMap;

/// What a session keeps between its requests.
struct Kept<B> {
    /// Its blocks, each paid for by its own lease.
    blocks: BlockTable<B>,
    /// Leading tokens of the session's last request whose KV the blocks hold, as far back as a token after them looks.
    tokens: usize,
}

/// KV of the sessions that no request runs for.
pub(crate) struct KeptTable<B> {
    limits: Limits,
    sessions: HashMap<SessionKey, Kept<B>>,
}

impl<B> KeptTable<B> {
    /// An empty table.
    pub(crate) fn new(limits: Limits) -> Self {
        KeptTable { limits, sessions: HashMap::new() }
    }

    /// Keeps the blocks that the first `tokens` tokens need and frees the others. Keeps nothing for no tokens, and where
    /// the blocks do not reach as far back as the window does there. Answers the tokens kept.
    pub(crate) fn put(&mut self, session: SessionKey, mut blocks: BlockTable<B>, tokens: usize) -> usize {
        if tokens == 0 || blocks.is_empty() || !blocks.covers(&self.limits, tokens, 0) {
            blocks.clear();
            return 0;
        }
        blocks.roll(&self.limits, tokens);
        let whole = tokens.div_ceil(self.limits.block_tokens);
        blocks.truncate(Need { whole, rolling: whole.saturating_sub(blocks.first) });
        // The request that paid for the table's memory has ended: keep no more of it than is used.
        blocks.whole.shrink_to_fit();
        blocks.rolling.shrink_to_fit();
        self.sessions.insert(session, Kept { blocks, tokens });
        tokens
    }

    /// How many of a request's first `shared` tokens, which are the same as those of the session's last one, need not be
    /// computed again: none where the window reaches further back than the blocks do.
    pub(crate) fn reusable(&self, session: SessionKey, shared: usize) -> usize {
        let Some(kept) = self.sessions.get(&session) else { return 0 };
        let tokens = shared.min(kept.tokens);
        if kept.blocks.covers(&self.limits, tokens, 0) { tokens } else { 0 }
    }

    /// A session's blocks, where they hold its first `tokens` tokens.
    pub(crate) fn holding(&self, session: SessionKey, tokens: usize) -> Option<&BlockTable<B>> {
        self.sessions.get(&session).filter(|kept| kept.tokens >= tokens).map(|kept| &kept.blocks)
    }

    /// Takes a session's blocks out. Those of a rolling layer begin where they did, unless nothing is reused.
    pub(crate) fn take(&mut self, session: SessionKey, reused: usize) -> BlockTable<B> {
        let mut blocks = self.sessions.remove(&session).map_or_else(BlockTable::default, |kept| kept.blocks);
        if reused == 0 {
            blocks.first = 0;
        }
        blocks
    }

    /// Blocks held for a session.
    pub(crate) fn held(&self, session: SessionKey) -> Need {
        self.sessions.get(&session).map_or_else(Need::default, |kept| kept.blocks.held())
    }

    /// Bytes held for a session.
    pub(crate) fn bytes(&self, session: SessionKey) -> u64 {
        // Blocks that exist have bytes that fit.
        self.held(session).bytes(&self.limits).unwrap_or(u64::MAX)
    }

    /// Frees a session's last block of a kind of which it holds more than needed, and hands out its lease.
    pub(crate) fn shed(&mut self, session: SessionKey, need: Need) -> Option<Lease> {
        let kept = self.sessions.get_mut(&session)?;
        let held = kept.blocks.held();
        let block = if held.whole > need.whole {
            kept.blocks.whole.pop()?
        } else if held.rolling > need.rolling {
            kept.blocks.rolling.pop()?
        } else {
            return None;
        };
        let block_tokens = self.limits.block_tokens;
        let whole = if self.limits.block_bytes > 0 { kept.blocks.whole.len() } else { usize::MAX };
        let rolling = match self.limits.rolling {
            Some(_) => kept.blocks.first + kept.blocks.rolling.len(),
            None => usize::MAX,
        };
        kept.tokens = kept.tokens.min(whole.min(rolling).saturating_mul(block_tokens));
        Some(block.into_lease())
    }

    /// Keeps at most the first `tokens` tokens of a session; the number kept now.
    pub(crate) fn trim(&mut self, session: SessionKey, tokens: usize) -> usize {
        let Some(Kept { blocks, tokens: held }) = self.sessions.remove(&session) else { return 0 };
        self.put(session, blocks, tokens.min(held))
    }

    /// Frees everything.
    pub(crate) fn clear(&mut self) {
        self.sessions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{KvBlock, Rolling};
    use plimsoll_engine::{Accounts, Owner, Region};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Bytes that came back, and in how many steps.
    #[derive(Default)]
    struct Returned(AtomicU64, AtomicU64);
    impl Accounts for Returned {
        fn release(&self, _: Region, _: Owner, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    const SESSION: SessionKey = SessionKey(3);
    const LIMITS: Limits = Limits {
        block_tokens: 4,
        block_bytes: 1,
        rolling: None,
        max_sequences: 1,
        max_step_tokens: 8,
        context_length: 64,
    };

    fn blocks(books: &Arc<Returned>, count: usize, bytes: u64) -> Vec<KvBlock<u8>> {
        let lease = || Lease::issue(books.clone(), Region::Host, Owner::Kv(SESSION), bytes);
        (0..count).map(|_| KvBlock::new(0, lease())).collect()
    }

    #[test]
    fn only_the_blocks_that_tokens_need_are_kept() {
        let books = Arc::new(Returned::default());
        let returned = || books.0.load(Ordering::Relaxed);
        let mut table = KeptTable::new(LIMITS);
        let five = BlockTable { whole: blocks(&books, 5, 1), ..BlockTable::default() };
        assert_eq!(table.put(SESSION, five, 9), 9);
        assert_eq!((table.bytes(SESSION), returned()), (3, 2));
        assert_eq!(table.trim(SESSION, 100), 9);
        assert_eq!(table.trim(SESSION, 8), 8);
        assert_eq!((table.bytes(SESSION), returned()), (2, 3));
        let shed = table.shed(SESSION, Need { whole: 1, rolling: 0 }).unwrap();
        assert_eq!((shed.bytes(), returned(), table.reusable(SESSION, 9)), (1, 3, 4));
        assert!(table.shed(SESSION, Need { whole: 1, rolling: 0 }).is_none());
        drop(shed);
        assert_eq!(table.trim(SESSION, 0), 0);
        assert!(table.take(SESSION, 0).is_empty());
        assert_eq!(returned(), 5);
        assert_eq!(table.trim(SessionKey(9), 4), 0);
    }

    #[test]
    fn a_window_is_kept_and_what_it_does_not_cover_is_not_reused() {
        let books = Arc::new(Returned::default());
        let returned = || books.0.load(Ordering::Relaxed);
        let limits = Limits { rolling: Some(Rolling { block_bytes: 100, window: 6 }), ..LIMITS };
        let mut table = KeptTable::new(limits);
        let all = |first| BlockTable { whole: blocks(&books, 8, 1), rolling: blocks(&books, 4, 100), first };
        // A token at 22 looks back to 17: blocks 4 and 5 stay of 3 to 6.
        assert_eq!(table.put(SESSION, all(3), 22), 22);
        assert_eq!((table.bytes(SESSION), returned()), (6 + 200, 2 + 200));
        // Position 21 looks back to 16, position 20 to 15, whose block is gone.
        let reusable = [22, 21, 20, 5].map(|shared| table.reusable(SESSION, shared));
        assert_eq!(reusable, [22, 21, 0, 0]);
        assert_eq!(table.take(SESSION, 21).first, 4);
        assert_eq!(table.put(SESSION, all(3), 22), 22);
        assert_eq!(table.take(SESSION, 0).first, 0);
        assert_eq!(table.put(SESSION, all(3), 22), 22);
        let steps = books.1.load(Ordering::Relaxed);
        assert_eq!(table.trim(SESSION, 20), 0, "a window that is not covered keeps nothing");
        assert_eq!(books.1.load(Ordering::Relaxed), steps + 1, "all blocks come back at once");
        assert_eq!(table.bytes(SESSION), 0);
        assert_eq!(returned(), 3 * (8 + 400));
    }
}
