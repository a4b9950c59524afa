//! Tracking connections, beside OVS-DPDK: what is established, as it is, translated, and through
//! several passes; what begins; and what many connections cost.
//!
//! | file | what |
//! |---|---|
//! | this one, `pair/before.rs` | packets of connections that are established, up to a million |
//! | `pair/fresh.rs` | new connections |
//! | [`workers`] | two workers against one |
//! | [`lives`] | the memory of a connection |
//! | [`expiry`] | what it costs others when a million go |
//! | [`flood`] | SYNs into a full table, and what they leave to others |

use anyhow::{Error, Result};

use crate::harness::case::{Case, Set};
use crate::harness::connections::{self, Pipeline};
use crate::harness::ours::Limits;
use crate::harness::ovs::HugeMemory;
use crate::harness::pair::{Fresh, PEER, Pair};
use crate::harness::part::Part;
use crate::harness::process::is_told_to_end;
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::{Findings, Plan, machine};

pub mod expiry;
pub mod flood;
pub mod lives;
pub mod workers;

/// Connections of the rows that tell how the cost grows.
const COUNTS: [u32; 4] = [1, 100, 3000, 10_000];
/// The least share of packets that are to meet a session.
const SHARE: f64 = 0.99;
/// What is measured by switches of their own.
const PARTS: [Part; 4] = [workers::PART, lives::PART, expiry::PART, flood::PART];
/// The seconds that all rows may take if they must be quick. On an idle machine they take six minutes
/// at most; on a slow one OVS takes minutes more to fill its caches.
const QUICK: u64 = 600;
/// Sizes for few connections, and for a million, of ours and of both sides' memory.
const SMALL: (Limits, HugeMemory) = (
    Limits { flows: 200_000, megaflows: 1 << 18, sessions: 1 << 18, ..Limits::USUAL },
    HugeMemory::SMALL,
);
const LARGE: (Limits, HugeMemory) =
    (Limits { sessions: 1 << 21, connections: 1 << 21, ..Limits::USUAL }, HugeMemory::LARGE);

/// Measures everything.
pub fn run(plan: &Plan) -> Result<Findings> {
    let mut findings = Findings { about: about(), ..Findings::default() };
    let [small, large]: [Vec<_>; 2] = Job::all(plan);
    let parts: Vec<_> = PARTS.into_iter().filter(|part| part.is_wanted(plan)).collect();
    let jobs = small.iter().chain(&large).map(|job| job.cost(plan.quick));
    let costs = jobs.chain(parts.iter().flat_map(|part| part.costs(plan.quick))).collect();
    let mut progress = Progress::new(costs, plan.limit(QUICK));
    machine::leave(plan.cpu)?;
    let mut zones = 1..;
    for (jobs, (limits, memory)) in [(small, SMALL), (large, LARGE)] {
        if jobs.is_empty() {
            continue;
        }
        let mut pair = match Pair::start(plan, Some(limits), memory) {
            Ok(pair) => pair,
            Err(error) if is_told_to_end() => return Err(error),
            Err(error) => {
                findings.rows.extend(jobs.iter().map(|job| job.void(&mut progress, &error)));
                continue;
            }
        };
        findings.versions = pair.versions()?;
        for (job, zone) in jobs.into_iter().zip(&mut zones) {
            findings.rows.extend(job.measure(plan, &mut pair, &mut progress, zone)?);
        }
    }
    for part in parts {
        findings.rows.extend(part.take(plan, &mut progress)?);
    }
    Ok(findings)
}

/// What one must know to read the rows.
fn about() -> String {
    format!(
        "Mpps, M/s: in a second that the polling thread had its processor; ticks: of the processor's \
         clock. Of the connections every other one is of TCP, the others of UDP; packets of 64 bytes, \
         both ways alike, of a million connections one way. A million connections, and new ones: \
         vswitchd with limits.sessions = {}, connections = {}, and {} MiB for DPDK",
        LARGE.0.sessions, LARGE.0.connections, LARGE.1.dpdk_mib
    )
}

/// A row of both switches.
#[derive(Clone, Copy, Debug)]
enum Job {
    /// Packets of connections.
    Established(Work),
    /// Packets that each begin one.
    Fresh(Fresh),
}

impl Job {
    /// Those that are wanted: with few connections, and with many.
    fn all(plan: &Plan) -> [Vec<Self>; 2] {
        let small = Work::ALL.map(Self::Established).to_vec();
        let large = [Self::Established(Work::MILLION)].into_iter();
        let large = large.chain(Fresh::ALL.map(Self::Fresh)).collect();
        [small, large].map(|mut jobs: Vec<Self>| {
            jobs.retain(|job| plan.wants(&job.name()));
            jobs
        })
    }

    fn name(self) -> String {
        match self {
            Self::Established(work) => work.name(),
            Self::Fresh(fresh) => fresh.name().to_owned(),
        }
    }

    /// Seconds that it takes.
    fn cost(self, quick: bool) -> f64 {
        match (self, quick) {
            (Self::Established(work), true) if work.is_large() => 45.0,
            (Self::Established(work), false) if work.is_large() => 140.0,
            (Self::Established(_), true) => 18.0,
            (Self::Fresh(_), true) => 20.0,
            (_, false) => 50.0,
        }
    }

