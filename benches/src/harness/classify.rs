//! Finding the flow of a packet, beside OVS-DPDK: many flows under one rule, many megaflows, lists
//! of rules as access lists and firewalls have them, and flows that nobody has seen yet.

use anyhow::{Error, Result};

use crate::harness::case::{Case, Packets, Set};
use crate::harness::cold;
use crate::harness::ours::Limits;
use crate::harness::ovs::HugeMemory;
use crate::harness::pair::{PEER, Pair};
use crate::harness::process::is_told_to_end;
use crate::harness::progress::Progress;
use crate::harness::row::{Goal, Row};
use crate::harness::rules::headers::{Headers, Skew};
use crate::harness::rules::list::List;
use crate::harness::rules::profile::Profile;
use crate::harness::traffic::{self, Work};
use crate::harness::{Findings, Plan};

/// Sizes for a million flows: of ours as an operator would configure it, and of both sides' memory.
const LARGE: (Limits, HugeMemory) = (
    Limits { flows: 1_100_000, megaflows: 1 << 21, sessions: 1 << 21, ..Limits::USUAL },
    HugeMemory::LARGE,
);
/// Sizes for a hundred thousand.
const SMALL: (Limits, HugeMemory) = (
    Limits { flows: 200_000, megaflows: 1 << 18, sessions: 1 << 18, ..Limits::USUAL },
    HugeMemory { dpdk_mib: 1024, ours_mib: 512 },
);
/// The same lists and packets every time.
const SEED: u64 = 2005;
/// The seconds that all rows may take if they must be quick. On an idle machine they take fourteen
/// minutes at most; on a slow one OVS takes minutes more to fill its caches.
const QUICK: u64 = 1500;

/// Measures everything.
pub fn run(plan: &Plan) -> Result<Findings> {
    let jobs = Job::all().into_iter();
    let jobs: Vec<_> = jobs.filter(|job| !job.wanted(plan).is_empty()).collect();
    let costs = jobs.iter().flat_map(|job| vec![job.cost(plan.quick); job.wanted(plan).len()]);
    let mut progress = Progress::new(costs.collect(), plan.limit(QUICK));
    let mut findings = Findings { about: about(), ..Findings::default() };
    for (limits, memory) in [LARGE, SMALL] {
        let is_large = limits == LARGE.0;
        let jobs: Vec<_> = jobs.iter().filter(|job| job.is_large() == is_large).collect();
        if jobs.is_empty() {
            continue;
        }
        match Pair::start(plan, Some(limits), memory) {
            Ok(mut pair) => {
                findings.versions = pair.versions()?;
                for job in jobs {
                    findings.rows.extend(job.measure(plan, &mut pair, &mut progress)?);
                }
            }
            Err(error) if is_told_to_end() => return Err(error),
            Err(error) => {
                for job in jobs {
                    findings.rows.extend(job.void(plan, &mut progress, &error));
                }
            }
        }
    }
    Ok(findings)
}

/// What one must know to read the rows.
fn about() -> String {
    let sizes = |(limits, HugeMemory { dpdk_mib, .. }): (_, _)| {
        let Limits { flows, megaflows, sessions, .. } = limits;
        format!(
            "limits.flows = {flows}, megaflows = {megaflows}, sessions = {sessions}, and {dpdk_mib} \
             MiB for DPDK"
        )
    };
    format!(
        "Mpps: in a second that the polling thread had its processor. A million flows: vswitchd with \
         {}. The others: {}. OVS with flow-limit=2000000, max-idle=3600000, its revalidators \
         paused. acl1, fw1, ipc1: our own generator, seed {SEED}; a packet for each rule (of \
         100 k, if it must be quick, for each fifth), one of 20 meets none",
        sizes(LARGE),
        sizes(SMALL)
    )
}

/// A set of rows that need the same flows.
#[derive(Clone, Copy, Debug)]
enum Job {
    /// So many flows of packets under one rule.
    Wildcard(u32),
    /// So many rules about one flow each; the last ones are also met cold.
    Exact { flows: u32, cold: bool },
    /// So many rules of a kind, met evenly and by Zipf's law.
    List(&'static Profile, usize),
}

impl Job {
    fn all() -> Vec<Self> {
        let mut jobs = vec![
            Self::Wildcard(1_000_000),
            Self::Exact { flows: 1_000_000, cold: false },
            Self::Wildcard(100_000),
            Self::Exact { flows: 10_000, cold: false },
            Self::Exact { flows: 100_000, cold: true },
        ];
        for rules in [1_000, 10_000, 100_000] {
            let profiles = [&Profile::ACL1, &Profile::FW1, &Profile::IPC1];
            jobs.extend(profiles.map(|profile| Self::List(profile, rules)));
        }
        jobs
    }

