//! Every check of this repository, the same on a desk and in CI: `cargo xtask`.
//!
//! A check is a [`report::Step`]: it has a name, takes its time, and ends with numbers. Its output goes
//! to a file under `target/xtask/` and is shown in full if something in it failed. Whatever a command
//! does, its last line is `N passed, N failed, N skipped`.

mod arrows;
mod bench;
mod ci;
mod dag;
mod demo;
mod deny;
mod docs;
mod error;
mod fuzz;
mod job;
mod libtest;
mod links;
mod lint;
mod loom;
mod miri;
mod purity;
mod report;
mod source;
mod stage;
mod suite;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::Error;
use crate::report::Report;
use crate::workspace::Workspace;

/// Checks this repository.
///
/// Each check can be run alone; `ci` runs all of them, as the CI does before a change lands. The output
/// of a step that failed is shown in full, that of every step is kept in target/xtask/. The last line
/// is always `N passed, N failed, N skipped`, and nothing is skipped without a reason above it.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// All checks, in the order of this list, and that they leave the tree as it was.
    ///
    /// Installs what is missing: packages of Debian or Ubuntu (as root), components of the Rust
    /// toolchains, cargo-deny (into target/tools).
    Ci,
    /// The formatting of all crates; `cargo fmt --all` mends it.
    Fmt,
    /// Clippy on everything, warnings being errors.
    Clippy,
    /// Which crate depends on which, where `unsafe` stands, and that the engines are pure.
    ///
    /// The table of arrows is in xtask/src/arrows.rs; docs/ says why they point where they do.
    Dag,
    /// All tests: unit, property and doc tests, those that need root, loom, miri, fuzzing.
    Test(test::Options),
    /// The documentation: rustdoc (private items too) without warnings, and the links of all pages.
    Docs,
    /// The switch at work: network namespaces talk through it, are kept from it, and why.
    ///
    /// `two-pods` is the first look, `pipeline` what forty tables can do. Needs root. Installs missing
    /// packages, builds in release, shows every command it runs, takes down what it has set up, and
    /// ends with a table.
    Demo(demo::Options),
    /// Licences, bans and sources of the dependencies, by cargo-deny.
    Deny,
    /// The models of what threads share, by loom: tests named `model` or `loom`.
    Loom,
    /// The tests of crates with `unsafe` under miri, and those of `packet` as on a big-endian machine.
    ///
    /// Properties run with few cases. A test that is too slow says so itself, by
    /// `#[cfg_attr(miri, ignore = "why")]` or smaller numbers under `cfg!(miri)`.
    Miri(miri::Options),
    /// The switch beside its peers, in turn: `datapath`, `classify`, `conntrack`, `flowmod`, `veth`.
    ///
    /// Installs the peers (as root), prints a table, and keeps every sample in target/bench/.
    Bench(bench::Options),
    /// The fuzz targets, starting from the corpus in fuzz/corpus.
    Fuzz(fuzz::Options),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<ExitCode, Error> {
    let workspace = Workspace::load()?;
    let mut report = Report::new(&workspace)?;
    match command {
        Command::Ci => ci::run(&workspace, &mut report)?,
        Command::Fmt => lint::fmt(&workspace, &mut report)?,
        Command::Clippy => lint::clippy(&workspace, &mut report)?,
        Command::Dag => dag::run(&workspace, &mut report)?,
        Command::Test(options) => test::run(&workspace, options, &mut report)?,
        Command::Docs => docs::run(&workspace, &mut report)?,
        Command::Demo(options) => demo::run(&workspace, options, &mut report)?,
        Command::Deny => deny::run(&workspace, &mut report)?,
        Command::Loom => loom::run(&workspace, "", &mut report)?,
        Command::Miri(options) => miri::run(&workspace, options, &mut report)?,
        Command::Bench(options) => bench::run(&workspace, options, &mut report)?,
        Command::Fuzz(options) => fuzz::run(&workspace, options, &mut report)?,
    }
    Ok(report.finish())
}
