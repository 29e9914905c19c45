//! The ledger: how many bytes of which region are whose.
//!
//! Plain arithmetic; the lock around it is [`super::books`]'s. A booking is checked against the limit and can fail, a
//! release cannot: releasing more than is booked takes what there is and is remembered.

use super::IntegrityError;
use super::owner_map::OwnerMap;
use super::{Levels, Pressure, Purpose};
use plimsoll_engine::{Owner, Region};
use std::collections::hash_map::Entry;

/// All regions.
pub(super) struct Ledger {
    // A handful: searched in order.
    regions: Vec<RegionBook>,
    broken: Option<IntegrityError>,
}

/// One region's books, in bytes.
pub(super) struct RegionBook {
    pub(super) region: Region,
    /// What there is.
    pub(super) capacity: u64,
    /// What may be leased.
    pub(super) limit: u64,
    /// What is used of it and leased by nobody: by the last reading, or by conversations.
    pub(super) others: u64,
    /// Of that, what stays until its owner lets it go: conversations.
    pub(super) talk: u64,
    /// What is leased.
    pub(super) used: u64,
    /// The most that was ever leased.
    pub(super) peak: u64,
    /// The level that its used fraction has.
    pub(super) pressure: Pressure,
    // The limit at the last booking: the present one may have been lowered since.
    ceiling: u64,
    owners: OwnerMap,
    purposes: [u64; Purpose::ALL.len()],
}

impl RegionBook {
    /// Bytes left.
    pub(super) fn free(&self) -> u64 {
        self.limit.saturating_sub(self.taken())
    }

    /// Bytes used by us and by others.
    pub(super) fn taken(&self) -> u64 {
        self.used.saturating_add(self.others)
    }

    /// Bytes leased for a purpose.
    pub(super) fn purpose(&self, purpose: Purpose) -> u64 {
        self.purposes[purpose as usize]
    }

    /// Bytes leased until their model is unloaded, which no eviction frees.
    pub(super) fn fixed(&self) -> u64 {
        // Parts of `used`, which did not overflow.
        [Purpose::Weights, Purpose::Workspace, Purpose::Text, Purpose::Tables]
            .map(|part| self.purpose(part))
            .iter()
            .sum()
    }

    /// What is used and leased by nobody, and may be gone at any time without anyone here knowing.
    pub(super) fn foreign(&self) -> u64 {
        self.others.saturating_sub(self.talk)
    }

    /// The owners and their bytes, in no order.
    pub(super) fn owners(&self) -> impl Iterator<Item = (Owner, u64)> + '_ {
        self.owners.iter().map(|(&owner, &bytes)| (owner, bytes))
    }

    /// Bytes of one owner.
    pub(super) fn owner(&self, owner: Owner) -> u64 {
        self.owners.get(&owner).copied().unwrap_or(0)
    }

    fn check(&self) -> Result<(), IntegrityError> {
        let region = self.region;
        let mut purposes = [0_u64; Purpose::ALL.len()];
        for (owner, bytes) in self.owners() {
            let sum = &mut purposes[Purpose::of(owner) as usize];
            *sum = sum.saturating_add(bytes);
        }
        let owners = purposes.iter().fold(0_u64, |sum, &bytes| sum.saturating_add(bytes));
        if owners != self.used {
            return Err(IntegrityError::Sum { region, owners, used: self.used });
        }
        for purpose in Purpose::ALL {
            let (kept, counted) = (self.purpose(purpose), purposes[purpose as usize]);
            if kept != counted {
                return Err(IntegrityError::Count { what: purpose.name(), kept, counted });
            }
        }
        if self.used > self.ceiling || self.used > self.peak {
            return Err(IntegrityError::OverLimit { region, used: self.used, limit: self.ceiling });
        }
        Ok(())
    }
}

impl Ledger {
    /// Empty books.
    pub(super) fn new() -> Self {
        Ledger { regions: Vec::new(), broken: None }
    }

