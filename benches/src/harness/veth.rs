//! Between two network namespaces, each with a veth whose other end is the switch's.
//!
//! Four switches, each with two hosts of its own: ours with pods' ports, as it comes; the same
//! without short-cuts, so that every packet passes the worker; ours with AF_XDP ports; and OVS with
//! AF_XDP ports. One of them has its turn, the others are frozen. Kernel pods would have pods' ports
//! as they come, so those are judged.

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api::reply::Worker;
use api::request::{AfxdpOptions, PodOptions, PortKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use testnet::{Host, TestNet};

use crate::clock;
use crate::harness::ours::Ours;
use crate::harness::ovs::Ovs;
use crate::harness::process::{Folder, Line, Process, pause};
use crate::harness::row::{Goal, Row};
use crate::harness::sample::median;
use crate::harness::{Findings, Plan, say};

const PEER: &str = "OVS afxdp";
/// Ways to set up OVS's ports; the best for packets, and the best for TCP, are what we compare
/// with.
const MODES: [&str; 3] = [
    "options:xdp-mode=native options:use-need-wakeup=false",
    "options:xdp-mode=native options:use-need-wakeup=true",
    "options:xdp-mode=generic options:use-need-wakeup=false",
];
/// From the first host to the second. The stacks of both have their part in it, as with pods:
/// packets are addressed to them, and thrown away at the last moment, for there is a socket that
/// nobody reads.
const PACKETS: &str = "--src 10.0.0.1 --dst 10.0.0.2 --src-port 1024 --dst-port 9";

/// Packets a second that any switch can take.
const EASY: u32 = 50_000;

/// Measures everything.
pub fn run(plan: &Plan) -> Result<Findings> {
    let length = if plan.quick { 1.5 } else { 5.0 };
    let ours = [Kind::Pod, Kind::Through, Kind::Afxdp].map(|kind| {
        let side = Side::ours(plan, kind)?;
        side.freeze(true)?;
        Ok::<_, anyhow::Error>(side)
    });
    let [pod, through, afxdp] = ours;
    let mut sides = [pod?, through?, afxdp?, Side::ovs(plan)?];
    let versions = sides.iter_mut().map(Side::version).collect::<Result<_>>()?;
    for side in &sides {
        side.freeze(true)?;
    }
    let mut turns = [const { Vec::new() }; 4];
    for round in 1..=if plan.quick { 2 } else { 4 } {
        for at in [0, 1, 2, 3, 3, 2, 1, 0] {
            say(&format!("round {round}: {}", sides[at].kind.name()));
            turns[at].push(turn(&sides, at, length)?);
        }
    }
    let [ours @ .., peer] = &turns;
    let mut rows = Vec::new();
    for (at, turns) in ours.iter().enumerate() {
        rows.extend(compared(sides[at].kind, turns, peer));
        rows.push(calls(&mut sides, at)?);
    }
    let about = "switches on one processor, pktgen on another, iperf3 where it likes";
    Ok(Findings { versions, rows, about: about.to_owned() })
}

/// A kind of switch and port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Pod,
    /// The same without short-cuts.
    Through,
    Afxdp,
    Peer,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Pod => "pod port",
            Self::Through => "pod port without short-cuts",
            Self::Afxdp => "afxdp port",
            Self::Peer => PEER,
        }
    }
}

enum Switch {
    Ours(Box<Ours>),
    Ovs(Box<Ovs>),
}

/// A switch and its hosts.
struct Side {
    kind: Kind,
    // Dropped before the namespaces it is in.
    switch: Switch,
    hosts: [Host; 2],
    /// How OVS's ports are set up for packets and for TCP.
    modes: Modes,
    pktgen: PathBuf,
    folder: Folder,
    /// Where packets end.
    _sockets: [UdpSocket; 2],
    _net: TestNet,
}

#[derive(Clone, Copy, Debug)]
struct Modes {
    packets: &'static str,
    tcp: &'static str,
}

/// What one turn has shown.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Gbit/s of a TCP stream from the first host to the second, and back.
    tcp: [f64; 2],
    /// Thousands of packets a second that reached the second host, and the share that did not.
    kpps: f64,
    lost: f64,
    /// The share of few packets that was lost, doubled or out of order.
    faults: f64,
    /// Half of the round trips, and 99 of a hundred, took no more microseconds.
    p50: f64,
    p99: f64,
}

