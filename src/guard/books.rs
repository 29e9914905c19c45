//! The guard's one lock and what is behind it.
//!
//! Nothing here calls an engine or drops a lease while the lock is held: either could come back for it.

use super::ledger::{Ledger, RegionBook};
use super::line::{For, Line, Place as InLine, Waiter};
use super::models::Model;
use super::pool::Pool as IdleMemory;
use super::room::{Pool, Room};
use super::sessions::{Place, Sessions, Settled, Wait};
use super::stats::Tally;
use super::{Levels, Pressure, Purpose, Refusal, RefusalCause};
use plimsoll_engine::sync::{Condvar, Mutex, MutexGuard, lock_soon};
use plimsoll_engine::{Accounts, Estimate, Lease, Owner, Region, SessionKey};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// What a request is taken to last before any has ended.
const FIRST_GUESS: Duration = Duration::from_secs(1);
/// Advice never says "at once".
const SHORTEST_RETRY: Duration = Duration::from_millis(10);
/// Weight of history in the moving average of durations: the last request counts for an eighth.
const HISTORY: u32 = 7;

/// Ledger and sessions under one lock. Leases release to it, from any thread. On cache lines of its own: the count of those who
/// have it, which each lease changes, lies before it.
#[repr(align(128))]
pub(super) struct Books {
    state: Mutex<State>,
    released: Condvar,
}

/// What the lock protects.
pub(super) struct State {
    pub(super) ledger: Ledger,
    pub(super) sessions: Sessions,
    pub(super) tally: Tally,
    /// Requests that wait.
    pub(super) line: Line,
    /// Most KV of all sessions.
    kv_limit: u64,
    /// Times that bytes came back: who waits for bytes waits for it to change.
    releases: u64,
    waiters: usize,
    last_request: u64,
    mean_duration: Duration,
    /// Bytes of conversations.
    pub(super) talk: u64,
}

impl Books {
    pub(super) fn new(kv_limit: u64) -> Self {
        let state = State {
            ledger: Ledger::new(),
            sessions: Sessions::new(),
            tally: Tally::default(),
            line: Line::default(),
            kv_limit,
            releases: 0,
            waiters: 0,
            last_request: 0,
            mean_duration: FIRST_GUESS,
            talk: 0,
        };
        Books { state: Mutex::new(state), released: Condvar::new() }
    }

    /// Takes the lock.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section panics between two changes that belong together.
        lock_soon(&self.state)
    }

    /// The lease over bytes that were just booked.
    pub(super) fn issue(self: &Arc<Self>, region: Region, owner: Owner, bytes: u64) -> Lease {
        Lease::issue(Arc::clone(self) as Arc<dyn Accounts>, region, owner, bytes)
    }

    /// The end of a session's request, and what it gives back, with what was booked for a model that nobody loads. Returns whether its session was closed meanwhile.
    pub(super) fn end(
        &self,
        session: SessionKey,
        back: [(Region, Owner, u64); 2],
        now: Duration,
        pool: &IdleMemory,
    ) -> bool {
        let mut state = self.lock();
        let mut released = false;
        for (region, owner, bytes) in back.into_iter().filter(|&(.., bytes)| bytes > 0) {
            state.unbook(region, owner, bytes);
            released = true;
        }
        let ended = state.sessions.end(session, now);
        if let Some((took, _)) = ended {
            state.learn(took);
        }
        let (unclaimed, found) = state.unbook_unclaimed(session, pool);
        self.tell(state, released || unclaimed);
        found.into_iter().for_each(|memory| pool.shelve(memory, false));
        matches!(ended, Some((_, true)))
    }

    /// Lets go of the lock, and tells those who wait: for bytes, or for a session to be free.
    pub(super) fn tell(&self, mut state: MutexGuard<'_, State>, released: bool) {
        state.releases = state.releases.wrapping_add(u64::from(released));
        state.ring();
        let wake = released && state.waiters > 0;
        drop(state);
        if wake {
            self.released.notify_all();
        }
    }

    /// Waits until the count of releases is no longer `seen`, or until `timeout` has passed. Returns the count.
    pub(super) fn wait_for_release(&self, seen: u64, timeout: Duration) -> u64 {
        let until = Instant::now().checked_add(timeout);
        let mut state = self.lock();
        state.waiters += 1;
        while state.releases == seen {
            let left = until.map_or(timeout, |until| until.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                break;
            }
            state = self.released.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.waiters -= 1;
        state.releases
    }
}

impl Accounts for Books {
    fn release(&self, region: Region, owner: Owner, bytes: u64) {
        let mut state = self.lock();
        state.unbook(region, owner, bytes);
        self.tell(state, true);
    }
}

