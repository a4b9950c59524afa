//! Where the demo plays: namespaces of its own, and processes that end with it.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::error::Error;

/// The switch's namespace. Those of pods begin alike.
pub(crate) const SWITCH: &str = "demo-switch";
const BEGINNING: &str = "demo-";

/// How long a process may take to end once it was told to.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(50);

/// The stage. What is on it is removed with it, whatever has happened.
#[derive(Debug)]
pub(crate) struct Stage {
    folder: PathBuf,
    /// What `ofctl` and `vswitchd` are found by.
    path: String,
    processes: Vec<Child>,
}

impl Stage {
    /// An empty stage on which the programs in `programs` can be called by their names. What an earlier
    /// demo that was killed has left there is removed.
    pub(crate) fn new(programs: &Path) -> Result<Self, Error> {
        let folder = std::env::temp_dir().join("vswitch-demo");
        fs::create_dir_all(&folder).map_err(Error::file(&folder))?;
        let inherited = std::env::var("PATH").unwrap_or_default();
        let path = format!("{}:{inherited}", programs.display());
        let stage = Self { folder, path, processes: Vec::new() };
        stage.remove_namespaces();
        Ok(stage)
    }

    /// A file on it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Writes such a file.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.file(name);
        fs::write(&path, text).map_err(Error::file(path))
    }

    /// Reads it.
    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.file(name)).unwrap_or_default()
    }

    fn shell(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(&self.folder).stdin(Stdio::null());
        command.env("PATH", &self.path).env("VSWITCH_SOCKET", self.file("vswitch.sock"));
        command
    }

    /// Runs a line as a shell does. Answers whether it succeeded, and what it printed, errors last.
    pub(crate) fn run(&self, line: &str) -> Result<(bool, String), Error> {
        let output = self.shell(line).output();
        let output = output.map_err(|source| Error::Start { program: "sh".to_owned(), source })?;
        let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.push_str(&String::from_utf8_lossy(&output.stderr));
        Ok((output.status.success(), said))
    }

    /// Starts a line that goes on in the background, and says things into `log`.
    pub(crate) fn start(&mut self, line: &str, log: &str) -> Result<(), Error> {
        let path = self.file(log);
        let file = File::create(&path).map_err(Error::file(&path))?;
        let copy = file.try_clone().map_err(Error::file(&path))?;
        let mut command = self.shell(&format!("exec {line}"));
        // Ctrl-C is for the demo, which ends the others in their order.
        let child = command.process_group(0).stdout(file).stderr(copy).spawn();
        self.processes
            .push(child.map_err(|source| Error::Start { program: "sh".to_owned(), source })?);
        Ok(())
    }

    /// Tells all processes to end, the last one first, and waits for them. Answers how the one that was
    /// started first has ended; `None` if it had to be killed.
    pub(crate) fn end_processes(&mut self) -> Option<ExitStatus> {
        let mut first = None;
        while let Some(child) = self.processes.pop() {
            first = end(child);
        }
        first
    }

    /// Deletes the namespaces, with all devices in them. Answers which are still there.
    pub(crate) fn remove_namespaces(&self) -> Vec<String> {
        for name in namespaces() {
            let _ = self.run(&format!("ip netns del {name}"));
        }
        namespaces()
    }
}

/// The demo's namespaces that there are.
fn namespaces() -> Vec<String> {
    let entries = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| name.starts_with(BEGINNING)).collect()
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.end_processes();
        self.remove_namespaces();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn end(mut child: Child) -> Option<ExitStatus> {
    let _ = Command::new("kill").arg(child.id().to_string()).status();
    for _ in 0..PATIENCE.as_millis() / PAUSE.as_millis() {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status);
        }
        std::thread::sleep(PAUSE);
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}
