//! Room: the numbers that a decision about one session depends on, copied out of the books.

use super::Reason;
use plimsoll_engine::{Estimate, Region};

/// What may be taken to be gone when a price is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Freeing {
    /// Nothing: the price fits as things are.
    Nothing,
    /// The KV of idle sessions, and models that were picked to be unloaded.
    Idle,
    /// Everything but models that stay and the asking session's own, its KV included: what does not fit then never fits.
    Everything,
}

/// A limited quantity of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    /// Most that may be taken.
    pub(super) limit: u64,
    /// Taken; above the limit when the limit was lowered.
    pub(super) taken: u64,
    /// Of it, by idle sessions other than the asking one, and by models on their way out.
    pub(super) evictable: u64,
    /// Of it, by models that were picked to be unloaded.
    pub(super) unloading: u64,
    /// Of it, by models that may be unloaded, those included.
    pub(super) unloadable: u64,
    /// Taken by models, were all unloaded that may be and the asking session's loaded.
    pub(super) fixed: u64,
    /// Idle KV of the asking session and its idle model, which nobody can evict while its request runs.
    pub(super) own: u64,
    /// What those who wait before it need at the least, what their sessions hold included.
    pub(super) kept: u64,
}

impl Pool {
    /// Bytes left.
    pub(super) fn free(&self) -> u64 {
        self.limit.saturating_sub(self.taken)
    }

    /// Bytes that must go before `new` more fit. Nothing new is never short, even above the limit.
    pub(super) fn short(&self, new: u128) -> u64 {
        if new == 0 {
            return 0;
        }
        let over = new.saturating_add(self.taken.into()).saturating_sub(self.limit.into());
        u64::try_from(over).unwrap_or(u64::MAX)
    }

    fn fits(&self, new: u128, freeing: Freeing) -> bool {
        match freeing {
            Freeing::Nothing => self.short(new) == 0,
            Freeing::Idle => self.short(new) <= self.evictable.saturating_add(self.unloading),
            Freeing::Everything => new.saturating_add(self.fixed.into()) <= self.limit.into(),
        }
    }

    /// Whether new bytes leave those who wait before as much as they need, were all idle KV and models gone for them.
    fn spares(&self, new: u128, freeing: Freeing) -> bool {
        let takes = new > 0 || self.own > 0;
        self.kept == 0
            || !takes
            || freeing == Freeing::Everything
            || self.short(new.saturating_add(self.kept.into())) <= self.spare()
    }

    /// Bytes that idle sessions and idle models hold.
    pub(super) fn spare(&self) -> u64 {
        self.evictable.saturating_add(self.unloadable)
    }

    /// Bytes that must come back, beyond all that can be evicted, before new ones are granted.
    fn lacks(&self, new: u128) -> u64 {
        self.short(new.saturating_add(self.kept.into())).saturating_sub(self.spare())
    }
}

/// Everything that bounds a request of one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Answers that a price is for: the first goes on with what the session holds.
    pub(super) answers: u32,
    /// Most KV of the session.
    pub(super) session_limit: u64,
    /// KV that the session holds and that will still be there.
    pub(super) held: u64,
    /// What loading its model takes first, and where; no bytes for one that is loaded.
    pub(super) load: (Region, u64),
    /// Where the session's KV lives.
    pub(super) kv_region: Region,
    /// All sessions' KV.
    pub(super) all_kv: Pool,
    /// The KV's region; the same as `host` when it lives there.
    pub(super) kv: Pool,
    /// The host region.
    pub(super) host: Pool,
}

/// Bytes missing for a price, by what would supply them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shortage {
    /// KV of any session.
    pub(super) all_kv: u64,
    /// Bytes of the KV's region.
    pub(super) kv: (Region, u64),
    /// Host bytes; 0 when the KV lives there too.
    pub(super) host: u64,
}

impl Shortage {
    /// Bytes of one region.
    pub(super) fn of(region: Region, bytes: u64) -> Self {
        Shortage { all_kv: 0, kv: (region, bytes), host: 0 }
    }

    /// Whether nothing is missing.
    pub(super) fn is_met(&self) -> bool {
        self.all_kv == 0 && self.kv.1 == 0 && self.host == 0
    }

    /// Counts the KV of a session that goes. Returns whether it helps at all.
    pub(super) fn cover(&mut self, region: Region, bytes: u64) -> bool {
        let before = *self;
        self.all_kv = self.all_kv.saturating_sub(bytes);
        if region == self.kv.0 {
            self.kv.1 = self.kv.1.saturating_sub(bytes);
        }
        if region == Region::Host {
            self.host = self.host.saturating_sub(bytes);
        }
        *self != before
    }

