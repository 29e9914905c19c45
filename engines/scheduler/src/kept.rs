//! KV that outlives its request: the block table of idle sessions.

use crate::KvBlock;
use plimsoll_engine::SessionKey;
use std::collections::HashMap;

/// What a session keeps between its requests.
pub(crate) struct Kept<B> {
    /// Blocks in the order of positions, each paid for by its own lease.
    pub(crate) blocks: Vec<KvBlock<B>>,
    /// Leading tokens of the session's last request whose KV the blocks hold.
    pub(crate) tokens: usize,
}

/// KV of the sessions that no request runs for.
pub(crate) struct KeptTable<B> {
    block_tokens: usize,
    sessions: HashMap<SessionKey, Kept<B>>,
}

impl<B> KeptTable<B> {
    /// An empty table for blocks of `block_tokens` tokens, at least one.
    pub(crate) fn new(block_tokens: usize) -> Self {
        KeptTable { block_tokens, sessions: HashMap::new() }
    }

    /// Keeps the blocks that the first `tokens` tokens need and frees the others; keeps nothing for no tokens.
    pub(crate) fn put(&mut self, session: SessionKey, mut blocks: Vec<KvBlock<B>>, tokens: usize) {
        blocks.truncate(tokens.div_ceil(self.block_tokens));
        if blocks.is_empty() {
            return;
        }
        // The request that paid for the table's memory has ended: keep no more of it than is used.
        blocks.shrink_to_fit();
        self.sessions.insert(session, Kept { blocks, tokens });
    }

    /// Takes a session's KV out.
    pub(crate) fn take(&mut self, session: SessionKey) -> Option<Kept<B>> {
        self.sessions.remove(&session)
    }

    /// Blocks held for a session.
    pub(crate) fn blocks(&self, session: SessionKey) -> usize {
        self.sessions.get(&session).map_or(0, |kept| kept.blocks.len())
    }

    /// Keeps at most the first `tokens` tokens of a session; the number kept now.
    pub(crate) fn trim(&mut self, session: SessionKey, tokens: usize) -> usize {
        let Some(Kept { blocks, tokens: held }) = self.take(session) else { return 0 };
        let tokens = tokens.min(held);
        self.put(session, blocks, tokens);
        tokens
    }

    /// Frees everything.
    pub(crate) fn clear(&mut self) {
        self.sessions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_engine::{Accounts, Lease, Owner, Region};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Returned(AtomicU64);
    impl Accounts for Returned {
        fn release(&self, _: Region, _: Owner, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    const SESSION: SessionKey = SessionKey(3);

    fn blocks(books: &Arc<Returned>, count: usize) -> Vec<KvBlock<u8>> {
        let lease = || Lease::issue(books.clone(), Region::Host, Owner::Kv(SESSION), 1);
        (0..count).map(|_| KvBlock::new(0, lease())).collect()
    }

    #[test]
    fn only_the_blocks_that_tokens_need_are_kept() {
        let books = Arc::new(Returned::default());
        let returned = || books.0.load(Ordering::Relaxed);
        let mut table = KeptTable::new(4);
        table.put(SESSION, blocks(&books, 5), 9);
        assert_eq!((table.blocks(SESSION), returned()), (3, 2));
        assert_eq!(table.trim(SESSION, 100), 9);
        assert_eq!(table.trim(SESSION, 8), 8);
        assert_eq!((table.blocks(SESSION), returned()), (2, 3));
        assert_eq!(table.trim(SESSION, 0), 0);
        assert!(table.take(SESSION).is_none());
        assert_eq!(returned(), 5);
        assert_eq!(table.trim(SessionKey(9), 4), 0);
    }
}
