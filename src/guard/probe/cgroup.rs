//! Control groups, version 1, version 2, or both at once.
//!
//! A process is a member of one group per hierarchy (`/proc/self/cgroup`); a hierarchy is mounted somewhere, possibly not
//! from its top (`/proc/self/mountinfo`). Every group from the process's own up to the mount bounds it.

use super::{Level, read_number, read_text};
use std::path::{Component, Path, PathBuf};

/// Version 1 writes "no limit" as the largest count of whole pages; nothing real is near it.
const NO_LIMIT: u64 = 1 << 62;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// The limits of all groups above the process that have one, from the innermost of each hierarchy.
pub(super) fn levels(root: &Path) -> Vec<Level> {
    let memberships = read_text(root, "proc/self/cgroup").unwrap_or_default();
    let mounts = read_text(root, "proc/self/mountinfo").unwrap_or_default();
    let mut levels = Vec::new();
    for line in memberships.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(hierarchy), Some(controllers), Some(group)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let version = match (hierarchy, controllers) {
            ("0", "") => Version::Two,
            _ if controllers.split(',').any(|name| name == "memory") => Version::One,
            _ => continue,
        };
        let mount = find_mount(&mounts, version).unwrap_or_else(|| default_mount(root, version));
        for directory in mount.directories(group) {
            levels.extend(match version {
                Version::One => level_v1(root, &directory),
                Version::Two => level_v2(root, &directory),
            });
        }
    }
    levels
}

/// Where a hierarchy is mounted, and which of its groups is seen there.
struct Mount {
    top: String,
    at: PathBuf,
}

impl Mount {
    /// The directories of a group and of those above it, as far as they are visible.
    fn directories(&self, group: &str) -> Vec<PathBuf> {
        let below = Path::new(group).strip_prefix(&self.top).unwrap_or(Path::new(""));
        // A group outside of our namespace is shown with "..": only the mount itself can then be trusted to be above us.
        let inside = below.components().all(|part| matches!(part, Component::Normal(_)));
        let below = if inside { below } else { Path::new("") };
        below.ancestors().map(|part| self.at.join(part)).collect()
    }
}

/// The hierarchy's mount by the kernel's own table:
/// `id parent device top mount-point options [tags] - type source super-options`.
fn find_mount(mounts: &str, version: Version) -> Option<Mount> {
    mounts.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let (name, options) = (kind.next()?, kind.nth(1)?);
        let found = match version {
            Version::Two => name == "cgroup2",
            Version::One => name == "cgroup" && options.split(',').any(|option| option == "memory"),
        };
        let mut mount = mount.split(' ').skip(3);
        let (top, at) = (mount.next()?, mount.next()?);
        found.then(|| Mount { top: top.to_owned(), at: PathBuf::from(at) })
    })
}

/// Where systemd mounts it, when the table cannot be read.
fn default_mount(root: &Path, version: Version) -> Mount {
    let unified = || root.join("sys/fs/cgroup/unified").is_dir();
    let at = match version {
        Version::One => "/sys/fs/cgroup/memory",
        Version::Two if unified() => "/sys/fs/cgroup/unified",
        Version::Two => "/sys/fs/cgroup",
    };
    Mount { top: "/".to_owned(), at: PathBuf::from(at) }
}

/// `memory.max` is the hard limit; at `memory.high` the kernel starts to slow the process down, so the smaller counts.
fn level_v2(root: &Path, directory: &Path) -> Option<Level> {
    let bound = |name| read_number(root, directory.join(name));
    let limit = [bound("memory.max"), bound("memory.high")].into_iter().flatten().min()?;
    let used = bound("memory.current").unwrap_or(0);
    let cache = statistic(root, directory, "inactive_file").unwrap_or(0);
    Some(level(limit, used, cache))
}

/// A group sees limits above its mount only in its statistics.
fn level_v1(root: &Path, directory: &Path) -> Option<Level> {
    let own = read_number(root, directory.join("memory.limit_in_bytes"))?;
    let above = statistic(root, directory, "hierarchical_memory_limit").unwrap_or(u64::MAX);
    let limit = Some(own.min(above)).filter(|&limit| limit < NO_LIMIT)?;
    let used = read_number(root, directory.join("memory.usage_in_bytes")).unwrap_or(0);
    let cache = statistic(root, directory, "total_inactive_file").unwrap_or(0);
    Some(level(limit, used, cache))
}

fn level(limit: u64, used: u64, cache: u64) -> Level {
    Level { limit, available: limit.saturating_sub(used.saturating_sub(cache)) }
}

fn statistic(root: &Path, directory: &Path, name: &str) -> Option<u64> {
    let text = read_text(root, directory.join("memory.stat"))?;
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}
