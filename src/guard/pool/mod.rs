//! The pool: host memory that is used again.
//!
//! ```text
//!   take ──► memory of the same size lies idle? ──yes──► hit ──┐
//!                     │ no                                     ├──► in use: leased to its owner
//!                     └──► from the system, zeroed: miss ──────┘        │ done with
//!                                                                       ▼
//!   to the system ◄── over the limit, unused too long, room needed ◄── idle: not leased, spare
//! ```
//!
//! It serves hosts' buffers ([`MemoryGuard::acquire`]) and, through [`plimsoll_engine::Buffers`], the rings of requests and the
//! workspaces of models.
//!
//! Memory in use is leased like everything else: to [`Owner::Pool`], or by whoever took it. Idle memory is *spare*: it counts as ours
//! when the machine is read, but not as taken when the guard decides, so nobody loses KV and nobody is refused for it. Whoever books
//! bytes makes good for it before going on: while leases, others and spare together exceed the limit, idle memory goes back to the
//! system, the longest unused first. Memory that comes back is spare before its lease returns, so that no byte is neither; for a
//! moment it may be both, and then a little more goes to the system than had to. Memory that is set aside for a lease leaves the shelf
//! under the same lock under which that is booked; and whoever makes good waits for what others are giving back.
//!
//! Sizes of hosts' buffers are rounded up, so that buffers of about a size serve each other: below 1 MiB to 100 KiB, below 10 MiB to
//! 1 MiB, below 100 MiB to 10 MiB, above to 50 MiB. The lease is for the rounded size. The engine's sizes are finer, as they are what
//! requests and models are charged: a workspace is of whole pages and recurs exactly when its model is loaded again, and
//! [`plimsoll_engine::Ring::bytes`] has the sizes of rings.

mod aside;
mod shelf;
mod stats;

pub use aside::Aside;
pub(super) use shelf::Pool;
pub use stats::{PoolStats, PoolUse};

use super::{MemoryGuard, Refusal};
use plimsoll_engine::{Buffers, Lease, Memory, Owner, Region};
use shelf::HOST;
use std::sync::Arc;

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

/// Memory from the pool, leased until it is dropped; then it lies idle for the next.
pub struct Buffer {
    // `None` while it is dropped.
    memory: Option<Memory>,
    guard: Arc<MemoryGuard>,
    // Returns after the memory went back.
    _lease: Lease,
    bytes: usize,
}

impl Buffer {
    /// Bytes that were asked for.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of the whole buffer, which its lease pays for.
    pub fn capacity(&self) -> usize {
        self.memory.as_ref().map_or(0, Memory::bytes)
    }

    /// Its first byte, at a multiple of 4096. Memory that was used before holds what it held then; fresh memory is zero.
    pub fn as_ptr(&self) -> *mut u8 {
        self.memory.as_ref().map_or(std::ptr::null_mut(), Memory::as_ptr)
    }

    /// Its bytes, as many as were asked for.
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory.as_mut_slice()[..self.bytes])
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.guard.pool.put_back(memory);
        }
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
        let mut aside = self.set_aside(Some((&HOST, size)));
        let lease = aside.lease(Owner::Pool, size as u64).map_err(PoolError::Refused)?;
        let memory = match aside.take() {
            Some(memory) => {
                self.pool.use_aside(&memory);
                memory
            }
            None => self.pool.fresh(&HOST, size).map(Ok).unwrap_or_else(|| {
                let recovery = self.recover();
                let memory = self.pool.fresh(&HOST, size).ok_or(PoolError::OutOfMemory { bytes: size })?;
                recovery.succeeded();
                Ok(memory)
            })?,
        };
        Ok(Buffer { memory: Some(memory), guard: Arc::clone(self), _lease: lease, bytes })
    }

    /// The pool, for what an engine leases itself.
    pub fn buffers(&self) -> Arc<dyn Buffers> {
        Arc::clone(&self.pool) as Arc<dyn Buffers>
    }

    /// What the pool holds and did.
    pub fn pool_stats(&self) -> PoolStats {
        self.pool.stats()
    }

    /// Gives all idle memory back to the system. Returns its bytes.
    pub fn trim_pool(&self) -> u64 {
        let freed = self.pool.free_while(|_, _, _| true);
        self.pool.tidy();
        freed
    }

    /// Gives memory back that was not used for the pool's timeout. Returns its bytes. Meant to be called from a timer.
    pub fn sweep_pool(&self) -> u64 {
        if self.pool.spare() == 0 {
            return 0;
        }
        // A clock that is younger than the timeout has seen nothing lie for so long.
        let Some(before) = self.clock.now().checked_sub(self.config.pool_timeout) else { return 0 };
        let freed = self.pool.free_while(|_, _, since| since <= before);
        if freed > 0 {
            self.pool.tidy();
        }
        freed
    }

    /// Gives idle memory back while the host's leases, others and it together exceed its limit. Called by whoever has booked
    /// bytes, before they are used, with no lock held.
    pub(super) fn make_good(&self) {
        // What goes just now is spare until it is gone.
        if self.pool.spare() > 0 && self.over() > 0 {
            self.pool.free_excess(|| self.over());
        }
    }

    fn over(&self) -> u64 {
        let state = self.books.lock();
        let Some(host) = state.ledger.region(Region::Host) else { return 0 };
        host.taken().saturating_add(self.pool.spare()).saturating_sub(host.limit)
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
