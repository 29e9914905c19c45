//! The line: requests that wait for bytes, and what is kept for them.
//!
//! # The rule
//!
//! Those who wait stand in order of priority, and within one in order of arrival; whoever asks without waiting stands, for
//! that moment, behind all of its priority. A request is granted when its smallest acceptable form fits *beside the smallest
//! forms of all who stand before it*, counted in every limit of which it takes anything: the KV of all sessions, the bytes of
//! a region. With `N` the bytes that no eviction frees, and `least` the KV of a whole session and the bytes of its request,
//!
//! ```text
//!   N + least(those before) + this request  <=  limit
//! ```
//!
//! What a session holds and does not use counts as evictable until its request is granted, so a turn whose KV is there
//! already takes that, too: it passes only where enough is left. A request that takes nothing of a limit is not held up by it.
//!
//! # Why nobody waits for ever
//!
//! Take the first in line, whose least is `L`. Until it is granted, every other grant leaves `N + L <= limit` wherever it takes
//! anything, and where `N + L > limit` nobody takes anything. So `N` falls, there, with each request that ends, and requests
//! end: `N` comes down to weights and workspaces, with which `L` fits, or the request never fits and is refused for good when
//! that is seen. Then the next is the first. Higher priorities may hold lower ones up for as long as they keep coming: that
//! is what they are for.
//!
//! Two kinds of bytes come back by no request's end. Conversations stay until their sessions are closed: what does not fit beside
//! them and the models is refused for good. What others use of the machine may be gone in a moment or in a month: who does not
//! fit beside it waits on, but keeps its place and nothing else, and so does who is ruled out by pressure.
//!
//! # Who is woken
//!
//! Whatever may turn a refusal into a grant calls [`Line::ring`] under the guard's lock: a release, the end of a request, a
//! place that becomes free, a reading. It wakes the first of every region: of those with KV in one region a later one is
//! held up by whatever holds up an earlier one. Of those who keep nothing it wakes whom pressure rules out, and not whom others
//! shut out: their bytes are looked at here. A waiter clears its mark before it looks, so news that come meanwhile make it
//! look again. Nobody tells of what others do, so who waits on the machine's own readings takes one now and then.

use super::room::new_kv;
use plimsoll_engine::sync::Alarm;
use plimsoll_engine::{Estimate, Region, SessionKey};
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// A place in the line: priority, then arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(Reverse<i8>, u64);

/// One who waits.
pub(super) struct Waiter {
    pub(super) session: SessionKey,
    pub(super) region: Region,
    /// The price of the smallest acceptable request.
    pub(super) least: Estimate,
    /// For so many answers.
    pub(super) answers: u32,
    pub(super) degradable: bool,
    /// Whether there are news that it has not looked at.
    pub(super) rung: bool,
    /// Wakes its thread, if that sleeps.
    pub(super) alarm: Option<Alarm>,
}

/// What someone waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum For {
    /// Bytes that requests and idle sessions give back: as many are kept for it.
    Bytes,
    /// Less pressure.
    Calm,
    /// Bytes that others use.
    Others,
}

/// Bytes that are kept for some who wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) all_kv: u64,
    pub(super) kv: u64,
    pub(super) host: u64,
}

/// Those who wait.
#[derive(Default)]
pub(super) struct Line {
    waiters: BTreeMap<Place, Waiter>,
    arrivals: u64,
}

impl Place {
    /// Where a request stands that does not wait: behind all who do, of its priority.
    pub(super) fn newcomer(priority: i8) -> Self {
        Place(Reverse(priority), u64::MAX)
    }

    /// Behind all.
    pub(super) fn last() -> Self {
        Self::newcomer(i8::MIN)
    }
}

