//! What changed, generation by generation, so that caches need not forget everything.
//!
//! Few changes are told apart. Of many, those of one table and one mask are put together: what all
//! of their matches have in common is a wider match that none of them is outside of. So a bundle of
//! a hundred thousand flows in one table is nothing to who never looked into that table, or looked
//! there with another protocol or another network.

use std::collections::HashMap;
use std::sync::Arc;

use api::{Match, TableId};
use packet::Key;

use crate::mask::hash_of;
use crate::ports::BridgeId;

/// Something that later packets may meet differently.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one")]
pub enum Change {
    /// Rules came, went or got new actions, all of whose packets are `key` under `mask`.
    Rules {
        /// In this bridge.
        bridge: BridgeId,
        /// In this table.
        table: TableId,
        /// What packets say, zero outside of `mask`.
        key: Key,
        /// Where they say it.
        mask: Key,
    },
    /// A group came, went or has other buckets.
    Group {
        /// In this bridge.
        bridge: BridgeId,
        /// Its number.
        number: u32,
    },
    /// A port has come up or gone down.
    Port {
        /// Of this bridge.
        bridge: BridgeId,
        /// Its number.
        number: u16,
    },
    /// Anything may have changed.
    Everything,
}

/// What a cached program rests on, as far as rules go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Basis {
    /// The tables that were looked into, one bit each.
    pub tables: [u64; 4],
    /// The bridge they are in; `None` if there were several.
    pub bridge: Option<BridgeId>,
    /// The words of the key that had been rewritten when some table looked, one bit each.
    pub rewritten: u64,
    /// The groups that were looked at, and the ports that it mattered of whether they are up, each
    /// by one bit that others may share.
    pub watched: u64,
}

impl Basis {
    /// Nothing was looked into.
    pub const NOTHING: Self = Self { tables: [0; 4], bridge: None, rewritten: 0, watched: 0 };

    /// Notes a group.
    pub(crate) fn note_group(&mut self, number: u32) {
        self.watched |= group_bit(number);
    }

    /// Notes that it matters whether a port is up.
    pub(crate) fn note_port(&mut self, number: u16) {
        self.watched |= port_bit(number);
    }

    /// Notes a table.
    pub fn note(&mut self, table: TableId) {
        self.tables[usize::from(table / 64)] |= 1 << (table % 64);
    }

    /// Whether this word of the key had been rewritten when some table looked.
    pub(crate) const fn has_rewritten(&self, word: usize) -> bool {
        self.rewritten >> word & 1 == 1
    }

    /// Notes all that `other` rests on.
    pub(crate) fn join(&mut self, other: &Self) {
        self.tables.iter_mut().zip(other.tables).for_each(|(own, theirs)| *own |= theirs);
        self.bridge = self.bridge.filter(|own| other.bridge == Some(*own));
        self.rewritten |= other.rewritten;
        self.watched |= other.watched;
    }

    fn has(&self, table: TableId) -> bool {
        self.tables[usize::from(table / 64)] >> (table % 64) & 1 == 1
    }

    fn watches(&self, bridge: BridgeId, bit: u64) -> bool {
        self.bridge.is_none_or(|own| own == bridge) && self.watched & bit != 0
    }
}

const fn group_bit(number: u32) -> u64 {
    1 << (number % 64)
}

/// From the other end: low numbers are common to both.
const fn port_bit(number: u16) -> u64 {
    1 << (63 - number % 64)
}

impl Change {
    /// Whether a program on this basis, for packets that are `key` under `mask`, might be another
    /// now. Never wrong with "no".
    pub fn affects(&self, basis: &Basis, key: &Key, mask: &Key) -> bool {
        let (bridge, table, theirs, bits) = match self {
            Self::Everything => return true,
            Self::Group { bridge, number } => return basis.watches(*bridge, group_bit(*number)),
            Self::Port { bridge, number } => return basis.watches(*bridge, port_bit(*number)),
            Self::Rules { bridge, table, key, mask } => (*bridge, *table, key, mask),
        };
        if basis.bridge.is_some_and(|own| own != bridge) || !basis.has(table) {
            return false;
        }
        // Only what the packet itself says can be compared: registers and rewritten fields had
        // values of their own when the table looked.
        (0..Key::PACKET_WORDS)
            .filter(|word| !basis.has_rewritten(*word))
            .all(|word| (key[word] ^ theirs[word]) & mask[word] & bits[word] == 0)
    }
}

/// The changes of one generation while it is being made: a bounded number, however many there are.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    list: Vec<Change>,
    /// What tells the masks of rules apart, for each of them, as long as they are.
    classes: Vec<u64>,
    /// Where in the list the changes of a table and a mask are put together, once they are.
    wide: HashMap<Class, usize>,
    /// The last of those places: the next change is often of the same table and mask.
    last: Option<(Class, usize)>,
}

/// A bridge, a table, and the hash of a mask.
type Class = (BridgeId, TableId, u64);

