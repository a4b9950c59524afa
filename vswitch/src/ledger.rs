//! What the flows of all bridges have counted and when they end, as the control thread keeps it. The
//! flows themselves are in the tables.
//!
//! A flow's counter is in three places: what the ledger has folded into it, what workers have
//! credited to it directly, and the live paths that pass it. Only the control thread adds them up,
//! and only it folds retired paths, so that every packet is in a sum exactly once.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Arc, Weak};

use api::{Action, TableId};
use flowtable::{
    Applied, BridgeId, Count, GroupSerial, GroupStats, PathReader, Rule, RuleId, RuleStats, Step,
    Tables,
};
use packet::Millis;

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
    pub(crate) fn of(bridge: BridgeId, rule: &Rule) -> Self {
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

/// The flows of `bridge` that come behind `after`.
pub fn flows(
    tables: &Tables,
    bridge: BridgeId,
    after: Option<Place>,
) -> impl Iterator<Item = (Place, &Arc<Rule>)> {
    let all = tables.bridge(bridge).into_iter().flat_map(flowtable::Bridge::tables);
    let later = all.filter(move |(number, _)| after.is_none_or(|after| *number >= after.table));
    later.flat_map(move |(number, table)| {
        let within = after.filter(|after| after.table == number);
        let first = within.map_or(0, |after| Rule::rank_of(after.priority.0, after.order) + 1);
        table.rules_from(first).map(move |rule| (Place::of(bridge, rule), rule))
    })
}

/// What is due when.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Flows with a timeout, by when it could be over at the earliest; with when the flow was
    /// modified, which tells it from what it was before.
    due: BinaryHeap<Reverse<(Millis, BridgeId, RuleId, Millis)>>,
    groups: HashMap<GroupSerial, Weak<GroupStats>>,
    /// When packets have shown last that a learned flow is needed.
    taught: HashMap<RuleId, Millis>,
    /// Flows of connections that have ended, with the shorter timeouts that they have since.
    finished: HashMap<RuleId, (u16, u16)>,
    /// How many flows get shorter timeouts when their connection ends.
    may_finish: usize,
}

