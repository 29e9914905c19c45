//! Records a run in real time: the product's guard, scheduler and sessions over the scripted engine's executor, whose blocks
//! are real memory, with a thread for each client and the machine's own clock.

use crate::Broken;
use crate::journal::{Ask, Event, Journal, how};
use crate::machine::Machine;
use crate::random::Random;
use crate::replay::{Line, Start, Total};
use crate::setup::Setup;
use crate::tape::Tape;
use crate::world::{Asked, World};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use plimsoll::{Ending, Runtime, Session};
use plimsoll_conformance::scripted::{Purpose, ScriptedConfig, ScriptedExecutor, ScriptedMemory};
use plimsoll_engine::{MemoryProbe, Reading, Region, SystemClock};
use std::collections::HashMap;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A sweep comes after so many steps.
const SWEEPS: u64 = 40;

/// What a client wants, and where it is told what came of it: when to ask again, or nothing once it has its answer.
enum Want {
    Open(u32),
    Ask(u32, Ask, Sender<Option<Duration>>),
    Cancel(u32),
    Close(u32),
}

/// Memory as its allocator counts it, and a neighbour who takes some now and then.
struct Counted {
    memory: Arc<ScriptedMemory>,
    capacity: u64,
}

impl MemoryProbe for Counted {
    fn read(&self, region: Region) -> Option<Reading> {
        let held = self.memory.held();
        let used = held.weights + held.workspace + held.kv;
        (region == Region::Host).then_some(Reading { capacity: self.capacity, used })
    }
}

/// The setup of a recording: small, and too small for its clients.
pub fn setup() -> Setup {
    const KIB: u64 = 1 << 10;
    Setup {
        memory: 5 << 20,
        threshold: 0.9,
        reserve_mb: 1,
        session_limit_mb: 2,
        idle_timeout_s: 300,
        weights: 1 << 20,
        workspace: 16 * KIB,
        block_tokens: 16,
        block_bytes: 64 * KIB,
        max_sequences: 4,
        max_step_tokens: 64,
        context_length: 1024,
        queue: 64,
    }
}

/// Runs so many clients, each of a few conversations, and answers the recording.
///
/// # Errors
/// What the run broke.
pub fn record(seed: u64, clients: u32) -> Result<String, Broken> {
    let setup = setup();
    let memory = ScriptedMemory::new(Region::Host, setup.memory, None);
    let _weights = memory.allocate(Purpose::Weights, setup.weights)?;
    let probe = Arc::new(Counted { memory: Arc::clone(&memory), capacity: setup.memory });
    let tape = Arc::new(Tape::recording(Arc::new(SystemClock::default()), probe));
    let config = ScriptedConfig {
        limits: setup.limits(),
        vocab_size: 2,
        workspace_bytes: setup.workspace,
        capacity: setup.memory,
        step_time: Duration::from_micros(500),
        // Answers end here and there, before the last token that they may have.
        script: Some(Arc::new(|held| u32::from(!held.len().is_multiple_of(61)))),
        ..ScriptedConfig::default()
    };
    let executor = ScriptedExecutor::new(&config, &memory)?;
    let (clock, readings) = (Arc::clone(&tape), Arc::clone(&tape));
    let runtime = Runtime::without_threads(&setup.config()?, readings, clock)?;
    let machine = Arc::new(Machine::new(setup.memory, setup.fixed()));
    let held = Arc::clone(&memory);
    let holdings = Some(Box::new(move || held.held()) as Box<dyn Fn() -> _ + Send + Sync>);
    let mut world = World::new(&setup, runtime, executor, tape.clone(), &machine, holdings, None)?;
    world.journal = Journal::new(true);
    let start = Start { plimsoll: env!("CARGO_PKG_VERSION").into(), setup, learnt: tape.take() };
    let (wants, wanted) = unbounded();
    let threads: Vec<_> = (0..clients)
        .map(|client| {
            let wants = wants.clone();
            thread::spawn(move || talk(seed, client, &wants))
        })
        .collect();
    drop(wants);
    let mut recorder =
        Recorder { world, tape, lines: Vec::new(), sessions: HashMap::new(), told: HashMap::new() };
    let total = recorder.run(&wanted);
    // The clients end when nobody listens any more.
    drop((wanted, recorder.told));
    for thread in threads {
        thread.join().map_err(|_| Broken("a client panicked".into()))?;
    }
    write(&start, recorder.lines, &total?)
}