/// What `pktgen send` says.
#[derive(Deserialize)]
struct Sent {
    sent: u64,
    seconds: f64,
}

/// What `pktgen sink` says.
#[derive(Deserialize)]
struct Received {
    sent: u64,
    lost: u64,
    duplicates: u64,
    reordered: u64,
}

/// What `pktgen pingpong` says.
#[derive(Deserialize)]
struct Returned {
    rtt: Times,
}

#[derive(Deserialize)]
struct Times {
    p50: f64,
    p99: f64,
}

/// One side's turn.
fn turn(sides: &[Side], at: usize, length: f64) -> Result<Turn> {
    for (other, side) in sides.iter().enumerate() {
        side.freeze(other != at)?;
    }
    pause(Duration::from_millis(200))?;
    let side = &sides[at];
    side.set_mode(side.modes.packets)?;
    let (kpps, lost) = side.packets(length)?;
    let faults = side.faults(length)?;
    let Times { p50, p99 } = side.round_trips(length)?;
    side.set_mode(side.modes.tcp)?;
    Ok(Turn { tcp: [side.tcp(0, length)?, side.tcp(1, length)?], kpps, lost, faults, p50, p99 })
}

impl Side {
    fn new(
        plan: &Plan,
        kind: Kind,
        start: impl FnOnce(&TestNet, &[Host; 2]) -> Result<Switch>,
    ) -> Result<Self> {
        say(&format!("starting: {}", kind.name()));
        let net = TestNet::new()?;
        let hosts = [net.host("a", "10.0.0.1/24")?, net.host("b", "10.0.0.2/24")?];
        let socket = |host: &Host, port: u16| host.inside(|| UdpSocket::bind(("0.0.0.0", port)));
        let sockets = [socket(&hosts[0], 1024)??, socket(&hosts[1], 9)??];
        let switch = start(&net, &hosts)?;
        let (pktgen, folder) = (plan.programs.join("pktgen"), Folder::new("side")?);
        let modes = Modes { packets: MODES[0], tcp: MODES[0] };
        Ok(Self { kind, switch, hosts, modes, pktgen, folder, _sockets: sockets, _net: net })
    }

    fn ours(plan: &Plan, kind: Kind) -> Result<Self> {
        let port = match kind {
            Kind::Pod | Kind::Through => PortKind::Pod(PodOptions {}),
            _ => PortKind::Afxdp(AfxdpOptions::default()),
        };
        Self::new(plan, kind, |net, hosts| {
            let mut ours =
                Ours::start(&plan.programs, net.namespace(), plan.cpu, kind != Kind::Through)?;
            for (number, host) in (1..).zip(hosts) {
                ours.add_port(host.name(), number, port.clone())?;
            }
            ours.flows(&flows())?;
            Ok(Switch::Ours(Box::new(ours)))
        })
    }

    fn ovs(plan: &Plan) -> Result<Self> {
        let mut side = Self::new(plan, Kind::Peer, |net, hosts| {
            let ovs = Ovs::start(net.namespace(), plan.cpu, None)?;
            ovs.flows(&flows())?;
            for host in hosts {
                // Without it OVS passes on checksums that are not made yet.
                host.run("ethtool -K eth0 tx off")?;
            }
            Ok(Switch::Ovs(Box::new(ovs)))
        })?;
        let (mut kpps, mut tcp) = (0.0, 0.0);
        for mode in MODES {
            side.set_mode(mode)?;
            let (packets, stream) = (side.packets(0.7)?.0, side.tcp(0, 1.0)?);
            say(&format!("OVS with {mode}: {packets:.0} kpps, TCP {stream:.2} Gbit/s"));
            if packets > kpps {
                (kpps, side.modes.packets) = (packets, mode);
            }
            if stream > tcp {
                (tcp, side.modes.tcp) = (stream, mode);
            }
        }
        Ok(side)
    }

    /// Opens OVS's ports anew.
    fn set_mode(&self, mode: &str) -> Result<()> {
        let Switch::Ovs(ovs) = &self.switch else { return Ok(()) };
        for (number, host) in (1..).zip(&self.hosts) {
            ovs.del_port(host.name())?;
            ovs.add_port(host.name(), number, &format!("type=afxdp options:n_rxq=1 {mode}"))?;
        }
        pause(Duration::from_millis(500))
    }