impl State {
    /// Books bytes in the ledger and, if they are KV, in the session table.
    #[must_use]
    pub(super) fn book(&mut self, region: Region, owner: Owner, bytes: u64) -> bool {
        let booked = self.ledger.book(region, owner, bytes);
        if let (true, Owner::Kv(session)) = (booked && bytes > 0, owner) {
            self.sessions.booked(session, bytes);
        }
        booked
    }

    /// The reverse of [`State::book`].
    pub(super) fn unbook(&mut self, region: Region, owner: Owner, bytes: u64) {
        let taken = self.ledger.release(region, owner, bytes);
        if let (true, Owner::Kv(session)) = (taken > 0, owner) {
            self.sessions.released(session, taken);
        }
    }

    /// Takes in how full the regions are.
    pub(super) fn press(&mut self, levels: &Levels) {
        let sessions = &self.sessions;
        let idle = |book: &RegionBook| {
            let models = sessions.models.idle_bytes(book.region);
            let going = models.saturating_add(sessions.models.leaving_bytes(book));
            sessions.evictable(Some(book.region)).saturating_add(going)
        };
        self.ledger.press(levels, idle);
    }

    /// The level for KV in a region, which is not below the host's, or the highest of all.
    pub(super) fn pressure(&self, region: Option<Region>) -> Pressure {
        self.ledger.pressure(region)
    }

    /// There may be bytes for who waits.
    pub(super) fn ring(&mut self) {
        if !self.line.is_empty() {
            let (ledger, sessions) = (&self.ledger, &self.sessions);
            self.line.ring(|waiter| waits_for(ledger, sessions, waiter));
        }
    }

    /// Takes note of an answered reclaim. Returns the bytes that came back.
    pub(super) fn settle(&mut self, wait: &Wait) -> u64 {
        let Settled { freed, evicted } = self.sessions.settle(wait);
        self.tally.evictions += u64::from(evicted);
        freed
    }

    /// Takes note of a session's reclaim if its answer has come.
    pub(super) fn settle_if_answered(&mut self, session: SessionKey) {
        if let Some(wait) = self.sessions.answered(session) {
            self.settle(&wait);
        }
    }

    /// Takes note of all answers that have come, late ones included, so that sessions which still hold KV can be asked again.
    pub(super) fn settle_answered(&mut self) {
        for wait in self.sessions.all_answered() {
            self.settle(&wait);
        }
    }

    /// Times that bytes came back.
    pub(super) fn releases(&self) -> u64 {
        self.releases
    }

    /// A name for a new request, followed by those of its other answers.
    pub(super) fn next_request(&mut self, answers: u32) -> u64 {
        let first = self.last_request + 1;
        self.last_request += u64::from(answers);
        first
    }

    /// Takes a request's duration into the average.
    pub(super) fn learn(&mut self, took: Duration) {
        self.mean_duration = self.mean_duration.saturating_mul(HISTORY).saturating_add(took) / (HISTORY + 1);
    }

    /// When a request that began at `since` (or, for `None`, the one that has run longest) should be over. Where nothing
    /// runs, nothing is known: then it is the length of a whole request.
    pub(super) fn retry_after(&self, since: Option<Duration>, now: Duration) -> Duration {
        let since = since.or_else(|| self.sessions.oldest_request()).unwrap_or(now);
        let left = self.mean_duration.saturating_sub(now.saturating_sub(since));
        // An overdue request says nothing about its end: look again after a tenth of the usual length.
        left.max(self.mean_duration / 10).max(SHORTEST_RETRY)
    }

    /// When so much should have come back that a price is granted, were all that runs as long as requests usually are: those
    /// that began first end first, and what they hold then goes to those before it in the line.
    pub(super) fn ready_in(
        &self,
        asking: SessionKey,
        room: &Room,
        price: &Estimate,
        now: Duration,
    ) -> Duration {
        let lacks = room.lacks(price);
        let own = self.sessions.get(asking).and_then(|session| session.model);
        // Models that may go once the last of their requests has ended.
        let here = |model: &&Model| [room.kv_region, Region::Host].contains(&model.footprint.region);
        let used = self.sessions.models.iter().filter(|model| model.idles && Some(model.id) != own);
        let mut used: Vec<_> = used.filter(here).map(|model| (model.id, model.busy, model.bytes)).collect();
        let (mut sum, mut since) = (0_u64, None);
        for session in self.sessions.list(&self.sessions.busy) {
            since = Some(session.last_used);
            sum = sum.saturating_add(session.kv);
            if let Some((_, busy, bytes)) = used.iter_mut().find(|model| Some(model.0) == session.model) {
                *busy = busy.saturating_sub(1);
                sum = sum.saturating_add(if *busy == 0 { *bytes } else { 0 });
            }
            if sum >= lacks {
                break;
            }
        }
        // What nobody holds who runs now is held by those who will: their time comes on top, in rounds like this one.
        let rounds = if sum >= lacks || sum == 0 { 0 } else { (lacks - 1) / sum };
        let more = self.mean_duration.saturating_mul(u32::try_from(rounds).unwrap_or(u32::MAX));
        self.retry_after(since, now).saturating_add(more)
    }