    const fn is_large(self) -> bool {
        matches!(self, Self::Wildcard(1_000_000) | Self::Exact { flows: 1_000_000, .. })
    }

    /// Those of its rows that are wanted, and what is to be reached.
    fn wanted(self, plan: &Plan) -> Vec<(String, Goal)> {
        self.goals().into_iter().filter(|(name, _)| plan.wants(name)).collect()
    }

    /// Seconds that one of its rows takes on an idle machine.
    const fn cost(self, quick: bool) -> f64 {
        let measuring = if quick { 12.0 } else { 50.0 };
        let loading = match self {
            Self::Wildcard(1_000_000) => 40.0,
            Self::Exact { flows: 1_000_000, .. } => 80.0,
            Self::Exact { flows: 10_000, .. } | Self::List(_, 1_000) => 5.0,
            Self::Wildcard(_) | Self::List(_, 10_000) => 7.0,
            Self::Exact { .. } => 15.0,
            // As long as OVS takes to have all flows in its cache.
            Self::List(..) => 45.0,
        };
        measuring + loading
    }

    fn measure(self, plan: &Plan, pair: &mut Pair, progress: &mut Progress) -> Result<Vec<Row>> {
        let mut set = self.set(plan.quick);
        let packets = set.cases.first().map(|case| case.packets.clone());
        set.cases.retain(|case| plan.wants(&case.name));
        let mut rows = pair.rows(plan, progress, &set)?;
        let is_cold = matches!(self, Self::Exact { cold: true, .. }) && plan.wants(cold::CASE);
        if let Some(packets) = packets.filter(|_| is_cold) {
            rows.push(cold::row(plan, pair, progress, &packets)?);
        }
        Ok(rows)
    }

    /// The rows of a job for which no switch could be started.
    fn void(self, plan: &Plan, progress: &mut Progress, why: &Error) -> Vec<Row> {
        let row = |(name, goal): (String, Goal)| {
            progress.begin(&name);
            progress.end();
            Row::void(&name, PEER, "Mpps", goal, &format!("{why:#}"))
        };
        self.wanted(plan).into_iter().map(row).collect()
    }

    /// The names of its rows, and what is to be reached.
    fn goals(self) -> Vec<(String, Goal)> {
        match self {
            Self::Wildcard(flows) => {
                let name = format!("one wildcard rule, {} flows", thousands(flows as usize));
                vec![(name, Goal::TimesMore(3.0, 5.0))]
            }
            Self::Exact { flows, cold } => {
                let goal = match flows {
                    0..=10_000 => Goal::TimesMore(3.0, 5.0),
                    10_001..=100_000 => Goal::TimesMore(4.0, 8.0),
                    _ => Goal::TimesMore(4.0, 10.0),
                };
                let row = (format!("{} megaflows", thousands(flows as usize)), goal);
                let cold = cold.then(|| (cold::CASE.to_owned(), cold::GOAL));
                std::iter::once(row).chain(cold).collect()
            }
            Self::List(profile, rules) => {
                let goal = match rules {
                    0..=1_000 => Goal::TimesMore(2.0, 4.0),
                    1_001..=10_000 => Goal::TimesMore(3.0, 8.0),
                    _ => Goal::TimesMore(5.0, 15.0),
                };
                let name = |skew: Skew| {
                    format!("{}, {} rules, {}", profile.name, thousands(rules), skew.name())
                };
                [Skew::Uniform, Skew::Zipf].map(|skew| (name(skew), goal)).to_vec()
            }
        }
    }

