//! What processes use: time on a CPU, memory.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The time that each thread of a process has had on a CPU, in nanoseconds.
#[derive(Clone, Debug)]
pub struct CpuTime(BTreeMap<u32, u64>);

impl CpuTime {
    /// That of process `id` so far.
    pub fn of(id: u32) -> Result<Self> {
        let threads = fs::read_dir(format!("/proc/{id}/task")).context("reading threads")?;
        let times = threads.flatten().filter_map(|thread| {
            let number = thread.file_name().to_str()?.parse().ok()?;
            // Time on a CPU, time waiting for one, and turns (sched-stats.rst).
            let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
            Some((number, times.split_whitespace().next()?.parse().ok()?))
        });
        Ok(Self(times.collect()))
    }

    /// What each thread has had since.
    fn since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = u64> + 'a {
        self.0.iter().map(|(thread, time)| time - before.0.get(thread).copied().unwrap_or(0))
    }

    /// What the thread that had most has had since: in a switch under load, its worker.
    pub fn busiest_since(&self, before: &Self) -> u64 {
        self.since(before).max().unwrap_or(0)
    }

    /// What all threads together have had since.
    pub fn all_since(&self, before: &Self) -> u64 {
        self.since(before).sum()
    }
}

/// The time that the thread of this name has had on a CPU, in nanoseconds.
pub fn thread_time(id: u32, name: &str) -> Result<u64> {
    let threads = fs::read_dir(format!("/proc/{id}/task")).context("reading threads")?;
    let is_it = |path: &Path| {
        fs::read_to_string(path.join("comm")).is_ok_and(|called| called.trim() == name)
    };
    let mut paths = threads.flatten().map(|thread| thread.path());
    let path = paths.find(|path| is_it(path)).with_context(|| format!("no thread {name}"))?;
    let times = fs::read_to_string(path.join("schedstat")).context("reading schedstat")?;
    let ran = times.split_whitespace().next().and_then(|ran| ran.parse().ok());
    ran.context("schedstat has no times")
}

/// Resident memory of a process in bytes, huge pages too.
pub fn resident(id: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).context("reading status")?;
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.map_or(0, |kib| kib * 1024)
    };
    Ok(field("VmRSS:") + field("HugetlbPages:"))
}

/// Time that the machine has spent in soft interrupts, in nanoseconds.
pub fn soft_interrupts() -> Result<u64> {
    // user nice system idle iowait irq softirq ..., in hundredths of seconds (proc_stat(5)).
    let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    let ticks = stat.split_whitespace().nth(7).and_then(|ticks| ticks.parse::<u64>().ok());
    Ok(ticks.context("/proc/stat has no soft interrupts")? * 10_000_000)
}
