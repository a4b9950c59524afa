//! Which bits of a key count, and hashing by them.

use api::{Match, PortRange};
use packet::{Key, Seed};

use crate::table::Looked;
use crate::values::Values;

/// The stages in which a lookup looks at a mask's words: what the pipeline knows, Ethernet,
/// network, transport. A lookup that fails in an early stage has not looked at the later ones, so
/// that the cache entry it leads to does not depend on them.
pub(crate) const STAGES: usize = 4;

/// The stage of each word of a [`Key`].
const fn stage(word: usize) -> usize {
    match word {
        1..=3 => 1,
        4 | 5 | 7..=14 => 2,
        6 => 3,
        _ => 0,
    }
}

/// A set of bits of a [`Key`], and the words they lie in, in the order of the stages; also, which
/// ports are matched by ranges.
#[derive(Clone, Debug)]
pub struct Mask {
    bits: Key,
    /// Whether ranges of source and destination ports are matched.
    ranged: [bool; 2],
    /// What [`Mask::hash_of`] says of them.
    hash: u64,
    /// The words that are not zero; only the first `ends[3]` of them mean something.
    words: [u8; Key::WORDS],
    /// Their bits, in the same order.
    packed: [u64; Key::WORDS],
    /// Where each stage ends in `words`.
    ends: [u8; STAGES],
}

impl Mask {
    /// The mask of these bits.
    pub fn new(bits: Key) -> Self {
        let (mut words, mut packed) = ([0; Key::WORDS], [0; Key::WORDS]);
        let (mut ends, mut count) = ([0; STAGES], 0u8);
        for (at, end) in ends.iter_mut().enumerate() {
            for (word, bits) in (0u8..).zip(bits.words()).filter(|(_, bits)| **bits != 0) {
                if stage(word.into()) == at {
                    words[usize::from(count)] = word;
                    packed[usize::from(count)] = *bits;
                    count += 1;
                }
            }
            *end = count;
        }
        let ranged = [false; 2];
        Self { bits, ranged, hash: hash_of(&bits, ranged), words, packed, ends }
    }

    /// What a match looks at.
    pub fn of(matching: &Match) -> Self {
        let ranged = matching.ranges().map(|range| range.is_some());
        Self { ranged, hash: Self::hash_of(matching), ..Self::new(*matching.mask()) }
    }

    /// Whether it is what this match looks at.
    pub(crate) fn is_of(&self, matching: &Match) -> bool {
        self.ranged == matching.ranges().map(|range| range.is_some())
            && self.bits == *matching.mask()
    }

    /// A hash of what a match looks at, the same in every table: masks are the operator's, so that
    /// it needs no seed.
    pub(crate) fn hash_of(matching: &Match) -> u64 {
        hash_of(matching.mask(), matching.ranges().map(|range| range.is_some()))
    }

    /// The same of this mask.
    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// Which ports are matched by ranges: source, destination.
    pub(crate) const fn ranged(&self) -> [bool; 2] {
        self.ranged
    }

    /// The bits.
    #[inline]
    pub const fn bits(&self) -> &Key {
        &self.bits
    }

    /// The numbers of the words that count, in the order of the stages.
    #[inline]
    pub fn words(&self) -> &[u8] {
        &self.words[..usize::from(self.ends[STAGES - 1])]
    }

    /// The words of one stage.
    pub(crate) fn stage(&self, stage: usize) -> &[u8] {
        let start = if stage == 0 { 0 } else { self.ends[stage - 1] };
        &self.words[usize::from(start)..usize::from(self.ends[stage])]
    }

    /// The last stage that has words.
    pub(crate) fn last_stage(&self) -> usize {
        let last = (0..STAGES).rev().find(|stage| !self.stage(*stage).is_empty());
        if self.ranged == [false; 2] { last.unwrap_or(0) } else { STAGES - 1 }
    }

