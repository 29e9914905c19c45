//! Runs a simulation and prints what came of it:
//!
//! ```text
//! sim [SEED [REQUESTS [WORKLOAD [PICTURE.svg]]]]    WORKLOAD: mixed-retry, mixed-line, packing-retry, packing-line
//! sim record RECORDING                              a run in real time
//! sim replay RECORDING
//! ```

use plimsoll_sim::plan::Plan;
use plimsoll_sim::workload::Workload;
use plimsoll_sim::{chart, record, replay};
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str =
    "sim [SEED [REQUESTS [WORKLOAD [PICTURE.svg]]]], or: sim record RECORDING, or: sim replay RECORDING
WORKLOAD: mixed-retry, mixed-line, packing-retry, packing-line";

/// Clients of a recording.
const RECORDED_CLIENTS: u32 = 12;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(text) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<String, String> {
    match arguments {
        [word, path] if word == "replay" => {
            let recording = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
            return replay::replay(&recording).map(|played| played.to_string()).map_err(|broken| broken.0);
        }
        [word, path] if word == "record" => {
            let recording = record::record(1, RECORDED_CLIENTS).map_err(|broken| broken.0)?;
            std::fs::write(path, &recording).map_err(|error| format!("{path}: {error}"))?;
            return Ok(format!("{} lines in {path}", recording.lines().count()));
        }
        _ => {}
    }
    let number = |at: usize, default: u64| match arguments.get(at) {
        Some(text) => text.parse().map_err(|_| USAGE.to_owned()),
        None => Ok(default),
    };
    let (seed, requests) = (number(0, 1)?, number(1, 10_000)?);
    let name = arguments.get(2).map_or("mixed-line", String::as_str);
    let workload = Workload::all().into_iter().find(|workload| workload.name == name).ok_or(USAGE)?;
    let mut plan = Plan::new(seed, requests, workload);
    plan.picture = arguments.len() > 3;
    let started = Instant::now();
    let report = plan.run().map_err(|failure| failure.to_string())?;
    if let Some(path) = arguments.get(3) {
        std::fs::write(path, chart::draw(&report)).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(format!("{report}took        {:.1} s", started.elapsed().as_secs_f64()))
}
