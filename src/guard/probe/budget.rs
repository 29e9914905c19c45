//! Configured budgets in front of another probe.

use plimsoll_engine::{MemoryProbe, Reading, Region, Vitals};
use std::sync::Arc;

/// Answers with configured budgets, of which others use nothing, and asks another probe about the host where none is set.
pub struct Budget {
    host: Option<u64>,
    devices: Vec<(u8, u64)>,
    machine: Arc<dyn MemoryProbe>,
}

impl Budget {
    /// Budgets in bytes; devices by index.
    pub fn new(host: Option<u64>, devices: Vec<(u8, u64)>, machine: Arc<dyn MemoryProbe>) -> Self {
        Budget { host, devices, machine }
    }
}

impl MemoryProbe for Budget {
    fn read(&self, region: Region) -> Option<Reading> {
        let device = |&(index, bytes)| (region == Region::Device(index)).then_some(bytes);
        let budget = match region {
            Region::Host => self.host,
            _ => self.devices.iter().find_map(device),
        };
        match budget {
            Some(capacity) => Some(Reading { capacity, used: 0 }),
            None => self.machine.read(region),
        }
    }

    fn vitals(&self) -> Option<Vitals> {
        self.machine.vitals()
    }

    fn give_back(&self) {
        self.machine.give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn a_budget_hides_the_machine() {
        let machine = Reading { capacity: 1000, used: 400 };
        let probe = |host| Budget::new(host, vec![(2, 70)], Arc::new(Mutex::new(Some(machine))));
        assert_eq!(probe(Some(50)).read(Region::Host), Some(Reading { capacity: 50, used: 0 }));
        assert_eq!(probe(None).read(Region::Host), Some(machine));
        assert_eq!(probe(None).read(Region::Device(2)), Some(Reading { capacity: 70, used: 0 }));
        assert_eq!(probe(None).read(Region::Device(3)), Some(machine));
    }
}
