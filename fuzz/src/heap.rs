//! The bound that every reader of untrusted bytes keeps: 16 times its input and 1 MiB of heap.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread holds, and the most it held since the last mark.
    static HELD: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// Counts over the system's allocator, a thread at a time. `realloc` keeps its default, a new block beside the old one:
/// the worst case.
pub struct Counting;

fn count(change: isize) {
    // A thread that is ending has no counter any more, and nothing is measured on it.
    let _ = HELD.try_with(|held| {
        let now = held.get().0.wrapping_add(change);
        held.set((now, now.max(held.get().1)));
    });
}

// SAFETY: every call is handed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promise about `layout` is the one the system asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: `at` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs something on untrusted bytes and holds it to the bound.
///
/// # Panics
/// When it took more, or when nothing was counted because [`Counting`] is not the program's allocator.
pub fn bounded<T>(what: &str, input: usize, base: usize, run: impl FnOnce() -> T) -> T {
    let before = HELD.get().0;
    HELD.set((before, before));
    // Shows that the counter counts.
    drop(std::hint::black_box(vec![0_u8; 1]));
    let answer = run();
    let peak = usize::try_from(HELD.get().1 - before).unwrap_or(0);
    assert!(peak > 0, "{what}: the allocator does not count");
    let limit = base + 16 * input;
    assert!(peak <= limit, "{what}: {peak} bytes of heap for {input} of input; {limit} are allowed");
    answer
}
