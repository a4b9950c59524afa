//! New connections a second: each packet begins one.
//!
//! Ours gets each packet once. OVS gets them again and again, by a port that stays: first its flows
//! drop them, then they keep connections, and it is watched as long as the packets that come have not
//! come before. Between two blocks all connections are forgotten. What counts is the time that the
//! polling thread had its processor; of ours, which looks for packets in vain before and after, no more
//! than it says to have spent with packets.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use api::reply::CtCounts;

use super::{CACHES, INSIDE, OUTSIDE, PEER, Pair, device_of};
use crate::clock;
use crate::harness::blocks::{Block, Blocks, Count};
use crate::harness::case::Packets;
use crate::harness::disturbance::Watched;
use crate::harness::process::{await_for, is_told_to_end, pause};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::usage::{self, CpuTime};
use crate::harness::{Plan, beginnings, captures};

/// Whom the connections are to: nobody else's are.
const SERVER: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 1);
/// Where they come from if they are translated.
///
/// As many addresses as are prime to the number of ports: OVS draws both by one number.
const HIDDEN: &str = "100.64.0.1-100.64.0.17:1024-65535";

/// A row: new connections, translated or not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fresh {
    /// Whether they are given another source.
    pub nat: bool,
}

impl Fresh {
    /// Both rows.
    pub const ALL: [Self; 2] = [Self { nat: false }, Self { nat: true }];
    /// Millions a second.
    pub const UNIT: &'static str = "M/s";
    /// What is to be reached.
    pub const GOAL: Goal = Goal::TimesMore(5.0, 10.0);
    /// As many as a port of OVS's replays.
    const COUNT: u32 = 250_000;

    /// What it is called.
    pub const fn name(self) -> &'static str {
        if self.nat { "new connections with SNAT" } else { "new connections" }
    }

    /// The flows that keep them.
    fn flows(self, zone: u16) -> Vec<String> {
        let (nat, hide) = match self.nat {
            true => (",nat", format!(",nat(src={HIDDEN})")),
            false => ("", String::new()),
        };
        vec![
            format!("table=0,priority=1,ip,actions=ct(table=1,zone={zone}{nat})"),
            format!(
                "table=1,priority=1,ip,ct_state=+new+trk,actions=ct(commit,zone={zone}{hide}),\
                 output:2"
            ),
            "table=1,priority=1,ip,ct_state=+est+trk,actions=output:2".to_owned(),
        ]
    }
}

/// What OVS has done by some moment: packets before and after its connections were counted, and the time
/// that its threads have had.
#[derive(Clone, Debug)]
struct Look {
    before: u64,
    connections: u64,
    time: CpuTime,
    after: u64,
}

impl Pair {
    /// Measures a row.
    pub fn fresh(
        &mut self,
        plan: &Plan,
        progress: &mut Progress,
        (fresh, zone): (Fresh, u16),
    ) -> Result<Row> {
        let (name, goal) = (fresh.name(), Fresh::GOAL);
        if !progress.begin(name) {
            progress.end();
            return Ok(Row::void(name, PEER, Fresh::UNIT, goal, "no time was left"));
        }
        let measured = self.measure_fresh(plan, progress, fresh, zone);
        self.clear()?;
        // What was made is not to take the room of what comes next.
        self.ours.flush_connections()?;
        self.ovs.flush_connections()?;
        progress.end();
        match measured {
            Ok(row) => Ok(row),
            Err(error) if is_told_to_end() => Err(error),
            Err(error) => Ok(Row::void(name, PEER, Fresh::UNIT, goal, &format!("{error:#}"))),
        }
    }

    fn measure_fresh(
        &mut self,
        plan: &Plan,
        progress: &Progress,
        fresh: Fresh,
        zone: u16,
    ) -> Result<Row> {
        let flows = fresh.flows(zone);
        self.load(progress, &flows)?;
        let frames = beginnings::syns(Fresh::COUNT, SERVER, 1);
        // Ports of a translation are drawn: then what comes out is not the same.
        if !fresh.nat {
            progress.step("comparing what comes out");
            let packets = Packets::from(frames[..4096].to_vec());
            let compared = self.compare(progress, &packets);
            self.clear()?;
            if let Some(difference) = compared? {
                bail!(difference);
            }
        }
        let file = self.file("fresh.pcap");
        captures::write(&file, frames.iter().map(Vec::as_slice))?;
        drop(frames);
        self.give_turn(true)?;
        progress.step("vswitchd touches its memory");
        self.warm_up_ours(&file)?;
        self.give_turn(false)?;
        let null = format!("net_null{},no-rx=1", OUTSIDE.1);
        self.ovs.add_port(OUTSIDE.0, OUTSIDE.1, &device_of(&null))?;
        self.add_inside_ovs(0, &file, true)?;
        let mut best = (0.0, CACHES[0]);
        for caches in CACHES {
            progress.step(&format!("OVS with {}", caches.0));
            self.ovs.vsctl(&format!("set Open_vSwitch . other_config:{}", caches.1))?;
            let rate = self.their_fresh(progress, &flows)?;
            if rate > best.0 {
                best = (rate, caches);
            }
        }
        self.ovs.vsctl(&format!("set Open_vSwitch . other_config:{}", best.1.1))?;
        let count = Count { rounds: if plan.quick { 1 } else { 4 }, spare: 4 };
        let is_decided = |blocks: &Blocks| {
            progress.is_late() || Fresh::GOAL.is_decided(&blocks.ours, &blocks.theirs)
        };
        let blocks = Blocks::take_until(count, is_decided, |mine, number, all| {
            progress.block(if mine { "vswitchd" } else { PEER }, number, all);
            self.give_turn(mine)?;
            let watched = Watched::start(if mine { self.ours.id() } else { self.ovs.id() })?;
            let value =
                if mine { self.our_fresh(&file)? } else { self.their_fresh(progress, &flows)? };
            Ok(Block { value, disturbance: watched.disturbance()? })
        })?;
        let Blocks { ours, theirs, note } = blocks;
        let row = Row::new(fresh.name(), PEER, Fresh::UNIT, Fresh::GOAL, ours, theirs);
        let ns = |rate: Option<f64>| 1e3 / rate.unwrap_or(f64::NAN);
        let (our, their) = (ns(row.ours), ns(row.theirs));
        Ok(row
            .note(format!(
                "{our:.0} and {their:.0} ns each; {} SYNs, all forgotten between blocks; 5 M/s is an \
                 aim as well",
                Fresh::COUNT
            ))
            .note(format!("OVS with {}", best.1.0))
            .note(note))
    }

