//! On what was measured, and when.

use std::fs;

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};
use serde::Serialize;

use crate::harness::process::Line;

/// The machine and its state.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// The processor.
    pub cpu: String,
    /// How many of them.
    pub cpus: usize,
    /// The release of the kernel.
    pub kernel: String,
    /// MiB of memory.
    pub memory_mib: u64,
    /// What else was going on: how many processes wanted to run, over one, five and fifteen
    /// minutes.
    pub load: String,
    /// When, in UTC.
    pub date: String,
    /// The commit of the tree around us, with a `+` if it has been changed since.
    pub commit: String,
}

impl Machine {
    /// This one, now.
    pub fn here() -> Result<Self> {
        let read = |path: &str| fs::read_to_string(path).with_context(|| path.to_owned());
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let cpus = field(&read("/proc/cpuinfo")?, "model name").unwrap_or_default();
        let memory = field(&read("/proc/meminfo")?, "MemTotal").unwrap_or_default();
        let memory = memory.split(' ').next().and_then(|kib| kib.parse::<u64>().ok());
        let commit = Line::new("git").words("describe --always --dirty=+ --abbrev=12").run();
        Ok(Self {
            cpu: cpus,
            cpus: available_cpus()?.len(),
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            memory_mib: memory.unwrap_or(0) / 1024,
            load: read("/proc/loadavg")?.trim().to_owned(),
            date: Line::new("date").words("-u +%FT%TZ").run()?.trim().to_owned(),
            commit: commit.map_or_else(|_| String::new(), |text| text.trim().to_owned()),
        })
    }
}

/// The processors that we may use.
fn available_cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None::<Pid>).context("asking for processors")?;
    Ok((0..1024).filter(|cpu| set.is_set(*cpu)).collect())
}

/// The processor for what is measured: the last; the first is for everything else.
pub fn last_cpu() -> Result<usize> {
    let cpus = available_cpus()?;
    cpus.last().copied().filter(|_| cpus.len() > 1).context("measuring takes two processors")
}

/// From here on this process, and what it starts, is on other processors than `cpu`, unless that
/// says so itself.
pub fn leave(cpu: usize) -> Result<()> {
    let mut others = CpuSet::new();
    for other in available_cpus()?.into_iter().filter(|other| *other != cpu) {
        others.set(other);
    }
    sched_setaffinity(None::<Pid>, &others).context("leaving a processor")
}

/// From here on this thread is on `cpu` alone.
pub fn enter(cpu: usize) -> Result<()> {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None::<Pid>, &only).context("entering a processor")
}
