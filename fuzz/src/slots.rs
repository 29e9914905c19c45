//! The handles that a sequence of calls has.

use super::input::Input;
use std::ptr::null_mut;

/// Handles of each kind that a sequence may hold at once.
pub(super) const SLOTS: usize = 4;

/// The handles of a sequence, each freed once: when its slot is wanted again, or at the end.
pub(super) struct Slots<T> {
    handles: [*mut T; SLOTS],
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Slots<T> {
    pub(super) fn new(free: unsafe extern "C" fn(*mut T)) -> Self {
        Slots { handles: [null_mut(); SLOTS], free }
    }

    pub(super) fn get(&self, input: &mut Input<'_>) -> *mut T {
        self.handles[usize::from(input.byte()) % SLOTS]
    }

    /// Frees what a slot has and fills it with what `make` gives.
    pub(super) fn fill(&mut self, input: &mut Input<'_>, make: impl FnOnce(&mut Input<'_>, *mut *mut T)) {
        let slot = usize::from(input.byte()) % SLOTS;
        self.release(slot);
        let mut made = null_mut();
        make(input, &mut made);
        self.handles[slot] = made;
    }

    pub(super) fn release(&mut self, slot: usize) {
        let handle = std::mem::replace(&mut self.handles[slot], null_mut());
        // SAFETY: the table holds a handle once, and forgets it before it is freed. NULL is allowed.
        unsafe { (self.free)(handle) };
    }
}

impl<T> Drop for Slots<T> {
    fn drop(&mut self) {
        for slot in 0..SLOTS {
            self.release(slot);
        }
    }
}
