//! What happens when the n-th allocation of a call fails: the call gives its error and the runtime works on, or the process
//! ends at a place that `sites.txt` names.
//!
//! Each scene runs once in a child to count its allocations and the different ways they come (the whole trace of calls). Then
//! one of each way is refused, once and from there on for ever, in children that are forked anew after each abort. A child
//! that dies of anything but a refused allocation, hangs, gives another error, cannot serve a small request afterwards, or
//! holds more heap at its end than a child in which nothing was refused, fails the test.
//!
//! `cargo test --test oom` takes a sample: all ways whose place is not on the list, and some of the others; it fails for a place
//! in a module that has none on the list. With `PLIMSOLL_OOM=full` it takes all, and fails for every place that is not on the
//! list (`make oom`). `PLIMSOLL_OOM_SCENE` chooses one scene.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod inject;
mod scenes;
mod sites;

use inject::Shared;
use scenes::{SCENES, Scene, World};
use sites::{List, Symbols};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

const PASSED: i32 = 1;
const ABSORBED: i32 = 2;
const NOT_REACHED: i32 = 3;
const SICK: i32 = 4;
const ABORTED: i32 = 5;
/// A status other than out of memory is added to it.
const WRONG: i32 = 10_000;

/// Seconds that one case may take.
const PATIENCE: u32 = 60;
/// Bytes by which the heap of two equal runs may differ: tables that have grown once.
const SLACK: i64 = 2048;
/// Scenes with fewer allocations are tried at each of them.
const SMALL: u64 = 40;
/// In a sample, how many of the places that are known to abort.
const KNOWN: usize = 4;

#[derive(Clone, Copy)]
struct Case {
    at: u64,
    forever: bool,
}

#[derive(Default)]
struct Sum {
    cases: usize,
    errors: usize,
    absorbed: usize,
    aborted: usize,
    missed: usize,
}

struct Harness {
    shared: &'static Shared,
    symbols: Symbols,
    list: List,
    full: bool,
    failures: Vec<String>,
}

fn main() {
    // What a test harness is asked for.
    if std::env::args().any(|argument| argument == "--list") {
        println!("the_nth_allocation_fails: test");
        return;
    }
    // SAFETY: this process has one thread. A panic that prints its trace reads the whole program first.
    unsafe { std::env::set_var("RUST_BACKTRACE", "0") };
    let shared = inject::start();
    let full = std::env::var("PLIMSOLL_OOM").is_ok_and(|value| value == "full");
    let only = std::env::var("PLIMSOLL_OOM_SCENE").ok();
    let mut harness =
        Harness { shared, symbols: Symbols::default(), list: List::read(), full, failures: Vec::new() };
    for scene in SCENES.iter().filter(|scene| only.as_ref().is_none_or(|only| only == scene.name)) {
        harness.play(scene);
    }
    harness.judge(only.is_none());
}

impl Harness {
    fn play(&mut self, scene: &'static Scene) {
        let begun = std::time::Instant::now();
        self.shared.clear();
        let count = self.count(scene);
        let cases = self.choose(count);
        let mut sum = Sum { cases: cases.len(), ..Sum::default() };
        let mut passed = Vec::new();
        let mut from = 0;
        while from < cases.len() {
            let died = child(|| run(self.shared, scene, &cases, from));
            // Who died could not.
            self.shared.disarm();
            let last = if died == 0 { cases.len() } else { self.shared.case.load(Ordering::SeqCst) + 1 };
            if died != 0 {
                self.shared.outcomes[last - 1].store(ABORTED, Ordering::SeqCst);
                self.bury(scene, &cases[last - 1], died);
            }
            for (index, case) in cases.iter().enumerate().take(last).skip(from) {
                match self.shared.outcomes[index].load(Ordering::SeqCst) {
                    PASSED => sum.errors += 1,
                    ABSORBED => sum.absorbed += 1,
                    NOT_REACHED => sum.missed += 1,
                    ABORTED => sum.aborted += 1,
                    // Explained below.
                    _ => {}
                }
                if matches!(self.shared.outcomes[index].load(Ordering::SeqCst), PASSED | ABSORBED) {
                    passed.push(*case);
                }
            }
            from = last;
        }
        self.explain(scene, &cases);
        if sum.errors + sum.absorbed + sum.aborted == 0 {
            self.failures.push(format!("{}: nothing was refused in {} cases", scene.name, sum.cases));
        }
        self.look_for_leaks(scene, &passed);
        println!(
            "{:<16} {count:>7} allocations, {:>5} cases: {:>5} errors, {:>5} absorbed, {:>5} aborts, {:>3} not reached; {:.1} s",
            scene.name,
            sum.cases,
            sum.errors,
            sum.absorbed,
            sum.aborted,
            sum.missed,
            begun.elapsed().as_secs_f64()
        );
    }

