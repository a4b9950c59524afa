//! `cargo xtask bench`: the switch beside its peers.

use std::process::Command;

use crate::error::Error;
use crate::job::Job;
use crate::report::{Report, Verdict};
use crate::tools;
use crate::workspace::Workspace;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// `datapath`, `classify`, `conntrack`, `flowmod` or `veth`.
    name: String,
    /// Fifteen minutes at most, on a slow machine twenty-five; whether a reach is met is judged
    /// without this.
    #[arg(long)]
    quick: bool,
    /// Only rows with this in their names.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

/// Builds what is measured and what measures, and lets it.
pub(crate) fn run(
    workspace: &Workspace,
    options: &Options,
    report: &mut Report,
) -> Result<(), Error> {
    let mut ready = tools::install_for_benches(report);
    let packages = ["benches", "vswitch", "ofctl"];
    let packages = packages.into_iter().filter(|package| workspace.package(package).is_some());
    let packages: Vec<_> = packages.map(|package| format!("-p {package}")).collect();
    let line = format!("build --release --bins {}", packages.join(" "));
    ready &= report.step("build", |step| {
        let ended = Job::cargo(&line).run(step)?;
        Ok(match ended.failure {
            None => Verdict::done("in release"),
            Some(_) => ended.verdict(format!("Again: cargo {line}")),
        })
    });
    if !ready {
        return Ok(());
    }
    let name = format!("bench {}", options.name);
    let programs = workspace.target("release");
    report.step(&name, |_| {
        // Its table and its progress are for whoever waits, so they go to no file.
        let mut bench = Command::new(programs.join("bench"));
        bench.arg(&options.name).args(options.quick.then_some("--quick"));
        bench.args(options.only.iter().flat_map(|only| ["--only", only]));
        bench.arg("--programs").arg(&programs).arg("--results").arg(workspace.target("bench"));
        let program = bench.get_program().to_string_lossy().into_owned();
        let status = bench.status().map_err(|source| Error::Start { program, source })?;
        Ok(match status.success() {
            true => Verdict::passed(""),
            false => Verdict::failed("see above", ""),
        })
    });
    Ok(())
}
