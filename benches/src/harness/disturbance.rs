//! What kept a switch from its processor while it was measured.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use anyhow::{Context as _, Result};

use crate::clock;

/// What kept the busiest thread of a process from its processor in a while.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disturbance {
    /// The share of the machine's time that its host took.
    pub stolen: f64,
    /// The share of the while that the thread waited for a processor.
    pub waited: f64,
    /// How often a second it had to leave it.
    pub preempted: f64,
}

impl Disturbance {
    /// Whether what was measured meanwhile may count.
    pub fn is_tolerable(&self) -> bool {
        self.stolen <= 0.005 && self.waited <= 0.005 && self.preempted <= 50.0
    }
}

impl fmt::Display for Disturbance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stolen, waited, preempted } = self;
        let (stolen, waited) = (100.0 * stolen, 100.0 * waited);
        write!(f, "stolen {stolen:.1} %, waiting {waited:.1} %, preempted {preempted:.0}/s")
    }
}

/// A process that is watched from now on.
#[derive(Debug)]
pub struct Watched {
    id: u32,
    begun: u64,
    machine: Ticks,
    threads: BTreeMap<u32, Thread>,
}

/// A thread so far.
#[derive(Clone, Copy, Debug, Default)]
struct Thread {
    ran_ns: u64,
    waited_ns: u64,
    preempted: u64,
}

/// The machine so far, in the kernel's ticks.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    stolen: u64,
    all: u64,
}

impl Watched {
    /// Watches process `id`.
    pub fn start(id: u32) -> Result<Self> {
        let (machine, threads) = (Ticks::read()?, threads(id)?);
        Ok(Self { id, begun: clock::now_ns(), machine, threads })
    }

    /// What has disturbed it since.
    #[expect(clippy::cast_precision_loss, reason = "shares need not be exact")]
    pub fn disturbance(&self) -> Result<Disturbance> {
        let (machine, threads) = (Ticks::read()?, threads(self.id)?);
        let elapsed = clock::now_ns().saturating_sub(self.begun).max(1) as f64;
        let since = threads.iter().map(|(number, thread)| {
            thread.since(self.threads.get(number).copied().unwrap_or_default())
        });
        let busiest = since.max_by_key(|thread| thread.ran_ns).unwrap_or_default();
        let all = machine.all.saturating_sub(self.machine.all).max(1) as f64;
        Ok(Disturbance {
            stolen: machine.stolen.saturating_sub(self.machine.stolen) as f64 / all,
            waited: busiest.waited_ns as f64 / elapsed,
            preempted: busiest.preempted as f64 / (elapsed / 1e9),
        })
    }
}

impl Thread {
    const fn since(self, before: Self) -> Self {
        Self {
            ran_ns: self.ran_ns.saturating_sub(before.ran_ns),
            waited_ns: self.waited_ns.saturating_sub(before.waited_ns),
            preempted: self.preempted.saturating_sub(before.preempted),
        }
    }
}

impl Ticks {
    fn read() -> Result<Self> {
        let stat = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
        Self::of(&stat).context("/proc/stat has no times")
    }

    /// user nice system idle iowait irq softirq steal guest guest_nice (`proc_stat(5)`); what guests
    /// had is in user and nice as well.
    fn of(stat: &str) -> Option<Self> {
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let [_, _, _, _, _, _, _, steal, guests @ ..] = &*ticks else { return None };
        let all = ticks[..8].iter().sum();
        Some(Self { stolen: steal + guests.iter().sum::<u64>(), all })
    }
}

fn threads(id: u32) -> Result<BTreeMap<u32, Thread>> {
    let folder = fs::read_dir(format!("/proc/{id}/task")).context("reading threads")?;
    let threads = folder.flatten().filter_map(|thread| {
        let number = thread.file_name().to_str()?.parse().ok()?;
        // Time on a CPU, time waiting for one, and turns (sched-stats.rst).
        let times = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let mut times = times.split_whitespace().map_while(|word| word.parse().ok());
        let (ran_ns, waited_ns) = (times.next()?, times.next()?);
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("nonvoluntary_ctxt_switches:"))?;
        let preempted = line.split_whitespace().nth(1)?.parse().ok()?;
        Some((number, Thread { ran_ns, waited_ns, preempted }))
    });
    Ok(threads.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_host_takes_and_its_guests_have_is_stolen() {
        let ticks = Ticks::of("cpu  10 0 5 80 0 1 2 2 3 0\ncpu0 1 2 3\n").unwrap();
        assert_eq!((ticks.stolen, ticks.all), (5, 100));
        assert!(Ticks::of("intr 1 2 3").is_none());
    }

    #[test]
    fn half_a_percent_is_the_limit() {
        let calm = Disturbance { stolen: 0.005, waited: 0.005, preempted: 50.0 };
        assert!(calm.is_tolerable());
        assert!(!Disturbance { stolen: 0.006, ..calm }.is_tolerable());
        assert!(!Disturbance { waited: 0.006, ..calm }.is_tolerable());
        assert!(!Disturbance { preempted: 51.0, ..calm }.is_tolerable());
        let text = "stolen 0.5 %, waiting 0.5 %, preempted 50/s";
        assert_eq!(calm.to_string(), text);
    }

    #[test]
    fn a_process_can_be_watched() {
        let watched = Watched::start(std::process::id()).unwrap();
        let disturbance = watched.disturbance().unwrap();
        assert!(disturbance.stolen >= 0.0 && disturbance.waited >= 0.0);
    }
}
