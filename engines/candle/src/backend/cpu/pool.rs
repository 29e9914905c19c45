//! A small pool of compute threads.
//!
//! A run hands out task numbers from a shared counter, so fast threads take more. The thread that calls takes part; the
//! others spin a short while for the next run, then sleep. A run allocates nothing, and it never waits for a thread that
//! has not woken up yet: whoever comes late finds the run closed.
//!
//! The stacks of the threads ([`STACK`] each) are the only memory that is not in the arena.

use plimsoll_engine::EngineError;
use std::any::Any;
use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};

/// Address space of a worker's stack; only what is used of it becomes memory.
const STACK: usize = 512 * 1024;

/// Turns of a waiting loop before a thread sleeps: tens of microseconds, about the time between two runs of a step.
const SPINS: u32 = 2000;

/// Bits of [`Shared::state`]: the low half counts workers inside the run, then whether it takes more of them; the high
/// half numbers the runs.
const INSIDE: u64 = 0xffff;
const OPEN: u64 = 1 << 16;
const RUN: u64 = 1 << 32;

/// A task: its number, and the number of the thread it runs on.
type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// What a run does. Valid while the run is open or workers are inside.
struct Work {
    task: *const Task<'static>,
    tasks: usize,
    caller: Thread,
}

struct Shared {
    state: AtomicU64,
    next: AtomicUsize,
    stop: AtomicBool,
    /// Workers that have begun.
    begun: AtomicUsize,
    work: UnsafeCell<Option<Work>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `work` is written only by the thread in `Pool::run` while no run is open and no worker is inside, and read only
// by workers inside; entering (acquire) follows opening (release), and the next write follows the last worker's leaving.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `work` is to a task that may be used from any thread.
unsafe impl Send for Shared {}

impl Shared {
    /// Runs tasks until none are left. A panic ends the handing out; the first one is kept.
    fn take_tasks(&self, task: &Task<'_>, tasks: usize, thread: usize) {
        let result = catch_unwind(AssertUnwindSafe(|| {
            loop {
                let number = self.next.fetch_add(1, Ordering::Relaxed);
                if number >= tasks {
                    return;
                }
                task(number, thread);
            }
        }));
        if let Err(panic) = result {
            self.next.store(tasks, Ordering::Relaxed);
            self.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
        }
    }

    /// A worker's life.
    fn serve(&self, thread: usize) {
        let (mut last_run, mut spins) = (0, 0);
        loop {
            let state = self.state.load(Ordering::Acquire);
            let run = state / RUN;
            if run != last_run {
                if state & OPEN == 0 {
                    last_run = run;
                } else if self
                    .state
                    .compare_exchange_weak(state, state + 1, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
                {
                    last_run = run;
                    self.join_in(thread);
                }
                spins = 0;
                continue;
            }
            if self.stop.load(Ordering::Acquire) {
                return;
            }
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                // A run that opens after the load above unparks this thread, and then this returns at once.
                thread::park();
            }
        }
    }

    fn join_in(&self, thread: usize) {
        // SAFETY: this worker is inside the run, so the work stands.
        let Some(work) = (unsafe { &*self.work.get() }) else { return };
        // After leaving, the work may change: keep the handle.
        let caller = work.caller.clone();
        // SAFETY: the caller of `run` does not return while a worker is inside, so its task is alive.
        self.take_tasks(unsafe { &*work.task }, work.tasks, thread);
        let state = self.state.fetch_sub(1, Ordering::AcqRel);
        if state & OPEN == 0 && state & INSIDE == 1 {
            caller.unpark();
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
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            begun: AtomicUsize::new(0),
            work: UnsafeCell::new(None),
            panic: Mutex::new(None),
        });
        let mut pool = Pool { shared, workers: Vec::new(), runs: Cell::new(0) };
        for number in 1..threads {
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
        if tasks <= 1 || self.workers.is_empty() {
            (0..tasks).for_each(|number| task(number, 0));
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. The pointer is used by workers inside this run, which ends before `task` does.
        let erased = unsafe { std::mem::transmute::<*const Task<'_>, *const Task<'static>>(task) };
        // SAFETY: the last run is closed and left, and this is the only thread that runs: see `Shared`.
        unsafe { *shared.work.get() = Some(Work { task: erased, tasks, caller: thread::current() }) };
        shared.next.store(0, Ordering::Relaxed);
        self.runs.set((self.runs.get() + 1) & 0xffff_ffff);
        shared.state.store((self.runs.get() * RUN) | OPEN, Ordering::Release);
        for worker in self.workers.iter().take(tasks - 1) {
            worker.thread().unpark();
        }
        shared.take_tasks(task, tasks, 0);
        shared.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0;
        while shared.state.load(Ordering::Acquire) & INSIDE != 0 {
            if spins < SPINS {
                spins += 1;
                std::hint::spin_loop();
            } else {
                thread::park();
            }
        }
        let panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_task_runs_once_in_every_run() {
        for threads in [1, 2, 5] {
            let pool = Pool::new(threads).unwrap();
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 7, 300] {
                let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                for run in 0..50 {
                    if run % 20 == 19 {
                        // Long enough for the workers to fall asleep.
                        thread::sleep(Duration::from_millis(2));
                    }
                    pool.run(tasks, &|number, thread| {
                        assert!(thread < threads);
                        counts[number].fetch_add(1, Ordering::Relaxed);
                    });
                }
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 50));
            }
        }
    }

    #[test]
    fn tasks_that_run_together_have_different_threads() {
        let pool = Pool::new(4).unwrap();
        let busy: Vec<AtomicBool> = (0..4).map(|_| AtomicBool::new(false)).collect();
        pool.run(200, &|_, thread| {
            assert!(!busy[thread].swap(true, Ordering::AcqRel));
            thread::yield_now();
            busy[thread].store(false, Ordering::Release);
        });
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_works_on() {
        let pool = Pool::new(3).unwrap();
        for bad in [0, 5, 99] {
            let run = AssertUnwindSafe(|| {
                pool.run(100, &|number, _| assert!(number != bad, "task {number} fails"));
            });
            let panic = catch_unwind(run).unwrap_err();
            assert_eq!(panic.downcast_ref::<String>().unwrap(), &format!("task {bad} fails"));
            let done = AtomicUsize::new(0);
            pool.run(100, &|_, _| {
                done.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(done.into_inner(), 100);
        }
    }
}
