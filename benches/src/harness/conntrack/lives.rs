//! A million connections: their memory, and what it costs others when they go.
//!
//! They are of UDP that nobody answers, so each has 30 seconds: nothing flushes them. A worker that
//! carries packets of others all the while looks after them between its turns.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::{Result, bail};
use api::request::{NullOptions, PcapOptions, PortKind};
use testnet::TestNet;

use crate::clock;
use crate::harness::connections::{self, Pipeline};
use crate::harness::disturbance::{Disturbance, Watched};
use crate::harness::ours::{Limits, Ours};
use crate::harness::part::Part;
use crate::harness::process::{Folder, await_for, is_told_to_end, pause};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::{Plan, beginnings, captures, usage};

const MEMORY_V4: &str = "memory of a connection, IPv4";
const MEMORY_V6: &str = "memory of a connection, IPv6";
const EXPIRY: &str = "longest turn while 990 k connections expire";
const BYTES_V4: Goal = Goal::AtMost(256.0, 192.0);
const BYTES_V6: Goal = Goal::AtMost(320.0, 256.0);
const MICROS: Goal = Goal::AtMost(MOST, 50.0);
const MOST: f64 = 200.0;
/// So often they expire at most, until a turn is never longer.
const STORMS: usize = 3;

pub(crate) const PART: Part = Part {
    rows: &[
        (MEMORY_V4, "bytes", BYTES_V4),
        (MEMORY_V6, "bytes", BYTES_V6),
        (EXPIRY, "\u{b5}s", MICROS),
    ],
    cost: (16.0, 16.0),
    measure,
};

/// As many as there may be before those who are not answered have to make room.
const COUNT: u32 = 990_000;
const LIMITS: Limits = Limits { connections: 1 << 20, ..Limits::USUAL };
/// How many come by one file.
const PART_OF: u32 = 247_500;
/// The ports by which they come, and by which those come that stay.
const NEW: (&str, u16) = ("new", 4);
const OLD: (&str, u16) = ("old", 5);

fn measure(plan: &Plan, progress: &Progress) -> Result<Vec<Row>> {
    let (net, folder) = (TestNet::new()?, Folder::new("lives")?);
    let start = || Ours::sized(&plan.programs, net.namespace(), plan.cpu, LIMITS);
    let mut ours = start()?;
    let memory = |ours: &mut Ours, is_ipv4| memory(ours, progress, &folder, is_ipv4);
    let first = memory(&mut ours, true)?;
    let mut others = start()?;
    let second = memory(&mut others, false).or_else(|error| match is_told_to_end() {
        true => Err(error),
        false => Ok(Row::void(MEMORY_V6, "", "bytes", BYTES_V6, &format!("{error:#}"))),
    })?;
    drop(others);
    let expiry = expiry(&mut ours, progress, &folder).or_else(|error| match is_told_to_end() {
        true => Err(error),
        false => Ok(Row::void(EXPIRY, "", "\u{b5}s", MICROS, &format!("{error:#}"))),
    })?;
    Ok(vec![first, second, expiry])
}

/// What new connections do, and old ones.
fn flows() -> Vec<String> {
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

/// The longest turn of a second or two.
#[derive(Clone, Copy, Debug)]
struct Moment {
    micros: f64,
    /// How long the worker was kept from its processor meanwhile.
    kept: f64,
}

impl Moment {
    /// Whether it tells something of the worker: its longest turn was short, or the worker cannot have
    /// been kept from its processor as long as that.
    fn tells(&self) -> bool {
        self.micros <= MOST || self.kept < self.micros / 2.0
    }
}

/// The longest turn of several moments.
fn longest<'a>(moments: impl IntoIterator<Item = &'a Moment>) -> f64 {
    moments.into_iter().map(|moment| moment.micros).fold(0.0, f64::max)
}

