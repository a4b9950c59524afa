//! `cargo xtask fuzz`: text and bytes nobody thought of.
//!
//! libFuzzer on the stable compiler, which has the instrumentation but no name for it: the flags below
//! are what `cargo fuzz` passes to a nightly one, less the address sanitizer. What a run finds is kept
//! in target/fuzz; the tree's own corpus is only read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Error;
use crate::job::Job;
use crate::report::{Report, Step, Verdict};
use crate::workspace::Workspace;

/// How the targets are instrumented (dependencies.md, section 7).
const FLAGS: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg fuzzing";
/// Longest input, in bytes: two packets, a screen of flows.
const LONGEST: usize = 4096;

/// Which targets, and for how long.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this target, such as `packet`; all of them if it is left out.
    #[arg(default_value = "", hide_default_value = true)]
    target: String,
    /// For how long, all targets together.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Runs the target on this one input instead, such as that of a crash.
    #[arg(long, requires = "target")]
    input: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { target: String::new(), seconds: 60, input: None }
    }
}

/// Builds the targets and runs them one after the other.
pub(crate) fn run(
    workspace: &Workspace,
    options: &Options,
    report: &mut Report,
) -> Result<(), Error> {
    let Some(fuzz) = workspace.load_fuzz()? else {
        report.step("fuzz", |_| Ok(Verdict::failed("fuzz/Cargo.toml is missing", "")));
        return Ok(());
    };
    let targets = fuzz.packages.iter().flat_map(|package| &package.targets);
    let targets = targets.filter(|target| target.kind == ["bin"]).map(|target| &target.name);
    let chosen = |name: &&String| options.target.is_empty() || **name == options.target;
    let (chosen, others): (Vec<_>, Vec<_>) = targets.partition(chosen);
    if chosen.is_empty() {
        let there = others.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(Error::Missing(format!("no target `{}`; there are {there}", options.target)));
    }
    let Some(programs) = build(workspace, report) else { return Ok(()) };
    let seconds = options.seconds / chosen.len() as u64;
    for target in chosen {
        let directory = workspace.target("fuzz");
        let target = Target { name: target, program: programs.join(target), directory };
        match &options.input {
            Some(input) => {
                report.step(&format!("fuzz {}", target.name), |step| target.replay(input, step))
            }
            None => {
                report.step(&format!("fuzz {}", target.name), |step| target.explore(seconds, step))
            }
        };
    }
    Ok(())
}

/// Builds all targets; answers the directory in which they are, if they are.
fn build(workspace: &Workspace, report: &mut Report) -> Option<PathBuf> {
    let mut programs = None;
    report.step("build for fuzzing", |step| {
        // With a target named, the flags do not reach build scripts, which would not link.
        let host = host(step)?;
        let line =
            format!("build --release --manifest-path fuzz/Cargo.toml --bins --target {host}");
        let job = Job::cargo(&line)
            .env("CARGO_TARGET_DIR", workspace.target("fuzz"))
            .env("RUSTFLAGS", FLAGS);
        let ended = job.run(step)?;
        if let Some(how) = ended.failure {
            return Ok(Verdict::failed(how, ended.output).advise(format!("Again: cargo {line}")));
        }
        programs = Some(workspace.target("fuzz").join(host).join("release"));
        Ok(Verdict::done("built"))
    });
    programs
}

/// What the compiler calls this machine.
fn host(step: &mut Step) -> Result<String, Error> {
    let version = Job::new("rustc", ["--version", "--verbose"]).run(step)?.output;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| Error::Missing("rustc names no host".to_owned()))
}

/// A target that has been built.
struct Target<'a> {
    name: &'a str,
    program: PathBuf,
    /// Where what it finds is kept.
    directory: PathBuf,
}

impl Target<'_> {
    /// Runs it on inputs of its own making, from those of the corpus on.
    fn explore(&self, seconds: u64, step: &mut Step) -> Result<Verdict, Error> {
        let found = self.directory.join("corpus").join(self.name);
        let crashes = self.directory.join("crashes");
        for directory in [&found, &crashes] {
            fs::create_dir_all(directory).map_err(Error::file(directory))?;
        }
        let prefix = format!("{}/{}-", crashes.display(), self.name);
        let arguments = [
            found.to_string_lossy().into_owned(),
            format!("fuzz/corpus/{}", self.name),
            format!("-max_total_time={seconds}"),
            format!("-max_len={LONGEST}"),
            format!("-artifact_prefix={prefix}"),
            "-timeout=10".to_owned(),
            "-rss_limit_mb=1024".to_owned(),
            "-print_final_stats=1".to_owned(),
        ];
        let job = Job::new(&self.program.to_string_lossy(), arguments.iter().map(String::as_str));
        let ended = job.limit(Duration::from_secs(seconds + 300)).run(step)?;
        let Some(how) = ended.failure else { return Ok(Verdict::passed(explored(&ended.output))) };
        let input =
            ended.output.lines().find_map(|line| line.split("Test unit written to ").nth(1));
        let advice = match input {
            Some(input) => self.advice(Path::new(input)),
            None => "No input was kept: it failed before it ran one.".to_owned(),
        };
        Ok(Verdict::failed(how, ended.output).advise(advice))
    }

    /// Runs it on one input.
    fn replay(&self, input: &Path, step: &mut Step) -> Result<Verdict, Error> {
        let input = input.to_string_lossy();
        Ok(Job::new(&self.program.to_string_lossy(), [&*input]).run(step)?.verdict(""))
    }

    fn advice(&self, input: &Path) -> String {
        let (name, input) = (self.name, input.display());
        format!(
            "Again: cargo xtask fuzz {name} --input {input}\n\
             When it is mended, keep the input as fuzz/corpus/{name}/<what was wrong>, and leave a test \
             of that name in the crate."
        )
    }
}

/// How far it came: `1234567 inputs, 890 places covered`.
fn explored(output: &str) -> String {
    let number_behind = |word: &str| {
        let line = output.lines().rfind(|line| line.contains(word))?;
        line.split(word).nth(1)?.split_whitespace().next()
    };
    let inputs = number_behind("stat::number_of_executed_units:").unwrap_or("?");
    format!("{inputs} inputs, {} places covered", number_behind("cov:").unwrap_or("?"))
}
