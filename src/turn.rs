//! Whose turn it is in a session: one request at a time, in arrival order.

use crate::error::{Error, ErrorCode, Result};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// Who holds the turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// A blocking call, which will end by itself.
    Call,
    /// A stream, which ends only if its reader goes on reading.
    Stream,
}

#[derive(Debug, Default)]
struct Line {
    next: u64,
    serving: u64,
    holder: Option<(Holder, ThreadId)>,
}

/// The line in front of a session.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    line: Mutex<Line>,
    moved: Condvar,
}

/// The turn, until dropped.
#[derive(Debug)]
pub(crate) struct Turn(Arc<Turns>);

impl Turns {
    /// Waits for the turn. Behind a call it waits; behind an open stream it does not, since the reader of that stream may
    /// be this very thread.
    ///
    /// # Errors
    /// `Reentrant` inside the holder's own callback, `Busy` behind a stream.
    pub(crate) fn take(self: &Arc<Self>, as_what: Holder) -> Result<Turn> {
        let me = thread::current().id();
        let mut line = self.lock();
        let place = line.next;
        let refused = match line.holder {
            Some((Holder::Stream, _)) => Some((ErrorCode::Busy, "a stream of this session is open")),
            Some((Holder::Call, holder)) if holder == me => {
                Some((ErrorCode::Reentrant, "a request of this session runs on this very thread"))
            }
            _ => None,
        };
        if let Some((code, text)) = refused {
            return Err(Error::new(code, text));
        }
        line.next += 1;
        while line.serving != place {
            line = self.moved.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        line.holder = Some((as_what, me));
        Ok(Turn(Arc::clone(self)))
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        // Each critical section leaves the line whole.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut line = self.0.lock();
        line.serving += 1;
        line.holder = None;
        drop(line);
        self.0.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn turns_come_in_arrival_order() {
        let turns = Arc::new(Turns::default());
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = turns.take(Holder::Call).unwrap();
        let waiting: Vec<_> = (0..4)
            .map(|i| {
                let (mine, order) = (Arc::clone(&turns), Arc::clone(&order));
                let thread = thread::spawn(move || {
                    let _turn = mine.take(Holder::Call).unwrap();
                    order.lock().unwrap().push(i);
                });
                while turns.lock().next != i + 2 {
                    thread::sleep(Duration::from_millis(1));
                }
                thread
            })
            .collect();
        drop(first);
        waiting.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3]);
    }

    #[test]
    fn what_would_wait_for_itself_is_refused() {
        let turns = Arc::new(Turns::default());
        let turn = turns.take(Holder::Call).unwrap();
        assert_eq!(turns.take(Holder::Call).unwrap_err().code(), ErrorCode::Reentrant);
        drop(turn);
        let _stream = turns.take(Holder::Stream).unwrap();
        assert_eq!(turns.take(Holder::Call).unwrap_err().code(), ErrorCode::Busy);
    }
}
