//! A hundred thousand rules in one bundle, from a file, by each switch's own command.

use std::fs;
use std::path::Path;

use anyhow::Result;
use testnet::TestNet;

use crate::clock;
use crate::harness::Plan;
use crate::harness::ours::Ours;
use crate::harness::ovs::Ovs;
use crate::harness::part::Part;
use crate::harness::process::{Folder, Line};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::sample::interleave;
use crate::harness::traffic::Work;

const CASE: &str = "100 k rules in one bundle";
const UNIT: &str = "k rules/s";
const GOAL: Goal = Goal::TimesMore(4.0, 10.0);
const RULES: u32 = 100_000;

pub(crate) const PART: Part = Part { rows: &[(CASE, UNIT, GOAL)], cost: (60.0, 120.0), measure };

/// Which commands are compared.
pub fn version() -> Result<String> {
    let text = Line::new("ovs-ofctl").words("--version").run()?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn measure(plan: &Plan, progress: &Progress) -> Result<Vec<Row>> {
    let (net, folder) = (TestNet::new()?, Folder::new("bundle")?);
    let file = folder.path().join("flows");
    fs::write(&file, Work::Rules.flows(RULES).join("\n") + "\n")?;
    let mut ours = Ours::start(&plan.programs, net.namespace(), plan.cpu, true)?;
    // Flows are the same business with DPDK and without.
    let ovs = Ovs::start(net.namespace(), plan.cpu, None)?;
    let rounds = if plan.quick { 2 } else { 4 };
    let mut number = 0;
    let (mine, theirs) = interleave(rounds, |mine| {
        number += 1;
        let who = if mine { "ofctl add-flows" } else { "ovs-ofctl --bundle add-flows" };
        progress.block(who, number, 4 * rounds);
        ours.freeze(!mine)?;
        ovs.freeze(mine)?;
        if mine { ours_rate(plan, &mut ours, &file) } else { their_rate(&ovs, &file) }
    })?;
    ours.freeze(false)?;
    ovs.freeze(false)?;
    let row = Row::new(CASE, "ovs-ofctl --bundle", UNIT, GOAL, mine, theirs);
    Ok(vec![row.note("from the command's start to its end; 1000 k rules/s is an aim as well")])
}

/// Thousands of rules a second.
fn rate(begun_ns: u64) -> f64 {
    f64::from(RULES) / 1e3 / clock::seconds(begun_ns, clock::now_ns())
}

fn ours_rate(plan: &Plan, ours: &mut Ours, file: &Path) -> Result<f64> {
    ours.flows(&[])?;
    let line = Line::new(plan.programs.join("ofctl")).words("--timeout 300 --socket");
    let line = line.arg(ours.socket()).words("add-flows br0").arg(file);
    let begun = clock::now_ns();
    line.run()?;
    Ok(rate(begun))
}

fn their_rate(ovs: &Ovs, file: &Path) -> Result<f64> {
    ovs.del_flows()?;
    let begun = clock::now_ns();
    ovs.add_flows(file)?;
    Ok(rate(begun))
}