    /// What `key` has at the words that count, masked.
    #[inline]
    pub fn values<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = u64> + 'a {
        let words = self.words().iter().zip(&self.packed);
        // The remainder only tells the compiler what is true anyway.
        words.map(|(word, bits)| key[usize::from(*word) % Key::WORDS] & bits)
    }

    /// Whether all of these bits are bits of this mask.
    pub(crate) fn has(&self, bits: &Key) -> bool {
        bits.words().iter().zip(self.bits.words()).all(|(bits, own)| bits & !own == 0)
    }

    /// Whether all bits of this mask are among these.
    pub(crate) fn lies_within(&self, bits: &Key) -> bool {
        self.words()
            .iter()
            .zip(&self.packed)
            .all(|(word, own)| own & !bits[usize::from(*word)] == 0)
    }

    /// Whether a rule with this mask and these values says what `matching`, whose bits are bits of
    /// this mask, says of them.
    pub(crate) fn is_within(&self, values: &[u64], matching: &Match) -> bool {
        let words = self.words().iter().map(|word| usize::from(*word)).zip(values);
        words
            .into_iter()
            .all(|(word, value)| (value ^ matching.key()[word]) & matching.mask()[word] == 0)
    }

    /// Whether `key` has `values` at the words that count.
    #[inline]
    pub(crate) fn agrees(&self, key: &Key, values: &[u64]) -> bool {
        // Few words, nearly always all equal: no branch between them.
        self.values(key).zip(values).fold(0, |differ, (ours, theirs)| differ | (ours ^ theirs)) == 0
    }

    /// Whether all of these have `values` at the words that count: word by word, so that each is
    /// looked up and its bits are loaded once.
    #[inline]
    pub(crate) fn all_agree(&self, keys: &[Key], values: &[u64]) -> bool {
        let words = self.words().iter().zip(&self.packed).zip(values);
        words.into_iter().all(|((word, bits), value)| {
            let word = usize::from(*word) % Key::WORDS;
            keys.iter().fold(0, |differ, key| differ | (key[word] ^ value)) & bits == 0
        })
    }

    /// The hash of what each key has at the words that count.
    #[inline]
    pub(crate) fn hash_all(&self, seed: Seed, keys: &[Key], hashes: &mut [u64]) {
        // Unrolled for the masks that are common: places and bits stay in registers from key to
        // key.
        match self.words().len() {
            2 => self.hash_words::<2>(seed, keys, hashes),
            3 => self.hash_words::<3>(seed, keys, hashes),
            4 => self.hash_words::<4>(seed, keys, hashes),
            5 => self.hash_words::<5>(seed, keys, hashes),
            6 => self.hash_words::<6>(seed, keys, hashes),
            _ => {
                for (key, hash) in keys.iter().zip(hashes) {
                    *hash = seed.hash(self.values(key));
                }
            }
        }
    }

    #[inline]
    fn hash_words<const N: usize>(&self, seed: Seed, keys: &[Key], hashes: &mut [u64]) {
        let (words, bits) = self.first::<N>();
        for (key, hash) in keys.iter().zip(hashes) {
            *hash = seed.hash((0..N).map(|n| key[words[n]] & bits[n]));
        }
    }

    /// The places and the bits of the first words that count.
    #[inline]
    fn first<const N: usize>(&self) -> ([usize; N], [u64; N]) {
        let place = |n: usize| usize::from(self.words[n]) % Key::WORDS;
        (std::array::from_fn(place), std::array::from_fn(|n| self.packed[n]))
    }

    /// Whether each key has the values that are guessed for it, if any are, at the words that count.
    #[inline]
    pub(crate) fn agree_each<'a>(
        &self,
        keys: &[Key],
        guessed: impl Iterator<Item = Option<&'a [u64; Key::PACKET_WORDS]>>,
        agreed: &mut [bool],
    ) {
        // As with hashes.
        match self.words().len() {
            2 => self.agree_words::<2>(keys, guessed, agreed),
            3 => self.agree_words::<3>(keys, guessed, agreed),
            4 => self.agree_words::<4>(keys, guessed, agreed),
            5 => self.agree_words::<5>(keys, guessed, agreed),
            6 => self.agree_words::<6>(keys, guessed, agreed),
            _ => {
                for ((key, values), agreed) in keys.iter().zip(guessed).zip(agreed) {
                    *agreed = values.is_some_and(|values| self.agrees(key, values));
                }
            }
        }
    }

    #[inline]
    fn agree_words<'a, const N: usize>(
        &self,
        keys: &[Key],
        guessed: impl Iterator<Item = Option<&'a [u64; Key::PACKET_WORDS]>>,
        agreed: &mut [bool],
    ) {
        let (words, bits) = self.first::<N>();
        for ((key, values), agreed) in keys.iter().zip(guessed).zip(agreed) {
            let differs = |values: &[u64; Key::PACKET_WORDS]| {
                (0..N).fold(0, |differ, n| differ | ((key[words[n]] & bits[n]) ^ values[n])) != 0
            };
            *agreed = values.is_some_and(|values| !differs(values));
        }
    }

    /// What a match with this mask says: its words, and one more for its ranges if it has any.
    pub fn values_of(&self, matching: &Match) -> Values {
        let is_ranged = self.ranged != [false; 2];
        let ranges = is_ranged.then(|| pack(matching.ranges()));
        self.values(matching.key()).chain(ranges).collect()
    }

    /// The ranges of ports that are among the values of a match.
    pub(crate) fn ranges_of(&self, values: &[u64]) -> [Option<PortRange>; 2] {
        let Some(word) = values.get(self.words().len()) else { return [None; 2] };
        let [src, dst] = unpack(*word);
        [self.ranged[0].then_some(src), self.ranged[1].then_some(dst)]
    }

    /// The first of the ports, source (0) or destination (1), that is not in the range it should be in.
    pub(crate) fn outside(&self, key: &Key, values: &[u64]) -> Option<usize> {
        let ports = [Key::TP_SRC, Key::TP_DST].map(|span| key.word(span));
        let ranges = self.ranges_of(values).into_iter().zip(ports);
        ranges.into_iter().position(|(range, port)| {
            range.is_some_and(|range| {
                !(u64::from(range.first)..=u64::from(range.last)).contains(&port)
            })
        })
    }

    /// Notes which bits show that a packet with this key does not agree with `values`; answers
    /// whether it does not. As few as there are: none, if others that were looked at show it.
    pub(crate) fn look_at_difference(
        &self,
        key: &Key,
        values: &[u64],
        looked: &mut impl Looked,
    ) -> bool {
        let mut first = None;
        for ((word, bits), value) in self.words().iter().zip(&self.packed).zip(values) {
            let word = usize::from(*word);
            let differ = key[word] & bits ^ value;
            if differ != 0 {
                if looked.shows(word, differ) {
                    return true;
                }
                first = first.or(Some((word, bits & leading(word, differ))));
            }
        }
        let port = |field: usize| (Key::TP_DST.word(), 0xffff << (48 - 16 * field));
        let first = first.or_else(|| self.outside(key, values).map(port));
        first.is_some_and(|(word, bits)| {
            looked.at(word, bits);
            true
        })
    }

    /// Notes all bits that a rule with these values looks at.
    pub(crate) fn look_at_all(&self, looked: &mut impl Looked) {
        for (word, bits) in self.words().iter().zip(&self.packed) {
            looked.at(usize::from(*word), *bits);
        }
        for field in (0..2usize).filter(|field| self.ranged[*field]) {
            looked.at(Key::TP_DST.word(), 0xffff << (48 - 16 * field));
        }
    }

    /// The key that has `values` at the words that count, and zero elsewhere.
    pub fn expand(&self, values: &[u64]) -> Key {
        let mut key = Key::ZERO;
        for (word, value) in self.words().iter().zip(values) {
            key[usize::from(*word)] = *value;
        }
        key
    }
}

