//! What came of a run: counts, waits, samples for a picture.

use crate::Broken;
use crate::machine::Machine;
use crate::packer::{Item, ratio};
use crate::plan::Plan;
use plimsoll::guard::MemoryStats;
use plimsoll::{Decision, Ending, Outcome, Verdict};
use std::fmt;
use std::time::Duration;

/// Most samples that are kept; beyond it every other one goes.
const SAMPLES: usize = 800;

/// A decision that a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A request was granted fewer tokens than it asked for.
    Shrink,
    /// A request was refused for now.
    Refuse,
    /// A request was refused for good.
    Never,
    /// Sessions lost their KV.
    Evict,
}

/// Memory by owner at one moment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: Duration,
    /// Weights and workspace.
    pub fixed: u64,
    /// KV of requests that wait for a lane or run.
    pub running: u64,
    /// KV of idle sessions.
    pub idle: u64,
    /// Requests' own.
    pub requests: u64,
    /// What others really have.
    pub others: u64,
    /// What may be leased.
    pub limit: u64,
    /// What the readings call the capacity.
    pub capacity: u64,
}

/// The figures of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Requests that came.
    pub requests: u64,
    /// Times that one of them asked.
    pub asks: u64,
    /// Granted as asked.
    pub accepted: u64,
    /// Granted with fewer tokens.
    pub shrunk: u64,
    /// Refused at first, and granted later.
    pub delayed: u64,
    /// Refused for good: they could never fit.
    pub never: u64,
    /// Waited until their deadline was over.
    pub gave_up: u64,
    /// Further turns of conversations that ended so.
    pub unasked: u64,
    /// Times that a session lost its KV.
    pub evictions: u64,
    /// Turns whose conversation had to be computed again, and the tokens of that.
    pub recomputed: (u64, u64),
    /// Ended by their client, and by their deadline.
    pub cut_short: (u64, u64),
    /// Grants of which it was shown that one token more would have been refused.
    pub maximal: u64,
    /// Tokens generated.
    pub generated: u64,
    /// The most bytes that were ever leased.
    pub peak: u64,
    /// Most requests in the line.
    pub longest_line: usize,
    /// Requests that were granted out of the line, and the longest that one stood there.
    pub line: (u64, Duration),
    /// Steps of the scheduler.
    pub steps: u64,
    /// Events in the journal.
    pub events: u64,
    /// Stands for all of them.
    pub digest: u64,
    /// Virtual time.
    pub end: Duration,
    /// Admitted bytes over those of the offline packer; `None` where the memory changed under way.
    pub ratio: Option<f64>,
    /// For a picture.
    pub samples: Vec<Sample>,
    /// For a picture.
    pub marks: Vec<(Duration, Mark)>,
    /// From coming to being granted, sorted; then the scheduler's queue.
    waits: Vec<Duration>,
    queued: Vec<Duration>,
    items: Vec<Item>,
    last_came: Duration,
    room: Option<u64>,
    picture: bool,
}

impl Report {
    pub(crate) fn new(plan: &Plan) -> Report {
        let steady = plan.workload.weather.is_none();
        Report {
            seed: plan.seed,
            requests: 0,
            asks: 0,
            accepted: 0,
            shrunk: 0,
            delayed: 0,
            never: 0,
            gave_up: 0,
            unasked: 0,
            evictions: 0,
            recomputed: (0, 0),
            cut_short: (0, 0),
            maximal: 0,
            generated: 0,
            peak: 0,
            longest_line: 0,
            line: (0, Duration::ZERO),
            steps: 0,
            events: 0,
            digest: 0,
            end: Duration::ZERO,
            ratio: None,
            samples: Vec::new(),
            marks: Vec::new(),
            waits: Vec::new(),
            queued: Vec::new(),
            items: Vec::new(),
            last_came: Duration::ZERO,
            room: steady.then_some(0),
            picture: plan.picture,
        }
    }

    pub(crate) fn mark(&mut self, at: Duration, mark: Mark) {
        if self.picture {
            self.marks.push((at, mark));
        }
    }

    pub(crate) fn came(&mut self, now: Duration) {
        self.requests += 1;
        self.last_came = now;
    }

    pub(crate) fn granted(&mut self, now: Duration, waited: Duration, verdict: &Verdict) {
        match verdict.decision {
            Decision::Shrink => {
                self.shrunk += 1;
                self.mark(now, Mark::Shrink);
            }
            _ => self.accepted += 1,
        }
        if verdict.evict_sessions > 0 {
            self.mark(now, Mark::Evict);
        }
        self.waits.push(waited);
    }

    pub(crate) fn refused(&mut self, now: Duration, first: bool) {
        if first {
            self.delayed += 1;
            self.mark(now, Mark::Refuse);
        }
    }

    pub(crate) fn never(&mut self, now: Duration) {
        self.never += 1;
        self.mark(now, Mark::Never);
    }