    fn version(&mut self) -> Result<String> {
        self.freeze(false)?;
        match &mut self.switch {
            Switch::Ours(ours) => {
                Ok(format!("vswitchd {} ({})", ours.version()?, self.kind.name()))
            }
            Switch::Ovs(ovs) => Ok(format!("{} ({PEER})", ovs.version()?)),
        }
    }

    fn freeze(&self, frozen: bool) -> Result<()> {
        match &self.switch {
            Switch::Ours(ours) => ours.freeze(frozen),
            Switch::Ovs(ovs) => ovs.freeze(frozen),
        }
    }

    /// Gbit/s of one TCP stream from a host to the other.
    fn tcp(&self, from: usize, length: f64) -> Result<f64> {
        let (from, to) = (&self.hosts[from], &self.hosts[1 - from]);
        let _server = to.iperf3_server()?;
        // Whole seconds; the first half second, in which TCP finds its pace, does not count.
        let rate = from.iperf3(to.address(), seconds(length), "-O 1")?;
        Ok(rate / 1e3)
    }

    /// Thousands of packets a second that reach the other host, and the share that does not, when
    /// more are sent than a switch can take. The host's stack counts them: a process that received
    /// them would take the sender's processor away.
    fn packets(&self, length: f64) -> Result<(f64, f64)> {
        let send = format!("send --backend afxdp {PACKETS} --seconds {length} --format json");
        let before = self.arrived()?;
        let Sent { sent, seconds } = result(&self.line(0, &send).run()?)?;
        pause(Duration::from_millis(100))?;
        let arrived = self.arrived()? - before;
        #[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
        let (arrived, sent) = (arrived as f64, sent.max(1) as f64);
        Ok((arrived / seconds / 1e3, 1.0 - (arrived / sent).min(1.0)))
    }

    /// Packets that the stack of the second host has seen.
    fn arrived(&self) -> Result<u64> {
        let text = self.hosts[1].inside(|| fs::read_to_string("/proc/thread-self/net/snmp"))??;
        // Two lines that begin so: names, and values (proc_net(5)).
        let mut lines = text.lines().filter(|line| line.starts_with("Ip:"));
        let (names, values) = lines.next().zip(lines.next()).context("no counters of IP")?;
        let mut pairs = names.split(' ').zip(values.split(' '));
        let count = pairs.find_map(|(name, value)| (name == "InReceives").then_some(value));
        Ok(count.context("no packets are counted")?.parse()?)
    }

    /// The share of packets that is lost, doubled or out of order when there are few, in percent.
    fn faults(&self, length: f64) -> Result<f64> {
        let sink = self.start(1, "sink --seconds 30 --format json", true)?;
        let send = format!("send {PACKETS} --rate {EASY} --seconds {length} --format json");
        self.line(0, &send).run()?;
        let Received { sent, lost, duplicates, reordered } = result(&sink.finish(10)?)?;
        #[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
        let share = 100.0 * (lost + duplicates + reordered) as f64 / sent.max(1) as f64;
        Ok(share)
    }

    /// There and back, one at a time.
    fn round_trips(&self, length: f64) -> Result<Times> {
        let _server = self.start(1, "pingpong --serve --format json", true)?;
        let ask = format!("pingpong {PACKETS} --seconds {length} --format json");
        Ok(result::<Returned>(&self.line(0, &ask).run()?)?.rtt)
    }

    /// `pktgen` in a host, and not on the processor of the switches.
    fn line(&self, host: usize, words: &str) -> Line {
        let line = Line::new(&self.pktgen).words(words).words("--interface eth0");
        line.within(self.hosts[host].namespace()).behind("taskset -c 0")
    }

    fn start(&self, host: usize, words: &str, receives: bool) -> Result<Process> {
        let log = self.folder.path().join(if receives { "receiver" } else { "sender" });
        let mut process = self.line(host, words).start(&log)?;
        if receives {
            process.await_text("pktgen: receiving")?;
        }
        Ok(process)
    }
}

fn flows() -> Vec<String> {
    ["in_port=1,actions=output:2", "in_port=2,actions=output:1"].map(str::to_owned).to_vec()
}

