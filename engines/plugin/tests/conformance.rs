//! The suite that every engine must pass, on the example engine as C compiles it.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{Host, library};
use plimsoll_conformance::{Subject, suite};
use plimsoll_engine::{Engine, ModelId};
use std::ffi::c_void;
use std::time::Duration;

/// `lookup_options` of examples/lookup/lookup.h.
#[repr(C)]
#[derive(Clone, Copy)]
struct Options {
    context_length: u32,
    vocab_size: u32,
    max_sequences: u32,
    queue: u32,
    step_us: u32,
    appetite: u64,
}

fn subject(options: Options) -> Subject {
    let host = Host::new(1 << 24);
    let mut options = options;
    let table = library();
    let user_data = (&raw mut options).cast::<c_void>();
    // SAFETY: the table is that of the example engine, whose options live until it is loaded.
    let engine = unsafe { host.attach(&table, user_data, None) }.unwrap();
    let vocab = u64::from(engine.capabilities().vocab_size);
    let id = move |seed: u64, at: u64| u32::try_from((seed * 131 + at * 7) % vocab).unwrap();
    Subject {
        engine,
        guard: host.guard,
        clock: host.clock,
        models: vec![ModelId(1)],
        leases: Vec::new(),
        prompt: Box::new(move |seed, length| (0..length as u64).map(|at| id(seed, at)).collect()),
        deterministic: true,
        queue: options.queue as usize,
        patience: Duration::from_secs(60),
    }
}

const OPTIONS: Options =
    Options { context_length: 256, vocab_size: 1000, max_sequences: 4, queue: 8, step_us: 200, appetite: 0 };

#[test]
fn the_example_engine_passes() {
    let narrow = Options { vocab_size: 61, max_sequences: 1, queue: 1, ..OPTIONS };
    for options in [OPTIONS, narrow] {
        let violations = suite(&|| subject(options)).err().unwrap_or_default();
        assert_eq!(violations, []);
    }
}

#[test]
fn the_suite_finds_an_engine_that_asks_for_more_than_its_price() {
    let violations = suite(&|| subject(Options { appetite: 1, ..OPTIONS })).unwrap_err();
    let found = violations.iter().find(|violation| violation.check == "tokens_in_order").unwrap();
    assert!(found.detail.contains("more than was admitted"), "{found}");
}
