//! A small pool of compute threads.
//!
//! A run hands out task numbers from a shared counter, so fast threads take more. The thread that calls takes part; the
//! others spin a short while for the next run, then sleep. A run allocates nothing, and it never waits for a thread that
//! has not woken up yet: whoever comes late finds the run closed. So waking is a matter of speed alone, and a worker is left
//! asleep where the process has no core for it ([`awake`]).
//!
//! The stacks of the threads ([`STACK`] each) are the only memory that is not in the arena.

mod awake;
mod spin;

#[cfg(test)]
mod tests;

use awake::{Awake, cores, is_crowded};
use plimsoll_engine::EngineError;
use spin::Spin;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// Address space of a worker's stack; only what is used of it becomes memory.
const STACK: usize = 512 * 1024;

/// Bits of [`Shared::state`]: the low half counts workers inside the run, then whether it takes more of them, then whether
/// its caller sleeps until they have left; the high half numbers the runs.
const INSIDE: u64 = 0xffff;
const OPEN: u64 = 1 << 16;
const WAITED_FOR: u64 = 1 << 17;
const RUN: u64 = 1 << 32;

/// A task: its number, and the number of the thread it runs on.
type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// What a run does. Valid while the run is open or workers are inside.
#[derive(Clone, Copy)]
struct Work {
    task: *const Task<'static>,
    tasks: usize,
}

/// Keeps what many threads write off the cache lines of the rest; two lines, as they are fetched in pairs.
#[repr(align(128))]
struct Apart<T>(T);

struct Shared {
    state: Apart<AtomicU64>,
    next: Apart<AtomicUsize>,
    /// How many of `asleep` are true; a caller need not look at these where it is 0.
    sleepers: Apart<AtomicUsize>,
    /// For each worker, whether it sleeps. Whoever makes it false wakes the worker and has counted it as awake.
    asleep: Vec<Apart<AtomicBool>>,
    stop: AtomicBool,
    /// Workers that have begun.
    begun: AtomicUsize,
    work: UnsafeCell<Option<Work>>,
    /// The caller, from before it says [`WAITED_FOR`].
    caller: UnsafeCell<Option<Thread>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `work` is written only by the thread in `Pool::run` while no run is open and no worker is inside, and read only
// by workers inside; entering (acquire) follows opening (release), and the next write follows the last worker's leaving.
// `caller` is written by that thread too, before it says so (release) and when no worker is inside any more; it is read
// only by a worker inside that has seen the sign (acquire).
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `work` is to a task that may be used from any thread.
unsafe impl Send for Shared {}

impl Shared {
    /// Runs tasks until none are left. A panic ends the handing out; the first one is kept.
    fn take_tasks(&self, task: &Task<'_>, tasks: usize, thread: usize) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let number = self.next.0.fetch_add(1, Ordering::Relaxed);
                if number >= tasks {
                    return;
                }
                task(number, thread);
            }
        }));
        if let Err(panic) = result {
            self.next.0.store(tasks, Ordering::Relaxed);
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
    }

    /// A worker's life.
    fn serve(&self, thread: usize) {
        let mut last_run = 0;
        while let Some(awake) = self.sleep(thread, last_run) {
            let mut spin = Spin::default();
            loop {
                let state = self.state.0.load(Ordering::Acquire);
                if state / RUN == last_run {
                    if !spin.turn() || self.stop.load(Ordering::Acquire) {
                        break;
                    }
                    continue;
                }
                if state & OPEN != 0 && !self.enter(state) {
                    continue;
                }
                last_run = state / RUN;
                if state & OPEN != 0 {
                    self.join_in(thread);
                }
                if is_crowded() {
                    break;
                }
                spin = Spin::default();
            }
            drop(awake);
        }
    }

    /// Waits until there is a run to join; `None` when there will be none.
    fn sleep(&self, thread: usize, last_run: u64) -> Option<Awake> {
        let asleep = &self.asleep[thread - 1].0;
        self.sleepers.0.fetch_add(1, Ordering::Relaxed);
        asleep.store(true, Ordering::Relaxed);
        // A run that opened before its caller could see this one asleep is seen here.
        fence(Ordering::SeqCst);
        let state = self.state.0.load(Ordering::Acquire);
        if state / RUN != last_run && state & OPEN != 0 {
            self.wake(thread - 1);
        }
        loop {
            let woken = !asleep.load(Ordering::Acquire);
            if self.stop.load(Ordering::Acquire) {
                if woken {
                    drop(Awake::taken_over());
                }
                return None;
            }
            if woken {
                return Some(Awake::taken_over());
            }
            thread::park();
        }
    }

    /// Marks a sleeping worker as awake, if the process has room for it. True when its thread is to be unparked.
    fn wake(&self, worker: usize) -> bool {
        // Who asks for more threads than cores gets them.
        let Some(awake) = Awake::if_below(cores().max(self.asleep.len() + 1)) else { return false };
        let was_asleep = self.asleep[worker].0.swap(false, Ordering::AcqRel);
        if was_asleep {
            self.sleepers.0.fetch_sub(1, Ordering::Relaxed);
            awake.hand_over();
        }
        was_asleep
    }

    /// Enters the open run of this state. False when the state has changed.
    fn enter(&self, state: u64) -> bool {
        self.state.0.compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Takes part in the run that was entered, and leaves it.
    fn join_in(&self, thread: usize) {
        // SAFETY: this worker is inside the run, so the work stands.
        if let Some(Work { task, tasks }) = unsafe { *self.work.get() } {
            // SAFETY: the caller of `run` does not return while a worker is inside, so its task is alive.
            self.take_tasks(unsafe { &*task }, tasks, thread);
        }
        let mut state = self.state.0.load(Ordering::Acquire);
        loop {
            let is_last = state & WAITED_FOR != 0 && state & INSIDE == 1;
            // After leaving, the caller may be gone: its handle is copied before.
            // SAFETY: this worker is inside and has seen that the caller waits.
            let caller = if is_last { unsafe { (*self.caller.get()).clone() } } else { None };
            match self.state.0.compare_exchange_weak(state, state - 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return caller.iter().for_each(Thread::unpark),
                Err(now) => state = now,
            }
        }
    }

    /// Waits until no worker is inside the run, which is closed.
    fn wait(&self) {
        let mut spin = Spin::default();
        while self.state.0.load(Ordering::Acquire) & INSIDE != 0 {
            if spin.turn() {
                continue;
            }
            // SAFETY: no worker reads it before the next line says that the caller waits.
            unsafe { *self.caller.get() = Some(thread::current()) };
            self.state.0.fetch_or(WAITED_FOR, Ordering::AcqRel);
            while self.state.0.load(Ordering::Acquire) & INSIDE != 0 {
                thread::park();
            }
            // SAFETY: no worker is inside.
            unsafe { *self.caller.get() = None };
        }
    }
}

