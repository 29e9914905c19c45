//! A chat on standard input and output, and a first program to read: load a model under a memory budget, open a session, and
//! for each line stream the answer and show what it cost; `/stats` shows who has how much of the memory.
//!
//!     cargo run --release --example chat -- [MODEL [BUDGET]]
//!
//! The model is a Hugging Face folder or a `.gguf` file [models/demo], the budget a size such as 512MiB [what the machine or
//! its cgroup allows].

use plimsoll::{Cancel, Config, Decision, Error, ErrorCode, Outcome, Polled, Request, Runtime, Session};
use std::io::{self, BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

const MIB: f64 = (1 << 20) as f64;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "models/demo".into());
    let budget = arguments.next().unwrap_or_default();
    match chat(Path::new(&model), &budget) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn chat(path: &Path, budget: &str) -> Result<(), Box<dyn std::error::Error>> {
    let mut config = Config::new();
    config.set("memory.budget", budget)?; // an empty value is the default
    let runtime = Runtime::new(&config)?;
    let model = runtime.load_model("chat", path, &Config::new(), &|_| true)?;
    let session = Session::open(&model, &Config::new())?;
    eprintln!(
        "plimsoll {}: {}, context {} tokens, weights {:.1} MiB",
        env!("CARGO_PKG_VERSION"),
        path.display(),
        model.context_length(),
        model.holdings().weights as f64 / MIB
    );

    let prompt = io::stdin().is_terminal();
    let mut lines = io::stdin().lock().lines();
    loop {
        if prompt {
            eprint!("> ");
        }
        let Some(line) = lines.next().transpose()? else { return Ok(()) };
        if line.trim().is_empty() {
            continue;
        }
        if line == "/stats" {
            eprint!("{}", runtime.memory_report());
            continue;
        }
        match answer(&session, &Request::user(line)) {
            Ok(outcome) => eprintln!("{}", summary(&outcome)),
            Err(Failure::Library(error)) => refused(&error)?,
            Err(Failure::Output(error)) => return Err(error.into()),
        }
    }
}

/// Why there is no whole answer.
enum Failure {
    Library(Error),
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Library(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

/// Streams the answer to standard output. When that is closed the stream is dropped, which cancels the request.
fn answer(session: &Session, request: &Request) -> Result<Outcome, Failure> {
    let mut out = io::stdout().lock();
    let mut stream = session.stream(request, None, &Cancel::new())?;
    loop {
        match stream.next(None)? {
            Polled::Event(event) => {
                out.write_all(event.text.as_bytes())?;
                out.flush()?;
            }
            Polled::Finished(outcome) => {
                writeln!(out)?;
                return Ok(outcome);
            }
            Polled::TimedOut => {} // not without a time limit
        }
    }
}

fn summary(outcome: &Outcome) -> String {
    let verdict = &outcome.verdict;
    let decision = match verdict.decision {
        Decision::Shrink => {
            format!("shrink from {} to {} tokens", verdict.asked_tokens, verdict.granted_tokens)
        }
        decision => decision.name().to_owned(),
    };
    format!(
        "[{decision} | {} tokens in, {} of them held | {} out, {:.1} tokens/s | session KV {:.1} MiB, free {:.1} MiB]",
        outcome.prompt_tokens,
        outcome.cached_tokens,
        outcome.generated_tokens,
        outcome.tokens_per_second(),
        outcome.kv_bytes as f64 / MIB,
        outcome.bytes_free as f64 / MIB
    )
}

/// A refusal is said, and the chat goes on; any other error ends it.
fn refused(error: &Error) -> Result<(), Error> {
    if error.code() != ErrorCode::MemoryRefused {
        return Err(error.clone());
    }
    let numbers = error.numbers();
    eprintln!(
        "[refused: {:.1} MiB asked, {:.1} MiB free]",
        numbers.bytes_asked as f64 / MIB,
        numbers.bytes_free as f64 / MIB
    );
    Ok(())
}
