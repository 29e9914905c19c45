//! The plain model: lists of numbers, no indices, no sums that are kept. What would fit is found by trying every number of
//! tokens; who goes for whom by going through all sessions.

use super::super::engine::{CONTEXT, price};
use super::super::{Decision, Reason};

/// Regions by number: the host, then the devices.
pub(super) const HOST: usize = 0;
pub(super) const REGIONS: usize = 3;

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Idle,
    /// Its KV was asked for, as the n-th, and has not come.
    Leaving(u64),
    /// It runs, with this much new KV and these bytes of its own.
    Busy(u64, u64),
}

#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) region: usize,
    pub(super) limit: u64,
    /// KV that it held before its request.
    pub(super) kept: u64,
    pub(super) place: Place,
    /// Grows with every end of a request.
    pub(super) order: u64,
    /// Milliseconds.
    pub(super) last_used: u64,
    pub(super) closed: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Space {
    pub(super) limit: u64,
    pub(super) others: u64,
}

/// One who waits, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) session: usize,
    pub(super) ask: (u32, u32, u32),
    pub(super) priority: i8,
    /// Grows with every one who joins.
    pub(super) arrival: u64,
}

#[derive(Clone)]
pub(super) struct Model {
    /// In no order.
    pub(super) line: Vec<Waiter>,
    pub(super) spaces: [Space; REGIONS],
    pub(super) kv_limit: u64,
    /// Closed sessions stay, and hold nothing in the end.
    pub(super) sessions: Vec<Session>,
    /// Weights and workspaces: region and bytes.
    pub(super) loads: Vec<(usize, u64)>,
    /// Whether engines answer late.
    pub(super) late: bool,
    /// Requests accepted, shrunk and refused.
    pub(super) counts: [u64; 3],
    events: u64,
}

/// What is expected of an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) decision: Decision,
    pub(super) granted: u32,
    pub(super) fits: u32,
    pub(super) retry: bool,
    /// Sessions that were asked for their KV, and what came of it in time.
    pub(super) evicted: (u32, u64),
    /// Whether it was refused because an engine is late.
    pub(super) reclaim: bool,
    /// Its place in the line, were it to wait.
    pub(super) position: u32,
}

/// Bytes that must go: of all KV, and of each region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Missing {
    kv: u64,
    regions: [u64; REGIONS],
}

impl Session {
    pub(super) fn kv(&self) -> u64 {
        match self.place {
            Place::Busy(kv, _) => self.kept + kv,
            _ => self.kept,
        }
    }

    fn request(&self) -> u64 {
        if let Place::Busy(_, request) = self.place { request } else { 0 }
    }

    fn is_idle(&self) -> bool {
        self.place == Place::Idle && self.kept > 0
    }
}

impl Model {
    pub(super) fn new(limits: [u64; REGIONS], kv_limit: u64) -> Self {
        let spaces = limits.map(|limit| Space { limit, others: 0 });
        let (sessions, loads) = (Vec::new(), Vec::new());
        Model { line: Vec::new(), spaces, kv_limit, sessions, loads, late: false, counts: [0; 3], events: 0 }
    }

    pub(super) fn open(&mut self, region: usize, limit: u64, now: u64) {
        let place = Place::Idle;
        self.sessions.push(Session {
            region,
            limit,
            kept: 0,
            place,
            order: 0,
            last_used: now,
            closed: false,
        });
    }

    /// Bytes leased in a region by all but these sessions' KV.
    fn used_without(&self, region: usize, gone: &[usize]) -> u64 {
        let loads = self.loads.iter().filter(|load| load.0 == region).map(|load| load.1);
        let requests = self.sessions.iter().map(|session| if region == HOST { session.request() } else { 0 });
        let kv = self.sessions.iter().enumerate().filter(|(i, s)| s.region == region && !gone.contains(i));
        loads.chain(requests).chain(kv.map(|(_, session)| session.kv())).sum()
    }

    pub(super) fn used(&self, region: usize) -> u64 {
        self.used_without(region, &[])
    }

