//! Packets from memory to memory, beside OVS-DPDK.
//!
//! Both sides replay the same file for ever from memory, copying each packet, do the same work with
//! it, and throw it away. One thread on one processor. Before anything is measured, what comes out
//! of both must be the same: a fast switch that is wrong has no figures.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use api::request::{NullOptions, PcapOptions, PortKind};
use testnet::TestNet;

use crate::harness::ours::Ours;
use crate::harness::ovs::Ovs;
use crate::harness::process::{Folder, await_for, is_told_to_end, pause};
use crate::harness::row::{Goal, Row};
use crate::harness::sample::interleave;
use crate::harness::traffic::{self, Work};
use crate::harness::{Findings, Plan, captures, footprint, say};

const PEER: &str = "OVS-DPDK";
const FLOWS: [u32; 3] = [1, 100, 10_000];
const GOAL: Goal = Goal::TimesMore(1.5, 2.0);
const UNIT: &str = "Mpps";
/// Frames that are compared.
const COMPARED: usize = 4096;
/// How often OVS gets them.
const BEFORE: usize = 64;
/// Ways to set up OVS's caches; the best for a case is what we compare with.
const CACHES: [&str; 3] = [
    "other_config:emc-insert-inv-prob=100 other_config:smc-enable=false",
    "other_config:emc-insert-inv-prob=1 other_config:smc-enable=false",
    "other_config:emc-insert-inv-prob=100 other_config:smc-enable=true",
];

/// Measures everything.
pub fn run(plan: &Plan) -> Result<Findings> {
    let mut findings = Findings {
        about: "Mpps: in a second that the polling thread had its processor",
        ..Findings::default()
    };
    {
        let mut bench = Bench::start(plan)?;
        findings.versions = vec![
            format!("vswitchd {}", bench.ours.version()?),
            format!("{} ({})", bench.ovs.version()?, PEER),
        ];
        for work in Work::ALL {
            for flows in FLOWS {
                findings.rows.push(bench.row(plan, work, flows)?);
            }
        }
    }
    findings.rows.extend(footprint::rows(plan)?);
    Ok(findings)
}

/// Both switches, and the files they are fed.
struct Bench {
    ours: Ours,
    ovs: Ovs,
    files: BTreeMap<u32, PathBuf>,
    folder: Folder,
    _net: TestNet,
}

impl Bench {
    fn start(plan: &Plan) -> Result<Self> {
        say("starting vswitchd and OVS-DPDK");
        let folder = Folder::new("files")?;
        let mut files = BTreeMap::new();
        for flows in FLOWS {
            let file = folder.path().join(format!("{flows}.pcap"));
            captures::write(&file, traffic::packets(flows).iter().map(Vec::as_slice))?;
            files.insert(flows, file);
        }
        let net = TestNet::new()?;
        let ovs = Ovs::start(net.namespace(), plan.cpu, true)?;
        let ours = Ours::start(&plan.programs, net.namespace(), plan.cpu, true)?;
        Ok(Self { ours, ovs, files, folder, _net: net })
    }

    fn row(&mut self, plan: &Plan, work: Work, flows: u32) -> Result<Row> {
        let plural = if flows == 1 { "" } else { "s" };
        let case = format!("{}, {flows} flow{plural}", work.name());
        let file = self.files.get(&flows).cloned().context("files of all flows are there")?;
        say(&format!("{case}: comparing what comes out"));
        let measured = match self.compare(work, flows, &file) {
            Ok(Some(difference)) => Err(anyhow!(difference)),
            Ok(None) => self.measure(plan, &case, work, flows, &file),
            Err(error) => Err(error),
        };
        self.clear()?;
        // Whatever is wrong with one case, the others have their turn.
        Ok(match measured {
            Ok(row) => row,
            Err(error) if is_told_to_end() => return Err(error),
            Err(error) => Row::void(&case, PEER, UNIT, GOAL, &format!("{error:#}")),
        })
    }

