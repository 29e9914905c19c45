//! The journal of a run: every event, what was decided, and one number that stands for all of it.

use plimsoll::{Ending, Verdict};
use serde::{Deserialize, Serialize};
use std::hash::{Hash, Hasher};
use std::time::Duration;

/// What was decided about a request, with all of its numbers. Bytes and nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Decided {
    /// The decision's name.
    pub decision: String,
    /// The reason's name.
    pub reason: String,
    /// Tokens granted.
    pub granted: u32,
    /// The most tokens that would have been granted.
    pub fits: u32,
    /// New bytes needed.
    pub asked: u64,
    /// Bytes free before anything was evicted.
    pub free: u64,
    /// KV of the session at its longest.
    pub kv: u64,
    /// Of it, what the session held.
    pub held: u64,
    /// Host bytes of the request itself.
    pub request: u64,
    /// Sessions that lost their KV for it.
    pub evicted: u32,
    /// The KV that they lost.
    pub evicted_bytes: u64,
    /// When to ask again.
    pub retry: Option<u64>,
    /// Its place in the line.
    #[serde(default)]
    pub position: u32,
    /// How long it waited, in nanoseconds.
    #[serde(default)]
    pub waited: u64,
}

impl From<&Verdict> for Decided {
    fn from(verdict: &Verdict) -> Self {
        Decided {
            decision: verdict.decision.name().into(),
            reason: verdict.reason.name().into(),
            granted: verdict.granted_tokens,
            fits: verdict.fits_tokens,
            asked: verdict.bytes_asked,
            free: verdict.bytes_free,
            kv: verdict.kv_bytes,
            held: verdict.kv_held,
            request: verdict.request_bytes,
            evicted: verdict.evict_sessions,
            evicted_bytes: verdict.evict_bytes,
            retry: verdict.retry_after.map(nanos),
            position: verdict.position,
            waited: nanos(verdict.waited),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ask {
    /// Tokens that the turn adds to the conversation.
    pub new: u32,
    /// Most tokens to generate.
    pub max: u32,
    /// The fewest that are worth running.
    pub min: u32,
    /// After how many tokens the model ends the answer, its end-of-text token included; 0 for never.
    pub answer: u32,
    /// Time limit in nanoseconds from when it is granted; 0 for none.
    pub deadline: u64,
    /// How long it waits for bytes, in nanoseconds.
    #[serde(default)]
    pub wait: u64,
    /// Its priority among those who wait.
    #[serde(default)]
    pub priority: i8,
}

/// Something that happened. `talk` is the number of a conversation.
#[expect(missing_docs, reason = "fields are named as in a recording, and are what the variant says")]
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A session was opened.
    Open { talk: u32 },
    /// A request came; `decided` is `None` when it was refused before it was priced.
    Ask { talk: u32, ask: Ask, decided: Option<Decided> },
    /// A step of the scheduler ran.
    Step,
    /// A request ended.
    End { talk: u32, how: String, prompt: u32, cached: u32, generated: u32 },
    /// A request was cancelled.
    Cancel { talk: u32 },
    /// A session was closed.
    Close { talk: u32 },
    /// Idle sessions were looked for.
    Sweep { freed: u64 },
}

/// A request's end by name.
pub fn how(ending: Ending) -> &'static str {
    match ending {
        Ending::EndOfText => "end_of_text",
        Ending::Length => "length",
        Ending::StopString => "stop_string",
        Ending::Stopped => "stopped",
        Ending::Cancelled => "cancelled",
        Ending::Deadline => "deadline",
    }
}

/// FNV-1a, which is the same everywhere.
#[derive(Clone, Copy, Debug)]
struct Fnv(u64);

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// All events so far, as one number, and one by one where a tape wants them.
#[derive(Debug)]
pub struct Journal {
    digest: Fnv,
    events: u64,
    last: Option<Event>,
    keeps: bool,
}

impl Journal {
    /// An empty journal; one that `keeps` hands each event out once.
    pub fn new(keeps: bool) -> Journal {
        Journal { digest: Fnv(0xcbf2_9ce4_8422_2325), events: 0, last: None, keeps }
    }

    /// Takes an event in, which happened at `now`, in nanoseconds.
    pub fn note(&mut self, now: u64, event: Event) {
        (now, &event).hash(&mut self.digest);
        self.events += 1;
        if self.keeps {
            self.last = Some(event);
        }
    }

    /// The event that was noted last, once.
    pub fn take(&mut self) -> Option<Event> {
        self.last.take()
    }

    /// The number that stands for all events, their times and what was decided.
    pub fn digest(&self) -> u64 {
        self.digest.finish()
    }

    /// How many there were.
    pub fn events(&self) -> u64 {
        self.events
    }
}
