//! Synthetic traffic: conversations that come, their turns, and what befalls the machine meanwhile.

use crate::journal::Ask;
use crate::machine::Sight;
use crate::random::Random;
use std::time::Duration;

/// What clients do when they are refused for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    /// Each asks again after the time that the refusal named, and knows nothing of the others.
    Retry,
    /// They wait in the guard's line. One in ten comes before the others, and one in twenty loses patience once and comes again.
    Line,
}

/// How conversations come, and what they ask for.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What refused clients do.
    pub clients: Clients,
    /// Mean time between conversations while there is a rush, and while there is none.
    pub gap: [Duration; 2],
    /// How long a rush lasts, and the calm after it.
    pub phase: [Duration; 2],
    /// Most turns of a conversation.
    pub turns: u32,
    /// Tokens of a first turn.
    pub first: [u32; 2],
    /// Tokens that a further turn adds.
    pub new: [u32; 2],
    /// Most tokens to generate.
    pub max: [u32; 2],
    /// Of a thousand requests, those that want all of their tokens or none.
    pub whole: u32,
    /// Mean time between an answer and the next turn.
    pub idle: Duration,
    /// Of a thousand requests, those that are cancelled.
    pub cancels: u32,
    /// Of a thousand requests, those with a deadline.
    pub deadlines: u32,
    /// Of a thousand conversations, those that begin with more than can ever fit.
    pub giants: u32,
    /// Mean time between changes of the machine; `None` for a machine that stays as it is.
    pub weather: Option<Duration>,
}

/// Who waits does so for as long as it takes, or for this long.
const PATIENCE: u64 = 20_000_000_000;

impl Workload {
    /// The workloads that have a name.
    pub fn all() -> [Workload; 4] {
        let (retry, line) = (Clients::Retry, Clients::Line);
        [Workload::mixed(retry), Workload::mixed(line), Workload::packing(retry), Workload::packing(line)]
    }

    /// All there is: rushes that the memory does not hold, long and short, cancels, deadlines, giants, weather.
    pub fn mixed(clients: Clients) -> Workload {
        Workload {
            name: match clients {
                Clients::Retry => "mixed-retry",
                Clients::Line => "mixed-line",
            },
            clients,
            gap: [Duration::from_millis(90), Duration::from_millis(400)],
            phase: [Duration::from_secs(15), Duration::from_secs(35)],
            turns: 5,
            first: [8, 1200],
            new: [4, 120],
            max: [16, 512],
            whole: 300,
            idle: Duration::from_secs(8),
            cancels: 60,
            deadlines: 40,
            giants: 4,
            weather: Some(Duration::from_secs(15)),
        }
    }

    /// More than fits all of the time, wanted whole: how well the memory is filled is all that counts.
    pub fn packing(clients: Clients) -> Workload {
        let gap = Duration::from_millis(24);
        Workload {
            name: match clients {
                Clients::Retry => "packing-retry",
                Clients::Line => "packing-line",
            },
            gap: [gap, gap],
            turns: 1,
            whole: 1000,
            cancels: 0,
            deadlines: 0,
            giants: 0,
            weather: None,
            ..Workload::mixed(clients)
        }
    }
}

/// One turn of a conversation.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What it asks for.
    pub ask: Ask,
    /// Time since the answer before.
    pub idle: Duration,
    /// When it is cancelled, from when it was granted.
    pub cancel: Option<Duration>,
}

/// What befalls the machine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weather {
    /// Others want this fraction of the memory.
    Others(f64),
    /// Readings call this fraction of the memory the capacity.
    Capacity(f64),
    /// The probe sees like this.
    Sight(Sight),
    /// Everything is as in the beginning.
    Fair,
}

/// A source of conversations: the same for the same seed, whatever becomes of them.
#[derive(Debug)]
pub struct Traffic {
    workload: Workload,
    talks: Random,
    /// Apart, so that talks are the same for all kinds of clients.
    patience: Random,
    sky: Random,
    time: Duration,
}

impl Traffic {
    /// The traffic of a seed.
    pub fn new(workload: Workload, seed: u64) -> Traffic {
        let [talks, patience, sky] = [0, 0x9A7, 0x5EA5].map(|mask| Random::new(seed ^ mask));
        Traffic { workload, talks, patience, sky, time: Duration::ZERO }
    }

    /// When the next conversation begins, and its turns.
    pub fn talk(&mut self) -> (Duration, Vec<Turn>) {
        let Workload { gap, phase, turns, giants, .. } = self.workload;
        let round = (phase[0] + phase[1]).as_nanos().max(1);
        let rush = self.time.as_nanos() % round < phase[0].as_nanos();
        self.time += self.talks.gap(gap[usize::from(!rush)]);
        let count = self.talks.between(1, turns);
        let giant = self.talks.chance(giants);
        let turns = (0..count).map(|at| self.turn(at == 0, giant)).collect();
        (self.time, turns)
    }

    fn turn(&mut self, first: bool, giant: bool) -> Turn {
        let Workload { first: prompt, new, max, whole, idle, cancels, deadlines, .. } = self.workload;
        let random = &mut self.talks;
        let new = match (first, giant) {
            // Half of them exceed the context, half only the session's limit.
            (true, true) => random.between(2800, 5400),
            (true, false) => random.doubling(prompt[0], prompt[1]),
            (false, _) => random.doubling(new[0], new[1]),
        };
        let max = if giant && first { 400 } else { random.doubling(max[0], max[1]) };
        let all = random.chance(whole) || (giant && first);
        let min = if all { max } else { random.between(1, max.div_ceil(4)) };
        // Most answers end well before they must.
        let answer = random.between(1, max.saturating_mul(2)).min(random.between(1, 160));
        let late = random.chance(deadlines).then(|| random.between(50, 4000));
        let deadline = late.map_or(0, |millis| u64::from(millis) * 1_000_000);
        let cancel = random.chance(cancels).then(|| Duration::from_millis(random.between(0, 2000).into()));
        let idle = if first { Duration::ZERO } else { random.gap(idle) };
        let (wait, priority) = match self.workload.clients {
            Clients::Retry => (0, 0),
            Clients::Line => {
                let wait = if self.patience.chance(50) { PATIENCE } else { u64::MAX };
                (wait, i8::from(self.patience.chance(100)))
            }
        };
        Turn { ask: Ask { new, max, min, answer, deadline, wait, priority }, idle, cancel }
    }

    /// Time until the next change of the machine, the change, and how long it lasts if it does not stay.
    pub fn weather(&mut self) -> Option<(Duration, Weather, Option<Duration>)> {
        let mean = self.workload.weather?;
        let random = &mut self.sky;
        let gap = random.gap(mean);
        let fraction = |percent: u32| f64::from(percent) / 100.0;
        let a_while = Some(Duration::from_secs(3));
        Some(match random.between(0, 5) {
            0 | 1 => (gap, Weather::Others(fraction(random.between(0, 30))), None),
            2 => (gap, Weather::Capacity(fraction(random.between(75, 100))), None),
            3 => (gap, Weather::Sight(Sight::Stale(None)), a_while),
            4 => (gap, Weather::Sight(Sight::Blind), a_while),
            _ => (gap, Weather::Fair, None),
        })
    }
}
