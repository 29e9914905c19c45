//! What can go wrong in an engine.

use crate::Region;
use std::time::Duration;

/// An engine's failure. Text is bounded by whoever makes it.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The system refused memory that was leased: something outside of plimsoll took it.
    #[error("the system refused {bytes} leased bytes of {region} memory")]
    OutOfMemory {
        /// Where.
        region: Region,
        /// How many bytes were asked for.
        bytes: u64,
    },
    /// The ticket does not pay for the request: it was priced for another shape.
    #[error("the ticket pays for {paid} bytes of {what}, the request needs {needed}")]
    Unpaid {
        /// What is short.
        what: &'static str,
        /// Bytes in the ticket.
        paid: u64,
        /// Bytes the request needs.
        needed: u64,
    },
    /// The queue is full.
    #[error("the queue is full ({queued} requests wait)")]
    QueueFull {
        /// Requests waiting.
        queued: usize,
        /// When to try again.
        retry_after: Duration,
    },
    /// The request cannot be run by this engine whatever memory is free.
    #[error("{0}")]
    Invalid(String),
    /// A size overflowed while the request was priced.
    #[error("the price of the request does not fit in 64 bits")]
    PriceOverflow,
    /// A panic was caught in the step that ran this request.
    #[error("the engine panicked: {0}")]
    Panicked(String),
    /// The engine computed something it should not have, such as logits that are not numbers.
    #[error("{0}")]
    Execution(String),
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    Closed,
}
