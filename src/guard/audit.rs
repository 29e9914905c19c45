//! Audit: proofs that the books add up, and that engines hold what was paid for. Everything is counted anew; for tests and
//! for whoever suspects something.

use super::books::State;
use super::sessions::{Place, Session, Sessions};
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

    /// Compares what an engine holds with what the leases of its model and of its sessions pay for. They are equal
    /// whenever none of its requests is waiting or running.
    ///
    /// # Errors
    /// The first purpose of which the engine holds more or less.
    pub fn check_holdings(&self, model: ModelId, engine: &dyn Engine) -> Result<(), IntegrityError> {
        let held = engine.holdings();
        let state = self.books.lock();
        let weights = state.ledger.owner(Owner::Weights(model));
        let workspace = state.ledger.owner(Owner::Workspace(model));
        let kv = state.sessions.kv_of(engine);
        drop(state);
        let compare = |purpose, booked: u64, held: u64| {
            if booked == held { Ok(()) } else { Err(IntegrityError::Holdings { purpose, booked, held }) }
        };
        compare(Purpose::Weights, weights, held.weights)?;
        compare(Purpose::Workspace, workspace, held.workspace)?;
        compare(Purpose::Kv, kv, held.kv)
    }
}

impl State {
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
    /// KV of one engine's sessions.
    fn kv_of(&self, engine: &dyn Engine) -> u64 {
        let its = |session: &&Session| std::ptr::addr_eq(session.engine.as_ptr(), engine);
        self.iter().filter(its).fold(0, |sum, session| sum.saturating_add(session.kv))
    }

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
        self.evictable.iter().try_for_each(|&(region, bytes)| {
            let counted = at(Place::Idle).chain(at(Place::Leaving)).filter(|s| s.region == region);
            count("evictable kv", bytes, counted.map(|session| session.kv).sum())
        })
    }
}
