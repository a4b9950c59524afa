//! Both switches, doing the same work with the same packets.
//!
//! Both replay the same files for ever from memory, copying each packet, do the same work with it,
//! and throw it away. One thread on one processor. Before anything is measured, what comes out of
//! both must be the same: a fast switch that is wrong has no figures.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use api::reply::Worker;
use api::request::{NullOptions, PcapOptions, PortKind};
use testnet::TestNet;

use crate::clock;
use crate::harness::blocks::{Block, Blocks, Count};
use crate::harness::case::{Case, Packets, Set};
use crate::harness::disturbance::Watched;
use crate::harness::ours::{Limits, Ours};
use crate::harness::ovs::{HugeMemory, Ovs};
use crate::harness::process::{Folder, await_for, is_told_to_end, pause};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::{Plan, captures, machine, say};

mod before;
mod fresh;

pub use fresh::Fresh;

/// Who stands beside ours.
pub const PEER: &str = "OVS-DPDK";
const UNIT: &str = "Mpps";
/// Frames that are compared.
const COMPARED: usize = 4096;
/// How often OVS gets them.
const BEFORE: usize = 64;
/// The most packets that a port replays: DPDK has 262144 buffers for it.
const REPLAYED: usize = 250_000;
/// By where packets come in: a name and a number for each file. OVS has a memory of its own for
/// each size of packets, so each port is told another one.
const INSIDE: [(&str, u16, u16); 4] =
    [("p1", 1, 1500), ("p3", 3, 2500), ("p4", 4, 3500), ("p5", 5, 4500)];
/// By where they go out.
const OUTSIDE: (&str, u16) = ("p2", 2);
/// Ways to set up OVS's caches; the best for a case is what we compare with.
const CACHES: [(&str, &str); 4] = [
    ("emc 1/100", "emc-insert-inv-prob=100 other_config:smc-enable=false"),
    ("emc 1/1", "emc-insert-inv-prob=1 other_config:smc-enable=false"),
    ("smc alone", "emc-insert-inv-prob=0 other_config:smc-enable=true"),
    ("no cache", "emc-insert-inv-prob=0 other_config:smc-enable=false"),
];

/// Both switches, and the files they are fed.
#[derive(Debug)]
pub struct Pair {
    /// Ours.
    pub ours: Ours,
    /// Theirs.
    pub ovs: Ovs,
    /// Thousands of ticks a second.
    tsc_khz: u64,
    folder: Folder,
    _net: TestNet,
}

impl Pair {
    /// Starts both. Without limits ours is as it comes.
    pub fn start(plan: &Plan, limits: Option<Limits>, memory: HugeMemory) -> Result<Self> {
        say(&format!("starting vswitchd and {PEER}"));
        machine::leave(plan.cpu)?;
        let folder = Folder::new("files")?;
        let net = TestNet::new()?;
        let ovs = Ovs::start(net.namespace(), plan.cpu, Some(memory))?;
        let (programs, namespace) = (&plan.programs, net.namespace());
        let ours = match limits {
            Some(limits) => Ours::sized(programs, namespace, plan.cpu, limits)?,
            None => Ours::start(programs, namespace, plan.cpu, true)?,
        };
        let tsc_khz = ovs.tsc_khz()?;
        Ok(Self { ours, ovs, tsc_khz, folder, _net: net })
    }

    /// Who they are.
    pub fn versions(&mut self) -> Result<Vec<String>> {
        let ours = format!("vswitchd {}", self.ours.version()?);
        Ok(vec![ours, format!("{} ({PEER})", self.ovs.version()?)])
    }

    /// Thousands of ticks a second of the processor's clock.
    pub const fn tsc_khz(&self) -> u64 {
        self.tsc_khz
    }

