//! Drives a world through synthetic traffic, one event after the other.

use crate::Broken;
use crate::checks::Checks;
use crate::executor::SimExecutor;
use crate::machine::Sight;
use crate::packer::Item;
use crate::plan::Plan;
use crate::report::{Mark, Report};
use crate::sky::{GROWS, Sky};
use crate::workload::{Traffic, Turn};
use crate::world::{Asked, Ended, World};
use plimsoll::guard::RegionStats;
use plimsoll::{Session, Waiting};
use plimsoll_engine::ManualClock;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

/// How often the runtime's sweep runs, as its thread would.
const SWEEP: Duration = Duration::from_millis(500);
/// How long a reading lasts.
const READING: Duration = Duration::from_millis(100);
/// Requests between two proofs of the books.
const PROOFS: u64 = 500;
/// Nobody waits so long.
const FOR_EVER: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    /// The next conversation begins.
    Begin,
    /// A conversation's next turn is due.
    Due(u32),
    /// A refused request is due again.
    Again(u32),
    /// Someone who waits loses patience.
    Tired(u32),
    Cancel(u64),
    Sweep,
    Sample,
    Weather,
    /// Others grow.
    Grow,
    /// The probe sees again.
    Clear,
}

/// A conversation under way.
struct Talk {
    session: Session,
    turns: VecDeque<Turn>,
    /// Tokens of the conversation so far.
    history: u32,
    /// When the present turn came.
    came: Duration,
    refused: bool,
    /// Its place in the line, while it waits there.
    waits: Option<(Spot, Waiting)>,
}

/// A place in the line: priority, then arrival.
type Spot = (Reverse<i8>, u64);

/// What is known of a request that waits for a lane or runs.
struct Flight {
    came: Duration,
    granted: Duration,
    bytes: u64,
    /// Tokens of the conversation before it.
    history: u32,
}

/// A plan under way.
pub(crate) struct Drive<'p> {
    plan: &'p Plan,
    world: World<SimExecutor>,
    clock: Arc<ManualClock>,
    traffic: Traffic,
    checks: Checks,
    /// What has come of it so far.
    pub(crate) report: Report,
    events: BinaryHeap<Reverse<(Duration, u64, What)>>,
    order: u64,
    talks: HashMap<u32, Talk>,
    next_talk: u32,
    /// The conversation that begins next.
    coming: Vec<Turn>,
    /// Requests of conversations that have begun.
    planned: u64,
    /// Who waits, as the guard should have it.
    line: BTreeMap<Spot, u32>,
    /// What others use, when it was last looked, and when.
    host: Option<(RegionStats, Duration)>,
    arrivals: u64,
    flights: HashMap<u64, Flight>,
    sky: Sky,
    sample_gap: Duration,
}

impl<'p> Drive<'p> {
    /// Before its first event.
    pub(crate) fn new(plan: &'p Plan, world: World<SimExecutor>, clock: Arc<ManualClock>) -> Self {
        Drive {
            plan,
            world,
            clock,
            traffic: Traffic::new(plan.workload.clone(), plan.seed),
            checks: Checks::new(&plan.setup),
            report: Report::new(plan),
            events: BinaryHeap::new(),
            order: 0,
            talks: HashMap::new(),
            next_talk: 0,
            coming: Vec::new(),
            planned: 0,
            line: BTreeMap::new(),
            host: None,
            arrivals: 0,
            flights: HashMap::new(),
            sky: Sky::default(),
            sample_gap: Duration::from_millis(100),
        }
    }

    fn at(&mut self, when: Duration, what: What) {
        self.order += 1;
        self.events.push(Reverse((when, self.order, what)));
    }

