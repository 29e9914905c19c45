//! Times single kernels of the CPU backend against their byte and operation limits: `make bench-kernels`.

use std::process::ExitCode;

fn main() -> ExitCode {
    match plimsoll_candle::bench_kernels(std::env::args().skip(1), &mut std::io::stdout()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
