//! A bell: how one reader sleeps until any of several rings has something for it.

use crate::sync::{Condvar, Mutex, MutexGuard};
use std::fmt;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// Rung by those who bring something, heard by the one who looks after all of them. It remembers: what came after the last
/// look ends the next wait at once.
pub struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    /// A bell that has not been rung.
    pub fn new() -> Self {
        Bell { rung: Mutex::new(false), heard: Condvar::new() }
    }

    /// Ends the wait, or the next one.
    pub fn ring(&self) {
        let before = std::mem::replace(&mut *self.lock(), true);
        if !before {
            self.heard.notify_one();
        }
    }

    /// Waits until it has been rung since the last wait, at most `timeout` (for ever when `None`). Whether it was.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let mut rung = self.lock();
        while !*rung {
            rung = match until {
                None => self.heard.wait(rung).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return false;
                    }
                    self.heard.wait_timeout(rung, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        *rung = false;
        true
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        // A flag is whole whatever happened to its last holder.
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Bell {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn it_is_heard_once_whenever_it_was_rung() {
        let bell = Arc::new(Bell::new());
        assert!(!bell.wait(Some(Duration::ZERO)));
        bell.ring();
        bell.ring();
        assert!(bell.wait(None));
        assert!(!bell.wait(Some(Duration::from_millis(1))));
        let other = Arc::clone(&bell);
        let thread = std::thread::spawn(move || other.ring());
        assert!(bell.wait(None));
        thread.join().unwrap();
    }
}
