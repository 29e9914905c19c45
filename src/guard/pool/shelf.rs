//! The shelf: where idle memory lies.
//!
//! Its lock is a leaf: under it no other is taken, nothing of anybody else's is called and no memory goes back to the system.
//! Who gives memory back has a turn, so that whoever needs its bytes waits until the system has it; under that the books' lock may be
//! taken, never the other way round. Nothing here must succeed in allocating: what finds no place on the shelf goes back as well.

use super::{PoolStats, PoolUse};
use plimsoll_engine::sync::atomic::{AtomicU64, Ordering};
use plimsoll_engine::sync::{Mutex, MutexGuard};
use plimsoll_engine::{Buffers, Clock, Memory, Source};
use std::collections::VecDeque;
use std::ptr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Where hosts' buffers are from.
pub(super) static HOST: Source = Source::heap::<4096>("host");

struct Idle {
    memory: Memory,
    since: Duration,
}

/// Idle memory of one source and size, the longest unused first.
struct Class {
    source: &'static Source,
    bytes: usize,
    idle: VecDeque<Idle>,
}

impl Class {
    fn key(&self) -> (usize, usize) {
        key(self.source, self.bytes)
    }
}

/// What classes are sorted by: sizes, and which source it is, not what it is called.
fn key(source: &Source, bytes: usize) -> (usize, usize) {
    (bytes, ptr::from_ref(source).addr())
}

#[derive(Default)]
struct Shelf {
    /// By their keys. Those that are empty keep their room until the pool is swept.
    classes: Vec<Class>,
    host: PoolUse,
    engine: PoolUse,
    on_heap: u64,
}

impl Shelf {
    fn figures(&mut self, source: &Source) -> &mut PoolUse {
        if source.is(&HOST) { &mut self.host } else { &mut self.engine }
    }

    fn idle_bytes(&self) -> u64 {
        self.host.idle_bytes + self.engine.idle_bytes
    }

    /// Takes note of memory that comes or goes.
    fn count_idle(&mut self, memory: &Memory, comes: bool) {
        let (bytes, source) = (memory.bytes() as u64, memory.source());
        let step = |figure: &mut u64, by: u64| *figure = if comes { *figure + by } else { *figure - by };
        let figures = self.figures(source);
        step(&mut figures.idle_bytes, bytes);
        step(&mut figures.buffers_idle, 1);
        if source.is_on_heap() {
            step(&mut self.on_heap, bytes);
        }
    }

    fn count_use(&mut self, source: &Source, bytes: usize, hit: bool) {
        let figures = self.figures(source);
        *(if hit { &mut figures.hits } else { &mut figures.misses }) += 1;
        figures.in_use_bytes += bytes as u64;
        figures.buffers_in_use += 1;
    }

    fn end_use(&mut self, source: &Source, bytes: usize) {
        let figures = self.figures(source);
        figures.in_use_bytes -= bytes as u64;
        figures.buffers_in_use -= 1;
    }

    fn pop(&mut self, source: &Source, bytes: usize) -> Option<Memory> {
        let at = self.classes.binary_search_by_key(&key(source, bytes), Class::key).ok()?;
        let memory = self.classes[at].idle.pop_back()?.memory;
        self.count_idle(&memory, false);
        Some(memory)
    }

    /// Puts memory on the shelf, or gives it back where there is no room for the note of it.
    fn push(&mut self, memory: Memory, since: Duration) -> Result<(), Memory> {
        let (bytes, source) = (memory.bytes(), memory.source());
        let at = match self.classes.binary_search_by_key(&key(source, bytes), Class::key) {
            Ok(at) => at,
            Err(at) if self.classes.try_reserve(1).is_ok() => {
                self.classes.insert(at, Class { source, bytes, idle: VecDeque::new() });
                at
            }
            Err(_) => return Err(memory),
        };
        if self.classes[at].idle.try_reserve(1).is_err() {
            return Err(memory);
        }
        self.count_idle(&memory, true);
        self.classes[at].idle.push_back(Idle { memory, since });
        Ok(())
    }

    /// Takes the longest unused memory if it may go: `more(idle bytes, unused since)`.
    fn pop_oldest(&mut self, more: impl Fn(u64, Duration) -> bool) -> Option<Memory> {
        let oldest = |class: &Class| class.idle.front().map(|idle| idle.since);
        let first =
            self.classes.iter().enumerate().filter_map(|(at, class)| Some((oldest(class)?, at))).min();
        let (_, at) = first.filter(|&(since, _)| more(self.idle_bytes(), since))?;
        let memory = self.classes[at].idle.pop_front()?.memory;
        self.count_idle(&memory, false);
        self.figures(memory.source()).evictions += 1;
        Some(memory)
    }
}

/// Memory that is used again. It outlives the guard for as long as somebody uses some of it.
pub(in crate::guard) struct Pool {
    shelf: Mutex<Shelf>,
    /// Bytes that the process holds and that count as free: of idle memory, and of what is set aside or about to be idle. Never
    /// less than what lies on the shelf.
    spare: AtomicU64,
    /// Held while idle memory goes back to the system.
    freeing: Mutex<()>,
    clock: Arc<dyn Clock>,
    limit: u64,
}

