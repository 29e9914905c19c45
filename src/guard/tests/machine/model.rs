//! The plain model: lists of numbers, no indices, no sums that are kept. What would fit is found by trying every number of
//! tokens; who goes for whom by going through all sessions.

use super::super::engine::CONTEXT;
use super::super::{Decision, Reason};
use super::homes::{At, Home};
use super::price::{Asked, Price};

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
    /// Its model, if that may be unloaded.
    pub(super) home: Option<usize>,
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
    /// Its level of pressure, from 0.
    pub(super) level: usize,
}

/// Hundredths of a space from which it is under pressure, by level, and how many of them below it is out of it again.
pub(super) const PRESSURE: [u64; 4] = [70, 80, 85, 90];
pub(super) const BACK: u64 = 2;
/// Tenths of what is asked for that are granted at a level.
const TENTHS: [u64; 5] = [10, 9, 7, 5, 3];

/// One who waits, as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) session: usize,
    pub(super) ask: Asked,
    pub(super) priority: i8,
    /// Whether pressure may take something from it. If not, it rules it out.
    pub(super) degradable: bool,
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
    /// Models that may be unloaded, how often one went, and how often one came back.
    pub(super) homes: Vec<Home>,
    pub(super) moves: [u64; 2],
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
    /// Models that go for it, and their bytes; what its own takes.
    pub(super) unloaded: (u32, u64),
    pub(super) load: u64,
    /// Whether it was refused because an engine is late.
    pub(super) reclaim: bool,
    /// Whether pressure rules it out.
    pub(super) ruled_out: bool,
    /// Its place in the line, were it to wait.
    pub(super) position: u32,
}

/// Bytes that must go: of all KV, and of each region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) kv: u64,
    pub(super) regions: [u64; REGIONS],
}

impl Session {
    pub(super) fn kv(&self) -> u64 {
        match self.place {
            Place::Busy(kv, _) => self.kept + kv,
            _ => self.kept,
        }
    }

    pub(super) fn request(&self) -> u64 {
        if let Place::Busy(_, request) = self.place { request } else { 0 }
    }

    fn is_idle(&self) -> bool {
        self.place == Place::Idle && self.kept > 0
    }
}

impl Model {
    pub(super) fn new(limits: [u64; REGIONS], kv_limit: u64) -> Self {
        let spaces = limits.map(|limit| Space { limit, others: 0, level: 0 });
        let (sessions, loads) = (Vec::new(), Vec::new());
        let (line, homes, moves, late, counts) = (Vec::new(), Vec::new(), [0; 2], false, [0; 3]);
        Model { line, spaces, kv_limit, sessions, loads, homes, moves, late, counts, events: 0 }
    }

    pub(super) fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    pub(super) fn open(&mut self, region: usize, home: Option<usize>, limit: u64, now: u64) {
        let place = Place::Idle;
        self.sessions.push(Session {
            region,
            home,
            limit,
            kept: 0,
            place,
            order: 0,
            last_used: now,
            closed: false,
        });
    }

    /// The most tokens that fit when these sessions hold nothing.
    fn most(
        &self,
        at: usize,
        (ask, most): (Asked, u32),
        (gone, out): (&[usize], &[usize]),
        before: &[Waiter],
    ) -> Option<u32> {
        let tokens = if most == 0 { 0..=0 } else { 1..=most };
        tokens.rev().find(|&tokens| {
            let price = Price::of(ask, tokens);
            self.fits(at, price, gone, out) && self.spares(at, price, before)
        })
    }

    /// Those whose KV has been asked for, then the idle ones, each from the first.
    pub(super) fn in_order(&self) -> (Vec<usize>, Vec<usize>) {
        let all = || 0..self.sessions.len();
        let asked =
            |i: usize| if let Place::Leaving(nth) = self.sessions[i].place { Some(nth) } else { None };
        let mut leaving: Vec<_> = all().filter(|&i| asked(i).is_some()).collect();
        leaving.sort_by_key(|&i| asked(i));
        let mut idle: Vec<_> = all().filter(|&i| self.sessions[i].is_idle()).collect();
        idle.sort_by_key(|&i| self.sessions[i].order);
        (leaving, idle)
    }

