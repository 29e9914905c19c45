//! Whose turn it is to load a model again: one thread at a time, while others wait for what comes of it.

use crate::error::{Error, ErrorCode, Result};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

/// Who waits looks so often whether it still wants to: a load takes long beside that.
const LOOK: Duration = Duration::from_millis(10);

#[derive(Debug, Default)]
struct State {
    by: Option<ThreadId>,
    /// Loads that have ended.
    ended: u64,
    /// The last of them, if it failed, and why.
    failed: Option<(u64, Error)>,
}

/// The line in front of a model's load.
#[derive(Debug, Default)]
pub(crate) struct Loads {
    state: Mutex<State>,
    moved: Condvar,
}

/// The turn, until dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    loads: &'a Loads,
    /// Loads that had ended when its holder began to wait.
    seen: u64,
}

impl Loads {
    /// Waits for the turn, as long as `over` does not say that nobody waits any more: then it is `None`.
    ///
    /// # Errors
    /// `Reentrant` on the very thread that loads, in its progress callback.
    pub(crate) fn wait(&self, over: &dyn Fn() -> bool) -> Result<Option<Turn<'_>>> {
        let me = thread::current().id();
        let mut state = self.lock();
        let seen = state.ended;
        while let Some(by) = state.by {
            if by == me {
                let text = "the model is being loaded on this very thread";
                return Err(Error::new(ErrorCode::Reentrant, text));
            }
            if over() {
                return Ok(None);
            }
            state = self.moved.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.by = Some(me);
        Ok(Some(Turn { loads: self, seen }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each critical section leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn<'_> {
    /// Takes note of how a load has ended. That its caller stopped it says nothing to others.
    pub(crate) fn ended(&self, error: Option<&Error>) {
        let mut state = self.loads.lock();
        state.ended += 1;
        let error = error.filter(|error| error.code() != ErrorCode::LoadCancelled);
        state.failed = error.map(|error| (state.ended, error.clone()));
    }

    /// Why the load failed that it waited for.
    pub(crate) fn shared_failure(&self) -> Option<Error> {
        let state = self.loads.lock();
        state.failed.as_ref().filter(|(at, _)| *at > self.seen).map(|(_, error)| error.clone())
    }

    /// Why the last load failed.
    pub(crate) fn last_failure(&self) -> Option<Error> {
        self.loads.lock().failed.as_ref().map(|(_, error)| error.clone())
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.loads.lock().by = None;
        self.loads.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn never() -> bool {
        false
    }

    fn fail() -> Error {
        Error::new(ErrorCode::ModelNotFound, "no file")
    }

    #[test]
    fn who_waits_for_a_load_shares_its_failure_and_who_comes_later_does_not() {
        let loads = Loads::default();
        let turn = loads.wait(&never).unwrap().unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| {
                let turn = loads.wait(&never).unwrap().unwrap();
                turn.shared_failure()
            });
            thread::sleep(3 * LOOK);
            assert!(!waits.is_finished());
            turn.ended(Some(&fail()));
            drop(turn);
            assert_eq!(waits.join().unwrap().map(|error| error.code()), Some(ErrorCode::ModelNotFound));
        });
        let turn = loads.wait(&never).unwrap().unwrap();
        assert!(turn.shared_failure().is_none() && turn.last_failure().is_some());
        turn.ended(None);
        assert!(turn.last_failure().is_none());
    }

    #[test]
    fn a_load_that_was_stopped_fails_nobody_else() {
        let loads = Loads::default();
        let turn = loads.wait(&never).unwrap().unwrap();
        turn.ended(Some(&Error::new(ErrorCode::LoadCancelled, "no")));
        assert!(turn.last_failure().is_none());
    }

    #[test]
    fn who_would_wait_for_itself_is_refused_and_who_gives_up_is_told() {
        let loads = Loads::default();
        let _turn = loads.wait(&never).unwrap().unwrap();
        assert_eq!(loads.wait(&never).unwrap_err().code(), ErrorCode::Reentrant);
        thread::scope(|scope| {
            let waits = scope.spawn(|| loads.wait(&|| true).map(|turn| turn.is_none()));
            assert!(waits.join().unwrap().unwrap());
        });
    }
}