    /// A file in its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The rows of a set. Whatever is wrong with one, the others have their turn.
    pub fn rows(&mut self, plan: &Plan, progress: &mut Progress, set: &Set) -> Result<Vec<Row>> {
        let compared = self.compare_all(progress, set);
        let loaded = compared.and_then(|compared| {
            if set.marked.is_some() {
                self.load(progress, &set.flows)?;
            }
            Ok(compared)
        });
        let mut rows = Vec::new();
        for (at, case) in set.cases.iter().enumerate() {
            let measured = match (progress.begin(&case.name), &loaded) {
                (false, _) => Err(anyhow!("no time was left")),
                (true, Err(error)) => Err(anyhow!("{error:#}")),
                (true, Ok(compared)) => match compared.get(at) {
                    Some(Some(difference)) => Err(anyhow!(difference.clone())),
                    _ => self.measure(plan, progress, case),
                },
            };
            self.clear()?;
            progress.end();
            match measured {
                Ok(measured) => rows.extend(measured),
                Err(error) if is_told_to_end() => return Err(error),
                Err(error) => {
                    rows.push(Row::void(&case.name, PEER, UNIT, case.goal, &format!("{error:#}")));
                }
            }
        }
        Ok(rows)
    }

    /// What is different between the first frames that come out, for each case; nothing if they are
    /// the same.
    fn compare_all(&mut self, progress: &Progress, set: &Set) -> Result<Vec<Option<String>>> {
        if !progress.has_time() {
            bail!("no time was left");
        }
        self.load(progress, set.marked.as_ref().unwrap_or(&set.flows))?;
        let mut differences = Vec::new();
        for case in &set.cases {
            progress.step(&format!("comparing what comes out: {}", case.name));
            let compared = self.compare(progress, &case.packets);
            self.clear()?;
            differences.push(match compared {
                Ok(difference) => difference,
                Err(error) if is_told_to_end() => return Err(error),
                Err(error) => Some(format!("{error:#}")),
            });
        }
        Ok(differences)
    }

    /// Gives both the same flows.
    pub fn load(&mut self, progress: &Progress, flows: &[String]) -> Result<()> {
        if flows.len() > 1000 {
            progress.step(&format!("loading {} flows into both", flows.len()));
        }
        self.ours.flows(flows).context("loading vswitchd")?;
        self.ovs.flows(flows).context("loading OVS")
    }

    /// What is different between the first frames that come out; nothing if they are the same.
    fn compare(&mut self, progress: &Progress, packets: &Packets) -> Result<Option<String>> {
        let (input, output) = (self.file("in.pcap"), self.file("out"));
        let frames = &packets.frames[..packets.frames.len().min(COMPARED)];
        captures::write(&input, frames.iter().map(Vec::as_slice))?;
        // First the way out, then the packets, which come once.
        let to = PcapOptions { tx: Some(output.clone()), ..PcapOptions::default() };
        self.ours.add_port(OUTSIDE.0, OUTSIDE.1, PortKind::Pcap(to))?;
        self.add_inside_ours(0, &input, false)?;
        let ours = self.frames_of_ours(progress, frames.len(), &output)?;
        let device = format!("net_pcap{},tx_pcap={}", OUTSIDE.1, output.display());
        self.ovs.add_port(OUTSIDE.0, OUTSIDE.1, &device_of(&device))?;
        // OVS loses packets while it opens a port: so it gets the same frames again and again, and
        // what the last ones become is compared.
        let again = std::iter::repeat_n(frames, BEFORE).flatten();
        captures::write(&input, again.map(Vec::as_slice))?;
        self.add_inside_ovs(0, &input, false)?;
        self.settle(progress, BEFORE * frames.len())?;
        // The file is whole when the port is gone.
        self.clear_ovs()?;
        let mut theirs = captures::read(&output)?;
        let expected = packets.passing(COMPARED);
        theirs.drain(..theirs.len().saturating_sub(expected));
        if ours.len() != expected {
            return Ok(Some(format!("of {expected} frames {} came out", ours.len())));
        }
        Ok(captures::difference(&ours, &theirs))
    }

    /// What ours has made of so many packets: what it has sent to a file.
    fn frames_of_ours(
        &mut self,
        progress: &Progress,
        count: usize,
        output: &Path,
    ) -> Result<Vec<Vec<u8>>> {
        let sent = await_for("vswitchd has done with all packets", progress.patience(60), || {
            let Traffic { received, sent, dropped, .. } = self.our_traffic(1)?;
            Ok((received >= count as u64 && sent + dropped >= received).then_some(sent))
        })?;
        await_for("what vswitchd has sent is in its file", 5, || {
            let frames = captures::read(output)?;
            Ok((frames.len() as u64 >= sent).then_some(frames))
        })
    }

