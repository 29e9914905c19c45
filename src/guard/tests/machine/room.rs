//! What fits: each question is answered by adding everything up again.

use super::homes::At;
use super::model::{BACK, HOST, Missing, Model, PRESSURE, Place, REGIONS, Space, Waiter};
use super::price::Price;

impl Model {
    /// Bytes leased in a region by all but these sessions' KV and these models.
    fn used_without(&self, region: usize, gone: &[usize], out: &[usize]) -> u64 {
        let homes = self.homes.iter().enumerate().filter(|(h, _)| !out.contains(h));
        let homes = homes.map(|(_, home)| home.booked(region));
        let loads = self.loads.iter().filter(|load| load.0 == region).map(|load| load.1);
        let requests = self.sessions.iter().map(|session| if region == HOST { session.request() } else { 0 });
        let kv = self.sessions.iter().enumerate().filter(|(i, s)| s.region == region && !gone.contains(i));
        homes.chain(loads).chain(requests).chain(kv.map(|(_, session)| session.kv())).sum()
    }

    pub(super) fn used(&self, region: usize) -> u64 {
        self.used_without(region, &[], &[])
    }

    pub(super) fn free(&self, region: usize) -> u64 {
        let Space { limit, others, .. } = self.spaces[region];
        limit.saturating_sub(self.used(region) + others)
    }

    /// How full the spaces are, KV that could go left out: where a level begins it is entered, a little below it is left.
    pub(super) fn press(&mut self) {
        for region in 0..REGIONS {
            let here = self.sessions.iter().filter(|session| session.region == region);
            let could_go: u64 = here.filter(|s| !matches!(s.place, Place::Busy(..))).map(|s| s.kept).sum();
            let idle: u64 = self.idle_homes().into_iter().map(|h| self.homes[h].booked(region)).sum();
            let full = (self.used(region) + self.spaces[region].others - could_go - idle) * 100;
            let Space { limit, level, .. } = self.spaces[region];
            let reaches = |&level: &usize| full >= PRESSURE[level - 1] * limit;
            let holds = |&level: &usize| full >= (PRESSURE[level - 1] - BACK) * limit;
            let reached = (1..=PRESSURE.len()).rfind(reaches).unwrap_or(0);
            self.spaces[region].level = reached.max((1..=level).rfind(holds).unwrap_or(0));
        }
    }

    /// The level for KV in a region.
    pub(super) fn level(&self, region: usize) -> usize {
        self.spaces[region].level.max(self.spaces[HOST].level)
    }

    /// Whether someone waits for other things than bytes of ours: for less pressure, or for others to give something back.
    pub(super) fn rules_out(&self, waiter: &Waiter) -> bool {
        !waiter.degradable && self.level(self.sessions[waiter.session].region) > 0 || self.shuts_out(waiter)
    }

    /// Whether others use what it would take, were nothing left of ours but what stays.
    fn shuts_out(&self, waiter: &Waiter) -> bool {
        let (_, max, min, _) = waiter.ask;
        let price = Price::of(waiter.ask, min.max(1).min(max));
        let region = self.sessions[waiter.session].region;
        (0..REGIONS).any(|r| {
            let new = if r == region { price.kv() } else { 0 } + if r == HOST { price.request() } else { 0 };
            let (stays, Space { limit, others, .. }) = (self.stays(waiter.session, r), self.spaces[r]);
            new > 0 && stays + new <= limit && stays + new + others > limit
        })
    }

    /// Bytes of a region that stay when all requests have ended and all models have gone that may; a session's own is loaded.
    fn stays(&self, at: usize, region: usize) -> u64 {
        let loads = self.loads.iter().filter(|load| load.0 == region).map(|load| load.1);
        let homes = self.homes.iter().enumerate().map(|(h, home)| match self.sessions[at].home == Some(h) {
            true if home.region == region => home.bytes,
            false if !home.idles => home.booked(region),
            _ => 0,
        });
        loads.chain(homes).sum()
    }

