//! Steps, one line each, and what they add up to.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::ops::AddAssign;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread::{self, available_parallelism};
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::workspace::Workspace;

/// How often a step that takes long says that it is still there, in a log.
const BEAT: Duration = Duration::from_secs(60);
/// How often it does on a terminal.
const BEAT_ON_TERMINAL: Duration = Duration::from_millis(500);
/// How many of the slowest steps are named at the end.
const SLOWEST: usize = 6;

/// How many checks or tests came to which end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Tally {
    /// Those that hold.
    pub(crate) passed: u64,
    /// Those that do not.
    pub(crate) failed: u64,
    /// Those that could not be made here.
    pub(crate) skipped: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// What a step has found.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Its numbers.
    pub(crate) tally: Tally,
    /// What is worth saying beside the numbers, in a few words.
    pub(crate) note: String,
    /// Everything that was printed; shown if something failed.
    pub(crate) output: String,
    /// How to do just this again, or what to do about it; shown if something failed.
    pub(crate) advice: String,
}

impl Verdict {
    /// One check that holds.
    pub(crate) fn passed(note: impl Into<String>) -> Self {
        let tally = Tally { passed: 1, ..Tally::default() };
        Self { tally, note: note.into(), ..Self::default() }
    }

    /// One check that does not.
    pub(crate) fn failed(note: impl Into<String>, output: impl Into<String>) -> Self {
        let tally = Tally { failed: 1, ..Tally::default() };
        Self { tally, note: note.into(), output: output.into(), ..Self::default() }
    }

    /// `count` checks that cannot be made here, and why.
    pub(crate) fn skipped(count: u64, why: impl Into<String>) -> Self {
        let tally = Tally { skipped: count, ..Tally::default() };
        Self { tally, note: why.into(), ..Self::default() }
    }

    /// What is done that needs no mention in the numbers, such as a build.
    pub(crate) fn done(note: impl Into<String>) -> Self {
        Self { note: note.into(), ..Self::default() }
    }

    /// The same with this advice.
    pub(crate) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: advice.into(), ..self }
    }
}

/// The steps of one run of `cargo xtask`.
#[derive(Debug)]
pub(crate) struct Report {
    started: Instant,
    logs: PathBuf,
    tally: Tally,
    failures: Vec<String>,
    skips: Vec<String>,
    durations: Vec<(Duration, String)>,
}

