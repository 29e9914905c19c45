//! Anonymous pages from the system.

use super::mapped;
use plimsoll_engine::{EngineError, Region};
use std::ptr::{self, NonNull};

/// Readable, writable, private pages, zeroed and committed.
#[derive(Debug)]
pub(super) struct Map {
    start: NonNull<u8>,
    len: usize,
    /// Bytes after `len` that are mapped but cannot be touched.
    guard: usize,
}

// SAFETY: a map owns its pages; access through it follows the rules of borrowing.
unsafe impl Send for Map {}
// SAFETY: as above.
unsafe impl Sync for Map {}

impl Map {
    /// Bytes of the pages that hold `bytes`; `None` on overflow.
    pub(super) fn pages(bytes: usize) -> Option<usize> {
        bytes.checked_next_multiple_of(page_size())
    }

    /// Maps `len` bytes, whole pages, and commits them.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    pub(super) fn new(len: usize) -> Result<Self, EngineError> {
        let map = Self::reserve(len, 0)?;
        map.commit()?;
        Ok(map)
    }

    /// The same, followed by one page that cannot be touched.
    #[cfg(test)]
    pub(super) fn guarded(len: usize) -> Result<Self, EngineError> {
        let map = Self::reserve(len, page_size())?;
        // SAFETY: the page is the last of the mapping that `map` owns.
        let result =
            unsafe { libc::mprotect(map.start.as_ptr().add(len).cast(), map.guard, libc::PROT_NONE) };
        assert_eq!(result, 0, "the guard page can be protected");
        map.commit()?;
        Ok(map)
    }

    fn reserve(len: usize, guard: usize) -> Result<Self, EngineError> {
        let refused = || EngineError::OutOfMemory { region: Region::Host, bytes: len as u64 };
        let all = len.checked_add(guard).filter(|all| *all > 0).ok_or_else(refused)?;
        // SAFETY: a new mapping at an address of the system's choice touches no existing memory.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                all,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(refused());
        }
        let start = NonNull::new(start.cast()).ok_or_else(refused)?;
        mapped::note(start.as_ptr() as usize, len);
        Ok(Map { start, len, guard })
    }

    /// Makes the pages real now, so that no step fails or waits for one.
    fn commit(&self) -> Result<(), EngineError> {
        #[cfg(target_os = "linux")]
        {
            // Fewer misses of the address cache, where the system has such pages; nothing depends on it.
            // SAFETY: as below; the advice changes how pages are backed, not what is in them.
            unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_HUGEPAGE) };
            // SAFETY: the range is the mapping that `self` owns, without the guard.
            let result =
                unsafe { libc::madvise(self.start.as_ptr().cast(), self.len, libc::MADV_POPULATE_WRITE) };
            if result == 0 {
                return Ok(());
            }
            // Kernels before 5.14 do not know the advice; any other answer means that there are no pages.
            if std::io::Error::last_os_error().raw_os_error() != Some(libc::EINVAL) {
                return Err(EngineError::OutOfMemory { region: Region::Host, bytes: self.len as u64 });
            }
        }
        for at in (0..self.len).step_by(page_size()) {
            // SAFETY: within the mapping, which nothing else refers to yet.
            unsafe { self.start.as_ptr().add(at).write_volatile(0) };
        }
        Ok(())
    }

    /// The first byte.
    pub(super) fn start(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Bytes, the guard left out.
    pub(super) fn len(&self) -> usize {
        self.len
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        mapped::forget(self.start.as_ptr() as usize, || {
            // SAFETY: the mapping is owned, and its borrows have ended. It cannot fail for a whole mapping.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len + self.guard) };
        });
    }
}

pub(super) fn page_size() -> usize {
    // SAFETY: the call has no preconditions.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).ok().filter(|size| size.is_power_of_two()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_there_at_once() {
        let page = page_size();
        assert_eq!(Map::pages(1), Some(page));
        assert_eq!(Map::pages(page), Some(page));
        assert_eq!(Map::pages(usize::MAX), None);
        let map = Map::new(8 * page).unwrap();
        let mut resident = [0u8; 8];
        // SAFETY: the range is the mapping, and the vector has a byte per page.
        let result = unsafe { libc::mincore(map.start().cast(), map.len(), resident.as_mut_ptr().cast()) };
        assert_eq!(result, 0);
        assert!(resident.iter().all(|page| page & 1 == 1), "{resident:?}");
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        let len = Map::pages(1 << 60).unwrap();
        assert_eq!(
            Map::new(len).unwrap_err(),
            EngineError::OutOfMemory { region: Region::Host, bytes: 1 << 60 }
        );
    }
}
