//! What a switch costs that has nothing to do.

use std::time::Duration;

use anyhow::Result;
use api::request::{AfxdpOptions, PodOptions, PortKind};
use testnet::{Host, TestNet};

use crate::clock;
use crate::harness::ours::Ours;
use crate::harness::process::pause;
use crate::harness::row::{Goal, Row};
use crate::harness::sample::interleave;
use crate::harness::{Plan, say, usage};

const NOBODY: &str = "";
const MEMORY: &str = "resident memory, two ports";
const IDLE: &str = "idle, ten ports";

/// Measures its memory and its time.
pub fn rows(plan: &Plan) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    if plan.wants(MEMORY) {
        rows.push(memory(plan)?);
    }
    if plan.wants(IDLE) {
        rows.push(idle(plan)?);
    }
    Ok(rows)
}

/// So many hosts, each at a port of `kind`.
fn with_ports(plan: &Plan, net: &TestNet, kinds: &[PortKind]) -> Result<(Ours, Vec<Host>)> {
    let mut ours = Ours::start(&plan.programs, net.namespace(), plan.cpu, true)?;
    let mut hosts = Vec::new();
    for (number, kind) in (1u16..).zip(kinds) {
        let name = format!("h{number}");
        hosts.push(net.host(&name, &format!("10.0.0.{number}/24"))?);
        ours.add_port(&name, number, kind.clone())?;
    }
    ours.flows(&["actions=normal".to_owned()])?;
    Ok((ours, hosts))
}

fn memory(plan: &Plan) -> Result<Row> {
    say("resident memory with two ports");
    let net = TestNet::new()?;
    let afxdp = PortKind::Afxdp(AfxdpOptions::default());
    let (ours, _hosts) = with_ports(plan, &net, &[afxdp, PortKind::Pod(PodOptions {})])?;
    pause(Duration::from_secs(1))?;
    let bytes = usage::resident(ours.id())?;
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
    let mib = bytes as f64 / f64::from(1 << 20);
    let goal = Goal::AtMost(80.0, 40.0);
    let row = Row::new(MEMORY, NOBODY, "MiB", goal, vec![mib], Vec::new());
    Ok(row.note("one afxdp, one pod; huge pages included"))
}

/// Half a second of a switch that has nothing to do, and half a second of a frozen one, in turn:
/// the soft interrupts of the first beyond those of the second are ours.
fn idle(plan: &Plan) -> Result<Row> {
    const WINDOW: Duration = Duration::from_millis(500);
    let (seconds, rounds) = if plan.quick { (10, 10) } else { (60, 60) };
    say(&format!("idle with ten ports, {seconds} s, and as long without a switch"));
    let net = TestNet::new()?;
    let mut kinds = vec![PortKind::Pod(PodOptions {}); 8];
    kinds.resize(10, PortKind::Afxdp(AfxdpOptions::default()));
    let (ours, _hosts) = with_ports(plan, &net, &kinds)?;
    pause(Duration::from_secs(2))?;
    let turn = |mine: bool| {
        ours.freeze(!mine)?;
        let (time, soft, begun) = (ours.cpu_time()?, usage::soft_interrupts()?, clock::now_ns());
        pause(WINDOW)?;
        let (used, soft) = (ours.cpu_time()?.all_since(&time), usage::soft_interrupts()? - soft);
        let elapsed = clock::seconds(begun, clock::now_ns());
        let percent = |ns: u64| 100.0 * Duration::from_nanos(ns).as_secs_f64() / elapsed;
        Ok((percent(used), percent(soft)))
    };
    let (awake, frozen) = interleave(rounds, turn)?;
    let process = mean(awake.iter().map(|(process, _)| *process));
    let soft = |turns: &[(f64, f64)]| mean(calm(turns.iter().map(|(_, soft)| *soft)).into_iter());
    let soft = (soft(&awake) - soft(&frozen)).max(0.0);
    let goal = Goal::AtMost(2.0, 0.5);
    let samples = vec![process + soft];
    let row = Row::new(IDLE, NOBODY, "% of a CPU", goal, samples, Vec::new());
    Ok(row.note(format!("process {process:.3}, soft interrupts {soft:.2}")))
}

/// Without the quarter that is highest, when others were busy.
fn calm(samples: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut samples: Vec<_> = samples.collect();
    samples.sort_by(f64::total_cmp);
    samples.truncate(samples.len() * 3 / 4);
    samples
}

#[expect(clippy::cast_precision_loss, reason = "there are few")]
fn mean(samples: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = samples.len() as f64;
    samples.sum::<f64>() / count
}