impl Pool {
    pub(in crate::guard) fn new(clock: Arc<dyn Clock>, limit: u64) -> Pool {
        Pool {
            shelf: Mutex::new(Shelf::default()),
            spare: AtomicU64::new(0),
            freeing: Mutex::new(()),
            clock,
            limit,
        }
    }

    /// Bytes that the process holds and that count as free.
    pub(in crate::guard) fn spare(&self) -> u64 {
        self.spare.load(Ordering::SeqCst)
    }

    /// So many spare bytes are leased from now on.
    pub(in crate::guard) fn spend(&self, bytes: u64) {
        if bytes > 0 {
            self.spare.fetch_sub(bytes, Ordering::SeqCst);
        }
    }

    /// Bytes of idle memory that an allocator counts.
    pub(in crate::guard) fn idle_on_heap(&self) -> u64 {
        self.lock().on_heap
    }

    pub(super) fn stats(&self) -> PoolStats {
        let shelf = self.lock();
        PoolStats::new(self.limit, shelf.host, shelf.engine)
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        // Nothing panics between two changes that belong together.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes idle memory off the shelf that has just been paid for: it is spare no longer.
    pub(in crate::guard) fn set_aside(&self, source: &Source, bytes: usize) -> Option<Memory> {
        let memory = self.lock().pop(source, bytes)?;
        self.spend(memory.bytes() as u64);
        Some(memory)
    }

    /// What was taken off the shelf lies there again.
    pub(super) fn return_unused(&self, memory: Memory) {
        self.expect(memory.bytes() as u64);
        self.shelve(memory, false);
    }

    /// Memory that was set aside is in use, and paid for.
    pub(super) fn use_aside(&self, memory: &Memory) {
        self.lock().count_use(memory.source(), memory.bytes(), true);
    }

    /// Fresh memory.
    pub(super) fn fresh(&self, source: &'static Source, bytes: usize) -> Option<Memory> {
        let memory = Memory::fresh(source, bytes)?;
        self.lock().count_use(source, bytes, false);
        Some(memory)
    }

    /// Puts spare memory on the shelf, unless it is more than may lie there or the note of it finds no room: then the system has it,
    /// and it is spare no longer.
    pub(in crate::guard) fn shelve(&self, memory: Memory, was_used: bool) {
        let (size, now) = (memory.bytes() as u64, self.clock.now());
        let mut shelf = self.lock();
        if was_used {
            shelf.end_use(memory.source(), memory.bytes());
        }
        let refused = if size > self.limit { Err(memory) } else { shelf.push(memory, now) };
        let full = shelf.idle_bytes() > self.limit;
        drop(shelf);
        if refused.is_err() {
            drop(refused);
            self.spend(size);
        } else if full {
            self.free_while(|_, idle, _| idle > self.limit);
        }
    }

    /// More bytes are spare: they are about to be put on the shelf.
    pub(in crate::guard) fn expect(&self, bytes: u64) {
        self.spare.fetch_add(bytes, Ordering::SeqCst);
    }

    /// Frees idle memory, the longest unused first, while `more(bytes freed, idle bytes left, unused since)` says so. Returns the
    /// bytes freed.
    pub(super) fn free_while(&self, more: impl Fn(u64, u64, Duration) -> bool) -> u64 {
        let _turn = self.turn();
        self.free(more)
    }

    /// Frees as much idle memory as there is too much of when nobody else frees any.
    pub(super) fn free_excess(&self, excess: impl FnOnce() -> u64) {
        let _turn = self.turn();
        let excess = excess();
        self.free(|freed, _, _| freed < excess);
    }

    fn turn(&self) -> MutexGuard<'_, ()> {
        self.freeing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn free(&self, more: impl Fn(u64, u64, Duration) -> bool) -> u64 {
        let mut freed = 0;
        loop {
            let gone = self.lock().pop_oldest(|idle, since| more(freed, idle, since));
            let Some(gone) = gone else { return freed };
            let size = gone.bytes() as u64;
            drop(gone);
            self.spend(size);
            freed += size;
        }
    }

    /// Forgets the sizes of which nothing lies idle.
    pub(super) fn tidy(&self) {
        let mut shelf = self.lock();
        shelf.classes.retain(|class| !class.idle.is_empty());
        // What was kept for notes goes with them.
        let gone = if shelf.classes.is_empty() { std::mem::take(&mut shelf.classes) } else { Vec::new() };
        drop(shelf);
        drop(gone);
    }
}

impl Buffers for Pool {
    fn take(&self, source: &'static Source, bytes: usize) -> Option<Memory> {
        let mut shelf = self.lock();
        let found = shelf.pop(source, bytes);
        // Most often there will be memory; where there is none it is taken back.
        shelf.count_use(source, bytes, found.is_some());
        drop(shelf);
        if let Some(memory) = found {
            self.spend(bytes as u64);
            return Some(memory);
        }
        let fresh = Memory::fresh(source, bytes);
        if fresh.is_none() {
            let mut shelf = self.lock();
            shelf.end_use(source, bytes);
            shelf.figures(source).misses -= 1;
        }
        fresh
    }

    fn put_back(&self, memory: Memory) {
        // Spare before it lies there, and both before the lease that paid for it returns: who books these bytes then finds them.
        self.expect(memory.bytes() as u64);
        self.shelve(memory, true);
    }
}
