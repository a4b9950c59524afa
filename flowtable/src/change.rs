//! What changed, generation by generation, so that caches need not forget everything.

use std::collections::VecDeque;
use std::sync::Arc;

use api::{Match, TableId};
use packet::Key;

use crate::ports::BridgeId;

/// Something that later packets may meet differently.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are of the large one")]
pub enum Change {
    /// Rules of this match came, went or got new actions.
    Rules {
        /// In this bridge.
        bridge: BridgeId,
        /// In this table.
        table: TableId,
        /// For these packets.
        matching: Match,
    },
    /// A group came, went or has other buckets.
    Group {
        /// In this bridge.
        bridge: BridgeId,
        /// Its number.
        number: u32,
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
    /// The groups that were looked at, each by one bit that others may share.
    pub groups: u64,
}

impl Basis {
    /// Nothing was looked into.
    pub const NOTHING: Self = Self { tables: [0; 4], bridge: None, rewritten: 0, groups: 0 };

    /// Notes a group.
    pub(crate) fn note_group(&mut self, number: u32) {
        self.groups |= 1 << (number % 64);
    }

    /// Notes a table.
    pub fn note(&mut self, table: TableId) {
        self.tables[usize::from(table / 64)] |= 1 << (table % 64);
    }

    fn has(&self, table: TableId) -> bool {
        self.tables[usize::from(table / 64)] >> (table % 64) & 1 == 1
    }
}

impl Change {
    /// Whether a program on this basis, for packets that are `key` under `mask`, might be another
    /// now. Never wrong with "no".
    pub fn affects(&self, basis: &Basis, key: &Key, mask: &Key) -> bool {
        let (bridge, table, matching) = match self {
            Self::Everything => return true,
            Self::Group { bridge, number } => {
                return basis.bridge.is_none_or(|own| own == *bridge)
                    && basis.groups >> (number % 64) & 1 == 1;
            }
            Self::Rules { bridge, table, matching } => (*bridge, *table, matching),
        };
        if basis.bridge.is_some_and(|own| own != bridge) || !basis.has(table) {
            return false;
        }
        // Only what the packet itself says can be compared: registers and rewritten fields had
        // values of their own when the table looked.
        (0..Key::PACKET_WORDS).filter(|word| basis.rewritten >> word & 1 == 0).all(|word| {
            let common = mask[word] & matching.mask()[word];
            (key[word] ^ matching.key()[word]) & common == 0
        })
    }
}

/// The changes of the last generations.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The oldest generation whose changes are still known, and the later ones.
    generations: VecDeque<Arc<[Change]>>,
    newest: u64,
}

impl History {
    /// Generations that are remembered; who has slept longer starts afresh.
    const GENERATIONS: usize = 64;
    /// Changes of one generation that are told apart; more count as everything.
    pub(crate) const CHANGES: usize = 64;

    /// A history of which nothing is remembered but the number of its last generation.
    pub const fn beginning_at(newest: u64) -> Self {
        Self { generations: VecDeque::new(), newest }
    }

    /// Adds the next generation.
    pub fn push(&mut self, changes: Vec<Change>) {
        let changes =
            if changes.len() > Self::CHANGES { vec![Change::Everything] } else { changes };
        self.generations.push_back(changes.into());
        if self.generations.len() > Self::GENERATIONS {
            self.generations.pop_front();
        }
        self.newest += 1;
    }

    /// The number of the last generation.
    pub const fn newest(&self) -> u64 {
        self.newest
    }

    /// Whether anything since `generation` affects a program on this basis.
    pub fn affects(&self, generation: u64, basis: &Basis, key: &Key, mask: &Key) -> bool {
        let since = usize::try_from(self.newest.saturating_sub(generation)).unwrap_or(usize::MAX);
        let Some(first) = self.generations.len().checked_sub(since) else { return true };
        let mut later = self.generations.range(first..).flat_map(|changes| changes.iter());
        later.any(|change| change.affects(basis, key, mask))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Field;
    use packet::ethernet;

    fn to_host(host: u32) -> Change {
        let mut matching = Match::ANY;
        matching.set(Field::EthType, ethernet::IPV4.into(), 0xffff).unwrap();
        matching.set(Field::IpDst, host.into(), 0xffff_ffff).unwrap();
        Change::Rules { bridge: BridgeId(0), table: 3, matching }
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
        let affects = |host, basis: &Basis, mask: &Key| to_host(host).affects(basis, &key, mask);
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
    fn who_slept_too_long_starts_afresh() {
        let mut history = History::default();
        let (key, mask) = (Key::ZERO, Key::ZERO);
        for _ in 0..100 {
            history.push(vec![to_host(1)]);
        }
        assert!(!history.affects(100, &basis(&[3]), &key, &mask));
        assert!(history.affects(99, &basis(&[3]), &key, &mask));
        assert!(!history.affects(60, &basis(&[9]), &key, &mask));
        assert!(history.affects(10, &basis(&[9]), &key, &mask), "forgotten");
        history.push(vec![to_host(1); 65]);
        assert!(history.affects(100, &basis(&[9]), &key, &mask), "too many to tell apart");
    }
}
