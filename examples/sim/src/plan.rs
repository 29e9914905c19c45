//! What a run is given: a seed, a workload, and what it runs in.

use crate::drive::Drive;
use crate::executor::Cost;
use crate::machine::Machine;
use crate::report::Report;
use crate::setup::Setup;
use crate::workload::Workload;
use crate::world::World;
use crate::{Broken, Failure, Fault};
use plimsoll_engine::{Clock, ManualClock};
use std::sync::Arc;

/// What to run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The seed of all that is random.
    pub seed: u64,
    /// Requests: conversations come until there are so many.
    pub requests: u64,
    /// What they are like.
    pub workload: Workload,
    /// In what.
    pub setup: Setup,
    /// What steps take.
    pub cost: Cost,
    /// A planted fault.
    pub fault: Option<Fault>,
    /// Whether samples and marks are kept, for a picture.
    pub picture: bool,
}

impl Plan {
    /// A run of a workload in the usual setup.
    pub fn new(seed: u64, requests: u64, workload: Workload) -> Plan {
        let (setup, cost) = (Setup::default(), Cost::default());
        Plan { seed, requests, workload, setup, cost, fault: None, picture: false }
    }

    /// Runs it.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(&self) -> Result<Report, Box<Failure>> {
        let clock = Arc::new(ManualClock::default());
        let (mut request, time) = (0, Arc::clone(&clock));
        self.drive(clock, &mut request).map_err(|what| {
            let (seed, requests, workload) = (self.seed, self.requests, self.workload.name);
            Box::new(Failure { what, seed, requests, workload, request, at: time.now() })
        })
    }

    fn drive(&self, clock: Arc<ManualClock>, request: &mut u64) -> Result<Report, Broken> {
        let machine = Arc::new(Machine::new(self.setup.memory, self.setup.fixed()));
        let world = World::simulated(&self.setup, self.cost, &clock, &machine, self.fault)?;
        let mut drive = Drive::new(self, world, clock);
        let result = drive.run();
        *request = drive.report.requests;
        result?;
        drive.finish()
    }
}
