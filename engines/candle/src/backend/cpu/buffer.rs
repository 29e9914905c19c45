//! Aligned memory on the heap.

use plimsoll_engine::{EngineError, Region};
use std::alloc::{Layout, alloc, dealloc};
use std::ptr::NonNull;

/// Alignment of every buffer: a cache line, and the widest vector.
pub(super) const ALIGN: usize = 64;

/// Writing one byte in each such run commits every page: no supported system has smaller ones.
const PAGE: usize = 4096;

/// Buffers of this size and more ask for huge pages, which are as large on most systems.
const HUGE: usize = 2 << 20;

/// Bytes of heap memory, aligned to [`ALIGN`]; exactly as many as were asked for.
#[derive(Debug)]
pub(super) struct Buffer {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a buffer owns its bytes, which are plain data; access through it follows the rules of borrowing.
unsafe impl Send for Buffer {}
// SAFETY: as above.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// Zeroed memory with its pages committed.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`].
    pub(super) fn new(len: usize) -> Result<Self, EngineError> {
        let mut buffer = Buffer { start: NonNull::dangling(), layout: Layout::new::<()>() };
        buffer.extend_to(len, len, &mut |bytes| {
            bytes.fill(0);
            Ok(())
        })?;
        // An allocator may answer for zeroed memory with pages that exist only when written, and a compiler may turn an
        // allocation that is filled with zeros into such a request. These writes stay.
        for at in (0..len).step_by(PAGE) {
            // SAFETY: `at` is within the buffer, to which this function has the only reference.
            unsafe { buffer.start.as_ptr().add(at).write_volatile(0) };
        }
        Ok(buffer)
    }

    /// Memory filled by `fill`, in pieces of at most `piece` bytes from the start on.
    ///
    /// # Errors
    /// Those of `fill`; [`EngineError::OutOfMemory`].
    pub(super) fn filled(
        len: usize,
        piece: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<Self, EngineError> {
        let mut buffer = Buffer { start: NonNull::dangling(), layout: Layout::new::<()>() };
        buffer.extend_to(len, piece, fill)?;
        Ok(buffer)
    }

    fn extend_to(
        &mut self,
        len: usize,
        piece: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        if len == 0 {
            return Ok(());
        }
        let refused = || EngineError::OutOfMemory { region: Region::Host, bytes: len as u64 };
        let layout = Layout::from_size_align(len, ALIGN).map_err(|_| refused())?;
        // SAFETY: the layout's size is not zero.
        self.start = NonNull::new(unsafe { alloc(layout) }).ok_or_else(refused)?;
        self.layout = layout;
        self.ask_for_huge_pages();
        let mut from = 0;
        while from < len {
            let count = piece.clamp(1, len - from);
            // SAFETY: the range is within the allocation, which nothing else refers to; writing zeros makes its bytes
            // initialised before they become a slice.
            let bytes = unsafe {
                let start = self.start.as_ptr().add(from);
                start.write_bytes(0, count);
                std::slice::from_raw_parts_mut(start, count)
            };
            fill(bytes)?;
            from += count;
        }
        Ok(())
    }

    /// Asks the system to back a large buffer with huge pages: a walk over all weights then misses the address cache less
    /// often. It may refuse; nothing depends on it.
    fn ask_for_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        if self.layout.size() >= HUGE {
            let start = self.start.as_ptr().align_offset(PAGE);
            let len = (self.layout.size() - start) / PAGE * PAGE;
            // SAFETY: the range lies within the allocation. The advice changes how its pages are backed, not what is in them.
            unsafe { libc::madvise(self.start.as_ptr().add(start).cast(), len, libc::MADV_HUGEPAGE) };
        }
    }

    /// Bytes held.
    pub(super) fn len(&self) -> usize {
        self.layout.size()
    }

    /// The first byte. Whoever writes through it answers for the absence of other references.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// All bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: `len` bytes from `start` are allocated and initialised; no one writes them while `self` is borrowed
        // (blocks of the KV cache, which are written through `start`, do not use this).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len()) }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.layout.size() > 0 {
            // SAFETY: allocated in `extend_to` with this layout.
            unsafe { dealloc(self.start.as_ptr(), self.layout) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_filled_in_order_in_bounded_pieces() {
        let mut next = 0;
        let mut pieces = Vec::new();
        let buffer = Buffer::filled(10, 4, &mut |bytes| {
            assert!(bytes.iter().all(|byte| *byte == 0));
            pieces.push(bytes.len());
            bytes.iter_mut().for_each(|byte| {
                next += 1;
                *byte = next;
            });
            Ok(())
        })
        .unwrap();
        assert_eq!(buffer.bytes(), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        assert_eq!(pieces, [4, 4, 2]);
        assert_eq!(buffer.start().as_ptr() as usize % ALIGN, 0);
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        assert!(matches!(Buffer::new(usize::MAX), Err(EngineError::OutOfMemory { bytes: u64::MAX, .. })));
        assert!(matches!(Buffer::new(isize::MAX as usize - 4096), Err(EngineError::OutOfMemory { .. })));
        assert_eq!(Buffer::new(0).unwrap().bytes(), [0u8; 0]);
        let refuse = &mut |_: &mut [u8]| Err(EngineError::Closed);
        assert_eq!(Buffer::filled(10, 4, refuse).unwrap_err(), EngineError::Closed);
    }
}
