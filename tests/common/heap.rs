//! A counting allocator: how much heap the whole process holds, and the most it held since a mark.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering};

static HELD: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

/// Counts over the system's allocator. `realloc` keeps its default, a new block beside the old one, which is the worst case.
pub struct Counting;

fn count(change: i64) {
    let now = HELD.fetch_add(change, Ordering::Relaxed) + change;
    PEAK.fetch_max(now, Ordering::Relaxed);
}

// SAFETY: every call is handed on to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is the one the system asks for.
        let at = unsafe { System.alloc(layout) };
        if !at.is_null() {
            count(layout.size() as i64);
        }
        at
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: `at` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(at, layout) }
    }
}

/// Runs something and says how much more heap the process held meanwhile than before, at most.
pub fn peak_of<T>(run: impl FnOnce() -> T) -> (T, u64) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let answer = run();
    let peak = PEAK.load(Ordering::Relaxed) - before;
    (answer, u64::try_from(peak).unwrap_or(0))
}

/// Bytes that the process holds on the heap now.
pub fn held() -> i64 {
    HELD.load(Ordering::Relaxed)
}
