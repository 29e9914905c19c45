//! A scheduler on a thread of its own.

use crate::queue::{Shared, Waiting};
use crate::step::message;
use crate::{Config, Scheduler, StepExecutor};
use crossbeam_channel::{Receiver, Sender, TryRecvError, unbounded};
use plimsoll_engine::{Clock, EngineError, Job, Rejected, SessionKey};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

enum Command {
    Submit(Box<Waiting>),
    Reclaim(SessionKey, Sender<u64>),
    Stop,
}

/// The way to a scheduler's thread, from any thread. Clones share it; when the last one is dropped the thread ends every
/// request with [`EngineError::Closed`], frees all KV, drops the executor and is waited for.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    commands: Sender<Command>,
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    thread: Option<JoinHandle<()>>,
}

/// Starts a scheduler over `executor` on a thread named `plimsoll-<model>`. It sleeps while there is nothing to do.
///
/// # Errors
/// [`EngineError::Invalid`] for limits that make no sense, [`EngineError::Execution`] where the system starts no thread.
pub fn spawn<E: StepExecutor>(
    executor: E,
    config: &Config,
    clock: Arc<dyn Clock>,
) -> Result<Handle, EngineError> {
    let scheduler = Scheduler::new(executor, config, Arc::clone(&clock))?;
    let shared = Arc::clone(scheduler.shared());
    let (commands, receiver) = unbounded();
    let thread = std::thread::Builder::new()
        .name(format!("plimsoll-{}", config.model))
        .spawn(move || serve(scheduler, &receiver))
        .map_err(|error| EngineError::Execution(format!("no thread for the scheduler: {error}")))?;
    Ok(Handle(Arc::new(Inner { commands, shared, clock, thread: Some(thread) })))
}

impl Handle {
    /// Queues a job. Its end comes through its ring, exactly once, after its leases are back.
    ///
    /// # Errors
    /// The job comes back with [`EngineError::QueueFull`], or with [`EngineError::Closed`] once the thread has stopped.
    pub fn submit(&self, job: Job) -> Result<(), Box<Rejected>> {
        let inner = &self.0;
        let waiting = inner.shared.enter(job, inner.clock.now())?;
        match inner.commands.send(Command::Submit(Box::new(waiting))).map_err(|unsent| unsent.0) {
            Err(Command::Submit(waiting)) => {
                Err(Box::new(Rejected { job: waiting.into_job(), error: EngineError::Closed }))
            }
            Ok(()) | Err(Command::Reclaim(..) | Command::Stop) => Ok(()),
        }
    }

    /// Asks for the KV of an idle session to be freed. The bytes are sent once their leases are back; 0 for a session
    /// that waits, runs or is not known. The answer is lost where `freed` has no room for it.
    pub fn reclaim(&self, session: SessionKey, freed: Sender<u64>) {
        if let Err(unsent) = self.0.commands.send(Command::Reclaim(session, freed))
            && let Command::Reclaim(_, freed) = unsent.0
        {
            // The thread is gone, and all KV with it.
            let _ = freed.try_send(0);
        }
    }

    /// Bytes of KV blocks alive, of running requests and of idle sessions.
    pub fn kv_bytes(&self) -> u64 {
        self.0.shared.blocks.get()
    }

    /// Requests that wait for a lane.
    pub fn waiting(&self) -> usize {
        self.0.shared.waiting()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("kv_bytes", &self.kv_bytes())
            .field("waiting", &self.waiting())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // An error means that the thread has stopped already.
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic on that thread has been reported to the requests it had.
            let _ = thread.join();
        }
    }
}

/// The thread's body.
fn serve<E: StepExecutor>(mut scheduler: Scheduler<E>, commands: &Receiver<Command>) {
    let worked = catch_unwind(AssertUnwindSafe(|| while turn(&mut scheduler, commands) {}));
    if let Err(payload) = worked {
        // Steps are caught one by one; this is the scheduler's own fault, and the end of this engine alone.
        let text = message(payload.as_ref());
        log::error!("a scheduler panicked: {text}");
        scheduler.shut_down(&EngineError::Panicked(text));
    }
}

/// Takes in all commands, waiting for one when there is nothing to do, and ticks. Answers whether to go on.
fn turn<E: StepExecutor>(scheduler: &mut Scheduler<E>, commands: &Receiver<Command>) -> bool {
    let idle = scheduler.waiting() == 0 && scheduler.running() == 0;
    let mut next =
        if idle { commands.recv().map_err(|_| TryRecvError::Disconnected) } else { commands.try_recv() };
    loop {
        match next {
            Ok(Command::Submit(waiting)) => scheduler.accept(*waiting),
            Ok(Command::Reclaim(session, freed)) => {
                let bytes = scheduler.reclaim(session);
                // Whoever asked may be gone, or have left no room; this thread does not wait.
                let _ = freed.try_send(bytes);
            }
            Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
            Err(TryRecvError::Empty) => break,
        }
        next = commands.try_recv();
    }
    scheduler.tick();
    true
}
