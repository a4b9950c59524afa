//! Which bits of a key count, and hashing by them.

use std::hash::{BuildHasher, Hasher};

use foldhash::fast::FixedState;
use packet::Key;

/// The stages in which a lookup looks at a mask's words: what the pipeline knows, Ethernet, network,
/// transport. A lookup that fails in an early stage has not looked at the later ones, so that the cache
/// entry it leads to does not depend on them.
pub(crate) const STAGES: usize = 4;

/// The stage of each word of a [`Key`].
const fn stage(word: usize) -> usize {
    match word {
        1..=3 => 1,
        4 | 5 | 7..=15 => 2,
        6 => 3,
        _ => 0,
    }
}

/// A set of bits of a [`Key`], and the words they lie in, in the order of the stages.
#[derive(Clone, Debug)]
pub struct Mask {
    bits: Key,
    /// The words that are not zero; only the first `ends[3]` of them mean something.
    words: [u8; Key::WORDS],
    /// Where each stage ends in `words`.
    ends: [u8; STAGES],
}

impl Mask {
    /// The mask of these bits.
    pub fn new(bits: Key) -> Self {
        let (mut words, mut ends, mut count) = ([0; Key::WORDS], [0; STAGES], 0u8);
        for (at, end) in ends.iter_mut().enumerate() {
            for (word, _) in (0u8..).zip(bits.words()).filter(|(_, bits)| **bits != 0) {
                if stage(word.into()) == at {
                    words[usize::from(count)] = word;
                    count += 1;
                }
            }
            *end = count;
        }
        Self { bits, words, ends }
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
        (0..STAGES).rev().find(|stage| !self.stage(*stage).is_empty()).unwrap_or(0)
    }

    /// What `key` has at the words that count, masked.
    #[inline]
    pub fn values<'a>(&'a self, key: &'a Key) -> impl Iterator<Item = u64> + 'a {
        self.words().iter().map(|word| key[usize::from(*word)] & self.bits[usize::from(*word)])
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

impl PartialEq for Mask {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl Eq for Mask {}

/// How this table hashes. Seeded, since whoever sends packets chooses what is hashed.
#[derive(Clone, Copy, Debug)]
pub struct Seed(pub u64);

impl Seed {
    /// Begins a hash.
    #[inline]
    pub(crate) fn hasher(self) -> impl Hasher + Clone + use<> {
        FixedState::with_seed(self.0).build_hasher()
    }

    /// Hashes `words` in order.
    #[inline]
    pub fn hash(self, words: impl IntoIterator<Item = u64>) -> u64 {
        let mut hasher = self.hasher();
        for word in words {
            hasher.write_u64(word);
        }
        hasher.finish()
    }
}

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
        assert_eq!(mask.words(), [0, 18, 1, 4, 6]);
        assert_eq!((mask.stage(0), mask.stage(1)), (&[0, 18][..], &[1][..]));
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
}