    /// Waits until OVS has received nearly all of so many packets and sends no more. It may be slow
    /// with packets that are new to it; and if it has lost more than it should, it is not waited for.
    fn settle(&self, progress: &Progress, count: usize) -> Result<()> {
        let (mut last, mut quiet) = ((0, 0), 0);
        await_for("OVS sends what it received", progress.patience(60), || {
            pause(Duration::from_millis(100))?;
            let now = self.ovs.passed(&[INSIDE[0].1], OUTSIDE.1)?;
            quiet = if now == last { quiet + 1 } else { 0 };
            last = now;
            let nearly = now.0 >= count as u64 / 10 * 9;
            Ok((quiet >= if nearly { 2 } else { 30 }).then_some(()))
        })
    }

    fn measure(&mut self, plan: &Plan, progress: &Progress, case: &Case) -> Result<Vec<Row>> {
        self.before_ours(progress, case)?;
        let mut notes = vec![self.feed_ours(progress, case)?];
        let our_before = self.our_traffic(case.ports())?;
        self.ours.freeze(true)?;
        notes.push(self.feed_ovs(progress, case)?);
        notes.push(self.before_ovs(progress, case)?);
        let their_before = self.their_traffic(case.ports())?;
        let caches = self.best_caches(plan, case.packets.frames.len())?;
        notes.push(format!("OVS with {caches}"));
        let count = match (plan.quick, progress.is_late()) {
            (false, _) => Count { rounds: 4, spare: 8 },
            (true, false) => Count { rounds: 2, spare: 4 },
            (true, true) => Count { rounds: 1, spare: 0 },
        };
        let window = Duration::from_millis(if plan.quick { 700 } else { 3000 });
        let is_decided = |blocks: &Blocks| {
            progress.is_late() || case.goal.is_decided(&blocks.ours, &blocks.theirs)
        };
        let blocks = Blocks::take_until(count, is_decided, |mine, number, all| {
            progress.block(if mine { "vswitchd" } else { PEER }, number, all);
            self.turn(mine, window)
        })?;
        notes.push(blocks.note.clone());
        notes.push(self.check(case, our_before, their_before)?);
        let Blocks { ours, theirs, .. } = blocks;
        let ticks = |mpps: &f64| self.ticks(*mpps);
        let [our_ticks, their_ticks] =
            [&ours, &theirs].map(|side| side.iter().map(ticks).collect());
        let row = Row::new(&case.name, PEER, UNIT, case.goal, ours, theirs);
        let of = |mpps: Option<f64>| self.ticks(mpps.unwrap_or(f64::NAN));
        let (our, their) = (of(row.ours), of(row.theirs));
        let ns = |mpps: Option<f64>| 1e3 / mpps.unwrap_or(f64::NAN);
        let row = row.clone().note(format!(
            "{:.1} and {:.1} ns, {our:.0} and {their:.0} ticks a packet",
            ns(row.ours),
            ns(row.theirs)
        ));
        let row = notes.into_iter().fold(row, Row::note);
        let absolute = case.ticks.map(|aim| {
            let name = format!("{}, ticks", case.name);
            Row::new(&name, PEER, "ticks", Goal::Aim(aim), our_ticks, their_ticks)
                .note("of an idle machine; judged above")
        });
        Ok(std::iter::once(row).chain(absolute).collect())
    }

    /// Ticks that a packet takes at a rate in millions a second.
    #[expect(clippy::cast_precision_loss, reason = "a clock's rate is far below 2^53")]
    fn ticks(&self, mpps: f64) -> f64 {
        self.tsc_khz as f64 / 1e3 / mpps
    }

    /// Gives ours its packets, until it has cached what it will.
    fn feed_ours(&mut self, progress: &Progress, case: &Case) -> Result<String> {
        self.ours.add_port(OUTSIDE.0, OUTSIDE.1, PortKind::Null(NullOptions {}))?;
        for (at, frames) in case.packets.frames.chunks(REPLAYED).enumerate() {
            let file = self.file(&format!("{at}.pcap"));
            captures::write(&file, frames.iter().map(Vec::as_slice))?;
            self.add_inside_ours(at, &file, true)?;
        }
        let settled = self.settle_ours(progress, case)?;
        let Worker { megaflows, masks, sessions, .. } = settled;
        Ok(format!("ours: {sessions} sessions, {megaflows} megaflows of {masks} masks"))
    }

