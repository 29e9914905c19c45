//! What of the process's address space is mapped here, and how much of it is in memory: for statistics.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ranges that are mapped now, by their first address, in no order; a handful for each model.
static RANGES: Mutex<Vec<(usize, usize)>> = Mutex::new(Vec::new());

/// Bytes that the engines of this process have mapped beside the heap: their workspaces, and those that wait for the next engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mapped {
    /// Bytes of address space.
    pub bytes: u64,
    /// Of these, bytes whose pages are in memory, as the kernel says.
    pub resident: u64,
}

fn ranges() -> MutexGuard<'static, Vec<(usize, usize)>> {
    // Each critical section leaves the list whole.
    RANGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes note of a mapping. Where there is no memory for that it is left out.
pub(super) fn note(start: usize, len: usize) {
    let mut ranges = ranges();
    if ranges.try_reserve(1).is_ok() {
        ranges.push((start, len));
    }
}

/// Runs `unmap`, and forgets the mapping before anybody looks again.
pub(super) fn forget(start: usize, unmap: impl FnOnce()) {
    let mut ranges = ranges();
    if let Some(at) = ranges.iter().position(|(first, _)| *first == start) {
        ranges.swap_remove(at);
    }
    if ranges.is_empty() {
        *ranges = Vec::new();
    }
    unmap();
}

/// What is mapped now.
pub fn mapped() -> Mapped {
    // Nothing is unmapped while the list is held.
    let ranges = ranges();
    let mut all = Mapped::default();
    for &(start, len) in ranges.iter() {
        all.bytes += len as u64;
        all.resident += resident(start, len);
    }
    all
}

/// Bytes of a mapping whose pages are in memory.
fn resident(start: usize, len: usize) -> u64 {
    const PAGES: usize = 4096;
    let page = super::map::page_size();
    let mut flags = [0u8; PAGES];
    let mut found = 0;
    for from in (0..len).step_by(PAGES * page) {
        let part = (len - from).min(PAGES * page);
        // SAFETY: the range is part of a mapping that cannot go meanwhile, and there is a byte for each of its pages.
        let result =
            unsafe { libc::mincore((start + from) as *mut libc::c_void, part, flags.as_mut_ptr().cast()) };
        if result == 0 {
            found += flags[..part.div_ceil(page)].iter().filter(|flag| **flag & 1 == 1).count() * page;
        }
    }
    found.min(len) as u64
}

#[cfg(test)]
mod tests {
    use super::super::map::{WORKSPACE, page_size};
    use super::*;
    use plimsoll_engine::Memory;

    #[test]
    fn a_map_is_counted_while_it_lives() {
        let len = 64 * page_size();
        let map = Memory::fresh(&WORKSPACE, len).unwrap();
        let start = map.as_ptr() as usize;
        assert!(ranges().contains(&(start, len)));
        assert_eq!(resident(start, len), len as u64);
        // SAFETY: the pages are this test's own, and nothing refers to what is in them.
        let result = unsafe { libc::madvise(map.as_ptr().cast(), 16 * page_size(), libc::MADV_DONTNEED) };
        assert_eq!(result, 0);
        assert_eq!(resident(start, len), 48 * page_size() as u64);
        let now = mapped();
        assert!(now.bytes >= len as u64 && now.resident <= now.bytes, "{now:?}");
        drop(map);
        assert!(!ranges().contains(&(start, len)));
    }
}