/// A client: a conversation or two, a few turns each, at its own pace.
fn talk(seed: u64, client: u32, wants: &Sender<Want>) {
    let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(client.into()));
    let nap =
        |random: &mut Random, most| thread::sleep(Duration::from_millis(random.between(0, most).into()));
    for round in 0..2 {
        let id = client * 2 + round;
        nap(&mut random, 20);
        let mut gone = wants.send(Want::Open(id)).is_err();
        for turn in 0..random.between(1, 3) {
            let new = if turn == 0 { random.doubling(8, 300) } else { random.between(2, 40) };
            let max = random.doubling(8, 120);
            let min = if random.chance(400) { max } else { random.between(1, max) };
            let deadline = if random.chance(100) { 20_000_000 } else { 0 };
            let ask = Ask { new, max, min, answer: 0, deadline, wait: 0, priority: 0 };
            let cancelled = random.chance(150);
            loop {
                let (tell, told) = bounded(1);
                gone |= wants.send(Want::Ask(id, ask, tell)).is_err();
                if cancelled {
                    nap(&mut random, 10);
                    gone |= wants.send(Want::Cancel(id)).is_err();
                }
                match told.recv() {
                    Ok(Some(again)) => thread::sleep(again.min(Duration::from_millis(30))),
                    Ok(None) => break,
                    Err(_) => return,
                }
            }
            if gone {
                return;
            }
            nap(&mut random, 15);
        }
        if wants.send(Want::Close(id)).is_err() {
            return;
        }
    }
}

struct Recorder {
    world: World<ScriptedExecutor>,
    tape: Arc<Tape>,
    lines: Vec<Line>,
    sessions: HashMap<u32, Session>,
    told: HashMap<u32, Sender<Option<Duration>>>,
}

impl Recorder {
    /// Serves the clients until all have gone.
    fn run(&mut self, wanted: &Receiver<Want>) -> Result<Total, Broken> {
        let mut steps = 0_u64;
        loop {
            let wait = if self.world.is_idle() { Duration::from_millis(5) } else { Duration::ZERO };
            match wanted.recv_timeout(wait) {
                Ok(want) => {
                    self.serve(want)?;
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) if self.world.in_flight() == 0 => break,
                Err(_) => {}
            }
            if self.world.is_idle() {
                continue;
            }
            self.world.step();
            self.keep();
            while let Some(ended) = self.world.ended()? {
                self.keep();
                self.tell(ended.talk, None);
            }
            steps += 1;
            if steps.is_multiple_of(SWEEPS) {
                self.world.sweep();
                self.keep();
            }
        }
        self.world.check()?;
        // What the check has read is in no line.
        self.tape.take();
        let stats = self.world.stats();
        Ok(Total::of(&stats, self.tape.take()))
    }

    fn serve(&mut self, want: Want) -> Result<(), Broken> {
        match want {
            Want::Open(talk) => {
                let session = self.world.open(talk)?;
                self.sessions.insert(talk, session);
            }
            Want::Ask(talk, ask, tell) => {
                let Some(session) = self.sessions.get(&talk).cloned() else { return Ok(()) };
                let asked = self.world.ask(talk, &session, &ask)?;
                self.told.insert(talk, tell);
                match asked {
                    Asked::Runs(..) => {}
                    // Recorded clients do not wait in the line.
                    Asked::Refused(verdict) | Asked::Waits(_, verdict) => {
                        self.tell(talk, verdict.retry_after)
                    }
                    Asked::QueueFull(after) => self.tell(talk, Some(after)),
                    Asked::TooLong => self.tell(talk, None),
                }
            }
            Want::Cancel(talk) => self.world.cancel_talk(talk),
            Want::Close(talk) => {
                if let Some(session) = self.sessions.remove(&talk) {
                    self.world.close(talk, session);
                }
            }
        }
        self.keep();
        Ok(())
    }

    fn tell(&mut self, talk: u32, again: Option<Duration>) {
        if let Some(tell) = self.told.remove(&talk) {
            // A client that has gone needs no answer.
            let _ = tell.send(again);
        }
    }

    /// Puts what has just happened on record; what changed nothing leaves no line.
    fn keep(&mut self) {
        let learnt = self.tape.take();
        if let Some(event) = self.world.journal.take() {
            self.lines.push(Line { event, learnt });
        }
    }
}

/// The recording as text. Each ask is told where its answer ended, so that a replay can end it there.
fn write(start: &Start, mut lines: Vec<Line>, total: &Total) -> Result<String, Broken> {
    let mut ended: HashMap<u32, u32> = HashMap::new();
    for line in lines.iter_mut().rev() {
        match &mut line.event {
            Event::End { talk, how: ending, generated, .. } if ending == how(Ending::EndOfText) => {
                ended.insert(*talk, *generated + 1);
            }
            Event::End { talk, .. } => {
                ended.remove(talk);
            }
            Event::Ask { talk, ask, decided: Some(decided) } if decided.granted > 0 => {
                ask.answer = ended.remove(talk).unwrap_or(0);
            }
            _ => {}
        }
    }
    let failed = |error: serde_json::Error| Broken(error.to_string());
    let mut text = serde_json::to_string(start).map_err(failed)? + "\n";
    for line in &lines {
        text += &serde_json::to_string(line).map_err(failed)?;
        text.push('\n');
    }
    Ok(text + &serde_json::to_string(total).map_err(failed)? + "\n")
}
