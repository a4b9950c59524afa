//! `cargo xtask test`: all tests there are.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::job::Job;
use crate::libtest::{Ignored, Results};
use crate::report::{Report, Verdict};
use crate::suite::{self, Program};
use crate::workspace::Workspace;
use crate::{fuzz, loom, miri, tools};

/// Which tests.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only tests with this in their names.
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,
    /// Leaves out miri, loom and fuzzing, which take most of the time; they count as skipped.
    #[arg(long)]
    quick: bool,
}

/// Runs the tests: first what needs nothing, then what needs root, then the slow tools.
pub(crate) fn run(
    workspace: &Workspace,
    options: &Options,
    report: &mut Report,
) -> Result<(), Error> {
    tools::install_for_tests(report);
    let everything = workspace.everything();
    let cargo = Job::cargo(&format!("build {everything} {}", suite::BUILD));
    let programs = suite::build("build", cargo, workspace, report);
    let mut ignored = Vec::new();
    for program in &programs {
        ignored.push(run_unit(program, &options.filter, report));
    }
    doc(&everything, &options.filter, report);
    for (program, ignored) in programs.iter().zip(&ignored) {
        run_ignored(program, ignored, report);
    }
    if options.quick {
        for name in ["loom", "miri", "fuzz"] {
            report.step(name, |_| Ok(Verdict::skipped(1, "left out by --quick")));
        }
        return Ok(());
    }
    loom::run(workspace, &options.filter, report)?;
    miri::run(workspace, &miri::Options::filter(&options.filter), report)?;
    if options.filter.is_empty() {
        fuzz::run(workspace, &fuzz::Options::default(), report)?;
    }
    Ok(())
}

/// Runs the tests of a program that are not ignored, and answers those that are.
fn run_unit(program: &Program, filter: &str, report: &mut Report) -> Vec<Ignored> {
    let mut ignored = Vec::new();
    report.step(&format!("unit {}", program.name), |step| {
        let ended = program.run(&[filter], step)?;
        ignored = Results::read(&ended.output).ignored;
        Ok(suite::verdict(ended).advise(program.again("", filter)))
    });
    ignored
}

/// Runs the examples in the documentation.
fn doc(everything: &str, filter: &str, report: &mut Report) {
    report.step("doc", |step| {
        let cargo = Job::cargo(&format!("test {everything} --doc --no-fail-fast -- {filter}"));
        let again = format!("Again: {}", cargo.line());
        Ok(suite::verdict(cargo.run(step)?).advise(again))
    });
}

/// Runs a program's ignored tests whose needs are met here, one at a time: they have network namespaces
/// with traffic in them, and time matters there.
fn run_ignored(program: &Program, ignored: &[Ignored], report: &mut Report) {
    let mut unmet: BTreeMap<String, u64> = BTreeMap::new();
    let mut names = Vec::new();
    for test in ignored {
        match tools::unmet(needs(&test.reason)) {
            None => names.push(test.name.as_str()),
            Some(why) => *unmet.entry(why).or_default() += 1,
        }
    }
    let name = format!("root {}", program.name);
    if !names.is_empty() {
        report.step(&name, |step| {
            let arguments = ["--ignored", "--exact", "--test-threads", "1"];
            let arguments: Vec<_> = arguments.into_iter().chain(names).collect();
            let ended = program.run(&arguments, step)?;
            Ok(suite::verdict(ended).advise(program.again("", "--ignored --test-threads 1")))
        });
    }
    for (why, count) in unmet {
        report.step(&name, |_| Ok(Verdict::skipped(count, why)));
    }
}

/// What a test says that it needs: `needs root and tcpdump: run by cargo xtask test`.
fn needs(reason: &str) -> impl Iterator<Item = &str> {
    let needs = reason.strip_prefix("needs ").unwrap_or_default();
    let needs = needs.split(':').next().unwrap_or_default();
    needs.split([' ', ',']).filter(|word| !word.is_empty() && *word != "and")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_words_before_the_colon() {
        let read = |reason| needs(reason).collect::<Vec<_>>();
        assert_eq!(read("needs root: run by cargo xtask test"), ["root"]);
        assert_eq!(read("needs root, ovs-ofctl and tcpdump: x"), ["root", "ovs-ofctl", "tcpdump"]);
        assert!(read("slow: run by cargo xtask test").is_empty());
        assert!(read("").is_empty());
    }
}
