//! Groups as they stand in a bridge, and how a packet takes one.

use std::sync::Arc;

use api::{Action, DropReason, Group, GroupKind, Selection};
use packet::Key;

use crate::action_set::in_order;
use crate::choose::connection_hash;
use crate::frozen::Decision;
use crate::mask::Seed;
use crate::rule::{Millis, RuleStats};
use crate::step::Step;
use crate::tables::Bridge;
use crate::translate::{Note, Record, Stop};
use crate::walk::Walk;

/// A group's identity: never used twice by one switch. A modified group gets a new one.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GroupSerial(pub u32);

/// A group in a bridge. Immutable: a change makes a new one.
#[derive(Clone, Debug)]
pub struct GroupEntry {
    /// Which it is.
    pub serial: GroupSerial,
    /// The group as it was added.
    pub group: Group,
    /// What each bucket does, in the order in which an action set is carried out.
    buckets: Vec<Arc<[Action]>>,
    /// When it was added.
    pub created: Millis,
    /// What live paths have not counted: for the group, and for each bucket.
    pub stats: Arc<GroupStats>,
}

/// What has been counted for a group outside of paths.
#[derive(Debug, Default)]
pub struct GroupStats {
    /// Packets that were led to the group.
    pub group: RuleStats,
    /// Those of each bucket, in their order.
    pub buckets: Vec<RuleStats>,
}

impl GroupEntry {
    /// A group that has counted nothing.
    pub fn new(serial: GroupSerial, group: Group, created: Millis) -> Self {
        let ordered = |actions: &[Action]| {
            let set: Vec<_> = actions.iter().collect();
            in_order(&set).into_iter().cloned().collect()
        };
        let buckets = group.buckets.iter().map(|bucket| ordered(&bucket.actions)).collect();
        let stats = GroupStats {
            group: RuleStats::default(),
            buckets: group.buckets.iter().map(|_| RuleStats::default()).collect(),
        };
        Self { serial, group, buckets, created, stats: Arc::new(stats) }
    }

    /// Whether some bucket of it is live.
    fn is_live(&self, bridge: &Bridge, depth: u32) -> bool {
        (0..self.buckets.len()).any(|at| self.is_bucket_live(at, bridge, depth))
    }

    /// Whether what a bucket watches is live. A group that watches itself, over others, is not.
    fn is_bucket_live(&self, at: usize, bridge: &Bridge, depth: u32) -> bool {
        let Some(bucket) = self.group.buckets.get(at) else { return false };
        let watches = self.group.kind == GroupKind::FastFailover;
        let (port, group) = (bucket.watch_port, bucket.watch_group);
        if port.is_none() && group.is_none() {
            return !watches;
        }
        let group_is_live = |number| {
            let watched = bridge.groups.get(number).filter(|_| depth < crate::walk::DEPTH);
            watched.is_some_and(|watched| watched.is_live(bridge, depth + 1))
        };
        port.is_some_and(|number| bridge.is_live(number)) || group.is_some_and(group_is_live)
    }
}

/// How a bucket of a select group is chosen for a packet: by a hash of its connection, each bucket
/// in proportion to its weight, of those that were live when this was made.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Selector {
    group: u32,
    basis: u64,
    /// Of each bucket that can be chosen its place in the group, and where its share of all hashes
    /// ends.
    shares: Box<[(u16, u32)]>,
}

impl Selector {
    fn new(entry: &GroupEntry, bridge: &Bridge) -> Self {
        let buckets = (0u16..).zip(&entry.group.buckets);
        let live = buckets
            .filter(|(at, bucket)| {
                bucket.weight > 0 && entry.is_bucket_live(usize::from(*at), bridge, 0)
            })
            .map(|(at, bucket)| (at, u64::from(bucket.weight)));
        let live: Vec<_> = live.collect();
        let all: u64 = live.iter().map(|(_, weight)| weight).sum();
        let mut so_far = 0;
        let shares = live
            .into_iter()
            .map(|(at, weight)| {
                so_far += weight;
                (at, u32::try_from((so_far << 32) / all - 1).unwrap_or(u32::MAX))
            })
            .collect();
        let basis = match entry.group.selection {
            Selection::Default => 0,
            Selection::DpHash { param } | Selection::Hash { param, .. } => param,
        };
        Self { group: entry.group.id, basis, shares }
    }

    /// The number of the group.
    pub const fn group(&self) -> u32 {
        self.group
    }

    /// Whether there is no bucket to be chosen.
    fn is_empty(&self) -> bool {
        self.shares.is_empty()
    }

    /// The place of the bucket that a packet takes.
    pub fn choose(&self, key: &Key) -> u16 {
        self.at(connection_hash(key, self.basis))
    }

    fn at(&self, hash: u64) -> u16 {
        let hash = u32::try_from(hash >> 32).unwrap_or(u32::MAX);
        let at = self.shares.partition_point(|(_, end)| *end < hash);
        self.shares.get(at).map_or(0, |(bucket, _)| *bucket)
    }
}

