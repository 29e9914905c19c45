//! The C library's allocator: a counter over mimalloc, or over the system's for valgrind and sanitizers.
//!
//! A C host cannot count Rust's allocations from outside, so the library does it itself. Rust hosts bring their own
//! allocator and build without these features.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(feature = "alloc-mimalloc")]
type Inner = mimalloc::MiMalloc;
#[cfg(not(feature = "alloc-mimalloc"))]
type Inner = std::alloc::System;

#[cfg(feature = "alloc-mimalloc")]
const INNER: Inner = mimalloc::MiMalloc;
#[cfg(not(feature = "alloc-mimalloc"))]
const INNER: Inner = std::alloc::System;

#[global_allocator]
static COUNTER: Counting = Counting { inner: INNER, live: AtomicU64::new(0) };

thread_local! {
    // Made without an allocation and dropped without a trace, so that an allocator may use it at any time.
    static MINE: Cell<i64> = const { Cell::new(0) };
}

struct Counting {
    inner: Inner,
    live: AtomicU64,
}

/// Heap bytes of the library that are live now.
pub(crate) fn heap_bytes() -> u64 {
    COUNTER.live.load(Ordering::Relaxed)
}

#[cfg(feature = "alloc-mimalloc")]
unsafe extern "C" {
    /// mimalloc's: gives memory that is free back to the machine, whoever freed it; small pieces too, if this thread did.
    fn mi_collect(force: bool);
}

/// Gives memory that was freed back to the machine: the allocator would do so ten seconds later, and only when it is used.
pub(crate) fn give_back() {
    #[cfg(feature = "alloc-mimalloc")]
    // SAFETY: it may be called at any time and from any thread.
    unsafe {
        mi_collect(true)
    };
}

/// Heap bytes that this thread has taken less those that it has given back, whoever took them.
#[cfg(feature = "native")]
pub(crate) fn thread_bytes() -> i64 {
    MINE.get()
}

// SAFETY: every call goes to the inner allocator unchanged; only counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the inner allocator's.
        let memory = unsafe { self.inner.alloc(layout) };
        self.grew(memory, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are the inner allocator's.
        let memory = unsafe { self.inner.alloc_zeroed(layout) };
        self.grew(memory, layout.size())
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promises are the inner allocator's.
        let moved = unsafe { self.inner.realloc(memory, layout, size) };
        if !moved.is_null() {
            self.took(size);
            self.gave(layout.size());
        }
        moved
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        self.gave(layout.size());
        // SAFETY: the caller's promises are the inner allocator's.
        unsafe { self.inner.dealloc(memory, layout) };
    }
}

impl Counting {
    fn grew(&self, memory: *mut u8, size: usize) -> *mut u8 {
        if !memory.is_null() {
            self.took(size);
        }
        memory
    }

    // No layout is larger than i64 holds.
    fn took(&self, size: usize) {
        self.live.fetch_add(size as u64, Ordering::Relaxed);
        MINE.set(MINE.get().wrapping_add(size as i64));
    }

    fn gave(&self, size: usize) {
        self.live.fetch_sub(size as u64, Ordering::Relaxed);
        MINE.set(MINE.get().wrapping_sub(size as i64));
    }
}