    /// Runs until every conversation has come and gone.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub(crate) fn run(&mut self) -> Result<(), Broken> {
        self.draw_talk();
        self.draw_weather();
        self.at(Duration::ZERO, What::Sweep);
        self.at(Duration::ZERO, What::Sample);
        while !self.is_over() {
            let now = self.world.now();
            match self.events.peek() {
                Some(&Reverse((at, _, what))) if at <= now => {
                    self.events.pop();
                    self.take(what)?;
                }
                _ => self.pass(now)?,
            }
            self.serve_line()?;
        }
        Ok(())
    }

    /// Whether every conversation has come and gone.
    fn is_over(&self) -> bool {
        self.planned >= self.plan.requests && self.talks.is_empty()
    }

    /// Runs a step, or lets time pass until the next event.
    fn pass(&mut self, now: Duration) -> Result<(), Broken> {
        if self.world.is_idle() {
            if let Some(&Reverse((at, ..))) = self.events.peek() {
                self.clock.advance(at.saturating_sub(now));
            }
            return Ok(());
        }
        self.world.step();
        while let Some(ended) = self.world.ended()? {
            self.end(ended)?;
        }
        Ok(())
    }

    fn take(&mut self, what: What) -> Result<(), Broken> {
        let now = self.world.now();
        match what {
            What::Begin => {
                let (talk, turns) = (self.next_talk, std::mem::take(&mut self.coming));
                self.next_talk += 1;
                self.planned += turns.len() as u64;
                let session = self.world.open(talk)?;
                let turns = turns.into();
                self.talks.insert(
                    talk,
                    Talk { session, turns, history: 0, came: now, refused: false, waits: None },
                );
                self.draw_talk();
                self.due(talk)?;
            }
            What::Due(talk) => self.due(talk)?,
            What::Again(talk) => self.ask(talk)?,
            What::Tired(talk) => {
                self.poll(talk)?;
            }
            What::Cancel(serial) => self.world.cancel(serial),
            What::Sweep => {
                self.world.tick();
                if self.world.sweep() > 0 {
                    self.report.mark(now, Mark::Evict);
                }
                self.at(now + SWEEP, What::Sweep);
            }
            What::Sample => {
                if self.report.sample(now, &self.world.stats(), self.world.machine()) {
                    self.sample_gap *= 2;
                }
                self.at(now + self.sample_gap, What::Sample);
            }
            What::Weather => {
                if let Some((lasts, grows)) = self.sky.change(self.world.machine()) {
                    lasts.into_iter().for_each(|lasts| self.at(now + lasts, What::Clear));
                    grows.then(|| self.at(now, What::Grow));
                    self.draw_weather();
                }
            }
            What::Grow => {
                let leased = self.world.stats().host().used;
                if self.sky.grow(self.world.machine(), leased) {
                    self.at(now + GROWS, What::Grow);
                }
            }
            What::Clear => self.sky.see(self.world.machine(), Sight::Clear),
        }
        Ok(())
    }

    fn draw_talk(&mut self) {
        if self.planned < self.plan.requests {
            let (at, turns) = self.traffic.talk();
            self.coming = turns;
            self.at(at, What::Begin);
        } else {
            self.sky.clear_up(self.world.machine());
        }
    }

    fn draw_weather(&mut self) {
        if let Some(gap) = self.sky.draw(&mut self.traffic) {
            self.at(self.world.now() + gap, What::Weather);
        }
    }

    /// A turn has come: it asks, or joins the line.
    fn due(&mut self, talk: u32) -> Result<(), Broken> {
        let now = self.world.now();
        if let Some(talk) = self.talks.get_mut(&talk) {
            (talk.came, talk.refused) = (now, false);
        }
        self.report.came(now);
        self.ask(talk)
    }

    /// Lets those who wait look, from the first, for as long as they are served: nobody may be before the first, but before whom
    /// others shut out.
    fn serve_line(&mut self) -> Result<(), Broken> {
        let mut from = Bound::Unbounded;
        while let Some((&spot, &talk)) = self.line.range((from, Bound::Unbounded)).next() {
            if self.poll(talk)? {
                from = Bound::Unbounded;
            } else if self.line.len() == 1 || !self.was_shut_out(talk)? {
                return Ok(());
            } else {
                from = Bound::Excluded(spot);
            }
        }
        Ok(())
    }

    /// The same as [`Self::is_shut_out`] by what others used lately: those behind then look a little later.
    fn was_shut_out(&mut self, id: u32) -> Result<bool, Broken> {
        let now = self.world.now();
        let (host, _) = match self.host.filter(|&(_, at)| now.saturating_sub(at) < READING) {
            Some(lately) => lately,
            None => *self.host.insert((self.world.stats().host(), now)),
        };
        self.is_shut_out(id, &host)
    }

    /// Whether others use what someone who waits would take, were nobody else here.
    fn is_shut_out(&self, id: u32, host: &RegionStats) -> Result<bool, Broken> {
        let Some(talk) = self.talks.get(&id) else { return Ok(false) };
        let Some(turn) = talk.turns.front() else { return Ok(false) };
        self.checks.is_shut_out(&self.world, host, talk.history, &turn.ask)
    }

    /// Looks for news of someone who waits. Answers whether it was decided.
    fn poll(&mut self, id: u32) -> Result<bool, Broken> {
        let now = self.world.now();
        let Some(talk) = self.talks.get_mut(&id) else { return Ok(false) };
        let (Some(turn), Some((spot, mut waiting))) = (talk.turns.front().cloned(), talk.waits.take()) else {
            return Ok(false);
        };
        if now.saturating_sub(talk.came) > FOR_EVER {
            return Err(Broken(format!("conversation {id} waits for ever")));
        }
        let history = talk.history;
        let Some(asked) = self.world.poll(id, &turn.ask, &mut waiting)? else {
            talk.waits = Some((spot, waiting));
            return Ok(false);
        };
        self.line.remove(&spot);
        self.checks.look(&self.world, history, &turn.ask, &asked)?;
        self.decided(id, &turn, asked)?;
        Ok(true)
    }

    /// Asks for a conversation's turn.
    fn ask(&mut self, id: u32) -> Result<(), Broken> {
        let Some(talk) = self.talks.get(&id) else { return Ok(()) };
        let Some(turn) = talk.turns.front().cloned() else { return Ok(()) };
        let ask = turn.ask;
        if self.report.asks.is_multiple_of(PROOFS) {
            self.world.check()?;
        }
        self.checks.foresee(&self.world, &talk.session, talk.history, &ask)?;
        let history = talk.history;
        let asked = self.world.ask(id, &talk.session, &ask)?;
        self.checks.look(&self.world, history, &ask, &asked)?;
        let runs = matches!(asked, Asked::Runs(..));
        let before =
            self.line.iter().take_while(|((Reverse(priority), _), _)| runs && *priority >= ask.priority);
        let passed: Vec<_> = before.map(|(&spot, &id)| (spot, id)).collect();
        self.decided(id, &turn, asked)?;
        // It may only pass the first if enough is left for it, which has not looked yet. Others may find that the first, granted
        // more than its least, has left them nothing.
        self.serve_line()?;
        let mut host = None;
        for (spot, first) in passed {
            if !self.line.contains_key(&spot) {
                break;
            }
            let host = host.get_or_insert_with(|| self.world.stats().host());
            if !self.is_shut_out(first, host)? {
                return Err(Broken(format!("conversation {id} took what the first in line waits for")));
            }
        }
        Ok(())
    }

    /// What follows from a decision.
    fn decided(&mut self, id: u32, turn: &Turn, asked: Asked) -> Result<(), Broken> {
        let now = self.world.now();
        let Some(talk) = self.talks.get_mut(&id) else { return Ok(()) };
        let (history, came, first) = (talk.history, talk.came, !talk.refused);
        self.report.asks += 1;
        match asked {
            Asked::Waits(waiting, _) => {
                let spot = (Reverse(turn.ask.priority), self.arrivals);
                (talk.refused, self.arrivals) = (true, self.arrivals + 1);
                let until = waiting.until();
                talk.waits = Some((spot, waiting));
                self.line.insert(spot, id);
                self.report.longest_line = self.report.longest_line.max(self.line.len());
                self.report.refused(now, first);
                if turn.ask.wait < u64::MAX || turn.ask.deadline > 0 {
                    self.at(until, What::Tired(id));
                }
                Ok(())
            }
            Asked::Runs(serial, verdict) => {
                let bytes = verdict.kv_bytes + verdict.request_bytes;
                self.flights.insert(serial, Flight { came, granted: now, bytes, history });
                self.report.granted(now, now.saturating_sub(came), &verdict);
                if let Some(after) = turn.cancel {
                    self.at(now + after, What::Cancel(serial));
                }
                Ok(())
            }
            Asked::Refused(verdict) => match verdict.retry_after {
                Some(_) if turn.ask.deadline > 0 && verdict.waited.as_nanos() >= turn.ask.deadline.into() => {
                    self.report.gave_up += 1;
                    self.next_turn(id, now);
                    Ok(())
                }
                Some(after) => {
                    // Who has lost patience comes again, and stays.
                    let again = talk.turns.front_mut().filter(|_| !verdict.waited.is_zero());
                    again.into_iter().for_each(|turn| turn.ask.wait = u64::MAX);
                    self.report.refused(now, first);
                    self.again(id, now + after);
                    Ok(())
                }
                None if !first => Err(Broken(format!("refused for good, after a while: {verdict}"))),
                None => self.never(id, now),
            },
            Asked::TooLong => self.never(id, now),
            Asked::QueueFull(after) => {
                self.report.refused(now, first);
                self.again(id, now + after);
                Ok(())
            }
        }
    }

    fn again(&mut self, id: u32, when: Duration) {
        if let Some(talk) = self.talks.get_mut(&id) {
            talk.refused = true;
        }
        self.at(when, What::Again(id));
    }

    /// A request that can never fit: its conversation ends.
    fn never(&mut self, id: u32, now: Duration) -> Result<(), Broken> {
        self.report.never(now);
        if let Some(talk) = self.talks.remove(&id) {
            self.report.unasked += talk.turns.len() as u64 - 1;
            self.world.close(id, talk.session);
        }
        Ok(())
    }

    fn end(&mut self, ended: Ended) -> Result<(), Broken> {
        let Ended { serial, talk: id, outcome } = ended;
        let now = self.world.now();
        let flight = self.flights.remove(&serial).ok_or_else(|| Broken("an unknown request ended".into()))?;
        let nanos = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let Flight { came, granted, bytes, history } = flight;
        self.report.ended(
            &outcome,
            history,
            Item { came: nanos(came), granted: nanos(granted), ended: nanos(now), bytes },
        );
        let Some(talk) = self.talks.get_mut(&id) else { return Ok(()) };
        // A turn without an answer is as if never made.
        if outcome.generated_tokens > 0 {
            talk.history = outcome.prompt_tokens + outcome.generated_tokens;
        }
        self.next_turn(id, now);
        Ok(())
    }

    /// A turn is over.
    fn next_turn(&mut self, id: u32, now: Duration) {
        let Some(talk) = self.talks.get_mut(&id) else { return };
        talk.turns.pop_front();
        match talk.turns.front() {
            Some(turn) => {
                let when = now + turn.idle;
                self.at(when, What::Due(id));
            }
            None => {
                if let Some(talk) = self.talks.remove(&id) {
                    self.world.close(id, talk.session);
                }
            }
        }
    }

    /// Proves the books at the end, and reports.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub(crate) fn finish(self) -> Result<Report, Broken> {
        let Drive { world, mut report, checks, .. } = self;
        report.maximal = checks.maximal;
        world.check()?;
        if world.engine().with_executor(|executor| executor.out_of_order()) {
            return Err(Broken("requests did not start in the order in which they were granted".into()));
        }
        let steps = world.engine().with_executor(|executor| executor.steps());
        let (digest, events, end) = (world.journal.digest(), world.journal.events(), world.now());
        world.no_leak()?;
        let stats = world.end()?;
        report.close(&stats, steps, events, digest, end)?;
        Ok(report)
    }
}