/// Threads that run numbered tasks. `Cell` keeps it off a second thread, and so keeps a task from starting a run.
pub(super) struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    runs: Cell<u64>,
}

impl Pool {
    /// A pool of `threads`, the calling one among them.
    ///
    /// # Errors
    /// [`EngineError::Execution`] when the system refuses a thread.
    pub(super) fn new(threads: usize) -> Result<Self, EngineError> {
        let workers = threads.saturating_sub(1);
        let shared = Arc::new(Shared {
            state: Apart(AtomicU64::new(0)),
            next: Apart(AtomicUsize::new(0)),
            sleepers: Apart(AtomicUsize::new(0)),
            asleep: (0..workers).map(|_| Apart(AtomicBool::new(false))).collect(),
            stop: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            caller: UnsafeCell::new(None),
            panic: Mutex::new(None),
        });
        let mut pool = Pool { shared, workers: Vec::new(), runs: Cell::new(0) };
        for number in 1..=workers {
            let shared = Arc::clone(&pool.shared);
            let name = format!("plimsoll-cpu-{number}");
            let starter = thread::current();
            let worker = thread::Builder::new().name(name).stack_size(STACK).spawn(move || {
                shared.begun.fetch_add(1, Ordering::Release);
                starter.unpark();
                drop(starter);
                shared.serve(number);
            });
            // On a failure the pool is dropped, which ends the threads that did start.
            let worker = worker.map_err(|error| {
                EngineError::Execution(format!("compute thread {number} of {threads} cannot start: {error}"))
            })?;
            pool.workers.push(worker);
        }
        // A thread allocates when it begins, which on a busy machine may be long after its first run: not in a step.
        while pool.shared.begun.load(Ordering::Acquire) < pool.workers.len() {
            thread::park();
        }
        Ok(pool)
    }

    /// Threads, the calling one among them.
    #[cfg(test)]
    fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(number, thread)` for every number below `tasks` and returns when all are done. `thread` is below
    /// the pool's number of threads and different for tasks that run at the same time; the caller is 0.
    ///
    /// # Panics
    /// With the first panic of a task, once no task runs any more.
    pub(super) fn run(&self, tasks: usize, task: &Task<'_>) {
        let _awake = Awake::count();
        if tasks <= 1 || self.workers.is_empty() {
            (0..tasks).for_each(|number| task(number, 0));
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The pointer is used by workers inside this run, which ends before `task` does.
        let erased = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        // SAFETY: the last run is closed and left, and this is the only thread that runs: see `Shared`.
        unsafe { *shared.work.get() = Some(Work { task: erased, tasks }) };
        shared.next.0.store(0, Ordering::Relaxed);
        self.runs.set((self.runs.get() + 1) & 0xffff_ffff);
        shared.state.0.store((self.runs.get() * RUN) | OPEN, Ordering::Release);
        // A worker that falls asleep is seen here, or sees the run.
        fence(Ordering::SeqCst);
        if shared.sleepers.0.load(Ordering::Relaxed) > 0 {
            self.wake(tasks - 1);
        }
        shared.take_tasks(task, tasks, 0);
        shared.state.0.fetch_and(!OPEN, Ordering::AcqRel);
        shared.wait();
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Wakes those who sleep among the first `most` workers.
    #[cold]
    fn wake(&self, most: usize) {
        for (number, worker) in self.workers.iter().enumerate().take(most) {
            let asleep = self.shared.asleep[number].0.load(Ordering::Relaxed);
            if asleep && self.shared.wake(number) {
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        for worker in &self.workers {
            worker.thread().unpark();
        }
        for worker in self.workers.drain(..) {
            // A worker catches the panics of tasks; its own code has none to tell of.
            let _ = worker.join();
        }
    }
}
