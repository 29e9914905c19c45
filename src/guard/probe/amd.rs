//! Devices of AMD's kernel driver, from sysfs.

use super::nvml::DeviceMemory;
use super::read_number;
use std::path::{Path, PathBuf};

/// The folders of the devices that say how much memory they have, in the order of their cards' numbers.
pub(super) fn devices(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root.join("sys/class/drm")) else { return Vec::new() };
    let mut cards: Vec<(u32, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            // "card0", not "card0-DP-1", which is a connector of it.
            let number = path.file_name()?.to_str()?.strip_prefix("card")?.parse().ok()?;
            let device = path.join("device");
            memory(&device).map(|_| (number, device))
        })
        .collect();
    cards.sort_unstable();
    cards.into_iter().map(|(_, device)| device).collect()
}

/// A device's memory now.
pub(super) fn memory(device: &Path) -> Option<DeviceMemory> {
    let capacity = read_number(device, "mem_info_vram_total").filter(|&total| total > 0)?;
    let used = read_number(device, "mem_info_vram_used").filter(|&used| used <= capacity)?;
    Some(DeviceMemory { capacity, used, free: capacity - used, ours: None })
}
