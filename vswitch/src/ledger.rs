//! The flows of all bridges and what they have counted, as the control thread keeps them.
//!
//! A flow's counter is in three places: what the ledger has folded into it, what workers have
//! credited to it directly, and the live paths that pass it. Only the control thread adds them up,
//! and only it folds retired paths, so that every packet is in a sum exactly once.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::{Arc, Weak};

use api::{Action, TableId};
use flowtable::{
    Applied, BridgeId, Count, GroupSerial, GroupStats, Millis, PathReader, Rule, RuleId, RuleStats,
    Step, Tables,
};

/// Where a flow stands in a dump: by bridge and table, then by priority from the highest on, then
/// by age.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Place {
    /// The bridge.
    pub bridge: BridgeId,
    /// The table.
    pub table: TableId,
    /// The priority.
    pub priority: Reverse<u16>,
    /// The age: lower is older.
    pub order: u64,
}

impl Place {
    fn of(bridge: BridgeId, rule: &Rule) -> Self {
        Self { bridge, table: rule.table, priority: Reverse(rule.priority), order: rule.order }
    }
}

/// Sums over the live paths of all workers at one moment.
#[derive(Debug, Default)]
pub struct Sums(HashMap<Step, Count>);

impl Sums {
    /// What live paths have counted for a step.
    pub fn of(&self, step: Step) -> Count {
        self.0.get(&step).copied().unwrap_or(Count { packets: 0, bytes: 0, used: Millis(0) })
    }

    /// What has been counted for a rule in all.
    pub fn rule(&self, rule: &Rule) -> Count {
        self.with(Step::Rule(rule.id), &rule.stats)
    }

    /// What has been counted in all for a step of which `stats` has a part.
    pub fn with(&self, step: Step, stats: &RuleStats) -> Count {
        let (live, (packets, bytes, used)) = (self.of(step), stats.load());
        Count {
            packets: live.packets + packets,
            bytes: live.bytes + bytes,
            used: live.used.max(used),
        }
    }

    fn add(&mut self, step: Step, count: Count) {
        let sum = self.0.entry(step).or_insert(Count { packets: 0, bytes: 0, used: Millis(0) });
        sum.packets += count.packets;
        sum.bytes += count.bytes;
        sum.used = sum.used.max(count.used);
    }

    /// Every learned entry that live paths pass, and when they did last.
    pub fn stations(&self) -> impl Iterator<Item = (Step, Millis)> + '_ {
        let stations = self.0.iter().filter(|(step, _)| matches!(step, Step::Station { .. }));
        stations.map(|(step, count)| (*step, count.used))
    }
}

/// All flows, and what is due when.
#[derive(Debug, Default)]
pub struct Ledger {
    flows: BTreeMap<Place, Arc<Rule>>,
    stats: HashMap<RuleId, Arc<RuleStats>>,
    groups: HashMap<GroupSerial, Weak<GroupStats>>,
    /// When packets have shown last that a learned flow is needed.
    taught: HashMap<RuleId, Millis>,
    /// Flows of connections that have ended, with the shorter timeouts that they have since.
    finished: HashMap<RuleId, (u16, u16)>,
    /// Flows that get shorter timeouts when their connection ends.
    may_finish: usize,
    /// Flows with a timeout, by when it could be over at the earliest; with when the flow was
    /// modified, which tells it from others that stood in its place.
    due: BinaryHeap<Reverse<(Millis, Place, Millis)>>,
}

