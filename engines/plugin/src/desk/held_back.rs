//! Answers that the plug-in's queue has no room for. All answers of a request take one place in it together, and the plug-in counts
//! each: those that come with another's place wait here until there is one, before any new request.

use super::Desk;
use plimsoll_engine::{EngineError, Estimate, FinishReason, Job, Region};
use std::time::Duration;

/// A job that waits for room in the plug-in's queue.
pub(crate) struct HeldBack {
    pub(crate) job: Job,
    pub(crate) price: Estimate,
    pub(crate) submitted: Duration,
}

impl Desk {
    /// Whether any job is held back.
    pub(crate) fn holds_back(&self) -> bool {
        let state = self.lock();
        state.resuming || !state.held_back.is_empty()
    }

    /// Holds a job back, behind the others unless it is the one that was next.
    pub(crate) fn hold_back(&self, held: HeldBack, was_next: bool) {
        let mut state = self.lock();
        if state.closed {
            drop(state);
            return self.turn_away(held.job, FinishReason::Failed(EngineError::Closed));
        }
        if state.held_back.try_reserve(1).is_err() {
            drop(state);
            let bytes = size_of::<HeldBack>() as u64;
            let error = EngineError::OutOfMemory { region: Region::Host, bytes };
            return self.turn_away(held.job, FinishReason::Failed(error));
        }
        if was_next {
            state.held_back.push_front(held)
        } else {
            state.held_back.push_back(held)
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Whether somebody should bring those that are held back to the plug-in: nobody does.
    pub(crate) fn resume(&self) -> bool {
        let mut state = self.lock();
        let idle = !state.resuming && !state.held_back.is_empty();
        state.resuming |= idle;
        idle
    }

    /// Nobody does any longer.
    pub(crate) fn resumed(&self) {
        self.lock().resuming = false;
        self.changed.notify_all();
    }

    /// The one that is next.
    pub(crate) fn next_held_back(&self) -> Option<HeldBack> {
        self.lock().held_back.pop_front()
    }

    /// Ends those that were cancelled, or are late.
    pub(crate) fn lapse(&self) {
        let now = self.now();
        let lapsed = |held: &HeldBack| {
            let Job { request, cancel, .. } = &held.job;
            cancel.is_cancelled() || request.deadline.is_some_and(|deadline| deadline <= now)
        };
        loop {
            let mut state = self.lock();
            let Some(at) = state.held_back.iter().position(lapsed) else { return };
            let Some(HeldBack { job, .. }) = state.held_back.remove(at) else { return };
            drop(state);
            let cancelled = job.cancel.is_cancelled();
            self.turn_away(job, if cancelled { FinishReason::Cancelled } else { FinishReason::Deadline });
        }
    }

    /// The plug-in is going: none of them will run.
    pub(super) fn let_go(&self) {
        while let Some(HeldBack { job, .. }) = self.next_held_back() {
            self.turn_away(job, FinishReason::Failed(EngineError::Closed));
        }
    }
}
