//! Logits of given token ids, for `scripts/accuracy`.
//!
//!     logits MODEL IDS OUT CHUNK KV
//!
//! IDS has a text a line, as token ids with spaces between. OUT gets the logits of every position, as f32 in the machine's
//! byte order. Texts are fed in pieces of CHUNK tokens; KV is f32, or another element type of the cache.

use plimsoll_candle::{Evaluator, KvDtype, LoadPlan, Options};
use plimsoll_engine::{Accounts, Lease, ModelId, Owner, Region, SessionKey};
use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// Memory is not what this program is about: every lease is granted.
struct Unlimited;

impl Accounts for Unlimited {
    fn release(&self, _: Region, _: Owner, _: u64) {}
}

fn lease(owner: Owner, bytes: u64) -> Lease {
    Lease::issue(Arc::new(Unlimited), Region::Host, owner, bytes)
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, ids, out, chunk, kv] = arguments.as_slice() else {
        return Err("usage: logits MODEL IDS OUT CHUNK KV".into());
    };
    let chunk: u32 = chunk.parse()?;
    let texts = std::fs::read_to_string(ids)?
        .lines()
        .map(|line| line.split_whitespace().map(str::parse).collect())
        .collect::<Result<Vec<Vec<u32>>, _>>()?;
    let longest = texts.iter().map(Vec::len).max().unwrap_or(0);
    let options = Options {
        kv_dtype: match kv.as_str() {
            "f16" => KvDtype::F16,
            "f32" => KvDtype::F32,
            other => return Err(format!("{other} is no element type of the cache").into()),
        },
        // Results do not depend on it, and one thread waits for no other on a busy machine.
        threads: 1,
        max_step_tokens: chunk.max(Options::default().max_sequences),
        ..Options::default()
    };
    let plan = LoadPlan::inspect(Path::new(model), options)?;
    let blocks = longest.div_ceil(plan.options().block_tokens as usize) as u64;
    let mut evaluator = Evaluator::load(
        &plan,
        lease(Owner::Weights(ModelId(1)), plan.weights_bytes()),
        lease(Owner::Workspace(ModelId(1)), plan.workspace_bytes()),
        lease(Owner::Kv(SessionKey(1)), blocks.saturating_mul(plan.block_bytes())),
        &|_| ControlFlow::Continue(()),
    )?;
    let mut file = BufWriter::new(File::create(out)?);
    for text in &texts {
        for logit in evaluator.logits(text, chunk as usize)? {
            file.write_all(&logit.to_ne_bytes())?;
        }
    }
    Ok(file.flush()?)
}
