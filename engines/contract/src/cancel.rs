//! A flag that asks for a request to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shared, idempotent request to stop. Cancelling never blocks; engines look at it before every step.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A flag that is not yet raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// Raises the flag. It cannot be lowered.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}
