//! A million rules: their memory, and how soon one more is in force while a million flows are
//! cached.

use std::time::Duration;

use anyhow::Result;
use api::request::{NullOptions, PcapOptions, PortKind};
use testnet::TestNet;

use crate::clock;
use crate::harness::ours::{Limits, Ours};
use crate::harness::part::Part;
use crate::harness::process::{Folder, await_for, is_told_to_end, pause};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::sample::{median, quantile};
use crate::harness::traffic::{self, Work};
use crate::harness::{Plan, captures, usage};

const MEMORY: &str = "memory of a rule, 1 M rules";
const SINGLE: &str = "single flow-mod p99, 1 M rules, 1 M cached flows";
const BYTES: Goal = Goal::AtMost(600.0, 300.0);
const MICROS: Goal = Goal::AtMost(2000.0, 100.0);

pub(crate) const PART: Part = Part {
    rows: &[(MEMORY, "bytes", BYTES), (SINGLE, "\u{b5}s", MICROS)],
    cost: (60.0, 90.0),
    measure,
};

/// How ours is configured, and what it gets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sized {
    /// As an operator would.
    pub(crate) limits: Limits,
    /// Rules, and flows of packets.
    count: u32,
}

pub(crate) const SIZED: Sized = Sized {
    limits: Limits { flows: 1_100_000, megaflows: 1 << 21, sessions: 1 << 21, ..Limits::USUAL },
    count: 1_000_000,
};
/// Packets by one port.
const BY_PORT: usize = 250_000;

fn measure(plan: &Plan, progress: &Progress) -> Result<Vec<Row>> {
    let (net, folder) = (TestNet::new()?, Folder::new("million")?);
    let mut ours = Ours::sized(&plan.programs, net.namespace(), plan.cpu, SIZED.limits)?;
    let memory = memory(&mut ours, progress)?;
    let single = match single(plan, &mut ours, progress, &folder) {
        Ok(row) => row,
        Err(error) if is_told_to_end() => return Err(error),
        Err(error) => Row::void(SINGLE, "", "\u{b5}s", MICROS, &format!("{error:#}")),
    };
    Ok(vec![memory, single])
}

/// What resident memory grows by, for each rule.
fn memory(ours: &mut Ours, progress: &Progress) -> Result<Row> {
    let rules = Work::Rules.flows(SIZED.count);
    pause(Duration::from_millis(500))?;
    let before = usage::resident(ours.id())?;
    progress.step(&format!("loading {} rules", rules.len()));
    let begun = clock::now_ns();
    ours.flows(&rules)?;
    let seconds = clock::seconds(begun, clock::now_ns());
    // What the request took is given back.
    pause(Duration::from_secs(2))?;
    let grown = usage::resident(ours.id())?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
    let bytes = grown as f64 / rules.len() as f64;
    let row = Row::new(MEMORY, "", "bytes", BYTES, vec![bytes], Vec::new());
    Ok(row.note(format!("growth of resident memory, without packets; loaded in {seconds:.1} s")))
}

/// From request to reply, one after the other, while packets of a million flows come.
fn single(plan: &Plan, ours: &mut Ours, progress: &Progress, folder: &Folder) -> Result<Row> {
    ours.add_port("out", 2, PortKind::Null(NullOptions {}))?;
    let packets = traffic::packets(SIZED.count);
    for (number, frames) in [1, 3, 4, 5].into_iter().zip(packets.chunks(BY_PORT)) {
        let file = folder.path().join(format!("{number}.pcap"));
        captures::write(&file, frames.iter().map(Vec::as_slice))?;
        let from = PcapOptions { rx: Some(file), repeat: true, ..PcapOptions::default() };
        ours.add_port(&format!("in{number}"), number, PortKind::Pcap(from))?;
    }
    drop(packets);
    progress.step("waiting until the flows are cached");
    let mut last = 0;
    let cached = await_for("vswitchd caches", progress.patience(60), || {
        pause(Duration::from_millis(500))?;
        let worker = ours.worker()?;
        let all = worker.megaflows.max(worker.sessions);
        let settled = all > 0 && all.abs_diff(last) <= all / 200;
        last = all;
        Ok(settled.then_some(worker))
    })?;
    let (runs, requests) = if plan.quick { (4, 500) } else { (8, 2000) };
    let (mut p99, mut p50, mut longest) = (Vec::new(), Vec::new(), f64::MIN);
    for run in 0..runs {
        progress.block("flow-mods, one at a time", run + 1, runs);
        let times = run_of(ours, requests)?;
        p99.push(quantile(&times, 990));
        p50.push(median(&times));
        longest = times.iter().copied().fold(longest, f64::max);
    }
    let note = format!(
        "p50 {:.0}, longest {longest:.0} \u{b5}s; {} megaflows, {} sessions",
        median(&p50),
        cached.megaflows,
        cached.sessions
    );
    Ok(Row::new(SINGLE, "", "\u{b5}s", MICROS, p99, Vec::new()).note(note))
}

/// Microseconds of so many requests, at most of fifteen seconds: a rule is added, then deleted.
fn run_of(ours: &mut Ours, requests: usize) -> Result<Vec<f64>> {
    const LONGEST_NS: u64 = 15_000_000_000;
    let begun = clock::now_ns();
    let mut times = Vec::with_capacity(requests);
    for number in 0..u16::try_from(requests).unwrap_or(u16::MAX) {
        let host = number / 2 % 250 + 1;
        let rule = format!("udp,nw_src=192.0.2.{host},nw_dst=10.1.0.1,tp_src={host},tp_dst=80");
        let line = match number % 2 {
            0 => format!("add priority=100,{rule},actions=output:2"),
            _ => format!("delete_strict priority=100,{rule}"),
        };
        let asked = clock::now_ns();
        ours.change(vec![line])?;
        let now = clock::now_ns();
        times.push(clock::seconds(asked, now) * 1e6);
        if now - begun > LONGEST_NS {
            break;
        }
    }
    Ok(times)
}
