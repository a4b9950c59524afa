//! `cargo xtask ci`: everything that must hold before a change lands.

use std::process::Command;

use crate::error::Error;
use crate::report::{Report, Verdict};
use crate::workspace::Workspace;
use crate::{dag, deny, docs, lint, test, tools};

/// Runs all checks, the quick ones first. One that fails does not keep the others from being made.
pub(crate) fn run(workspace: &Workspace, report: &mut Report) -> Result<(), Error> {
    let before = changes()?;
    // Before anything is compiled: C comes with it.
    tools::install_for_tests(report);
    lint::fmt(workspace, report)?;
    lint::clippy(workspace, report)?;
    dag::run(workspace, report)?;
    test::run(workspace, &test::Options::default(), report)?;
    docs::run(workspace, report)?;
    deny::run(workspace, report)?;
    report.step("tree", |_| {
        let after = changes()?;
        let new: Vec<_> =
            after.lines().filter(|line| !before.lines().any(|old| old == *line)).collect();
        Ok(match (new.as_slice(), before.lines().count()) {
            ([], 0) => Verdict::passed("clean"),
            // On a desk. What was being worked on may have changed once more without notice.
            ([], count) => {
                Verdict::passed(format!("nothing new beside {count} changes from before"))
            }
            (new, _) => Verdict::failed("the checks have changed the tree", new.join("\n")),
        })
    });
    Ok(())
}

/// What differs from the last commit.
fn changes() -> Result<String, Error> {
    let output = Command::new("git").args(["status", "--porcelain"]).output();
    let output = output.map_err(|source| Error::Start { program: "git".to_owned(), source })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Missing(format!("`git status` fails: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