impl Ledger {
    /// Enters what a change has done to the flows of `bridge`.
    pub fn apply(&mut self, bridge: BridgeId, applied: Applied) {
        for rule in applied.removed {
            self.flows.remove(&Place::of(bridge, &rule));
            self.stats.remove(&rule.id);
            self.taught.remove(&rule.id);
            self.finished.remove(&rule.id);
            self.may_finish -= usize::from(fin_timeouts(&rule).is_some());
        }
        self.groups.retain(|_, stats| stats.strong_count() > 0);
        for group in applied.groups {
            self.groups.insert(group.serial, Arc::downgrade(&group.stats));
        }
        for rule in applied.added {
            let place = Place::of(bridge, &rule);
            if let Some(due) = earliest_end(&rule, rule.modified) {
                self.due.push(Reverse((due, place, rule.modified)));
            }
            self.stats.insert(rule.id, Arc::clone(&rule.stats));
            self.may_finish += usize::from(fin_timeouts(&rule).is_some());
            self.flows.insert(place, rule);
        }
    }

    /// How many flows there are.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// The flows of `bridge` that come behind `after`.
    pub fn flows(
        &self,
        bridge: BridgeId,
        after: Option<Place>,
    ) -> impl Iterator<Item = (Place, &Arc<Rule>)> {
        let first = Place { bridge, table: 0, priority: Reverse(u16::MAX), order: 0 };
        let start = after.map_or(std::ops::Bound::Included(first), std::ops::Bound::Excluded);
        let rest = self.flows.range((start, std::ops::Bound::Unbounded));
        rest.map(|(place, rule)| (*place, rule))
            .take_while(move |(place, _)| place.bridge == bridge)
    }

    /// Folds what retired paths have counted into their flows.
    pub fn fold<'a>(&mut self, readers: impl IntoIterator<Item = &'a PathReader>, tables: &Tables) {
        for reader in readers {
            reader.fold(|steps, count| steps.for_each(|step| self.credit(step, count, tables)));
        }
    }

    fn credit(&mut self, step: Step, count: Count, tables: &Tables) {
        match step {
            Step::Rule(id) => {
                // A flow that is gone needs no counter.
                if let Some(stats) = self.stats.get(&id) {
                    stats.credit(count.packets, count.bytes, count.used);
                }
            }
            Step::Miss { bridge, table } => {
                if let Some(bridge) = tables.bridge(bridge) {
                    bridge.missed(table).credit(count.packets, count.bytes, count.used);
                }
            }
            Step::Station { bridge, slot, port } => {
                if let Some(bridge) = tables.bridge(bridge) {
                    bridge.macs.touch(slot, port, count.used);
                }
            }
            Step::Group(group) => {
                if let Some(stats) = self.groups.get(&group).and_then(Weak::upgrade) {
                    stats.group.credit(count.packets, count.bytes, count.used);
                }
            }
            Step::Bucket { group, at } => {
                if let Some(stats) = self.groups.get(&group).and_then(Weak::upgrade)
                    && let Some(stats) = stats.buckets.get(usize::from(at))
                {
                    stats.credit(count.packets, count.bytes, count.used);
                }
            }
            Step::Taught(rule) if self.stats.contains_key(&rule) => {
                let last = self.taught.entry(rule).or_default();
                *last = (*last).max(count.used);
            }
            Step::Fin(rule) if count.packets > 0 => self.finish(rule),
            Step::Taught(_) | Step::Fin(_) => {}
        }
    }

    /// A connection has ended: its flow has less time from now on.
    fn finish(&mut self, id: RuleId) {
        if self.finished.contains_key(&id) {
            return;
        }
        let Some((place, rule)) = self.flows.iter().find(|(_, rule)| rule.id == id) else { return };
        if let Some(timeouts) = fin_timeouts(rule) {
            self.finished.insert(id, timeouts);
            // It may be over at once.
            self.due.push(Reverse((Millis(0), *place, rule.modified)));
        }
    }

    /// Whether some flow's timeouts depend on what its packets say.
    pub const fn may_finish(&self) -> bool {
        self.may_finish > 0
    }

    /// Gives the flows of connections that have ended since the last time their shorter timeouts.
    pub fn finish_all(&mut self, sums: &Sums) {
        let ended = sums.0.iter().filter(|(_, count)| count.packets > 0);
        let ended: Vec<_> = ended
            .filter_map(|(step, _)| match step {
                Step::Fin(rule) => Some(*rule),
                _ => None,
            })
            .collect();
        ended.into_iter().for_each(|rule| self.finish(rule));
    }

    /// What live paths have counted by now. Cost: a look at every live path of every worker.
    pub fn sums<'a>(&self, readers: impl IntoIterator<Item = &'a PathReader>) -> Sums {
        let mut sums = Sums::default();
        for reader in readers {
            reader.for_each(|steps, count| steps.for_each(|step| sums.add(step, count)));
        }
        sums
    }

    /// When the next flow could be over; `None` if none has a timeout.
    pub fn next_due(&self) -> Option<Millis> {
        self.due.peek().map(|Reverse((due, ..))| *due)
    }

    /// The flows whose time is over at `now`. `sums` is asked for only if a flow might be.
    pub fn expired(
        &mut self,
        now: Millis,
        sums: impl FnOnce(&Self) -> Sums,
    ) -> Vec<(BridgeId, Arc<Rule>)> {
        let mut candidates = Vec::new();
        while let Some(Reverse((due, place, modified))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            let rule = self.flows.get(&place).filter(|rule| rule.modified == modified);
            candidates.extend(rule.map(|rule| (place, Arc::clone(rule))));
        }
        if candidates.is_empty() {
            return Vec::new();
        }
        let sums = sums(self);
        let mut later = Vec::new();
        candidates.retain(|(place, rule)| {
            let used = sums.rule(rule).used.max(rule.modified);
            match self.end_of(rule, used, &sums) {
                Some(end) if end > now => {
                    later.push(Reverse((end, *place, rule.modified)));
                    false
                }
                _ => true,
            }
        });
        self.due.extend(later);
        candidates.into_iter().map(|(place, rule)| (place.bridge, rule)).collect()
    }

    /// When a rule is over at the earliest, by all that is known of it; its last packet came at
    /// `used`.
    fn end_of(&self, rule: &Rule, used: Millis, sums: &Sums) -> Option<Millis> {
        let taught = self.taught.get(&rule.id).copied().unwrap_or_default();
        let taught = taught.max(sums.of(Step::Taught(rule.id)).used);
        let timeouts = (rule.idle_timeout, rule.hard_timeout);
        let timeouts = self.finished.get(&rule.id).copied().unwrap_or(timeouts);
        end(used, rule.modified.max(taught), timeouts)
    }
}

