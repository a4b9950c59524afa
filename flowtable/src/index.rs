//! From a hash to a few candidates: the index of every cache.
//!
//! A bucket is one cache line: eight tags of 16 bits beside eight numbers. A lookup compares all
//! tags of the line at once and asks the caller about the numbers whose tag fits, nearly always
//! just one. An entry may also be in a second bucket, which is looked at only if the first one has
//! sent entries there.
//!
//! An index never grows: a full one refuses, and the caller, being a cache, lets something go.

use bytemuck::Zeroable;
use packet::memory::prefetch;

const WAYS: usize = 8;

/// Eight entries in one cache line.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C, align(64))]
struct Bucket {
    /// Upper bits of the hashes, four to a word; 0 is an empty place.
    tags: [u64; WAYS / 4],
    /// What the entries stand for.
    numbers: [u32; WAYS],
    /// Entries that belong here and are in their second bucket.
    away: u32,
    _rest: [u32; 3],
}

/// An index of numbers by hash.
#[derive(Debug)]
pub struct Index {
    buckets: Box<[Bucket]>,
}

/// Both buckets of an entry are full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Full;

impl Index {
    /// Bytes it takes, most of them never touched while it is nearly empty.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets)
    }

    /// An empty index for about `entries` entries. Memory is taken as it is touched.
    pub fn new(entries: usize) -> Self {
        // At three quarters of its places an index hardly ever refuses.
        let buckets = (entries * 4 / 3).div_ceil(WAYS).next_power_of_two();
        Self { buckets: bytemuck::allocation::zeroed_slice_box(buckets) }
    }

    /// Never 0. Taken from bits that do not choose the bucket.
    #[inline]
    fn tag(hash: u64) -> u16 {
        u16::try_from(hash >> 48).unwrap_or(0) | 1
    }

    #[inline]
    fn first(&self, hash: u64) -> usize {
        usize::try_from(hash).unwrap_or(0) & (self.buckets.len() - 1)
    }

    #[inline]
    fn second(&self, hash: u64) -> usize {
        let other = usize::from(Self::tag(hash)).wrapping_mul(0x9e37_79b1) | 1;
        (self.first(hash) ^ other) & (self.buckets.len() - 1)
    }

    /// Fetches the line that a lookup of `hash` begins with.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        prefetch(&self.buckets[self.first(hash)]);
    }

    /// The number with this hash for which `is` says yes.
    #[inline]
    pub fn find(&self, hash: u64, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = Self::tag(hash);
        let bucket = &self.buckets[self.first(hash)];
        if let Some(found) = bucket.find(tag, &mut is) {
            return Some(found);
        }
        if bucket.away == 0 {
            return None;
        }
        self.buckets[self.second(hash)].find(tag, &mut is)
    }

    /// The first number whose tag fits in the first bucket: right nearly always, and good to
    /// prefetch.
    #[inline]
    pub fn guess(&self, hash: u64) -> Option<u32> {
        self.buckets[self.first(hash)].first(Self::tag(hash))
    }

    /// Adds a number under a hash.
    pub fn insert(&mut self, hash: u64, number: u32) -> Result<(), Full> {
        let tag = Self::tag(hash);
        let (first, second) = (self.first(hash), self.second(hash));
        if self.buckets[first].add(tag, number) {
            return Ok(());
        }
        if first == second || !self.buckets[second].add(tag, number) {
            return Err(Full);
        }
        self.buckets[first].away += 1;
        Ok(())
    }

    /// Removes a number that is there under this hash.
    pub fn remove(&mut self, hash: u64, number: u32) {
        let tag = Self::tag(hash);
        let (first, second) = (self.first(hash), self.second(hash));
        if !self.buckets[first].remove(tag, number) && self.buckets[second].remove(tag, number) {
            self.buckets[first].away -= 1;
        }
    }

    /// Whether an entry with this hash would be refused.
    pub fn is_crowded(&self, hash: u64) -> bool {
        self.buckets[self.first(hash)].is_full() && self.buckets[self.second(hash)].is_full()
    }

    /// The numbers one of which must go before an entry with this hash can be added.
    pub fn rivals(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        let of = |bucket: usize| {
            let bucket = &self.buckets[bucket];
            let taken = (0..WAYS).filter(|place| bucket.tag_at(*place) != 0);
            taken.map(|place| bucket.numbers[place])
        };
        of(self.first(hash)).chain(of(self.second(hash)))
    }
}