impl Changes {
    /// Changes that are told apart.
    const APART: usize = 64;
    /// Masks of one table that are told apart when others are put together.
    const MASKS: usize = 8;
    /// Entries at most, of both kinds.
    const MOST: usize = 512;

    /// Notes that anything may have changed.
    pub(crate) fn everything(&mut self) {
        self.list.clear();
        self.list.push(Change::Everything);
    }

    /// Notes that a group came, went or has other buckets.
    pub(crate) fn group(&mut self, bridge: BridgeId, number: u32) {
        self.push(Change::Group { bridge, number });
    }

    /// Notes that a port has come up or gone down.
    pub(crate) fn port(&mut self, bridge: BridgeId, number: u16) {
        self.push(Change::Port { bridge, number });
    }

    fn push(&mut self, change: Change) {
        match self.list[..] {
            [Change::Everything] => {}
            _ if self.list.len() < Self::MOST => self.list.push(change),
            _ => self.everything(),
        }
    }

    /// Notes that a rule of this match came, went or got new actions.
    /// `class` tells its mask from others.
    pub(crate) fn rule(&mut self, bridge: BridgeId, table: TableId, matching: &Match, class: u64) {
        if let [Change::Everything] = self.list[..] {
            return;
        }
        if self.wide.is_empty() && self.list.len() < Self::APART {
            let (key, mask) = (*matching.key(), *matching.mask());
            self.list.push(Change::Rules { bridge, table, key, mask });
            self.classes.push(class);
            return;
        }
        if self.wide.is_empty() {
            let mut classes = std::mem::take(&mut self.classes).into_iter();
            for change in std::mem::take(&mut self.list) {
                match change {
                    Change::Rules { bridge, table, key, mask } => {
                        let class = (bridge, table, classes.next().unwrap_or(0));
                        self.widen(class, &key, &mask);
                    }
                    other => self.list.push(other),
                }
            }
        }
        self.widen((bridge, table, class), matching.key(), matching.mask());
    }

    /// Several generations' changes as few: rules of one table and one mask are put together at once.
    pub(crate) fn summary<'a>(changes: impl Iterator<Item = &'a Change>) -> Self {
        let mut summary = Self::default();
        for change in changes {
            match change {
                _ if matches!(summary.list[..], [Change::Everything]) => break,
                Change::Everything => summary.everything(),
                Change::Group { .. } | Change::Port { .. } => summary.push(change.clone()),
                Change::Rules { bridge, table, key, mask } => {
                    summary.widen((*bridge, *table, hash_of(mask, [false; 2])), key, mask);
                }
            }
        }
        summary
    }

    /// Whether there are so many that they are not told apart.
    pub(crate) fn are_many(&self) -> bool {
        !self.wide.is_empty() || matches!(self.list[..], [Change::Everything])
    }

    /// All of them.
    pub(crate) fn into_list(self) -> Arc<[Change]> {
        self.list.into()
    }

    /// Puts one more match together with those of its table and its mask.
    fn widen(&mut self, (bridge, table, hash): Class, key: &Key, mask: &Key) {
        // The masks that are too many for a table share the place of the mask zero.
        let known = |hash| match self.last {
            Some((last, at)) if last == (bridge, table, hash) => Some(at),
            _ => self.wide.get(&(bridge, table, hash)).copied(),
        };
        let of_table = || self.wide.keys().filter(|(b, t, _)| (*b, *t) == (bridge, table)).count();
        let (hash, at) = match known(hash) {
            Some(at) => (hash, Some(at)),
            None if of_table() < Self::MASKS => (hash, None),
            None => (0, known(0)),
        };
        match at {
            Some(at) => {
                self.last = Some(((bridge, table, hash), at));
                if let Some(Change::Rules { key: own, mask: bits, .. }) = self.list.get_mut(at) {
                    join(own, bits, key, mask);
                }
            }
            None if self.list.len() < Self::MOST => {
                self.wide.insert((bridge, table, hash), self.list.len());
                self.list.push(Change::Rules { bridge, table, key: *key, mask: *mask });
            }
            None => self.everything(),
        }
    }
}

