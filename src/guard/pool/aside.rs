//! Idle memory that is taken for a lease at the moment in which that is booked, so that it does not go to make room for itself.

use super::MemoryGuard;
use crate::guard::Refusal;
use plimsoll_engine::sync::Mutex;
use plimsoll_engine::{Buffers, Lease, Memory, Owner, Region, Source};
use std::sync::{Arc, PoisonError};

/// A wish for idle memory, and from the booking of a lease for it on that memory, if there was any. Until then it lies idle, and goes
/// like all that does. Dropped, it lies idle again.
pub struct Aside {
    guard: Arc<MemoryGuard>,
    wanted: Option<(&'static Source, usize)>,
    memory: Option<Memory>,
}

impl MemoryGuard {
    /// Idle memory for whoever leases bytes for it: so many bytes of a source.
    pub fn set_aside(self: &Arc<Self>, wanted: Option<(&'static Source, usize)>) -> Aside {
        Aside { guard: Arc::clone(self), wanted, memory: None }
    }
}

impl Aside {
    /// Memory that was taken off the shelf with a lease for it.
    pub(in crate::guard) fn found(guard: &Arc<MemoryGuard>, memory: Option<Memory>) -> Aside {
        Aside { guard: Arc::clone(guard), wanted: None, memory }
    }

    /// A lease is booked for it: it is off the shelf and spare no longer. To be called under the books' lock, so that whoever books
    /// bytes finds it leased or on the shelf.
    pub(in crate::guard) fn pay(&mut self) {
        self.memory = self.wanted.take().and_then(|(source, bytes)| self.guard.pool.set_aside(source, bytes));
    }

    /// The memory.
    pub(in crate::guard) fn take(&mut self) -> Option<Memory> {
        self.memory.take()
    }

    /// As [`MemoryGuard::lease`] in host memory, for an owner who has a use for the memory.
    ///
    /// # Errors
    /// Those of [`MemoryGuard::lease`].
    pub fn lease(&mut self, owner: Owner, bytes: u64) -> Result<Lease, Refusal> {
        let guard = Arc::clone(&self.guard);
        guard.book_parts(Region::Host, &[(owner, bytes)], None, Some(self))?;
        Ok(guard.books.issue(Region::Host, owner, bytes))
    }

    /// The pool, for an engine that takes its memory before the lease that pays for it returns: what was found is what it is given.
    pub fn into_buffers(mut self) -> Arc<dyn Buffers> {
        match self.take() {
            Some(memory) => {
                Arc::new(Found { guard: Arc::clone(&self.guard), memory: Mutex::new(Some(memory)) })
            }
            None => self.guard.buffers(),
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.guard.pool.return_unused(memory);
        }
    }
}

impl std::fmt::Debug for Aside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Aside({:?})", self.memory)
    }
}

/// Memory for somebody who holds the lease for it, until it is taken; all else comes from the pool, and goes to it.
struct Found {
    guard: Arc<MemoryGuard>,
    memory: Mutex<Option<Memory>>,
}

impl Found {
    fn claim(&self, is_it: impl FnOnce(&Memory) -> bool) -> Option<Memory> {
        let mut found = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        found.take_if(|memory| is_it(memory))
    }
}

impl Buffers for Found {
    fn take(&self, source: &'static Source, bytes: usize) -> Option<Memory> {
        let pool = &self.guard.pool;
        let found = self.claim(|memory| memory.source().is(source) && memory.bytes() == bytes);
        let Some(memory) = found else { return pool.take(source, bytes) };
        pool.use_aside(&memory);
        Some(memory)
    }

    fn put_back(&self, memory: Memory) {
        self.guard.pool.put_back(memory);
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        if let Some(memory) = self.claim(|_| true) {
            self.guard.pool.return_unused(memory);
        }
    }
}
