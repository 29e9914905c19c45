//! The memory report: who has how much, how short memory is, what to look at; a table for people.

use super::{CleanupRecord, MonitorStats};
use crate::guard::{MemoryStats, OwnerStats, RegionStats};
use std::fmt::{self, Write};

/// Owners of a region that have a line of their own; the rest share one.
const MOST_OWNERS: usize = 20;

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { 100.0 * part as f64 / whole as f64 }
}

/// The report as lines of text, in MiB, the largest owners first. `heap` is the library's, and what of it is unbooked.
pub(super) fn report(memory: &MemoryStats, monitor: &MonitorStats, heap: Option<(u64, u64)>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write(&mut text, memory, monitor, heap);
    text
}

fn write(
    out: &mut String,
    memory: &MemoryStats,
    monitor: &MonitorStats,
    heap: Option<(u64, u64)>,
) -> fmt::Result {
    for region in &memory.regions {
        write_region(out, region, monitor)?;
        let mut owners: Vec<&OwnerStats> =
            memory.ledger.iter().filter(|entry| entry.region == region.region).collect();
        owners.sort_by(|a, b| b.bytes.cmp(&a.bytes).then(a.owner.cmp(&b.owner)));
        write_owners(out, region, &owners)?;
    }
    let changes = match memory.pressure_changes {
        1 => "1 change".to_owned(),
        changes => format!("{changes} changes"),
    };
    writeln!(out, "pressure  {}, {changes}, {} degraded", memory.pressure.name(), memory.degraded_count)?;
    writeln!(out, "sessions  {} open, {} evictions", memory.active_sessions, memory.evictions)?;
    let MemoryStats { accepted_count, shrunk_count, rejected_count, routed_count, .. } = memory;
    writeln!(
        out,
        "requests  {accepted_count} accepted, {shrunk_count} shrunk, {rejected_count} refused, {routed_count} routed"
    )?;
    if let Some((heap, unbooked)) = heap {
        let (heap, unbooked) = (mib(heap), mib(unbooked));
        writeln!(out, "heap      {heap:.1} MiB, {unbooked:.1} of it in no owner's name")?;
    }
    write_cleanups(out, &monitor.cleanup, monitor)?;
    if monitor.alerts.is_empty() {
        return writeln!(out, "alerts    none");
    }
    for (index, alert) in monitor.alerts.iter().enumerate() {
        let seconds = monitor.now.saturating_sub(alert.raised).as_secs();
        writeln!(out, "{:<9} {alert} (for {seconds} s)", if index == 0 { "alerts" } else { "" })?;
    }
    Ok(())
}

fn write_region(out: &mut String, region: &RegionStats, monitor: &MonitorStats) -> fmt::Result {
    let level = monitor.region(region.region).map_or("unknown", |(last, _)| last.level.name());
    let used = percent(region.taken(), region.capacity);
    let name = region.region.to_string();
    writeln!(out, "{name:<28} {:>10.1} MiB, {used:.1} % in use: {level}", mib(region.capacity))?;
    for (what, bytes) in [("leased", region.used), ("at most so far", region.peak), ("others", region.others)]
    {
        writeln!(out, "  {what:<26} {:>10.1}", mib(bytes))?;
    }
    writeln!(
        out,
        "  {:<26} {:>10.1} of {:.1} that may be leased",
        "free",
        mib(region.free),
        mib(region.limit)
    )
}

fn write_owners(out: &mut String, region: &RegionStats, owners: &[&OwnerStats]) -> fmt::Result {
    if owners.is_empty() {
        return Ok(());
    }
    writeln!(out, "  {:<26} {:>10} {:>8}", "owner", "MiB", "share")?;
    let mut line = |name: &str, bytes: u64| {
        writeln!(out, "  {name:<26} {:>10.3} {:>6.1} %", mib(bytes), percent(bytes, region.used))
    };
    for entry in owners.iter().take(MOST_OWNERS) {
        line(&entry.owner.to_string(), entry.bytes)?;
    }
    let rest = owners.get(MOST_OWNERS..).unwrap_or_default();
    if !rest.is_empty() {
        let bytes = rest.iter().fold(0, |sum: u64, entry| sum.saturating_add(entry.bytes));
        line(&format!("{} more", rest.len()), bytes)?;
    }
    Ok(())
}

fn write_cleanups(out: &mut String, record: &CleanupRecord, monitor: &MonitorStats) -> fmt::Result {
    let Some(last) = record.last else { return writeln!(out, "cleanups  none") };
    let seconds = monitor.now.saturating_sub(last).as_secs();
    let (runs, freed) = (record.runs, mib(record.freed));
    writeln!(out, "cleanups  {runs}, {freed:.1} MiB came back; the last was {seconds} s ago")
}