    /// Has ours make connections until it has met no memory that it had not touched before.
    fn warm_up_ours(&mut self, file: &Path) -> Result<()> {
        const MOST: usize = 6;
        let mut bytes = 0;
        for _ in 0..MOST {
            self.our_fresh(file)?;
            let now = self.ours.connections()?.bytes;
            if now == bytes {
                break;
            }
            bytes = now;
        }
        Ok(())
    }

    /// Millions of connections that ours makes in a second with packets.
    fn our_fresh(&mut self, file: &Path) -> Result<f64> {
        let all = u64::from(Fresh::COUNT);
        self.ours.flush_connections()?;
        let (before, counts) = (self.ours.worker()?, self.ours.connections()?);
        let began = usage::thread_time(self.ours.id(), "worker-0")?;
        self.feed_once(true, file)?;
        let after = await_for("vswitchd takes all packets", 30, || {
            let now = self.ours.worker()?;
            Ok((now.rx_packets >= before.rx_packets + all).then_some(now))
        })?;
        let ran = usage::thread_time(self.ours.id(), "worker-0")? - began;
        let now = self.ours.connections()?;
        for name in [INSIDE[0].0, OUTSIDE.0] {
            self.ours.del_port(name)?;
        }
        let made = now.made - counts.made;
        if made != all {
            let CtCounts { full, clashed, without_port, invalid, .. } = now;
            bail!(
                "of {all} packets {made} made a connection in vswitchd; no room {full}, clashed \
                 {clashed}, no port {without_port}, invalid {invalid}"
            );
        }
        rate(made, ran.min(after.busy_ns - before.busy_ns))
    }

    /// The same of OVS, whose port goes on and on.
    fn their_fresh(&self, progress: &Progress, flows: &[String]) -> Result<f64> {
        self.ovs.del_flows()?;
        self.ovs.purge()?;
        await_for("OVS forgets its connections", progress.patience(30), || {
            self.ovs.flush_connections()?;
            pause(Duration::from_millis(50))?;
            Ok((self.ovs.connections()? == 0).then_some(()))
        })?;
        self.ovs.flows(flows)?;
        let all = u64::from(Fresh::COUNT);
        let (least, most) = (all / 50, all / 20 * 19);
        let mut looks = Vec::new();
        let begun = clock::now_ns();
        loop {
            let (before, _) = self.ovs.received()?;
            let (connections, time) = (self.ovs.connections()?, self.ovs.cpu_time()?);
            let look = Look { before, connections, time, after: self.ovs.received()?.0 };
            if connections >= most {
                break;
            }
            if connections >= least {
                looks.push(look);
            }
            if clock::seconds(begun, clock::now_ns()) > 20.0 {
                bail!("OVS has made {connections} connections of {all} in 20 s");
            }
        }
        let [first, .., last] = &*looks else { bail!("OVS was too fast to be watched") };
        rate_between(first, last)
    }
}

/// Millions of connections a second between two looks.
fn rate_between(first: &Look, last: &Look) -> Result<f64> {
    let made = last.connections - first.connections;
    let (least, most) = (last.before.saturating_sub(first.after), last.after - first.before);
    if made < u64::from(Fresh::COUNT) / 5 {
        bail!("OVS was too fast to be watched: {made} connections between two looks");
    }
    // A batch may be half done at each look.
    if made + made / 50 + 64 < least || made > most + 64 {
        bail!("of {least} to {most} packets {made} made a connection in OVS");
    }
    rate(made, last.time.busiest_since(&first.time))
}

#[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
fn rate(made: u64, ns: u64) -> Result<f64> {
    if made == 0 || ns == 0 {
        bail!("{made} connections in {ns} ns");
    }
    Ok(made as f64 * 1e3 / ns as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_that_make_no_connection_are_found() {
        let own = || CpuTime::of(std::process::id()).unwrap();
        let look = |before, connections| Look { before, connections, time: own(), after: before };
        let rate = |first: &Look, last: &Look| rate_between(first, last).unwrap_err().to_string();
        let first = look(1000, 10_000);
        assert!(rate(&first, &look(2000, 11_000)).contains("too fast"));
        let error = rate(&first, &look(111_000, 110_000));
        assert!(error.contains("of 110000 to 110000 packets 100000 made"), "{error}");
        assert!(rate(&first, &look(91_000, 110_000)).contains("made a connection in OVS"));
    }

    #[test]
    fn flows_can_be_read() {
        for flow in Fresh::ALL.into_iter().flat_map(|fresh| fresh.flows(7)) {
            assert!(flow.parse::<api::FlowMod>().is_ok(), "{flow}");
        }
    }
}