/// Leaves of a match what another one says as well.
pub(crate) fn join(key: &mut Key, mask: &mut Key, other: &Key, bits: &Key) {
    for word in 0..Key::WORDS {
        mask[word] &= bits[word] & !(key[word] ^ other[word]);
        key[word] &= mask[word];
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::history::History;
    use api::Field;
    use api::testing::any_match;
    use packet::ethernet;
    use proptest::prelude::*;

    /// What packets to one host agree with.
    pub(crate) fn host(host: u32) -> Match {
        let mut matching = Match::ANY;
        matching.set(Field::EthType, ethernet::IPV4.into(), 0xffff).unwrap();
        matching.set(Field::IpDst, host.into(), 0xffff_ffff).unwrap();
        matching
    }

    /// Changes of so many hosts from the first on.
    fn to_hosts(first: u32, count: u32) -> Changes {
        let mut changes = Changes::default();
        (first..first + count).for_each(|n| changes.rule(BridgeId(0), 3, &host(n), 1));
        changes
    }

    fn basis(tables: &[TableId]) -> Basis {
        let mut basis = Basis { bridge: Some(BridgeId(0)), ..Basis::NOTHING };
        tables.iter().for_each(|table| basis.note(*table));
        basis
    }

    #[test]
    fn only_what_overlaps_is_affected() {
        let key = Key::ZERO.with(Key::ETH_TYPE, ethernet::IPV4).with(Key::NW_DST, 7u32);
        let exact = Key::ZERO.with(Key::ETH_TYPE, 0xffffu16).with(Key::NW_DST, u32::MAX);
        let affects =
            |host, basis: &Basis, mask: &Key| to_hosts(host, 1).list[0].affects(basis, &key, mask);
        assert!(affects(7, &basis(&[3]), &exact));
        assert!(!affects(8, &basis(&[3]), &exact), "another address");
        assert!(affects(8, &basis(&[3]), &Key::ZERO.with(Key::ETH_TYPE, 0xffffu16)), "any address");
        assert!(!affects(7, &basis(&[0, 67]), &exact), "another table");
        let nat = Basis { rewritten: 1 << 4, ..basis(&[3]) };
        assert!(affects(8, &nat, &exact), "the address was rewritten on the way");
        assert!(
            !affects(7, &Basis { bridge: Some(BridgeId(1)), ..basis(&[3]) }, &exact),
            "another bridge"
        );
    }

    #[test]
    fn a_port_that_turns_concerns_those_who_watch_it() {
        let (bridge, key) = (BridgeId(0), Key::ZERO);
        let mut watching = basis(&[3]);
        watching.note_port(2);
        let turned = |bridge, number| Change::Port { bridge, number };
        assert!(turned(bridge, 2).affects(&watching, &key, &key));
        assert!(!turned(bridge, 3).affects(&watching, &key, &key));
        assert!(!turned(BridgeId(1), 2).affects(&watching, &key, &key));
        assert!(!turned(bridge, 2).affects(&basis(&[3]), &key, &key));
        assert!(!Change::Group { bridge, number: 2 }.affects(&watching, &key, &key));
    }

    #[test]
    fn a_large_bundle_concerns_nobody_outside_of_its_table_and_its_network() {
        let mut history = History::default();
        history.push(to_hosts(0x0a00_0000, 100_000));
        let to = |host: u32| Key::ZERO.with(Key::ETH_TYPE, ethernet::IPV4).with(Key::NW_DST, host);
        let exact = Key::ZERO.with(Key::ETH_TYPE, 0xffffu16).with(Key::NW_DST, u32::MAX);
        let affects = |table, key: &Key| history.affects(0, &basis(&[table]), key, &exact);
        assert!(affects(3, &to(0x0a00_0007)));
        assert!(affects(3, &to(0x0a01_869f)), "the last one");
        assert!(!affects(30, &to(0x0a00_0007)), "another table");
        assert!(!affects(3, &to(0x0b00_0007)), "another network");
        assert!(!affects(3, &to(0x0a00_0007).with(Key::ETH_TYPE, ethernet::ARP)), "no IP");
    }

    #[test]
    fn more_than_a_list_can_hold_is_everything() {
        let mut changes = Changes::default();
        for n in 0..40_000u32 {
            let table = TableId::try_from(n % 200).unwrap();
            let mut matching = Match::ANY;
            let bits = 1 << (n % 61);
            matching.set(Field::Metadata, 0, bits).unwrap();
            changes.rule(BridgeId(0), table, &matching, (n % 61).into());
        }
        assert!(changes.list.len() <= Changes::MOST, "{}", changes.list.len());
        assert!(matches!(changes.list[..], [Change::Everything]));
    }

    fn any_rules() -> impl Strategy<Value = Vec<(u8, Match)>> {
        prop::collection::vec((0..3u8, any_match()), 0..200)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        /// However many changes there are, who could be affected by one of them is told so.
        #[test]
        fn no_is_never_wrong(
            rules in any_rules(), key in testnet::packets::any_key(), mask in any_match(), table in 0..3u8,
        ) {
            let mut changes = Changes::default();
            let class = |matching| crate::mask::Mask::hash_of(matching);
            rules.iter().for_each(|(table, matching)| {
                changes.rule(BridgeId(0), *table, matching, class(matching));
            });
            let mut history = History::default();
            history.push(changes);
            let apart = rules.iter().map(|(table, matching)| Change::Rules {
                bridge: BridgeId(0), table: *table, key: *matching.key(), mask: *matching.mask(),
            });
            let expected = apart.into_iter().any(|c| c.affects(&basis(&[table]), &key, mask.mask()));
            let affects = history.affects(0, &basis(&[table]), &key, mask.mask());
            prop_assert!(affects || !expected);
            prop_assert!(rules.len() > Changes::APART || affects == expected);
        }
    }
}
