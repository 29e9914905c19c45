//! Waiting awake, for a while.

use super::awake::is_crowded;
use std::time::{Duration, Instant};

/// How long a thread waits awake: more than the gaps between two runs of a step, and about what a sleep and a wake cost.
const PATIENCE: Duration = Duration::from_micros(50);

/// Turns between two looks at the clock. A turn is a pause, of 10 to 150 cycles.
const TURNS: u32 = 64;

/// One wait.
#[derive(Debug, Default)]
pub(super) struct Spin {
    turns: u32,
    since: Option<Instant>,
}

impl Spin {
    /// Pauses. False says that it is time to sleep: patience is at its end, or the core is wanted by another thread.
    #[inline]
    pub(super) fn turn(&mut self) -> bool {
        std::hint::spin_loop();
        self.turns += 1;
        if !self.turns.is_multiple_of(TURNS) {
            return true;
        }
        if is_crowded() {
            return false;
        }
        let now = Instant::now();
        now.duration_since(*self.since.get_or_insert(now)) < PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_ends() {
        let (start, mut spin) = (Instant::now(), Spin::default());
        while spin.turn() {}
        assert!(is_crowded() || start.elapsed() >= PATIENCE);
    }
}
