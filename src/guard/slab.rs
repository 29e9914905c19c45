//! A table whose entries stay where they are, with lists that run through them.
//!
//! An entry is in at most one list, which its owner remembers; linking and unlinking take constant time and allocate
//! nothing.

/// No entry. The table never holds this many.
const NONE: u32 = u32::MAX;

/// Entries addressed by a stable index.
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: u32,
}

struct Slot<T> {
    value: Option<T>,
    previous: u32,
    // The next entry of the list, or the next free slot.
    next: u32,
}

/// The ends of a list through a [`Slab`].
pub(super) struct List {
    first: u32,
    last: u32,
    len: u64,
}

/// Where a list grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    First,
    Last,
}

impl List {
    pub(super) fn new() -> Self {
        List { first: NONE, last: NONE, len: 0 }
    }

    /// Index of the first entry.
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// Number of entries.
    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

impl<T> Slab<T> {
    pub(super) fn new() -> Self {
        Slab { slots: Vec::new(), free: NONE }
    }

    /// Makes room for one more entry; `None` when the system refuses it.
    pub(super) fn reserve(&mut self) -> Option<()> {
        if self.free == NONE { self.slots.try_reserve(1).ok() } else { Some(()) }
    }

    /// Adds an entry; `None` when the table is full or the system refuses memory for it.
    pub(super) fn insert(&mut self, value: T) -> Option<u32> {
        if let Some(slot) = self.slots.get_mut(self.free as usize) {
            let at = std::mem::replace(&mut self.free, slot.next);
            *slot = Slot { value: Some(value), previous: NONE, next: NONE };
            return Some(at);
        }
        let at = u32::try_from(self.slots.len()).ok().filter(|&at| at != NONE)?;
        self.slots.try_reserve(1).ok()?;
        self.slots.push(Slot { value: Some(value), previous: NONE, next: NONE });
        Some(at)
    }

    /// Takes an entry out. It must be in no list.
    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        let slot = self.slots.get_mut(at as usize)?;
        let value = slot.value.take()?;
        slot.next = std::mem::replace(&mut self.free, at);
        Some(value)
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.slots.get(at as usize)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.slots.get_mut(at as usize)?.value.as_mut()
    }

    /// Places in the table, taken or not.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The entries at `count` places from `from` on.
    pub(super) fn range(&self, from: usize, count: usize) -> impl Iterator<Item = &T> {
        self.slots.iter().skip(from).take(count).filter_map(|slot| slot.value.as_ref())
    }

    /// All entries with their indices.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        self.slots.iter().enumerate().filter_map(|(at, slot)| slot.value.as_ref().map(|value| (at, value)))
    }

    /// The indices of a list from one entry on.
    pub(super) fn follow(&self, first: Option<u32>) -> impl Iterator<Item = u32> + '_ {
        std::iter::successors(first, |&at| {
            self.slots.get(at as usize).map(|slot| slot.next).filter(|&next| next != NONE)
        })
    }

    /// Puts an entry that is in no list at an end of one.
    pub(super) fn link(&mut self, list: &mut List, at: u32, end: End) {
        let (previous, next) = match end {
            End::First => (NONE, list.first),
            End::Last => (list.last, NONE),
        };
        let Some(slot) = self.slots.get_mut(at as usize) else {
            return;
        };
        (slot.previous, slot.next) = (previous, next);
        self.join(list, previous, at);
        self.join(list, at, next);
        list.len += 1;
    }

    /// Takes an entry out of the list it is in.
    pub(super) fn unlink(&mut self, list: &mut List, at: u32) {
        let Some(slot) = self.slots.get_mut(at as usize) else {
            return;
        };
        let (previous, next) = (slot.previous, slot.next);
        (slot.previous, slot.next) = (NONE, NONE);
        self.join(list, previous, next);
        list.len -= 1;
    }

    /// Makes two entries neighbours; `NONE` is the list's end.
    fn join(&mut self, list: &mut List, left: u32, right: u32) {
        match self.slots.get_mut(left as usize) {
            Some(slot) => slot.next = right,
            None => list.first = right,
        }
        match self.slots.get_mut(right as usize) {
            Some(slot) => slot.previous = left,
            None => list.last = left,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(slab: &Slab<char>, list: &List) -> String {
        slab.follow(list.first()).filter_map(|at| slab.get(at)).collect()
    }

    #[test]
    fn entries_move_between_lists() {
        let mut slab = Slab::new();
        let (mut one, mut two) = (List::new(), List::new());
        let at: Vec<u32> = "abcd".chars().filter_map(|name| slab.insert(name)).collect();
        for &at in &at[..3] {
            slab.link(&mut one, at, End::Last);
        }
        slab.link(&mut one, at[3], End::First);
        assert_eq!(order(&slab, &one), "dabc");
        for (gone, left) in [(at[0], "dbc"), (at[2], "db"), (at[3], "b"), (at[1], "")] {
            slab.unlink(&mut one, gone);
            slab.link(&mut two, gone, End::Last);
            assert_eq!(order(&slab, &one), left);
        }
        assert_eq!((order(&slab, &two).as_str(), one.len(), two.len()), ("acdb", 0, 4));
    }

    #[test]
    fn slots_are_used_again() {
        let mut slab = Slab::new();
        let (a, b) = (slab.insert('a').unwrap(), slab.insert('b').unwrap());
        assert_eq!(slab.remove(a), Some('a'));
        assert_eq!((slab.remove(a), slab.get(a)), (None, None));
        assert_eq!(slab.remove(b), Some('b'));
        assert_eq!((slab.insert('c'), slab.insert('d'), slab.insert('e')), (Some(b), Some(a), Some(2)));
        assert_eq!(slab.iter().map(|(_, &name)| name).collect::<String>(), "dce");
        assert_eq!(slab.get_mut(7), None);
    }
}