    /// A region's numbers for someone without a session.
    pub(super) fn pool(&self, region: Region) -> Option<Pool> {
        let evictable = self.sessions.evictable(Some(region));
        self.ledger.region(region).map(|book| pool_of(book, evictable, 0))
    }

    /// The numbers that decide about one session whose request stands at a place in the line, or `None` when it is not in the
    /// table.
    pub(super) fn room(&self, session: SessionKey, place: InLine) -> Option<Room> {
        let session = self.sessions.get(session)?;
        // Its own KV is not evicted for it; and what is leaving already will not be there.
        let held = if session.place == Place::Leaving { 0 } else { session.kv };
        let own = if session.place == Place::Idle { session.kv } else { 0 };
        let evictable = |region| {
            let all = self.sessions.evictable(region);
            let here = region.is_none_or(|region| region == session.region);
            if here { all.saturating_sub(own) } else { all }
        };
        let pool = |region| {
            let own = if region == session.region { own } else { 0 };
            let book = self.ledger.region(region);
            book.map(|book: &RegionBook| pool_of(book, evictable(Some(region)), own))
        };
        let mut all_kv = Pool {
            limit: self.kv_limit,
            taken: self.ledger.purpose(Purpose::Kv),
            evictable: evictable(None),
            unloading: 0,
            unloadable: 0,
            fixed: 0,
            own,
            kept: 0,
        };
        let mut host = pool(Region::Host)?;
        let mut kv = if session.region == Region::Host { host } else { pool(session.region)? };
        if !self.line.is_empty() {
            let held = |key| {
                let waits = self.sessions.get(key).filter(|session| session.place == Place::Idle);
                waits.map_or(0, |session| session.kv)
            };
            let waits = |waiter: &Waiter| waits_for(&self.ledger, &self.sessions, waiter);
            let kept = self.line.kept(place, session.region, held, waits);
            (all_kv.kept, kv.kept, host.kept) = (kept.all_kv, kept.kv, kept.host);
        }
        let (answers, load) = (1, (Region::Host, 0));
        let (session_limit, kv_region) = (session.limit, session.region);
        let room = Room { answers, session_limit, held, load, kv_region, all_kv, kv, host };
        Some(self.with_models(room, session.model, place))
    }

    /// A refusal with a region's numbers.
    pub(super) fn refusal(
        &self,
        cause: RefusalCause,
        region: Region,
        owner: Owner,
        bytes_asked: u64,
    ) -> Refusal {
        let (evictable, unloadable) =
            (self.sessions.evictable(Some(region)), self.sessions.models.idle_bytes(region));
        let (bytes_free, limit, used, others) = self
            .ledger
            .region(region)
            .map_or((0, 0, 0, 0), |book| (book.free(), book.limit, book.used, book.others));
        Refusal { cause, owner, region, bytes_asked, bytes_free, evictable, unloadable, limit, used, others }
    }
}

fn pool_of(book: &RegionBook, evictable: u64, own: u64) -> Pool {
    let (limit, taken, fixed) = (book.limit, book.taken(), book.fixed().saturating_add(book.talk));
    Pool { limit, taken, evictable, unloading: 0, unloadable: 0, fixed, own, kept: 0 }
}

/// What someone in the line waits for.
pub(super) fn waits_for(ledger: &Ledger, sessions: &Sessions, waiter: &Waiter) -> For {
    let own = sessions.get(waiter.session).and_then(|session| session.model);
    let shut_out = |book: &RegionBook| {
        let kv = if book.region == waiter.region { waiter.least.kv_bytes } else { 0 };
        let host = if book.region == Region::Host { waiter.least.request_bytes } else { 0 };
        let stays = sessions.models.fixed(book, own).saturating_add(book.talk);
        let whole = u128::from(kv) + u128::from(host) + u128::from(stays);
        // What does not fit without the others either never does, and hears of that.
        let limit = u128::from(book.limit);
        kv.max(host) > 0 && whole <= limit && whole + u128::from(book.foreign()) > limit
    };
    if ledger.regions().iter().any(|book| book.foreign() > 0 && shut_out(book)) {
        For::Others
    } else if !waiter.degradable && ledger.pressure(Some(waiter.region)) > Pressure::Low {
        For::Calm
    } else {
        For::Bytes
    }
}
