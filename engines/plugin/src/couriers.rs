//! Couriers: the threads that bring cancels, reclaims and requests that were held back to a plug-in, so that one which is held up
//! inside of it holds up nothing else.

use crate::PluginError;
use crate::plug::Plug;
use crate::status;
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

/// Most threads. Beyond as many calls that do not return, others wait; graces and deadlines hold all the same.
const MOST: usize = 8;

/// What is brought.
pub(crate) enum Call {
    /// The request should end.
    Cancel(u64),
    /// The session should give back these bytes.
    Reclaim {
        /// Whose.
        session: u64,
        /// How many.
        bytes: u64,
    },
    /// There may be room for requests that were held back.
    Resume,
}

/// The way to the couriers. When the last clone is gone they end, each when its call has returned.
#[derive(Clone)]
pub(crate) struct Couriers {
    calls: Sender<Call>,
    shared: Arc<Shared>,
}

struct Shared {
    queue: Receiver<Call>,
    plug: Weak<Plug>,
    deadline_ms: u32,
    threads: AtomicUsize,
    /// Calls that were sent and have not returned.
    open: AtomicUsize,
}

impl Couriers {
    /// The first courier.
    pub(crate) fn start(plug: &Arc<Plug>, deadline_ms: u32) -> Result<Couriers, PluginError> {
        let (calls, queue) = unbounded();
        let shared = Shared {
            queue,
            plug: Arc::downgrade(plug),
            deadline_ms,
            threads: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
        };
        let couriers = Couriers { calls, shared: Arc::new(shared) };
        couriers.hire().map_err(|error| PluginError::Thread(error.to_string()))?;
        Ok(couriers)
    }

    /// Sends one, by another courier if all are out.
    pub(crate) fn send(&self, call: Call) {
        let open = self.shared.open.fetch_add(1, Ordering::AcqRel) + 1;
        if open > self.shared.threads.load(Ordering::Acquire)
            && let Err(error) = self.hire()
        {
            log::warn!("no further thread for a plug-in's calls: {error}");
        }
        // The receiver lives in `shared`.
        let _ = self.calls.send(call);
    }

    fn hire(&self) -> std::io::Result<()> {
        let shared = &self.shared;
        let more = |threads| (threads < MOST).then_some(threads + 1);
        if shared.threads.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).is_err() {
            return Ok(());
        }
        let (queue, plug) = (shared.queue.clone(), Weak::clone(&shared.plug));
        let (of_thread, deadline_ms) = (Arc::downgrade(shared), shared.deadline_ms);
        let work = move || {
            for call in queue {
                let Some(plug) = plug.upgrade() else { return };
                deliver(&plug, call, deadline_ms);
                drop(plug);
                if let Some(shared) = of_thread.upgrade() {
                    shared.open.fetch_sub(1, Ordering::AcqRel);
                }
            }
        };
        let started = std::thread::Builder::new().name("plimsoll-plugin".into()).spawn(work);
        if started.is_err() {
            shared.threads.fetch_sub(1, Ordering::AcqRel);
        }
        started.map(drop)
    }
}

fn deliver(plug: &Plug, call: Call, deadline_ms: u32) {
    match call {
        Call::Cancel(request) => plug.cancel(request),
        Call::Resume => plug.resume(),
        Call::Reclaim { session, bytes } => match plug.reclaim(session, bytes, deadline_ms) {
            status::BUSY => {}
            answer => {
                if answer != status::OK {
                    log::warn!("the plug-in's reclaim failed with status {answer}");
                }
                plug.desk.reclaimed(session);
            }
        },
    }
}
