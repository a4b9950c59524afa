//! Packets from memory to memory, beside OVS-DPDK: few flows, and the work that most packets want.

use anyhow::Result;

use crate::harness::case::{Case, Set};
use crate::harness::ovs::HugeMemory;
use crate::harness::pair::Pair;
use crate::harness::progress::Progress;
use crate::harness::row::Goal;
use crate::harness::traffic::{self, Work};
use crate::harness::{Findings, Plan, footprint};

const FLOWS: [u32; 3] = [1, 100, 10_000];

/// Measures everything.
pub fn run(plan: &Plan) -> Result<Findings> {
    let about = "Mpps: in a second that the polling thread had its processor; ticks: of the \
                 processor's clock";
    let mut findings = Findings { about: about.to_owned(), ..Findings::default() };
    let cases = Work::ALL.into_iter().flat_map(|work| FLOWS.map(|flows| (work, flows)));
    let cases: Vec<_> = cases.filter(|(work, flows)| plan.wants(&name(*work, *flows))).collect();
    if !cases.is_empty() {
        let cost = if plan.quick { 18.0 } else { 50.0 };
        let mut progress = Progress::new(vec![cost; cases.len()], plan.limit(480));
        let mut pair = Pair::start(plan, None, HugeMemory::SMALL)?;
        findings.versions = pair.versions()?;
        for (work, flows) in cases {
            findings.rows.extend(pair.rows(plan, &mut progress, &set(work, flows))?);
        }
    }
    findings.rows.extend(footprint::rows(plan)?);
    Ok(findings)
}

fn name(work: Work, flows: u32) -> String {
    let plural = if flows == 1 { "" } else { "s" };
    format!("{}, {flows} flow{plural}", work.name())
}

fn set(work: Work, flows: u32) -> Set {
    let goal = if flows < 10_000 { Goal::Beside(2.0) } else { Goal::TimesMore(3.0, 4.0) };
    let case = Case {
        name: name(work, flows),
        goal,
        ticks: work.ticks().filter(|_| flows < 10_000),
        before: Vec::new(),
        packets: traffic::packets(flows).into(),
        megaflows: Some(u64::from(work.megaflows(flows))),
        sessions: None,
    };
    Set { flows: work.flows(flows), marked: None, cases: vec![case] }
}
