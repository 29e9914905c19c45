//! Anonymous pages from the system: what workspaces are made of.

use super::mapped;
use plimsoll_engine::Source;
use std::ptr::{self, NonNull};

/// Readable, writable, private pages, committed; huge ones where the system has them.
// SAFETY: a mapping is zeroed and is nobody else's, and is unmapped whole.
pub(crate) static WORKSPACE: Source = unsafe { Source::new("workspace", fresh, free) };

/// The same followed by one page that cannot be touched.
#[cfg(test)]
// SAFETY: as above, with a page more that is no part of the memory.
pub(super) static GUARDED: Source =
    unsafe { Source::new("guarded workspace", tests::guarded, tests::free_guarded) };

/// Bytes of the pages that hold `bytes`; `None` on overflow.
pub(super) fn pages(bytes: usize) -> Option<usize> {
    bytes.checked_next_multiple_of(page_size())
}

/// Maps `len` bytes, whole pages, and commits them.
fn fresh(len: usize) -> Option<NonNull<u8>> {
    let start = reserve(len)?;
    committed(start, len, len)
}

/// Unmaps.
///
/// # Safety
/// The mapping is of this length, and nothing refers to it any more.
unsafe fn free(start: NonNull<u8>, len: usize) {
    mapped::forget(start.as_ptr() as usize, || {
        // SAFETY: by the caller's promise. It cannot fail for a whole mapping.
        unsafe { libc::munmap(start.as_ptr().cast(), len) };
    });
}

/// Commits the first `len` bytes of a mapping of `all`, which is gone if that fails.
fn committed(start: NonNull<u8>, len: usize, all: usize) -> Option<NonNull<u8>> {
    mapped::note(start.as_ptr() as usize, len);
    if commit(start, len) {
        return Some(start);
    }
    // SAFETY: the mapping is this function's, and nothing refers to it.
    unsafe { free(start, all) };
    None
}

/// Maps `len` bytes without committing them.
fn reserve(len: usize) -> Option<NonNull<u8>> {
    // SAFETY: a new mapping at an address of the system's choice touches no existing memory.
    let start = unsafe {
        libc::mmap(
            ptr::null_mut(),
            len,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    NonNull::new(start.cast()).filter(|_| start != libc::MAP_FAILED)
}

/// Makes the pages of a mapping real now, so that no step fails or waits for one. Returns whether they are there.
fn commit(start: NonNull<u8>, len: usize) -> bool {
    #[cfg(target_os = "linux")]
    {
        // Fewer misses of the address cache, where the system has such pages; nothing depends on it.
        // SAFETY: as below; the advice changes how pages are backed, not what is in them.
        unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        // SAFETY: the range is of a mapping that is the caller's.
        let result = unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_POPULATE_WRITE) };
        if result == 0 {
            return true;
        }
        // Kernels before 5.14 do not know the advice; any other answer means that there are no pages.
        if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
            return false;
        }
    }
    for at in (0..len).step_by(page_size()) {
        // SAFETY: within the mapping, which nothing else refers to yet.
        unsafe { start.as_ptr().add(at).write_volatile(0) };
    }
    true
}

pub(super) fn page_size() -> usize {
    // SAFETY: the call has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_engine::Memory;

    /// As [`fresh`], with a page after it that cannot be touched.
    pub(super) fn guarded(len: usize) -> Option<NonNull<u8>> {
        let all = len.checked_add(page_size())?;
        let start = reserve(all)?;
        // SAFETY: the page is the last of the mapping, which is this function's.
        let result = unsafe { libc::mprotect(start.as_ptr().add(len).cast(), page_size(), libc::PROT_NONE) };
        assert_eq!(result, 0, "the guard page can be protected");
        committed(start, len, all)
    }

    /// # Safety
    /// As [`free`], for memory from [`guarded`].
    pub(super) unsafe fn free_guarded(start: NonNull<u8>, len: usize) {
        // SAFETY: by the caller's promise.
        unsafe { free(start, len + page_size()) };
    }

    #[test]
    fn pages_are_there_at_once() {
        let page = page_size();
        assert_eq!(pages(1), Some(page));
        assert_eq!(pages(page), Some(page));
        assert_eq!(pages(usize::MAX), None);
        let memory = Memory::fresh(&WORKSPACE, 8 * page).unwrap();
        let mut resident = [0u8; 8];
        // SAFETY: the range is the mapping, and the vector has a byte per page.
        let result =
            unsafe { libc::mincore(memory.as_ptr().cast(), memory.bytes(), resident.as_mut_ptr().cast()) };
        assert_eq!(result, 0);
        assert!(resident.iter().all(|page| page & 1 == 1), "{resident:?}");
    }

    #[test]
    fn what_cannot_be_had_is_none() {
        let before = mapped::mapped().bytes;
        assert!(Memory::fresh(&WORKSPACE, pages(1 << 60).unwrap()).is_none());
        assert!(mapped::mapped().bytes < before + (1 << 59));
    }
}
