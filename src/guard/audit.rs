//! Audit: proofs that the books add up, and that engines hold what was paid for. Everything is counted anew; for tests and
//! for whoever suspects something.

use super::books::State;
use super::models::Home;
use super::sessions::{Place, Sessions};
use super::{IntegrityError, MemoryGuard, Purpose};
use plimsoll_engine::{Engine, ModelId, Owner};

impl MemoryGuard {
    /// Proves that the books add up: owners make up what is used, nothing was booked over a limit or released twice, and the
    /// session table agrees with the ledger.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check_integrity(&self) -> Result<(), IntegrityError> {
        self.books.lock().check()
    }

    /// Compares what an engine holds with what the leases of its model and of its sessions pay for.
    ///
    /// They are equal whenever none of its requests waits or runs; meanwhile a grant may be ahead of what the engine has
    /// allocated from it, so that nothing is compared.
    ///
    /// # Errors
    /// [`IntegrityError::Unsettled`] when a session of the engine had a grant meanwhile, or is giving KV back that is freed and not
    /// yet released; else the first purpose of which the engine holds more or less.
    pub fn check_holdings(&self, model: ModelId, engine: &dyn Engine) -> Result<(), IntegrityError> {
        // The engine is asked without the lock, since it may call the guard; equal looks before and after show that nothing
        // moved in between.
        let before = self.books.lock().account(model, engine);
        let held = engine.holdings();
        let booked = self.books.lock().account(model, engine);
        let moving = booked.busy + booked.leaving;
        if booked != before || booked.busy > 0 {
            return Err(IntegrityError::Unsettled { moving });
        }
        let compare = |purpose, booked: u64, held: u64| match booked == held {
            true => Ok(()),
            // Freed, and not yet released.
            false if moving > 0 => Err(IntegrityError::Unsettled { moving }),
            false => Err(IntegrityError::Holdings { purpose, booked, held }),
        };
        compare(Purpose::Weights, booked.weights, held.weights)?;
        compare(Purpose::Workspace, booked.workspace, held.workspace)?;
        compare(Purpose::Kv, booked.kv, held.kv)
    }
}

/// What the ledger has booked for an engine, and how often that has changed.
#[derive(PartialEq, Eq)]
struct Account {
    weights: u64,
    workspace: u64,
    kv: u64,
    /// Sessions with a grant, and loads of the model.
    busy: u64,
    /// Sessions that give KV back, and the model where it is being unloaded.
    leaving: u64,
    /// Sessions, and what happened to them: alike only if no request began and no KV was taken in between.
    sessions: u64,
    requests: u64,
    evictions: u64,
}

impl State {
    fn account(&self, model: ModelId, engine: &dyn Engine) -> Account {
        let mut account = Account {
            weights: self.ledger.owner(Owner::Weights(model)),
            workspace: self.ledger.owner(Owner::Workspace(model)),
            kv: 0,
            busy: 0,
            leaving: 0,
            sessions: 0,
            requests: 0,
            evictions: 0,
        };
        if let Some(model) = self.sessions.models.get(model) {
            account.busy += model.loads + u64::from(matches!(model.home, Home::Due));
            account.leaving += u64::from(matches!(model.home, Home::Leaving(_)));
        }
        for session in self.sessions.iter().filter(|s| std::ptr::addr_eq(s.engine.as_ptr(), engine)) {
            account.kv = account.kv.saturating_add(session.kv);
            account.busy += u64::from(session.place == Place::Busy);
            account.leaving += u64::from(session.place == Place::Leaving);
            account.sessions += 1;
            account.requests = account.requests.wrapping_add(session.requests);
            account.evictions = account.evictions.wrapping_add(session.evictions);
        }
        account
    }

    /// Proves the ledger, the table, and that they agree.
    fn check(&self) -> Result<(), IntegrityError> {
        self.ledger.check()?;
        self.sessions.check()?;
        self.sessions.iter().try_for_each(|session| {
            let (table, ledger) = (session.kv, self.ledger.owner(Owner::Kv(session.key)));
            if table == ledger {
                Ok(())
            } else {
                Err(IntegrityError::Session { session: session.key, table, ledger })
            }
        })
    }
}

impl Sessions {
    /// Proves that lists, sums and places agree with the sessions themselves.
    fn check(&self) -> Result<(), IntegrityError> {
        let count = |what, kept: u64, counted: u64| {
            if kept == counted { Ok(()) } else { Err(IntegrityError::Count { what, kept, counted }) }
        };
        let at = |place| self.iter().filter(move |session| session.place == place);
        for (what, list, place) in [
            ("idle sessions", &self.idle, Place::Idle),
            ("leaving sessions", &self.leaving, Place::Leaving),
            ("busy sessions", &self.busy, Place::Busy),
        ] {
            count(what, self.list(list).count() as u64, at(place).count() as u64)?;
            count(what, self.list(list).filter(|session| session.place == place).count() as u64, list.len())?;
        }
        count("open sessions", self.open as u64, self.iter().filter(|s| !s.closed).count() as u64)?;
        count("sessions by key", self.index.len() as u64, self.iter().count() as u64)?;
        count("kv of empty sessions", 0, at(Place::Empty).map(|session| session.kv).sum())?;
        count("idle sessions without kv", 0, at(Place::Idle).filter(|s| s.kv == 0).count() as u64)?;
        count(
            "reclaims",
            at(Place::Leaving).count() as u64,
            self.iter().filter(|s| s.reclaim.is_some()).count() as u64,
        )?;
        self.models.iter().try_for_each(|model| {
            let busy = at(Place::Busy).filter(|session| session.model == Some(model.id));
            count("busy sessions of a model", model.busy, busy.count() as u64)
        })?;
        self.evictable.iter().try_for_each(|&(region, bytes)| {
            let counted = at(Place::Idle).chain(at(Place::Leaving)).filter(|s| s.region == region);
            count("evictable kv", bytes, counted.map(|session| session.kv).sum())
        })
    }
}
