//! Forwarding while a hundred thousand flow-mods hit the table that every packet walks.
//!
//! One flow of 64 leaves by a TAP, all others by a port that forgets them. The kernel counts what
//! reaches the TAP, and can be asked at any time without asking the switch: so how much is
//! forwarded is known for every 10 ms.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use api::request::{FlowChange, InternalOptions, NullOptions, PcapOptions, PortKind};
use testnet::TestNet;

use crate::clock;
use crate::harness::blocks::{Block, Blocks, Count};
use crate::harness::disturbance::Watched;
use crate::harness::ours::Ours;
use crate::harness::part::Part;
use crate::harness::process::{Folder, pause};
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::sample::{median, quantile};
use crate::harness::{Plan, captures, traffic};

const CASE: &str = "dip in 10 ms while 100 k flow-mods come";
const UNIT: &str = "%";
const GOAL: Goal = Goal::AtMost(10.0, 2.0);
/// The interface that one flow of so many leaves by.
const TAP: &str = "tap0";
const TAPPED: u32 = 64;
/// Flows of packets, each with a rule.
const FLOWS: u32 = 10_000;
/// Flow-mods in all, and in one request.
const MODS: u32 = 100_000;
const TOGETHER: u32 = 20;
/// How long a bin is.
const BIN: Duration = Duration::from_millis(10);
/// How long there is calm, and how long a storm may last.
const CALM: Duration = Duration::from_secs(3);
const STORM_SECONDS: f64 = 15.0;

pub(crate) const PART: Part = Part { rows: &[(CASE, UNIT, GOAL)], cost: (60.0, 150.0), measure };

/// Packets that the TAP got in each bin, by the length it really had.
#[derive(Clone, Debug, Default)]
struct Bins {
    /// Packets a second.
    rates: Vec<f64>,
    /// Seconds of the longest one.
    longest: f64,
}

fn measure(plan: &Plan, progress: &Progress) -> Result<Vec<Row>> {
    let (net, folder) = (TestNet::new()?, Folder::new("storm")?);
    let mut ours = Ours::start(&plan.programs, net.namespace(), plan.cpu, true)?;
    ours.flows(&rules())?;
    ours.add_port("out", 2, PortKind::Null(NullOptions {}))?;
    ours.add_port(TAP, 3, PortKind::Internal(InternalOptions::default()))?;
    let file = folder.path().join("in.pcap");
    captures::write(&file, traffic::packets(FLOWS).iter().map(Vec::as_slice))?;
    let from = PcapOptions { rx: Some(file), repeat: true, ..PcapOptions::default() };
    ours.add_port("in", 1, PortKind::Pcap(from))?;
    pause(Duration::from_secs(1))?;
    let rounds = if plan.quick { 2 } else { 4 };
    let storms = u32::try_from(2 * rounds)?;
    let mut sent = 0;
    let count = Count { rounds, spare: rounds };
    let blocks = Blocks::take(count, |stormy, number, all| {
        progress.block(if stormy { "storm" } else { "calm" }, number, all);
        let watched = Watched::start(ours.id())?;
        let value = match stormy {
            false => bins(&net, || pause(CALM))?,
            true => {
                let mut client = ours.client()?;
                bins(&net, || {
                    let seconds = STORM_SECONDS.min(CALM.as_secs_f64() * 5.0);
                    sent += flow_mods(&mut client, MODS / storms, seconds)?;
                    Ok(())
                })?
            }
        };
        Ok(Block { value, disturbance: watched.disturbance()? })
    })?;
    let Blocks { ours: storm, theirs: calm, note: disturbed } = blocks;
    let (port, _) = ours.counters("in")?;
    let dips = storm.iter().zip(&calm).map(|(storm, calm)| dip(storm, calm)).collect();
    let row = Row::new(CASE, "", UNIT, GOAL, dips, Vec::new());
    let row = row.note(note(&storm, &calm, sent)).note(disturbed);
    Ok(vec![match port.drops.first() {
        Some(drop) => row.note(format!("dropped {} {:?}", drop.packets, drop.reason)),
        None => row,
    }])
}

/// By how many percent the bins of a storm lie under those of calm: the lowest of a hundred, the
/// lowest tenth, or the middle ones, whichever lies deepest. Where calm itself is shaken by what
/// else happens on a machine, below half of its middle, the lowest ones tell nothing.
fn dip(storm: &Bins, calm: &Bins) -> f64 {
    let middle = median(&calm.rates);
    let dips = [10, 100, 500].into_iter().filter_map(|permille| {
        let calm = quantile(&calm.rates, permille);
        let tells = permille == 500 || calm > middle / 2.0;
        tells.then(|| 100.0 * (1.0 - quantile(&storm.rates, permille) / calm))
    });
    let dips: Vec<_> = dips.collect();
    // No packets at all are no dip: there is nothing to compare with.
    if dips.iter().any(|dip| !dip.is_finite()) {
        return f64::NAN;
    }
    dips.into_iter().fold(0.0, f64::max)
}

