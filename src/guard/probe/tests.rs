//! Fixture directories in the place of `/proc` and `/sys`.

use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

const MEMINFO: &str = "MemTotal: 8000 kB\nMemFree: 1000 kB\nMemAvailable: 6000 kB\n";
const KIB: u64 = 1024;

/// A directory that is removed when it goes.
struct Fixture(PathBuf);

impl Fixture {
    fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("plimsoll-probe-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let fixture = Fixture(std::env::temp_dir().join(name));
        for (path, text) in files {
            let path = fixture.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        fixture
    }

    fn read(&self) -> Option<Reading> {
        SystemProbe::with_root(&self.0).read(Region::Host)
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // A leftover in the temporary directory is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn reading(capacity: u64, used: u64) -> Option<Reading> {
    Some(Reading { capacity, used })
}

#[test]
fn without_groups_the_machine_counts() {
    assert_eq!(Fixture::new(&[("proc/meminfo", MEMINFO)]).read(), reading(8000 * KIB, 2000 * KIB));
    assert_eq!(Fixture::new(&[("proc/version", "")]).read(), None);
    let other = Fixture::new(&[("proc/meminfo", MEMINFO)]);
    assert_eq!(SystemProbe::with_root(&other.0).read(Region::Device(0)), None);
}

#[test]
fn version_2_takes_the_nested_minimum() {
    let fixture = Fixture::new(&[
        ("proc/meminfo", MEMINFO),
        ("proc/self/cgroup", "0::/user.slice/app.scope\n"),
        ("sys/fs/cgroup/user.slice/memory.max", "3000000\n"),
        ("sys/fs/cgroup/user.slice/memory.current", "2900000\n"),
        ("sys/fs/cgroup/user.slice/memory.stat", "anon 5\ninactive_file 400000\nactive_file 7\n"),
        ("sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n"),
        ("sys/fs/cgroup/user.slice/app.scope/memory.high", "2000000\n"),
        ("sys/fs/cgroup/user.slice/app.scope/memory.current", "700000\n"),
    ]);
    // The inner group bounds what there is; the outer one has less left: 3000000 − 2500000.
    assert_eq!(fixture.read(), reading(2_000_000, 1_500_000));
}

#[test]
fn no_limit_is_no_level() {
    let v2 = [
        ("proc/meminfo", MEMINFO),
        ("proc/self/cgroup", "0::/app\n"),
        ("sys/fs/cgroup/app/memory.max", "max\n"),
        ("sys/fs/cgroup/app/memory.current", "700000\n"),
    ];
    assert_eq!(Fixture::new(&v2).read(), reading(8000 * KIB, 2000 * KIB));
    let v1 = [
        ("proc/meminfo", MEMINFO),
        ("proc/self/cgroup", "9:memory:/app\n"),
        ("sys/fs/cgroup/memory/app/memory.limit_in_bytes", "9223372036854771712\n"),
        ("sys/fs/cgroup/memory/app/memory.usage_in_bytes", "700000\n"),
    ];
    assert_eq!(Fixture::new(&v1).read(), reading(8000 * KIB, 2000 * KIB));
}

#[test]
fn version_1_in_a_container_is_found_by_its_mount() {
    let fixture = Fixture::new(&[
        ("proc/meminfo", MEMINFO),
        (
            "proc/self/cgroup",
            "11:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n1:name=systemd:/docker/abc\n",
        ),
        (
            "proc/self/mountinfo",
            "31 30 0:26 /docker/abc /sys/fs/cgroup/cpu ro - cgroup cgroup rw,cpu,cpuacct\n\
             32 30 0:27 /docker/abc /mnt/memory ro master:9 - cgroup cgroup rw,memory\n",
        ),
        ("mnt/memory/memory.limit_in_bytes", "5000000\n"),
        ("mnt/memory/memory.usage_in_bytes", "1500000\n"),
        (
            "mnt/memory/memory.stat",
            "cache 9\nhierarchical_memory_limit 4000000\ntotal_inactive_file 500000\n",
        ),
    ]);
    assert_eq!(fixture.read(), reading(4_000_000, 1_000_000));
}

#[test]
fn hybrid_uses_whichever_hierarchy_has_the_limits() {
    let files = [
        ("proc/meminfo", MEMINFO),
        ("proc/self/cgroup", "5:memory:/job/step\n0::/job.scope\n"),
        ("sys/fs/cgroup/unified/job.scope/cgroup.procs", "1\n"),
        ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "4000000\n"),
        ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "100\n"),
        ("sys/fs/cgroup/memory/job/step/memory.limit_in_bytes", "6000000\n"),
        ("sys/fs/cgroup/memory/job/step/memory.usage_in_bytes", "90\n"),
    ];
    // 8192000 − 6144000 bytes of the machine are used, and 100 of the group: more is left there than the group has.
    assert_eq!(Fixture::new(&files).read(), reading(4_000_000, 100));
    let mut both = files.to_vec();
    both.push(("sys/fs/cgroup/unified/job.scope/memory.max", "3000000\n"));
    assert_eq!(Fixture::new(&both).read(), reading(3_000_000, 0));
}

#[test]
fn a_group_outside_of_the_namespace_is_bounded_by_the_mount() {
    let fixture = Fixture::new(&[
        ("proc/meminfo", MEMINFO),
        ("proc/self/cgroup", "0::/../other\n"),
        ("sys/fs/cgroup/memory.max", "2000000\n"),
        ("sys/fs/other/memory.max", "1\n"),
    ]);
    assert_eq!(fixture.read(), reading(2_000_000, 0));
}

#[test]
fn malformed_files_are_left_out() {
    for text in ["", "12x\n", "-5\n", "99999999999999999999999\n", "\u{0}\n", "1 2\n"] {
        let fixture = Fixture::new(&[
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "garbage\n0\n:::\n0::/a/b\n"),
            ("proc/self/mountinfo", "nonsense\n1 2 3 - cgroup2\n"),
            ("sys/fs/cgroup/a/memory.max", "3000000\n"),
            ("sys/fs/cgroup/a/memory.current", text),
            ("sys/fs/cgroup/a/b/memory.max", text),
        ]);
        assert_eq!(fixture.read(), reading(3_000_000, 0), "{text:?}");
    }
    let huge = "1".repeat(2 << 20);
    let fixture = Fixture::new(&[("proc/meminfo", MEMINFO), ("proc/self/cgroup", &huge)]);
    assert_eq!(fixture.read(), reading(8000 * KIB, 2000 * KIB));
}

#[test]
#[cfg(target_os = "linux")]
fn this_machine_can_be_read() {
    let reading = SystemProbe::default().read(Region::Host).unwrap();
    assert!(reading.capacity > 1 << 20 && reading.used <= reading.capacity, "{reading:?}");
}
