//! Where the memory of rings and workspaces comes from, and where it goes when they are done with it.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::Arc;

/// A way to get memory from the system and to give it back. All memory of one source is alike: it serves whoever asks for as many
/// bytes of it. A source is itself and no other ([`Source::is`]), whatever they are called.
#[derive(Clone, Copy)]
pub struct Source {
    name: &'static str,
    on_heap: bool,
    fresh: fn(usize) -> Option<NonNull<u8>>,
    free: unsafe fn(NonNull<u8>, usize),
}

impl Source {
    /// A source of an engine's own, of memory that is not on the heap.
    ///
    /// # Safety
    /// `fresh` gives so many bytes (never 0 of them) of zeros that may be read and written on any thread, to which nobody else
    /// refers, and which stay until `free` is called with them and their number; or `None`.
    pub const unsafe fn new(
        name: &'static str,
        fresh: fn(usize) -> Option<NonNull<u8>>,
        free: unsafe fn(NonNull<u8>, usize),
    ) -> Source {
        Source { name, on_heap: false, fresh, free }
    }

    /// The heap, at multiples of `ALIGN`, a power of two.
    pub const fn heap<const ALIGN: usize>(name: &'static str) -> Source {
        Source { name, on_heap: true, fresh: heap_fresh::<ALIGN>, free: heap_free::<ALIGN> }
    }

    /// Whether it is this very source: what is true of its memory (where it starts, how it is freed) need not be true of another's.
    pub fn is(&self, other: &Source) -> bool {
        ptr::eq(self, other)
    }

    /// What it is called, for people.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Whether its memory is on the heap, where an allocator may count it.
    pub fn is_on_heap(&self) -> bool {
        self.on_heap
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.name)
    }
}

fn heap_fresh<const ALIGN: usize>(bytes: usize) -> Option<NonNull<u8>> {
    let layout = Layout::from_size_align(bytes, ALIGN).ok().filter(|layout| layout.size() > 0)?;
    // SAFETY: the size is not 0.
    NonNull::new(unsafe { alloc_zeroed(layout) })
}

/// # Safety
/// The memory is from [`heap_fresh`] with this size, and is not used again.
unsafe fn heap_free<const ALIGN: usize>(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the layout was valid when the memory was taken, by the caller's promise with the same size.
    unsafe { dealloc(start.as_ptr(), Layout::from_size_align_unchecked(bytes, ALIGN)) };
}

/// Memory of a [`Source`], given back to the system when it is dropped. All of its bytes are initialised: fresh ones are zero, others
/// are what was written last, by whomever.
pub struct Memory {
    start: NonNull<u8>,
    bytes: usize,
    source: &'static Source,
}

// SAFETY: it owns its bytes, which are plain data; access to them follows the rules of borrowing.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// So many bytes from the system, all zero; `None` where it has none, and for 0 bytes.
    pub fn fresh(source: &'static Source, bytes: usize) -> Option<Memory> {
        let start = if bytes == 0 { None } else { (source.fresh)(bytes) };
        start.map(|start| Memory { start, bytes, source })
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where it is from.
    pub fn source(&self) -> &'static Source {
        self.source
    }

    /// Its first byte. Whoever writes through it must leave every byte initialised.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: so many initialised bytes, which nobody writes while they are borrowed from here.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }

    /// Its bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        // SAFETY: so many initialised bytes, which nobody else refers to while they are borrowed from here.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: from this source, with this size, and nobody refers to it any more.
        unsafe { (self.source.free)(self.start, self.bytes) };
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes, {})", self.bytes, self.source.name)
    }
}

/// Who hands out memory and takes it back: the system ([`System`]), or somebody who keeps what comes back for the next.
///
/// Leases are no concern of it: whoever takes memory holds the lease that pays for it, and drops that after the memory.
pub trait Buffers: Send + Sync {
    /// Memory of exactly so many bytes of a source, used before or fresh. `None` where there is none, and for 0 bytes.
    fn take(&self, source: &'static Source, bytes: usize) -> Option<Memory>;

    /// Takes memory back that came from [`Buffers::take`].
    fn put_back(&self, memory: Memory);
}

/// The system: all memory is fresh, and none is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct System;

impl Buffers for System {
    fn take(&self, source: &'static Source, bytes: usize) -> Option<Memory> {
        Memory::fresh(source, bytes)
    }

