//! How far a load is.

/// What a load is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LoadState {
    /// It has its leases and waits to read.
    Queued,
    /// Weights come in from their files.
    Reading,
    /// The decoder is being assembled over its workspace.
    Preparing,
    /// A first token has gone through every layer.
    Warm,
    /// Requests are taken.
    Ready,
    /// It ended with an error.
    Failed,
}

/// A report on a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What it is doing.
    pub state: LoadState,
    /// The shard being read, from 0; the number of shards once all are read.
    pub shard: usize,
    /// Files that hold weights.
    pub shards: usize,
    /// Bytes of weights read so far, as they are in the files.
    pub bytes_done: u64,
    /// Bytes of weights to read.
    pub bytes_total: u64,
}