/// When a rule is over at the earliest, if its last packet came at `used`.
fn earliest_end(rule: &Rule, used: Millis) -> Option<Millis> {
    end(used, rule.modified, (rule.idle_timeout, rule.hard_timeout))
}

/// When something is over that was used and modified then, with these timeouts in seconds.
fn end(used: Millis, modified: Millis, (idle, hard): (u16, u16)) -> Option<Millis> {
    let after = |from: Millis, seconds: u16| {
        (seconds > 0).then(|| Millis(from.0 + u64::from(seconds) * 1000))
    };
    after(used, idle).into_iter().chain(after(modified, hard)).min()
}

/// The timeouts that a flow has when its connection has ended, if that makes a difference.
fn fin_timeouts(rule: &Rule) -> Option<(u16, u16)> {
    let shorter = |before: u16, after: u16| match (before, after) {
        (0, after) => after,
        (before, 0) => before,
        (before, after) => before.min(after),
    };
    rule.actions.iter().find_map(|action| match action {
        Action::FinTimeout { idle, hard } => {
            Some((shorter(rule.idle_timeout, *idle), shorter(rule.hard_timeout, *hard)))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::FlowMod;
    use flowtable::{Seed, paths};

    const BRIDGE: BridgeId = BridgeId(0);

    fn with(flows: &[&str], now: Millis) -> (Tables, Ledger) {
        let mut edit = Tables::new(Seed(1)).edit();
        edit.add_bridge("br0".into());
        for flow in flows {
            edit.flow_mod(BRIDGE, &flow.parse::<FlowMod>().unwrap(), now).unwrap();
        }
        let (tables, applied) = edit.finish();
        let mut ledger = Ledger::default();
        ledger.apply(BRIDGE, applied);
        (tables, ledger)
    }

    fn texts(rules: &[(BridgeId, Arc<Rule>)]) -> Vec<String> {
        rules.iter().map(|(_, rule)| rule.matching().to_string()).collect()
    }

    #[test]
    fn flows_come_in_the_order_of_a_dump_and_pages_join() {
        let flows = [
            "table=1,tcp,actions=drop",
            "priority=1,udp,actions=drop",
            "ip,actions=drop",
            "arp,actions=drop",
        ];
        let (_, ledger) = with(&flows, Millis(1));
        let all: Vec<_> =
            ledger.flows(BRIDGE, None).map(|(_, rule)| rule.matching().to_string()).collect();
        assert_eq!(all, ["ip", "arp", "udp", "tcp"]);
        let second = ledger.flows(BRIDGE, None).nth(1).unwrap().0;
        assert_eq!(ledger.flows(BRIDGE, Some(second)).count(), 2);
        assert_eq!(ledger.flows(BridgeId(1), None).count(), 0);
    }

    #[test]
    fn a_flow_ends_when_nobody_uses_it_and_not_before() {
        let (tables, mut ledger) =
            with(&["idle_timeout=10,ip,actions=drop", "arp,actions=drop"], Millis(1_000));
        let (mut paths, reader) = paths(8, Seed(1));
        let rule = Arc::clone(ledger.flows(BRIDGE, None).next().unwrap().1);
        let path = paths.intern(&[Step::Rule(rule.id)]).unwrap();
        paths.credit(path, 1, 60, Millis(5_000));
        assert_eq!(ledger.next_due(), Some(Millis(11_000)));
        assert!(
            ledger.expired(Millis(11_000), |ledger| ledger.sums([&reader])).is_empty(),
            "used at 5 s"
        );
        assert_eq!(ledger.next_due(), Some(Millis(15_000)));
        // A path that is folded counts as well.
        paths.credit(path, 1, 60, Millis(9_000));
        paths.release(path);
        ledger.fold([&reader], &tables);
        assert!(ledger.expired(Millis(18_999), |ledger| ledger.sums([&reader])).is_empty());
        let over = ledger.expired(Millis(19_000), |ledger| ledger.sums([&reader]));
        assert_eq!(texts(&over), ["ip"]);
        assert_eq!(ledger.sums([&reader]).rule(&rule).packets, 2);
    }

    #[test]
    fn a_hard_timeout_asks_nobody() {
        let (_, mut ledger) =
            with(&["hard_timeout=3,idle_timeout=60,ip,actions=drop"], Millis(500));
        assert!(ledger.expired(Millis(3_499), |_| unreachable!("nothing is due")).is_empty());
        assert_eq!(texts(&ledger.expired(Millis(3_500), |_| Sums::default())), ["ip"]);
    }

    #[test]
    fn a_flow_that_was_replaced_has_its_own_time() {
        let (tables, mut ledger) = with(&["hard_timeout=3,ip,actions=drop"], Millis(0));
        let mut edit = tables.edit();
        let change = "hard_timeout=9,ip,actions=output:1".parse::<FlowMod>().unwrap();
        edit.flow_mod(BRIDGE, &change, Millis(2_000)).unwrap();
        ledger.apply(BRIDGE, edit.finish().1);
        assert!(ledger.expired(Millis(3_000), |_| Sums::default()).is_empty());
        assert_eq!(ledger.expired(Millis(11_000), |_| Sums::default()).len(), 1);
        assert_eq!(ledger.len(), 1, "removing is the caller's");
    }
}