impl Line {
    pub(super) fn len(&self) -> usize {
        self.waiters.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Joins the line behind all of the same priority.
    pub(super) fn join(&mut self, priority: i8, waiter: Waiter) -> Place {
        let place = Place(Reverse(priority), self.arrivals);
        self.arrivals += 1;
        self.waiters.insert(place, waiter);
        place
    }

    /// Leaves it. Whether it was still there.
    pub(super) fn leave(&mut self, place: Place) -> bool {
        self.waiters.remove(&place).is_some()
    }

    /// A session is gone, and whoever waits for it with it.
    pub(super) fn forget(&mut self, session: SessionKey) {
        self.waiters.retain(|_, waiter| waiter.session != session);
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Waiter> {
        self.waiters.get_mut(&place)
    }

    /// Those before a place.
    pub(super) fn ahead(&self, place: Place) -> impl Iterator<Item = &Waiter> {
        self.waiters.range(..place).map(|(_, waiter)| waiter)
    }

    /// How many stand before a place.
    pub(super) fn before(&self, place: Place) -> usize {
        // One that does not wait stands behind all of its priority, so nearly all of the line is counted either way.
        if self.is_empty() { 0 } else { self.waiters.range(..place).count() }
    }

    /// Whether a request of this session waits, other than the one at this place.
    pub(super) fn has_other(&self, session: SessionKey, place: Place) -> bool {
        self.waiters.iter().any(|(&at, waiter)| at != place && waiter.session == session)
    }

    /// What is kept for those before a place. `held` says how much KV a session holds, `waits` for what someone waits.
    pub(super) fn kept(
        &self,
        place: Place,
        region: Region,
        held: impl Fn(SessionKey) -> u64,
        waits: impl Fn(&Waiter) -> For,
    ) -> Kept {
        let mut kept = Kept::default();
        let add = |sum: &mut u64, bytes: u64| *sum = sum.saturating_add(bytes);
        for waiter in self.ahead(place).filter(|waiter| waits(waiter) == For::Bytes) {
            let held = held(waiter.session);
            let kv = new_kv(&waiter.least, waiter.answers, held).saturating_add(held);
            let request = waiter.least.request_bytes;
            add(&mut kept.all_kv, kv);
            add(&mut kept.host, request);
            if waiter.region == Region::Host {
                add(&mut kept.host, kv);
            }
            if waiter.region == region {
                add(&mut kept.kv, kv);
            }
        }
        if region == Region::Host {
            kept.kv = kept.host;
        }
        kept
    }

    /// There are news: wakes the first of every region, and those whom pressure rules out.
    pub(super) fn ring(&mut self, waits: impl Fn(&Waiter) -> For) {
        let mut seen: Vec<Region> = Vec::new();
        for waiter in self.waiters.values_mut() {
            match waits(waiter) {
                For::Others => continue,
                For::Bytes if seen.contains(&waiter.region) => continue,
                For::Bytes => seen.push(waiter.region),
                For::Calm => {}
            }
            waiter.rung = true;
            if let Some(alarm) = &waiter.alarm {
                alarm.ring();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVICE: Region = Region::Device(0);

    fn waiter(session: u64, region: Region, kv_bytes: u64, degradable: bool) -> Waiter {
        let least = Estimate {
            kv_region: region,
            kv_bytes,
            kv_block_bytes: 1,
            request_bytes: 1,
            ring_bytes: 0,
            workspace_bytes: 0,
        };
        let (session, answers) = (SessionKey(session), 1);
        Waiter { session, region, least, answers, degradable, rung: false, alarm: None }
    }

    fn rung(line: &mut Line) -> Vec<u64> {
        let news = |waiter: &mut Waiter| std::mem::take(&mut waiter.rung).then_some(waiter.session.0);
        line.waiters.values_mut().filter_map(news).collect()
    }

    #[test]
    fn priorities_come_first_then_arrivals() {
        let mut line = Line::default();
        let places = [(1, 0), (2, 5), (3, 0), (4, -3), (5, 5)]
            .map(|(session, priority)| line.join(priority, waiter(session, DEVICE, 10, true)));
        let order: Vec<u64> = line.waiters.values().map(|waiter| waiter.session.0).collect();
        assert_eq!(order, [2, 5, 1, 3, 4]);
        assert_eq!(places.map(|place| line.before(place)), [2, 0, 3, 4, 1]);
        assert_eq!([9, 5, 0, -9].map(|priority| line.before(Place::newcomer(priority))), [0, 2, 4, 5]);
        assert!(line.leave(places[1]) && !line.leave(places[1]));
        line.forget(SessionKey(3));
        assert_eq!((line.len(), line.before(places[3])), (3, 2));
        assert!(line.has_other(SessionKey(1), places[3]) && !line.has_other(SessionKey(1), places[0]));
    }

    #[test]
    fn kept_is_what_those_before_need_and_hold() {
        let mut line = Line::default();
        line.join(0, waiter(1, DEVICE, 10, true));
        line.join(0, waiter(2, Region::Host, 20, true));
        line.join(0, waiter(3, DEVICE, 40, false));
        let held = |session: SessionKey| if session.0 == 1 { 15 } else { 0 };
        let kept = |region, firm| {
            let waits = |waiter: &Waiter| if firm && !waiter.degradable { For::Others } else { For::Bytes };
            let kept = line.kept(Place::newcomer(0), region, held, waits);
            (kept.all_kv, kept.kv, kept.host)
        };
        assert_eq!(kept(DEVICE, false), (75, 55, 23));
        assert_eq!(kept(DEVICE, true), (35, 15, 22));
        assert_eq!(kept(Region::Host, false), (75, 23, 23));
        assert_eq!(line.kept(Place::newcomer(1), DEVICE, held, |_| For::Bytes), Kept::default());
    }

    #[test]
    fn news_are_for_the_first_of_each_region() {
        let mut line = Line::default();
        for (session, region, degradable) in [
            (1, DEVICE, false),
            (2, DEVICE, true),
            (3, DEVICE, true),
            (4, Region::Host, true),
            (5, DEVICE, false),
        ] {
            line.join(0, waiter(session, region, 1, degradable));
        }
        line.ring(|_| For::Bytes);
        assert_eq!(rung(&mut line), [1, 4]);
        let beside = |other| move |waiter: &Waiter| if waiter.degradable { For::Bytes } else { other };
        line.ring(beside(For::Calm));
        assert_eq!(rung(&mut line), [1, 2, 4, 5]);
        line.ring(beside(For::Others));
        assert_eq!(rung(&mut line), [2, 4]);
        assert_eq!(rung(&mut line), [0_u64; 0]);
    }
}
