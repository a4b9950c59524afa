//! The port ranges of a tuple: which ones a packet lies in, and how many bits of its ports show it.
//!
//! **Lying in.** A range has a *level*: how many leading bits its ends share. Of one level only the
//! ranges whose ends share those bits with the port can have it, and all of them have the port in
//! their middle in common: so what is looked at and not met is bounded by how deep ranges lie upon
//! each other, not by how many there are.
//!
//! **Bits.** The ends of all ranges cut the ports into pieces within which nothing changes. The
//! shortest prefix that keeps a port within its piece is found by the two cuts around it.

use api::PortRange;

use crate::mask::unpack;
use crate::sorted::Sorted;

/// Leading bits that ends of a range can share.
const LEVELS: usize = 17;

/// Pairs of ranges of source and destination ports, as [`crate::mask::pack`] makes them, each with
/// the number of rules that have it.
#[derive(Clone, Debug)]
pub(crate) struct Ranges {
    /// The field by which pairs are found: 0 is the source port, 1 the destination port.
    lead: usize,
    pairs: Sorted<Pair, u32>,
    /// How many pairs have each level.
    levels: [u32; LEVELS],
    /// Where ranges of source and destination ports begin, and where they are over.
    cuts: [Sorted<u32, u32>; 2],
}

/// In the order in which pairs are looked for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Pair {
    level: u8,
    /// Of the range that leads.
    first: u16,
    word: u64,
}

/// How many leading bits two ports share.
fn common(a: u32, b: u32) -> u8 {
    u8::try_from((a ^ b).leading_zeros().saturating_sub(16)).unwrap_or(16).min(16)
}

impl Ranges {
    /// No ranges yet, to be found by the destination port if it has some.
    pub(crate) const fn new(ranged: [bool; 2]) -> Self {
        Self {
            lead: if ranged[1] { 1 } else { 0 },
            pairs: Sorted::EMPTY,
            levels: [0; LEVELS],
            cuts: [Sorted::EMPTY, Sorted::EMPTY],
        }
    }

    /// The field by which pairs are found: 0 is the source port, 1 the destination port.
    pub(crate) const fn lead(&self) -> usize {
        self.lead
    }

    /// Notes one more rule with this pair.
    pub(crate) fn insert(&mut self, word: u64) {
        let pair = self.pair(word);
        if self.pairs.get(pair).is_none() {
            self.levels[usize::from(pair.level)] += 1;
        }
        self.pairs.count(pair);
        for (cuts, range) in self.cuts.iter_mut().zip(unpack(word)) {
            ends(range).for_each(|end| cuts.count(end));
        }
    }

    /// Forgets one rule with this pair.
    pub(crate) fn remove(&mut self, word: u64) {
        let pair = self.pair(word);
        self.pairs.discount(pair);
        if self.pairs.get(pair).is_none() {
            self.levels[usize::from(pair.level)] -= 1;
        }
        for (cuts, range) in self.cuts.iter_mut().zip(unpack(word)) {
            ends(range).for_each(|end| cuts.discount(end));
        }
    }

    fn pair(&self, word: u64) -> Pair {
        let PortRange { first, last } = unpack(word)[self.lead];
        Pair { level: common(first.into(), last.into()), first, word }
    }

    /// How many leading bits of a source (0) or destination (1) port decide which ranges it lies
    /// in.
    pub(crate) fn decisive(&self, field: usize, port: u16) -> u8 {
        let port = u32::from(port);
        let (before, after) = self.cuts[field].around(port);
        // Within the prefix must be neither the last port of the piece before nor the first of the
        // one behind.
        let others = [before.map(|cut| cut - 1), after];
        others.into_iter().flatten().map(|other| common(port, other) + 1).max().unwrap_or(0)
    }