/// The bits of a field up to the first that differs, as a prefix has them.
const fn leading(word: usize, differ: u64) -> u64 {
    // Fields do not lie across these: both IPv4 addresses in a word, halves of those of IPv6.
    let width = match word {
        4 => 32,
        7..=10 => 64,
        _ => 16,
    };
    let highest = differ.ilog2();
    let end = highest / width * width + width;
    u64::MAX >> (64 - end) & u64::MAX << highest
}

/// The same of these bits, and of which ports are matched by ranges: source, destination.
pub(crate) fn hash_of(bits: &Key, ranged: [bool; 2]) -> u64 {
    let [src, dst] = ranged.map(u64::from);
    let words = (1u64..).zip(bits.words()).filter(|(_, bits)| **bits != 0);
    Seed(src << 1 | dst).hash(words.map(|(word, bits)| bits ^ word.rotate_right(8)))
}

/// Ranges of source and destination ports as one word; a port without one is any port.
pub(crate) fn pack(ranges: [Option<PortRange>; 2]) -> u64 {
    let any = PortRange { first: 0, last: u16::MAX };
    let [src, dst] = ranges.map(|range| range.unwrap_or(any));
    [src.first, src.last, dst.first, dst.last]
        .into_iter()
        .fold(0, |word, port| word << 16 | u64::from(port))
}