    pub(super) fn free(&self, region: usize) -> u64 {
        let Space { limit, others } = self.spaces[region];
        limit.saturating_sub(self.used(region) + others)
    }

    /// What is missing for new bytes when these sessions hold nothing; nothing new is never short.
    fn missing(&self, new: [u64; REGIONS], new_kv: u64, gone: &[usize]) -> Missing {
        let over = |taken: u64, new: u64, limit: u64| {
            if new == 0 { 0 } else { (taken + new).saturating_sub(limit) }
        };
        let all_kv: u64 =
            self.sessions.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, s)| s.kv()).sum();
        let mut missing = Missing { kv: over(all_kv, new_kv, self.kv_limit), ..Missing::default() };
        for (region, new) in new.into_iter().enumerate() {
            let Space { limit, others } = self.spaces[region];
            missing.regions[region] = over(self.used_without(region, gone) + others, new, limit);
        }
        missing
    }

    fn missing_for(&self, at: usize, (kv, request): (u64, u64), gone: &[usize]) -> Missing {
        let session = &self.sessions[at];
        let held = if session.place == Place::Idle { session.kept } else { 0 };
        let new_kv = kv.saturating_sub(held);
        let mut new = [0; REGIONS];
        new[session.region] += new_kv;
        new[HOST] += request;
        self.missing(new, new_kv, gone)
    }

    fn fits(&self, at: usize, price: (u64, u64), gone: &[usize]) -> bool {
        price.0 <= self.sessions[at].limit && self.missing_for(at, price, gone) == Missing::default()
    }

    /// What stands before someone of a priority who came at a time.
    pub(super) fn before(&self, priority: i8, arrival: u64) -> Vec<Waiter> {
        let first = |w: &&Waiter| w.priority > priority || (w.priority == priority && w.arrival < arrival);
        self.line.iter().filter(first).copied().collect()
    }

    /// KV that a session has and could lose.
    fn idle_kv(&self, at: usize) -> u64 {
        if self.sessions[at].place == Place::Idle { self.sessions[at].kept } else { 0 }
    }

    /// Whether a price leaves what those before it need at the least, when nobody's KV but that of running requests stays.
    fn spares(&self, at: usize, (kv, request): (u64, u64), before: &[Waiter]) -> bool {
        let region = self.sessions[at].region;
        let all = || 0..self.sessions.len();
        let gone: Vec<usize> =
            all().filter(|&i| !matches!(self.sessions[i].place, Place::Busy(..))).collect();
        let whole = |i: usize, kv: u64| kv.max(self.idle_kv(i));
        let (mut kept, mut kept_kv) = ([0; REGIONS], 0);
        for waiter in before {
            let (prompt, max, min) = waiter.ask;
            let (kv, request) = price(prompt, min.max(1).min(max));
            kept[self.sessions[waiter.session].region] += whole(waiter.session, kv);
            kept[HOST] += request;
            kept_kv += whole(waiter.session, kv);
        }
        let total = whole(at, kv);
        let running: u64 = all().filter(|i| !gone.contains(i)).map(|i| self.sessions[i].kv()).sum();
        let fits = |kept: u64, takes: u64, stays: u64, limit: u64| {
            kept == 0 || takes == 0 || stays + kept + takes <= limit
        };
        fits(kept_kv, total, running, self.kv_limit)
            && (0..REGIONS).all(|r| {
                let takes = if r == region { total } else { 0 } + if r == HOST { request } else { 0 };
                let Space { limit, others } = self.spaces[r];
                fits(kept[r], takes, self.used_without(r, &gone) + others, limit)
            })
    }

    /// Whether a price fits when nothing but weights and workspaces is left.
    fn ever(&self, at: usize, (kv, request): (u64, u64)) -> bool {
        let session = &self.sessions[at];
        let mut new = [0; REGIONS];
        new[session.region] += kv;
        new[HOST] += request;
        let fixed =
            |region| self.loads.iter().filter(|load| load.0 == region).map(|load| load.1).sum::<u64>();
        kv <= session.limit.min(self.kv_limit)
            && [session.region, HOST].iter().all(|&r| fixed(r) + new[r] <= self.spaces[r].limit)
    }

    /// The most tokens that fit when these sessions hold nothing.
    fn most(&self, at: usize, prompt: u32, most: u32, gone: &[usize], before: &[Waiter]) -> Option<u32> {
        let tokens = if most == 0 { 0..=0 } else { 1..=most };
        tokens.rev().find(|&tokens| {
            let price = price(prompt, tokens);
            self.fits(at, price, gone) && self.spares(at, price, before)
        })
    }

    /// Those whose KV has been asked for, then the idle ones, each from the first.
    fn in_order(&self) -> (Vec<usize>, Vec<usize>) {
        let all = || 0..self.sessions.len();
        let asked =
            |i: usize| if let Place::Leaving(nth) = self.sessions[i].place { Some(nth) } else { None };
        let mut leaving: Vec<_> = all().filter(|&i| asked(i).is_some()).collect();
        leaving.sort_by_key(|&i| asked(i));
        let mut idle: Vec<_> = all().filter(|&i| self.sessions[i].is_idle()).collect();
        idle.sort_by_key(|&i| self.sessions[i].order);
        (leaving, idle)
    }

    /// Whom to wait for and whom to ask, until nothing is missing.
    fn choose(&self, asking: Option<usize>, mut missing: Missing) -> (Vec<usize>, Vec<usize>) {
        let mut helps = |&i: &usize| {
            let Session { region, kept, .. } = self.sessions[i];
            let helps = missing.kv.min(kept) > 0 || missing.regions[region].min(kept) > 0;
            missing.kv = missing.kv.saturating_sub(kept);
            missing.regions[region] = missing.regions[region].saturating_sub(kept);
            helps
        };
        let (leaving, idle) = self.in_order();
        let waits = leaving.into_iter().filter(&mut helps).collect();
        (waits, idle.into_iter().filter(|&i| Some(i) != asking).filter(helps).collect())
    }

    /// A session's engine is asked for its KV. Returns what came back at once.
    pub(super) fn leave(&mut self, at: usize) -> u64 {
        let session = &mut self.sessions[at];
        if !session.is_idle() {
            return 0;
        }
        if self.late {
            self.events += 1;
            session.place = Place::Leaving(self.events);
            return 0;
        }
        std::mem::take(&mut session.kept)
    }

    /// Late engines answer.
    pub(super) fn catch_up(&mut self) {
        for session in &mut self.sessions {
            if matches!(session.place, Place::Leaving(_)) {
                (session.place, session.kept) = (Place::Idle, 0);
            }
        }
    }

    /// A request ends; of all its KV so much stays, or all that it did not pay for.
    pub(super) fn end(&mut self, at: usize, kept: Option<u64>, now: u64) {
        let session = &mut self.sessions[at];
        let held = session.kv();
        if !matches!(session.place, Place::Busy(..)) {
            return;
        }
        self.events += 1;
        (session.place, session.order, session.last_used) = (Place::Idle, self.events, now);
        session.kept = kept.map_or(session.kept, |kept| kept.min(held));
        if session.closed {
            self.leave(at);
        }
    }

    pub(super) fn close(&mut self, at: usize) {
        self.sessions[at].closed = true;
        self.leave(at);
    }

    /// A lease of weights or of a workspace; whether it is granted.
    pub(super) fn load(&mut self, region: usize, bytes: u64) -> bool {
        let mut new = [0; REGIONS];
        new[region] = bytes;
        let (mut gone, idle) = self.in_order();
        gone.extend(idle);
        if self.missing(new, 0, &gone) != Missing::default() {
            return false;
        }
        let (_, victims) = self.choose(None, self.missing(new, 0, &[]));
        for victim in victims {
            self.leave(victim);
        }
        let granted = self.missing(new, 0, &[]) == Missing::default();
        if granted {
            self.loads.push((region, bytes));
        }
        granted
    }

    /// What someone gets who has not waited, and what that does to everyone.
    pub(super) fn admit(&mut self, at: usize, ask: (u32, u32, u32), priority: i8) -> Expected {
        self.decide_for(Waiter { session: at, ask, priority, arrival: u64::MAX })
    }

    /// What someone gets at its place in the line, and what that does to everyone. Refusals are not counted.
    pub(super) fn decide_for(&mut self, waiter: Waiter) -> Expected {
        let Waiter { session: at, ask, priority, arrival } = waiter;
        let before = self.before(priority, arrival);
        let busy = matches!(self.sessions[at].place, Place::Busy(..))
            || self.line.iter().any(|other| other.session == at && other.arrival != arrival);
        let mut expected = self.decide(at, ask, busy, &before);
        if expected.retry && !busy {
            expected.position = u32::try_from(before.len()).unwrap() + 1;
        }
        if expected.decision != Decision::Reject {
            self.count(expected.decision);
            self.line.retain(|other| *other != waiter);
            let (kv, request) = price(ask.0, expected.granted);
            let session = &mut self.sessions[at];
            session.place = Place::Busy(kv.saturating_sub(session.kept), request);
        }
        expected
    }

    pub(super) fn count(&mut self, decision: Decision) {
        let kind = match decision {
            Decision::Accept => 0,
            Decision::Shrink => 1,
            _ => 2,
        };
        self.counts[kind] += 1;
    }

    fn decide(
        &mut self,
        at: usize,
        (prompt, max, min): (u32, u32, u32),
        busy: bool,
        before: &[Waiter],
    ) -> Expected {
        let refused = |fits, retry| Expected {
            decision: Decision::Reject,
            granted: 0,
            fits,
            retry,
            evicted: (0, 0),
            reclaim: false,
            position: 0,
        };
        if prompt >= CONTEXT {
            return refused(0, false);
        }
        if busy {
            return refused(0, true);
        }
        let (most, smallest) = (max.min(CONTEXT - prompt), min.max(1).min(max));
        let ever = smallest <= most && self.ever(at, price(prompt, smallest));
        let (leaving, idle) = self.in_order();
        let gone: Vec<_> = leaving.into_iter().chain(idle.into_iter().filter(|&i| i != at)).collect();
        let best = self.most(at, prompt, most, &gone, before);
        let Some(tokens) = best.filter(|&tokens| tokens >= smallest) else {
            return refused(best.unwrap_or(0), ever);
        };
        let missing = self.missing_for(at, price(prompt, tokens), &[]);
        let (waits, victims) = self.choose(Some(at), missing);
        let asked = u32::try_from(victims.len()).unwrap();
        let itself = matches!(self.sessions[at].place, Place::Leaving(_));
        let in_time = waits.is_empty() && !itself && !(self.late && asked > 0);
        let freed = victims.into_iter().map(|victim| self.leave(victim)).sum();
        let granted = |granted| {
            let decision = if granted == max { Decision::Accept } else { Decision::Shrink };
            Expected { decision, granted, fits: granted, evicted: (asked, freed), ..refused(0, false) }
        };
        if in_time {
            return granted(tokens);
        }
        // Someone is late: all of it, as things are, or nothing.
        let now = self.most(at, prompt, most, &[], before);
        match now {
            Some(now) if now == most && !itself => granted(most),
            _ if now.is_none_or(|now| now < smallest) && !ever => {
                Expected { evicted: (asked, freed), ..refused(now.unwrap_or(0), false) }
            }
            _ => {
                let fits = if itself { 0 } else { now.unwrap_or(0) };
                Expected { evicted: (asked, freed), reclaim: true, ..refused(fits, true) }
            }
        }
    }

    /// The reason that goes with what was expected, where the model knows it.
    pub(super) fn reason(expected: &Expected) -> Option<Reason> {
        match expected.decision {
            Decision::Accept => Some(Reason::Fits),
            _ if expected.reclaim => Some(Reason::Reclaim),
            _ => None,
        }
    }
}
