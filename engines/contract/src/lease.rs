//! Leases: owned promises of bytes.

use crate::EngineError;
use std::fmt;
use std::sync::Arc;

/// Where bytes live. Each region has its own capacity and its own books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Region {
    /// The process's memory.
    Host,
    /// The memory of the accelerator with this index.
    Device(u8),
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Region::Host => f.write_str("host"),
            Region::Device(index) => write!(f, "device {index}"),
        }
    }
}

/// A loaded model, unique within a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId(pub u64);

/// A conversation, unique within a runtime. Engines key KV by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionKey(pub u64);

/// One request, unique within a runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Whose bytes a lease pays for: the ledger's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Owner {
    /// A model's weights, in the layout its engine reads.
    Weights(ModelId),
    /// Activations, logits and scratch of one step, planned and committed at load.
    Workspace(ModelId),
    /// The KV blocks of a session, also between its requests.
    Kv(SessionKey),
    /// Ring, token ids and sampler state of a request.
    Request(RequestId),
    /// A model's tokenizer and chat template.
    Text(ModelId),
    /// What else a loaded model takes of the host's memory: its engine's queue, lists and tables, its description.
    Tables(ModelId),
    /// Buffers of the pool in use.
    Pool,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Weights(id) => write!(f, "weights of model {}", id.0),
            Owner::Workspace(id) => write!(f, "workspace of model {}", id.0),
            Owner::Kv(id) => write!(f, "kv of session {}", id.0),
            Owner::Request(id) => write!(f, "request {}", id.0),
            Owner::Text(id) => write!(f, "text of model {}", id.0),
            Owner::Tables(id) => write!(f, "tables of model {}", id.0),
            Owner::Pool => f.write_str("pool"),
        }
    }
}

/// The books behind leases. Only a ledger implements it; engines see [`Lease`] alone.
pub trait Accounts: Send + Sync {
    /// Takes back `bytes` that were booked for `owner` in `region`. Never blocks on an engine, never panics; a release
    /// of more than is booked is recorded as a broken integrity.
    fn release(&self, region: Region, owner: Owner, bytes: u64);
}

/// Bytes that are booked for one owner in one region. Dropping it returns them.
///
/// It is not `Clone`, so every byte is returned exactly once. It can be split, shrunk and joined, never grown: growing is
/// admission, and that is the guard's.
#[must_use = "dropping a lease returns its bytes at once"]
pub struct Lease {
    accounts: Arc<dyn Accounts>,
    region: Region,
    owner: Owner,
    bytes: u64,
}

/// A split asked for more than the lease holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a lease of {held} bytes cannot give {asked}")]
pub struct LeaseShort {
    /// Bytes asked for.
    pub asked: u64,
    /// Bytes the lease holds.
    pub held: u64,
}

impl Lease {
    /// A lease over bytes that `accounts` has just booked. For ledgers only: a lease made without a booking shows up as
    /// a broken integrity when it is dropped.
    pub fn issue(accounts: Arc<dyn Accounts>, region: Region, owner: Owner, bytes: u64) -> Self {
        Lease { accounts, region, owner, bytes }
    }

    /// Checks that it pays for `needed` bytes of a region; `what` they are goes into the error.
    ///
    /// # Errors
    /// [`EngineError::Unpaid`]; a lease of another region pays for nothing.
    pub fn pays(&self, region: Region, what: &'static str, needed: u64) -> Result<(), EngineError> {
        let paid = if self.region == region { self.bytes } else { 0 };
        if paid < needed { Err(EngineError::Unpaid { what, paid, needed }) } else { Ok(()) }
    }

    /// Bytes this lease pays for.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Where the bytes are.
    pub fn region(&self) -> Region {
        self.region
    }

    /// Whose they are.
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// Takes `bytes` out of this lease as one of their own; nothing changes in the books.
    pub fn split(&mut self, bytes: u64) -> Result<Lease, LeaseShort> {
        let rest = self.bytes.checked_sub(bytes).ok_or(LeaseShort { asked: bytes, held: self.bytes })?;
        self.bytes = rest;
        Ok(Lease { accounts: Arc::clone(&self.accounts), region: self.region, owner: self.owner, bytes })
    }

    /// Keeps at most `bytes` and returns the rest to the books.
    pub fn shrink_to(&mut self, bytes: u64) {
        if let Some(rest) = self.bytes.checked_sub(bytes).filter(|&rest| rest > 0) {
            self.bytes = bytes;
            self.accounts.release(self.region, self.owner, rest);
        }
    }

    /// All of this lease as one of its own, which leaves none here; nothing changes in the books.
    pub fn take(&mut self) -> Lease {
        let bytes = std::mem::take(&mut self.bytes);
        Lease { accounts: Arc::clone(&self.accounts), region: self.region, owner: self.owner, bytes }
    }

    /// Takes all bytes out, which `accounts` now books back by itself. For ledgers only, that give back several leases at once:
    /// anyone else loses the bytes for good, and the books show it.
    pub fn redeem(&mut self) -> u64 {
        std::mem::take(&mut self.bytes)
    }

    /// Joins `other` into this lease when both have the same region and owner, else gives it back.
    pub fn absorb(&mut self, mut other: Lease) -> Result<(), Lease> {
        if self.region != other.region
            || self.owner != other.owner
            || !Arc::ptr_eq(&self.accounts, &other.accounts)
        {
            return Err(other);
        }
        match self.bytes.checked_add(other.bytes) {
            Some(sum) => {
                self.bytes = sum;
                other.bytes = 0;
                Ok(())
            }
            None => Err(other),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.accounts.release(self.region, self.owner, self.bytes);
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lease({} bytes, {}, {})", self.bytes, self.region, self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Default)]
    struct Returned(AtomicU64);

    impl Accounts for Returned {
        fn release(&self, _: Region, _: Owner, bytes: u64) {
            self.0.fetch_add(bytes, Ordering::SeqCst);
        }
    }

    fn lease(books: &Arc<Returned>, owner: u64, bytes: u64) -> Lease {
        Lease::issue(books.clone(), Region::Host, Owner::Kv(SessionKey(owner)), bytes)
    }

    #[test]
    fn every_byte_returns_once_however_a_lease_is_cut() {
        let books = Arc::new(Returned::default());
        let mut whole = lease(&books, 1, 100);
        let part = whole.split(30).unwrap();
        assert_eq!(whole.split(71).unwrap_err(), LeaseShort { asked: 71, held: 70 });
        whole.shrink_to(50);
        assert_eq!(books.0.load(Ordering::SeqCst), 20);
        whole.shrink_to(60);
        assert_eq!(whole.bytes(), 50);
        whole.absorb(part).unwrap();
        assert_eq!(whole.bytes(), 80);
        drop(whole);
        assert_eq!(books.0.load(Ordering::SeqCst), 100);
    }

    #[test]
    fn leases_of_different_owners_do_not_join() {
        let books = Arc::new(Returned::default());
        let mut mine = lease(&books, 1, 10);
        let other = mine.absorb(lease(&books, 2, 5)).unwrap_err();
        assert_eq!((mine.bytes(), other.bytes()), (10, 5));
    }
}