fn note(storm: &[Bins], calm: &[Bins], sent: u32) -> String {
    let join = |sides: &[Bins]| sides.iter().flat_map(|bins| bins.rates.clone()).collect();
    let (storm_rates, calm_rates): (Vec<_>, Vec<_>) = (join(storm), join(calm));
    let mpps = |tapped: f64| tapped * f64::from(TAPPED) / 1e6;
    let lowest = |rates: &[f64]| mpps(quantile(rates, 0));
    let longest = storm.iter().map(|bins| bins.longest).fold(0.0, f64::max);
    format!(
        "{sent} flow-mods by {TOGETHER}; storm and calm: median {:.2} and {:.2} \
         Mpps, the very lowest {:.2} and {:.2}; longest bin {:.0} ms",
        mpps(median(&storm_rates)),
        mpps(median(&calm_rates)),
        lowest(&storm_rates),
        lowest(&calm_rates),
        longest * 1e3
    )
}

/// A rule for each flow; one of some leaves by the TAP.
fn rules() -> Vec<String> {
    let rule = |flow: u32| {
        let out = if flow.is_multiple_of(TAPPED) { "output:3" } else { "output:2" };
        traffic::rule(flow, out)
    };
    let mut rules: Vec<_> =
        (0..FLOWS).map(rule).chain(["priority=0,actions=drop".into()]).collect();
    traffic::shuffle(&mut rules, u64::from(FLOWS));
    rules
}

/// Sends so many flow-mods, at most for so long, and answers how many it were: rules of the same
/// mask as those of the packets are added and deleted.
fn flow_mods(client: &mut api::Client, count: u32, seconds: f64) -> Result<u32> {
    let begun = clock::now_ns();
    let mut sent = 0;
    while sent < count && clock::seconds(begun, clock::now_ns()) < seconds {
        let part = sent / TOGETHER;
        let first = FLOWS + part / 2 % 100 * TOGETHER;
        let line = |flow| {
            let rule = traffic::rule(flow, "output:2");
            match part % 2 {
                0 => rule,
                _ => {
                    let (matching, _) = rule.split_once(",actions").unwrap_or((&rule, ""));
                    format!("delete_strict {matching}")
                }
            }
        };
        let flows = (first..first + TOGETHER).map(line).collect();
        client.call(FlowChange { bridge: None, flows, lenient: false })?;
        sent += TOGETHER;
    }
    Ok(sent)
}

/// Counts what the TAP gets in bins while `work` is done.
fn bins(net: &TestNet, work: impl FnOnce() -> Result<()>) -> Result<Bins> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let counter = scope.spawn(|| net.inside(|| count(&done)));
        let worked = work();
        done.store(true, Relaxed);
        let counted = counter.join().map_err(|panic| anyhow!("counting has failed: {panic:?}"))?;
        worked?;
        counted?
    })
}

#[expect(clippy::cast_precision_loss, reason = "rates need not be exact")]
fn count(done: &AtomicBool) -> Result<Bins> {
    let mut bins = Bins::default();
    let (mut before, mut last) = (tapped()?, clock::now_ns());
    let mut due = last;
    while !done.load(Relaxed) {
        due += u64::try_from(BIN.as_nanos())?;
        thread::sleep(Duration::from_nanos(due.saturating_sub(clock::now_ns())));
        let (packets, now) = (tapped()?, clock::now_ns());
        let seconds = clock::seconds(last, now);
        // After a bin that was late the next one would be short: the two are one.
        if seconds >= BIN.as_secs_f64() / 2.0 {
            bins.rates.push((packets - before) as f64 / seconds);
            bins.longest = bins.longest.max(seconds);
            (before, last) = (packets, now);
        }
    }
    Ok(bins)
}

/// Packets that the TAP of this thread's namespace has received so far.
fn tapped() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    received(&text, TAP).with_context(|| format!("no {TAP} in {text}"))
}

/// The second number behind an interface's name: bytes, then packets (proc_net(5)).
fn received(text: &str, interface: &str) -> Option<u64> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, counters) = lines.into_iter().find(|(name, _)| name.trim() == interface)?;
    counters.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found_behind_the_name() {
        let text = "Inter-| Receive |\n face |bytes packets errs\n  lo: 5 6 0\n  tap0:  600 10 0\n";
        assert_eq!(received(text, "tap0"), Some(10));
        assert_eq!(received(text, "lo"), Some(6));
        assert_eq!(received(text, "tap"), None);
    }

    #[test]
    fn a_dip_is_what_the_lowest_bins_lack() {
        let of = |rates: Vec<f64>| Bins { rates, longest: 0.01 };
        let calm = of(vec![100.0; 100]);
        let storm = of([vec![90.0], vec![100.0; 99]].concat());
        assert!((dip(&storm, &calm) - 10.0).abs() < 1e-9);
        assert_eq!(dip(&calm, &storm), 0.0, "no dip is none");
        let shaken = of([vec![0.0; 20], vec![100.0; 80]].concat());
        let deep = of([vec![0.0; 20], vec![30.0; 80]].concat());
        assert!((dip(&deep, &shaken) - 70.0).abs() < 1e-9, "where calm is shaken the middle tells");
        assert!(dip(&of(Vec::new()), &calm).is_nan() && dip(&calm, &of(vec![0.0; 9])).is_nan());
    }

    #[test]
    fn one_flow_of_some_leaves_by_the_tap() {
        let rules = rules();
        let tapped = rules.iter().filter(|rule| rule.ends_with("output:3")).count();
        assert_eq!((rules.len(), tapped), (10_001, 157));
    }
}
