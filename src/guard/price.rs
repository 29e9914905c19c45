//! A price line by line: which bytes, where, for what, and who has paid for them.

use super::{Purpose, Verdict};
use plimsoll_engine::{Owner, Region};
use serde_json::{Value, json};
use std::fmt;

/// What a line of a price is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum What {
    /// KV blocks that the session does not hold yet.
    Kv,
    /// KV blocks that it holds already and that the request goes on with.
    KvHeld,
    /// The ring: room for every granted token on its way to the reader.
    Ring,
    /// The request's other host memory: token ids, block table, alternatives, sampler state.
    Buffers,
    /// The engine's workspace, which all requests of its model share.
    Workspace,
    /// All that loading the model again takes, its workspace included; it stays when the request has ended.
    Load,
}

impl What {
    /// A short name, for statistics.
    pub fn name(self) -> &'static str {
        match self {
            What::Kv => "kv",
            What::KvHeld => "kv_held",
            What::Ring => "ring",
            What::Buffers => "buffers",
            What::Workspace => "workspace",
            What::Load => "load",
        }
    }

    /// In which of the ledger's columns the bytes stand: those of a load in several, of which weights are the first.
    pub fn purpose(self) -> Purpose {
        match self {
            What::Kv | What::KvHeld => Purpose::Kv,
            What::Ring | What::Buffers => Purpose::Request,
            What::Workspace => Purpose::Workspace,
            What::Load => Purpose::Weights,
        }
    }

    /// Whether a grant books the bytes. The others were booked before: by an earlier turn, or when the model was loaded.
    pub fn is_new(self) -> bool {
        matches!(self, What::Kv | What::Ring | What::Buffers | What::Load)
    }
}

/// A line of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// Where the bytes are.
    pub region: Region,
    /// What they are for.
    pub what: What,
    /// Whose they are in the ledger; `None` before there is a ticket, when a request has no name yet, and for a load, which has
    /// several owners.
    pub owner: Option<Owner>,
    /// How many; never 0.
    pub bytes: u64,
}

impl Item {
    /// The line as a JSON object.
    pub fn to_json(&self) -> Value {
        let mut line = json!({
            "region": self.region.to_string(),
            "what": self.what.name(),
            "purpose": self.what.purpose().name(),
            "new": self.what.is_new(),
            "bytes": self.bytes,
        });
        if let Some(owner) = self.owner {
            line["owner"] = owner.to_string().into();
        }
        line
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Item { region, what, bytes, .. } = self;
        let paid = if what.is_new() { "" } else { ", paid before" };
        write!(f, "{}: {bytes} bytes of {region} memory{paid}", what.name())
    }
}

impl Verdict {
    /// The price line by line, of all answers together, lines of no bytes left out. The new lines together are what a grant's leases hold; with the
    /// others they are all the memory that the request runs in.
    ///
    /// ```
    /// use plimsoll::{Request, guard::What};
    ///
    /// # fn main() -> plimsoll::Result<()> {
    /// # use plimsoll::{Config, Runtime};
    /// # use std::path::Path;
    /// # let runtime = Runtime::new(&Config::new())?;
    /// # let model = runtime.load_model("demo", Path::new("models/demo"), &Config::new(), &|_| true)?;
    /// # let session = plimsoll::Session::open(&model, &Config::new())?;
    /// let verdict = session.what_if(&Request::user("What is a lease?"))?;
    /// for item in verdict.items() {
    ///     println!("{item}");
    /// }
    /// let new: u64 = verdict.items().iter().filter(|item| item.what.is_new()).map(|item| item.bytes).sum();
    /// assert_eq!(new, verdict.bytes_asked);
    /// # Ok(())
    /// # }
    /// ```
    pub fn items(&self) -> Vec<Item> {
        let Verdict { kv_region, ring_bytes, load_bytes, load_region, .. } = *self;
        // One that is loaded for it is all new.
        let workspace = if load_bytes == 0 { self.workspace_bytes } else { 0 };
        // A session may hold more than its answer needs: then some of it goes, and nothing of that one is new.
        let held = self.kv_reused();
        let lines = [
            (kv_region, What::Kv, self.kv_bytes - held),
            (kv_region, What::KvHeld, held),
            (Region::Host, What::Ring, ring_bytes),
            (Region::Host, What::Buffers, self.request_bytes.saturating_sub(ring_bytes)),
            (Region::Host, What::Workspace, workspace),
            (load_region, What::Load, load_bytes),
        ];
        let item = |(region, what, bytes)| Item { region, what, owner: None, bytes };
        lines.into_iter().filter(|(_, _, bytes)| *bytes > 0).map(item).collect()
    }

    /// The verdict and its price, line by line, as a JSON object. Sizes are bytes; `retry_after_ms` is null for a grant and
    /// for what can never fit.
    pub fn to_json(&self) -> Value {
        self.json_with(&self.items())
    }

    pub(crate) fn json_with(&self, items: &[Item]) -> Value {
        let new = items.iter().filter(|item| item.what.is_new()).map(|item| item.bytes);
        json!({
            "decision": self.decision.name(),
            "reason": self.reason.name(),
            "answers": self.answers,
            "asked_tokens": self.asked_tokens,
            "granted_tokens": self.granted_tokens,
            "fits_tokens": self.fits_tokens,
            "region": self.region.to_string(),
            "bytes_asked": self.bytes_asked,
            "bytes_free": self.bytes_free,
            "evict_sessions": self.evict_sessions,
            "evict_bytes": self.evict_bytes,
            "load_bytes": self.load_bytes,
            "unload_models": self.unload_models,
            "unload_bytes": self.unload_bytes,
            "retry_after_ms": self.retry_after.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            "pressure": self.pressure.name(),
            "new_bytes": new.fold(0, u64::saturating_add),
            "items": items.iter().map(Item::to_json).collect::<Vec<_>>(),
        })
    }
}
