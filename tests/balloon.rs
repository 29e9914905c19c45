//! A balloon: someone else takes memory while requests run. The guard sees it within the age of a reading and degrades; what was
//! admitted runs to its end. Once with a scripted machine, and once with real memory in a control group, where one can be made.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::config;
use plimsoll::guard::SystemProbe;
use plimsoll::{Cancel, Config, Ending, Flow, Input, Model, Pressure, Request, Runtime, Session};
use plimsoll_engine::{MemoryProbe, Reading, Region, SystemClock};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How old a reading may be, and what a busy machine may add until the thread that looks has run.
const SEEN: Duration = Duration::from_millis(100);
const BUSY: Duration = Duration::from_millis(40);
/// Of so many balloons one must be seen in time on any machine; all must be seen.
const BALLOONS: usize = 6;
/// Names the control group to a child of this test.
const INSIDE: &str = "PLIMSOLL_BALLOON_GROUP";

fn demo(runtime: &Runtime) -> Model {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    runtime.load_model("demo", &folder, &config(&[("native.threads", "1")]), &|_| true).unwrap()
}

fn request(seed: u32) -> Request {
    let mut request = Request::default();
    request.set_input(Input::Tokens(vec![40 + seed; 20]));
    (request.max_tokens, request.ignore_eos) = (40, true);
    request
}

/// Says when it goes, whatever makes it go.
struct Says<'a>(&'a AtomicBool);

impl Drop for Says<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// Blows balloons up while requests run. `blow` takes memory or gives it back, and returns when that is so.
fn run(runtime: &Runtime, model: &Model, mut blow: impl FnMut(bool)) -> Vec<Duration> {
    let over = AtomicBool::new(false);
    let degraded = AtomicU64::new(0);
    let throttle = Arc::clone(runtime.guard().throttle());
    // Only what engines read is looked at: a question to the guard would make it look at the machine.
    let until = |squeezed: bool| {
        let started = Instant::now();
        while (throttle.of(100) < 100) != squeezed {
            assert!(started.elapsed() < Duration::from_secs(20), "not seen in 20 s");
            thread::sleep(Duration::from_micros(200));
        }
        started.elapsed()
    };
    let mut seen = Vec::new();
    thread::scope(|scope| {
        let ends = Says(&over);
        let members: Vec<_> = (0..4)
            .map(|seed| {
                let (over, degraded) = (&over, &degraded);
                scope.spawn(move || {
                    let session = Session::open(model, &Config::new()).unwrap();
                    let mut ran = 0;
                    while !over.load(SeqCst) {
                        let mut request = request(seed);
                        request.wait = Duration::from_secs(30);
                        let outcome = session.generate(&request, None, &Cancel::new(), |_| Flow::Continue);
                        let outcome =
                            outcome.unwrap_or_else(|error| panic!("it was admitted or waited: {error}"));
                        assert_eq!(
                            (outcome.ending, outcome.generated_tokens),
                            (Ending::Length, outcome.verdict.granted_tokens)
                        );
                        let less = outcome.verdict.granted_tokens < request.max_tokens;
                        assert!(less == (outcome.verdict.pressure > Pressure::Low), "{:?}", outcome.verdict);
                        degraded.fetch_add(u64::from(less), SeqCst);
                        ran += 1;
                        session.reset().unwrap();
                    }
                    ran
                })
            })
            .collect();
        for _ in 0..BALLOONS {
            until(false);
            thread::sleep(Duration::from_millis(30));
            blow(true);
            seen.push(until(true));
            // The first stays until a request has begun under it, which takes its time on a busy machine.
            let since = Instant::now();
            while degraded.load(SeqCst) == 0 {
                assert!(since.elapsed() < Duration::from_secs(20), "nobody was given less in 20 s");
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_millis(50));
            runtime.guard().check_integrity().unwrap();
            blow(false);
        }
        until(false);
        drop(ends);
        assert!(members.into_iter().all(|member| member.join().unwrap() > 0));
    });
    let stats = runtime.memory();
    assert!(stats.pressure_changes >= 2 * BALLOONS as u64);
    assert_eq!((stats.pressure, stats.request_bytes, stats.active_sessions), (Pressure::Low, 0, 0));
    seen
}

fn assert_in_time(seen: &[Duration]) {
    println!("seen after {seen:?}");
    assert!(seen.iter().any(|&after| after <= SEEN + BUSY), "{seen:?}");
}