    /// The scene undisturbed: how many allocations, and which ways they come.
    fn count(&mut self, scene: &'static Scene) -> u64 {
        let died = child(|| {
            let mut world = warm(scene);
            world.prepare(scene);
            self.shared.record();
            let status = world.act(scene);
            let (count, _) = self.shared.disarm();
            assert_eq!(status, 0);
            self.shared.case.store(usize::try_from(count).unwrap(), Ordering::SeqCst);
            world.undo(scene);
        });
        assert_eq!(died, 0, "{}: cannot even be counted", scene.name);
        let count = self.shared.case.load(Ordering::SeqCst) as u64;
        assert!(count > 0, "{}: the harness counted no allocation", scene.name);
        assert_eq!(
            self.shared.lost.load(Ordering::Relaxed),
            0,
            "{}: more ways than there is room for",
            scene.name
        );
        count
    }

    fn choose(&mut self, count: u64) -> Vec<Case> {
        let both = |at| [false, true].map(|forever| Case { at, forever });
        if count <= SMALL {
            return (1..=count).flat_map(both).collect();
        }
        let mut seen: Vec<(u64, Vec<usize>)> = self
            .shared
            .seen()
            .map(|stack| (stack.first.load(Ordering::Relaxed), stack.trace.frames()))
            .collect();
        seen.sort_unstable_by_key(|(first, _)| *first);
        if self.full {
            return seen.iter().flat_map(|(first, _)| both(*first)).collect();
        }
        let traces: Vec<Vec<usize>> = seen.iter().map(|(_, trace)| trace.clone()).collect();
        self.symbols.learn(&traces);
        let mut firsts: BTreeMap<String, u64> = BTreeMap::new();
        for (first, trace) in &seen {
            firsts.entry(self.symbols.site(trace)).or_insert(*first);
        }
        let (known, fresh): (Vec<_>, Vec<_>) = firsts.iter().partition(|(site, _)| self.list.allows(site));
        let step = known.len().div_ceil(KNOWN).max(1);
        let known = known.iter().step_by(step).map(|(_, at)| Case { at: **at, forever: false });
        known.chain(fresh.iter().flat_map(|(_, at)| both(**at))).collect()
    }

    /// Repeats what went wrong, to say where the refused allocation was.
    fn explain(&mut self, scene: &'static Scene, cases: &[Case]) {
        for (index, case) in cases.iter().enumerate() {
            let text = match self.shared.outcomes[index].load(Ordering::SeqCst) {
                SICK => "the runtime serves no small request afterwards".into(),
                wrong if wrong >= WRONG => format!("the call gives status {}", wrong - WRONG),
                _ => continue,
            };
            child(|| run(self.shared, scene, &cases[..=index], index));
            self.shared.disarm();
            let trace = self.shared.refused.frames();
            self.symbols.learn(std::slice::from_ref(&trace));
            self.fail(scene, case, &format!("{text}{}", self.symbols.trace(&trace)));
        }
    }

    /// A child has died in a case.
    fn bury(&mut self, scene: &'static Scene, case: &Case, signal: i32) {
        let trace = self.shared.aborted.frames();
        self.symbols.learn(std::slice::from_ref(&trace));
        if signal == libc::SIGABRT && self.symbols.is_alloc_error(&trace) {
            self.list.meet(self.symbols.site(&trace), scene.name);
        } else if signal == libc::SIGALRM {
            self.fail(scene, case, "it hangs");
        } else {
            let text = format!("the process dies of signal {signal}{}", self.symbols.trace(&trace));
            self.fail(scene, case, &text);
        }
    }

    fn fail(&mut self, scene: &'static Scene, case: &Case, what: &str) {
        let Case { at, forever } = *case;
        let how = if forever { "from there on" } else { "alone" };
        self.failures.push(format!("{}: allocation {at} refused, {how}: {what}", scene.name));
    }