    /// Counts bytes of a model that goes. Returns whether they help at all.
    pub(super) fn cover_fixed(&mut self, region: Region, bytes: u64) -> bool {
        let before = *self;
        self.cover(region, bytes);
        self.all_kv = before.all_kv;
        *self != before
    }
}

/// KV that a price of so many answers adds to what its session holds. The first answer takes that over as far as it can; the
/// others begin with nothing.
pub(super) fn new_kv(price: &Estimate, answers: u32, held: u64) -> u64 {
    let first = price.kv_bytes / u64::from(answers.max(1));
    price.kv_bytes - held.min(first)
}

impl Room {
    /// New KV bytes of a price.
    pub(super) fn new_kv(&self, price: &Estimate) -> u64 {
        new_kv(price, self.answers, self.held)
    }

    /// New bytes of a price in one region.
    pub(super) fn new_bytes(&self, price: &Estimate, region: Region) -> u128 {
        let kv = if region == self.kv_region { self.new_kv(price) } else { 0 };
        let host = if region == Region::Host { price.request_bytes } else { 0 };
        let load = if region == self.load.0 { self.load.1 } else { 0 };
        u128::from(kv) + u128::from(host) + u128::from(load)
    }

    /// The pool of one of the two regions.
    pub(super) fn pool(&self, region: Region) -> &Pool {
        if region == Region::Host { &self.host } else { &self.kv }
    }

    /// The first constraint that a price breaks, and the region where it does.
    pub(super) fn obstacle(&self, price: &Estimate, freeing: Freeing) -> Option<(Reason, Region)> {
        let room = match freeing {
            Freeing::Everything => Room { held: 0, load: (Region::Host, 0), ..*self },
            Freeing::Nothing | Freeing::Idle => *self,
        };
        if price.kv_bytes > self.session_limit {
            return Some((Reason::SessionLimit, self.kv_region));
        }
        let kv = room.new_kv(price).into();
        if !self.all_kv.fits(kv, freeing) {
            return Some((Reason::KvLimit, self.kv_region));
        }
        let regions = [self.kv_region, Region::Host];
        let new = |region| (room.pool(region), room.new_bytes(price, region));
        let budget = regions.into_iter().find(|&region| {
            let (pool, bytes) = new(region);
            !pool.fits(bytes, freeing)
        });
        if let Some(region) = budget {
            return Some((Reason::Budget, region));
        }
        let taken = regions.into_iter().find(|&region| {
            let (pool, bytes) = new(region);
            !pool.spares(bytes, freeing)
        });
        let all = (!self.all_kv.spares(kv, freeing)).then_some(self.kv_region);
        taken.or(all).map(|region| (Reason::Queued, region))
    }

    /// Bytes that requests which run must give back before a price is granted: the most that any limit lacks.
    pub(super) fn lacks(&self, price: &Estimate) -> u64 {
        [self.kv_region, Region::Host]
            .into_iter()
            .map(|region| self.pool(region).lacks(self.new_bytes(price, region)))
            .fold(self.all_kv.lacks(self.new_kv(price).into()), u64::max)
    }

    /// Whether a price breaks nothing.
    pub(super) fn fits(&self, price: &Estimate, freeing: Freeing) -> bool {
        self.obstacle(price, freeing).is_none()
    }

