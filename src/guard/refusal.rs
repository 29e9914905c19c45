//! What the guard says when it says no: who asked, for how much, and what is left.

use super::Purpose;
use plimsoll_engine::{Owner, Region, SessionKey};
use std::fmt;

/// A guard that cannot be made, or cannot take a session.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GuardError {
    /// A setting is out of its range.
    #[error("{name} is {value}; it must be {range}")]
    Config {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What is allowed.
        range: &'static str,
    },
    /// No budget was given for the region and its capacity cannot be read.
    #[error("the capacity of {region} memory cannot be read; set a budget")]
    NoCapacity {
        /// Where.
        region: Region,
    },
    /// Threshold and reserve leave nothing of the region.
    #[error("{region} memory has {capacity} bytes, and the threshold and the reserve leave none of them")]
    NoRoom {
        /// Where.
        region: Region,
        /// Its bytes.
        capacity: u64,
    },
    /// The guard does not manage the region where the engine keeps its KV.
    #[error("the guard does not manage {region} memory")]
    NoRegion {
        /// Which.
        region: Region,
    },
    /// The session table is full.
    #[error("there are {open} sessions, more cannot be opened")]
    TooManySessions {
        /// Sessions open.
        open: usize,
    },
    /// The system refused memory for the guard's own tables.
    #[error("the system refuses memory for the guard's tables")]
    OutOfMemory,
}

/// Why a lease was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefusalCause {
    /// The guard does not manage the region.
    NoRegion,
    /// The region has too little left, even without the idle sessions' KV and, for a model, without idle models.
    Budget,
    /// Idle sessions or models hold enough, but their engines did not give it back in time.
    Reclaim,
}

/// A refused lease, with its numbers in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub cause: RefusalCause,
    /// Who asked.
    pub owner: Owner,
    /// Where.
    pub region: Region,
    /// Bytes asked for.
    pub bytes_asked: u64,
    /// Bytes left: `limit` less `used` less `others`.
    pub bytes_free: u64,
    /// Bytes that idle sessions hold there and that eviction would add.
    pub evictable: u64,
    /// Bytes of idle models there, which make room for other models.
    pub unloadable: u64,
    /// Bytes that may be leased, after threshold and reserve.
    pub limit: u64,
    /// Bytes leased.
    pub used: u64,
    /// Bytes that are used and leased by nobody: by others, by conversations.
    pub others: u64,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Refusal { owner, region, bytes_asked: asked, bytes_free: free, .. } = self;
        let Refusal { evictable, unloadable, limit, used, others, .. } = self;
        match self.cause {
            RefusalCause::NoRegion => {
                return write!(f, "{asked} bytes for {owner}: the guard does not manage {region} memory");
            }
            RefusalCause::Budget => write!(f, "{asked} bytes of {region} memory for {owner} do not fit: ")?,
            RefusalCause::Reclaim => {
                write!(f, "{asked} bytes of {region} memory for {owner} were not given back in time: ")?;
            }
        }
        write!(f, "{free} bytes are free, {evictable} more are with idle sessions ")?;
        if *unloadable > 0 {
            write!(f, "and {unloadable} with idle models ")?;
        }
        write!(f, "({used} leased, {others} used without a lease, limit {limit})")
    }
}

impl std::error::Error for Refusal {}

/// The books do not add up: a defect of plimsoll or of an engine, never of a caller ([`IntegrityError::Unsettled`] apart).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IntegrityError {
    /// More was released than was booked.
    #[error("{owner} released {released} bytes of {region} memory and had {booked}")]
    Overdrawn {
        /// Where.
        region: Region,
        /// Whose.
        owner: Owner,
        /// Bytes booked before.
        booked: u64,
        /// Bytes released.
        released: u64,
    },
    /// A region's owners do not sum up to its used bytes.
    #[error("the owners of {region} memory have {owners} bytes, {used} are used")]
    Sum {
        /// Where.
        region: Region,
        /// Sum over owners.
        owners: u64,
        /// Bytes used.
        used: u64,
    },
    /// More is booked than the limit was when it was booked.
    #[error("{used} bytes of {region} memory are booked under a limit of {limit}")]
    OverLimit {
        /// Where.
        region: Region,
        /// Bytes used.
        used: u64,
        /// The limit at the last booking.
        limit: u64,
    },
    /// The session table and the ledger disagree.
    #[error("session {} holds {table} KV bytes by the table and {ledger} by the ledger", session.0)]
    Session {
        /// Which.
        session: SessionKey,
        /// Bytes in the session table.
        table: u64,
        /// Bytes in the ledger.
        ledger: u64,
    },
    /// A running sum or count is wrong.
    #[error("{what} is kept as {kept}, counted anew it is {counted}")]
    Count {
        /// Which.
        what: &'static str,
        /// As kept.
        kept: u64,
        /// As counted.
        counted: u64,
    },
    /// Nothing can be said of an engine while its sessions' KV moves: no defect, ask again once they are idle.
    #[error("{moving} sessions have a request that waits or runs, or give back KV: ask when they are idle")]
    Unsettled {
        /// Sessions with a grant, or giving KV back; 0 when all have ended since.
        moving: u64,
    },
    /// An engine's allocators hold something else than its leases pay for.
    #[error("the engine holds {held} bytes of {}, its leases pay for {booked}", purpose.name())]
    Holdings {
        /// Of what.
        purpose: Purpose,
        /// Bytes in the ledger.
        booked: u64,
        /// Bytes the engine holds.
        held: u64,
    },
}