    /// All cases that passed, in one process: its heap must be what it was.
    fn look_for_leaks(&mut self, scene: &'static Scene, passed: &[Case]) {
        if passed.is_empty() {
            return;
        }
        let died = child(|| {
            let quiet = |cases: &[Case]| {
                for _ in 0..2 {
                    run(self.shared, scene, cases, 0);
                }
                inject::live()
            };
            // Everything is made, used and gone again before the first look.
            quiet(&passed[..1]);
            let before = quiet(&[]);
            run(self.shared, scene, passed, 0);
            let more = quiet(&[]) - before;
            self.shared.case.store(usize::try_from(more.max(0)).unwrap(), Ordering::SeqCst);
        });
        self.shared.disarm();
        let more = self.shared.case.load(Ordering::SeqCst) as i64;
        // Threads that interleave otherwise may abort here; that place is judged like any other.
        if died != 0 {
            self.bury(scene, &passed[0], died);
        } else if more > SLACK {
            self.failures.push(format!("{}: {more} bytes leak over {} cases", scene.name, passed.len()));
        }
    }

    fn judge(self, whole: bool) {
        let (new, gone) = (self.list.new_ones(), self.list.gone());
        if self.full && whole {
            for site in &gone {
                println!("sites.txt can lose a line: {site}");
            }
        }
        println!("{} places abort, {} are listed", self.list.met.len(), self.list.len());
        for failure in &self.failures {
            println!("FAILED {failure}");
        }
        for (site, known) in &new {
            println!("NEW PLACE THAT ABORTS {site}{}", if *known { ", in a listed module" } else { "" });
        }
        // Which function a place counts for depends on what a compiler inlines, and which are met on how threads interleave. A
        // sample is strict about modules, so that it does not fail for that; the whole is strict about functions.
        let grown = new.iter().any(|(_, known)| self.full || !known);
        assert!(self.failures.is_empty() && !grown, "refused allocations are not all borne");
        assert!(!self.list.met.is_empty() || !whole, "no abort was met, so none would have been seen");
    }
}

/// A world in which the scene was played once: what is made once per process is not what a call of a running program does, and
/// would give its allocations other numbers than those they are counted with.
fn warm(scene: &Scene) -> World {
    let mut world = World::new(scene);
    assert_eq!(world.act(scene), 0, "{} does not work at all", scene.name);
    world.undo(scene);
    world
}

/// Runs the cases from one on, in a child.
fn run(shared: &Shared, scene: &'static Scene, cases: &[Case], from: usize) {
    let mut world = warm(scene);
    for (index, case) in cases.iter().enumerate().skip(from) {
        shared.case.store(index, Ordering::SeqCst);
        // SAFETY: plain calls.
        unsafe { libc::alarm(PATIENCE) };
        world.prepare(scene);
        shared.refuse(case.at, case.forever);
        let status = world.act(scene);
        let (_, fired) = shared.disarm();
        world.undo(scene);
        let outcome = match status {
            _ if fired == 0 => NOT_REACHED,
            0 => ABSORBED,
            plimsoll::capi::PLIMSOLL_ERR_OUT_OF_MEMORY => PASSED,
            other => WRONG + other,
        };
        let well = world.serves_a_small_request();
        shared.outcomes[index].store(if well { outcome } else { SICK }, Ordering::SeqCst);
    }
    // SAFETY: a plain call.
    unsafe { libc::alarm(PATIENCE) };
}

/// Runs `body` in a child of its own. Returns the signal that ended it, 0 for none.
fn child(body: impl FnOnce()) -> i32 {
    // SAFETY: this process has one thread.
    match unsafe { libc::fork() } {
        0 => {
            let silent = c"/dev/null";
            // SAFETY: valid strings and descriptors; the handler only writes to shared memory.
            unsafe {
                let quiet = libc::open(silent.as_ptr(), libc::O_WRONLY);
                if std::env::var_os("PLIMSOLL_OOM_LOUD").is_none() {
                    libc::dup2(quiet, 2);
                }
                libc::signal(libc::SIGABRT, on_abort as *const () as libc::sighandler_t);
            }
            let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: ends the child at once, with nothing of the parent's.
            unsafe { libc::_exit(if ended.is_ok() { 0 } else { 1 }) };
        }
        pid => {
            assert!(pid > 0, "cannot fork");
            let mut status = 0;
            // SAFETY: our own child.
            assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
            if libc::WIFSIGNALED(status) { libc::WTERMSIG(status) } else { -libc::WEXITSTATUS(status) }
        }
    }
}

extern "C" fn on_abort(_: i32) {
    inject::note_abort();
}
