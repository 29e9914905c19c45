//! The program examples/chat.rs, as a user runs it: lines in, answers out, numbers beside them.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// The built example, which lies beside the folder of this test. `cargo test` builds both.
fn program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.push("examples/chat");
    assert!(path.exists(), "there is no {}: run `cargo build --example chat`", path.display());
    path
}

fn chat(arguments: &[&str], lines: &str) -> Output {
    let mut child = Command::new(program())
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that has ended does not read.
    let _ = child.stdin.take().unwrap().write_all(lines.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn two_turns_of_a_conversation() {
    let output = chat(&["models/demo", "64MiB"], "Hello!\n\nWhat is a lease?\n");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let answers: Vec<&str> = text(&output.stdout).lines().collect();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert!(answers[0].starts_with("Hello") && answers[1].contains("lease"), "{answers:?}");
    let numbers: Vec<&str> =
        text(&output.stderr).lines().filter(|line| line.starts_with("[accept")).collect();
    assert_eq!(numbers.len(), 2, "{numbers:?}");
    assert!(numbers[0].contains(" 0 of them held") && !numbers[1].contains(" 0 of them held"), "{numbers:?}");
}

#[test]
fn small_budgets_refuse_the_model_then_shrink_answers_and_refuse_long_questions() {
    let long = "hello ".repeat(900);
    let (mut refused, mut shrunk) = (0, 0);
    // The workspace depends on the machine's cores, so where the load begins to fit is found, not known.
    for kib in (8 << 10..64 << 10).step_by(256) {
        let output = chat(&["models/demo", &format!("{kib}KiB")], &format!("Hello!\n{long}\nHello!\n"));
        let said = text(&output.stderr);
        let first = said.lines().nth(1).unwrap_or_default();
        if !output.status.success() {
            assert!(said.starts_with("chat: memory refused: "), "{said}");
            refused += 1;
        } else if let Some(granted) = first.strip_prefix("[shrink from 512 to ") {
            let granted: u32 = granted.split(' ').next().unwrap().parse().unwrap();
            let lines: Vec<&str> = said.lines().skip(1).collect();
            let [_, second, third] = lines[..] else { panic!("{said}") };
            // Not for pressure alone, which takes a tenth first, nor without room for a second answer.
            if (100..400).contains(&granted) {
                // The long question has no room; the chat goes on.
                assert!(second.starts_with("[refused: "), "{said}");
                assert!(third.starts_with("[shrink from 512 to "), "{said}");
                assert_eq!(text(&output.stdout).lines().count(), 2);
                shrunk += 1;
            }
        } else if first.starts_with("[accept") {
            break;
        } else {
            // The model fits, and no more.
            assert!(first.starts_with("[refused: "), "{said}");
        }
    }
    assert!(refused > 0 && shrunk > 0, "{refused} refused, {shrunk} shrunk");
}

#[test]
fn what_cannot_be_loaded_is_said() {
    for arguments in [&["no/such/model"][..], &["models/demo", "lots"]] {
        let output = chat(arguments, "Hello!\n");
        assert_eq!(output.status.code(), Some(1));
        assert!(text(&output.stderr).starts_with("chat: "), "{}", text(&output.stderr));
    }
}