    /// Whether a session's model is among these.
    fn of(&self, at: usize, out: &[usize]) -> bool {
        self.sessions[at].home.is_some_and(|home| out.contains(&home))
    }

    /// Whom to wait for and whom to ask, until nothing is missing; all sessions of models that go are among them.
    pub(super) fn choose(
        &self,
        asking: Option<usize>,
        mut missing: Missing,
        out: &[usize],
    ) -> (Vec<usize>, Vec<usize>) {
        let mut helps = |&i: &usize| {
            let Session { region, kept, .. } = self.sessions[i];
            let helps = missing.kv.min(kept) > 0 || missing.regions[region].min(kept) > 0;
            missing.kv = missing.kv.saturating_sub(kept);
            missing.regions[region] = missing.regions[region].saturating_sub(kept);
            helps
        };
        let (leaving, idle) = self.in_order();
        let (mut victims, idle): (Vec<_>, Vec<_>) = idle.into_iter().partition(|&i| self.of(i, out));
        victims.iter().for_each(|i| {
            helps(i);
        });
        let waits = leaving.into_iter().filter(&mut helps).collect();
        victims.extend(idle.into_iter().filter(|&i| Some(i) != asking).filter(helps));
        (waits, victims)
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
        let closed = session.closed;
        self.used_home(at, self.events);
        if closed {
            self.leave(at);
        }
    }

    pub(super) fn close(&mut self, at: usize) {
        self.sessions[at].closed = true;
        self.leave(at);
    }

    /// A lease of weights or of a workspace; whether it is granted.
    pub(super) fn load(&mut self, region: usize, bytes: u64) -> bool {
        let granted = self.make_room(region, bytes);
        if granted {
            self.loads.push((region, bytes));
        }
        granted
    }

    /// What someone gets who has not waited, and what that does to everyone.
    pub(super) fn admit(&mut self, newcomer: Waiter) -> Expected {
        self.decide_for(Waiter { arrival: u64::MAX, ..newcomer })
    }