    fn put_back(&self, memory: Memory) {
        drop(memory);
    }
}

/// Memory that goes back when it is dropped to where it was taken from.
pub struct Buffer {
    // `None` for a buffer of no bytes, and while it is dropped.
    memory: Option<Memory>,
    // `None` is the system.
    home: Option<Arc<dyn Buffers>>,
}

impl Buffer {
    /// Exactly so many bytes of this source, initialised, with whatever was in them; `None` where there is no memory, and where
    /// `home` has other memory than it was asked for, which goes back. A buffer of 0 bytes has none.
    pub fn take(home: &Arc<dyn Buffers>, source: &'static Source, bytes: usize) -> Option<Buffer> {
        let memory = if bytes == 0 { None } else { Some(home.take(source, bytes)?) };
        let buffer = Buffer { memory, home: Some(Arc::clone(home)) };
        // Unsafe code relies on both, and anybody may write a home.
        let as_asked = |memory: &Memory| memory.source.is(source) && memory.bytes == bytes;
        buffer.memory.as_ref().is_none_or(as_asked).then_some(buffer)
    }

    /// The same from the system, all of it zero.
    pub fn fresh(source: &'static Source, bytes: usize) -> Option<Buffer> {
        let memory = if bytes == 0 { None } else { Some(Memory::fresh(source, bytes)?) };
        Some(Buffer { memory, home: None })
    }

    /// Its size.
    pub fn bytes(&self) -> usize {
        self.memory.as_ref().map_or(0, Memory::bytes)
    }

    /// Its first byte, which stays where it is; dangling for 0 bytes. Whoever writes through it must leave every byte initialised.
    pub fn as_ptr(&self) -> *mut u8 {
        self.memory.as_ref().map_or(NonNull::dangling().as_ptr(), Memory::as_ptr)
    }

    /// Its bytes.
    pub fn as_slice(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], Memory::as_slice)
    }

    /// Its bytes.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.memory.as_mut().map_or(&mut [], Memory::as_mut_slice)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let (Some(memory), Some(home)) = (self.memory.take(), &self.home) {
            home.put_back(memory);
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Buffer({} bytes)", self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    static SMALL: Source = Source::heap::<64>("small");

    /// Keeps what comes back.
    #[derive(Default)]
    struct Drawer(Mutex<Vec<Memory>>);

    impl Buffers for Drawer {
        fn take(&self, source: &'static Source, bytes: usize) -> Option<Memory> {
            let found = self.0.lock().unwrap().pop();
            found.filter(|memory| memory.bytes() == bytes).or_else(|| Memory::fresh(source, bytes))
        }

        fn put_back(&self, memory: Memory) {
            self.0.lock().unwrap().push(memory);
        }
    }

    #[test]
    fn a_buffer_goes_back_to_where_it_came_from() {
        let drawer = Arc::new(Drawer::default());
        let home: Arc<dyn Buffers> = Arc::<Drawer>::clone(&drawer);
        let mut buffer = Buffer::take(&home, &SMALL, 100).unwrap();
        assert!(buffer.as_slice() == [0; 100] && buffer.as_ptr().addr().is_multiple_of(64));
        buffer.as_mut_slice().fill(7);
        let at = buffer.as_ptr();
        drop(buffer);
        assert_eq!(drawer.0.lock().unwrap().len(), 1);
        let again = Buffer::take(&home, &SMALL, 100).unwrap();
        assert!(again.as_ptr() == at && again.as_slice() == [7; 100]);
        assert!(drawer.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_buffer_is_of_the_source_and_the_size_that_were_asked_for_or_is_none() {
        static ALIKE: Source = Source::heap::<1>("small");
        for kept in [Memory::fresh(&SMALL, 99), Memory::fresh(&SMALL, 101), Memory::fresh(&ALIKE, 100)] {
            let drawer = Arc::new(Whatever(Mutex::new(kept)));
            let home: Arc<dyn Buffers> = Arc::<Whatever>::clone(&drawer);
            assert!(Buffer::take(&home, &SMALL, 100).is_none());
            assert!(drawer.0.lock().unwrap().is_some(), "it went back");
        }
        let home: Arc<dyn Buffers> = Arc::new(Whatever(Mutex::new(Memory::fresh(&SMALL, 100))));
        assert!(Buffer::take(&home, &SMALL, 100).is_some_and(|buffer| buffer.bytes() == 100));
    }

    /// Gives what it has, whoever asks for what.
    struct Whatever(Mutex<Option<Memory>>);

    impl Buffers for Whatever {
        fn take(&self, _: &'static Source, _: usize) -> Option<Memory> {
            self.0.lock().unwrap().take()
        }

        fn put_back(&self, memory: Memory) {
            *self.0.lock().unwrap() = Some(memory);
        }
    }

    #[test]
    fn no_bytes_are_a_buffer_and_too_many_are_none() {
        let system: Arc<dyn Buffers> = Arc::new(System);
        let mut none = Buffer::take(&system, &SMALL, 0).unwrap();
        assert!(Buffer::fresh(&SMALL, 0).is_some_and(|none| none.bytes() == 0));
        assert!(none.bytes() == 0 && none.as_slice().is_empty() && none.as_mut_slice().is_empty());
        assert!(Buffer::take(&system, &SMALL, usize::MAX).is_none());
        assert!(Memory::fresh(&SMALL, 0).is_none());
    }
}
