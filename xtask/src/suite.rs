//! Test programs: built by cargo, run one at a time.
//!
//! They are run directly and not by `cargo test`, so that each has its own line, its own time and its
//! own limit, and so that the second run, of ignored tests, builds nothing.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::error::Error;
use crate::job::{Ended, Job};
use crate::libtest::{self, Results};
use crate::report::{Report, Step, Verdict};
use crate::workspace::{Package, Workspace};

/// Options of `cargo test` that make it build as much as it can and say what it has built.
pub(crate) const BUILD: &str = "--tests --keep-going --message-format json-render-diagnostics";
/// How long one program may run.
const LIMIT: Duration = Duration::from_secs(10 * 60);

/// A test program.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// The crate and, for an integration test, its name: `hw tests/afxdp`.
    pub(crate) name: String,
    /// The options of `cargo test` that choose it.
    choice: String,
    path: PathBuf,
    /// Where cargo runs it: in its crate's directory.
    directory: PathBuf,
}

/// Builds test programs by `cargo`, a job for `cargo build`, and names those that were built. What does
/// not compile is a failure, and the others are there nevertheless.
pub(crate) fn build(
    name: &str,
    cargo: Job,
    workspace: &Workspace,
    report: &mut Report,
) -> Vec<Program> {
    let mut programs = Vec::new();
    report.step(name, |step| {
        let line = cargo.line();
        let ended = cargo.with_messages().run(step)?;
        for message in ended.messages.lines() {
            programs.extend(built(message, workspace));
        }
        Ok(match ended.failure {
            None => Verdict::done(format!("{} programs", programs.len())),
            Some(_) => Verdict::failed("does not compile", errors_of(&ended.output))
                .advise(format!("Again: {line}")),
        })
    });
    programs.sort_by(|a, b| a.name.cmp(&b.name));
    programs
}

/// A line of cargo's JSON messages, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    manifest_path: PathBuf,
    executable: Option<PathBuf>,
    target: crate::workspace::Target,
    profile: Profile,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

fn built(message: &str, workspace: &Workspace) -> Option<Program> {
    let message: Message = serde_json::from_str(message).ok()?;
    let (path, true) = (message.executable?, message.profile.test) else { return None };
    let directory = message.manifest_path.parent()?.to_owned();
    let package = workspace.packages.iter().find(|package| package.directory() == directory)?;
    let (name, choice) = named(package, &message.target);
    Some(Program { name, choice, path, directory })
}

fn named(package: &Package, target: &crate::workspace::Target) -> (String, String) {
    let (package, name) = (&package.name, &target.name);
    match target.kind.first().map_or("lib", String::as_str) {
        "test" => (format!("{package} tests/{name}"), format!("-p {package} --test {name}")),
        "bin" => (format!("{package} bin/{name}"), format!("-p {package} --bin {name}")),
        "bench" => (format!("{package} benches/{name}"), format!("-p {package} --bench {name}")),
        "example" => {
            (format!("{package} examples/{name}"), format!("-p {package} --example {name}"))
        }
        _ => (package.clone(), format!("-p {package} --lib")),
    }
}

impl Program {
    /// Runs the tests that these arguments choose.
    pub(crate) fn run(&self, arguments: &[&str], step: &mut Step) -> Result<Ended, Error> {
        let job = Job::new(&self.path.to_string_lossy(), arguments.iter().copied());
        let job = job.env("CARGO_MANIFEST_DIR", &self.directory).limit(LIMIT);
        job.inside(&self.directory).run(step)
    }

    /// The names of its tests, ignored ones too.
    pub(crate) fn tests(&self, step: &mut Step) -> Result<Vec<String>, Error> {
        let listed = self.run(&["--list", "--format", "terse"], step)?;
        Ok(libtest::listed(&listed.output).map(str::to_owned).collect())
    }

    /// How a person runs it again, with these arguments.
    pub(crate) fn again(&self, environment: &str, arguments: &str) -> String {
        let line = format!("{environment} cargo test {} -- {arguments}", self.choice);
        let line = line.trim().trim_end_matches("--").trim_end();
        format!("Again: {line}")
    }
}

/// The verdict on test programs that have ended.
pub(crate) fn verdict(ended: Ended) -> Verdict {
    let Results { mut tally, programs, .. } = Results::read(&ended.output);
    let mut note = String::new();
    match ended.failure {
        // It has a harness of its own: one test.
        None if programs == 0 => tally.passed += 1,
        // It ended before it could say what failed.
        Some(how) if tally.failed == 0 => {
            tally.failed += 1;
            note = match unfinished(&ended.output) {
                Some(test) => format!("{how}, in `{test}`"),
                None => how,
            };
        }
        _ => {}
    }
    Verdict { tally, note, output: ended.output, advice: String::new() }
}

/// The test that a program was at when it was ended, if it ran them one by one.
fn unfinished(output: &str) -> Option<&str> {
    let last = output.lines().rfind(|line| line.starts_with("test "))?;
    let (name, state) = last.strip_prefix("test ")?.split_once(" ...")?;
    state.trim().is_empty().then_some(name)
}

/// The output of cargo from the first complaint on.
fn errors_of(output: &str) -> String {
    let is_progress =
        |line: &&str| ["   Compiling ", "  Downloaded "].iter().any(|word| line.starts_with(word));
    output.lines().filter(|line| !is_progress(line)).collect::<Vec<_>>().join("\n")
}
