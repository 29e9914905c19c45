//! A region with a capacity and an allocator that counts, for the host and for a device that is not there.

use plimsoll_engine::{EngineError, Holdings, Region};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A model's weights.
    Weights,
    /// Scratch of a step.
    Workspace,
    /// A KV block.
    Kv,
}

/// Memory of a region, up to its capacity.
#[derive(Debug)]
pub struct ScriptedMemory {
    region: Region,
    capacity: u64,
    refuse: Option<u64>,
    asked: AtomicU64,
    held: Mutex<Holdings>,
}

/// Bytes of a [`ScriptedMemory`], in words of 4; freed when dropped.
#[derive(Debug)]
pub struct Allocation {
    memory: Arc<ScriptedMemory>,
    purpose: Purpose,
    words: Box<[AtomicU32]>,
}

impl ScriptedMemory {
    /// A region that refuses what exceeds its capacity, and the allocation with the number `refuse`, counted from 0.
    pub fn new(region: Region, capacity: u64, refuse: Option<u64>) -> Arc<Self> {
        let (asked, held) = (AtomicU64::new(0), Mutex::default());
        Arc::new(ScriptedMemory { region, capacity, refuse, asked, held })
    }

    /// Takes bytes, rounded down to words, and writes every page of them.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`] beyond the capacity, and when told so.
    pub fn allocate(self: &Arc<Self>, purpose: Purpose, bytes: u64) -> Result<Allocation, EngineError> {
        let refused = || EngineError::OutOfMemory { region: self.region, bytes };
        let count = usize::try_from(bytes / 4).map_err(|_| refused())?;
        let bytes = count as u64 * 4;
        let number = self.asked.fetch_add(1, Ordering::Relaxed);
        let mut held = self.lock();
        let used = held.weights + held.workspace + held.kv;
        let fits = used.checked_add(bytes).is_some_and(|used| used <= self.capacity);
        if !fits || self.refuse == Some(number) {
            return Err(refused());
        }
        let mut words = Vec::new();
        words.try_reserve_exact(count).map_err(|_| refused())?;
        // Not zero: fresh memory must not look like an id.
        words.resize_with(count, || AtomicU32::new(u32::MAX));
        *field(&mut held, purpose) += bytes;
        drop(held);
        Ok(Allocation { memory: Arc::clone(self), purpose, words: words.into_boxed_slice() })
    }

    /// What is allocated now.
    pub fn held(&self) -> Holdings {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Holdings> {
        // Figures are changed in single steps, so a poisoned lock is safe to enter.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allocation {
    /// The memory.
    pub fn words(&self) -> &[AtomicU32] {
        &self.words
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.words.len() as u64 * 4
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        let bytes = self.bytes();
        self.words = Box::default();
        *field(&mut self.memory.lock(), self.purpose) -= bytes;
    }
}

fn field(held: &mut Holdings, purpose: Purpose) -> &mut u64 {
    match purpose {
        Purpose::Weights => &mut held.weights,
        Purpose::Workspace => &mut held.workspace,
        Purpose::Kv => &mut held.kv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_and_scripted_refusals_hold() {
        let memory = ScriptedMemory::new(Region::Device(2), 100, Some(2));
        let first = memory.allocate(Purpose::Kv, 60).unwrap();
        let refused = EngineError::OutOfMemory { region: Region::Device(2), bytes: 44 };
        assert_eq!(memory.allocate(Purpose::Weights, 44).unwrap_err(), refused);
        assert!(memory.allocate(Purpose::Weights, 4).is_err(), "the third is refused whatever is free");
        let second = memory.allocate(Purpose::Workspace, 40).unwrap();
        assert_eq!(memory.held(), Holdings { weights: 0, workspace: 40, kv: 60 });
        drop((first, second));
        assert_eq!(memory.held(), Holdings::default());
        assert!(memory.allocate(Purpose::Kv, u64::MAX).is_err());
    }
}
