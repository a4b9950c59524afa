//! `cargo xtask loom`: every order in which threads can meet.
//!
//! A crate takes part by depending on loom under `cfg(loom)`; its models are the tests whose names
//! have `model` or `loom` in them.

use crate::error::Error;
use crate::job::Job;
use crate::report::{Report, Verdict};
use crate::suite::{self, Program};
use crate::workspace::Workspace;

/// Runs the models whose names contain `filter`.
pub(crate) fn run(workspace: &Workspace, filter: &str, report: &mut Report) -> Result<(), Error> {
    let packages = workspace.packages.iter().filter(|package| package.depends_on("loom"));
    let packages: Vec<_> = packages.map(|package| format!("-p {}", package.name)).collect();
    if packages.is_empty() {
        return Ok(());
    }
    // Models explore millions of orders: optimised, but not linked as what ships.
    // Not integration tests, which use the crates as they are without loom.
    let messages = "--message-format json-render-diagnostics";
    let cargo = format!("test --no-run --release {} --lib {messages}", packages.join(" "));
    let cargo = Job::cargo(&cargo)
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", workspace.target("loom"))
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true");
    for program in suite::build("build for loom", cargo, workspace, report) {
        run_models(&program, filter, report);
    }
    Ok(())
}

fn run_models(program: &Program, filter: &str, report: &mut Report) {
    report.step(&format!("loom {}", program.name), |step| {
        let tests = program.tests(step)?;
        let is_model = |test: &&String| test.contains("model") || test.contains("loom");
        let models: Vec<_> = tests.iter().filter(is_model).collect();
        if models.is_empty() {
            let why = "depends on loom and has no test named `model` or `loom`";
            return Ok(Verdict::failed(why, ""));
        }
        let chosen = models.iter().filter(|test| test.contains(filter)).map(|test| test.as_str());
        let arguments: Vec<_> = std::iter::once("--exact").chain(chosen).collect();
        if arguments.len() == 1 {
            return Ok(Verdict::default());
        }
        let again =
            program.again("RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target/loom", "model loom");
        Ok(suite::verdict(program.run(&arguments, step)?).advise(again))
    });
}
