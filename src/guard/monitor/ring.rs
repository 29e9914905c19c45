//! The last so many of something, in room that is taken once.

use crate::guard::GuardError;

/// More items than any history has.
const MOST: usize = 1 << 20;

/// A ring: when it is full, the newest takes the place of the oldest.
pub(super) struct Ring<T> {
    items: Vec<T>,
    // What `items` may grow to; its room is there from the start.
    most: usize,
    // The oldest, once it is full.
    first: usize,
}

impl<T: Copy> Ring<T> {
    /// A ring of `most` items, at least one.
    ///
    /// # Errors
    /// The system has no memory for so many.
    pub(super) fn new(most: usize) -> Result<Self, GuardError> {
        let most = most.max(1);
        let mut items = Vec::new();
        items.try_reserve_exact(most).map_err(|_| match most {
            // No memory is large enough: the setting is at fault.
            _ if most > MOST => GuardError::Config {
                name: "history",
                value: most.to_string(),
                range: "what there is memory for",
            },
            _ => GuardError::OutOfMemory,
        })?;
        Ok(Ring { items, most, first: 0 })
    }

    pub(super) fn push(&mut self, item: T) {
        if self.items.len() < self.most {
            self.items.push(item);
        } else if let Some(oldest) = self.items.get_mut(self.first) {
            *oldest = item;
            self.first = (self.first + 1) % self.most;
        }
    }

    /// All items, the oldest first.
    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> {
        let (newer, older) = self.items.split_at(self.first.min(self.items.len()));
        older.iter().chain(newer)
    }

    pub(super) fn last(&self) -> Option<&T> {
        self.iter().next_back()
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.items.len() == self.most
    }

    pub(super) fn clear(&mut self) {
        self.items.clear();
        self.first = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_and_the_room_stays() {
        let mut ring = Ring::new(3).unwrap();
        let room = ring.items.as_ptr();
        assert_eq!((ring.last(), ring.len(), ring.is_full()), (None, 0, false));
        for item in 1..=8 {
            ring.push(item);
            let all: Vec<i32> = ring.iter().copied().collect();
            assert_eq!(all, ((item - 2).max(1)..=item).collect::<Vec<_>>());
            assert_eq!(ring.last(), Some(&item));
        }
        assert_eq!((ring.items.as_ptr(), ring.len(), ring.is_full()), (room, 3, true));
        ring.clear();
        ring.push(9);
        assert_eq!(ring.iter().copied().collect::<Vec<_>>(), [9]);
        assert!(matches!(Ring::<[u64; 64]>::new(usize::MAX), Err(GuardError::Config { .. })));
    }
}