impl Ledger {
    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let due = self.due.capacity() * size_of::<Reverse<(Millis, BridgeId, RuleId, Millis)>>();
        let groups = self.groups.capacity() * size_of::<(GroupSerial, Weak<GroupStats>)>();
        let taught = self.taught.capacity() * size_of::<(RuleId, Millis)>();
        due + groups + taught + self.finished.capacity() * size_of::<(RuleId, (u16, u16))>()
    }

    /// Flows with a timeout, and what they had once.
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }

    /// Enters what a change has done to the flows of `bridge`.
    pub fn apply(&mut self, bridge: BridgeId, applied: Applied) {
        for rule in applied.removed {
            self.taught.remove(&rule.id);
            self.finished.remove(&rule.id);
            self.may_finish -= usize::from(fin_timeouts(&rule).is_some());
        }
        for rule in applied.added {
            self.may_finish += usize::from(fin_timeouts(&rule).is_some());
            if let Some(due) = rule.end(rule.created) {
                self.due.push(Reverse((due, bridge, rule.id, rule.modified)));
            }
        }
        if !applied.groups.is_empty() {
            self.groups.retain(|_, stats| stats.strong_count() > 0);
        }
        for group in applied.groups {
            self.groups.insert(group.serial, Arc::downgrade(&group.stats));
        }
    }

    /// Folds what retired paths have counted into their flows.
    pub fn fold<'a>(&mut self, readers: impl IntoIterator<Item = &'a PathReader>, tables: &Tables) {
        self.fold_with(readers, tables, &HashMap::new());
    }

    /// The same, also into flows that are `gone` and somebody still asks for.
    pub fn fold_with<'a>(
        &mut self,
        readers: impl IntoIterator<Item = &'a PathReader>,
        tables: &Tables,
        gone: &HashMap<RuleId, Arc<RuleStats>>,
    ) {
        for reader in readers {
            reader.fold(|steps, count| {
                steps.for_each(|step| {
                    let Step::Rule(id) = step else { return self.credit(step, count, tables) };
                    match gone.get(&id) {
                        Some(stats) => stats.credit(count.packets, count.bytes, count.used),
                        None => self.credit(step, count, tables),
                    }
                });
            });
        }
    }

    fn credit(&mut self, step: Step, count: Count, tables: &Tables) {
        match step {
            Step::Rule(id) => {
                // A flow that is gone needs no counter.
                if let Some(rule) = tables.rule(id) {
                    rule.stats.credit(count.packets, count.bytes, count.used);
                }
            }
            Step::Match { bridge, table } => {
                if let Some(bridge) = tables.bridge(bridge) {
                    bridge.matched(table).credit(count.packets, count.bytes, count.used);
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
            Step::Taught(id) if tables.rule(id).is_some() => {
                let last = self.taught.entry(id).or_default();
                *last = (*last).max(count.used);
            }
            Step::Fin { bridge, rule } if count.packets > 0 => self.finish(bridge, rule, tables),
            Step::Taught(_) | Step::Fin { .. } => {}
        }
    }

    /// A connection has ended: its flow has less time from now on.
    fn finish(&mut self, bridge: BridgeId, id: RuleId, tables: &Tables) {
        let Some(rule) = tables.rule(id).filter(|_| !self.finished.contains_key(&id)) else {
            return;
        };
        if let Some(timeouts) = fin_timeouts(rule) {
            self.finished.insert(id, timeouts);
            // It may be over at once.
            self.due.push(Reverse((Millis(0), bridge, id, rule.modified)));
        }
    }

    /// Gives the flows of connections that have ended since the last time their shorter timeouts.
    pub fn finish_all<'a>(
        &mut self,
        readers: impl IntoIterator<Item = &'a PathReader>,
        tables: &Tables,
    ) {
        if self.may_finish == 0 {
            return;
        }
        let ended: Vec<_> = self
            .sums(readers)
            .0
            .into_iter()
            .filter_map(|(step, count)| match step {
                Step::Fin { bridge, rule } if count.packets > 0 => Some((bridge, rule)),
                _ => None,
            })
            .collect();
        ended.into_iter().for_each(|(bridge, rule)| self.finish(bridge, rule, tables));
    }

    /// Whether some flow's timeouts depend on what its packets say.
    pub const fn may_finish(&self) -> bool {
        self.may_finish > 0
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
        tables: &Tables,
        sums: impl FnOnce(&Self) -> Sums,
    ) -> Vec<(BridgeId, Arc<Rule>)> {
        let mut candidates = Vec::new();
        while let Some(Reverse((due, bridge, id, modified))) = self.due.peek().copied()
            && due <= now
        {
            self.due.pop();
            let rule = tables.rule(id).filter(|rule| rule.modified == modified);
            candidates.extend(rule.map(|rule| (bridge, Arc::clone(rule))));
        }
        if candidates.is_empty() {
            return Vec::new();
        }
        let sums = sums(self);
        candidates.retain(|(bridge, rule)| match self.end_of(rule, &sums) {
            Some(end) if end > now => {
                self.due.push(Reverse((end, *bridge, rule.id, rule.modified)));
                false
            }
            _ => true,
        });
        candidates
    }

    /// When a rule is over at the earliest, by all that is known of it.
    fn end_of(&self, rule: &Rule, sums: &Sums) -> Option<Millis> {
        let taught = self.taught.get(&rule.id).copied().unwrap_or_default();
        let taught = taught.max(sums.of(Step::Taught(rule.id)).used);
        let timeouts = (rule.idle_timeout, rule.hard_timeout);
        let timeouts = self.finished.get(&rule.id).copied().unwrap_or(timeouts);
        let used = sums.rule(rule).used.max(rule.created);
        flowtable::end(used, rule.modified.max(taught), timeouts)
    }
}

