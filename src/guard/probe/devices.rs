//! The machine's accelerators, whoever made them.

use super::amd;
use super::nvml::{DeviceMemory, Nvml, NvmlError};
use std::path::{Path, PathBuf};

/// Accelerators: NVIDIA's in their driver's order, then AMD's in that of their cards.
#[derive(Debug)]
pub struct Devices {
    nvml: Option<Nvml>,
    amd: Vec<PathBuf>,
}

impl Devices {
    /// Looks for devices: by the library at `nvml` ([`Nvml::open`]'s where `None`), and in `sys` below `root`. A library that is
    /// there and does not work is told to the log.
    pub fn find(nvml: Option<&Path>, root: &Path) -> Devices {
        let nvml = match nvml.map_or_else(Nvml::open, Nvml::open_at) {
            Ok(nvml) => Some(nvml),
            Err(NvmlError::Absent(why)) => {
                log::debug!("no devices of NVIDIA's driver: {why}");
                None
            }
            Err(broken) => {
                log::warn!("the devices of NVIDIA's driver cannot be read: {broken}");
                None
            }
        };
        Devices { nvml, amd: amd::devices(root) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.nvml.as_ref().map_or(0, Nvml::devices) + self.amd.len()
    }

    /// A device's memory now; `None` for one that is not there or does not answer, which the log is told.
    pub fn memory(&self, index: usize) -> Option<DeviceMemory> {
        let first = self.nvml.as_ref().map_or(0, Nvml::devices);
        if let Some(nvml) = self.nvml.as_ref().filter(|_| index < first) {
            return match nvml.memory(index) {
                Ok(memory) => Some(memory),
                Err(error) => {
                    log::warn!("device {index} cannot be read: {error}");
                    None
                }
            };
        }
        amd::memory(self.amd.get(index - first)?)
    }
}
