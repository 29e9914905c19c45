//! How much heap the library holds, where the build counts it.

/// Heap bytes of the library that are live in this process; `None` in a build that does not count them.
pub(crate) fn total() -> Option<u64> {
    #[cfg(any(feature = "alloc-mimalloc", feature = "alloc-system"))]
    return Some(crate::alloc::heap_bytes());
    #[cfg(not(any(feature = "alloc-mimalloc", feature = "alloc-system")))]
    None
}

/// Heap bytes that this thread has taken less those that it has given back; `None` in a build that does not count them.
#[cfg(feature = "native")]
pub(crate) fn of_this_thread() -> Option<i64> {
    #[cfg(any(feature = "alloc-mimalloc", feature = "alloc-system"))]
    return Some(crate::alloc::thread_bytes());
    #[cfg(not(any(feature = "alloc-mimalloc", feature = "alloc-system")))]
    None
}

/// Gives memory that was freed back to the machine, where the library's own allocator would keep it for later.
pub(crate) fn give_back() {
    #[cfg(any(feature = "alloc-mimalloc", feature = "alloc-system"))]
    crate::alloc::give_back();
}

/// Gives memory back when it is dropped: the last field of what holds much.
#[derive(Debug)]
pub(crate) struct GivesBack;

impl Drop for GivesBack {
    fn drop(&mut self) {
        give_back();
    }
}

/// Runs something on this thread and says how much more heap it leaves behind than there was, in a build that counts.
#[cfg(feature = "native")]
pub(crate) fn grown_by<T>(run: impl FnOnce() -> T) -> (T, Option<u64>) {
    let before = of_this_thread();
    let done = run();
    let grown =
        before.zip(of_this_thread()).map(|(before, after)| u64::try_from(after - before).unwrap_or(0));
    (done, grown)
}