    pub(crate) fn ended(&mut self, outcome: &Outcome, history: u32, item: Item) {
        if history > 0 && outcome.cached_tokens == 0 && outcome.generated_tokens > 0 {
            self.recomputed.0 += 1;
            self.recomputed.1 += u64::from(history);
        }
        self.cut_short.0 += u64::from(outcome.ending == Ending::Cancelled);
        self.cut_short.1 += u64::from(outcome.ending == Ending::Deadline);
        self.generated += u64::from(outcome.generated_tokens);
        self.queued.push(outcome.queued);
        if self.room.is_some() {
            self.items.push(item);
        }
    }

    /// Takes a sample. Answers whether there are so many that half of them went.
    pub(crate) fn sample(&mut self, at: Duration, stats: &MemoryStats, machine: &Machine) -> bool {
        let (host, fixed) = (stats.host(), stats.weights_bytes + stats.workspace_bytes);
        if let Some(room) = &mut self.room {
            *room = host.limit - fixed;
        }
        let kv = |busy| stats.session_details.iter().filter(|s| s.busy == busy).map(|s| s.kv_bytes).sum();
        self.samples.push(Sample {
            at,
            fixed,
            running: kv(true),
            idle: kv(false),
            requests: stats.request_bytes,
            others: machine.others(),
            limit: host.limit,
            capacity: host.capacity,
        });
        let many = self.samples.len() > SAMPLES;
        if many {
            let mut keep = false;
            self.samples.retain(|_| {
                keep = !keep;
                keep
            });
        }
        many
    }

    pub(crate) fn close(
        &mut self,
        stats: &MemoryStats,
        steps: u64,
        events: u64,
        digest: u64,
        end: Duration,
    ) -> Result<(), Broken> {
        (self.steps, self.events, self.digest, self.end) = (steps, events, digest, end);
        (self.peak, self.evictions) = (stats.host().peak, stats.evictions);
        self.line = (stats.waited_count, stats.longest_wait);
        self.waits.sort_unstable();
        self.queued.sort_unstable();
        let counted = (stats.accepted_count, stats.shrunk_count);
        if counted != (self.accepted, self.shrunk) {
            return Err(Broken(format!("the guard counted {counted:?} accepted and shrunk requests")));
        }
        let decided = self.accepted + self.shrunk + self.never + self.gave_up;
        if decided != self.requests {
            let lost = self.requests.saturating_sub(decided);
            return Err(Broken(format!("{lost} requests were never decided")));
        }
        let horizon = u64::try_from(self.last_came.as_nanos()).unwrap_or(u64::MAX);
        self.ratio = self.room.and_then(|room| ratio(&self.items, &[(0, room)], horizon));
        Ok(())
    }

    /// How long requests waited for their grant: this fraction of them no longer.
    pub fn wait(&self, fraction: f64) -> Duration {
        quantile(&self.waits, fraction)
    }

    /// How long granted requests waited for a lane.
    pub fn queued(&self, fraction: f64) -> Duration {
        quantile(&self.queued, fraction)
    }
}

fn quantile(sorted: &[Duration], fraction: f64) -> Duration {
    let last = sorted.len().saturating_sub(1);
    let at = ((last as f64 * fraction).round() as usize).min(last);
    sorted.get(at).copied().unwrap_or_default()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = |name: &str, text: String| writeln!(f, "{name:<12}{text}");
        let seconds = |time: Duration| format!("{:.3} s", time.as_secs_f64());
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let three = |waited: &dyn Fn(f64) -> Duration| {
            let [half, most, all] = [0.5, 0.99, 1.0].map(|fraction| seconds(waited(fraction)));
            format!("{half} (p50), {most} (p99), {all} (longest)")
        };
        line("seed", self.seed.to_string())?;
        line("requests", format!("{} in {}, asked {} times", self.requests, seconds(self.end), self.asks))?;
        line("accepted", self.accepted.to_string())?;
        line("shrunk", self.shrunk.to_string())?;
        line(
            "refused",
            format!(
                "{} at first, {} for good: they never fit; {} waited until their deadline",
                self.delayed, self.never, self.gave_up
            ),
        )?;
        line("evicted", format!("{} times a session", self.evictions))?;
        line("recomputed", format!("{} turns, {} tokens", self.recomputed.0, self.recomputed.1))?;
        line("cut short", format!("{} cancelled, {} late", self.cut_short.0, self.cut_short.1))?;
        line("maximal", format!("{} of the looked at grants: one token more is refused", self.maximal))?;
        line("generated", format!("{} tokens in {} steps", self.generated, self.steps))?;
        line("peak", format!("{} bytes ({:.1} MiB)", self.peak, mib(self.peak)))?;
        line("waited", three(&|fraction| self.wait(fraction)))?;
        if self.longest_line > 0 {
            let (served, longest) = self.line;
            let text =
                format!("{served} served, {} at most, for {} at most", self.longest_line, seconds(longest));
            line("line", text)?;
        }
        line("queued", three(&|fraction| self.queued(fraction)))?;
        if let Some(ratio) = self.ratio {
            line("packed", format!("{ratio:.4} of what the offline packer admits"))?;
        }
        line("digest", format!("{:016x} of {} events", self.digest, self.events))
    }
}
