//! A thread that does something again and again, for as long as someone else holds what it does it to.

use crate::error::{Error, ErrorCode, Result};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The thread. It holds no strong handle, so it ends with the last of runtime, models and sessions; dropping it waits for the
/// round that runs.
pub(crate) struct Timer {
    stop: crossbeam_channel::Sender<()>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Timer {
    /// Calls `round` every `period`.
    ///
    /// # Errors
    /// `OutOfMemory` where the system gives no thread.
    pub(crate) fn start<T: Send + Sync + 'static>(
        name: &str,
        period: Duration,
        on: &Arc<T>,
        mut round: impl FnMut(&T) + Send + 'static,
    ) -> Result<Timer> {
        let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
        let on: Weak<T> = Arc::downgrade(on);
        let rounds = move || {
            while let Err(crossbeam_channel::RecvTimeoutError::Timeout) = stopped.recv_timeout(period) {
                let Some(on) = on.upgrade() else { return };
                round(&on);
            }
        };
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(rounds)
            .map_err(|error| Error::caused(ErrorCode::OutOfMemory, &error))?;
        Ok(Timer { stop, thread: Some(thread) })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // A sender that is gone wakes the receiver.
        let (closed, _) = crossbeam_channel::bounded(0);
        drop(std::mem::replace(&mut self.stop, closed));
        let Some(thread) = self.thread.take() else { return };
        // The last handle may have been the one that the thread itself held for a round.
        if thread.thread().id() != std::thread::current().id() {
            // A panic inside was reported where it happened; there is nothing left to do about it here.
            let _ = thread.join();
        }
    }
}
