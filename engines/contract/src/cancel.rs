//! A flag that asks for a request to end.

use crate::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

/// A shared, idempotent request to stop. Cancelling never blocks; engines look at it before every step.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    raised: Arc<AtomicBool>,
    /// The flags above, up to the first: a raised one counts as this one's own.
    above: Vec<Arc<AtomicBool>>,
}

impl Cancel {
    /// A flag that is not yet raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag of its own that also counts as raised when this one does. Raising the child leaves this one alone.
    pub fn child(&self) -> Self {
        let above = self.above.iter().chain([&self.raised]).cloned().collect();
        Cancel { raised: Arc::default(), above }
    }

    /// Raises the flag. It cannot be lowered.
    pub fn cancel(&self) {
        self.raised.store(true, Ordering::Release);
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        self.above.iter().chain([&self.raised]).any(|flag| flag.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_follows_its_parent_and_not_the_other_way() {
        let parent = Cancel::new();
        let (child, sibling) = (parent.child(), parent.child());
        let grandchild = sibling.child();
        child.cancel();
        assert!(child.is_cancelled() && !parent.is_cancelled() && !sibling.is_cancelled());
        assert!(!grandchild.is_cancelled());
        parent.cancel();
        assert!(sibling.is_cancelled() && grandchild.is_cancelled());
    }
}
