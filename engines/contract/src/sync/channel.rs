//! A channel of loom's locks, as far as crossbeam's is used.

use super::{Condvar, Mutex, MutexGuard, RecvTimeoutError, TryRecvError};
use crossbeam_channel::SendError;
use std::collections::VecDeque;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

/// A channel without bound.
pub fn unbounded<T>() -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), senders: 1 };
    let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
    (Sender(Arc::clone(&shared)), Receiver(shared))
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    queue: VecDeque<T>,
    senders: usize,
}

/// The end that sends.
pub struct Sender<T>(Arc<Shared<T>>);

/// The end that receives.
pub struct Receiver<T>(Arc<Shared<T>>);

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn take(&mut self) -> Result<T, TryRecvError> {
        let none = if self.senders == 0 { TryRecvError::Disconnected } else { TryRecvError::Empty };
        self.queue.pop_front().ok_or(none)
    }
}

impl<T> Sender<T> {
    /// Sends; a receiver that is gone is not noticed.
    pub fn send(&self, value: T) -> Result<(), SendError<T>> {
        self.0.lock().queue.push_back(value);
        self.0.changed.notify_all();
        Ok(())
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.0.lock().senders -= 1;
        self.0.changed.notify_all();
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        Receiver(Arc::clone(&self.0))
    }
}

impl<T> Receiver<T> {
    /// What has come.
    pub fn try_recv(&self) -> Result<T, TryRecvError> {
        self.0.lock().take()
    }

    /// Waits for a message; time stands still in a model, so only a deadline that has passed at the call is one.
    pub fn recv_deadline(&self, until: Instant) -> Result<T, RecvTimeoutError> {
        let over = Instant::now() >= until;
        let mut state = self.0.lock();
        loop {
            match state.take() {
                Ok(value) => return Ok(value),
                Err(TryRecvError::Disconnected) => return Err(RecvTimeoutError::Disconnected),
                Err(TryRecvError::Empty) if over => return Err(RecvTimeoutError::Timeout),
                Err(TryRecvError::Empty) => {}
            }
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether both ends belong to one channel.
    pub fn same_channel(&self, other: &Receiver<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
