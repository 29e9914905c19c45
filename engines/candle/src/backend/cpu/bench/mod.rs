//! Times single kernels of this backend against what memory and arithmetic allow: the program `make bench-kernels`.
//!
//! - `options`: the command line; `table`: what is printed, and which limit binds;
//! - `limits`: raw reads and raw arithmetic (`peaks`), as many threads at once as the kernel has;
//! - `products`, `attention`, `rows`, `sampling`: the kernels, called as a step calls them.
//!
//! Kernel and limits take turns, and the best turn of each counts: what else the machine does only adds. One thread is timed
//! by the time that it ran, several by the clock on the wall.

mod attention;
mod limits;
mod options;
mod peaks;
mod products;
mod rows;
mod sampling;
mod table;

use super::kernels::Level;
use super::pool::Pool;
use crate::backend::{KvDtype, RopeSpec, StepSpec};
use limits::Limits;
use options::Options;
use peaks::Arithmetic;
use plimsoll_engine::EngineError;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::io::{self, Write};
use std::time::{Duration, Instant};
use table::{Line, Measured};

/// The least time of a turn, in seconds: kernels that take less run several times.
const TURN: f64 = 0.004;
/// Turns that every kernel has at least.
const TURNS: usize = 5;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The command line is wrong.
    #[error("{0}")]
    Usage(String),
    /// A kernel or its memory.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The table could not be written.
    #[error("the table cannot be written: {0}")]
    Write(#[from] io::Error),
}

/// Runs the program: arguments without its name; the table, or JSON objects a line, go to `out`.
///
/// # Errors
/// See [`BenchError`].
pub fn bench_kernels(arguments: impl Iterator<Item = String>, out: &mut dyn Write) -> Result<(), BenchError> {
    let options = Options::parse(arguments).map_err(BenchError::Usage)?;
    if options.help {
        return Ok(writeln!(out, "{}", options::HELP)?);
    }
    let level = Level::detect();
    let pool = Pool::new(options.threads)?;
    let limits = Limits::new(level, options.set_bytes)?;
    let mut bench = Bench { options, level, pool, limits, out };
    bench.begin()?;
    products::all(&mut bench)?;
    attention::all(&mut bench)?;
    rows::all(&mut bench)?;
    sampling::all(&mut bench)
}

/// What every kernel is measured with.
struct Bench<'a> {
    options: Options,
    level: Level,
    pool: Pool,
    limits: Limits,
    out: &'a mut dyn Write,
}

/// One run of a kernel.
struct Work {
    /// Its name, the type of what it reads, and the shape.
    names: [String; 3],
    rows: usize,
    /// Threads that it may use.
    threads: usize,
    /// Bytes that it reads, and writes, at least once.
    bytes: usize,
    /// Bytes that runs go over before they come back to the first of them.
    set: usize,
    /// Multiplications and additions that its result takes.
    operations: f64,
    /// The instruction it is built on, and how many operations of it are done for each one that is wanted.
    arithmetic: Option<(Arithmetic, f64)>,
}

impl Bench<'_> {
    fn begin(&mut self) -> io::Result<()> {
        if self.options.json {
            return Ok(());
        }
        let (level, threads) = (self.level.name(), self.options.threads);
        writeln!(self.out, "level {level}, {threads} threads; the best of many turns")?;
        writeln!(self.out, "{}", table::HEAD)
    }

    /// Whether these words name a kernel that is asked for.
    fn wants(&self, words: &[&str]) -> bool {
        self.options.only.iter().all(|only| words.contains(&only.as_str()))
    }

    /// Measures a kernel, if it is asked for, and prints its line.
    fn measure(
        &mut self,
        work: &Work,
        mut run: impl FnMut() -> Result<(), EngineError>,
    ) -> Result<(), BenchError> {
        let rows = work.rows.to_string();
        let [name, kind, shape] = work.names.each_ref().map(String::as_str);
        if !self.wants(&[name, kind, shape, &rows]) {
            return Ok(());
        }
        run()?;
        let mut failed = Ok(());
        let mut turn = |times: usize| {
            limits::timed(work.threads, || {
                for _ in 0..times {
                    if failed.is_ok() {
                        failed = run();
                    }
                }
            })
        };
        let times = (TURN / turn(1).max(1e-9)).ceil().clamp(1.0, 1e6) as usize;
        let mut best = Measured { seconds: f64::INFINITY, read: 0.0, peak: 0.0 };
        let start = Instant::now();
        let enough = Duration::from_secs_f64(self.options.seconds);
        let mut turns = 0;
        while turns < TURNS || start.elapsed() < enough {
            best.read = best.read.max(self.limits.read(&self.pool, work.threads, work.set));
            if let Some((arithmetic, _)) = work.arithmetic {
                best.peak = best.peak.max(self.limits.peak(&self.pool, work.threads, arithmetic));
            }
            // Threads that fell asleep meanwhile wake up before the clock starts.
            turn(1);
            best.seconds = best.seconds.min(turn(times) / times as f64);
            turns += 1;
        }
        failed?;
        let line = Line { work, measured: best };
        match self.options.json {
            true => writeln!(self.out, "{}", line.json(self.level.name()))?,
            false => writeln!(self.out, "{}", line.text())?,
        }
        Ok(self.out.flush()?)
    }
}

