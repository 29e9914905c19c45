//! Readings of accelerators: from a management library that a test has made, and from a tree like sysfs.

#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

use common::Scratch;
use plimsoll::guard::probe::{DeviceMemory, Devices, Nvml, NvmlError, SystemProbe};
use plimsoll_engine::{MemoryProbe, Reading, Region};
use std::path::{Path, PathBuf};
use std::process::Command;

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/devices/fake.c");

/// A library that reads its figures from a file.
struct Fake {
    folder: Scratch,
    library: PathBuf,
}

impl Fake {
    fn new(without: &[&str]) -> Fake {
        let folder = Scratch::empty();
        let library = folder.file("libfake.so");
        let mut cc = Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".into()));
        cc.args(["-shared", "-fPIC", "-Wall", "-Werror", FAKE, "-o"]).arg(&library);
        cc.arg(format!("-DSCRIPT=\"{}\"", folder.file("script").display()));
        cc.args(without.iter().map(|name| format!("-DWITHOUT_{name}")));
        assert!(cc.status().unwrap().success());
        Fake { folder, library }
    }

    fn say(&self, script: &str) -> &Self {
        std::fs::write(self.folder.file("script"), script).unwrap();
        self
    }

    fn open(&self) -> Result<Nvml, NvmlError> {
        Nvml::open_at(&self.library)
    }
}

#[test]
fn figures_are_read_anew_each_time() {
    let fake = Fake::new(&[]);
    let nvml = fake.say("devices=2\ntotal=1000\nused=400\nfree=590\nmine=150\n").open().unwrap();
    assert_eq!(
        (nvml.devices(), nvml.uuid(0), nvml.uuid(1), nvml.uuid(2)),
        (2, Some("GPU-0"), Some("GPU-1"), None)
    );
    let memory = DeviceMemory { capacity: 1001, used: 400, free: 590, ours: Some(150) };
    assert_eq!(nvml.memory(1), Ok(memory));
    assert_eq!(memory.reading(), Reading { capacity: 1001, used: 400 });
    fake.say("used=900\nfree=90\nmine=650\n");
    assert_eq!(nvml.memory(0), Ok(DeviceMemory { capacity: 1000, used: 900, free: 90, ours: Some(650) }));
    // The same library is loaded once, and initialised as often as it is shut down.
    drop(nvml);
    assert_eq!(fake.open().unwrap().devices(), 1);
}

#[test]
fn what_the_driver_does_not_say_of_us_is_not_invented() {
    let fake = Fake::new(&[]);
    let nvml = fake.say("").open().unwrap();
    assert_eq!(nvml.memory(0).unwrap().ours, None, "no process is ours, as in a container");
    fake.say("mine=-1\n");
    assert_eq!(nvml.memory(0).unwrap().ours, None, "all ones");
    fake.say("mine=7\nnvmlDeviceGetComputeRunningProcesses_v3=4\n");
    assert_eq!(nvml.memory(0).unwrap().ours, None, "no permission");
    fake.say("mine=7\nprocesses=300\n");
    assert_eq!(nvml.memory(0).unwrap().ours, Some(7), "more processes than there was room for");
    fake.say("mine=7\nprocesses=100000\n");
    assert_eq!(nvml.memory(0).unwrap().ours, None, "more than anybody has");
    let old = Fake::new(&["PROCESSES"]);
    assert_eq!(old.say("").open().unwrap().memory(0).unwrap().ours, None, "an older driver");
}

