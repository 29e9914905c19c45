//! An alarm: what a thread sleeps by until it is rung, or some time has passed.

#[cfg(not(loom))]
pub use real::Alarm;

#[cfg(loom)]
pub use model::Alarm;

#[cfg(not(loom))]
mod real {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::{self, Thread};
    use std::time::Duration;

    /// Wakes the thread that made it. Ringing takes no lock and allocates nothing, so that a signal handler may do it.
    #[derive(Clone, Debug)]
    pub struct Alarm {
        rung: Arc<AtomicBool>,
        thread: Thread,
    }

    impl Alarm {
        /// An alarm for this thread.
        pub fn new() -> Self {
            Alarm { rung: Arc::default(), thread: thread::current() }
        }

        /// Wakes the thread, or lets its next sleep end at once.
        pub fn ring(&self) {
            self.rung.store(true, Ordering::Release);
            self.thread.unpark();
        }

        /// Sleeps until it is rung, at most for so long; may return earlier. For the thread that made it.
        pub fn sleep(&self, most: Duration) {
            // Whoever parks this thread for other reasons may take the wake-up of a ring, but not its flag.
            if !self.rung.swap(false, Ordering::Acquire) {
                thread::park_timeout(most);
            }
        }

        /// Whether it is the same alarm.
        pub fn is(&self, other: &Alarm) -> bool {
            Arc::ptr_eq(&self.rung, &other.rung)
        }
    }

    impl Default for Alarm {
        fn default() -> Self {
            Self::new()
        }
    }
}

#[cfg(loom)]
mod model {
    use loom::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    /// As the real one; time does not pass, so a sleep that nobody ends is a failure of the model.
    #[derive(Clone, Debug)]
    pub struct Alarm(Arc<(Mutex<bool>, Condvar)>);

    #[allow(clippy::unwrap_used)]
    impl Alarm {
        pub fn new() -> Self {
            Alarm(Arc::new((Mutex::new(false), Condvar::new())))
        }

        pub fn ring(&self) {
            *self.0.0.lock().unwrap() = true;
            self.0.1.notify_all();
        }

        pub fn sleep(&self, _most: Duration) {
            let mut rung = self.0.0.lock().unwrap();
            while !*rung {
                rung = self.0.1.wait(rung).unwrap();
            }
            *rung = false;
        }

        pub fn is(&self, other: &Alarm) -> bool {
            Arc::ptr_eq(&self.0, &other.0)
        }
    }

    impl Default for Alarm {
        fn default() -> Self {
            Self::new()
        }
    }
}