impl Report {
    /// A report of nothing so far. The logs of the run before are removed.
    pub(crate) fn new(workspace: &Workspace) -> Result<Self, Error> {
        let logs = workspace.target("xtask");
        match fs::remove_dir_all(&logs) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::file(&logs)(error));
            }
            _ => {}
        }
        fs::create_dir_all(&logs).map_err(Error::file(&logs))?;
        Ok(Self {
            started: now(),
            logs,
            tally: Tally::default(),
            failures: Vec::new(),
            skips: Vec::new(),
            durations: Vec::new(),
        })
    }

    /// Does one step and prints its line, unless there is nothing to say (no test was chosen). A step
    /// that cannot be done has failed; the others go on. Answers whether nothing failed.
    pub(crate) fn step(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Step) -> Result<Verdict, Error>,
    ) -> bool {
        let step = Step::new(name, &self.logs);
        step.show("");
        self.add(step.end(work))
    }

    /// Does several steps, as many at a time as there are processors, in this order. Each prints its line
    /// when it has ended.
    pub(crate) fn steps(&mut self, works: Vec<(String, Work<'_>)>) {
        let count = available_parallelism().map_or(1, NonZero::get).min(works.len());
        let (works, (ended, all_ended)) = (Mutex::new(works.into_iter()), mpsc::channel());
        let next = || works.lock().unwrap_or_else(PoisonError::into_inner).next();
        let logs = self.logs.clone();
        thread::scope(|scope| {
            for ended in vec![ended; count] {
                scope.spawn(|| {
                    let ended = ended;
                    while let Some((name, work)) = next() {
                        let _ = ended.send(Step::new(&name, &logs).end(work));
                    }
                });
            }
            for ended in all_ended {
                self.add(ended);
            }
        });
    }

    /// The same for a step that prints what it does.
    pub(crate) fn told(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut Step) -> Result<Verdict, Error>,
    ) -> bool {
        let step = Step { on_terminal: false, ..Step::new(name, &self.logs) };
        self.add(step.end(work))
    }

    /// Adds up a step that has ended; answers whether nothing of it failed.
    fn add(&mut self, Ended { name, elapsed, verdict }: Ended) -> bool {
        if verdict.tally != Tally::default() || !verdict.note.is_empty() {
            self.print(&name, elapsed, &verdict);
        }
        self.durations.push((elapsed, name));
        verdict.tally.failed == 0
    }

    fn print(&mut self, name: &str, elapsed: Duration, verdict: &Verdict) {
        let Verdict { tally, note, output, advice } = verdict;
        self.tally += *tally;
        let result = match *tally {
            Tally { failed: 1.., .. } => "FAILED",
            Tally { passed: 0, skipped: 1.., .. } => "skipped",
            _ => "ok",
        };
        say(&format!("{result:>8} {:>7.1} s  {name:<36} {}", elapsed.as_secs_f64(), said(verdict)));
        if tally.failed > 0 {
            say(&format!("{:-<100}\n{}\n{:-<100}", "", output.trim_end(), ""));
            if !advice.is_empty() {
                say(advice);
            }
            self.failures.push(format!("{name}: {}", said(verdict)));
        }
        if tally.skipped > 0 {
            self.skips.push(format!("{name}: {} skipped, {note}", tally.skipped));
        }
    }

    /// Prints what it all adds up to, the numbers last.
    pub(crate) fn finish(mut self) -> ExitCode {
        let minutes = self.started.elapsed().as_secs_f64() / 60.0;
        self.durations.sort_by(|a, b| b.cmp(a));
        let slowest = self.durations.iter().take(SLOWEST);
        let slowest: Vec<_> =
            slowest.map(|(took, name)| format!("{name} {} s", took.as_secs())).collect();
        say(&format!("\n{minutes:.1} min, most of it: {}", slowest.join(", ")));
        for (title, lines) in [("Skipped", &self.skips), ("Failed", &self.failures)] {
            if !lines.is_empty() {
                say(&format!("{title}:\n  {}", lines.join("\n  ")));
            }
        }
        say(&self.tally.to_string());
        if self.tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The numbers and the note of a verdict, as far as there is something to say.
fn said(verdict: &Verdict) -> String {
    let Tally { passed, failed, skipped } = verdict.tally;
    let numbers = [(passed, "passed"), (failed, "failed"), (skipped, "skipped")];
    let numbers = numbers.into_iter().filter(|(n, _)| *n > 0);
    let numbers = numbers.map(|(n, what)| format!("{n} {what}"));
    let note = Some(verdict.note.clone()).filter(|note| !note.is_empty());
    numbers.chain(note).collect::<Vec<_>>().join(", ")
}

/// A step that is being done.
#[derive(Debug)]
pub(crate) struct Step {
    name: String,
    log: PathBuf,
    started: Instant,
    beaten: Instant,
    on_terminal: bool,
}

/// What a step does.
pub(crate) type Work<'a> = Box<dyn FnOnce(&mut Step) -> Result<Verdict, Error> + Send + 'a>;

/// A step that has ended.
struct Ended {
    name: String,
    elapsed: Duration,
    verdict: Verdict,
}

impl Step {
    fn new(name: &str, logs: &Path) -> Self {
        let file: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let (log, started) = (logs.join(file + ".log"), now());
        let on_terminal = io::stdout().is_terminal();
        Self { name: name.to_owned(), log, started, beaten: started, on_terminal }
    }

    /// Does it.
    fn end(mut self, work: impl FnOnce(&mut Self) -> Result<Verdict, Error>) -> Ended {
        let verdict = work(&mut self)
            .unwrap_or_else(|error| Verdict::failed("could not be done", error.to_string()));
        let elapsed = self.elapsed();
        self.clear_line();
        Ended { name: self.name, elapsed, verdict }
    }

    /// Opens the file in which the step's output is kept, at its end.
    pub(crate) fn log(&self) -> Result<(PathBuf, File), Error> {
        let open = fs::OpenOptions::new().create(true).append(true).open(&self.log);
        Ok((self.log.clone(), open.map_err(Error::file(&self.log))?))
    }

    /// How long it has been going on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Says now and then that the step is still there, and what it said `last`.
    pub(crate) fn beat(&mut self, last: impl FnOnce() -> String) {
        let pause = if self.on_terminal { BEAT_ON_TERMINAL } else { BEAT };
        if self.beaten.elapsed() < pause {
            return;
        }
        self.beaten = now();
        if self.on_terminal {
            self.show(&last());
        } else {
            let seconds = self.elapsed().as_secs();
            say(&format!("     ... {seconds:>7} s  {:<36} {}", self.name, last()));
        }
    }

    /// On a terminal: what is being done, to be written over.
    fn show(&self, last: &str) {
        if self.on_terminal {
            let line =
                format!("     ... {:>7} s  {:<36} {last}", self.elapsed().as_secs(), self.name);
            let line: String = line.chars().take(110).collect();
            print!("\r\x1b[K{line}");
            let _ = io::stdout().flush();
        }
    }

    fn clear_line(&self) {
        if self.on_terminal {
            print!("\r\x1b[K");
        }
    }
}

/// Prints a line. Whoever reads may have gone (`| head`), which is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}

#[expect(clippy::disallowed_methods, reason = "how long a check takes is what its line says")]
fn now() -> Instant {
    Instant::now()
}