    /// What is different between the first frames that come out; nothing if they are the same.
    fn compare(&mut self, work: Work, flows: u32, file: &Path) -> Result<Option<String>> {
        let (input, output) = (self.folder.path().join("in.pcap"), self.folder.path().join("out"));
        let frames = captures::read(file)?;
        captures::write(&input, frames.iter().take(COMPARED).map(Vec::as_slice))?;
        let rules = work.flows(flows);
        // First the flows and the way out, then the packets, which come once.
        self.ours.flows(&rules)?;
        let to = PcapOptions { tx: Some(output.clone()), ..PcapOptions::default() };
        self.ours.add_port("p2", 2, PortKind::Pcap(to))?;
        let from = PcapOptions { rx: Some(input.clone()), ..PcapOptions::default() };
        self.ours.add_port("p1", 1, PortKind::Pcap(from))?;
        let ours = all_frames(&output)?;
        self.ours.del_port("p1")?;
        self.ours.del_port("p2")?;
        self.ovs.flows(&rules)?;
        let device = |number: u8, argument: &str, path: &Path| {
            let path = path.display();
            format!("type=dpdk options:dpdk-devargs=net_pcap{number},{argument}={path}")
        };
        self.ovs.add_port("p2", 2, &device(2, "tx_pcap", &output))?;
        // OVS loses packets while it opens a port: so it gets the same frames again and again, and
        // what the last ones become is compared.
        let again = std::iter::repeat_n(&frames, BEFORE).flat_map(|f| f.iter().take(COMPARED));
        captures::write(&input, again.map(Vec::as_slice))?;
        self.ovs.add_port("p1", 1, &device(1, "rx_pcap", &input))?;
        self.settle()?;
        // The file is whole when the port is gone.
        self.clear_ovs()?;
        let mut theirs = captures::read(&output)?;
        let expected = frames.len().min(COMPARED);
        theirs.drain(..theirs.len().saturating_sub(expected));
        if ours.len() != expected {
            return Ok(Some(format!("of {expected} frames {} came out", ours.len())));
        }
        Ok(captures::difference(&ours, &theirs))
    }

    /// Waits until OVS sends no more.
    fn settle(&self) -> Result<()> {
        let mut last = 0;
        await_for("OVS sends what it received", 20, || {
            pause(Duration::from_millis(100))?;
            let (_, sent) = self.ovs.passed(1, 2)?;
            let settled = sent > 0 && sent == last;
            last = sent;
            Ok(settled.then_some(()))
        })
    }

    fn measure(
        &mut self,
        plan: &Plan,
        case: &str,
        work: Work,
        flows: u32,
        file: &Path,
    ) -> Result<Row> {
        let rules = work.flows(flows);
        self.ours.flows(&rules)?;
        self.ours.add_port("p2", 2, PortKind::Null(NullOptions {}))?;
        let from =
            PcapOptions { rx: Some(file.to_owned()), repeat: true, ..PcapOptions::default() };
        self.ours.add_port("p1", 1, PortKind::Pcap(from))?;
        self.ours.freeze(true)?;
        self.ovs.flows(&rules)?;
        let null = "type=dpdk options:dpdk-devargs=net_null2,no-rx=1";
        self.ovs.add_port("p2", 2, null)?;
        let device = format!("net_pcap1,rx_pcap={},infinite_rx=1", file.display());
        self.ovs.add_port("p1", 1, &format!("type=dpdk options:dpdk-devargs={device}"))?;
        self.warm(work, flows)?;
        let caches = self.best_caches(plan)?;
        let (rounds, window) = if plan.quick { (2, 700) } else { (4, 3000) };
        say(&format!("{case}: measuring, OVS with {caches}"));
        let turn = |mine| self.turn(mine, Duration::from_millis(window));
        let (ours, theirs) = interleave(rounds, turn)?;
        self.check(work, flows)?;
        let row = Row::new(case, PEER, UNIT, GOAL, ours, theirs);
        let ns = |mpps: Option<f64>| mpps.map_or(f64::NAN, |mpps| 1e3 / mpps);
        let note = format!("{:.1} and {:.1} ns/packet", ns(row.ours), ns(row.theirs));
        Ok(row.note(note))
    }