impl Bucket {
    /// The upper bit of each of the four places from `half * 4` on that has this tag.
    #[inline]
    fn with_tag(&self, half: usize, tag: u16) -> u64 {
        const ONES: u64 = 0x0001_0001_0001_0001;
        const LOW: u64 = 0x7fff_7fff_7fff_7fff;
        // Four tags in one word: what is equal becomes zero, and only zero does not carry into the
        // upper bit of its place. (Henry Warren, Hacker's Delight, 6-1.)
        let differ = self.tags[half] ^ (u64::from(tag) * ONES);
        !(((differ & LOW) + LOW) | differ | LOW)
    }

    #[inline]
    fn find(&self, tag: u16, is: &mut impl FnMut(u32) -> bool) -> Option<u32> {
        for half in 0..2 {
            let mut places = self.with_tag(half, tag);
            while places != 0 {
                let place = half * 4 + places.trailing_zeros() as usize / 16;
                let number = self.numbers[place % WAYS];
                if is(number) {
                    return Some(number);
                }
                places &= places - 1;
            }
        }
        None
    }

    /// The first number with this tag: without a jump for each half, which nobody could foresee.
    #[inline]
    fn first(&self, tag: u16) -> Option<u32> {
        let [low, high] = [0, 1].map(|half| self.with_tag(half, tag));
        // Four places each, of which the halves take turns.
        let places = low >> 15 | high >> 14;
        let first = places.trailing_zeros() as usize;
        (places != 0).then(|| self.numbers[(first / 16 + first % 2 * 4) % WAYS])
    }

    fn tag_at(&self, place: usize) -> u16 {
        u16::try_from(self.tags[place / 4] >> (16 * (place % 4)) & 0xffff).unwrap_or(0)
    }

    fn set_tag(&mut self, place: usize, tag: u16) {
        let shift = 16 * (place % 4);
        let word = &mut self.tags[place / 4];
        *word = *word & !(0xffff << shift) | u64::from(tag) << shift;
    }

    fn is_full(&self) -> bool {
        self.with_tag(0, 0) == 0 && self.with_tag(1, 0) == 0
    }

    fn add(&mut self, tag: u16, number: u32) -> bool {
        let free = (0..WAYS).find(|place| self.tag_at(*place) == 0);
        if let Some(place) = free {
            self.set_tag(place, tag);
            self.numbers[place] = number;
        }
        free.is_some()
    }

    fn remove(&mut self, tag: u16, number: u32) -> bool {
        let is = |place: &usize| self.tag_at(*place) == tag && self.numbers[*place] == number;
        let place = (0..WAYS).find(is);
        if let Some(place) = place {
            self.set_tag(place, 0);
        }
        place.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        /// Many entries share few hashes, so that buckets overflow and tags collide.
        #[test]
        fn it_agrees_with_a_map(steps in prop::collection::vec((any::<bool>(), 0..40u64, 0..64u32), 0..400)) {
            let mut index = Index::new(64);
            let mut model: HashMap<u32, u64> = HashMap::new();
            for (add, hash, number) in steps {
                let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                if add && !model.contains_key(&number) {
                    if index.insert(hash, number).is_ok() {
                        model.insert(number, hash);
                    } else {
                        prop_assert!(index.rivals(hash).count() >= WAYS);
                    }
                } else if let Some(hash) = model.remove(&number) {
                    index.remove(hash, number);
                }
                for (number, hash) in &model {
                    prop_assert_eq!(index.find(*hash, |n| n == *number), Some(*number));
                }
                prop_assert_eq!(index.find(hash, |n| !model.contains_key(&n)), None);
            }
        }
    }

    #[test]
    fn a_bucket_is_a_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    #[test]
    #[cfg_attr(miri, ignore = "what is counted takes many, and miri minutes for them")]
    fn random_hashes_fill_three_quarters() {
        let mut index = Index::new(30_000);
        let seed = packet::Seed(3);
        let refused = (0..24_000u32)
            .filter(|n| index.insert(seed.hash([u64::from(*n)]), *n).is_err())
            .count();
        assert!(refused < 24, "{refused} refused");
    }
}
