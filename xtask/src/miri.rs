//! `cargo xtask miri`: the crates with `unsafe` in them, interpreted.

use std::time::Duration;

use crate::error::Error;
use crate::job::Job;
use crate::report::{Report, Step, Work};
use crate::suite;
use crate::tools;
use crate::workspace::Workspace;

/// Crates, the tests of each that miri can run (by parts of their names; none means all), and machines.
/// What is not here has no `unsafe`, or nothing but system calls; of `flowtable`, which has none, it is
/// what threads share. What takes longest is first.
const RUNS: &[(&str, &[&str], &str)] = &[
    ("conntrack", &[], HERE),
    ("packet", &[], HERE),
    ("flowtable", &["mac::", "paths::", "pending::", "ring::", "tokens::"], HERE),
    ("packet", &[], BIG_ENDIAN),
    ("hw", &["ring"], HERE),
];
const HERE: &str = "";
/// Network order is this machine's own: what forgets to convert shows on one of the two.
const BIG_ENDIAN: &str = "s390x-unknown-linux-gnu";
/// How many cases a property is tried with; miri is some hundred times slower than the machine.
const CASES: &str = "4";
/// How long one crate may take.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// Which tests.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Options {
    /// Only this crate.
    #[arg(default_value = "", hide_default_value = true)]
    package: String,
    /// Only tests with this in their names.
    #[arg(long, default_value = "", hide_default_value = true)]
    filter: String,
}

impl Options {
    /// All crates, tests with `filter` in their names.
    pub(crate) fn filter(filter: &str) -> Self {
        Self { filter: filter.to_owned(), ..Self::default() }
    }
}

/// Runs the tests.
pub(crate) fn run(
    workspace: &Workspace,
    options: &Options,
    report: &mut Report,
) -> Result<(), Error> {
    if !tools::install_miri(report) {
        return Ok(());
    }
    let chosen = RUNS.iter().filter(|(package, ..)| {
        let is_chosen = options.package.is_empty() || options.package == *package;
        is_chosen && workspace.package(package).is_some()
    });
    // The interpreter has one thread: what it runs leaves a processor to another one.
    let works = chosen.map(|run| work(workspace, run, &options.filter));
    report.steps(works.collect());
    Ok(())
}

/// One crate's tests, and what their step is called.
fn work<'a>(
    workspace: &'a Workspace,
    (package, tests, machine): &'a (&str, &[&str], &str),
    filter: &'a str,
) -> (String, Work<'a>) {
    let name = format!("miri {package} {machine}");
    let work = move |step: &mut Step| {
        let target = if machine.is_empty() { String::new() } else { format!("--target {machine}") };
        // Filters of a test program add up, so a person's replaces ours.
        let tests = if filter.is_empty() { tests.join(" ") } else { filter.to_owned() };
        let line = format!("+nightly miri test -p {package} --lib {target} -- {tests}");
        let flags = "-Zmiri-disable-isolation";
        let job = Job::cargo(&line)
            .env("CARGO_TARGET_DIR", workspace.target("miri"))
            // For the generators of properties, which look for the time and their directory.
            .env("MIRIFLAGS", flags)
            .env("PROPTEST_CASES", CASES)
            .limit(LIMIT);
        let again = format!("Again: PROPTEST_CASES={CASES} MIRIFLAGS={flags} {}", job.line());
        Ok(suite::verdict(job.run(step)?).advise(again))
    };
    (name.trim().to_owned(), Box::new(work))
}