    /// Sets a region's capacity, limit and what others use, opening its books when they are not.
    pub(super) fn set(&mut self, region: Region, capacity: u64, limit: u64, others: u64) {
        match self.regions.iter_mut().find(|book| book.region == region) {
            Some(book) => (book.capacity, book.limit, book.others) = (capacity, limit, others),
            None => self.regions.push(RegionBook {
                region,
                capacity,
                limit,
                others,
                talk: 0,
                used: 0,
                peak: 0,
                pressure: Pressure::Low,
                ceiling: limit,
                owners: OwnerMap::default(),
                purposes: [0; Purpose::ALL.len()],
            }),
        }
    }

    /// Sets what conversations use of a region in which nobody else uses anything.
    pub(super) fn set_talk(&mut self, region: Region, bytes: u64) {
        if let Some(book) = self.regions.iter_mut().find(|book| book.region == region) {
            (book.others, book.talk) = (bytes, bytes);
        }
    }

    /// Takes in the level of every region. `idle` bytes of one press nobody.
    pub(super) fn press(&mut self, levels: &Levels, idle: impl Fn(&RegionBook) -> u64) {
        for book in &mut self.regions {
            let pressing = book.taken().saturating_sub(idle(book));
            // A capacity is never 0 where there is a limit; without one there is nothing to press.
            book.pressure = levels.next(book.pressure, pressing as f64 / book.capacity as f64);
        }
    }

    /// The level for KV in a region, which is not below the host's, or the highest of all.
    pub(super) fn pressure(&self, region: Option<Region>) -> Pressure {
        let concerned = |book: &&RegionBook| {
            region.is_none_or(|region| book.region == region || book.region == Region::Host)
        };
        let books = self.regions.iter().filter(concerned);
        books.map(|book| book.pressure).max().unwrap_or_default()
    }

    /// All regions' books.
    pub(super) fn regions(&self) -> &[RegionBook] {
        &self.regions
    }

    /// One region's books.
    pub(super) fn region(&self, region: Region) -> Option<&RegionBook> {
        self.regions.iter().find(|book| book.region == region)
    }

    /// Bytes leased for a purpose in all regions.
    pub(super) fn purpose(&self, purpose: Purpose) -> u64 {
        self.regions.iter().fold(0, |sum, book| sum.saturating_add(book.purpose(purpose)))
    }

    /// Bytes of one owner in all regions.
    pub(super) fn owner(&self, owner: Owner) -> u64 {
        self.regions.iter().fold(0, |sum, book| sum.saturating_add(book.owner(owner)))
    }

    /// Books bytes if they fit below the limit. Returns whether they did; when not, nothing has changed.
    #[must_use]
    pub(super) fn book(&mut self, region: Region, owner: Owner, bytes: u64) -> bool {
        let Some(book) = self.regions.iter_mut().find(|book| book.region == region) else {
            return false;
        };
        let Some(used) = book.used.checked_add(bytes) else {
            return false;
        };
        if bytes == 0 {
            return true;
        }
        if used.checked_add(book.others).is_none_or(|taken| taken > book.limit) {
            return false;
        }
        // The sums below are parts of `used`, which did not overflow.
        book.used = used;
        book.peak = book.peak.max(used);
        book.ceiling = book.limit;
        *book.owners.entry(owner).or_insert(0) += bytes;
        book.purposes[Purpose::of(owner) as usize] += bytes;
        true
    }

    /// Takes bytes back. Returns how many there were to take: fewer than `bytes` when the books are broken.
    pub(super) fn release(&mut self, region: Region, owner: Owner, bytes: u64) -> u64 {
        let book = self.regions.iter_mut().find(|book| book.region == region);
        let mut booked = 0;
        if let Some(book) = book
            && let Entry::Occupied(mut entry) = book.owners.entry(owner)
        {
            booked = *entry.get();
            let taken = bytes.min(booked);
            book.used -= taken;
            book.purposes[Purpose::of(owner) as usize] -= taken;
            *entry.get_mut() -= taken;
            if taken == booked {
                entry.remove();
            }
        }
        if bytes > booked {
            let error = IntegrityError::Overdrawn { region, owner, booked, released: bytes };
            self.broken.get_or_insert(error);
        }
        bytes.min(booked)
    }

