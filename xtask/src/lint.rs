//! `cargo xtask fmt` and `cargo xtask clippy`.

use crate::error::Error;
use crate::job::Job;
use crate::report::Report;
use crate::workspace::Workspace;

/// The manifest of the fuzz targets, which are a workspace of their own.
const FUZZ: &str = "--manifest-path fuzz/Cargo.toml";

/// Checks how the code is laid out.
pub(crate) fn fmt(workspace: &Workspace, report: &mut Report) -> Result<(), Error> {
    each(
        workspace,
        report,
        "fmt",
        |which| Job::cargo(&format!("fmt {which} --all --check")),
        "cargo fmt --all",
    )
}

/// Checks the code with clippy.
pub(crate) fn clippy(workspace: &Workspace, report: &mut Report) -> Result<(), Error> {
    let target = workspace.target("fuzz");
    let job = |which: &str| {
        let job = |everything: &str| {
            Job::cargo(&format!(
                "clippy {which} {everything} --all-targets --keep-going -- --deny warnings"
            ))
        };
        match which {
            FUZZ => job("").env("CARGO_TARGET_DIR", &target),
            _ => job(&workspace.everything()),
        }
    };
    each(workspace, report, "clippy", job, "cargo clippy --all-targets")
}

fn each(
    workspace: &Workspace,
    report: &mut Report,
    name: &str,
    job: impl Fn(&str) -> Job,
    again: &str,
) -> Result<(), Error> {
    report.step(name, |step| Ok(job("").run(step)?.verdict(format!("Again: {again}"))));
    if workspace.load_fuzz()?.is_some() {
        report.step(&format!("{name} fuzz"), |step| {
            Ok(job(FUZZ).run(step)?.verdict(format!("Again: {again} {FUZZ}")))
        });
    }
    Ok(())
}