    /// Waits until OVS has cached what it will.
    fn warm(&self, work: Work, flows: u32) -> Result<()> {
        let expected = u64::from(work.megaflows(flows));
        let mut last = 0;
        await_for("OVS has all flows in its cache", 20, || {
            pause(Duration::from_millis(200))?;
            let cached = self.ovs.cached()?;
            let settled = cached == expected && cached == last;
            last = cached;
            Ok(settled.then_some(()))
        })
        .with_context(|| format!("it has {last} of {expected}"))
    }

    /// Sets up OVS's caches as is best for this traffic.
    fn best_caches(&mut self, plan: &Plan) -> Result<&'static str> {
        let window = Duration::from_millis(if plan.quick { 300 } else { 1000 });
        let mut best = (0.0, CACHES[0]);
        for caches in CACHES {
            self.ovs.vsctl(&format!("set Open_vSwitch . {caches}"))?;
            pause(Duration::from_millis(300))?;
            let rate = self.window(false, window)?;
            if rate > best.0 {
                best = (rate, caches);
            }
        }
        self.ovs.vsctl(&format!("set Open_vSwitch . {}", best.1))?;
        Ok(best.1)
    }

    /// One side's turn: the other is frozen meanwhile.
    fn turn(&mut self, mine: bool, window: Duration) -> Result<f64> {
        self.ours.freeze(!mine)?;
        self.ovs.freeze(mine)?;
        // Until its caches hold what they held.
        pause(Duration::from_millis(300))?;
        self.window(mine, window)
    }

    /// Millions of packets per second of the polling thread's time.
    fn window(&mut self, mine: bool, window: Duration) -> Result<f64> {
        let mut read = || {
            Ok::<_, anyhow::Error>(if mine {
                (self.ours.counters("p1")?.0.rx_packets, self.ours.cpu_time()?)
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

    /// That both have forwarded everything, as they should have.
    fn check(&mut self, work: Work, flows: u32) -> Result<()> {
        self.ovs.freeze(false)?;
        let cached = self.ovs.cached()?;
        let expected = u64::from(work.megaflows(flows));
        if cached != expected {
            bail!("OVS has {cached} flows in its cache instead of {expected}");
        }
        let (inside, outside) = self.ovs.passed(1, 2)?;
        // Some are on their way from one counter to the other.
        if outside + inside / 1000 + 4096 < inside {
            bail!("OVS has received {inside} packets and sent {outside}");
        }
        self.ovs.freeze(true)?;
        self.ours.freeze(false)?;
        let (port, _) = self.ours.counters("p1")?;
        // It may have been frozen with a batch in its hands.
        await_for("vswitchd sends what it received", 5, || {
            let (sent, _) = self.ours.counters("p2")?;
            Ok((sent.tx_packets >= port.rx_packets).then_some(()))
        })?;
        if !port.drops.is_empty() {
            bail!("vswitchd has dropped {:?}", port.drops);
        }
        let worker = self.ours.worker()?;
        if worker.megaflows != expected {
            bail!("vswitchd has {} megaflows instead of {expected}", worker.megaflows);
        }
        self.ovs.freeze(false)
    }

    /// Takes the ports away again.
    fn clear(&mut self) -> Result<()> {
        self.ours.freeze(false)?;
        self.ovs.freeze(false)?;
        for port in ["p1", "p2"] {
            // What was not added need not be removed.
            let _ = self.ours.del_port(port);
        }
        self.clear_ovs()
    }

    fn clear_ovs(&self) -> Result<()> {
        self.ovs.del_port("p1")?;
        self.ovs.del_port("p2")
    }
}

/// The frames in a file, when no more are written to it.
fn all_frames(path: &Path) -> Result<Vec<Vec<u8>>> {
    let mut last = 0;
    await_for("frames come out", 20, || {
        pause(Duration::from_millis(100))?;
        let len = std::fs::metadata(path).map_or(0, |file| file.len());
        let settled = len > 0 && len == last;
        last = len;
        Ok(settled.then_some(()))
    })?;
    captures::read(path)
}