impl<'a, R: Record> Walk<'a, R> {
    /// Has the packet take the group of this number.
    pub(crate) fn group(&mut self, number: u32) -> Result<(), Stop> {
        self.basis.note_group(number);
        let Some(entry) = self.bridge.groups.get(number) else {
            self.dropped(DropReason::NoSuchGroup);
            return Ok(());
        };
        self.path.push(Step::Group(entry.serial));
        self.record.group(entry, None);
        match entry.group.kind {
            GroupKind::All | GroupKind::Indirect => {
                for at in 0..entry.buckets.len() {
                    self.take_bucket(entry, at)?;
                }
                if entry.buckets.is_empty() {
                    self.no_live_bucket();
                }
                Ok(())
            }
            GroupKind::FastFailover => {
                let live =
                    (0..entry.buckets.len()).find(|at| entry.is_bucket_live(*at, self.bridge, 0));
                match live {
                    Some(at) => self.take_bucket(entry, at),
                    None => {
                        self.no_live_bucket();
                        Ok(())
                    }
                }
            }
            GroupKind::Select => self.select(entry),
        }
    }

    fn select(&mut self, entry: &'a GroupEntry) -> Result<(), Stop> {
        let selector = Selector::new(entry, self.bridge);
        if selector.is_empty() {
            self.no_live_bucket();
            return Ok(());
        }
        match &entry.group.selection {
            Selection::Hash { param, fields } if !fields.is_empty() => {
                let mut words = Vec::with_capacity(2 * fields.len());
                for (span, mask) in entry.group.selection.spans() {
                    let value = self.draft.look_at(span, mask);
                    words.extend([value >> 64, value & u128::from(u64::MAX)]);
                }
                let words = words.into_iter().map(|word| u64::try_from(word).unwrap_or(0));
                let at = selector.at(Seed(*param).hash(words));
                self.take_bucket(entry, at.into())
            }
            // One bucket needs no choice.
            _ if selector.shares.len() == 1 => self.take_bucket(entry, selector.at(0).into()),
            _ => self.freeze_copy(Decision::Select(selector)),
        }
    }

    /// Has the packet take the bucket that was chosen for it.
    pub(crate) fn selected(&mut self, number: u32, at: usize) -> Result<(), Stop> {
        self.basis.note_group(number);
        match self.bridge.groups.get(number) {
            Some(entry) if at < entry.buckets.len() => self.take_bucket(entry, at),
            // It is gone since.
            _ => {
                self.dropped(DropReason::NoSuchGroup);
                Ok(())
            }
        }
    }

    fn take_bucket(&mut self, entry: &'a GroupEntry, at: usize) -> Result<(), Stop> {
        let place = u16::try_from(at).unwrap_or(u16::MAX);
        self.path.push(Step::Bucket { group: entry.serial, at: place });
        self.record.group(entry, Some(at));
        self.bucket(&entry.buckets[at])
    }

    fn no_live_bucket(&mut self) {
        self.record.note(Note::NoLiveBucket);
        self.dropped(DropReason::NoLiveBucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Bucket;
    use proptest::prelude::*;

    fn selector(weights: &[u16]) -> Selector {
        let bucket = |(id, weight): (u32, &u16)| Bucket {
            id,
            weight: *weight,
            watch_port: None,
            watch_group: None,
            actions: Vec::new(),
        };
        let group = Group {
            id: 1,
            kind: GroupKind::Select,
            selection: Selection::Default,
            buckets: (0..).zip(weights).map(bucket).collect(),
        };
        let tables = crate::Tables::new(Seed(1));
        let mut edit = tables.edit();
        let bridge = edit.add_bridge("br0".into()).unwrap();
        let entry = GroupEntry::new(GroupSerial(1), group, Millis(0));
        Selector::new(&entry, edit.tables().bridge(bridge).unwrap())
    }

    proptest! {
        #[test]
        fn every_hash_leads_to_a_bucket_that_has_weight(
            weights in prop::collection::vec(0..5u16, 1..20),
            hash: u64,
        ) {
            let selector = selector(&weights);
            prop_assume!(!selector.is_empty());
            prop_assert!(weights[usize::from(selector.at(hash))] > 0);
        }
    }

    /// Chi-square with 3 degrees of freedom: 16.27 is exceeded once in a thousand times.
    #[test]
    fn packets_spread_by_weight() {
        let weights = [1u16, 2, 3, 10];
        let selector = selector(&weights);
        let mut counts = [0f64; 4];
        let packets = 100_000u32;
        for n in 0..packets {
            let key = Key::ZERO
                .with(Key::ETH_TYPE, packet::ethernet::IPV4)
                .with(Key::NW_SRC, 0x0a00_0000 + n / 251)
                .with(Key::NW_DST, 0x0a60_0001u32)
                .with(Key::NW_PROTO, 6u8)
                .with(Key::TP_SRC, 1024 + n % 251)
                .with(Key::TP_DST, 80u16);
            counts[usize::from(selector.choose(&key))] += 1.0;
        }
        let expected = weights.map(|weight| f64::from(packets) * f64::from(weight) / 16.0);
        let chi: f64 =
            counts.iter().zip(expected).map(|(got, want)| (got - want).powi(2) / want).sum();
        assert!(chi < 16.27, "chi-square {chi}: {counts:?}");
    }
}