#[test]
fn a_broken_library_says_what_is_broken() {
    let absent = Nvml::open_at(Path::new("/nowhere/libnvidia-ml.so.1")).unwrap_err();
    assert!(matches!(&absent, NvmlError::Absent(why) if why.contains("/nowhere")), "{absent}");
    let text = Scratch::empty();
    std::fs::write(text.file("text.so"), "no library").unwrap();
    assert!(matches!(Nvml::open_at(&text.file("text.so")), Err(NvmlError::Absent(_))));

    let lacking = Fake::new(&["MEMORY"]);
    assert_eq!(lacking.open().unwrap_err(), NvmlError::Symbol("nvmlDeviceGetMemoryInfo"));

    let fake = Fake::new(&[]);
    for function in
        ["nvmlInit_v2", "nvmlDeviceGetCount_v2", "nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"]
    {
        fake.say(&format!("{function}=9\n"));
        assert_eq!(fake.open().unwrap_err(), NvmlError::Failed { function, code: 9 });
    }
    let nvml = fake.say("").open().unwrap();
    let function = "nvmlDeviceGetMemoryInfo";
    fake.say("nvmlDeviceGetMemoryInfo=15\n");
    assert_eq!(nvml.memory(0), Err(NvmlError::Failed { function, code: 15 }), "a device that is lost");
    fake.say("");
    assert!(nvml.memory(0).is_ok(), "and is back");
    assert!(nvml.memory(1).is_err(), "there is one device");
    for nonsense in ["total=0\n", "used=1001\n", "free=1001\n"] {
        fake.say(nonsense);
        assert_eq!(nvml.memory(0), Err(NvmlError::Failed { function, code: 0 }), "{nonsense}");
    }
}

#[test]
fn the_devices_of_both_makers_are_numbered_in_one_row() {
    let tree = Scratch::empty();
    let card = |name: &str, total: &str, used: &str| {
        let device = tree.path().join("sys/class/drm").join(name).join("device");
        std::fs::create_dir_all(&device).unwrap();
        std::fs::write(device.join("mem_info_vram_total"), total).unwrap();
        std::fs::write(device.join("mem_info_vram_used"), used).unwrap();
        device
    };
    card("card10", "3000\n", "30\n");
    let second = card("card2", "2000\n", "20\n");
    card("card2-DP-1", "1\n", "0\n");
    card("card3", "not a number\n", "0\n");
    card("renderD128", "1\n", "0\n");
    let amd = |capacity, used| Some(DeviceMemory { capacity, used, free: capacity - used, ours: None });

    let fake = Fake::new(&[]);
    fake.say("");
    let both = Devices::find(Some(&fake.library), tree.path());
    assert_eq!(both.count(), 3);
    assert_eq!(both.memory(0).map(|memory| memory.capacity), Some(1000));
    assert_eq!((both.memory(1), both.memory(2), both.memory(3)), (amd(2000, 20), amd(3000, 30), None));
    std::fs::write(second.join("mem_info_vram_used"), "2001\n").unwrap();
    assert_eq!(both.memory(1), None, "more is used than there is");
    std::fs::write(second.join("mem_info_vram_used"), "25\n").unwrap();
    assert_eq!(both.memory(1), amd(2000, 25));

    let broken = Fake::new(&["MEMORY"]);
    assert_eq!(
        Devices::find(Some(&broken.library), tree.path()).count(),
        2,
        "a broken library hides no other device"
    );
    fake.say("nvmlDeviceGetMemoryInfo=15\n");
    assert_eq!(both.memory(0), None);
}

#[test]
fn the_machines_probe_reads_its_devices() {
    let tree = Scratch::empty();
    let device = tree.path().join("sys/class/drm/card0/device");
    std::fs::create_dir_all(&device).unwrap();
    std::fs::write(device.join("mem_info_vram_total"), "5000").unwrap();
    std::fs::write(device.join("mem_info_vram_used"), "50").unwrap();
    let probe = SystemProbe::with_root(tree.path());
    // Devices of a driver that this very machine may have come first.
    let last = u8::try_from(probe.devices().count() - 1).unwrap();
    assert_eq!(probe.read(Region::Device(last)), Some(Reading { capacity: 5000, used: 50 }));
    assert_eq!(probe.read(Region::Device(last + 1)), None);
    assert_eq!(probe.read(Region::Host), None, "there is no /proc in the tree");
}