    /// Waits until ours has cached what it will. If its caches change for ever, or stay as they are
    /// and packets miss them all the same, then that is how it is: it is measured so.
    fn settle_ours(&mut self, progress: &Progress, case: &Case) -> Result<Worker> {
        let (mut before, mut quiet) = (self.ours.worker()?, 0);
        let longest_ns = (10 + case.packets.frames.len() as u64 / 40_000) * 1_000_000_000;
        let begun = clock::now_ns();
        await_for("vswitchd receives packets", progress.patience(120), || {
            pause(Duration::from_millis(300))?;
            let now = self.ours.worker()?;
            let packets = now.rx_packets - before.rx_packets;
            let hits = now.misses - before.misses <= packets / 1000;
            let near = |now: u64, before: u64| now.abs_diff(before) <= now / 100;
            let same = near(now.sessions, before.sessions) && near(now.megaflows, before.megaflows);
            quiet = if packets > 0 && same { quiet + 1 } else { 0 };
            let lookups =
                |one: &Worker| one.session_hits + one.opening_hits + one.megaflow_hits + one.misses;
            let by_sessions =
                share(now.session_hits - before.session_hits, lookups(&now) - lookups(&before));
            let meets = case.sessions.is_none_or(|least| by_sessions >= least);
            let grows = now.megaflows > before.megaflows + before.megaflows / 100;
            before = now;
            let elapsed = clock::now_ns() - begun;
            let is_late = elapsed > if grows { 3 * longest_ns } else { longest_ns };
            let settled = meets && (quiet > 0 && hits || quiet > 5) || is_late && packets > 0;
            Ok(settled.then(|| before.clone()))
        })
    }

    /// The same for OVS; it goes on.
    fn feed_ovs(&self, progress: &Progress, case: &Case) -> Result<String> {
        self.ovs.settle_cache(true)?;
        let null = format!("net_null{},no-rx=1", OUTSIDE.1);
        self.ovs.add_port(OUTSIDE.0, OUTSIDE.1, &device_of(&null))?;
        for at in 0..case.ports() {
            self.add_inside_ovs(at, &self.file(&format!("{at}.pcap")), true)?;
        }
        // As many in a second, not just between two looks: a packet that is new to it may hold it up.
        let (mut last, mut quiet) = (0, 0);
        // On a slow machine, and among hundreds of tuples, it takes 6 ms for a packet it has not seen.
        await_for("OVS has all flows in its cache", progress.patience(300), || {
            pause(Duration::from_millis(300))?;
            let cached = self.ovs.cached()?;
            quiet = if cached == last { quiet + 1 } else { 0 };
            let is_all = case.megaflows.map_or(cached > 0 && quiet >= 3, |all| cached == all);
            last = cached;
            Ok((quiet > 0 && is_all).then_some(()))
        })
        .with_context(|| format!("it has {last}"))?;
        Ok(format!("OVS: {last} megaflows"))
    }

    fn add_inside_ours(&mut self, at: usize, file: &Path, repeat: bool) -> Result<()> {
        let (name, number, _) = inside(at)?;
        let from = PcapOptions { rx: Some(file.to_owned()), repeat, ..PcapOptions::default() };
        self.ours.add_port(name, number, PortKind::Pcap(from))
    }

    fn add_inside_ovs(&self, at: usize, file: &Path, repeat: bool) -> Result<()> {
        let (name, number, mtu) = inside(at)?;
        let repeat = if repeat { ",infinite_rx=1" } else { "" };
        let device = format!("net_pcap{number},rx_pcap={}{repeat}", file.display());
        // Only where there is more than one: 1500 is what a port has anyway.
        let mtu = if at > 0 { format!(" mtu_request={mtu}") } else { String::new() };
        self.ovs.add_port(name, number, &(device_of(&device) + &mtu))
    }

