//! `bench`: measurements of the switch beside its peers.

use std::process::ExitCode;

use benches::harness::{self, Arguments};
use clap::Parser as _;
use hw::LargeInHugePages;

/// That of `vswitchd`: what is measured in this process has its tables where it has them there.
#[global_allocator]
static ALLOCATOR: LargeInHugePages = LargeInHugePages;

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
