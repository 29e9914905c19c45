//! How many compute threads of the process are awake.
//!
//! Each pool knows its own threads only, but the cores are shared: two models that decode at once, each with a thread per
//! core, would spin in each other's way. So all pools count here who runs tasks or spins. A caller always counts, as it
//! computes anyway; a worker is woken only while there is room. It is the one state that models of a process share.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;

static AWAKE: AtomicUsize = AtomicUsize::new(0);

/// Threads that the process may run at once.
pub(super) fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| available_parallelism().map_or(1, usize::from))
}

/// Whether more threads are awake than there are cores, so that one that only waits is in the way.
pub(super) fn is_crowded() -> bool {
    AWAKE.load(Ordering::Relaxed) > cores()
}

/// One thread that counts as awake, until this is dropped.
#[derive(Debug)]
pub(super) struct Awake(());

impl Awake {
    /// Counts a thread in any case.
    pub(super) fn count() -> Self {
        AWAKE.fetch_add(1, Ordering::Relaxed);
        Awake(())
    }

    /// Counts a thread if fewer than `most` are awake.
    pub(super) fn if_below(most: usize) -> Option<Self> {
        let below = |awake| (awake < most).then_some(awake + 1);
        AWAKE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).ok().map(|_| Awake(()))
    }

    /// Leaves the count to a thread that takes it over with [`Awake::taken_over`].
    pub(super) fn hand_over(self) {
        std::mem::forget(self);
    }

    /// The count that was handed over.
    pub(super) fn taken_over() -> Self {
        Awake(())
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        AWAKE.fetch_sub(1, Ordering::Relaxed);
    }
}