fn result<T: DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).with_context(|| format!("pktgen says {text}"))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few")]
fn seconds(length: f64) -> u32 {
    length.ceil() as u32
}

fn compared(kind: Kind, ours: &[Turn], peer: &[Turn]) -> Vec<Row> {
    let name = |what: &str| format!("{what}, {}", kind.name());
    let (more, less) = match kind {
        Kind::Pod => (Goal::TimesMore(1.0, 1.6), Goal::TimesLess(1.0, 0.6)),
        _ => (Goal::Known, Goal::Known),
    };
    let row = |what: &str, unit, goal, of: fn(&Turn) -> f64| {
        let samples = |turns: &[Turn]| turns.iter().map(of).collect();
        Row::new(&name(what), PEER, unit, goal, samples(ours), samples(peer))
    };
    let lost = |turns: &[Turn]| {
        let shares: Vec<_> = turns.iter().map(|turn| 100.0 * turn.lost).collect();
        median(&shares)
    };
    let note = format!("lost {:.1}% and {:.1}%, sent as fast as can be", lost(ours), lost(peer));
    vec![
        row("TCP", "Gbit/s", more, |turn| turn.tcp[0]),
        row("TCP back", "Gbit/s", more, |turn| turn.tcp[1]),
        row("64-byte packets", "kpps", more, |turn| turn.kpps).note(note),
        row("lost or out of order of 50 kpps", "%", Goal::Known, |turn| turn.faults),
        row("round trip p50", "\u{b5}s", less, |turn| turn.p50),
        row("round trip p99", "\u{b5}s", less, |turn| turn.p99),
    ]
}

/// System calls a packet while packets come as fast as they can, counted by the kernel. Packets
/// that take a short-cut count as well.
fn calls(sides: &mut [Side], at: usize) -> Result<Row> {
    const WINDOW: f64 = 1.0;
    for (other, side) in sides.iter().enumerate() {
        side.freeze(other != at)?;
    }
    let side = &mut sides[at];
    say(&format!("system calls: {}", side.kind.name()));
    let send = format!("send --backend afxdp {PACKETS} --seconds {}", 3.0 * WINDOW);
    let _sender = side.start(0, &send, false)?;
    pause(Duration::from_millis(500))?;
    let case = format!("system calls a packet, {}", side.kind.name());
    let file = side.folder.path().join("calls");
    let Switch::Ours(ours) = &mut side.switch else { bail!("only ours are counted") };
    let (before, begun) = (ours.worker()?, clock::now_ns());
    let count = format!("-e raw_syscalls:sys_enter -p {} -- sleep {WINDOW}", ours.id());
    Line::new("perf").words("stat -x, -o").arg(&file).words(&count).run()?;
    let (after, elapsed) = (ours.worker()?, clock::seconds(begun, clock::now_ns()));
    let calls = counted(&fs::read_to_string(&file)?)?;
    #[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
    let packets = (received(&after) - received(&before)) as f64 / elapsed;
    let goal = Goal::AtMost(1.0 / 32.0, 1.0 / 128.0);
    let row = Row::new(&case, "", "calls", goal, vec![calls / WINDOW / packets], Vec::new());
    let (moved, slept) = (after.syscalls - before.syscalls, after.sleeps - before.sleeps);
    Ok(row.note(format!(
        "{:.0} calls and {packets:.0} packets a second; by its own count {moved} to receive and \
         send, {slept} sleeps",
        calls / WINDOW
    )))
}

const fn received(worker: &Worker) -> u64 {
    worker.rx_packets + worker.short_cut_packets
}

/// The count in what `perf stat -x,` prints: `COUNT,UNIT,EVENT,...` on a line.
fn counted(text: &str) -> Result<f64> {
    let line = text.lines().find(|line| line.contains("raw_syscalls"));
    let count = line.and_then(|line| line.split(',').next()?.parse().ok());
    count.with_context(|| format!("perf says {text}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_found() {
        let text = "# started on Sat\n\n1234,,raw_syscalls:sys_enter,1000,100.00,,\n";
        assert_eq!(counted(text).unwrap(), 1234.0);
        assert!(counted("<not counted>,,raw_syscalls:sys_enter,0,100.00,,").is_err());
    }
}
