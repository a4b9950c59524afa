//! `bench`: measurements of the switch beside its peers.

use std::process::ExitCode;

use benches::harness::{self, Arguments};
use clap::Parser as _;

fn main() -> ExitCode {
    match harness::run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
