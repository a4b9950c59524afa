//! From the hash of a tuple to a connection: entries that any thread adds and takes away, without a
//! lock.
//!
//! An entry is one word in one of two buckets, each a cache line of eight. It comes by one
//! compare-and-swap and goes by another. Nothing ever moves, so who looks for an entry that stays
//! finds it.

#[cfg(not(loom))]
use bytemuck::Zeroable;

use crate::Direction;
use crate::sync::{AtomicU64, Ordering, zeroed};

/// Entries of a bucket.
const WAYS: usize = if cfg!(loom) { 2 } else { 8 };

#[cfg_attr(not(loom), derive(Zeroable))]
#[derive(Debug, Default)]
#[repr(C, align(64))]
struct Bucket([AtomicU64; WAYS]);

impl Bucket {
    /// How many entries it still takes.
    fn room(&self) -> usize {
        self.0.iter().filter(|place| place.load(Ordering::Relaxed) == 0).count()
    }
}

/// A connection's place, and which of its two tuples leads there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Entry {
    pub(crate) place: u32,
    pub(crate) direction: Direction,
}

/// Both buckets of an entry are full.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full;

#[derive(Debug)]
pub(crate) struct Index(Box<[Bucket]>);

impl Index {
    /// An empty one for so many entries, at half of its places: then it hardly ever refuses.
    pub(crate) fn new(entries: usize) -> Self {
        Self(zeroed((2 * entries).div_ceil(WAYS).next_power_of_two()))
    }

    /// Bytes it takes, if all of it were touched.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// An entry of this hash of which `is` says yes.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(Entry) -> bool) -> Option<Entry> {
        for bucket in self.buckets(hash) {
            for place in &bucket.0 {
                // What is found is seen as it was when its entry was made, or later.
                let word = place.load(Ordering::SeqCst);
                if (word ^ hash) & TAG == 0
                    && let Some(entry) = read(word)
                    && is(entry)
                {
                    return Some(entry);
                }
            }
        }
        None
    }

    /// Adds an entry: in its first bucket, unless that is nearly full and the second has more room.
    pub(crate) fn add(&self, hash: u64, entry: Entry) -> Result<(), Full> {
        let word = written(hash, entry);
        let [first, second] = self.buckets(hash);
        let room = first.room();
        let is_crowded = room < WAYS / 2 && room < second.room();
        for bucket in if is_crowded { [second, first] } else { [first, second] } {
            for place in &bucket.0 {
                let add = || place.compare_exchange(0, word, Ordering::SeqCst, Ordering::Relaxed);
                if place.load(Ordering::Relaxed) == 0 && add().is_ok() {
                    return Ok(());
                }
            }
        }
        Err(Full)
    }

    /// Takes an entry away that is there.
    pub(crate) fn remove(&self, hash: u64, entry: Entry) {
        let word = written(hash, entry);
        let mut places = self.buckets(hash).into_iter().flat_map(|bucket| &bucket.0);
        places.any(|place| {
            place.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        });
    }

    /// Fetches both buckets of `hash`: whoever finds nothing has looked at both.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        self.buckets(hash).into_iter().for_each(packet::memory::prefetch);
    }

    #[inline]
    fn buckets(&self, hash: u64) -> [&Bucket; 2] {
        let last = self.0.len() - 1;
        let first = usize::try_from(hash).unwrap_or(0) & last;
        // By bits of the tag, so that it is another one nearly always.
        let second = first ^ (usize::try_from(hash >> 33).unwrap_or(0) | 1) & last;
        [&self.0[first], &self.0[second]]
    }
}

/// The bits of a hash that an entry keeps.
const TAG: u64 = u64::MAX << 33;

const fn written(hash: u64, entry: Entry) -> u64 {
    hash & TAG | (entry.direction as u64) << 32 | (entry.place as u64 + 1)
}

#[inline]
fn read(word: u64) -> Option<Entry> {
    let place = u32::try_from(word & 0xffff_ffff).ok()?.checked_sub(1)?;
    let direction = if word >> 32 & 1 == 0 { Direction::Original } else { Direction::Reply };
    Some(Entry { place, direction })
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    const ENTRY: Entry = Entry { place: 7, direction: Direction::Reply };

    #[test]
    fn what_was_added_is_found_until_it_is_removed() {
        let index = Index::new(100);
        let others = Entry { place: 7, direction: Direction::Original };
        index.add(1 << 40, ENTRY).unwrap();
        index.add(1 << 40, others).unwrap();
        assert_eq!(index.find(1 << 40, |entry| entry == ENTRY), Some(ENTRY));
        assert_eq!(index.find(2 << 40, |_| true), None, "another tag in that bucket");
        index.remove(1 << 40, ENTRY);
        assert_eq!(index.find(1 << 40, |_| true), Some(others));
    }

    #[test]
    fn two_full_buckets_refuse() {
        let index = Index::new(100);
        let entry = |place| Entry { place, direction: Direction::Original };
        let room = (0..).take_while(|place| index.add(5, entry(*place)).is_ok()).count();
        assert_eq!(room, 2 * WAYS);
        index.remove(5, entry(3));
        assert_eq!(index.add(5, ENTRY), Ok(()));
    }

    #[test]
    fn at_half_of_its_places_it_does_not_refuse() {
        let (count, seed) = (if cfg!(miri) { 500 } else { 100_000 }, packet::Seed(7));
        let index = Index::new(count as usize);
        for place in 0..count {
            let entry = Entry { place, direction: Direction::Original };
            assert_eq!(index.add(seed.hash([place.into()]), entry), Ok(()), "{place}");
        }
    }
}