    /// Sets up OVS's caches as is best for this traffic, of so many packets.
    fn best_caches(&mut self, plan: &Plan, packets: usize) -> Result<&'static str> {
        let window = Duration::from_millis(if plan.quick { 300 } else { 1000 });
        let mut best = (0.0, CACHES[0]);
        for caches in CACHES {
            self.set_caches(caches.1, packets, if plan.quick { 4 } else { 10 })?;
            let rate = self.window(false, window)?;
            if rate > best.0 {
                best = (rate, caches);
            }
        }
        self.set_caches(best.1.1, packets, if plan.quick { 8 } else { 30 })?;
        Ok(best.1.0)
    }

    /// Sets up OVS's caches, and waits until they are filled: all packets have come at least once,
    /// and it becomes no faster. What is slow takes long to fill: so many seconds at most.
    fn set_caches(&mut self, caches: &str, packets: usize, seconds: u64) -> Result<()> {
        self.ovs.vsctl(&format!("set Open_vSwitch . other_config:{caches}"))?;
        let (first, begun) = self.ovs.received()?;
        let mut last = 0.0;
        loop {
            let rate = self.window(false, Duration::from_millis(200))?;
            let (received, now) = self.ovs.received()?;
            let filled = received.saturating_sub(first) >= packets as u64 && rate <= 1.05 * last;
            if filled || now - begun > seconds * 1_000_000_000 {
                return Ok(());
            }
            last = rate;
        }
    }

    /// One side's turn: the other is frozen meanwhile.
    fn turn(&mut self, mine: bool, window: Duration) -> Result<Block> {
        self.give_turn(mine)?;
        // Until its caches hold what they held.
        pause(Duration::from_millis(300))?;
        let watched = Watched::start(if mine { self.ours.id() } else { self.ovs.id() })?;
        let value = self.window(mine, window)?;
        Ok(Block { value, disturbance: watched.disturbance()? })
    }

    /// Lets one side go on and freezes the other.
    pub fn give_turn(&self, mine: bool) -> Result<()> {
        self.ours.freeze(!mine)?;
        self.ovs.freeze(mine)
    }

    /// Millions of packets per second of the polling thread's time.
    fn window(&mut self, mine: bool, window: Duration) -> Result<f64> {
        let mut read = || {
            Ok::<_, anyhow::Error>(if mine {
                (self.ours.worker()?.rx_packets, self.ours.cpu_time()?)
            } else {
                (self.ovs.received()?.0, self.ovs.cpu_time()?)
            })
        };
        let (packets_before, time_before) = read()?;
        pause(window)?;
        let (packets, time) = read()?;
        let (packets, ns) = (packets - packets_before, time.busiest_since(&time_before));
        if packets == 0 || ns == 0 {
            bail!("{} passes no packets", if mine { "vswitchd" } else { PEER });
        }
        #[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
        let rate = packets as f64 * 1e3 / ns as f64;
        Ok(rate)
    }

    /// That both have forwarded everything that the flows do not drop, and no more, since there was
    /// so much traffic.
    fn check(&mut self, case: &Case, ours: Traffic, theirs: Traffic) -> Result<String> {
        self.give_turn(false)?;
        let cached = self.ovs.cached()?;
        if case.megaflows.is_some_and(|expected| cached != expected) {
            bail!("OVS has {cached} flows in its cache instead of {:?}", case.megaflows);
        }
        let now = self.their_traffic(case.ports())?;
        let received = now.received - theirs.received;
        check_share("OVS", received..=received, now.sent - theirs.sent, case)?;
        self.give_turn(true)?;
        let before = self.our_traffic(case.ports())?;
        // It may have been frozen with a batch in its hands.
        let now = await_for("vswitchd sends what it received", 5, || {
            let now = self.our_traffic(case.ports())?;
            Ok((now.sent + now.dropped >= before.received).then_some(now))
        })?;
        let dropped = now.dropped - ours.dropped;
        if dropped > 0 && case.packets.dropped.is_empty() {
            bail!("vswitchd has dropped {dropped} packets");
        }
        let received = before.received - ours.received..=now.received - ours.received;
        check_share("vswitchd", received, now.sent - ours.sent, case)?;
        let worker = self.ours.worker()?;
        if case.megaflows.is_some_and(|expected| worker.megaflows != expected) {
            bail!("vswitchd has {} megaflows, not {:?}", worker.megaflows, case.megaflows);
        }
        self.ovs.freeze(false)?;
        let by_sessions = share(now.by_sessions - ours.by_sessions, now.looked_up - ours.looked_up);
        if let Some(least) = case.sessions {
            if by_sessions < least {
                bail!("only {:.1} % of our packets met a session", 100.0 * by_sessions);
            }
            return Ok(format!("ours: {:.2} % by sessions", 100.0 * by_sessions));
        }
        let missed = share(worker.misses - ours.misses, now.received - ours.received);
        Ok(if missed < 5e-4 {
            String::new()
        } else {
            format!("ours: {:.1} % misses", 100.0 * missed)
        })
    }

    /// What ours has done with the packets of so many ports so far.
    fn our_traffic(&mut self, ports: usize) -> Result<Traffic> {
        let Worker { misses, session_hits, rx_packets, .. } = self.ours.worker()?;
        let mut traffic = Traffic {
            misses,
            by_sessions: session_hits,
            looked_up: rx_packets,
            ..Traffic::default()
        };
        traffic.sent = self.ours.counters(OUTSIDE.0)?.0.tx_packets;
        for (name, ..) in INSIDE.iter().take(ports) {
            let (port, _) = self.ours.counters(name)?;
            traffic.received += port.rx_packets;
            traffic.dropped += port.drops.iter().map(|drop| drop.packets).sum::<u64>();
        }
        Ok(traffic)
    }

    /// What OVS has done with them.
    fn their_traffic(&self, ports: usize) -> Result<Traffic> {
        let numbers: Vec<_> = INSIDE.iter().take(ports).map(|(_, number, _)| *number).collect();
        let (received, sent) = self.ovs.passed(&numbers, OUTSIDE.1)?;
        Ok(Traffic { received, sent, ..Traffic::default() })
    }

    /// Takes the ports away again.
    pub fn clear(&mut self) -> Result<()> {
        self.ours.freeze(false)?;
        self.ovs.freeze(false)?;
        for (name, _, _) in INSIDE {
            // What was not added need not be removed.
            let _ = self.ours.del_port(name);
        }
        let _ = self.ours.del_port(OUTSIDE.0);
        self.clear_ovs()
    }

    fn clear_ovs(&self) -> Result<()> {
        self.ovs.settle_cache(false)?;
        for (name, _, _) in INSIDE {
            self.ovs.del_port(name)?;
        }
        self.ovs.del_port(OUTSIDE.0)
    }

    /// Gives one side the packets of a file once, by a way that forgets them.
    pub fn feed_once(&mut self, mine: bool, file: &Path) -> Result<()> {
        if mine {
            self.ours.add_port(OUTSIDE.0, OUTSIDE.1, PortKind::Null(NullOptions {}))?;
            return self.add_inside_ours(0, file, false);
        }
        let null = format!("net_null{},no-rx=1", OUTSIDE.1);
        self.ovs.add_port(OUTSIDE.0, OUTSIDE.1, &device_of(&null))?;
        self.add_inside_ovs(0, file, false)
    }
}

