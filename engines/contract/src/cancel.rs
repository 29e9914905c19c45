//! A flag that asks for a request to end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A shared, idempotent request to stop. Cancelling never blocks; engines look at it before every step.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    raised: Arc<AtomicBool>,
    parent: Option<Arc<AtomicBool>>,
}

impl Cancel {
    /// A flag that is not yet raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag of its own that also counts as raised when this one is. Raising the child leaves this one alone. A chain
    /// has one link: the child of a child follows its own parent only.
    pub fn child(&self) -> Self {
        Cancel { raised: Arc::default(), parent: Some(Arc::clone(&self.raised)) }
    }

    /// Raises the flag. It cannot be lowered.
    pub fn cancel(&self) {
        self.raised.store(true, Ordering::Release);
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        self.raised.load(Ordering::Acquire)
            || self.parent.as_ref().is_some_and(|parent| parent.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_follows_its_parent_and_not_the_other_way() {
        let parent = Cancel::new();
        let (child, sibling) = (parent.child(), parent.child());
        child.cancel();
        assert!(child.is_cancelled() && !parent.is_cancelled() && !sibling.is_cancelled());
        parent.cancel();
        assert!(sibling.is_cancelled());
    }
}
