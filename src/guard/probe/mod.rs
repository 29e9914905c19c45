//! Where readings come from: budgets, control groups, the kernel.

mod amd;
mod budget;
mod cgroup;
mod devices;
mod meminfo;
mod nvml;
mod vitals;

pub use budget::Budget;
pub use devices::Devices;
pub use nvml::{DeviceMemory, Nvml, NvmlError};

use plimsoll_engine::{MemoryProbe, Reading, Region, Vitals};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The most that is read of one of the kernel's files.
const LARGEST_FILE: u64 = 1 << 20;

/// One bound on the process's memory: the machine, or a control group above the process. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Level {
    limit: u64,
    // Of the limit, what can still be taken; page cache that can be dropped counts as available.
    available: u64,
}

/// Reads the machine's memory and the control groups that bound it. Linux; elsewhere nothing can be read and a budget must
/// be configured.
#[derive(Debug)]
pub struct SystemProbe {
    root: PathBuf,
    /// Looked for when the first device is asked for.
    devices: OnceLock<Devices>,
}

impl Default for SystemProbe {
    fn default() -> Self {
        SystemProbe::with_root("/")
    }
}

impl SystemProbe {
    /// The accelerators, which are looked for once.
    pub fn devices(&self) -> &Devices {
        self.devices.get_or_init(|| Devices::find(None, &self.root))
    }

    /// A probe that finds `proc` and `sys` under another directory than `/`.
    pub fn with_root(root: impl Into<PathBuf>) -> Self {
        SystemProbe { root: root.into(), devices: OnceLock::new() }
    }
}

impl MemoryProbe for SystemProbe {
    /// The host's reading: of the machine and all control groups above the process, the smallest limit and the smallest
    /// availability. Levels that cannot be read are left out.
    fn read(&self, region: Region) -> Option<Reading> {
        match region {
            Region::Host => {}
            Region::Device(index) => return self.devices().memory(index.into()).map(DeviceMemory::reading),
            _ => return None,
        }
        let levels = || meminfo::level(&self.root).into_iter().chain(cgroup::levels(&self.root));
        let capacity = levels().map(|level| level.limit).min()?;
        let available = levels().map(|level| level.available).min()?;
        Some(Reading { capacity, used: capacity.saturating_sub(available) })
    }

    fn vitals(&self) -> Option<Vitals> {
        let vitals = vitals::vitals(&self.root)?;
        #[cfg(any(feature = "alloc-mimalloc", feature = "alloc-system"))]
        let vitals = Vitals { heap: Some(crate::alloc::heap_bytes()), ..vitals };
        Some(vitals)
    }

    fn give_back(&self) {
        #[cfg(any(feature = "alloc-mimalloc", feature = "alloc-system"))]
        crate::alloc::give_back();
    }
}

/// A small text file under the root; `None` if it cannot be read whole.
fn read_text(root: &Path, path: impl AsRef<Path>) -> Option<String> {
    let path = path.as_ref();
    let file = std::fs::File::open(root.join(path.strip_prefix("/").unwrap_or(path))).ok()?;
    let mut text = String::new();
    let read = file.take(LARGEST_FILE).read_to_string(&mut text).ok()?;
    (read as u64).lt(&LARGEST_FILE).then_some(text)
}

/// The number that a file consists of.
fn read_number(root: &Path, path: impl AsRef<Path>) -> Option<u64> {
    read_text(root, path)?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
