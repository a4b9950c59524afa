//! Groups, and what they have counted.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};

use api::reply::{BucketStats, Cursor, GroupStats, Groups, GroupsFeatures};
use api::{Action, Failure, GroupKind, request};
use flowtable::{Bridge, GroupEntry, Step};

use super::flows::weigh;
use super::{PAGE, PAGE_WEIGHT, bad_cursor};
use crate::control::Control;
use crate::ledger::Sums;

impl Control {
    /// Groups with their counters. Cost: a look at every flow of the bridge.
    pub(crate) fn dump_groups(&mut self, dump: &request::GroupDump) -> Result<Groups, Failure> {
        let id = self.bridge(dump.bridge.as_deref())?;
        self.ledger.fold(self.crew.paths(), &self.tables);
        let sums = self.ledger.sums(self.crew.paths());
        let Some(bridge) = self.tables.bridge(id) else {
            return Err(Failure::refused("no such bridge"));
        };
        if let Some(number) = dump.group
            && bridge.groups.get(number).is_none()
        {
            return Err(Failure::refused(format!(
                "bridge {} has no group {number}; `ofctl dump-groups` lists them",
                bridge.name
            )));
        }
        let after = dump.after.as_ref().map(|cursor| cursor.0.parse::<u32>());
        let after = after.transpose().map_err(|_wrong| bad_cursor())?;
        let is_later = |number| after.is_none_or(|after| number > after);
        let mut wanted = bridge
            .groups
            .iter()
            .filter(|entry| dump.group.is_none_or(|only| only == entry.group.id))
            .filter(|entry| is_later(entry.group.id))
            .peekable();
        let users = users(bridge, group_of);
        let now = self.clock.millis();
        let (mut groups, mut weight) = (Vec::new(), 0);
        while groups.len() < PAGE
            && weight < PAGE_WEIGHT
            && let Some(entry) = wanted.next()
        {
            let buckets = entry.group.buckets.iter();
            weight += 256 + buckets.map(|bucket| 256 + weigh(&bucket.actions)).sum::<usize>();
            let flows = users.get(&entry.group.id).copied().unwrap_or(0);
            groups.push(stats(entry, bridge, &sums, flows, now.since(entry.created)));
        }
        let next = groups.last().filter(|_| wanted.peek().is_some());
        let next = next.map(|last| Cursor(last.group.id.to_string()));
        Ok(Groups { groups, next })
    }
}

/// What groups can be.
pub(crate) fn group_features() -> GroupsFeatures {
    let words = |all: &[&str]| all.iter().map(|word| (*word).to_owned()).collect();
    let types = GroupKind::ALL.map(|(_, name)| name);
    GroupsFeatures {
        types: words(&types),
        capabilities: words(&["select_weight", "select_liveness", "chaining", "chaining_checks"]),
        max_groups: flowtable::Groups::MOST as u64,
        actions: words(&[
            "output",
            "group",
            "set_field",
            "strip_vlan",
            "push_vlan",
            "mod_nw_ttl",
            "dec_ttl",
            "set_queue",
        ]),
    }
}

fn stats(
    entry: &GroupEntry,
    bridge: &Bridge,
    sums: &Sums,
    flows: u64,
    duration_ms: u64,
) -> GroupStats {
    let count = sums.with(Step::Group(entry.serial), &entry.stats.group);
    let numbered = (0u16..).zip(&entry.group.buckets).zip(&entry.stats.buckets);
    let buckets = numbered.map(|((at, bucket), stats)| {
        let count = sums.with(Step::Bucket { group: entry.serial, at }, stats);
        BucketStats {
            id: bucket.id,
            live: entry.is_bucket_live(usize::from(at), bridge),
            packets: count.packets,
            bytes: count.bytes,
        }
    });
    GroupStats {
        group: entry.group.clone(),
        flows,
        packets: count.packets,
        bytes: count.bytes,
        duration_ms,
        buckets: buckets.collect(),
    }
}

fn group_of(action: &Action) -> Option<u32> {
    match action {
        Action::Group(number) => Some(*number),
        _ => None,
    }
}

/// How many flows of a bridge use each number that `of` finds in actions, in nested lists too.
pub(super) fn users(bridge: &Bridge, of: impl Fn(&Action) -> Option<u32>) -> HashMap<u32, u64> {
    let mut users = HashMap::new();
    let numbers = RefCell::new(BTreeSet::new());
    for rule in bridge.rules() {
        let note = |action: &Action| {
            numbers.borrow_mut().extend(of(action));
            false
        };
        rule.actions.iter().for_each(|action| {
            action.any(&note);
        });
        for number in std::mem::take(&mut *numbers.borrow_mut()) {
            *users.entry(number).or_default() += 1;
        }
    }
    users
}