/// The timeouts that a flow has when its connection has ended, if that makes a difference.
fn fin_timeouts(rule: &Rule) -> Option<(u16, u16)> {
    let shorter = |before: u16, after: u16| match (before, after) {
        (0, other) | (other, 0) => other,
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
    use flowtable::paths;
    use packet::Seed;

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
        let given = [
            "table=1,tcp,actions=drop",
            "priority=1,udp,actions=drop",
            "ip,actions=drop",
            "arp,actions=drop",
        ];
        let (tables, _) = with(&given, Millis(1));
        let all: Vec<_> =
            flows(&tables, BRIDGE, None).map(|(_, rule)| rule.matching().to_string()).collect();
        assert_eq!(all, ["ip", "arp", "udp", "tcp"]);
        let second = flows(&tables, BRIDGE, None).nth(1).unwrap().0;
        assert_eq!(flows(&tables, BRIDGE, Some(second)).count(), 2);
        assert_eq!(flows(&tables, BridgeId(1), None).count(), 0);
    }

    #[test]
    fn a_flow_ends_when_nobody_uses_it_and_not_before() {
        let (tables, mut ledger) =
            with(&["idle_timeout=10,ip,actions=drop", "arp,actions=drop"], Millis(1_000));
        let (mut paths, reader) = paths(8, Seed(1));
        let rule = Arc::clone(flows(&tables, BRIDGE, None).next().unwrap().1);
        let path = paths.intern(&[Step::Rule(rule.id)]).unwrap();
        paths.credit(path, 1, 60, Millis(5_000));
        assert_eq!(ledger.next_due(), Some(Millis(11_000)));
        assert!(
            ledger.expired(Millis(11_000), &tables, |ledger| ledger.sums([&reader])).is_empty(),
            "used at 5 s"
        );
        assert_eq!(ledger.next_due(), Some(Millis(15_000)));
        // A path that is folded counts as well.
        paths.credit(path, 1, 60, Millis(9_000));
        paths.release(path);
        ledger.fold([&reader], &tables);
        assert!(
            ledger.expired(Millis(18_999), &tables, |ledger| ledger.sums([&reader])).is_empty()
        );
        let over = ledger.expired(Millis(19_000), &tables, |ledger| ledger.sums([&reader]));
        assert_eq!(texts(&over), ["ip"]);
        assert_eq!(ledger.sums([&reader]).rule(&rule).packets, 2);
    }

    /// It began anew with every change, and who changed a flow often enough kept it for ever.
    #[test]
    fn an_idle_timeout_does_not_begin_anew_when_a_flow_is_modified() {
        let (tables, mut ledger) = with(&["idle_timeout=4,ip,actions=drop"], Millis(1_000));
        let mut edit = tables.edit();
        let modified = "ip,actions=output:2".parse::<FlowMod>().unwrap();
        let change = FlowMod { command: api::Command::Modify, ..modified };
        edit.flow_mod(BRIDGE, &change, Millis(4_000)).unwrap();
        let (tables, applied) = edit.finish();
        ledger.apply(BRIDGE, applied);
        let over = ledger.expired(Millis(5_000), &tables, |_| Sums::default());
        assert_eq!(texts(&over), ["ip"]);
    }

    #[test]
    fn a_hard_timeout_asks_nobody() {
        let (tables, mut ledger) =
            with(&["hard_timeout=3,idle_timeout=60,ip,actions=drop"], Millis(500));
        assert!(
            ledger.expired(Millis(3_499), &tables, |_| unreachable!("nothing is due")).is_empty()
        );
        assert_eq!(texts(&ledger.expired(Millis(3_500), &tables, |_| Sums::default())), ["ip"]);
    }

    #[test]
    fn a_flow_that_was_replaced_has_its_own_time() {
        let (tables, mut ledger) = with(&["hard_timeout=3,ip,actions=drop"], Millis(0));
        let mut edit = tables.edit();
        let change = "hard_timeout=9,ip,actions=output:1".parse::<FlowMod>().unwrap();
        edit.flow_mod(BRIDGE, &change, Millis(2_000)).unwrap();
        let (tables, applied) = edit.finish();
        ledger.apply(BRIDGE, applied);
        assert!(ledger.expired(Millis(3_000), &tables, |_| Sums::default()).is_empty());
        assert_eq!(ledger.expired(Millis(11_000), &tables, |_| Sums::default()).len(), 1);
        assert_eq!(flows(&tables, BRIDGE, None).count(), 1, "removing is the caller's");
    }
}
