//! How much of their batches engines may use while memory is short.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// A share of every engine's batch, set by the guard and read by engines before each step: fewer requests at once hold fewer KV
/// blocks at once. Requests that run go on; those that wait start as others end.
pub struct Throttle(AtomicU32);

/// The whole batch.
const WHOLE: u32 = 1000;

impl Throttle {
    /// Sets the share: 1 is the whole batch, 0 one request at a time. What is no number counts as 0.
    pub fn set(&self, share: f64) {
        // From 0 to WHOLE, by the clamp; a NaN becomes 0.
        self.0.store((share.clamp(0.0, 1.0) * f64::from(WHOLE)) as u32, Ordering::Relaxed);
    }

    /// Of a batch of at most `most` requests, how many may run now: at least one.
    pub fn of(&self, most: usize) -> usize {
        let share = self.0.load(Ordering::Relaxed);
        // In 64 bits: a batch is far below 2^32.
        let allowed = (most as u64).saturating_mul(u64::from(share)) / u64::from(WHOLE);
        usize::try_from(allowed).unwrap_or(most).max(1)
    }
}

impl Default for Throttle {
    /// The whole batch.
    fn default() -> Self {
        Throttle(AtomicU32::new(WHOLE))
    }
}

impl fmt::Debug for Throttle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Throttle({}/{WHOLE})", self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_never_stops_everything() {
        let throttle = Throttle::default();
        assert_eq!([0, 1, 16, 128].map(|most| throttle.of(most)), [1, 1, 16, 128]);
        for (share, expected) in [(0.5, [1, 1, 8, 64]), (0.25, [1, 1, 4, 32]), (0.0, [1, 1, 1, 1])] {
            throttle.set(share);
            assert_eq!([0, 1, 16, 128].map(|most| throttle.of(most)), expected);
        }
        throttle.set(f64::NAN);
        assert_eq!(throttle.of(16), 1);
        throttle.set(7.0);
        assert_eq!(throttle.of(16), 16);
    }
}
