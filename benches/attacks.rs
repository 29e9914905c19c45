//! How long every attack of `tests/attacks` takes until it is refused: the slowest of each family, and those above 100 ms.
//! Run it on an idle machine: `make bench-attacks`.

#![allow(clippy::unwrap_used)]

#[path = "../tests/attacks/attack.rs"]
mod attack;
#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/attacks/folders.rs"]
mod folders;
#[path = "../tests/attacks/gguf.rs"]
mod gguf;
#[path = "../tests/attacks/gguf_file.rs"]
mod gguf_file;
#[path = "../tests/attacks/requests.rs"]
mod requests;
#[path = "../tests/attacks/shards.rs"]
mod shards;
#[path = "../tests/attacks/templates.rs"]
mod templates;
#[path = "../tests/attacks/tokenizers.rs"]
mod tokenizers;

use attack::{Act, Attack};
use common::{EXACT, PLENTY, Rig, Scratch, session};
use plimsoll::{Cancel, Flow};
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What no attack may take.
const LIMIT: Duration = Duration::from_millis(100);
const RUNS: usize = 3;

/// The time of what the attack does: making its files is not part of it, nor is loading a model that is then asked.
fn time(rig: &Rig, attack: &Attack) -> Duration {
    let scratch = Scratch::empty();
    let path = (attack.make)(&scratch);
    let start = Instant::now();
    let loaded = rig.load(&path, EXACT);
    match (&attack.act, loaded) {
        (Act::Ask(request), Ok(model)) => {
            let open = session(&model);
            let start = Instant::now();
            let _ = open.generate(request, None, &Cancel::new(), |_| Flow::Continue);
            start.elapsed()
        }
        _ => start.elapsed(),
    }
}

fn main() -> ExitCode {
    let rig = Rig::new(PLENTY);
    let families =
        [gguf::all(), shards::all(), folders::all(), tokenizers::all(), templates::all(), requests::all()];
    let mut slowest: BTreeMap<&str, (Duration, String)> = BTreeMap::new();
    let (mut tried, mut late) = (0, Vec::new());
    for attack in families.iter().flatten() {
        // The least of a few runs: what else the machine does only adds.
        let took = (0..RUNS).map(|_| time(&rig, attack)).min().unwrap();
        tried += 1;
        if took > LIMIT {
            late.push(format!("{} {}: {took:.1?}", attack.id, attack.what));
        }
        let known = slowest.entry(attack.id).or_default();
        if took > known.0 {
            *known = (took, attack.what.clone());
        }
    }
    println!("slowest of each family, of {tried} attacks, the best of {RUNS} runs each");
    for (family, (took, what)) in &slowest {
        println!("{family:>4} {:>9.3} ms  {what}", took.as_secs_f64() * 1e3);
    }
    println!("{} above {} ms", late.len(), LIMIT.as_millis());
    for line in &late {
        println!("  {line}");
    }
    ExitCode::from(u8::from(!late.is_empty()))
}
