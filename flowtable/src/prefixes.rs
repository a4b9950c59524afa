//! Prefixes in use, and how many bits of a value show which of them it can match.
//!
//! A table keeps one for each address field, a tuple one for its ports. A lookup learns from it how
//! many leading bits of the packet's value decide which prefixes match: a tuple with longer ones
//! has none that does, and the cache entry depends on those bits and not on the longest prefix in
//! the table. (Open vSwitch does the same by tries, `lib/classifier.h`.)
//!
//! Prefixes are kept in order, shorter before longer. Of all of them the neighbours of a value
//! share the most bits with it, so that no others need be asked how many bits decide. Those that
//! match the value are found from the longest to the shortest: what comes before one of them in the
//! order, and is no longer than the bits it shares with the value, is the next.

use crate::counts::Counts;

/// A prefix of some width, in the order of its bits, then of its length.
pub(crate) trait Prefix: Copy + Ord {
    /// The first `len` bits of `value`, which is left-aligned.
    fn new(value: u128, len: u8) -> Self;
    /// Its bits, left-aligned; the others are zero.
    fn bits(self) -> u128;
    /// Its length.
    fn len(self) -> u8;
}

/// A prefix of at most 32 bits: the bits above, the length below.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Short(u64);

/// A prefix of at most 128 bits.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Long {
    high: u64,
    low: u64,
    len: u8,
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a value, and a length")]
impl Prefix for Short {
    fn new(value: u128, len: u8) -> Self {
        debug_assert!(len <= 32);
        Self(((value & leading(len)) >> 64) as u64 | u64::from(len))
    }

    fn bits(self) -> u128 {
        u128::from(self.0 >> 32) << 96
    }

    fn len(self) -> u8 {
        self.0 as u8
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a value")]
impl Prefix for Long {
    fn new(value: u128, len: u8) -> Self {
        let bits = value & leading(len);
        Self { high: (bits >> 64) as u64, low: bits as u64, len }
    }

    fn bits(self) -> u128 {
        u128::from(self.high) << 64 | u128::from(self.low)
    }

    fn len(self) -> u8 {
        self.len
    }
}

/// The leading `len` bits.
const fn leading(len: u8) -> u128 {
    match len {
        0 => 0,
        1..=127 => u128::MAX << (128 - len),
        _ => u128::MAX,
    }
}

/// How many leading bits two values share.
fn common(a: u128, b: u128) -> u8 {
    u8::try_from((a ^ b).leading_zeros()).unwrap_or(128)
}

/// What a value can match.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Found {
    /// Bit `n - 1` is set if a prefix of length `n` matches.
    lengths: u128,
    /// How many leading bits decided that.
    pub(crate) bits: u8,
}

impl Found {
    /// Whether a prefix of this length, which is not 0, matches.
    pub(crate) const fn has(&self, len: u8) -> bool {
        self.lengths >> (len - 1) & 1 == 1
    }
}

/// A set of prefixes, each with the number of rules that have it.
#[derive(Clone, Debug)]
pub(crate) struct Prefixes<P>(Counts<P>);

impl<P> Prefixes<P> {
    /// No prefix.
    pub(crate) const EMPTY: Self = Self(Counts::EMPTY);
}

impl<P: Prefix> Prefixes<P> {
    /// Notes one more rule with the first `len` bits of `value`; none for a prefix of no length. It
    /// counts as soon as it is settled.
    pub(crate) fn insert(&mut self, value: u128, len: u8) {
        if len > 0 {
            self.0.add(P::new(value, len));
        }
    }

    /// Forgets one rule with the first `len` bits of `value`.
    pub(crate) fn remove(&mut self, value: u128, len: u8) {
        if len > 0 {
            self.0.remove(P::new(value, len));
        }
    }

    /// Counts what has been noted.
    pub(crate) fn settle(&mut self) {
        self.0.settle();
    }

    /// Which prefixes match `value`, which is `width` bits wide. Cost: a search for each that does,
    /// and for some that nearly do.
    pub(crate) fn lookup(&self, value: u128, width: u8) -> Found {
        let mut found = Found { lengths: 0, bits: self.decisive(value, width) };
        let mut most = width;
        while most > 0
            && let (Some(prefix), _) = self.0.around(P::new(value, most))
        {
            let shared = common(prefix.bits(), value);
            if shared >= prefix.len() {
                found.lengths |= 1 << (prefix.len() - 1);
                most = prefix.len() - 1;
            } else {
                most = shared;
            }
        }
        found
    }

    /// How many leading bits of `value`, which is `width` bits wide, decide which prefixes it
    /// matches. None that is longer does.
    pub(crate) fn decisive(&self, value: u128, width: u8) -> u8 {
        let (before, after) = self.0.around(P::new(value, width));
        // Of one that does not match the first bit that differs has been looked at, too.
        let bits = |prefix: P| prefix.len().min(common(prefix.bits(), value).saturating_add(1));
        before.map_or(0, bits).max(after.map_or(0, bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_prefix() -> impl Strategy<Value = (u128, u8)> {
        (prop_oneof![any::<u16>(), 0..8u16], 0..=16u8)
            .prop_map(|(v, len)| (u128::from(v) << 112 & leading(len), len))
    }

    /// The fewest leading bits that all values with the same matches as `value` need to share.
    fn fewest(list: &[(u128, u8)], value: u128) -> u8 {
        let needed = |(bits, len): &(u128, u8)| match common(*bits, value) {
            shared if shared >= *len => *len,
            shared => shared + 1,
        };
        list.iter().map(needed).max().unwrap_or(0)
    }

    fn agrees<P: Prefix>(list: &[(u128, u8)], gone: &[(u128, u8)], value: u128) {
        let mut prefixes = Prefixes::<P>::EMPTY;
        list.iter().chain(gone).for_each(|(prefix, len)| prefixes.insert(*prefix, *len));
        gone.iter().for_each(|(prefix, len)| prefixes.remove(*prefix, *len));
        prefixes.settle();
        let found = prefixes.lookup(value, 32);
        assert_eq!(found.bits, fewest(list, value));
        for len in 1..=32 {
            let matches = |(bits, l): &(u128, u8)| *l == len && value & leading(len) == *bits;
            assert_eq!(found.has(len), list.iter().any(matches), "length {len}");
        }
    }

    proptest! {
        /// The answer is that of a list of prefixes that are all asked.
        #[test]
        fn it_agrees_with_a_list(
            list in prop::collection::vec(any_prefix(), 0..20),
            gone in prop::collection::vec(any_prefix(), 0..10),
            value: u16,
        ) {
            let value = u128::from(value) << 112;
            agrees::<Short>(&list, &gone, value);
            agrees::<Long>(&list, &gone, value);
        }
    }

    #[test]
    fn a_prefix_is_what_it_was_made_of() {
        for (value, len) in [(0xc0a8_0000u128 << 96, 16), (u128::MAX, 32), (1 << 96, 32), (0, 1)] {
            let (short, long) = (Short::new(value, len), Long::new(value, len));
            assert_eq!((short.bits(), short.len()), (value & leading(len), len));
            assert_eq!((long.bits(), long.len()), (value & leading(len), len));
        }
    }
}
