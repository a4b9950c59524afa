//! Packets crafted to make a switch look everywhere, and what they leave to another port.
//!
//! Three rules, each about one field, allow; everything else is dropped (after Csikor and others,
//! ACM CoNEXT 2019). To know that a packet meets none of them a switch must look at each field until
//! the first bit that differs; a packet for each triple of such bits makes a mask of its own, 8192
//! in all.

use std::time::Duration;

use anyhow::{Result, bail};
use api::request::{AfxdpOptions, NullOptions, PcapOptions, PortKind};
use testnet::{Host, TestNet};

use crate::harness::blocks::{Block, Blocks, Count};
use crate::harness::disturbance::Watched;
use crate::harness::ours::Ours;
use crate::harness::part::Part;
use crate::harness::process::{Folder, Line, Process, pause};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::rules::headers::Header;
use crate::harness::rules::profile::UDP;
use crate::harness::{Plan, captures, traffic};
use crate::pktgen::order::Random;

const CASE: &str = "victim's share, tuple-space attack at 10 kpps";
const UNIT: &str = "Mpps";
const GOAL: Goal = Goal::TimesMore(0.8, 0.95);
/// What the rules allow.
const HOST: u32 = 0x0a00_000a;
const FROM: u16 = 12_345;
const TO: u16 = 80;
/// Packets of the attack in a second.
const RATE: u32 = 10_000;
/// The port by which they come.
const ATTACKER: (&str, u16) = ("mallory", 3);

pub(crate) const PART: Part = Part { rows: &[(CASE, UNIT, GOAL)], cost: (45.0, 90.0), measure };

fn measure(plan: &Plan, progress: &Progress) -> Result<Vec<Row>> {
    let (net, folder) = (TestNet::new()?, Folder::new("attack")?);
    let host = net.host(ATTACKER.0, "10.0.0.66/24")?;
    let (crafted, usual) = (folder.path().join("crafted"), folder.path().join("usual"));
    captures::write(&crafted, packets().iter().map(Vec::as_slice))?;
    captures::write(&usual, traffic::packets(100).iter().map(Vec::as_slice))?;
    let mut ours = Ours::start(&plan.programs, net.namespace(), plan.cpu, true)?;
    ours.flows(&rules())?;
    ours.add_port("out", 2, PortKind::Null(NullOptions {}))?;
    let from = PcapOptions { rx: Some(usual), repeat: true, ..PcapOptions::default() };
    ours.add_port("victim", 1, PortKind::Pcap(from))?;
    let rounds = if plan.quick { 2 } else { 4 };
    let window = Duration::from_millis(if plan.quick { 1500 } else { 4000 });
    let (mut masks, mut rate) = (0, f64::INFINITY);
    let blocks = Blocks::take(Count { rounds, spare: rounds }, |attacked, number, all| {
        progress.block(if attacked { "attacked" } else { "left alone" }, number, all);
        let attack = attacked.then(|| {
            ours.add_port(ATTACKER.0, ATTACKER.1, PortKind::Afxdp(AfxdpOptions::default()))?;
            start(plan, &host, &crafted, &folder)
        });
        let attack = attack.transpose()?;
        // Until all masks are there that will be.
        pause(Duration::from_millis(1500))?;
        let block = victim(&mut ours, window)?;
        if attack.is_some() {
            masks = masks.max(ours.worker()?.masks);
            let (port, _) = ours.counters(ATTACKER.0)?;
            let seconds = (window + Duration::from_millis(1500)).as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
            let received = port.rx_packets as f64 / seconds;
            rate = rate.min(received);
            drop(attack);
            ours.del_port(ATTACKER.0)?;
        }
        Ok(block)
    })?;
    if rate < f64::from(RATE) * 0.5 {
        bail!("only {rate:.0} packets of the attack came in a second");
    }
    let Blocks { ours, theirs, note } = blocks;
    let row = Row::new(CASE, "itself, left alone", UNIT, GOAL, ours, theirs);
    Ok(vec![
        row.note(format!("{masks} masks, {rate:.0} packets of the attack a second")).note(note),
    ])
}

/// Sends the attack for as long as the value lives.
fn start(plan: &Plan, host: &Host, file: &std::path::Path, folder: &Folder) -> Result<Process> {
    let line = Line::new(plan.programs.join("pktgen")).words("replay --interface eth0 --file");
    let line = line.arg(file).words(&format!("--rate {RATE}"));
    line.within(host.namespace()).behind("taskset -c 0").start(&folder.path().join("attack"))
}

/// Millions of packets of the victim's in a second that the worker had its processor.
fn victim(ours: &mut Ours, window: Duration) -> Result<Block> {
    let watched = Watched::start(ours.id())?;
    let (before, time) = (ours.counters("victim")?.0.rx_packets, ours.cpu_time()?);
    pause(window)?;
    let (after, now) = (ours.counters("victim")?.0.rx_packets, ours.cpu_time()?);
    let disturbance = watched.disturbance()?;
    #[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
    let value = (after - before) as f64 * 1e3 / now.busiest_since(&time).max(1) as f64;
    Ok(Block { value, disturbance })
}

fn rules() -> Vec<String> {
    let host = std::net::Ipv4Addr::from(HOST);
    vec![
        format!("priority=300,udp,nw_src={host},actions=output:2"),
        format!("priority=200,udp,tp_src={FROM},actions=output:2"),
        format!("priority=100,udp,tp_dst={TO},actions=output:2"),
        "priority=0,actions=drop".to_owned(),
    ]
}

/// A packet for each triple of first bits that differ, the bits behind those being any.
fn packets() -> Vec<Vec<u8>> {
    let mut random = Random::new(1);
    let mut triples = Vec::new();
    for a in 0..32 {
        for b in 0..16 {
            triples.extend((0..16).map(|c| (a, b, c)));
        }
    }
    random.shuffle(&mut triples);
    let mut differing = |value: u32, bits: u32, at: u32| {
        let first = 1 << (bits - 1 - at);
        let [a, b, c, d, ..] = random.number().to_le_bytes();
        (value ^ first) ^ (u32::from_le_bytes([a, b, c, d]) & (first - 1))
    };
    let frames = triples.into_iter().map(|(a, b, c)| {
        let src = differing(HOST, 32, a);
        let mut port =
            |value: u16, at| u16::try_from(differing(u32::from(value), 16, at)).unwrap_or(u16::MAX);
        let (src_port, dst_port) = (port(FROM, b), port(TO, c));
        Header { src, dst: 0x0a01_0001, protocol: UDP, src_port, dst_port }.frame()
    });
    frames.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_triple_of_first_bits_has_its_packet() {
        let packets = packets();
        assert_eq!(packets.len(), 32 * 16 * 16);
        let first_bits = packets.iter().map(|frame| {
            let src = u32::from_be_bytes(*frame[26..].first_chunk().unwrap());
            let port = |at: usize| u16::from_be_bytes(*frame[at..].first_chunk().unwrap());
            let bits = ((src ^ HOST).leading_zeros(), (port(34) ^ FROM).leading_zeros());
            (bits, (port(36) ^ TO).leading_zeros())
        });
        let triples: HashSet<_> = first_bits.collect();
        assert_eq!(triples.len(), packets.len());
        assert!(!triples.iter().any(|((a, b), c)| *a == 32 || *b == 16 || *c == 16));
    }

    #[test]
    fn the_rules_can_be_read() {
        assert!(rules().iter().all(|rule| rule.parse::<api::FlowMod>().is_ok()));
    }
}
