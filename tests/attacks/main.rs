//! Every hostile input of the attack list: it gives an error and not a crash, holds no more heap than 16 times its size and
//! 1 MiB, gives everything back, and leaves the runtime as good as before. How long each takes is for `benches/attacks.rs`.

#![cfg(feature = "native")]
#![allow(clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod attack;
mod folders;
mod gguf;
mod gguf_file;
mod requests;
mod shards;
mod templates;
mod tokenizers;

use attack::{Act, Attack, Outcome};
use common::heap::{Counting, peak_of};
use common::{Books, EXACT, PLENTY, Rig, Scratch, ask_tokens, config, ids, run, session};
use plimsoll::{Cancel, Error, Flow, Input, Message, Request, Section};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[global_allocator]
static HEAP: Counting = Counting;

/// The heap is the whole process's, so that one attack is measured at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

const HEAP_BASE: u64 = 1 << 20;
const HEAP_PER_BYTE: u64 = 16;

/// Runs something on hostile input of this size and holds it to the bound.
fn bounded<T>(name: &str, input: u64, run: impl FnOnce() -> T) -> T {
    let (answer, peak) = peak_of(run);
    let limit = HEAP_BASE + HEAP_PER_BYTE * input;
    assert!(peak <= limit, "{name}: {peak} bytes of heap for {input} of input, {limit} are allowed");
    answer
}

fn judge(name: &str, outcome: Outcome, error: Option<&Error>) {
    match (outcome, error) {
        (Outcome::Harmless, None) => {}
        (Outcome::Fails(code), Some(error)) => assert_eq!(error.code(), code, "{name}: {error}"),
        (Outcome::Refused, Some(error)) => {
            let section = error.code().section();
            assert!(matches!(section, Section::Loading | Section::Request), "{name}: {error}");
        }
        (Outcome::Harmless, Some(error)) => panic!("{name}: {error}"),
        (_, None) => panic!("{name}: there was no error"),
    }
    if let Some(error) = error {
        let text = error.message();
        assert!(!text.is_empty() && text.len() < 1100, "{name}: {} bytes of message", text.len());
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{name}: {text:?}");
    }
}

fn size_of_input(request: &Request) -> u64 {
    let bytes = match request.input() {
        Input::Messages(messages) => {
            let size = |message: &Message| match message {
                Message::Text { role, content } => role.len() + content.len(),
                Message::Json(json) => json.as_str().len(),
            };
            messages.iter().map(|message| size_of_val(message) + size(message)).sum()
        }
        Input::Text(text) => text.len(),
        Input::Tokens(tokens) => size_of_val(&tokens[..]),
    };
    bytes as u64
}

/// A runtime, and what its books say when it has nothing.
struct Target {
    rig: Rig,
    empty: Books,
}

impl Target {
    fn new() -> Target {
        assert!(peak_of(|| std::hint::black_box(vec![0_u8; 1 << 16])).1 >= 1 << 15, "nothing is counted");
        let rig = Rig::new(PLENTY);
        let empty = Books::of(&rig.runtime);
        Target { rig, empty }
    }

    fn suffer(&self, attack: &Attack) {
        let name = &format!("{} {}", attack.id, attack.what);
        println!("{name}");
        let scratch = Scratch::empty();
        let path = (attack.make)(&scratch);
        match &attack.act {
            Act::Load => {
                let error = bounded(name, scratch.bytes(), || self.load(&path));
                judge(name, attack.outcome, error.as_ref());
            }
            Act::Ask(request) => self.ask(name, attack, &path, request, scratch.bytes()),
        }
        self.rig.assert_back(&self.empty, name);
        let model = self.rig.golden("llama3-newconfig");
        assert_eq!(run(&session(&model), &ask_tokens(&ids(1, 9), 3)).ids.len(), 3, "{name}");
        drop(model);
        self.rig.assert_back(&self.empty, name);
    }

    /// Loads it and throws the model away.
    fn load(&self, path: &Path) -> Option<Error> {
        self.rig.load(path, EXACT).err()
    }

    fn ask(&self, name: &str, attack: &Attack, path: &Path, request: &Request, files: u64) {
        let model = match self.rig.load(path, EXACT) {
            Ok(model) => model,
            // Some are found before they are used.
            Err(error) if attack.outcome == Outcome::Refused => {
                return judge(name, attack.outcome, Some(&error));
            }
            Err(error) => panic!("{name}: {error}"),
        };
        let open = session(&model);
        let input = files + size_of_input(request);
        let answer =
            bounded(name, input, || open.generate(request, None, &Cancel::new(), |_| Flow::Continue).err());
        judge(name, attack.outcome, answer.as_ref());
        // The same session goes on.
        open.reset().unwrap();
        assert_eq!(run(&open, &ask_tokens(&ids(1, 9), 3)).ids.len(), 3, "{name}");
    }
}

/// The attacks are made here and not by the caller: some are large, and would count for another test.
fn suffer(attacks: fn() -> Vec<Attack>, least: usize, families: &[&str]) {
    let _alone = alone();
    let attacks = attacks();
    let target = Target::new();
    assert!(attacks.len() >= least, "{} attacks", attacks.len());
    for family in families {
        assert!(attacks.iter().any(|attack| attack.id == *family), "{family} is missing");
    }
    // All are tried, so that one failure does not hide the others.
    let failed = |attack: &&Attack| catch_unwind(AssertUnwindSafe(|| target.suffer(attack))).is_err();
    let failed: Vec<_> = attacks.iter().filter(failed).map(|attack| (attack.id, &attack.what)).collect();
    assert!(failed.is_empty(), "{} of {} attacks: {failed:#?}", failed.len(), attacks.len());
}

#[test]
fn gguf_files() {
    const FAMILIES: [&str; 15] =
        ["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G11", "G12", "G13", "G14", "G15"];
    suffer(gguf::all, 250, &FAMILIES);
}

#[test]
fn safetensors_files() {
    suffer(shards::all, 25, &["S1", "S2", "S3", "S4"]);
}

#[test]
fn indices_and_configurations() {
    suffer(folders::all, 30, &["I1", "C1"]);
}

#[test]
fn tokenizer_files() {
    suffer(tokenizers::all, 20, &["K1"]);
}

#[test]
fn chat_templates() {
    suffer(templates::all, 25, &["T1", "T2", "T3", "T4", "T5"]);
}

#[test]
fn numbers_and_prompts() {
    suffer(requests::all, 25, &["P1"]);
}

/// S5: a mapped file that shrinks kills its process; one that is read gives an error.
#[test]
fn weights_that_shrink_while_they_are_read() {
    let _alone = alone();
    let target = Target::new();
    for model in ["llama3", "llama-sharded"] {
        let folder = Scratch::model(model);
        let name = if model == "llama3" { "model.safetensors" } else { "model-00002-of-00002.safetensors" };
        let file = folder.file(name);
        let shrink = |_: &plimsoll::Progress| {
            std::fs::File::options().write(true).open(&file).unwrap().set_len(100).unwrap();
            true
        };
        let error = target.rig.runtime.load_model("test", folder.path(), &config(EXACT), &shrink).err();
        judge(model, Outcome::Refused, error.as_ref());
        target.rig.assert_back(&target.empty, model);
    }
    assert_eq!(run(&session(&target.rig.golden("llama3")), &ask_tokens(&ids(1, 9), 3)).ids.len(), 3);
}
