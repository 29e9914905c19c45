//! A lock for those who hold it for less time than a thread takes to fall asleep.

use super::{Mutex, MutexGuard};
use std::sync::PoisonError;

/// Looks at the lock before falling asleep: some ten microseconds, about what falling asleep and being woken take.
#[cfg(not(loom))]
const LOOKS: u32 = 60;
/// Hints to the processor between two looks, which take the lock's cache line from its holder.
#[cfg(not(loom))]
const PAUSES: u32 = 4;

/// Takes a lock that is held for a microsecond at most, poisoned or not. The standard library's looks again and again until it is
/// free, but falls asleep when someone else is first; where two threads take turns that is often, and each time the one who lets
/// go has to wake the other. This looks a few times more before it gives in to sleep.
pub fn lock_soon<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    #[cfg(not(loom))]
    for _ in 0..LOOKS {
        match mutex.try_lock() {
            Ok(guard) => return guard,
            Err(std::sync::TryLockError::Poisoned(error)) => return error.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => {
                (0..PAUSES).for_each(|_| std::hint::spin_loop());
            }
        }
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn it_excludes_waits_and_takes_what_is_poisoned() {
        let count = Arc::new(Mutex::new(0_u32));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..1_000).for_each(|_| *lock_soon(&count) += 1));
            }
        });
        let held = lock_soon(&count);
        let waits = std::thread::scope(|scope| {
            let waits = scope.spawn(|| *lock_soon(&count));
            // Longer than anyone looks.
            std::thread::sleep(std::time::Duration::from_millis(20));
            drop(held);
            waits.join()
        });
        assert_eq!(waits.ok(), Some(4_000));
        let poisoned = Arc::clone(&count);
        let panicked = std::thread::spawn(move || {
            let _held = lock_soon(&poisoned);
            std::panic::resume_unwind(Box::new(()));
        });
        assert!(panicked.join().is_err() && count.is_poisoned());
        assert_eq!(*lock_soon(&count), 4_000);
    }
}
