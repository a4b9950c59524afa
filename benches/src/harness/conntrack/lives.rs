//! A million connections: their memory.

use std::time::Duration;

use anyhow::{Result, bail};
use api::request::{NullOptions, PcapOptions, PortKind};
use testnet::TestNet;

use crate::harness::connections::Pipeline;
use crate::harness::ours::{Limits, Ours};
use crate::harness::part::Part;
use crate::harness::process::{Folder, await_for, is_told_to_end, pause};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::{Plan, beginnings, captures, usage};

const MEMORY_V4: &str = "memory of a connection, IPv4";
const MEMORY_V6: &str = "memory of a connection, IPv6";
const BYTES_V4: Goal = Goal::AtMost(256.0, 192.0);
const BYTES_V6: Goal = Goal::AtMost(320.0, 256.0);

pub(crate) const PART: Part = Part {
    rows: &[(MEMORY_V4, "bytes", BYTES_V4), (MEMORY_V6, "bytes", BYTES_V6)],
    cost: (16.0, 16.0),
    measure,
};

/// As many as there may be before those who are not answered have to make room.
pub(super) const COUNT: u32 = 990_000;
pub(super) const LIMITS: Limits = Limits { connections: 1 << 20, ..Limits::USUAL };
/// How many come by one file.
const PART_OF: u32 = 247_500;
/// The port by which they come.
pub(super) const NEW: (&str, u16) = ("new", 4);

fn measure(plan: &Plan, progress: &Progress) -> Result<Vec<Row>> {
    let (net, folder) = (TestNet::new()?, Folder::new("lives")?);
    let memory = |is_ipv4| {
        let mut ours = Ours::sized(&plan.programs, net.namespace(), plan.cpu, LIMITS)?;
        memory(&mut ours, progress, &folder, is_ipv4)
    };
    let first = memory(true)?;
    let second = memory(false).or_else(|error| match is_told_to_end() {
        true => Err(error),
        false => Ok(Row::void(MEMORY_V6, "", "bytes", BYTES_V6, &format!("{error:#}"))),
    })?;
    Ok(vec![first, second])
}

/// What new connections do, and old ones.
pub(super) fn flows() -> Vec<String> {
    let keep = |family| {
        format!("priority=2,in_port={},{family},actions=ct(commit,zone=7),output:2", NEW.1)
    };
    ["ip", "ipv6"].map(keep).into_iter().chain(Pipeline::Permit.flows(8)).collect()
}

/// What resident memory grows by, for each connection.
fn memory(ours: &mut Ours, progress: &Progress, folder: &Folder, is_ipv4: bool) -> Result<Row> {
    let (case, goal) = if is_ipv4 { (MEMORY_V4, BYTES_V4) } else { (MEMORY_V6, BYTES_V6) };
    progress.step(case);
    ours.add_port("out", 2, PortKind::Null(NullOptions {}))?;
    // What the files take has been taken, and given back, before it is looked.
    ours.flows(&["actions=drop".to_owned()])?;
    feed(ours, progress, folder, 0..PART_OF, is_ipv4)?;
    ours.flows(&flows())?;
    pause(Duration::from_millis(500))?;
    let before = usage::resident(ours.id())?;
    for first in (0..COUNT).step_by(PART_OF as usize) {
        feed(ours, progress, folder, first..first + PART_OF, is_ipv4)?;
    }
    pause(Duration::from_millis(500))?;
    let counts = ours.connections()?;
    if counts.made != u64::from(COUNT) || counts.connections != u64::from(COUNT) {
        bail!("{} connections of {COUNT}, made {}", counts.connections, counts.made);
    }
    let grown = usage::resident(ours.id())?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "memory is far below 2^53 bytes")]
    let [bytes, counted] = [grown, counts.bytes].map(|all| all as f64 / f64::from(COUNT));
    let row = Row::new(case, "", "bytes", goal, vec![bytes], Vec::new());
    Ok(row.note(format!(
        "growth of resident memory by {COUNT} of UDP, limits.connections = {}; {counted:.0} by ct-stats",
        LIMITS.connections
    )))
}

/// Gives it datagrams, each of a connection of its own.
fn feed(
    ours: &mut Ours,
    progress: &Progress,
    folder: &Folder,
    numbers: std::ops::Range<u32>,
    is_ipv4: bool,
) -> Result<()> {
    let file = folder.path().join("new.pcap");
    let frames = beginnings::datagrams(numbers, is_ipv4);
    captures::write(&file, frames.iter().map(Vec::as_slice))?;
    let due = ours.worker()?.rx_packets + frames.len() as u64;
    drop(frames);
    let from = PcapOptions { rx: Some(file), ..PcapOptions::default() };
    ours.add_port(NEW.0, NEW.1, PortKind::Pcap(from))?;
    await_for("vswitchd takes all packets", progress.patience(30), || {
        Ok((ours.worker()?.rx_packets >= due).then_some(()))
    })?;
    ours.del_port(NEW.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_can_be_read() {
        assert!(flows().iter().all(|flow| flow.parse::<api::FlowMod>().is_ok()));
    }
}
