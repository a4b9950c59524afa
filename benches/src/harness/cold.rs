//! Flows that nobody has seen yet: how many a second find their way through the tables.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::harness::blocks::{Block, Blocks, Count};
use crate::harness::case::Packets;
use crate::harness::disturbance::Watched;
use crate::harness::pair::{PEER, Pair};
use crate::harness::process::{await_for, is_told_to_end, pause};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::{Plan, captures};

/// The name of the row.
pub const CASE: &str = "cold start, 100 k new flows";
/// What is to be reached.
pub const GOAL: Goal = Goal::TimesMore(5.0, 30.0);
const UNIT: &str = "k flows/s";

/// Measures it with the flows that both have, and packets of which each is a flow of its own. Each
/// packet comes once; what counts is the time that the polling thread has spent with packets, by
/// its own clock.
pub fn row(
    plan: &Plan,
    pair: &mut Pair,
    progress: &mut Progress,
    packets: &Packets,
) -> Result<Row> {
    if !progress.begin(CASE) {
        progress.end();
        return Ok(Row::void(CASE, PEER, UNIT, GOAL, "no time was left"));
    }
    let measured = measure(plan, pair, progress, packets);
    pair.clear()?;
    progress.end();
    match measured {
        Ok(row) => Ok(row),
        Err(error) if is_told_to_end() => Err(error),
        Err(error) => Ok(Row::void(CASE, PEER, UNIT, GOAL, &format!("{error:#}"))),
    }
}

fn measure(plan: &Plan, pair: &mut Pair, progress: &Progress, packets: &Packets) -> Result<Row> {
    let file = pair.file("cold.pcap");
    captures::write(&file, packets.frames.iter().map(Vec::as_slice))?;
    let all = packets.frames.len() as u64;
    let rounds = if plan.quick { 1 } else { 3 };
    let count = Count { rounds, spare: 2 };
    let is_decided =
        |blocks: &Blocks| progress.is_late() || GOAL.is_decided(&blocks.ours, &blocks.theirs);
    let blocks = Blocks::take_until(count, is_decided, |mine, number, of| {
        progress.block(if mine { "vswitchd" } else { PEER }, number, of);
        pair.clear()?;
        pair.ovs.purge()?;
        pair.ovs.settle_cache(true)?;
        pair.give_turn(mine)?;
        let watched = Watched::start(if mine { pair.ours.id() } else { pair.ovs.id() })?;
        let new = if mine { ours(pair, &file, all)? } else { theirs(pair, &file, all)? };
        Ok(Block { value: new, disturbance: watched.disturbance()? })
    })?;
    let Blocks { ours, theirs, note } = blocks;
    let row = Row::new(CASE, PEER, UNIT, GOAL, ours, theirs);
    Ok(row.note("or 1000 k flows/s, which is an aim as well").note(note))
}

/// Thousands of new flows in a second with packets.
fn ours(pair: &mut Pair, file: &std::path::Path, all: u64) -> Result<f64> {
    let before = pair.ours.worker()?;
    pair.feed_once(true, file)?;
    let after = await_for("vswitchd takes all packets", 60, || {
        pause(Duration::from_millis(50))?;
        let now = pair.ours.worker()?;
        Ok((now.rx_packets >= before.rx_packets + all).then_some(now))
    })?;
    rate("vswitchd", after.misses - before.misses, all, after.busy_ns - before.busy_ns)
}

/// The same of OVS.
fn theirs(pair: &mut Pair, file: &std::path::Path, all: u64) -> Result<f64> {
    pair.ovs.clear_misses()?;
    pair.feed_once(false, file)?;
    // It loses a few while it opens the port.
    let mut last = 0;
    let (misses, ticks) = await_for("OVS takes all packets", 60, || {
        pause(Duration::from_millis(200))?;
        let (misses, ticks) = pair.ovs.misses()?;
        let settled = misses > 0 && misses == last;
        last = misses;
        Ok(settled.then_some((misses, ticks)))
    })?;
    let ns = u128::from(ticks) * 1_000_000 / u128::from(pair.tsc_khz().max(1));
    rate(PEER, misses, all, u64::try_from(ns).unwrap_or(u64::MAX))
}

#[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
fn rate(who: &str, misses: u64, all: u64, busy_ns: u64) -> Result<f64> {
    // A port that is being opened loses some; what was in a cache is not new.
    if misses < all / 10 * 9 {
        bail!("of {all} flows only {misses} were new to {who}");
    }
    Ok(misses as f64 * 1e6 / busy_ns.max(1) as f64)
}
