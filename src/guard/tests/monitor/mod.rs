//! The monitor on a clock that the tests move.

mod alerts;
mod cleanup;
mod leaks;
mod report;
mod snapshots;

use super::*;
use plimsoll_engine::{MemoryProbe, Vitals};

/// A machine whose readings and figures the tests set.
#[derive(Default)]
pub(super) struct Machine {
    pub(super) reading: Mutex<Option<Reading>>,
    pub(super) vitals: Mutex<Option<Vitals>>,
}

impl MemoryProbe for Machine {
    fn read(&self, _: Region) -> Option<Reading> {
        *self.reading.lock().unwrap()
    }

    fn vitals(&self) -> Option<Vitals> {
        *self.vitals.lock().unwrap()
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// A guard over a machine of 10,000 bytes, all of which may be leased.
pub(super) struct Watched {
    pub(super) guard: Arc<MemoryGuard>,
    pub(super) clock: Arc<ManualClock>,
    pub(super) machine: Arc<Machine>,
    pub(super) engine: Arc<FakeEngine>,
}

impl Watched {
    pub(super) fn new(monitor: MonitorConfig) -> Self {
        let machine = Arc::new(Machine::default());
        *machine.reading.lock().unwrap() = Some(Reading { capacity: 10_000, used: 0 });
        let clock = Arc::new(ManualClock::default());
        let config = GuardConfig { budget: None, monitor, ..exact(0, None) };
        let guard = MemoryGuard::new(config, machine.clone(), clock.clone()).unwrap();
        let engine = FakeEngine::new(Region::Host);
        engine.watch(&guard);
        Watched { guard, clock, machine, engine }
    }

    /// As it is without settings, but that nothing is cleaned up.
    pub(super) fn plain() -> Self {
        Watched::new(MonitorConfig { cleanup: None, ..MonitorConfig::default() })
    }

    /// Everyone together uses so many bytes from now on.
    pub(super) fn used(&self, used: u64) {
        *self.machine.reading.lock().unwrap() = Some(Reading { capacity: 10_000, used });
    }

    pub(super) fn heap(&self, heap: u64) {
        *self.machine.vitals.lock().unwrap() = Some(Vitals { heap: Some(heap), ..Vitals::default() });
    }

    /// A second passes, and the timer ticks.
    pub(super) fn tick(&self) {
        self.clock.advance(SECOND);
        self.guard.tick();
    }

    pub(super) fn seat(&self) -> Seat {
        self.guard.open_session(self.engine.clone(), None).unwrap()
    }

    /// Runs a request to its end; the session keeps `kept` bytes of KV.
    pub(super) fn run(&self, seat: &Seat, kept: u64) {
        let (_, grant) = self.guard.admit(seat, &ask(4, 4, 1)).unwrap();
        self.engine.finish(grant.unwrap(), kept);
    }

    /// The active alerts, as they say it.
    pub(super) fn alerts(&self) -> Vec<String> {
        self.guard.monitor().alerts.iter().map(ToString::to_string).collect()
    }
}