    /// Shows the pairs to `each` whose leading range has its port of `ports`, and whether the other
    /// has, too.
    pub(crate) fn containing(&self, ports: [u16; 2], mut each: impl FnMut(u64, bool)) {
        let port = ports[self.lead];
        for (level, _) in (0u8..).zip(self.levels).filter(|(_, pairs)| *pairs > 0) {
            let start = port & u16::MAX.checked_shl(16 - u32::from(level)).unwrap_or(0);
            let mut next = Some(Pair { level, first: start, word: 0 });
            while let Some((pair, _)) = next.and_then(|next| self.pairs.from(next))
                && pair.level == level
                && pair.first <= port
            {
                let both = unpack(pair.word);
                if both[self.lead].has(port) {
                    each(pair.word, both[1 - self.lead].has(ports[1 - self.lead]));
                }
                let later = pair.word.checked_add(1);
                next = later.map(|word| Pair { word, ..*pair });
            }
        }
    }
}

/// Where a range begins and where it is over; the ends of all ports cut nothing.
fn ends(range: PortRange) -> impl Iterator<Item = u32> {
    let (begin, over) = (u32::from(range.first), u32::from(range.last) + 1);
    [begin, over].into_iter().filter(|end| (1..=0xffff).contains(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::pack;
    use proptest::prelude::*;

    fn any_port() -> impl Strategy<Value = u16> {
        prop_oneof![0..20u16, any::<u16>(), Just(u16::MAX)]
    }

    fn any_range() -> impl Strategy<Value = Option<PortRange>> {
        let range = (any_port(), any_port());
        prop::option::weighted(
            0.8,
            range.prop_map(|(a, b)| PortRange { first: a.min(b), last: a.max(b) }),
        )
    }

    fn containing(ranges: &Ranges, ports: [u16; 2]) -> Vec<u64> {
        let mut found = Vec::new();
        ranges.containing(ports, |word, both| found.extend(both.then_some(word)));
        found.sort_unstable();
        found
    }

    proptest! {
        /// The ranges that are found are those that a list of them has; and of the ports so many
        /// bits decide as are said, and not fewer.
        #[test]
        fn it_agrees_with_a_list(
            list in prop::collection::vec((any_range(), any_range()), 0..20),
            gone in prop::collection::vec((any_range(), any_range()), 0..9),
            ports: [u16; 2], other: u16, lead: bool,
        ) {
            let list: Vec<_> = list.into_iter().map(|(src, dst)| pack([src, dst])).collect();
            let gone: Vec<_> = gone.into_iter().map(|(src, dst)| pack([src, dst])).collect();
            let mut ranges = Ranges::new([true, lead]);
            list.iter().chain(&gone).for_each(|word| ranges.insert(*word));
            gone.iter().for_each(|word| ranges.remove(*word));
            let expected = |ports: [u16; 2]| {
                let has = |word: &&u64| unpack(**word).into_iter().zip(ports).all(|(r, p)| r.has(p));
                let mut expected: Vec<_> = list.iter().filter(has).copied().collect();
                expected.sort_unstable();
                expected.dedup();
                expected
            };
            prop_assert_eq!(containing(&ranges, ports), expected(ports));
            for (field, port) in ports.into_iter().enumerate() {
                let lies_in = |port: u16| {
                    let has = |word: &u64| unpack(*word)[field].has(port);
                    list.iter().map(has).collect::<Vec<_>>()
                };
                let bits = ranges.decisive(field, port);
                let free = 0xffffu16.checked_shr(bits.into()).unwrap_or(0);
                prop_assert_eq!(lies_in(port ^ other & free), lies_in(port));
                if bits > 0 {
                    let wider = 0xffff >> (bits - 1);
                    let mut block = (0..=wider).map(|low| port & !wider | low);
                    prop_assert!(block.any(|other| lies_in(other) != lies_in(port)));
                }
            }
        }
    }

    #[test]
    fn ranges_that_lie_side_by_side_are_not_all_looked_at() {
        let mut ranges = Ranges::new([false, true]);
        for n in 0..1000 {
            ranges.insert(pack([None, Some(PortRange { first: n * 60, last: n * 60 + 40 })]));
        }
        let mut seen = 0;
        for port in 0..60_000u16 {
            ranges.containing([0, port], |_, _| seen += 1);
        }
        assert_eq!(seen, 41 * 1000);
        assert!(ranges.levels.iter().filter(|level| **level > 0).count() <= LEVELS);
    }
}