    /// Proves that the sums are right and that nothing was released twice.
    pub(super) fn check(&self) -> Result<(), IntegrityError> {
        self.broken.map_or(Ok(()), Err)?;
        self.regions.iter().try_for_each(RegionBook::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_engine::{ModelId, RequestId, SessionKey};

    const WEIGHTS: Owner = Owner::Weights(ModelId(1));
    const KV: Owner = Owner::Kv(SessionKey(1));

    fn ledger() -> Ledger {
        let mut ledger = Ledger::new();
        ledger.set(Region::Host, 120, 100, 0);
        ledger.set(Region::Device(0), 60, 50, 10);
        ledger
    }

    #[test]
    fn a_booking_never_passes_the_limit() {
        let mut ledger = ledger();
        assert!(ledger.book(Region::Host, WEIGHTS, 60));
        assert!(!ledger.book(Region::Host, KV, 41));
        assert!(!ledger.book(Region::Host, KV, u64::MAX));
        assert!(ledger.book(Region::Host, KV, 40));
        assert!(ledger.book(Region::Host, KV, 0));
        assert!(!ledger.book(Region::Device(0), KV, 41), "others use 10 of 50");
        assert!(ledger.book(Region::Device(0), KV, 40));
        assert!(!ledger.book(Region::Device(1), KV, 1), "no such region");
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!((ledger.owner(KV), ledger.purpose(Purpose::Kv)), (80, 80));
        let host = ledger.region(Region::Host).unwrap();
        assert_eq!((host.free(), host.fixed(), host.peak), (0, 60, 100));
    }

    #[test]
    fn a_lowered_limit_is_no_defect_but_stops_bookings() {
        let mut ledger = ledger();
        assert!(ledger.book(Region::Host, KV, 90));
        ledger.set(Region::Host, 60, 50, 5);
        assert_eq!(ledger.check(), Ok(()));
        assert!(!ledger.book(Region::Host, KV, 1));
        assert_eq!(ledger.region(Region::Host).unwrap().free(), 0);
        assert_eq!(ledger.release(Region::Host, KV, 50), 50);
        assert!(ledger.book(Region::Host, KV, 5));
        assert!(!ledger.book(Region::Host, KV, 1));
        assert_eq!(ledger.check(), Ok(()));
    }

    #[test]
    fn a_double_release_is_remembered_and_harms_no_other_owner() {
        let mut ledger = ledger();
        assert!(ledger.book(Region::Host, WEIGHTS, 60));
        assert!(ledger.book(Region::Host, KV, 10));
        assert_eq!(ledger.release(Region::Host, KV, 10), 10);
        assert_eq!(ledger.check(), Ok(()));
        assert_eq!(ledger.release(Region::Host, KV, 10), 0);
        let error = IntegrityError::Overdrawn { region: Region::Host, owner: KV, booked: 0, released: 10 };
        assert_eq!(ledger.check(), Err(error));
        assert_eq!(ledger.release(Region::Device(9), Owner::Request(RequestId(1)), 1), 0);
        assert_eq!(ledger.region(Region::Host).unwrap().used, 60);
        assert_eq!(ledger.check(), Err(error), "the first defect stays");
    }

    #[test]
    fn a_wrong_sum_is_found() {
        let mut ledger = ledger();
        assert!(ledger.book(Region::Host, KV, 10));
        ledger.regions[0].used = 11;
        assert_eq!(ledger.check(), Err(IntegrityError::Sum { region: Region::Host, owners: 10, used: 11 }));
        ledger.regions[0].used = 10;
        ledger.regions[0].purposes[0] = 10;
        assert!(matches!(ledger.check(), Err(IntegrityError::Count { what: "weights", .. })));
        (ledger.regions[0].purposes[0], ledger.regions[0].purposes[2]) = (0, 10);
        ledger.regions[0].ceiling = 9;
        assert!(matches!(ledger.check(), Err(IntegrityError::OverLimit { used: 10, limit: 9, .. })));
    }
}
