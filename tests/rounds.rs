//! Models that come and go, and sessions: after each round everything is as it was.
//!
//! PLIMSOLL_ROUNDS says how often the demo model is loaded; `make rounds` takes 1,000. The only test of its binary that allocates
//! at a time.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

mod common;

use common::heap::{Counting, held};
use common::{Books, EXACT, PLENTY, Rig, ask_tokens, eventually, run, session};
use plimsoll::guard::PoolUse;
use plimsoll::{Request, Session};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static HEAP: Counting = Counting;

static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What may differ: less than the smallest allocation that counts, a KV block of the models here.
const GRANULE: i64 = 4096;

/// What the process has.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Holds {
    books: Books,
    files: usize,
    threads: usize,
    mapped: u64,
    talk: u64,
    pool: PoolUse,
}

fn holds(rig: &Rig) -> Holds {
    let entries = |path: &str| fs::read_dir(path).unwrap().count();
    let process = rig.runtime.process_memory(0);
    Holds {
        books: Books::of(&rig.runtime),
        files: entries("/proc/self/fd"),
        threads: entries("/proc/self/task"),
        mapped: process.mapped,
        talk: process.talk,
        // Every use is a hit.
        pool: PoolUse { hits: 0, ..rig.runtime.memory().pool.engine },
    }
}

fn rounds(key: &str, usual: u32) -> u32 {
    std::env::var(key).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn assert_back(rig: &Rig, before: &Holds, heap: i64, what: &str) {
    // A thread that has been waited for may still be in the kernel's list, and blocks come back from an engine's thread.
    eventually(what, || holds(rig) == *before);
    rig.runtime.guard().check_integrity().unwrap();
    let start = std::time::Instant::now();
    while (held() - heap).abs() > GRANULE {
        let more = held() - heap;
        assert!(start.elapsed().as_secs() < 20, "{what}: the heap has {more} bytes more");
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[test]
fn loading_and_unloading_leaves_nothing_behind() {
    let _alone = alone();
    let rig = Rig::new(PLENTY);
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo");
    let round = || {
        let model = rig.load(&demo, EXACT).unwrap();
        let mut request = Request::user("Hello!");
        request.max_tokens = 2;
        run(&session(&model), &request);
    };
    // What is made once for the process is made now.
    round();
    let (before, heap) = (holds(&rig), held());
    for number in 0..rounds("PLIMSOLL_ROUNDS", 25) {
        round();
        assert_back(&rig, &before, heap, &format!("round {number}"));
    }
    // What lies idle is one workspace and one ring, and goes when it is told to.
    let idle = before.pool.idle_bytes;
    assert_eq!((before.pool.buffers_idle, before.pool.buffers_in_use), (2, 0));
    assert!(before.mapped > 0 && before.mapped <= idle);
    assert_eq!(rig.runtime.guard().trim_pool(), idle);
    let ring = (idle - before.mapped) as i64;
    assert_eq!(holds(&rig).mapped, 0);
    assert!((held() - (heap - ring)).abs() <= GRANULE, "the ring is freed");
}

#[test]
fn ten_thousand_sessions_leave_nothing_behind() {
    let _alone = alone();
    let rig = Rig::new(PLENTY);
    let model = rig.golden("llama3");
    let request = ask_tokens(&[7; 5], 2);
    let use_all = |count: usize| {
        let open: Vec<Session> = (0..count).map(|_| session(&model)).collect();
        open.iter().for_each(|open| drop(run(open, &request)));
    };
    // Tables grow to what they need.
    use_all(200);
    eventually("KV comes back", || model.holdings().kv == 0);
    let (before, heap) = (holds(&rig), held());
    for number in 0..100 {
        use_all(100);
        eventually("KV comes back", || model.holdings().kv == 0);
        assert_back(&rig, &before, heap, &format!("hundred {number}"));
        model.check_integrity().unwrap();
    }
}
