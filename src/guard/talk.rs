//! What is said: host bytes of conversations.
//!
//! A conversation grows when an answer ends, and an answer that was granted must not fail then. So its bytes are counted and not
//! granted: they are taken as what others use is, and whoever asks next finds so much less. On the machine's own readings they
//! are part of what others use anyway; a configured budget has nobody else in it, and learns of them here.
//!
//! No request's end gives them back, only whoever closes or resets a session: what does not fit beside them is refused for good,
//! also one that waits already.

use super::MemoryGuard;
use super::books::State;
use plimsoll_engine::Region;
use std::fmt;
use std::sync::Arc;

/// Bytes of one conversation. Dropped, they are gone.
pub struct Talk {
    guard: Arc<MemoryGuard>,
    bytes: u64,
}

impl Talk {
    /// It takes so many bytes now.
    pub fn set(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes, bytes);
        self.guard.said(before, bytes);
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.set(0);
    }
}

impl fmt::Debug for Talk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Talk({} bytes)", self.bytes)
    }
}

impl MemoryGuard {
    /// A conversation of so many bytes.
    pub fn talk(self: &Arc<Self>, bytes: u64) -> Talk {
        self.said(0, bytes);
        Talk { guard: Arc::clone(self), bytes }
    }

    /// Bytes of all conversations.
    pub fn talk_bytes(&self) -> u64 {
        self.books.lock().talk
    }

    fn said(&self, before: u64, after: u64) {
        if before == after {
            return;
        }
        let mut state = self.books.lock();
        state.said(before, after, self.config.budget.is_some());
        drop(state);
        if after > before {
            self.make_good();
        }
    }
}

impl State {
    fn said(&mut self, before: u64, after: u64, budget: bool) {
        // The sum holds `before`; sizes of what is in memory do not overflow it.
        self.talk = self.talk.saturating_sub(before).saturating_add(after);
        if budget {
            self.ledger.set_talk(Region::Host, self.talk);
        }
        // Less is room for who waits, and more may be too much for it, of which it must hear.
        self.ring();
    }
}
