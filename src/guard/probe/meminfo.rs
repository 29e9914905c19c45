//! The machine's memory, from `/proc/meminfo`.

use super::{Level, read_text};
use std::path::Path;

/// The machine as a level: all of its memory, and what the kernel says can still be taken.
pub(super) fn level(root: &Path) -> Option<Level> {
    parse(&read_text(root, "proc/meminfo")?)
}

fn parse(text: &str) -> Option<Level> {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
        kib.checked_mul(1024)
    };
    let limit = bytes("MemTotal")?;
    // Kernels before 3.14 do not sum it up themselves.
    let available = bytes("MemAvailable").or_else(|| bytes("MemFree")?.checked_add(bytes("Cached")?))?;
    Some(Level { limit, available: available.min(limit) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_figures_are_found() {
        let text = "MemTotal:       8000 kB\nMemFree:  10 kB\nMemAvailable:    3000 kB\nCached: 5 kB\n";
        assert_eq!(parse(text), Some(Level { limit: 8_192_000, available: 3_072_000 }));
        let old = "MemTotal: 8000 kB\nMemFree: 10 kB\nCached: 5 kB\n";
        assert_eq!(parse(old), Some(Level { limit: 8_192_000, available: 15_360 }));
    }

    #[test]
    fn malformed_text_is_no_level() {
        for text in [
            "",
            "MemTotal: many kB\nMemAvailable: 1 kB\n",
            "MemTotal: 8000 kB\n",
            "MemTotal: 8000\nMemAvailable: 1 kB\n",
            "MemTotal: 18446744073709551615 kB\nMemAvailable: 1 kB\n",
            "MemTotal: -1 kB\nMemAvailable: 1 kB\n",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