/// The ranges of source and destination ports of such a word.
#[expect(clippy::cast_possible_truncation, reason = "four ports make a word")]
pub(crate) const fn unpack(word: u64) -> [PortRange; 2] {
    [
        PortRange { first: (word >> 48) as u16, last: (word >> 32) as u16 },
        PortRange { first: (word >> 16) as u16, last: word as u16 },
    ]
}

impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        // Rules of a table share theirs.
        std::ptr::eq(self, other) || self.bits == other.bits && self.ranged == other.ranged
    }
}

impl Eq for Mask {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_in_the_order_of_the_stages() {
        let mut bits = Key::ZERO;
        for span in [Key::TP_DST, Key::NW_DST, Key::ETH_TYPE, Key::reg(3), Key::IN_PORT] {
            bits.set_all(span);
        }
        let mask = Mask::new(bits);
        let reg = u8::try_from(Key::reg(3).word()).unwrap();
        assert_eq!(mask.words(), [0, reg, 1, 4, 6]);
        assert_eq!((mask.stage(0), mask.stage(1)), (&[0, reg][..], &[1][..]));
        assert_eq!((mask.stage(2), mask.stage(3), mask.last_stage()), (&[4][..], &[6][..], 3));
        assert!(Mask::new(Key::ZERO).words().is_empty());
    }

    #[test]
    fn values_expand_to_the_masked_key() {
        let key = Key::ZERO.with(Key::NW_DST, 0x0a01_0203u32).with(Key::TP_DST, 80u16);
        let mut bits = Key::ZERO;
        bits.set(Key::NW_DST, 0xffff_0000u32);
        let mask = Mask::new(bits);
        let values: Vec<_> = mask.values(&key).collect();
        assert_eq!(mask.expand(&values), key & bits);
    }

    #[test]
    fn hashes_of_neighbours_spread_over_both_ends() {
        use std::collections::HashSet;
        let hashes: Vec<_> = (0..4096u64).map(|n| Seed(5).hash([n << 32, 80])).collect();
        for (shift, least) in [(0, 2450), (48, 2450)] {
            // Random numbers would hit 4096 * (1 - 1/e) of as many places: 2589.
            let places: HashSet<_> = hashes.iter().map(|hash| hash >> shift & 0xfff).collect();
            assert!(places.len() > least, "{} places at bit {shift}", places.len());
        }
        assert_ne!(Seed(1).hash([1]), Seed(2).hash([1]));
    }
}
