//! The machine's and the process's own figures, from `/proc`.

use super::{meminfo, read_text};
use plimsoll_engine::Vitals;
use std::path::Path;

/// What can be read; figures that cannot are 0. `None` where not even the machine's memory can.
pub(super) fn vitals(root: &Path) -> Option<Vitals> {
    let machine = meminfo::level(root)?;
    let (cpu_time, cpu_busy) = read_text(root, "proc/stat").and_then(|text| cores(&text)).unwrap_or_default();
    Some(Vitals {
        cpu_time,
        cpu_busy,
        cpu_own: read_text(root, "proc/self/stat").and_then(|text| process(&text)).unwrap_or(0),
        memory_total: machine.limit,
        memory_available: machine.available,
        resident: read_text(root, "proc/self/status").and_then(|text| resident(&text)).unwrap_or(0),
        heap: None,
    })
}

/// Ticks of all cores, and those of them in which they were busy: `cpu user nice system idle iowait irq softirq steal ..`.
/// What guests had is counted with the user's.
fn cores(stat: &str) -> Option<(u64, u64)> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let mut ticks = [0_u64; 8];
    for (slot, field) in ticks.iter_mut().zip(fields.split_ascii_whitespace()) {
        *slot = field.parse().ok()?;
    }
    let all = ticks.iter().fold(0_u64, |sum, &ticks| sum.saturating_add(ticks));
    let idle = ticks[3].saturating_add(ticks[4]);
    Some((all, all.saturating_sub(idle)))
}

/// Ticks of the process, its user's and the system's: the 14th and the 15th field. The second one, the program's name in
/// brackets, may have blanks and brackets in it.
fn process(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    next()?.checked_add(next()?)
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found() {
        let stat = "cpu  100 5 40 800 50 1 2 2 7 0\ncpu0 1 2 3\n";
        assert_eq!(cores(stat), Some((1000, 150)));
        let own = "42 (a) b (c) R 1 42 42 0 -1 4194560 9 0 0 0 30 12 0 0 20 0 8 0";
        assert_eq!(process(own), Some(42));
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn malformed_text_is_no_figure() {
        assert_eq!(cores("intr 1 2\n"), None);
        assert_eq!(cores("cpu a b\n"), None);
        assert_eq!(process("42 (a) R 1 2"), None);
        assert_eq!(process("no bracket"), None);
        assert_eq!(resident("VmRSS: 18446744073709551615 kB\n"), None);
        assert_eq!(vitals(Path::new("/nowhere/at/all")), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_machine_has_them() {
        let now = vitals(Path::new("/")).unwrap();
        assert!(now.resident > 1 << 20 && now.resident < now.memory_total, "{now:?}");
        assert!(now.cpu_own <= now.cpu_busy && now.cpu_busy <= now.cpu_time, "{now:?}");
        assert!(now.memory_available <= now.memory_total && now.memory_available > 0, "{now:?}");
    }
}
