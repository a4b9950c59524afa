//! A program that is run for a step. Its output goes to a file, and its end is awaited, though not for
//! ever: whatever hangs is ended, with all its children.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::error::Error;
use crate::report::{Step, Verdict};

/// How long a program may take unless said otherwise.
const LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long it takes at most to notice that a program has ended.
const PAUSE: Duration = Duration::from_millis(20);

/// A program to be run.
#[derive(Debug)]
pub(crate) struct Job {
    command: Command,
    limit: Duration,
    messages: bool,
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// How it ended, in words, if not well.
    pub(crate) failure: Option<String>,
    /// What it printed, errors and all, in order.
    pub(crate) output: String,
    /// What it wrote to its standard output, if that was asked for apart.
    pub(crate) messages: String,
}

impl Job {
    /// `program` with these arguments.
    pub(crate) fn new<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self { command, limit: LIMIT, messages: false }
    }

    /// `cargo` with the arguments that `line` names, with blanks between them.
    pub(crate) fn cargo(line: &str) -> Self {
        Self::new("cargo", line.split_whitespace())
    }

    /// The same, with something in its environment.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// The same, in this directory.
    pub(crate) fn inside(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// The same, with so much time.
    pub(crate) fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The same, its standard output being kept apart.
    pub(crate) fn with_messages(self) -> Self {
        Self { messages: true, ..self }
    }

    /// What a person would type.
    pub(crate) fn line(&self) -> String {
        let words = std::iter::once(self.command.get_program()).chain(self.command.get_args());
        let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        words.join(" ")
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self, step: &mut Step) -> Result<Ended, Error> {
        let (path, mut log) = step.log()?;
        let start = log.seek(SeekFrom::End(0)).map_err(Error::file(&path))?;
        let messages = path.with_extension("json");
        let copy = log.try_clone().map_err(Error::file(&path))?;
        let stdout = match self.messages {
            true => File::create(&messages).map_err(Error::file(&messages))?,
            false => log.try_clone().map_err(Error::file(&path))?,
        };
        self.command.stdin(Stdio::null()).stdout(stdout).stderr(copy);
        let program = self.command.get_program().to_string_lossy().into_owned();
        let child = self.command.spawn();
        let mut child =
            child.map_err(|source| Error::Start { program: program.clone(), source })?;
        let status = self.wait(&mut child, step, &path);
        let status = status.map_err(|source| Error::Start { program, source })?;
        let failure = match status {
            Some(status) if status.success() => None,
            Some(status) => Some(status.to_string()),
            None => Some(format!("no end after {} s", self.limit.as_secs())),
        };
        let output = read_from(&path, start)?;
        let messages = if self.messages { read_from(&messages, 0)? } else { String::new() };
        Ok(Ended { failure, output, messages })
    }

    /// Its status; `None` if it took too long and was ended.
    fn wait(
        &self,
        child: &mut Child,
        step: &mut Step,
        log: &Path,
    ) -> Result<Option<ExitStatus>, std::io::Error> {
        let end = step.elapsed() + self.limit;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            if step.elapsed() > end {
                end_with_children(child.id());
                child.wait()?;
                return Ok(None);
            }
            step.beat(|| last_line(log));
            std::thread::sleep(PAUSE);
        }
    }
}

impl Ended {
    /// One check: whether the program ended well.
    pub(crate) fn verdict(self, advice: impl Into<String>) -> Verdict {
        match self.failure {
            None => Verdict::passed(""),
            Some(how) => Verdict::failed(how, self.output).advise(advice),
        }
    }
}

fn read_from(path: &Path, start: u64) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let mut file = File::open(path).map_err(Error::file(path))?;
    file.seek(SeekFrom::Start(start)).map_err(Error::file(path))?;
    file.read_to_end(&mut bytes).map_err(Error::file(path))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The last line that has something on it: what a program is about.
fn last_line(log: &Path) -> String {
    let read = || {
        let mut file = File::open(log).ok()?;
        let len = file.seek(SeekFrom::End(0)).ok()?;
        file.seek(SeekFrom::Start(len.saturating_sub(4096))).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(str::to_owned)
    };
    read().unwrap_or_default().chars().take(80).collect()
}

/// Ends a process and all that came from it. They are in no group of their own, so that Ctrl-C on a
/// terminal reaches them; therefore they are looked up.
fn end_with_children(process: u32) {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for (child, parent) in processes() {
        children.entry(parent).or_default().push(child);
    }
    let mut doomed = vec![process];
    let mut next = 0;
    while let Some(process) = doomed.get(next).copied() {
        doomed.extend(children.remove(&process).unwrap_or_default());
        next += 1;
    }
    let doomed = doomed.iter().map(u32::to_string);
    let _ = Command::new("kill").arg("-KILL").args(doomed).status();
}

/// All processes with their parents, as `/proc` has them.
fn processes() -> Vec<(u32, u32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // proc_pid_stat(5): `pid (name) state parent ...`; a name may contain anything.
        let (_, behind) = stat.rsplit_once(')')?;
        Some((process, behind.split_whitespace().nth(1)?.parse().ok()?))
    });
    processes.collect()
}