/// A machine of a few numbers, and what the model holds of it.
#[derive(Default)]
struct Scripted {
    balloon: AtomicU64,
    model: Mutex<Option<Model>>,
}

const CAPACITY: u64 = 256 << 20;

impl MemoryProbe for Scripted {
    fn read(&self, region: Region) -> Option<Reading> {
        let model = self.model.lock().unwrap().clone();
        let held = model.map(|model| model.holdings()).unwrap_or_default();
        let used = held.weights + held.workspace + held.kv + self.balloon.load(SeqCst);
        (region == Region::Host).then_some(Reading { capacity: CAPACITY, used })
    }
}

#[test]
fn a_balloon_on_a_scripted_machine() {
    let probe = Arc::new(Scripted::default());
    let clock = Arc::new(SystemClock::default());
    let settings = config(&[("guard.threshold", "0.98"), ("guard.reserve_mb", "0")]);
    let runtime = Runtime::with_environment(&settings, probe.clone(), clock).unwrap();
    let model = demo(&runtime);
    *probe.model.lock().unwrap() = Some(model.clone());
    let fixed = runtime.memory().host().used;
    let seen = run(&runtime, &model, |up| {
        probe.balloon.store(if up { CAPACITY / 100 * 92 - fixed } else { 0 }, SeqCst);
    });
    assert_in_time(&seen);
    // The probe must not keep the runtime that keeps it.
    probe.model.lock().unwrap().take();
}

/// A control group below this process's own, until dropped.
struct Group(PathBuf);

impl Group {
    /// As large as so many bytes; `None` where none can be made.
    fn new(bytes: u64) -> Option<Group> {
        let memberships = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let find = |line: &str, v2: bool| {
            let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
            let found =
                if v2 { controllers.is_empty() } else { controllers.split(',').any(|name| name == "memory") };
            found.then(|| group.trim_start_matches('/').to_owned())
        };
        let name = format!("plimsoll-balloon-{}", std::process::id());
        let try_at = |top: &str, group: &str, file: &str| {
            // Inside of a container the own group may be seen at the top.
            [Path::new(top).join(group), PathBuf::from(top)].into_iter().find_map(|parent| {
                let group = Group(parent.join(&name));
                std::fs::create_dir(&group.0).ok()?;
                std::fs::write(group.0.join(file), bytes.to_string()).ok()?;
                Some(group)
            })
        };
        let one = memberships.lines().find_map(|line| find(line, false));
        let two = memberships.lines().find_map(|line| find(line, true));
        let by_one = one.and_then(|group| try_at("/sys/fs/cgroup/memory", &group, "memory.limit_in_bytes"));
        by_one.or_else(|| two.and_then(|group| try_at("/sys/fs/cgroup", &group, "memory.max")))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Empty when its processes have ended; what is left behind by a crash is an empty directory.
        let _ = std::fs::remove_dir(&self.0);
    }
}

#[test]
fn a_balloon_in_a_control_group() {
    if let Some(group) = std::env::var_os(INSIDE) {
        return inside(Path::new(&group));
    }
    let Some(group) = Group::new(CAPACITY) else {
        println!("no control group can be made here: only the scripted machine was tested");
        return;
    };
    let test = std::env::current_exe().unwrap();
    let output = Command::new(test)
        .args(["a_balloon_in_a_control_group", "--exact", "--nocapture"])
        .env(INSIDE, &group.0)
        .output()
        .unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{complained}", output.status);
    println!("in the control group {}: {said}", group.0.display());
}

/// The child: joins the group, and shares its memory with a real balloon.
fn inside(group: &Path) {
    std::fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
    let reading = SystemProbe::default().read(Region::Host).unwrap();
    assert_eq!(reading.capacity, CAPACITY, "the group bounds this process");
    let settings = config(&[("guard.threshold", "0.98"), ("guard.reserve_mb", "0")]);
    let runtime = Runtime::new(&settings).unwrap();
    let model = demo(&runtime);
    let mut balloon = Vec::new();
    let seen = run(&runtime, &model, |up| {
        balloon = Vec::new();
        if up {
            // A touch in each page makes it real; 8 MiB stay for what else the process does.
            let used = SystemProbe::default().read(Region::Host).unwrap().used;
            let bytes = (CAPACITY / 100 * 92).saturating_sub(used);
            balloon = vec![0_u8; usize::try_from(bytes).unwrap()];
            balloon.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            std::hint::black_box(&balloon);
        }
    });
    assert_in_time(&seen);
}
