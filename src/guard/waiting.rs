//! Waiting for bytes: a request in the line, looked at by its caller or slept for.

use super::admission::{Asker, Decided};
use super::line::{Place, Waiter};
use super::quote::Quote;
use super::verdict::{Ask, Decision, Reason, Verdict};
use super::{Grant, MemoryGuard, Seat};
use plimsoll_engine::sync::Alarm;
use plimsoll_engine::{Cancel, EngineError, SessionKey};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Who waits for a late engine looks again after so long.
const LATE: Duration = Duration::from_millis(50);

/// What became of a request that may wait.
#[derive(Debug)]
pub enum Queued {
    /// It was decided at once.
    Decided(Verdict, Option<Grant>),
    /// It waits. The verdict is the refusal that it would have been, with its place in the line.
    Waits(Verdict, Waiting),
}

/// A request that waits in the guard's line. Dropped, it leaves the line.
pub struct Waiting {
    guard: Arc<MemoryGuard>,
    session: SessionKey,
    place: Place,
    ask: Ask,
    /// On the guard's clock.
    since: Duration,
    until: Duration,
    /// Whether an engine had not given back, in time, what would have been enough.
    late: bool,
}

impl MemoryGuard {
    /// As [`MemoryGuard::admit`], but a request that is refused for now joins the line and waits there, at most for `wait`.
    /// It returns like `admit`; whoever called it looks at what became of the request with [`Waiting::poll`].
    ///
    /// With no time to wait it is `admit`. When [`super::GuardConfig::queue`] requests wait already, it is refused with
    /// [`Reason::QueueFull`].
    ///
    /// # Errors
    /// As [`MemoryGuard::admit`].
    pub fn enqueue(self: &Arc<Self>, seat: &Seat, ask: &Ask, wait: Duration) -> Result<Queued, EngineError> {
        let asker = Asker::newcomer(seat, ask);
        let least = match wait.is_zero() {
            true => None,
            false => Quote::new(asker.engine, ask)?.least()?,
        };
        let (mut state, verdict) = match self.decide(&asker)? {
            Decided::Granted(verdict, grant) => return Ok(Queued::Decided(verdict, Some(grant))),
            Decided::Refused(state, verdict) => (state, verdict),
        };
        let Some(least) = least.filter(|_| verdict.may_wait()) else {
            return Ok(Queued::Decided(state.refuse(verdict), None));
        };
        if state.line.len() >= self.config.queue {
            let verdict = Verdict { reason: Reason::QueueFull, ..verdict };
            return Ok(Queued::Decided(state.refuse(verdict), None));
        }
        let since = self.clock.now();
        // The lock is the one under which it was refused: no news are missed in between. A late engine's answer may have come
        // meanwhile, so that the first look is never in vain.
        let place = state.line.join(
            ask.priority,
            Waiter {
                session: seat.key,
                region: seat.engine.capabilities().kv_region,
                least,
                answers: ask.count(),
                degradable: ask.degradable,
                rung: verdict.reason == Reason::Reclaim,
                alarm: None,
            },
        );
        drop(state);
        let until = since.saturating_add(wait);
        let guard = Arc::clone(self);
        let late = verdict.reason == Reason::Reclaim;
        let waiting = Waiting { guard, session: seat.key, place, ask: *ask, since, until, late };
        Ok(Queued::Waits(verdict, waiting))
    }

    /// As [`MemoryGuard::admit`], but a request that is refused for now waits, on this thread, until it is granted, `wait` is
    /// over, or `cancel` is raised. What refuses it then are the numbers of that moment.
    ///
    /// # Errors
    /// As [`MemoryGuard::admit`].
    pub fn admit_waiting(
        self: &Arc<Self>,
        seat: &Seat,
        ask: &Ask,
        wait: Duration,
        cancel: &Cancel,
    ) -> Result<(Verdict, Option<Grant>), EngineError> {
        match self.enqueue(seat, ask, wait)? {
            Queued::Decided(verdict, grant) => Ok((verdict, grant)),
            Queued::Waits(_, waiting) => waiting.wait(seat, cancel),
        }
    }
}