fn expiry(ours: &mut Ours, progress: &Progress, folder: &Folder) -> Result<Row> {
    let file = folder.path().join("old.pcap");
    let packets = connections::packets(Pipeline::Permit, 100);
    captures::write(&file, packets.iter().map(Vec::as_slice))?;
    let from = PcapOptions { rx: Some(file), repeat: true, ..PcapOptions::default() };
    ours.add_port(OLD.0, OLD.1, PortKind::Pcap(from))?;
    pause(Duration::from_secs(2))?;
    let expired = ours.connections()?.expired;
    progress.step("a calm before they expire");
    let calm = moments(ours, progress, 3, |_| Ok(false))?;
    let counts = ours.connections()?;
    if counts.expired != expired {
        bail!("they expired before there was a calm: {counts:?}");
    }
    let mut storms = vec![storm(ours, progress)?];
    // What it takes, it takes each time; what the machine adds, it does not.
    while storms.len() < STORMS && storms.iter().all(|storm| storm.micros > MOST) {
        progress.step("once more");
        for first in (0..COUNT).step_by(PART_OF as usize) {
            feed(ours, progress, folder, first..first + PART_OF, true)?;
        }
        storms.push(storm(ours, progress)?);
    }
    let each = storms.iter().map(|storm| format!("{:.0}", storm.micros)).collect::<Vec<_>>();
    let least = storms.iter().min_by(|a, b| a.micros.total_cmp(&b.micros));
    let Some(Storm { micros, seconds, mpps, left_out }) = least else { bail!("there was none") };
    let row = Row::new(EXPIRY, "", "\u{b5}s", MICROS, vec![*micros], Vec::new());
    Ok(row
        .note(format!(
            "by their time of 30 s, within {seconds:.0} s, beside {mpps:.1} Mpps; the least of {}; \
             {:.0} \u{b5}s in the calm before",
            each.join(", "),
            longest(&calm)
        ))
        .note(left_out.clone()))
}

/// What happened while they all expired once.
#[derive(Clone, Debug)]
struct Storm {
    /// The longest turn.
    micros: f64,
    seconds: f64,
    /// Packets of others meanwhile.
    mpps: f64,
    /// What of it tells nothing.
    left_out: String,
}

/// All that were made expire.
fn storm(ours: &mut Ours, progress: &Progress) -> Result<Storm> {
    let expired = ours.connections()?.expired;
    progress.step("waiting until they expire");
    await_for("they expire", progress.patience(40), || {
        Ok((ours.connections()?.expired > expired).then_some(()))
    })?;
    let begun = clock::now_ns();
    let received = ours.worker()?.rx_packets;
    let storm = moments(ours, progress, 60, |ours| {
        Ok(ours.connections()?.expired >= expired + u64::from(COUNT))
    })?;
    let seconds = clock::seconds(begun, clock::now_ns());
    let gone = ours.connections()?.expired - expired;
    if gone != u64::from(COUNT) {
        bail!("of {COUNT} connections {gone} have expired in {seconds:.0} s");
    }
    #[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
    let mpps = (ours.worker()?.rx_packets - received) as f64 / 1e6 / seconds;
    let (telling, others): (Vec<_>, Vec<_>) = storm.iter().partition(|moment| moment.tells());
    let left_out = match others.len() {
        0 => String::new(),
        count => format!(
            "{count} of {} seconds left out, in which the worker was kept from its processor: {:.0} \u{b5}s",
            storm.len(),
            longest(others.iter().copied())
        ),
    };
    if telling.is_empty() {
        bail!(left_out);
    }
    Ok(Storm { micros: longest(telling), seconds, mpps, left_out })
}

/// Looks once a second, so often at most, until it `is_over`: each look is at the last second or two.
fn moments(
    ours: &mut Ours,
    progress: &Progress,
    most: usize,
    mut is_over: impl FnMut(&mut Ours) -> Result<bool>,
) -> Result<Vec<Moment>> {
    let (mut watched, mut moments) = (VecDeque::new(), Vec::new());
    while moments.len() < most {
        watched.push_back((Watched::start(ours.id())?, clock::now_ns()));
        pause(Duration::from_secs(1))?;
        let last = is_over(ours)?;
        if watched.len() == 2 || last {
            let nanos = u32::try_from(ours.worker()?.longest_turn_ns).unwrap_or(u32::MAX);
            if let Some((watched, begun)) = watched.pop_front() {
                let Disturbance { stolen, waited, .. } = watched.disturbance()?;
                let elapsed = clock::seconds(begun, clock::now_ns()) * 1e6;
                let moment =
                    Moment { micros: f64::from(nanos) / 1e3, kept: (stolen + waited) * elapsed };
                let Moment { micros, kept } = moment;
                progress.step(&format!(
                    "longest turn {micros:.0} \u{b5}s; kept from its processor for {kept:.0} \u{b5}s"
                ));
                moments.push(moment);
            }
        }
        if last {
            break;
        }
    }
    Ok(moments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_that_waiting_explains_tells_nothing() {
        let tells = |micros, kept| Moment { micros, kept }.tells();
        assert!(tells(150.0, 0.0) && tells(3000.0, 100.0));
        assert!(tells(150.0, 9000.0), "short all the same");
        assert!(!tells(3000.0, 2900.0) && !tells(3000.0, 9000.0));
        let moments = [150.0, 90.0].map(|micros| Moment { micros, kept: 0.0 });
        assert_eq!(longest(&moments), 150.0);
    }

    #[test]
    fn flows_can_be_read() {
        assert!(flows().iter().all(|flow| flow.parse::<api::FlowMod>().is_ok()));
    }
}