    /// What is missing for new bytes when these sessions hold nothing and these models are out; nothing new is never short.
    pub(super) fn missing(&self, new: [u64; REGIONS], new_kv: u64, gone: &[usize], out: &[usize]) -> Missing {
        let over = |taken: u64, new: u64, limit: u64| {
            if new == 0 { 0 } else { (taken + new).saturating_sub(limit) }
        };
        let all_kv: u64 =
            self.sessions.iter().enumerate().filter(|(i, _)| !gone.contains(i)).map(|(_, s)| s.kv()).sum();
        let mut missing = Missing { kv: over(all_kv, new_kv, self.kv_limit), ..Missing::default() };
        for (region, new) in new.into_iter().enumerate() {
            let Space { limit, others, .. } = self.spaces[region];
            missing.regions[region] = over(self.used_without(region, gone, out) + others, new, limit);
        }
        missing
    }

    pub(super) fn missing_for(&self, at: usize, price: Price, gone: &[usize], out: &[usize]) -> Missing {
        let session = &self.sessions[at];
        let held = if session.place == Place::Idle { session.kept } else { 0 };
        let new_kv = price.new_kv(held);
        let mut new = [0; REGIONS];
        new[session.region] += new_kv;
        new[HOST] += price.request();
        if let Some((region, bytes)) = self.load_of(at) {
            new[region] += bytes;
        }
        self.missing(new, new_kv, gone, out)
    }

    pub(super) fn fits(&self, at: usize, price: Price, gone: &[usize], out: &[usize]) -> bool {
        price.kv() <= self.sessions[at].limit && self.missing_for(at, price, gone, out) == Missing::default()
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
    pub(super) fn spares(&self, at: usize, price: Price, before: &[Waiter]) -> bool {
        let region = self.sessions[at].region;
        let all = || 0..self.sessions.len();
        let gone: Vec<usize> =
            all().filter(|&i| !matches!(self.sessions[i].place, Place::Busy(..))).collect();
        let whole = |i: usize, price: Price| self.idle_kv(i) + price.new_kv(self.idle_kv(i));
        let (mut kept, mut kept_kv) = ([0; REGIONS], 0);
        for waiter in before.iter().filter(|waiter| !self.rules_out(waiter)) {
            let (_, max, min, _) = waiter.ask;
            let least = Price::of(waiter.ask, min.max(1).min(max));
            kept[self.sessions[waiter.session].region] += whole(waiter.session, least);
            kept[HOST] += least.request();
            kept_kv += whole(waiter.session, least);
        }
        let own = self.sessions[at].home;
        let mut waited = self.waited_for(before);
        waited.sort_unstable();
        waited.dedup();
        for home in waited.into_iter().filter(|&h| Some(h) != own && self.homes[h].at == At::Out) {
            kept[self.homes[home].region] += self.homes[home].bytes;
        }
        let could = self.could_go(own, before);
        // What its model takes, and holds up to now without being used.
        let load = |region| self.load_of(at).map_or(0, |load| if load.0 == region { load.1 } else { 0 });
        let holds =
            |region| own.map_or(0, |h| if self.homes[h].idles { self.homes[h].booked(region) } else { 0 });
        let (total, request) = (whole(at, price), price.request());
        let running: u64 = all().filter(|i| !gone.contains(i)).map(|i| self.sessions[i].kv()).sum();
        let fits = |kept: u64, takes: u64, holds: u64, stays: u64, limit: u64| {
            kept == 0 || takes + holds == 0 || stays + kept + takes <= limit
        };
        fits(kept_kv, total, 0, running, self.kv_limit)
            && (0..REGIONS).all(|r| {
                let takes =
                    if r == region { total } else { 0 } + if r == HOST { request } else { 0 } + load(r);
                let Space { limit, others, .. } = self.spaces[r];
                fits(kept[r], takes, holds(r), self.used_without(r, &gone, &could) + others, limit)
            })
    }

    /// Whether a price fits when nothing but weights and workspaces that stay is left.
    pub(super) fn ever(&self, at: usize, price: Price) -> bool {
        let (kv, request) = (price.kv(), price.request());
        let session = &self.sessions[at];
        let mut new = [0; REGIONS];
        new[session.region] += kv;
        new[HOST] += request;
        kv <= session.limit.min(self.kv_limit)
            && [session.region, HOST].iter().all(|&r| self.stays(at, r) + new[r] <= self.spaces[r].limit)
    }
}
