//! Two workers against one: packets of established connections, the directions of each on different
//! workers.

use std::time::Duration;

use anyhow::{Result, bail};
use api::reply::Worker;
use api::request::{NullOptions, PcapOptions, PortKind};
use testnet::TestNet;

use crate::harness::blocks::{Block, Blocks, Count};
use crate::harness::connections::{self, Pipeline};
use crate::harness::disturbance::Watched;
use crate::harness::ours::Ours;
use crate::harness::part::Part;
use crate::harness::process::{Folder, pause};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::{Plan, captures, usage};

const CASE: &str = "two workers, 10000 connections";
const UNIT: &str = "Mpps";
const GOAL: Goal = Goal::TimesMore(1.6, 1.9);
const CONNECTIONS: u32 = 10_000;
/// By where the packets of each direction come in.
const WAYS: [(&str, u16); 2] = [("there", 1), ("back", 3)];

pub(crate) const PART: Part = Part { rows: &[(CASE, UNIT, GOAL)], cost: (12.0, 45.0), measure };

fn measure(plan: &Plan, progress: &Progress) -> Result<Vec<Row>> {
    let (net, folder) = (TestNet::new()?, Folder::new("workers")?);
    let packets = connections::packets(Pipeline::Permit, CONNECTIONS);
    let files = WAYS.map(|(name, _)| folder.path().join(name));
    for (file, frames) in files.iter().zip(packets.chunks(packets.len() / WAYS.len())) {
        captures::write(file, frames.iter().map(Vec::as_slice))?;
    }
    let start = |cpus: &[usize]| {
        let mut ours = Ours::with_workers(&plan.programs, net.namespace(), cpus)?;
        ours.flows(&Pipeline::Permit.flows(1))?;
        ours.add_port("out", 2, PortKind::Null(NullOptions {}))?;
        for ((name, number), file) in WAYS.into_iter().zip(&files) {
            let (rx, repeat) = (Some(file.clone()), true);
            let from = PcapOptions { rx, repeat, ..PcapOptions::default() };
            ours.add_port(name, number, PortKind::Pcap(from))?;
        }
        // Until all connections are known and have their sessions.
        pause(Duration::from_secs(1))?;
        ours.freeze(true)?;
        Ok::<_, anyhow::Error>(ours)
    };
    let mut one = start(&[plan.cpu])?;
    // The other processor has the control threads as well, and us.
    let mut two = start(&[0, plan.cpu])?;
    let rounds = if plan.quick { 2 } else { 4 };
    let window = Duration::from_millis(if plan.quick { 700 } else { 3000 });
    let mut shares = [1.0f64; 2];
    let blocks = Blocks::take(Count { rounds, spare: 2 * rounds }, |both, number, all| {
        progress.block(if both { "two workers" } else { "one worker" }, number, all);
        let (on, off) = if both { (&mut two, &mut one) } else { (&mut one, &mut two) };
        off.freeze(true)?;
        on.freeze(false)?;
        pause(Duration::from_millis(300))?;
        let watched = Watched::start(on.id())?;
        let (value, by_sessions) = rate(on, window)?;
        shares[usize::from(both)] = by_sessions.min(shares[usize::from(both)]);
        Ok(Block { value, disturbance: watched.disturbance()? })
    })?;
    let Blocks { ours, theirs, note } = blocks;
    let row = Row::new(CASE, "one worker", UNIT, GOAL, ours, theirs);
    let about = "the directions of a connection on different workers; of each worker's packets in a \
                 second that it had its processor, the sum";
    let [alone, together] = shares.map(|share| 100.0 * share);
    let shares = format!("by sessions: {together:.1} % of two, {alone:.1} % of one");
    Ok(vec![row.note(about).note(shares).note(note)])
}

/// Millions of packets of all workers, each in a second that it had its processor; and the least share
/// of a worker's lookups that met a session.
fn rate(ours: &mut Ours, window: Duration) -> Result<(f64, f64)> {
    let mut read = || {
        let dropped = WAYS.map(|(name, _)| {
            let (port, _) = ours.counters(name)?;
            Ok::<_, anyhow::Error>(port.drops.iter().map(|drop| drop.packets).sum::<u64>())
        });
        let [there, back] = dropped;
        let workers = ours.workers()?;
        let times = workers.iter().map(|one| {
            let name = format!("worker-{}", one.worker);
            usage::thread_time(ours.id(), &name)
        });
        let times = times.collect::<Result<Vec<_>>>()?;
        Ok::<_, anyhow::Error>((there? + back?, workers, times))
    };
    let (dropped_before, before, times_before) = read()?;
    pause(window)?;
    let (dropped, after, times) = read()?;
    if dropped > dropped_before {
        bail!("vswitchd has dropped {} packets", dropped - dropped_before);
    }
    let (mut rate, mut share) = (0.0, 1.0f64);
    for ((before, after), (began, ended)) in
        before.iter().zip(&after).zip(times_before.into_iter().zip(times))
    {
        rate += rate_of(before, after, ended - began)?;
        share = share.min(by_sessions(before, after));
    }
    Ok((rate, share))
}

#[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
fn rate_of(before: &Worker, after: &Worker, ns: u64) -> Result<f64> {
    let packets = after.rx_packets - before.rx_packets;
    if packets == 0 || ns == 0 {
        bail!("worker {} passes no packets", after.worker);
    }
    Ok(packets as f64 * 1e3 / ns as f64)
}

#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn by_sessions(before: &Worker, after: &Worker) -> f64 {
    let [was, is] = [before, after]
        .map(|one| [one.session_hits, one.opening_hits, one.megaflow_hits, one.misses]);
    let lookups = is.iter().sum::<u64>() - was.iter().sum::<u64>();
    (is[0] - was[0]) as f64 / lookups.max(1) as f64
}
