//! Tracking connections, beside OVS-DPDK: what is established, as it is, translated, and through
//! several passes.

use anyhow::Result;

use crate::harness::case::{Case, Set};
use crate::harness::connections::{self, Pipeline};
use crate::harness::ours::Limits;
use crate::harness::ovs::HugeMemory;
use crate::harness::pair::Pair;
use crate::harness::progress::Progress;
use crate::harness::row::Goal;
use crate::harness::{Findings, Plan};

/// Connections of the rows that tell how the cost grows.
const COUNTS: [u32; 4] = [1, 100, 3000, 10_000];
/// The least share of packets that are to meet a session.
const SHARE: f64 = 0.99;

/// Measures everything.
pub fn run(plan: &Plan) -> Result<Findings> {
    let about = "Mpps: in a second that the polling thread had its processor; ticks: of the \
                 processor's clock. Of the connections every other one is of TCP, the others of UDP; \
                 packets of 64 bytes, both ways alike";
    let mut findings = Findings { about: about.to_owned(), ..Findings::default() };
    let rows: Vec<_> = Work::ALL.into_iter().filter(|work| plan.wants(&work.name())).collect();
    if rows.is_empty() {
        return Ok(findings);
    }
    let cost = if plan.quick { 18.0 } else { 50.0 };
    let mut progress = Progress::new(vec![cost; rows.len()], plan.limit(600));
    let limits = Limits { flows: 200_000, megaflows: 1 << 18, sessions: 1 << 18 };
    let mut pair = Pair::start(plan, Some(limits), HugeMemory::SMALL)?;
    findings.versions = pair.versions()?;
    for (zone, work) in (1..).zip(rows) {
        findings.rows.extend(pair.rows(plan, &mut progress, &work.set(zone))?);
    }
    Ok(findings)
}

/// What is done with the packets of so many connections.
#[derive(Clone, Copy, Debug)]
struct Work {
    pipeline: Pipeline,
    connections: u32,
    /// What must be reached, and what we aim at; ticks if the packets are few enough to know them.
    goal: (f64, f64),
    ticks: f64,
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

    const fn of(pipeline: Pipeline, connections: u32, goal: (f64, f64), ticks: f64) -> Self {
        Self { pipeline, connections, goal, ticks }
    }

    fn name(self) -> String {
        let plural = if self.connections == 1 { "" } else { "s" };
        format!("{}, {} connection{plural}", self.pipeline.name(), self.connections)
    }

    fn set(self, zone: u16) -> Set {
        let case = Case {
            name: self.name(),
            goal: Goal::TimesMore(self.goal.0, self.goal.1),
            ticks: Some(self.ticks),
            packets: connections::packets(self.pipeline, self.connections).into(),
            megaflows: None,
            sessions: Some(SHARE),
        };
        Set { flows: self.pipeline.flows(zone), marked: None, cases: vec![case] }
    }
}
