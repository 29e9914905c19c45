//! The host runs, and its allocator serves the library.

#![allow(clippy::unwrap_used)]

use std::process::Command;

#[test]
fn the_library_uses_the_hosts_allocator() {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../models/demo");
    let run = Command::new(env!("CARGO_BIN_EXE_plimsoll-host")).arg(model).output().unwrap();
    let text = String::from_utf8(run.stdout).unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let lines: Vec<&str> = text.lines().collect();
    let [answer, heap, counted, left] = lines[..] else { panic!("not four lines: {text}") };
    let bytes = |line: &str| line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap();
    assert!(answer.starts_with("Hello"), "{answer}");
    // The tokenizer's tables alone have thousands of entries.
    assert!(bytes(heap) > 100_000, "{heap}");
    assert_eq!(counted, "counted by plimsoll itself: None");
    assert!(bytes(left) < bytes(heap) / 10, "{left} of {heap}");
}
