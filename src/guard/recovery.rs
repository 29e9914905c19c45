//! Recovery: what is done when memory is refused that was granted.
//!
//! A grant is bytes in the books; the system may refuse the memory all the same, when others took it or the books are behind the
//! machine. Whoever meets that asks for a [`Recovery`], tries once more, and says how it went.

use super::MemoryGuard;
use std::sync::Arc;

/// One recovery: memory was made, and whoever asked tries again. Dropped without [`Recovery::succeeded`] it counts as failed.
#[derive(Debug)]
#[must_use = "dropping it counts the recovery as failed"]
pub struct Recovery {
    guard: Arc<MemoryGuard>,
    settled: bool,
}

impl MemoryGuard {
    /// Gives back to the system what no request needs now: idle buffers, then what a cleanup frees: caches, the KV of all
    /// idle sessions, whose conversations stay, and what the host's callbacks know of. Waits for
    /// their engines, at most for the reclaim deadline. To be called with no lock held, and not on an engine's thread.
    pub fn recover(self: &Arc<Self>) -> Recovery {
        // Whoever cleans up already does the rest.
        let freed = self.cleanup().map_or_else(|_| self.trim_pool(), |outcome| outcome.freed);
        log::warn!(
            "granted memory was refused; {freed} bytes of idle buffers, caches and idle sessions' KV went, and it is tried once more"
        );
        Recovery { guard: Arc::clone(self), settled: false }
    }
}

impl Recovery {
    /// The second try had its memory.
    pub fn succeeded(mut self) {
        self.settled = true;
        self.guard.books.lock().tally.recoveries += 1;
    }
}

impl Drop for Recovery {
    fn drop(&mut self) {
        if !self.settled {
            self.guard.books.lock().tally.recovery_failures += 1;
        }
    }
}
