//! The command line.

use crate::backend::MAX_THREADS;
use std::thread::available_parallelism;

pub(super) const HELP: &str = "\
times single kernels of the CPU backend against raw reads and raw arithmetic of the same process

  --only WORD     a kernel, type, shape or number of rows; given several times, all must fit
  --threads N     threads [all cores]
  --set MIB       weights and KV that are gone over in turn, and a raw read too [1024]
  --seconds S     time for each kernel, its limits included [0.3]
  --json          one JSON object a line, in bytes, seconds and operations a second
The environment variable PLIMSOLL_CPU lowers the instruction set.";

/// Most MiB of the set.
const MOST_SET: usize = 1 << 20;

/// What is asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    pub(super) only: Vec<String>,
    pub(super) threads: usize,
    pub(super) set_bytes: usize,
    pub(super) seconds: f64,
    pub(super) json: bool,
    pub(super) help: bool,
}

impl Options {
    /// The options, or what to tell the user.
    pub(super) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Options {
            only: Vec::new(),
            threads: available_parallelism().map_or(1, |threads| threads.get().min(MAX_THREADS)),
            set_bytes: 1 << 30,
            seconds: 0.3,
            json: false,
            help: false,
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} wants a value"));
            match name.as_str() {
                "--only" => options.only.push(value()?.to_lowercase()),
                "--threads" => options.threads = number(&name, &value()?, MAX_THREADS)?,
                "--set" => options.set_bytes = number(&name, &value()?, MOST_SET)? << 20,
                "--seconds" => {
                    let text = value()?;
                    let seconds = text.parse().ok().filter(|seconds| (0.0..=3600.0).contains(seconds));
                    options.seconds = seconds.ok_or_else(|| format!("{name} {text}: from 0 to 3600"))?;
                }
                "--json" => options.json = true,
                // What cargo adds.
                "--bench" => {}
                "--help" => options.help = true,
                _ => return Err(format!("{name} is not known\n\n{HELP}")),
            }
        }
        Ok(options)
    }
}

fn number(name: &str, text: &str, most: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| format!("{name} {text}: a number from 1 to {most}"))
}
