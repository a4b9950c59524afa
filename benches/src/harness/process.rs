//! Programs that measurements start, and that end with them.
//!
//! Each is killed when its value is dropped, and by the kernel should we be killed ourselves. They
//! are in process groups of their own: Ctrl-C reaches us alone, and we end them in order.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::clock;

static TOLD_TO_END: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on SIGINT and SIGTERM do not end us at once: whatever waits answers with an error.
pub fn heed_signals() -> Result<()> {
    let told = TOLD_TO_END.get_or_init(Arc::default);
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(told)).context("awaiting signals")?;
    }
    Ok(())
}

/// Whether we were told to end.
pub fn is_told_to_end() -> bool {
    TOLD_TO_END.get().is_some_and(|told| told.load(Relaxed))
}

/// Lets time pass, unless we are told to end.
pub fn pause(duration: Duration) -> Result<()> {
    let end = clock::now_ns() + u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    loop {
        if is_told_to_end() {
            bail!("interrupted");
        }
        let left = end.saturating_sub(clock::now_ns());
        if left == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_nanos(left.min(50_000_000)));
    }
}

/// Asks `check` again and again until it has an answer.
pub fn await_for<T>(
    what: &str,
    seconds: u64,
    mut check: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = clock::now_ns() + seconds * 1_000_000_000;
    loop {
        if let Some(answer) = check()? {
            return Ok(answer);
        }
        if clock::now_ns() > end {
            bail!("{what}: not within {seconds} s");
        }
        pause(Duration::from_millis(20))?;
    }
}

/// A command line, in a namespace and on certain CPUs.
#[derive(Clone, Debug, Default)]
pub struct Line {
    words: Vec<String>,
    environment: Vec<(String, PathBuf)>,
}

impl Line {
    /// A program with its arguments.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let words = vec![program.as_ref().to_string_lossy().into_owned()];
        Self { words, environment: Vec::new() }
    }

    /// The words of `text` as further arguments.
    #[must_use]
    pub fn words(mut self, text: &str) -> Self {
        self.words.extend(text.split_whitespace().map(str::to_owned));
        self
    }

    /// One more argument, whatever is in it.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.words.push(argument.as_ref().to_string_lossy().into_owned());
        self
    }

    /// With something in its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &Path) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same behind `prefix`, a program that runs another one.
    #[must_use]
    pub fn behind(mut self, prefix: &str) -> Self {
        let prefix = prefix.split_whitespace().map(str::to_owned);
        self.words.splice(0..0, prefix);
        self
    }

    /// The same in a network namespace.
    #[must_use]
    pub fn within(self, namespace: &str) -> Self {
        self.behind(&format!("ip netns exec {namespace}"))
    }

    fn command(&self) -> Result<Command> {
        use std::os::unix::process::CommandExt as _;
        let [program, arguments @ ..] = &*self.words else { bail!("an empty command") };
        let mut command = Command::new(program);
        command.args(arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        // Signals to us are for us: what tidies up is not to die of them.
        command.stdin(Stdio::null()).process_group(0);
        Ok(command)
    }

    /// Runs it to its end, which must be a good one, and answers what it printed.
    pub fn run(&self) -> Result<String> {
        let output = self.command()?.output();
        let output = output.with_context(|| format!("cannot start {}", self.text()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("`{}`: {}: {}{}", self.text(), output.status, text.trim(), said.trim());
        }
        Ok(text)
    }

    /// Starts it; what it prints goes to files that begin with `log`.
    pub fn start(self, log: &Path) -> Result<Process> {
        let (out, error) = (log.with_extension("out"), log.with_extension("err"));
        let create = |path: &Path| File::create(path).with_context(|| path.display().to_string());
        let line = self.behind("setpriv --pdeathsig KILL");
        let mut command = line.command()?;
        command.stdout(create(&out)?).stderr(create(&error)?);
        let child = command.spawn().with_context(|| format!("cannot start {}", line.text()))?;
        Ok(Process { child, name: line.text(), out, error })
    }

    fn text(&self) -> String {
        self.words.join(" ")
    }
}

/// A program that runs.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    out: PathBuf,
    error: PathBuf,
}

impl Process {
    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails, with what it said, if it has ended.
    pub fn check(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(anyhow!("`{}` has ended: {status}: {}", self.name, self.said())),
        }
    }

    /// Waits until it says `text` on its standard error.
    pub fn await_text(&mut self, text: &str) -> Result<()> {
        await_for(&format!("`{}` says `{text}`", self.name), 10, || {
            let said = fs::read_to_string(&self.error)?.contains(text);
            if !said {
                self.check()?;
            }
            Ok(said.then_some(()))
        })
    }

    /// Waits until it has ended, which must be well, and answers what it printed.
    pub fn finish(mut self, seconds: u64) -> Result<String> {
        let name = self.name.clone();
        let status = await_for(&name, seconds, || Ok(self.child.try_wait()?))?;
        if !status.success() {
            bail!("`{name}`: {status}: {}", self.said());
        }
        Ok(fs::read_to_string(&self.out)?)
    }

    /// Stops it where it is, or lets it go on.
    pub fn freeze(&self, frozen: bool) -> Result<()> {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        kill_process(id.context("a process has a number")?, signal).context(self.name.clone())
    }

    /// The end of what it said on its standard error.
    fn said(&self) -> String {
        let said = fs::read_to_string(&self.error).unwrap_or_default();
        let lines: Vec<_> = said.lines().collect();
        lines[lines.len().saturating_sub(8)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // If it has ended already there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory of our own, gone with its value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// An empty one. Its path is short: sockets in it must have room in an address.
    pub fn new(label: &str) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let (us, number) = (std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(format!("vsb{us}-{number}-{label}"));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).with_context(|| path.display().to_string())?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
