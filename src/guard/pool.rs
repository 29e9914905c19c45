//! The pool: host memory in large buffers that are used again.
//!
//! ```text
//!   acquire ──► a buffer of the same size lies idle? ──yes──► hit ──┐
//!                     │ no                                          ├──► Buffer: leased, Owner::Pool
//!                     └──► from the system, zeroed: miss ───────────┘        │ dropped
//!                                                                            ▼
//!   to the system ◄── over the limit, unused too long, room needed ◄── idle: not leased, spare
//! ```
//!
//! A buffer in use is leased like everything else. An idle one is *spare*: it counts as ours when the machine is read, but not as
//! taken when the guard decides, so nobody loses KV and nobody is refused for it. Whoever books bytes makes good for it before
//! going on: while leases, others and spare together exceed the limit, idle buffers go back to the system, the longest unused
//! first.
//!
//! Sizes are rounded up, so that buffers of about a size serve each other: below 1 MiB to 100 KiB, below 10 MiB to 1 MiB, below
//! 100 MiB to 10 MiB, above to 50 MiB. The lease is for the rounded size.

use super::{MemoryGuard, Refusal};
use plimsoll_engine::{Lease, Owner, Region};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// Of every buffer: a page.
const ALIGN: usize = 4096;

/// The size of the buffer for this many bytes; `None` on overflow and for none.
pub fn pool_size(bytes: usize) -> Option<usize> {
    let step = match bytes {
        0 => return None,
        _ if bytes < MIB => 100 * KIB,
        _ if bytes < 10 * MIB => MIB,
        _ if bytes < 100 * MIB => 10 * MIB,
        _ => 50 * MIB,
    };
    bytes.checked_next_multiple_of(step).filter(|&size| size <= isize::MAX as usize - ALIGN)
}

/// Why there is no buffer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// It has no size, or none that memory can have.
    #[error("no buffer has {bytes} bytes")]
    Size {
        /// Bytes asked for.
        bytes: usize,
    },
    /// The guard has no room.
    #[error("{0}")]
    Refused(Refusal),
    /// The system refused memory that the guard had granted, also after a cleanup.
    #[error("the system refused a buffer of {bytes} bytes")]
    OutOfMemory {
        /// Bytes of the buffer.
        bytes: usize,
    },
}

/// What the pool holds and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Bytes of buffers in use, which are leased.
    pub in_use_bytes: u64,
    /// Bytes of idle buffers.
    pub idle_bytes: u64,
    /// The most bytes of idle buffers.
    pub limit_bytes: u64,
    /// Buffers in use.
    pub buffers_in_use: u64,
    /// Idle buffers.
    pub buffers_idle: u64,
    /// Buffers that were there already.
    pub hits: u64,
    /// Buffers that came from the system.
    pub misses: u64,
    /// Idle buffers that went back to it, for whatever reason.
    pub evictions: u64,
}

/// Memory of a buffer; freed when dropped.
struct Memory {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: it owns its bytes, and gives no access by itself.
unsafe impl Send for Memory {}
// SAFETY: as above.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed memory, or `None` where the system has none.
    fn new(size: usize) -> Option<Memory> {
        let layout = Layout::from_size_align(size, ALIGN).ok().filter(|layout| layout.size() > 0)?;
        // SAFETY: the size is not 0.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) })?;
        Some(Memory { start, layout })
    }

