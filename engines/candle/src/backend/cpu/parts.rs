//! Slices that the tasks of one run write together.

use std::marker::PhantomData;
use std::ops::Range;

/// A mutable slice of which every task takes a part of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    start: *mut f32,
    len: usize,
    slice: PhantomData<&'a mut [f32]>,
}

// SAFETY: it stands for a `&mut [f32]`, and those who take parts promise that the parts do not overlap.
unsafe impl Send for Parts<'_> {}
// SAFETY: as above.
unsafe impl Sync for Parts<'_> {}

impl<'a> Parts<'a> {
    /// Takes the slice over.
    pub(super) fn new(slice: &'a mut [f32]) -> Self {
        Parts { start: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// Values of the slice.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The address of the first value.
    pub(super) fn start(&self) -> *mut f32 {
        self.start
    }

    /// A part of the slice.
    ///
    /// # Safety
    /// While the part is in use, no other part with a value in common is.
    ///
    /// # Panics
    /// The range is not within the slice.
    #[inline(always)]
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &'a mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a part lies within its slice");
        // SAFETY: in bounds by the assertion, unshared by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }

    /// The address of a value, for kernels that write columns.
    ///
    /// # Panics
    /// The index is not within the slice.
    pub(super) fn address(&self, index: usize) -> *mut f32 {
        assert!(index < self.len, "an address lies within its slice");
        // SAFETY: in bounds by the assertion.
        unsafe { self.start.add(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "within its slice")]
    fn a_part_beyond_the_end_is_caught() {
        let mut values = [0.0; 4];
        // SAFETY: the only part.
        let _ = unsafe { Parts::new(&mut values).part(3..5) };
    }
}
