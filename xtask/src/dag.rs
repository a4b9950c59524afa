//! `cargo xtask dag`: the shape of the house.

use crate::error::Error;
use crate::report::{Report, Verdict};
use crate::workspace::Workspace;
use crate::{arrows, purity};

/// Checks who depends on whom, and what code mentions where.
pub(crate) fn run(workspace: &Workspace, report: &mut Report) -> Result<(), Error> {
    let fuzz = workspace.load_fuzz()?;
    report.step("dag arrows", |_| {
        let (mut complaints, mut arrows) = arrows::check(workspace);
        if let Some(fuzz) = fuzz {
            let (more, count) = arrows::check(&fuzz);
            complaints.extend(more);
            arrows += count;
        }
        Ok(verdict(&complaints, format!("{arrows} arrows, all downward")))
    });
    report.step("dag purity", |_| {
        let complaints = purity::check(workspace)?;
        Ok(verdict(&complaints, format!("{} crates", workspace.packages.len())))
    });
    Ok(())
}

fn verdict(complaints: &[String], fine: String) -> Verdict {
    match complaints {
        [] => Verdict::passed(fine),
        _ => Verdict::failed(format!("mistakes: {}", complaints.len()), complaints.join("\n"))
            .advise("The rules stand in xtask/src/arrows.rs and xtask/src/purity.rs."),
    }
}