    fn size(&self) -> u64 {
        self.layout.size() as u64
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: from `alloc_zeroed` with this layout.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

struct Idle {
    memory: Memory,
    since: Duration,
}

#[derive(Default)]
struct Shelf {
    /// By size, the longest unused first.
    idle: BTreeMap<usize, Vec<Idle>>,
    stats: PoolStats,
}

/// The guard's part of the pool.
#[derive(Default)]
pub(super) struct Pool {
    shelf: Mutex<Shelf>,
    /// Bytes of idle buffers, and of those that are about to be: never less than what lies on the shelf.
    spare: AtomicU64,
}

impl Pool {
    /// Bytes that the process holds and that count as free.
    pub(super) fn spare(&self) -> u64 {
        self.spare.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // Nothing panics between two changes that belong together.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, size: usize) -> Option<Memory> {
        let mut shelf = self.lock();
        let found = shelf.idle.get_mut(&size)?.pop()?;
        shelf.stats.idle_bytes -= size as u64;
        shelf.stats.buffers_idle -= 1;
        drop(shelf);
        self.spare.fetch_sub(size as u64, Ordering::SeqCst);
        Some(found.memory)
    }

    /// Frees idle buffers, the longest unused first, while `more(bytes freed, idle bytes left, unused since)` says so. Returns the
    /// bytes freed.
    fn free_while(&self, more: impl Fn(u64, u64, Duration) -> bool) -> u64 {
        let mut freed = 0;
        loop {
            let mut shelf = self.lock();
            let oldest =
                shelf.idle.iter().filter_map(|(&size, list)| Some((list.first()?.since, size))).min();
            let Some((_, size)) = oldest.filter(|&(since, _)| more(freed, shelf.stats.idle_bytes, since))
            else {
                return freed;
            };
            let gone = shelf.idle.get_mut(&size).map(|list| list.remove(0));
            shelf.stats.idle_bytes -= size as u64;
            shelf.stats.buffers_idle -= 1;
            shelf.stats.evictions += 1;
            drop(shelf);
            drop(gone);
            self.spare.fetch_sub(size as u64, Ordering::SeqCst);
            freed += size as u64;
        }
    }
}

/// Memory from the pool, leased until it is dropped; then it lies idle for the next.
pub struct Buffer {
    guard: Arc<MemoryGuard>,
    memory: Option<Memory>,
    lease: Option<Lease>,
    bytes: usize,
}

impl Buffer {
    /// Bytes that were asked for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the whole buffer, which its lease pays for.
    pub fn capacity(&self) -> usize {
        self.memory.as_ref().map_or(0, |memory| memory.layout.size())
    }

    /// Its first byte, at a multiple of 4096. Memory that was used before holds what it held then; fresh memory is zero.
    pub fn as_ptr(&self) -> *mut u8 {
        self.memory.as_ref().map_or(std::ptr::null_mut(), |memory| memory.start.as_ptr())
    }

    /// Its bytes, as many as were asked for.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        match &mut self.memory {
            // SAFETY: the memory has `bytes` at least, is this buffer's alone, and was zeroed or written before.
            Some(memory) => unsafe { std::slice::from_raw_parts_mut(memory.start.as_ptr(), self.bytes) },
            None => &mut [],
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(memory) = self.memory.take() else { return };
        self.guard.put_back(memory, self.lease.take());
    }
}

impl std::fmt::Debug for Buffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Buffer({} of {} bytes)", self.bytes, self.capacity())
    }
}

impl MemoryGuard {
    /// Host memory for `bytes`, leased at its rounded size ([`pool_size`]). Idle sessions lose their KV if that makes room.
    ///
    /// # Errors
    /// A size of 0 or beyond all memory; a refusal with its numbers; a system without memory, after one recovery.
    pub fn acquire(self: &Arc<Self>, bytes: usize) -> Result<Buffer, PoolError> {
        let size = pool_size(bytes).ok_or(PoolError::Size { bytes })?;
        // Before the lease: what is about to be used again must not be freed to make room for itself.
        let found = self.pool.take(size);
        let lease = match self.lease(Region::Host, Owner::Pool, size as u64) {
            Ok(lease) => lease,
            Err(refusal) => {
                if let Some(memory) = found {
                    self.put_back(memory, None);
                }
                return Err(PoolError::Refused(refusal));
            }
        };
        let hit = found.is_some();
        let memory = found.or_else(|| Memory::new(size)).map(Ok).unwrap_or_else(|| {
            let recovery = self.recover();
            let memory = Memory::new(size).ok_or(PoolError::OutOfMemory { bytes: size })?;
            recovery.succeeded();
            Ok(memory)
        })?;
        let mut shelf = self.pool.lock();
        let stats = &mut shelf.stats;
        (stats.hits, stats.misses) = (stats.hits + u64::from(hit), stats.misses + u64::from(!hit));
        stats.in_use_bytes += size as u64;
        stats.buffers_in_use += 1;
        drop(shelf);
        Ok(Buffer { guard: Arc::clone(self), memory: Some(memory), lease: Some(lease), bytes })
    }

