//! A flood of SYNs into a full table, and what it leaves to connections that are established.
//!
//! The flood comes from memory, as fast as it is taken: more always wait. All its packets are of
//! connections that are kept as long as there is room. Those of the victim come from a host, half as many
//! as it can have carried when it is left alone.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api::request::{
    AfxdpOptions, ConnectionFilter, NullOptions, PcapOptions, PortKind, TupleFilter,
};
use testnet::{Host, TestNet};

use crate::clock;
use crate::harness::blocks::{Block, Blocks, Count};
use crate::harness::connections::{self, Pipeline};
use crate::harness::disturbance::Watched;
use crate::harness::ours::{Limits, Ours};
use crate::harness::part::Part;
use crate::harness::process::{Folder, Line, await_for, pause};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::{Plan, beginnings, captures};

const CASE: &str = "victim's share, flood of SYNs";
const UNIT: &str = "share";
const GOAL: Goal = Goal::TimesMore(0.9, 0.99);
/// Connections there may be, and different SYNs: few of those that come are known.
const LIMITS: Limits = Limits { connections: 100_000, ..Limits::USUAL };
const SYNS: u32 = 500_000;
/// SYNs a second without which there was no flood.
const LEAST: f64 = 5e4;
/// The victim's connections, all to one server.
const CONNECTIONS: u32 = 1000;
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const ZONE: u16 = 9;
/// The port by which the victim's packets come, and those of the flood.
const VICTIM: (&str, u16) = ("victim", 3);
const FLOOD: (&str, u16) = ("flood", 4);
/// Where the victim's packets go.
const OUT: (&str, u16) = ("out", 2);

pub(crate) const PART: Part = Part { rows: &[(CASE, UNIT, GOAL)], cost: (18.0, 40.0), measure };

/// What became of the victim's packets, and how many of the flood came in a second.
#[derive(Clone, Copy, Debug)]
struct Seen {
    sent: u64,
    arrived: u64,
    /// Packets a second that were sent.
    rate: f64,
    flood: f64,
}

fn measure(plan: &Plan, progress: &Progress) -> Result<Vec<Row>> {
    let (net, folder) = (TestNet::new()?, Folder::new("flood")?);
    let host = net.host(VICTIM.0, "10.0.0.66/24")?;
    let [flood, ask, answer] = ["flood", "ask", "answer"].map(|name| folder.path().join(name));
    let syns = beginnings::syns(SYNS, Ipv4Addr::new(10, 2, 0, 1), 3);
    captures::write(&flood, syns.iter().map(Vec::as_slice))?;
    drop(syns);
    let packets = connections::packets(Pipeline::Permit, CONNECTIONS);
    let (asking, answering) = packets[..2 * CONNECTIONS as usize].split_at(CONNECTIONS as usize);
    for (file, frames) in [(&ask, asking), (&answer, answering)] {
        captures::write(file, frames.iter().map(Vec::as_slice))?;
    }
    let mut ours = Ours::sized(&plan.programs, net.namespace(), plan.cpu, LIMITS)?;
    ours.flows(&flows())?;
    ours.add_port(OUT.0, OUT.1, PortKind::Null(NullOptions {}))?;
    ours.add_port("away", 5, PortKind::Null(NullOptions {}))?;
    // So that all are meant: asked, answered, asked again.
    for file in [&ask, &answer, &ask, &answer, &ask] {
        let due = ours.worker()?.rx_packets + u64::from(CONNECTIONS);
        let from = PcapOptions { rx: Some(file.clone()), ..PcapOptions::default() };
        ours.add_port("first", 6, PortKind::Pcap(from))?;
        await_for("vswitchd takes all packets", progress.patience(10), || {
            Ok((ours.worker()?.rx_packets >= due).then_some(()))
        })?;
        ours.del_port("first")?;
    }
    ours.add_port(VICTIM.0, VICTIM.1, PortKind::Afxdp(AfxdpOptions::default()))?;
    let seconds = if plan.quick { 1.5 } else { 4.0 };
    let send = |ours: &mut Ours, rate: Option<f64>| send(plan, &host, &folder, ours, seconds, rate);
    progress.step("what the victim's packets can be");
    // The first packets make sessions.
    send(&mut ours, Some(10_000.0))?;
    let alone = send(&mut ours, None)?;
    #[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
    let most = alone.rate * alone.arrived as f64 / alone.sent.max(1) as f64;
    let (mut least, mut calm) = (f64::INFINITY, 1.0f64);
    let rounds = if plan.quick { 1 } else { 2 };
    let blocks = Blocks::take(Count { rounds, spare: 0 }, |flooded, number, all| {
        progress.block(if flooded { "flooded" } else { "left alone" }, number, all);
        if flooded {
            let (rx, repeat) = (Some(flood.clone()), true);
            let from = PcapOptions { rx, repeat, ..PcapOptions::default() };
            ours.add_port(FLOOD.0, FLOOD.1, PortKind::Pcap(from))?;
            await_for("the table is full", progress.patience(20), || {
                let counts = ours.connections()?;
                Ok((counts.full > 0).then_some(()))
            })?;
        }
        let watched = Watched::start(ours.id())?;
        let seen = send(&mut ours, Some(most / 2.0))?;
        let disturbance = watched.disturbance()?;
        if flooded {
            ours.del_port(FLOOD.0)?;
            least = least.min(seen.flood);
        }
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let value = seen.arrived as f64 / seen.sent.max(1) as f64;
        if !flooded {
            calm = calm.min(value);
        }
        Ok(Block { value, disturbance })
    })?;
    let filter = ConnectionFilter {
        zone: Some(ZONE),
        original: TupleFilter { dst: Some(SERVER.into()), ..TupleFilter::default() },
        ..ConnectionFilter::default()
    };
    let left = ours.count_connections(&filter)?;
    if left != CONNECTIONS as usize {
        bail!("of {CONNECTIONS} connections of the victim's {left} are left");
    }
    if least < LEAST {
        bail!("only {least:.0} SYNs came in a second");
    }
    if calm < 0.9 {
        bail!("left alone, {:.1} % of the victim's packets arrive", 100.0 * calm);
    }
    let Blocks { ours: flooded, theirs: alone, note } = blocks;
    let row = Row::new(CASE, "itself, left alone", UNIT, GOAL, flooded, alone);
    Ok(vec![
        row.note(format!(
            "{:.2} M SYNs a second were taken into a full table of {}, more waited; the victim sends \
             {:.0} k, half of what it can; its {CONNECTIONS} connections stay",
            least / 1e6,
            LIMITS.connections,
            most / 2e3
        ))
        .note(note),
    ])
}