    /// What must be evicted for a price.
    pub(super) fn shortage(&self, price: &Estimate) -> Shortage {
        let kv = self.pool(self.kv_region).short(self.new_bytes(price, self.kv_region));
        let host = match self.kv_region {
            Region::Host => 0,
            _ => self.host.short(self.new_bytes(price, Region::Host)),
        };
        Shortage { all_kv: self.all_kv.short(self.new_kv(price).into()), kv: (self.kv_region, kv), host }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(kv_bytes: u64, request_bytes: u64) -> Estimate {
        let kv_region = Region::Device(0);
        Estimate { kv_region, kv_bytes, kv_block_bytes: 1, request_bytes, ring_bytes: 0, workspace_bytes: 0 }
    }

    fn room() -> Room {
        Room {
            answers: 1,
            session_limit: 90,
            held: 10,
            load: (Region::Host, 0),
            kv_region: Region::Device(0),
            all_kv: Pool {
                limit: 80,
                taken: 30,
                evictable: 20,
                unloading: 0,
                unloadable: 0,
                fixed: 0,
                own: 10,
                kept: 0,
            },
            kv: Pool {
                limit: 100,
                taken: 80,
                evictable: 20,
                unloading: 0,
                unloadable: 0,
                fixed: 50,
                own: 10,
                kept: 0,
            },
            host: Pool {
                limit: 50,
                taken: 40,
                evictable: 0,
                unloading: 0,
                unloadable: 0,
                fixed: 0,
                own: 0,
                kept: 0,
            },
        }
    }

    #[test]
    fn constraints_are_named_in_order() {
        let room = room();
        let device = Region::Device(0);
        let cases = [
            (price(91, 0), Some((Reason::SessionLimit, device))),
            (price(81, 0), Some((Reason::KvLimit, device))),
            (price(51, 11), Some((Reason::Budget, device))),
            (price(50, 11), Some((Reason::Budget, Region::Host))),
            (price(50, 10), None),
        ];
        for (price, obstacle) in cases {
            assert_eq!(room.obstacle(&price, Freeing::Idle), obstacle, "{price:?}");
        }
        assert_eq!(room.obstacle(&price(31, 0), Freeing::Nothing), Some((Reason::Budget, device)));
        assert_eq!(room.obstacle(&price(30, 10), Freeing::Nothing), None);
        assert_eq!(room.obstacle(&price(50, 50), Freeing::Everything), None);
        assert_eq!(room.obstacle(&price(51, 50), Freeing::Everything), Some((Reason::Budget, device)));
    }

    #[test]
    fn only_the_first_answer_goes_on_with_what_is_held() {
        let room = Room { answers: 3, ..room() };
        assert_eq!([30, 15, 60].map(|kv| room.new_kv(&price(kv, 0))), [20, 10, 50]);
        // One of 5 bytes needs less than is held: the other two are new.
        assert_eq!(room.new_kv(&price(15, 0)), 10);
        assert_eq!(super::tests::room().new_kv(&price(5, 0)), 0);
        assert_eq!(room.obstacle(&price(50, 10), Freeing::Idle), None);
        assert_eq!(room.obstacle(&price(51, 0), Freeing::Idle), Some((Reason::Budget, Region::Device(0))));
    }

    #[test]
    fn what_others_wait_for_is_left_to_them() {
        let kept = |all_kv, kv, host| {
            let mut room = room();
            (room.all_kv.kept, room.kv.kept, room.host.kept) = (all_kv, kv, host);
            room
        };
        let device = Region::Device(0);
        let queued = |region| Some((Reason::Queued, region));
        // Of the device 40 bytes can be had, 30 of them beyond what a price of 20 takes anew.
        let cases = [
            (kept(0, 30, 0), price(20, 5), None),
            (kept(0, 31, 0), price(20, 5), queued(device)),
            (kept(0, 31, 6), price(20, 5), queued(device)),
            (kept(0, 0, 5), price(20, 5), None),
            (kept(0, 0, 6), price(20, 5), queued(Region::Host)),
            (kept(60, 0, 0), price(20, 5), None),
            (kept(61, 0, 0), price(20, 5), queued(device)),
            (kept(0, 40, 0), price(10, 5), None),
            // It takes nothing anew, and its own KV from those who could have evicted it.
            (kept(0, 41, 0), price(10, 5), queued(device)),
            (kept(0, 0, 11), price(10, 0), None),
            (kept(99, 99, 99), price(51, 11), Some((Reason::Budget, device))),
        ];
        for (room, price, obstacle) in cases {
            assert_eq!(room.obstacle(&price, Freeing::Idle), obstacle, "{room:?} {price:?}");
        }
        let room = kept(99, 99, 99);
        assert_eq!(room.obstacle(&price(50, 50), Freeing::Everything), None);
        assert_eq!(room.lacks(&price(50, 10)), 99);
        assert_eq!(super::tests::room().lacks(&price(50, 10)), 0);
    }

    #[test]
    fn a_shortage_is_covered_by_what_helps_it() {
        let mut shortage = room().shortage(&price(50, 12));
        assert_eq!(shortage, Shortage { all_kv: 0, kv: (Region::Device(0), 20), host: 2 });
        assert!(!shortage.cover(Region::Device(1), 99));
        assert!(shortage.cover(Region::Device(0), 15));
        assert!(shortage.cover(Region::Host, 2));
        assert!(!shortage.is_met());
        assert!(shortage.cover(Region::Device(0), 15));
        assert!(shortage.is_met());
    }

    #[test]
    fn nothing_new_fits_even_above_the_limit() {
        let pool = Pool {
            limit: 10,
            taken: 20,
            evictable: 0,
            unloading: 0,
            unloadable: 0,
            fixed: 0,
            own: 0,
            kept: 0,
        };
        assert!(pool.fits(0, Freeing::Nothing));
        assert_eq!((pool.short(0), pool.short(1), pool.free()), (0, 11, 0));
        assert_eq!(pool.short(u128::from(u64::MAX) * 2), u64::MAX);
    }
}
