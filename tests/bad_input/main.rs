//! Bad input: whatever is wrong with a model's files or with a request, there is an error with the code of its section that
//! names the thing, memory stays bounded, nothing leaks, and the same runtime then loads a good model that answers.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;
mod files;
mod folders;
mod requests;
mod templates;

use common::heap::{Counting, peak_of};
use plimsoll::{Error, ErrorCode, Section};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[global_allocator]
static HEAP: Counting = Counting;

/// The heap is the whole process's, so what is measured runs alone.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The most heap that anything here may take: some for every case, and a multiple of its input.
const HEAP_BASE: u64 = 2 << 20;

const HEAP_PER_BYTE: u64 = 8;

/// Far above what any case takes on a busy machine, and far below what unbounded work would.
const TIME: Duration = Duration::from_secs(20);

/// Runs something on bad input of this size and checks heap and time.
fn bounded<T>(what: &str, input_bytes: u64, run: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let (answer, peak) = peak_of(run);
    let (took, limit) = (start.elapsed(), HEAP_BASE + HEAP_PER_BYTE * input_bytes);
    assert!(peak > 0, "{what}: nothing was counted");
    assert!(peak <= limit, "{what}: {peak} bytes of heap for {input_bytes} of input");
    assert!(took < TIME, "{what}: {took:?}");
    answer
}

fn assert_error(what: &str, error: &Error, code: ErrorCode, section: Section, names: &str) {
    assert_eq!((error.code(), error.code().section()), (code, section), "{what}: {error}");
    assert!(error.message().contains(names), "{what}: {names:?} is not in {error}");
    assert!(error.message().len() < 1100 && !error.message().contains('\u{1b}'), "{what}: {error}");
}
