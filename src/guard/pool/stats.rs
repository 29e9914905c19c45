//! The pool in numbers.

/// What the pool holds and did for somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUse {
    /// Bytes of buffers in use, which are leased.
    pub in_use_bytes: u64,
    /// Bytes of idle buffers.
    pub idle_bytes: u64,
    /// Buffers in use.
    pub buffers_in_use: u64,
    /// Idle buffers.
    pub buffers_idle: u64,
    /// Buffers that were there already.
    pub hits: u64,
    /// Buffers that came from the system.
    pub misses: u64,
    /// Idle buffers that went back to it, for whatever reason.
    pub evictions: u64,
}

/// What the pool holds and did: the figures of hosts' buffers, and apart from them those of the engines'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes of hosts' buffers in use, at their rounded sizes; leased to [`plimsoll_engine::Owner::Pool`].
    pub in_use_bytes: u64,
    /// Bytes of hosts' idle buffers.
    pub idle_bytes: u64,
    /// The most bytes of idle buffers, hosts' and engines' together.
    pub limit_bytes: u64,
    /// Hosts' buffers in use.
    pub buffers_in_use: u64,
    /// Hosts' idle buffers.
    pub buffers_idle: u64,
    /// Hosts' buffers that were there already.
    pub hits: u64,
    /// Hosts' buffers that came from the system.
    pub misses: u64,
    /// Hosts' idle buffers that went back to it, for whatever reason.
    pub evictions: u64,
    /// Rings of requests and workspaces of models; in use they are leased to their requests and models.
    pub engine: PoolUse,
}

impl PoolStats {
    pub(super) fn new(limit_bytes: u64, host: PoolUse, engine: PoolUse) -> Self {
        let PoolUse { in_use_bytes, idle_bytes, buffers_in_use, buffers_idle, hits, misses, evictions } =
            host;
        let host = PoolStats { in_use_bytes, idle_bytes, buffers_in_use, buffers_idle, ..Self::default() };
        PoolStats { limit_bytes, hits, misses, evictions, engine, ..host }
    }

    /// Bytes that lie idle, whosever they were.
    pub fn all_idle_bytes(&self) -> u64 {
        self.idle_bytes.saturating_add(self.engine.idle_bytes)
    }
}
