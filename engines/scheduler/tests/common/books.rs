//! A ledger for tests: what is booked for whom.

use plimsoll_engine::{Accounts, Lease, Owner, Region, RequestId, Ring};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

#[derive(Default)]
pub struct Books {
    booked: Mutex<HashMap<(Region, Owner), u64>>,
    rings: Mutex<HashMap<RequestId, Weak<Ring>>>,
    faults: Mutex<Vec<String>>,
}

impl Books {
    /// Books bytes; there is always room.
    pub fn book(self: &Arc<Self>, region: Region, owner: Owner, bytes: u64) -> Lease {
        *self.booked.lock().unwrap().entry((region, owner)).or_default() += bytes;
        Lease::issue(self.clone(), region, owner, bytes)
    }

    /// Bytes booked for an owner on the host.
    pub fn held(&self, owner: Owner) -> u64 {
        self.booked.lock().unwrap().get(&(Region::Host, owner)).copied().unwrap_or(0)
    }

    /// Bytes booked for KV of all sessions.
    pub fn kv(&self) -> u64 {
        let booked = self.booked.lock().unwrap();
        booked.iter().filter(|((_, owner), _)| matches!(owner, Owner::Kv(_))).map(|(_, bytes)| bytes).sum()
    }

    /// Bytes booked for anyone.
    pub fn total(&self) -> u64 {
        self.booked.lock().unwrap().values().sum()
    }

    /// From now on a lease of this request that returns after the ring was told the end is a fault.
    pub fn watch(&self, id: RequestId, ring: &Arc<Ring>) {
        self.rings.lock().unwrap().insert(id, Arc::downgrade(ring));
    }

    /// Checks that nothing was released twice, late or without a booking.
    pub fn check(&self) {
        let faults = self.faults.lock().unwrap();
        assert!(faults.is_empty(), "{faults:?}");
    }
}

impl Accounts for Books {
    fn release(&self, region: Region, owner: Owner, bytes: u64) {
        let mut booked = self.booked.lock().unwrap();
        let held = booked.entry((region, owner)).or_default();
        match held.checked_sub(bytes) {
            Some(rest) => *held = rest,
            None => self.faults.lock().unwrap().push(format!("{owner}: {bytes} of {held} released")),
        }
        drop(booked);
        if let Owner::Request(id) = owner {
            let ring = self.rings.lock().unwrap().get(&id).and_then(Weak::upgrade);
            if ring.is_some_and(|ring| ring.is_finished()) {
                self.faults.lock().unwrap().push(format!("{owner}: {bytes} released after the end"));
            }
        }
    }
}
