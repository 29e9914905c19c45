//! Recordings of real runs, and how they are played again.
//!
//! A recording is text, one JSON object a line: the [`Start`], the [`Line`]s in the order in which things happened, the
//! [`Total`]. What the product learns from outside is the clock and the readings of memory: each line has those that were
//! taken in it. All else follows, so that a replay with the product's guard, scheduler and sessions, and with steps that
//! compute nothing, makes the same decisions with the same numbers, and ends with the same peak.

use crate::Broken;
use crate::executor::{Cost, SimExecutor};
use crate::journal::{Event, Journal};
use crate::machine::Machine;
use crate::setup::Setup;
use crate::tape::{Learnt, Tape};
use crate::world::World;
use plimsoll::guard::MemoryStats;
use plimsoll::{Runtime, Session};
use plimsoll_engine::ManualClock;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Start {
    /// The version that recorded.
    pub plimsoll: String,
    /// What was run.
    pub setup: Setup,
    /// What was learnt while it was set up.
    pub learnt: Learnt,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// What was learnt meanwhile.
    #[serde(flatten)]
    pub learnt: Learnt,
}

/// The last line: the guard's figures at the end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Total {
    /// The most bytes that were ever leased.
    pub peak: u64,
    /// Requests granted as asked.
    pub accepted: u64,
    /// Requests granted with fewer tokens.
    pub shrunk: u64,
    /// Refusals.
    pub rejected: u64,
    /// Times that a session lost its KV.
    pub evictions: u64,
    /// What was learnt while they were taken.
    pub learnt: Learnt,
}

impl Total {
    /// The guard's figures.
    pub fn of(stats: &MemoryStats, learnt: Learnt) -> Total {
        Total {
            peak: stats.host().peak,
            accepted: stats.accepted_count,
            shrunk: stats.shrunk_count,
            rejected: stats.rejected_count,
            evictions: stats.evictions,
            learnt,
        }
    }
}

/// What came of a replay that agreed with its recording.
#[derive(Clone, Debug, PartialEq)]
pub struct Replayed {
    /// Events, all of them as recorded.
    pub events: u64,
    /// Stands for them.
    pub digest: u64,
    /// The guard's figures, which are the recorded ones.
    pub total: Total,
}

impl fmt::Display for Replayed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Total { peak, accepted, shrunk, rejected, evictions, .. } = &self.total;
        writeln!(f, "all {} events are as they were recorded (digest {:016x}):", self.events, self.digest)?;
        writeln!(f, "{accepted} accepted, {shrunk} shrunk, {rejected} refusals, {evictions} evictions")?;
        write!(f, "peak {peak} bytes")
    }
}

/// Plays a recording.
///
/// # Errors
/// It is no recording, or the first event that comes out otherwise than it was recorded.
pub fn replay(recording: &str) -> Result<Replayed, Broken> {
    let lines: Vec<&str> = recording.lines().collect();
    let [first, events @ .., last] = lines.as_slice() else {
        return Err(Broken("a recording has at least two lines".into()));
    };
    let (start, recorded): (Start, Total) = (parse(1, first)?, parse(lines.len(), last)?);
    let tape = Arc::new(Tape::playing());
    tape.put(start.learnt);
    let (clock, probe) = (Arc::clone(&tape), Arc::clone(&tape));
    let runtime = Runtime::without_threads(&start.setup.config()?, probe, clock)?;
    // Steps take what the tape says, and there is always memory: whatever was allocated then was there.
    let still = Arc::new(ManualClock::default());
    let machine = Arc::new(Machine::new(u64::MAX, start.setup.fixed()));
    let cost = Cost { step: 0, prompt: 0, decode: 0, held: 0 };
    let executor = SimExecutor::new(start.setup.limits(), cost, still, Arc::clone(&machine), None);
    let mut world = World::new(&start.setup, runtime, executor, tape.clone(), &machine, None, None)?;
    world.journal = Journal::new(true);
    let mut played = HashMap::new();
    for (at, text) in events.iter().enumerate() {
        let Line { event, learnt } = parse(at + 2, text)?;
        tape.put(learnt);
        play(&mut world, &mut played, &event).map_err(|broken| differs(at + 2, &event, &broken.0))?;
        let rest = tape.take();
        match world.journal.take() {
            Some(again) if again == event && rest == Learnt::default() && !tape.is_short() => {}
            Some(again) if again == event => {
                return Err(differs(at + 2, &event, "time or memory were read otherwise"));
            }
            again => return Err(differs(at + 2, &event, &format!("{again:?}"))),
        }
    }
    tape.put(recorded.learnt.clone());
    let total = Total::of(&world.stats(), recorded.learnt.clone());
    if total != recorded {
        return Err(Broken(format!("the end was {recorded:?}, and is now {total:?}")));
    }
    played.clear();
    Ok(Replayed { events: world.journal.events(), digest: world.journal.digest(), total })
}

fn play(
    world: &mut World<SimExecutor>,
    sessions: &mut HashMap<u32, Session>,
    event: &Event,
) -> Result<(), Broken> {
    let unknown = |talk: u32| Broken(format!("there is no conversation {talk}"));
    match event {
        Event::Open { talk } => {
            let session = world.open(*talk)?;
            sessions.insert(*talk, session);
        }
        Event::Ask { talk, ask, .. } => {
            let session = sessions.get(talk).ok_or_else(|| unknown(*talk))?.clone();
            world.ask(*talk, &session, ask)?;
        }
        Event::Step => world.step(),
        Event::End { .. } => {
            world.ended()?;
        }
        Event::Cancel { talk } => world.cancel_talk(*talk),
        Event::Close { talk } => {
            let session = sessions.remove(talk).ok_or_else(|| unknown(*talk))?;
            world.close(*talk, session);
        }
        Event::Sweep { .. } => {
            world.sweep();
        }
    }
    Ok(())
}

fn parse<T: for<'a> Deserialize<'a>>(line: usize, text: &str) -> Result<T, Broken> {
    serde_json::from_str(text).map_err(|error| Broken(format!("line {line}: {error}")))
}

fn differs(line: usize, event: &Event, again: &str) -> Broken {
    Broken(format!("line {line}: it was {event:?}, and is now {again}"))
}