    /// What the pool holds and did.
    pub fn pool_stats(&self) -> PoolStats {
        PoolStats { limit_bytes: self.config.pool_limit, ..self.pool.lock().stats }
    }

    /// Gives all idle buffers back to the system. Returns their bytes.
    pub fn trim_pool(&self) -> u64 {
        self.pool.free_while(|_, _, _| true)
    }

    /// Gives buffers back that were not used for the pool's timeout. Returns their bytes. Meant to be called from a timer.
    pub fn sweep_pool(&self) -> u64 {
        if self.pool.spare() == 0 {
            return 0;
        }
        let before = self.clock.now().checked_sub(self.config.pool_timeout);
        self.pool.free_while(|_, _, since| before.is_some_and(|before| since <= before))
    }

    /// Gives idle buffers back while the host's leases, others and they together exceed its limit. Called by whoever has booked
    /// bytes, before they are used, with no lock held.
    pub(super) fn make_good(&self) {
        if self.pool.spare() > 0 {
            let over = self.over();
            self.pool.free_while(|freed, _, _| freed < over);
        }
    }

    fn over(&self) -> u64 {
        let state = self.books.lock();
        let Some(host) = state.ledger.region(Region::Host) else { return 0 };
        host.taken().saturating_add(self.pool.spare()).saturating_sub(host.limit)
    }

    /// Takes a buffer's memory back; `lease` paid for it while it was in use.
    fn put_back(&self, memory: Memory, lease: Option<Lease>) {
        let size = memory.size();
        // Spare before the lease returns: whoever books these bytes in between sees that they are not free of memory yet.
        self.pool.spare.fetch_add(size, Ordering::SeqCst);
        let used = lease.is_some();
        drop(lease);
        let idle = Idle { since: self.clock.now(), memory };
        let mut shelf = self.pool.lock();
        if used {
            shelf.stats.in_use_bytes -= size;
            shelf.stats.buffers_in_use -= 1;
        }
        let list = shelf.idle.entry(idle.memory.layout.size()).or_default();
        if list.try_reserve(1).is_ok() {
            list.push(idle);
            shelf.stats.idle_bytes += size;
            shelf.stats.buffers_idle += 1;
            drop(shelf);
        } else {
            shelf.stats.evictions += 1;
            drop(shelf);
            drop(idle);
            self.pool.spare.fetch_sub(size, Ordering::SeqCst);
        }
        let limit = self.config.pool_limit;
        self.pool.free_while(|_, left, _| left > limit);
        self.make_good();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_rounded_by_their_class() {
        let cases = [
            (1, 100 * KIB),
            (100 * KIB, 100 * KIB),
            (100 * KIB + 1, 200 * KIB),
            (MIB - 1, 1100 * KIB),
            (MIB, MIB),
            (MIB + 1, 2 * MIB),
            (10 * MIB - 1, 10 * MIB),
            (10 * MIB + 1, 20 * MIB),
            (100 * MIB, 100 * MIB),
            (100 * MIB + 1, 150 * MIB),
        ];
        for (bytes, size) in cases {
            assert_eq!(pool_size(bytes), Some(size), "{bytes}");
        }
        assert_eq!((pool_size(0), pool_size(usize::MAX), pool_size(isize::MAX as usize)), (None, None, None));
    }
}
