//! `cargo xtask docs`: what is written about the code leads somewhere.

use crate::error::Error;
use crate::job::Job;
use crate::links;
use crate::report::{Report, Verdict};
use crate::workspace::Workspace;

/// Checks the documentation in the code and the pages beside it.
pub(crate) fn run(workspace: &Workspace, report: &mut Report) -> Result<(), Error> {
    report.step("rustdoc", |step| {
        let line = format!("doc {} --no-deps --document-private-items", workspace.everything());
        let ended = Job::cargo(&line).env("RUSTDOCFLAGS", "--deny warnings").run(step)?;
        Ok(ended.verdict(format!("Again: RUSTDOCFLAGS='--deny warnings' cargo {line}")))
    });
    report.step("pages", |step| {
        let arguments = ["ls-files", "--cached", "--others", "--exclude-standard", "*.md"];
        let files = Job::new("git", arguments).run(step)?.output;
        let pages: Vec<_> =
            files.lines().filter(|page| workspace.root().join(page).exists()).collect();
        let complaints = links::check(workspace.root(), &pages)?;
        let note = format!("{} pages", pages.len());
        Ok(match complaints.as_slice() {
            [] => Verdict::passed(note),
            complaints => {
                Verdict::failed(format!("mistakes: {}", complaints.len()), complaints.join("\n"))
            }
        })
    });
    Ok(())
}
