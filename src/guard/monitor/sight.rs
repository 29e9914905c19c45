//! What the monitor takes from the books, with their lock held as shortly as can be.

use super::leak::{Measure, SUSPECTS};
use super::rates::Counts;
use crate::guard::Purpose;
use crate::guard::books::State;
use crate::guard::ledger::RegionBook;
use plimsoll_engine::{Owner, Region, SessionKey};
use std::time::Duration;

/// Sessions that are looked at under one lock.
pub(super) const SESSIONS_AT_ONCE: usize = 512;

/// A session that holds much of its KV limit.
#[derive(Clone, Copy)]
pub(super) struct Near {
    pub(super) key: SessionKey,
    pub(super) bytes: u64,
    pub(super) share: f64,
}

impl State {
    /// The guard's counters.
    pub(super) fn counts(&self, at: Duration) -> Counts {
        let (decided, rejected) = self.tally.decided();
        Counts { at, decided, rejected, evictions: self.tally.evictions }
    }

    /// Host bytes that are booked and on the library's heap: workspaces are mapped.
    pub(super) fn booked_on_heap(&self) -> u64 {
        let on_heap = |book: &RegionBook| book.used.saturating_sub(book.purpose(Purpose::Workspace));
        self.ledger.region(Region::Host).map_or(0, on_heap)
    }

    /// The figures that leaks are found by. `models` have an engine; `unbooked` is on the heap and in no column; who is
    /// closed may take `patience` to give its KV back.
    pub(super) fn measures(
        &self,
        models: u64,
        unbooked: u64,
        now: Duration,
        patience: Duration,
    ) -> [Measure; SUSPECTS] {
        let mut measures = [Measure::default(); SUSPECTS];
        for (measure, purpose) in measures.iter_mut().zip(Purpose::ALL) {
            *measure = match purpose {
                Purpose::Kv => self.stray_kv(now, patience),
                Purpose::Request => self.stray_requests(),
                _ => Measure { bytes: self.ledger.purpose(purpose), objects: models, ..Measure::default() },
            };
        }
        let objects = models + self.sessions.open as u64 + self.sessions.busy.len();
        measures[SUSPECTS - 1] = Measure { bytes: unbooked, objects, ..Measure::default() };
        measures
    }

    /// KV of sessions that were seen closed so long ago and do not run.
    fn stray_kv(&self, now: Duration, patience: Duration) -> Measure {
        let sessions = &self.sessions;
        // What is left of a closed session stands before all idle ones.
        let idle = sessions.list(&sessions.idle).take_while(|session| session.closed);
        let leaving = sessions.list(&sessions.leaving).filter(|session| session.closed && session.kv > 0);
        let (mut bytes, mut owner) = (0_u64, None::<SessionKey>);
        for session in idle.chain(leaving) {
            let seen = session.seen_closed.get().unwrap_or(now);
            session.seen_closed.set(Some(seen));
            if now.saturating_sub(seen) < patience {
                continue;
            }
            bytes = bytes.saturating_add(session.kv);
            owner = Some(owner.map_or(session.key, |first| first.min(session.key)));
        }
        Measure { bytes, objects: sessions.open as u64, stray: true, owner: owner.map(Owner::Kv) }
    }

    /// Host bytes of requests that no session runs.
    fn stray_requests(&self) -> Measure {
        let running = || self.sessions.list(&self.sessions.busy).filter_map(|session| session.request);
        let held = running()
            .fold(0, |sum: u64, request| sum.saturating_add(self.ledger.owner(Owner::Request(request))));
        let bytes = self.ledger.purpose(Purpose::Request).saturating_sub(held);
        let is_stray = |&owner: &Owner| match owner {
            Owner::Request(request) => !running().any(|known| known == request),
            _ => false,
        };
        let owners = || self.ledger.regions().iter().flat_map(|book| book.owners().map(|(owner, _)| owner));
        let owner = if bytes > 0 { owners().filter(is_stray).min() } else { None };
        Measure { bytes, objects: self.sessions.busy.len(), stray: true, owner }
    }

    /// Adds some open sessions that hold more than `share` of their KV limit to `near`, from a place in the table on. Returns the
    /// place to go on from, if there is one.
    pub(super) fn near_limit(&self, from: usize, share: f64, near: &mut Vec<Near>) -> Option<usize> {
        for session in self.sessions.slab.range(from, SESSIONS_AT_ONCE).filter(|session| !session.closed) {
            let held = session.kv as f64 / session.limit.max(1) as f64;
            if held > share {
                near.push(Near { key: session.key, bytes: session.kv, share: held });
            }
        }
        let next = from.saturating_add(SESSIONS_AT_ONCE);
        (next < self.sessions.slab.slots()).then_some(next)
    }
}