    fn measure(
        self,
        plan: &Plan,
        pair: &mut Pair,
        progress: &mut Progress,
        zone: u16,
    ) -> Result<Vec<Row>> {
        match self {
            Self::Established(work) => pair.rows(plan, progress, &work.set(zone)),
            Self::Fresh(fresh) => Ok(vec![pair.fresh(plan, progress, (fresh, zone))?]),
        }
    }

    /// The row if no switch could be started.
    fn void(self, progress: &mut Progress, why: &Error) -> Row {
        let (unit, goal) = match self {
            Self::Established(work) => ("Mpps", Goal::TimesMore(work.goal.0, work.goal.1)),
            Self::Fresh(_) => (Fresh::UNIT, Fresh::GOAL),
        };
        progress.begin(&self.name());
        progress.end();
        Row::void(&self.name(), PEER, unit, goal, &format!("{why:#}"))
    }
}

/// What is done with the packets of so many connections.
#[derive(Clone, Copy, Debug)]
struct Work {
    pipeline: Pipeline,
    connections: u32,
    /// What must be reached, and what we aim at; ticks if the packets are few enough to know them.
    goal: (f64, f64),
    ticks: Option<f64>,
}

impl Work {
    const ALL: [Self; 9] = {
        let [a, b, c, d] = COUNTS;
        [
            Self::of(Pipeline::Permit, a, (4.0, 4.0), 90.0),
            Self::of(Pipeline::Permit, b, (4.0, 4.0), 90.0),
            Self::of(Pipeline::Permit, c, (5.0, 5.0), 90.0),
            Self::of(Pipeline::Permit, d, (6.0, 6.0), 90.0),
            Self::of(Pipeline::Hide, a, (5.0, 5.0), 110.0),
            Self::of(Pipeline::Hide, b, (5.0, 5.0), 110.0),
            Self::of(Pipeline::Hide, c, (6.0, 6.0), 110.0),
            Self::of(Pipeline::Hide, d, (8.0, 8.0), 110.0),
            Self::of(Pipeline::Service, b, (5.0, 10.0), 150.0),
        ]
    };
    /// As many connections as it takes to leave every cache of a processor.
    const MILLION: Self =
        Self { pipeline: Pipeline::Permit, connections: 1_000_000, goal: (4.0, 8.0), ticks: None };

    const fn of(pipeline: Pipeline, connections: u32, goal: (f64, f64), ticks: f64) -> Self {
        Self { pipeline, connections, goal, ticks: Some(ticks) }
    }

    const fn is_large(self) -> bool {
        self.connections == Self::MILLION.connections
    }

    fn name(self) -> String {
        let plural = if self.connections == 1 { "" } else { "s" };
        format!("{}, {} connection{plural}", self.pipeline.name(), self.connections)
    }

    fn set(self, zone: u16) -> Set {
        let mut packets = connections::packets(self.pipeline, self.connections);
        let mut before = Vec::new();
        if self.is_large() {
            // Both ways they would be too many for what a port of DPDK replays.
            let answers = packets.split_off(packets.len() / 2);
            before = vec![packets.clone(), answers];
        }
        let case = Case {
            name: self.name(),
            goal: Goal::TimesMore(self.goal.0, self.goal.1),
            ticks: self.ticks,
            before,
            packets: packets.into(),
            megaflows: None,
            sessions: Some(SHARE),
        };
        Set { flows: self.pipeline.flows(zone), marked: None, cases: vec![case] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of what is to be reached, as it was agreed on.
    #[test]
    fn rows_and_goals_are_those_agreed_on() {
        let plan = Plan { quick: true, only: None, programs: "/".into(), cpu: 1 };
        let [small, large] = Job::all(&plan);
        assert_eq!((small.len(), large.len()), (9, 3));
        assert_eq!((Work::MILLION.goal, Fresh::GOAL), ((4.0, 8.0), Goal::TimesMore(5.0, 10.0)));
        let goals: Vec<_> = PARTS.iter().flat_map(|part| part.rows).map(|row| row.2).collect();
        let agreed = [
            Goal::TimesMore(1.6, 1.9),
            Goal::AtMost(256.0, 192.0),
            Goal::AtMost(320.0, 256.0),
            Goal::AtMost(200.0, 50.0),
            Goal::TimesMore(0.9, 0.99),
        ];
        assert_eq!(goals, agreed);
    }

    #[test]
    fn all_rows_fit_into_six_minutes_of_an_idle_machine() {
        let plan = Plan { quick: true, only: None, programs: "/".into(), cpu: 1 };
        let jobs = Job::all(&plan).concat().into_iter().map(|job| job.cost(true));
        let seconds: f64 = jobs.chain(PARTS.iter().flat_map(|part| part.costs(true))).sum();
        assert!(seconds <= 340.0, "{seconds} s");
        const { assert!(QUICK <= 600, "quick") };
    }

    #[test]
    fn a_million_connections_are_answered_before_they_are_measured() {
        let set = Work::MILLION.set(1);
        let [case] = &*set.cases else { panic!("{}", set.cases.len()) };
        let lengths: Vec<_> = case.before.iter().map(Vec::len).collect();
        assert_eq!((case.packets.frames.len(), &*lengths), (1_000_000, &[1_000_000; 2][..]));
    }
}