    /// What someone gets at its place in the line, and what that does to everyone. Refusals are not counted.
    pub(super) fn decide_for(&mut self, waiter: Waiter) -> Expected {
        let Waiter { session: at, ask, priority, degradable, arrival } = waiter;
        let before = self.before(priority, arrival);
        let busy = matches!(self.sessions[at].place, Place::Busy(..))
            || self.line.iter().any(|other| other.session == at && other.arrival != arrival);
        let mut expected = self.decide(at, ask, degradable, busy, &before);
        if expected.retry && !busy {
            expected.position = u32::try_from(before.len()).unwrap() + 1;
        }
        if expected.decision != Decision::Reject {
            self.count(expected.decision);
            self.line.retain(|other| *other != waiter);
            let price = Price::of(ask, expected.granted);
            let session = &mut self.sessions[at];
            session.place = Place::Busy(price.new_kv(session.kept), price.request());
            if let Some(home) = session.home {
                let order = self.next_event();
                let home = &mut self.homes[home];
                (home.order, home.at) = (order, if home.at == At::Out { At::Due } else { home.at });
            }
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

    fn decide(&mut self, at: usize, ask: Asked, degradable: bool, busy: bool, before: &[Waiter]) -> Expected {
        let load = self.load_of(at).map_or(0, |load| load.1);
        let refused = |fits, retry| Expected {
            decision: Decision::Reject,
            granted: 0,
            fits,
            retry,
            evicted: (0, 0),
            unloaded: (0, 0),
            load,
            reclaim: false,
            ruled_out: false,
            position: 0,
        };
        let (prompt, max, min, _) = ask;
        if prompt >= CONTEXT {
            return refused(0, false);
        }
        let level = self.level(self.sessions[at].region);
        let smallest = min.max(1).min(max);
        let allowed = (u64::from(max) * TENTHS[level]).div_ceil(10) as u32;
        let most = allowed.max(smallest).min(CONTEXT - prompt);
        let ever = smallest <= most && self.ever(at, Price::of(ask, smallest));
        if busy {
            return refused(0, ever);
        }
        if !degradable && level > 0 {
            return Expected { ruled_out: ever, ..refused(0, ever) };
        }
        let (leaving, idle) = self.in_order();
        let gone: Vec<_> = leaving.into_iter().chain(idle.into_iter().filter(|&i| i != at)).collect();
        let (mut best, mut out) = (self.most(at, (ask, most), (&gone, &[]), before), Vec::new());
        if best.is_none_or(|tokens| tokens < smallest)
            && smallest <= most
            && let Some(picked) = self.picked(at, Price::of(ask, smallest), &gone, before)
        {
            best = self.most(at, (ask, most), (&gone, &picked), before);
            out = picked;
        } else if best.is_none_or(|tokens| tokens < smallest)
            && smallest <= most
            && self.sessions[at].is_idle()
        {
            // Nobody but itself may be in its way.
            let mut cleared = self.clone();
            cleared.sessions[at].kept = 0;
            let least = Price::of(ask, smallest);
            let fits = cleared.fits(at, least, &gone, &[]) && cleared.spares(at, least, before);
            if fits || cleared.picked(at, least, &gone, before).is_some() {
                let freed = self.leave(at);
                if self.late {
                    return Expected { evicted: (1, 0), reclaim: true, ..refused(0, true) };
                }
                let rest = self.decide(at, ask, degradable, busy, before);
                return Expected { evicted: (rest.evicted.0 + 1, rest.evicted.1 + freed), ..rest };
            }
        }
        let Some(tokens) = best.filter(|&tokens| tokens >= smallest) else {
            return refused(best.unwrap_or(0), ever);
        };
        let missing = self.missing_for(at, Price::of(ask, tokens), &[], &out);
        let (mut waits, mut victims) = self.choose(Some(at), missing, &out);
        let asked = u32::try_from(victims.len()).unwrap();
        let unloaded = (out.len() as u32, out.iter().map(|&h| self.homes[h].bytes).sum());
        // Whoever is late comes with its model.
        waits.retain(|&i| !self.of(i, &out));
        victims.retain(|&i| !self.of(i, &out));
        let itself = matches!(self.sessions[at].place, Place::Leaving(_));
        let in_time = waits.is_empty() && !itself && (!self.late || victims.is_empty());
        let freed = self.unload(&out) + victims.into_iter().map(|victim| self.leave(victim)).sum::<u64>();
        let refused = |fits, retry| Expected { evicted: (asked, freed), unloaded, ..refused(fits, retry) };
        let granted = |granted| {
            let decision = if granted == max { Decision::Accept } else { Decision::Shrink };
            Expected { decision, granted, fits: granted, ..refused(0, false) }
        };
        if in_time {
            return granted(tokens);
        }
        // Someone is late: all of it, as things are, or nothing.
        let now = self.most(at, (ask, most), (&[], &[]), before);
        match now {
            Some(now) if now == most && !itself => granted(most),
            _ if now.is_none_or(|now| now < smallest) && !ever => refused(now.unwrap_or(0), false),
            _ => {
                let fits = if itself { 0 } else { now.unwrap_or(0) };
                Expected { reclaim: true, ..refused(fits, true) }
            }
        }
    }

    /// The reason that goes with what was expected, where the model knows it.
    pub(super) fn reason(expected: &Expected) -> Option<Reason> {
        match expected.decision {
            Decision::Accept => Some(Reason::Fits),
            _ if expected.reclaim => Some(Reason::Reclaim),
            _ if expected.ruled_out => Some(Reason::Pressure),
            _ => None,
        }
    }
}