/// Packets that a switch has counted.
#[derive(Clone, Copy, Debug, Default)]
struct Traffic {
    received: u64,
    sent: u64,
    /// Those that ours knows to have dropped, and those it has looked up in its tables.
    dropped: u64,
    misses: u64,
    /// Those that have met a session of it, of all it has looked up anywhere.
    by_sessions: u64,
    looked_up: u64,
}

impl Case {
    /// How many ports its packets come by.
    fn ports(&self) -> usize {
        self.packets.frames.len().div_ceil(REPLAYED)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
fn share(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

/// The settings of an OVS port that is a device of DPDK's.
fn device_of(arguments: &str) -> String {
    format!("type=dpdk options:dpdk-devargs={arguments}")
}

fn inside(at: usize) -> Result<(&'static str, u16, u16)> {
    INSIDE.get(at).copied().with_context(|| format!("there are {} ports", INSIDE.len()))
}

/// That as many packets came out as the flows let out of those that came in. Some are on their way
/// from one counter to the other, and a round of the file is perhaps not over.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn check_share(who: &str, inside: RangeInclusive<u64>, outside: u64, case: &Case) -> Result<()> {
    let (least, most) = (*inside.start() as f64, *inside.end() as f64);
    let passing = 1.0 - case.packets.dropped_share();
    let slack = least / 1000.0 + 4096.0 + case.packets.dropped.len() as f64;
    if !(least * passing - slack..=most * passing + slack).contains(&(outside as f64)) {
        bail!("{who} has received {inside:?} packets and sent {outside}");
    }
    Ok(())
}
