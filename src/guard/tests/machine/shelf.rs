//! The pool in the plain model: a list of what lies idle. Requests take memory as large as their own bytes, workspaces as their lease.

use super::model::{HOST, Place, Space};
use super::{IDLE_TIMEOUT, Machine, NAMES};
use crate::guard::PoolUse;
use plimsoll_engine::{Buffer, Lease, ModelId, Owner, Source};

/// The most that may lie idle.
pub(super) const LIMIT: u64 = 600;

static SOURCE: Source = Source::heap::<8>("machine");

/// A lease of weights, or of a workspace with its memory.
pub(super) struct Load {
    // Gone before its lease.
    memory: Option<Buffer>,
    pub(super) lease: Lease,
}

#[derive(Default)]
pub(super) struct Shelf {
    /// Since when, and bytes, in the order in which they came.
    idle: Vec<(u64, u64)>,
    used: Vec<u64>,
    counts: [u64; 3],
}

impl Shelf {
    pub(super) fn bytes(&self) -> u64 {
        self.idle.iter().map(|idle| idle.1).sum()
    }

    /// The last that came, of those of a size.
    fn pick(&mut self, bytes: u64) -> bool {
        let last = self.idle.iter().rposition(|idle| idle.1 == bytes);
        last.map(|at| self.idle.remove(at)).is_some()
    }

    fn take(&mut self, bytes: u64) {
        let hit = self.pick(bytes);
        self.used(bytes, hit);
    }

    fn used(&mut self, bytes: u64, hit: bool) {
        self.counts[usize::from(!hit)] += 1;
        self.used.push(bytes);
    }

    fn put_back(&mut self, bytes: u64, now: u64) {
        let at = self.used.iter().position(|used| *used == bytes).unwrap();
        self.used.swap_remove(at);
        self.shelve(bytes, now);
    }

    fn shelve(&mut self, bytes: u64, now: u64) {
        if bytes <= LIMIT {
            self.idle.push((now, bytes));
            self.free_while(|left, _| left > LIMIT);
        }
    }

    /// The longest unused go first, the smallest of them.
    fn free_while(&mut self, more: impl Fn(u64, u64) -> bool) {
        while let Some(&oldest) = self.idle.iter().min() {
            if !more(self.bytes(), oldest.0) {
                return;
            }
            self.idle.remove(self.idle.iter().position(|idle| *idle == oldest).unwrap());
            self.counts[2] += 1;
        }
    }

    fn figures(&self) -> PoolUse {
        let [hits, misses, evictions] = self.counts;
        PoolUse {
            in_use_bytes: self.used.iter().sum(),
            idle_bytes: self.bytes(),
            buffers_in_use: self.used.len() as u64,
            buffers_idle: self.idle.len() as u64,
            hits,
            misses,
            evictions,
        }
    }
}

impl Machine {
    /// Bytes were booked: what lies idle goes as far as it has to.
    pub(super) fn make_good(&mut self) {
        let Space { limit, others, .. } = self.model.spaces[HOST];
        let taken = self.model.used(HOST) + others;
        self.shelf.free_while(|idle, _| taken + idle > limit);
    }

    pub(super) fn load(&mut self, region: usize, workspace: bool, bytes: u64) {
        self.refresh();
        let owner = if workspace { Owner::Workspace(ModelId(1)) } else { Owner::Weights(ModelId(1)) };
        if !workspace || region != HOST {
            let lease = self.guard.lease(NAMES[region], owner, bytes);
            assert_eq!(lease.is_ok(), self.model.load(region, bytes), "{lease:?}");
            if let Ok(lease) = lease {
                self.loads.push(Load { memory: None, lease });
                self.make_good();
            }
            return;
        }
        let size = usize::try_from(bytes).unwrap();
        let mut aside = self.guard.set_aside(Some((&SOURCE, size)));
        let lease = aside.lease(owner, bytes);
        assert_eq!(lease.is_ok(), self.model.load(region, bytes));
        if let Ok(lease) = lease {
            let found = self.shelf.pick(bytes);
            self.make_good();
            let memory = Buffer::take(&aside.into_buffers(), &SOURCE, size);
            self.loads.push(Load { memory, lease });
            self.shelf.used(bytes, found);
        }
    }

    /// A workspace's memory goes back.
    fn vacate(&mut self, at: usize) {
        if let Some(memory) = self.loads[at].memory.take() {
            self.shelf.put_back(memory.bytes() as u64, self.now);
        }
    }

    pub(super) fn trim(&mut self, at: usize, by: u64) {
        if self.loads.is_empty() {
            return;
        }
        let at = at % self.loads.len();
        self.vacate(at);
        let left = self.loads[at].lease.bytes().saturating_sub(by);
        self.loads[at].lease.shrink_to(left);
        self.model.loads[at].1 = left;
    }

    pub(super) fn unload(&mut self, at: usize) {
        if self.loads.is_empty() {
            return;
        }
        let at = at % self.loads.len();
        self.vacate(at);
        self.loads.remove(at);
        self.model.loads.remove(at);
    }

    /// A request has its grant, and takes its memory.
    pub(super) fn take_ring(&mut self, at: usize) {
        self.make_good();
        let Place::Busy(_, bytes) = self.model.sessions[at].place else { panic!("it was granted") };
        self.sessions[at].ring =
            Buffer::take(&self.guard.buffers(), &SOURCE, usize::try_from(bytes).unwrap());
        self.shelf.take(bytes);
    }

    /// A request ends: its memory goes back before its leases.
    pub(super) fn drop_ring(&mut self, at: usize) {
        let ring = self.sessions[at].ring.take().unwrap();
        let bytes = ring.bytes() as u64;
        drop(ring);
        self.shelf.put_back(bytes, self.now);
    }

    pub(super) fn sweep_shelf(&mut self) {
        let before = self.shelf.bytes();
        let now = self.now;
        self.shelf.free_while(|_, since| since + IDLE_TIMEOUT <= now);
        assert_eq!(self.guard.sweep_pool(), before - self.shelf.bytes());
    }

    pub(super) fn compare_shelf(&self) {
        assert_eq!(self.guard.pool_stats().engine, self.shelf.figures());
    }

    /// At the end nothing is in use, and what lies idle goes when it is told to.
    pub(super) fn clear_shelf(&mut self) {
        while !self.loads.is_empty() {
            self.unload(0);
        }
        assert_eq!(self.shelf.used, [0; 0]);
        assert_eq!(self.guard.trim_pool(), self.shelf.bytes());
        assert_eq!(self.guard.pool_stats().all_idle_bytes(), 0);
        self.shelf.idle.clear();
    }
}