    fn set(self, quick: bool) -> Set {
        let case = |(name, goal): (String, Goal), packets, megaflows| Case {
            name,
            goal,
            ticks: None,
            before: Vec::new(),
            packets,
            megaflows,
            sessions: None,
        };
        let goals = self.goals().into_iter();
        match self {
            Self::Wildcard(flows) => Set {
                flows: Work::Prefix.flows(flows),
                marked: None,
                cases: goals.map(|goal| case(goal, traffic::packets(flows).into(), None)).collect(),
            },
            Self::Exact { flows, .. } => {
                // A few of very many may find no place: that is told, and not the end.
                let megaflows = Some(u64::from(flows)).filter(|flows| *flows <= 10_000);
                let packets = || traffic::packets(flows).into();
                Set {
                    flows: Work::Rules.flows(flows),
                    marked: None,
                    cases: goals.take(1).map(|goal| case(goal, packets(), megaflows)).collect(),
                }
            }
            Self::List(profile, rules) => {
                let list = List::new(profile, rules, SEED);
                let headers = Headers::new(&list.rules, SEED);
                let packets = [Skew::Uniform, Skew::Zipf]
                    .map(|skew| drawn(&headers, skew, count_of(rules, quick)));
                Set {
                    flows: list_flows(&list, |_| "output:2".to_owned()),
                    marked: Some(list_flows(&list, mark)),
                    cases: goals
                        .zip(packets)
                        .map(|(goal, packets)| case(goal, packets, None))
                        .collect(),
                }
            }
        }
    }
}

/// The flows of a list, and that what meets none is dropped.
fn list_flows(list: &List, actions: impl Fn(usize) -> String) -> Vec<String> {
    let flows = list.rules.iter().enumerate();
    let flows = flows.map(|(number, rule)| rule.flow(&actions(number)));
    let mut flows: Vec<_> = flows.chain(["priority=0,actions=drop".to_owned()]).collect();
    traffic::shuffle(&mut flows, SEED);
    flows
}

/// Writes the number of a rule into the packet.
fn mark(number: usize) -> String {
    let bytes = u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes();
    let [a, b, c, d] = bytes.map(|byte| format!("{byte:02x}"));
    format!("set_field:02:00:{a}:{b}:{c}:{d}->eth_dst,output:2")
}

/// How many packets there are for so many rules: about one flow for each rule that can be met. If it
/// must be quick, as many as OVS takes into its cache in a minute or two.
fn count_of(rules: usize, quick: bool) -> usize {
    if quick && rules > 65_536 { 20_480 } else { 65_536.max(rules + rules / 16) }
}

fn drawn(headers: &Headers, skew: Skew, count: usize) -> Packets {
    let drawn = headers.draw(skew, count, SEED);
    let dropped = drawn.iter().enumerate().filter(|(_, (_, rule))| rule.is_none());
    Packets {
        dropped: dropped.map(|(place, _)| place).collect(),
        frames: drawn.iter().map(|(header, _)| header.frame()).collect(),
    }
}

/// A round number as one reads it.
fn thousands(count: usize) -> String {
    match (count / 1_000_000, count / 1000) {
        (0, thousands) => format!("{thousands} k"),
        (millions, _) => format!("{millions} M"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of what is to be reached, as it was agreed on.
    #[test]
    fn rows_and_goals_are_those_agreed_on() {
        let rows: Vec<_> = Job::all().into_iter().flat_map(Job::goals).collect();
        let goal = |name: &str| {
            let row = rows.iter().find(|(row, _)| row == name);
            row.unwrap_or_else(|| panic!("no row {name}")).1
        };
        for (name, reach, aim) in [
            ("one wildcard rule, 100 k flows", 3.0, 5.0),
            ("one wildcard rule, 1 M flows", 3.0, 5.0),
            ("10 k megaflows", 3.0, 5.0),
            ("100 k megaflows", 4.0, 8.0),
            ("1 M megaflows", 4.0, 10.0),
            ("acl1, 1 k rules, uniform", 2.0, 4.0),
            ("fw1, 10 k rules, Zipf 1.0", 3.0, 8.0),
            ("ipc1, 100 k rules, uniform", 5.0, 15.0),
            ("cold start, 100 k new flows", 5.0, 30.0),
        ] {
            assert_eq!(goal(name), Goal::TimesMore(reach, aim), "{name}");
        }
        assert_eq!(rows.len(), 6 + 18);
    }

    /// Both switches read the same text, and packets know what becomes of them.
    #[test]
    fn a_list_becomes_flows_that_can_be_read() {
        let set = Job::List(&Profile::FW1, 1000).set(true);
        assert_eq!(set.flows.len(), 1001);
        for flow in set.flows.iter().chain(set.marked.iter().flatten()) {
            assert!(flow.parse::<api::FlowMod>().is_ok(), "{flow}");
        }
        let marks: std::collections::HashSet<_> = set.marked.unwrap().into_iter().collect();
        assert_eq!(marks.len(), 1001, "each has a mark of its own");
        for case in set.cases {
            assert_eq!(case.packets.frames.len(), 65_536);
            assert!((case.packets.dropped_share() - 0.05).abs() < 0.001, "{}", case.name);
        }
    }

    #[test]
    fn all_rows_fit_into_fourteen_minutes_of_an_idle_machine() {
        let rows = |job: &Job| f64::from(u32::try_from(job.goals().len()).unwrap());
        let seconds: f64 = Job::all().iter().map(|job| job.cost(true) * rows(job)).sum();
        assert!(seconds <= 840.0, "{seconds} s");
        const { assert!(QUICK <= 25 * 60, "quick") };
    }
}