fn flows() -> Vec<String> {
    let away = format!(
        "table=1,priority=1,ip,dl_src=02:00:00:00:00:03,ct_state=+new+trk,\
         actions=ct(commit,zone={ZONE}),output:5"
    );
    Pipeline::Permit.flows(ZONE).into_iter().chain([away]).collect()
}

/// Has the victim send for so long, and sees what arrives.
fn send(
    plan: &Plan,
    host: &Host,
    folder: &Folder,
    ours: &mut Ours,
    seconds: f64,
    rate: Option<f64>,
) -> Result<Seen> {
    let line = Line::new(plan.programs.join("pktgen")).words("replay --interface eth0 --file");
    let rate = rate.map_or_else(String::new, |rate| format!("--rate {rate:.0}"));
    let line = line
        .arg(folder.path().join("ask"))
        .words(&format!("--seconds {seconds} --format json {rate}"))
        .within(host.namespace())
        .behind("taskset -c 0");
    // Left alone, there is no such port.
    let flood = |ours: &mut Ours| {
        let read = ours.counters(FLOOD.0);
        read.map_or((0, clock::now_ns()), |(port, at)| (port.rx_packets, at))
    };
    let (before, (flood_before, begun)) = (ours.counters(OUT.0)?.0.tx_packets, flood(ours));
    let text = line.start(&folder.path().join("send"))?.finish(30)?;
    let (flood_after, ended) = flood(ours);
    let sent: serde_json::Value = serde_json::from_str(&text).context("what pktgen says")?;
    // Until the last ones are through.
    pause(Duration::from_millis(200))?;
    let arrived = ours.counters(OUT.0)?.0.tx_packets - before;
    let number = |name: &str| sent[name].as_f64().with_context(|| format!("no {name} in {text}"));
    #[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
    let flood = (flood_after - flood_before) as f64 / clock::seconds(begun, ended);
    let count = sent["sent"].as_u64().with_context(|| format!("no `sent` in {text}"))?;
    if count == 0 {
        bail!("pktgen has sent nothing: {text}");
    }
    Ok(Seen { sent: count, arrived, rate: number("pps")?, flood })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_can_be_read() {
        assert!(flows().iter().all(|flow| flow.parse::<api::FlowMod>().is_ok()));
    }
}