/// The shape of a model of 1.2 billion parameters, with a context for what is measured here.
fn spec(options: &Options, layers: usize, kv_dtype: KvDtype) -> StepSpec {
    StepSpec {
        hidden: 2048,
        intermediate: 8192,
        layers,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        vocab: 256,
        context: 4096,
        max_rows: 512,
        max_sequences: 1,
        block_tokens: 16,
        kv_dtype,
        threads: options.threads,
        ropes: vec![RopeSpec {
            inv_freq: (0..32).map(|pair| 500_000f32.powf(-(pair as f32) / 32.0)).collect(),
            magnitude: 1.0,
            interleaved: false,
        }],
        experts: None,
        window: None,
    }
}

/// Random numbers, the same in every run.
struct Random(Xoshiro256PlusPlus);

impl Random {
    fn new() -> Self {
        Random(Xoshiro256PlusPlus::seed_from_u64(1))
    }

    /// Bytes that are finite and no tiny numbers, whatever type they are read as.
    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(8) {
            let random = (self.0.next_u64() & 0x1f1f_1f1f_1f1f_1f1f) | 0x2020_2020_2020_2020;
            piece.copy_from_slice(&random.to_le_bytes()[..piece.len()]);
        }
    }

    /// Values from -1 to 1.
    fn fill(&mut self, values: &mut [f32]) {
        for value in values {
            *value = (self.0.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(arguments: &str) -> Vec<String> {
        let mut out = Vec::new();
        bench_kernels(arguments.split_whitespace().map(str::to_owned), &mut out).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn one_kernel_of_each_kind_is_measured() {
        for (only, kind) in [("product", "q4_0"), ("attend", "q8_0"), ("rms_norm", "f32"), ("sample", "f32")]
        {
            let rows = if only == "sample" { "greedy" } else { "1" };
            let fast = "--threads 2 --seconds 0 --set 1 --json";
            let lines = lines(&format!("{fast} --only {only} --only {kind} --only {rows}"));
            assert!(!lines.is_empty(), "{only}");
            for line in lines {
                let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                assert_eq!(line["kernel"], only);
                assert_eq!(line["type"], kind);
                assert!(line["seconds"].as_f64().unwrap() > 0.0 && line["read"].as_f64().unwrap() > 0.0);
            }
        }
    }

    #[test]
    fn a_table_has_a_head_and_lines_of_its_width() {
        let lines = lines("--threads 1 --seconds 0 --set 1 --only rope");
        assert!(lines[0].contains(Level::detect().name()));
        assert_eq!(lines.len(), 4);
        assert!(lines[2..].iter().all(|line| line.starts_with("rope")));
    }

    #[test]
    fn a_wrong_word_is_told() {
        let wrong = |arguments: &str| {
            let arguments = arguments.split_whitespace().map(str::to_owned);
            bench_kernels(arguments, &mut Vec::new()).unwrap_err().to_string()
        };
        assert!(wrong("--thread 2").contains("--thread"));
        assert!(wrong("--threads 0").contains("0"));
        assert!(wrong("--set").contains("--set"));
        assert!(lines("--help").concat().contains("--threads N"));
    }
}
