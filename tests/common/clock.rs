//! A clock for tests: it stands still, and can hold a model's thread.

use plimsoll_engine::{Clock, ManualClock};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// A held thread goes on by itself after this long, so that a failing test ends.
const RELEASE: Duration = Duration::from_secs(60);

/// Readings of the clock that a scheduler makes in a tick that runs a step: at its start, before the step, after it.
const READINGS_PER_STEP: u64 = 3;

/// Time that a test moves by hand. The schedulers' threads look at the clock in every tick, and there they can be held: so
/// a request is still waiting or running for as long as a test needs it to be.
#[derive(Default)]
pub struct Gate {
    time: ManualClock,
    /// Readings left to the schedulers' threads; `None` lets them run.
    left: Mutex<Option<u64>>,
    moved: Condvar,
}

impl Gate {
    pub fn advance(&self, by: Duration) {
        self.time.advance(by);
    }

    /// Lets the schedulers run about `steps` more steps and holds them then.
    pub fn hold_after(&self, steps: u64) {
        self.set(Some(steps * READINGS_PER_STEP));
    }

    /// Holds the schedulers before their next tick.
    pub fn hold(&self) {
        self.hold_after(0);
    }

    /// Lets the schedulers run.
    pub fn open(&self) {
        self.set(None);
    }

    fn set(&self, left: Option<u64>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
        self.moved.notify_all();
    }
}

impl Clock for Gate {
    fn now(&self) -> Duration {
        // A scheduler's thread is named after its model, the runtime's own after what it does.
        let mine = thread::current();
        let name = mine.name().unwrap_or_default();
        if name.starts_with("plimsoll-") && name != "plimsoll-sweep" {
            let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
            let held = self.moved.wait_timeout_while(left, RELEASE, |left| *left == Some(0));
            let (mut left, _) = held.unwrap_or_else(PoisonError::into_inner);
            *left = left.and_then(|left| left.checked_sub(1));
        }
        self.time.now()
    }
}
