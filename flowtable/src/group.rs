//! Groups as they stand in a bridge, and how a packet takes one.

use std::sync::Arc;

use api::{Action, Bucket, DropReason, Group, GroupKind, Selection};
use packet::{Key, Millis, Seed};

use crate::action_set::in_order;
use crate::change::Basis;
use crate::choose::connection_hash;
use crate::frozen::Decision;
use crate::rule::RuleStats;
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

    /// Whether what the bucket at this place watches is live.
    pub fn is_bucket_live(&self, at: usize, bridge: &Bridge) -> bool {
        let bucket = self.group.buckets.get(at);
        bucket.is_some_and(|bucket| self.is_live(bucket, bridge, &mut Asked::none()))
    }

    /// The same, if these groups have been asked on the way here.
    fn is_live(&self, bucket: &Bucket, bridge: &Bridge, asked: &mut Asked) -> bool {
        let watches = self.group.kind == GroupKind::FastFailover;
        let (port, group) = (bucket.watch_port, bucket.watch_group);
        if port.is_none() && group.is_none() {
            return !watches;
        }
        let mut group_is_live = |number| {
            let watched = bridge.groups.get(number).filter(|_| asked.note(number));
            watched.is_some_and(|watched| {
                watched.group.buckets.iter().any(|bucket| watched.is_live(bucket, bridge, asked))
            })
        };
        port.is_some_and(|number| bridge.is_live(number)) || group.is_some_and(&mut group_is_live)
    }

    /// Notes what decides which of its buckets are live.
    fn note_watched(&self, basis: &mut Basis) {
        for bucket in &self.group.buckets {
            bucket.watch_port.into_iter().for_each(|port| basis.note_port(port));
            // What that one watches in turn is not worth the walk.
            if bucket.watch_group.is_some() {
                basis.watched = u64::MAX;
            }
        }
    }
}

/// Groups that were asked whether they are live, for one bucket: whoever asks one of them again
/// learns nothing new. So groups that watch each other in a circle come to an end.
struct Asked {
    groups: [u32; Self::MOST],
    len: usize,
}

impl Asked {
    /// Groups that a bucket watches at most, over others; what is beyond is not live.
    const MOST: usize = 64;
    const fn none() -> Self {
        Self { groups: [0; Self::MOST], len: 0 }
    }

    /// Notes a group; answers whether it is to be asked.
    fn note(&mut self, number: u32) -> bool {
        let (asked, free) = self.groups.split_at_mut(self.len);
        match free.first_mut() {
            Some(place) if !asked.contains(&number) => {
                *place = number;
                self.len += 1;
                true
            }
            _ => false,
        }
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
                bucket.weight > 0 && entry.is_bucket_live(usize::from(*at), bridge)
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

    /// The places of the buckets that can be chosen.
    pub fn candidates(&self) -> impl Iterator<Item = u16> + '_ {
        self.shares.iter().map(|(at, _)| *at)
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
        entry.note_watched(self.basis);
        match entry.group.kind {
            GroupKind::All | GroupKind::Indirect => {
                for at in 0..entry.buckets.len() {
                    self.take_bucket(entry, at)?;
                }
                if entry.buckets.is_empty() {
                    self.no_live_bucket(entry);
                }
                Ok(())
            }
            GroupKind::FastFailover => {
                let live =
                    (0..entry.buckets.len()).find(|at| entry.is_bucket_live(*at, self.bridge));
                match live {
                    Some(at) => self.take_bucket(entry, at),
                    None => {
                        self.no_live_bucket(entry);
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
            self.no_live_bucket(entry);
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

    fn no_live_bucket(&mut self, entry: &GroupEntry) {
        self.record.note(Note::NoLiveBucket(entry));
        self.dropped(DropReason::NoLiveBucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    /// Groups 1 to 9, each with three buckets that watch all that comes behind it in a circle.
    fn circle(last: &str) -> crate::Tables {
        let mut edit = crate::Tables::new(Seed(1)).edit();
        let bridge = edit.add_bridge("br0".into()).unwrap();
        for number in 1..=9 {
            let next = number % 9 + 1;
            let bucket = format!("bucket=watch_group={next},actions=drop");
            let own = if number == 9 { last } else { &bucket };
            let group = format!("group_id={number},type=ff,{bucket},{bucket},{own}");
            edit.group_mod(bridge, &group.parse().unwrap(), Millis(0)).unwrap();
        }
        edit.finish().0
    }

    fn first_is_live(tables: &crate::Tables) -> bool {
        let bridge = tables.bridge(crate::BridgeId(0)).unwrap();
        bridge.groups.get(1).unwrap().is_bucket_live(0, bridge)
    }

    /// Three to the power of their number of times, at least.
    #[test]
    fn groups_that_watch_each_other_were_asked_without_end() {
        assert!(!first_is_live(&circle("bucket=watch_group=3,actions=drop")));
        let tables = circle("bucket=watch_port=1,actions=drop");
        assert!(!first_is_live(&tables));
        let mut edit = tables.edit();
        edit.set_port(crate::PortView {
            id: packet::PortId(1),
            number: 1,
            bridge: crate::BridgeId(0),
            name: "p1".into(),
            vlan: crate::VlanMode::Access(1),
            flags: api::PortFlags::default(),
            is_up: true,
        })
        .unwrap();
        assert!(first_is_live(&edit.finish().0));
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
