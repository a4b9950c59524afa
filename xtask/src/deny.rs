//! `cargo xtask deny`: what the dependencies are allowed to be.

use crate::error::Error;
use crate::job::Job;
use crate::report::Report;
use crate::tools;
use crate::workspace::Workspace;

/// Checks licences, bans and sources as `deny.toml` says. (Advisories change by the day and need their
/// database; they are no property of a commit.)
pub(crate) fn run(workspace: &Workspace, report: &mut Report) -> Result<(), Error> {
    let tools = workspace.target("tools");
    if tools::install_deny(&tools, report) {
        report.step("deny", |step| {
            let program = tools.join("bin/cargo-deny");
            let arguments = ["--all-features", "check", "licenses", "bans", "sources"];
            let ended = Job::new(&program.to_string_lossy(), arguments).run(step)?;
            Ok(ended.verdict("What is allowed stands in deny.toml, with the reasons."))
        });
    }
    Ok(())
}