impl Waiting {
    /// What became of the request, if there are news for it: a grant, or a refusal when its time is over or it never fits any
    /// more. After that the request is no longer in the line. It returns at once, as [`MemoryGuard::admit`] does, and without
    /// news it costs a look at the lock. Where what others use of the machine counts, it takes a reading when the last one is old.
    ///
    /// # Errors
    /// As [`MemoryGuard::admit`]; the seat is another one; it was decided before, or its session was closed.
    pub fn poll(&mut self, seat: &Seat) -> Result<Option<(Verdict, Option<Grant>)>, EngineError> {
        let now = self.guard.clock.now();
        self.guard.refresh_at(now);
        let over = now >= self.until;
        {
            let mut state = self.guard.books.lock();
            let waiter = state.line.get_mut(self.place).filter(|_| seat.key == self.session);
            let waiter =
                waiter.ok_or_else(|| EngineError::Invalid("the request does not wait".to_owned()))?;
            if !std::mem::take(&mut waiter.rung) && !over {
                return Ok(None);
            }
        }
        self.look(seat, over)
    }

    /// Leaves the line without a grant: a refusal with the numbers of this moment.
    ///
    /// # Errors
    /// As [`MemoryGuard::admit`].
    pub fn cancel(self, seat: &Seat) -> Result<Verdict, EngineError> {
        self.refuse(seat)
    }

    /// Whether there are news that were not looked at.
    #[cfg(test)]
    pub(super) fn has_news(&self) -> bool {
        self.guard.books.lock().line.get_mut(self.place).is_some_and(|waiter| waiter.rung)
    }

    /// When it is over, on the guard's clock.
    pub fn until(&self) -> Duration {
        self.until
    }

    fn refuse(&self, seat: &Seat) -> Result<Verdict, EngineError> {
        let foreseen = self.guard.foresee(&self.asker(seat));
        let mut state = self.guard.books.lock();
        state.line.leave(self.place);
        state.ring();
        let (decision, reason) = (Decision::Reject, Reason::Cancelled);
        let verdict = Verdict { decision, reason, granted_tokens: 0, position: 0, ..foreseen? };
        Ok(state.refuse(verdict))
    }

    fn asker<'a>(&'a self, seat: &'a Seat) -> Asker<'a> {
        let waited = self.guard.clock.now().saturating_sub(self.since);
        Asker { engine: &*seat.engine, key: self.session, ask: &self.ask, place: self.place, waited }
    }

    fn look(&mut self, seat: &Seat, last: bool) -> Result<Option<(Verdict, Option<Grant>)>, EngineError> {
        match self.guard.decide(&self.asker(seat))? {
            Decided::Granted(verdict, grant) => Ok(Some((verdict, Some(grant)))),
            Decided::Refused(mut state, verdict) if verdict.may_wait() && !last => {
                // An engine that is late may answer without giving anything back, of which nobody is told.
                self.late = verdict.reason == Reason::Reclaim;
                let waiter = state.line.get_mut(self.place).filter(|_| self.late);
                waiter.into_iter().for_each(|waiter| waiter.rung = true);
                Ok(None)
            }
            Decided::Refused(mut state, verdict) => {
                state.line.leave(self.place);
                // Who stood behind may pass now.
                state.ring();
                Ok(Some((state.refuse(verdict), None)))
            }
        }
    }

    /// Sleeps until it is granted, its time is over, it never fits any more, or `cancel` is raised.
    ///
    /// # Errors
    /// As [`Waiting::poll`].
    pub fn wait(mut self, seat: &Seat, cancel: &Cancel) -> Result<(Verdict, Option<Grant>), EngineError> {
        let most = self.until.saturating_sub(self.guard.clock.now());
        let until = Instant::now().checked_add(most);
        let alarm = Alarm::new();
        let _wake = cancel.wake(&alarm);
        if let Some(waiter) = self.guard.books.lock().line.get_mut(self.place) {
            waiter.alarm = Some(alarm.clone());
        }
        loop {
            if cancel.is_cancelled() {
                return self.refuse(seat).map(|verdict| (verdict, None));
            }
            if let Some(decided) = self.poll(seat)? {
                return Ok(decided);
            }
            let left = until.map_or(most, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                // Over by this machine's clock, if not by the guard's.
                self.until = Duration::ZERO;
            } else {
                // Nobody tells of a late engine's answer without bytes, nor of what others do.
                let late = self.late.then_some(LATE);
                let naps = [late, self.guard.readings.age()].into_iter().flatten();
                alarm.sleep(naps.fold(left, Duration::min));
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = self.guard.books.lock();
        if state.line.leave(self.place) {
            state.ring();
        }
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Waiting(session {}, until {:?})", self.session.0, self.until)
    }
}
