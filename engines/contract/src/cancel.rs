//! A flag that asks for a request to end.

use crate::sync::atomic::{AtomicBool, Ordering, fence};
use crate::sync::{Alarm, Mutex};
use std::sync::{Arc, PoisonError, TryLockError};

/// A shared, idempotent request to stop. Cancelling never blocks; engines look at it before every step, and who sleeps
/// meanwhile is woken.
#[derive(Clone, Debug, Default)]
pub struct Cancel {
    own: Arc<Flag>,
    /// The flags above, up to the first: a raised one counts as this one's own.
    above: Vec<Arc<Flag>>,
}

#[derive(Debug, Default)]
struct Flag {
    raised: AtomicBool,
    /// Whom to wake. Who raises the flag may be a signal handler, on a thread that holds this very lock: so it only tries
    /// the lock, and whoever holds it looks at the flag once more when it has let go.
    sleepers: Mutex<Vec<Alarm>>,
}

/// Rings an alarm when the flag is raised, until dropped.
#[derive(Debug)]
pub struct Wake {
    flags: Vec<Arc<Flag>>,
    alarm: Alarm,
}

impl Cancel {
    /// A flag that is not yet raised.
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag of its own that also counts as raised when this one does. Raising the child leaves this one alone.
    pub fn child(&self) -> Self {
        Cancel { own: Arc::default(), above: self.flags().cloned().collect() }
    }

    /// Raises the flag. It cannot be lowered. Any thread may, and a signal handler.
    pub fn cancel(&self) {
        self.own.raised.store(true, Ordering::Release);
        self.own.wake();
    }

    /// Whether the flag is raised.
    pub fn is_cancelled(&self) -> bool {
        self.flags().any(|flag| flag.raised.load(Ordering::Acquire))
    }

    /// From now on the alarm is rung when the flag is raised. Look at the flag after this call and before sleeping.
    pub fn wake(&self, alarm: &Alarm) -> Wake {
        let flags: Vec<_> = self.flags().cloned().collect();
        for flag in &flags {
            flag.change(|sleepers| sleepers.push(alarm.clone()));
        }
        Wake { flags, alarm: alarm.clone() }
    }

    fn flags(&self) -> impl Iterator<Item = &Arc<Flag>> {
        self.above.iter().chain([&self.own])
    }
}

impl Flag {
    fn wake(&self) {
        // Orders the flag before the lock, as `change` orders the lock before the flag: one of the two sees the other.
        fence(Ordering::SeqCst);
        match self.sleepers.try_lock() {
            Ok(sleepers) => sleepers.iter().for_each(Alarm::ring),
            Err(TryLockError::Poisoned(sleepers)) => sleepers.into_inner().iter().for_each(Alarm::ring),
            Err(TryLockError::WouldBlock) => {}
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Alarm>)) {
        change(&mut self.sleepers.lock().unwrap_or_else(PoisonError::into_inner));
        fence(Ordering::SeqCst);
        if self.raised.load(Ordering::Acquire) {
            self.wake();
        }
    }
}

impl Drop for Wake {
    fn drop(&mut self) {
        for flag in &self.flags {
            flag.change(|sleepers| {
                if let Some(at) = sleepers.iter().position(|alarm| alarm.is(&self.alarm)) {
                    sleepers.swap_remove(at);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;
    use std::time::{Duration, Instant};

    #[test]
    fn a_child_follows_its_parent_and_not_the_other_way() {
        let parent = Cancel::new();
        let (child, sibling) = (parent.child(), parent.child());
        let grandchild = sibling.child();
        child.cancel();
        assert!(child.is_cancelled() && !parent.is_cancelled() && !sibling.is_cancelled());
        assert!(!grandchild.is_cancelled());
        parent.cancel();
        assert!(sibling.is_cancelled() && grandchild.is_cancelled());
    }

    #[test]
    fn sleepers_are_woken_by_their_own_flag_and_by_those_above() {
        let parent = Cancel::new();
        let (child, other) = (parent.child(), parent.child());
        let sleep = |cancel: Cancel| {
            thread::spawn(move || {
                let alarm = Alarm::new();
                let _wake = cancel.wake(&alarm);
                while !cancel.is_cancelled() {
                    alarm.sleep(Duration::from_secs(60));
                }
            })
        };
        let started = Instant::now();
        let (first, second) = (sleep(child.clone()), sleep(other));
        child.cancel();
        first.join().unwrap();
        assert!(!second.is_finished());
        parent.cancel();
        second.join().unwrap();
        assert!(started.elapsed() < Duration::from_secs(30));
        assert!(parent.own.sleepers.lock().unwrap().is_empty(), "who is awake is forgotten");
    }
}
