//! `pktgen`: the packet generator.

use std::process::ExitCode;

use benches::pktgen::{self, cli::Arguments};
use clap::Parser as _;

fn main() -> ExitCode {
    match pktgen::run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pktgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}
