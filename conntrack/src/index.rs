//! From the hash of a tuple to a connection: entries that any thread adds and takes away, without a
//! lock.
//!
//! An entry is one word in one of two buckets, each a cache line of eight. It comes by one
//! compare-and-swap and goes by another. Nothing ever moves, so who looks for an entry that stays
//! finds it. Nearly all are in their first bucket: how many are not is counted, in a byte for some
//! buckets beside each other. Those bytes are few enough to be near where the second bucket would have
//! to be waited for.

#[cfg(not(loom))]
use bytemuck::Zeroable;

use crate::Direction;
use crate::sync::{AtomicU8, AtomicU64, Ordering, zeroed};
use crate::tuple::TURNED;

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

    /// The least of what `differs` makes of its words: nothing branches here, for hardly any place is like
    /// another.
    #[inline]
    fn least(&self, differs: impl Fn(u64) -> u64) -> u64 {
        let words = self.0.iter().map(|place| place.load(Ordering::SeqCst));
        words.fold(u64::MAX, |least, word| least.min(differs(word)))
    }

    /// The places whose words have the tag of a hash: of the last one the lowest bit.
    #[inline]
    fn like(&self, hash: u64) -> u32 {
        // Neither here.
        self.0.iter().fold(0, |like, place| {
            2 * like + u32::from(place.load(Ordering::SeqCst) ^ hash <= !TAG)
        })
    }

    /// An entry of this hash of which `is` says yes.
    #[inline]
    fn find(&self, hash: u64, is: &mut impl FnMut(Entry) -> bool) -> Option<Entry> {
        let mut like = self.like(hash);
        while like != 0 {
            let nth = WAYS - 1 - like.trailing_zeros() as usize;
            like &= like - 1;
            // What is found is seen as it was when its entry was made, or later.
            let word = self.0[nth].load(Ordering::SeqCst);
            if (word ^ hash) & TAG == 0
                && let Some(entry) = read(word)
                && is(entry)
            {
                return Some(entry);
            }
        }
        None
    }

    /// Puts a word to where there is none; answers whether it did.
    fn add(&self, word: u64) -> bool {
        Self::add_to(&self.0, word)
    }

    /// The same in the first half.
    #[inline]
    fn add_early(&self, word: u64) -> bool {
        Self::add_to(&self.0[..WAYS / 2], word)
    }

    #[inline]
    fn add_to(places: &[AtomicU64], word: u64) -> bool {
        places.iter().any(|place| {
            let add = || place.compare_exchange(0, word, Ordering::SeqCst, Ordering::Relaxed);
            place.load(Ordering::Relaxed) == 0 && add().is_ok()
        })
    }

    /// Whether a word is there.
    #[inline]
    fn has(&self, word: u64) -> bool {
        // Nothing branches here, so that what is behind it begins before the bucket is there.
        self.0.iter().fold(false, |has, place| has | (place.load(Ordering::Relaxed) == word))
    }

    /// Takes a word away; answers whether it was there.
    fn remove(&self, word: u64) -> bool {
        self.0.iter().any(|place| {
            place.load(Ordering::Relaxed) == word
                && place.compare_exchange(word, 0, Ordering::SeqCst, Ordering::Relaxed).is_ok()
        })
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
pub(crate) struct Index {
    buckets: Box<[Bucket]>,
    /// How many entries whose first bucket is among so many are in their second one, or are being put
    /// there; as many as a byte can say are that many for ever.
    away: Box<[AtomicU8]>,
}

/// Buckets whose entries are counted together if they are in their second one.
const TOGETHER: usize = 8;

impl Index {
    /// An empty one for so many entries, at half of its places: then it hardly ever refuses.
    pub(crate) fn new(entries: usize) -> Self {
        let count = (2 * entries).div_ceil(WAYS).next_power_of_two();
        Self { buckets: zeroed(count), away: zeroed(count.div_ceil(TOGETHER)) }
    }

    /// Bytes it takes, if all of it were touched.
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.buckets) + size_of_val(&*self.away)
    }

    /// An entry of this hash of which `is` says yes.
    #[inline]
    pub(crate) fn find(&self, hash: u64, mut is: impl FnMut(Entry) -> bool) -> Option<Entry> {
        let [first, second] = self.places(hash);
        self.buckets[first].find(hash, &mut is).or_else(|| {
            // Who puts an entry into its second bucket counts it before.
            let is_away = self.away(first).load(Ordering::SeqCst) > 0;
            is_away.then(|| self.buckets[second].find(hash, &mut is)).flatten()
        })
    }

    /// Whether there is no entry of this hash: if so, it is certain.
    #[inline]
    pub(crate) fn has_none(&self, hash: u64) -> bool {
        let [first, _] = self.places(hash);
        let least = self.buckets[first].least(|word| word ^ hash);
        least > !TAG && self.away(first).load(Ordering::SeqCst) == 0
    }

    /// Whether an entry that is there is the only one of its hash: if so, it is certain. Another one that
    /// is being added sees this one then.
    #[inline]
    pub(crate) fn has_only(&self, hash: u64, entry: Entry) -> bool {
        self.has_but(hash, written(hash, entry), 0)
    }

    /// The same of two entries, those of both tuples of a connection.
    #[expect(clippy::inline_always, reason = "each connection asks it, most in one place")]
    #[inline(always)]
    pub(crate) fn has_only_both(&self, [one, other]: [u64; 2], place: u32) -> bool {
        let [original, reply] =
            [Direction::Original, Direction::Reply].map(|direction| Entry { place, direction });
        if (one ^ other) & !TURNED != 0 {
            return self.has_only(one, original) && self.has_only(other, reply);
        }
        self.has_but(one, written(one, original), TURNED | DIRECTION)
    }

    /// Whether nothing in the first bucket of a hash is like this word but itself, and what differs from it
    /// in these bits at most, and nothing is in a second one.
    #[expect(clippy::inline_always, reason = "the bits are known where it is asked")]
    #[inline(always)]
    fn has_but(&self, hash: u64, own: u64, may_differ: u64) -> bool {
        let [first, _] = self.places(hash);
        // What does not differ is turned into what differs most.
        let differs = |word: u64| ((word ^ own) & !may_differ).wrapping_sub(1);
        let least = self.buckets[first].least(differs);
        least >= !TAG && self.away(first).load(Ordering::SeqCst) == 0
    }

    /// Entries of its first bucket that may be of this hash.
    pub(crate) fn each_like(&self, hash: u64, each: impl FnMut(Entry)) {
        let [first, _] = self.places(hash);
        let words = self.buckets[first].0.iter().map(|place| place.load(Ordering::Relaxed));
        words.filter(|word| (word ^ hash) & TAG == 0).filter_map(read).for_each(each);
    }

    /// Adds an entry: in its first bucket, unless that is nearly full and the second has more room.
    #[inline]
    pub(crate) fn add(&self, hash: u64, entry: Entry) -> Result<(), Full> {
        let word = written(hash, entry);
        let [first, _] = self.places(hash);
        if self.buckets[first].add_early(word) { Ok(()) } else { self.add_late(hash, word) }
    }

    #[cold]
    fn add_late(&self, hash: u64, word: u64) -> Result<(), Full> {
        let [first, second] = self.places(hash);
        let room = self.buckets[first].room();
        let is_crowded = room < WAYS / 2 && room < self.buckets[second].room();
        if !is_crowded && self.buckets[first].add(word) {
            return Ok(());
        }
        self.go_away(first);
        if self.buckets[second].add(word) {
            return Ok(());
        }
        self.come_back(first);
        if is_crowded && self.buckets[first].add(word) { Ok(()) } else { Err(Full) }
    }

    /// Takes an entry away that is there.
    pub(crate) fn remove(&self, hash: u64, entry: Entry) {
        let word = written(hash, entry);
        let [first, second] = self.places(hash);
        if !self.buckets[first].remove(word) && self.buckets[second].remove(word) {
            self.come_back(first);
        }
    }

    /// One more is in its second bucket.
    #[cold]
    fn go_away(&self, first: usize) {
        let more = |away: u8| Some(away.saturating_add(1));
        // It always succeeds.
        let _ = self.away(first).fetch_update(Ordering::SeqCst, Ordering::Relaxed, more);
    }

    /// One less is.
    #[cold]
    fn come_back(&self, first: usize) {
        let less = |away: u8| (away < u8::MAX).then(|| away.saturating_sub(1));
        // Nobody knows how many they are that were too many.
        let _ = self.away(first).fetch_update(Ordering::SeqCst, Ordering::Relaxed, less);
    }

    /// Fetches what a lookup begins with, and mostly ends with.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        let [first, _] = self.places(hash);
        packet::memory::prefetch(&self.buckets[first]);
        packet::memory::prefetch(self.away(first));
    }

    /// Fetches the bucket where an entry of this hash mostly is.
    #[inline]
    pub(crate) fn prefetch_bucket(&self, hash: u64) {
        let [first, _] = self.places(hash);
        packet::memory::prefetch(&self.buckets[first]);
    }

    /// Fetches what taking away an entry needs besides that is there, if it is in its second bucket.
    #[inline]
    pub(crate) fn prefetch_away(&self, hash: u64, entry: Entry) {
        let [first, second] = self.places(hash);
        if !self.buckets[first].has(written(hash, entry)) {
            packet::memory::prefetch(&self.buckets[second]);
            packet::memory::prefetch(self.away(first));
        }
    }

    /// What counts the entries whose first bucket this is, and others', that are in their second one.
    #[inline]
    fn away(&self, first: usize) -> &AtomicU8 {
        &self.away[first / TOGETHER]
    }

    #[inline]
    fn places(&self, hash: u64) -> [usize; 2] {
        let last = self.buckets.len() - 1;
        let first = usize::try_from(hash).unwrap_or(0) & last;
        // By bits of the tag, so that it is another one nearly always.
        [first, first ^ (usize::try_from(hash >> 33).unwrap_or(0) | 1) & last]
    }
}

/// The bits of a hash that an entry keeps.
const TAG: u64 = u64::MAX << 33;
/// The bit of an entry that says which way it goes.
const DIRECTION: u64 = 1 << 32;

const fn written(hash: u64, entry: Entry) -> u64 {
    hash & TAG | (entry.direction as u64) << 32 | (entry.place as u64 + 1)
}

#[inline]
fn read(word: u64) -> Option<Entry> {
    let place = u32::try_from(word & 0xffff_ffff).ok()?.checked_sub(1)?;
    let direction = if word & DIRECTION == 0 { Direction::Original } else { Direction::Reply };
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
    fn what_is_in_its_second_bucket_is_found_until_it_is_removed() {
        let index = Index::new(100);
        let entry = |place| Entry { place, direction: Direction::Original };
        let count = u32::try_from(2 * WAYS).unwrap();
        (0..count).for_each(|place| index.add(5, entry(place)).unwrap());
        for place in (0..count).rev() {
            assert_eq!(index.find(5, |found| found == entry(place)), Some(entry(place)));
            index.remove(5, entry(place));
            assert_eq!(index.find(5, |found| found == entry(place)), None);
        }
        assert!(index.away.iter().all(|away| away.load(Ordering::Relaxed) == 0));
    }

    /// With others in its bucket, some of which are like it.
    #[test]
    fn who_is_alone_is_known() {
        let index = Index::new(100);
        let (hash, like) = (5 << 40, 5 << 40 | 1 << 20);
        let entry = |place, direction| Entry { place, direction };
        let [own, back] =
            [Direction::Original, Direction::Reply].map(|direction| entry(7, direction));
        assert!(index.has_none(hash));
        index.add(6 << 40, entry(1, Direction::Reply)).unwrap();
        index.add(hash, own).unwrap();
        assert!(!index.has_none(hash) && index.has_only(hash, own));
        index.add(hash ^ TURNED, back).unwrap();
        assert!(index.has_only_both([hash, hash ^ TURNED], 7));
        for (other, has_only) in [(hash, [false; 2]), (hash ^ TURNED, [true, false])] {
            index.add(other, entry(8, Direction::Original)).unwrap();
            let both = index.has_only_both([hash, hash ^ TURNED], 7);
            assert_eq!([index.has_only(hash, own), both], has_only);
            index.remove(other, entry(8, Direction::Original));
        }
        index.remove(hash ^ TURNED, back);
        // As of what one says to itself.
        index.add(hash, back).unwrap();
        assert!(index.has_only_both([hash, hash], 7) && !index.has_only(hash, own));
        index.remove(hash, back);
        // Of two hashes that differ in what no entry keeps, and nobody knows.
        index.add(like, back).unwrap();
        assert!(!index.has_only_both([hash, like], 7));
    }

    /// So many that a byte cannot count them.
    #[test]
    fn what_cannot_be_counted_is_looked_for_for_ever() {
        let index = Index::new(100);
        let [first, _] = index.places(5);
        (0..300).for_each(|_| index.go_away(first));
        (0..300).for_each(|_| index.come_back(first));
        assert_eq!(index.away(first).load(Ordering::Relaxed), u8::MAX);
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

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    const HASH: u64 = 5 << 40;

    fn entry(place: u32) -> Entry {
        Entry { place, direction: Direction::Original }
    }

    /// Comes, and says whether the other one is there.
    fn come(index: &Index, place: u32) -> bool {
        index.add(HASH, entry(place)).unwrap();
        let sees = || index.find(HASH, |found| found == entry(3 - place)).is_some();
        !index.has_only(HASH, entry(place)) && sees()
    }

    /// Also where the first bucket has room for one of them only.
    #[test]
    fn of_two_that_come_at_once_one_sees_the_other() {
        for others in 0..=2 {
            loom::model(move || {
                let index = Arc::new(Index::new(4));
                (0..others).for_each(|n| index.add(HASH, entry(7 + n)).unwrap());
                let thread = thread::spawn({
                    let index = Arc::clone(&index);
                    move || come(&index, 1)
                });
                let seen = come(&index, 2);
                assert!(thread.join().unwrap() | seen);
            });
        }
    }

    /// While another one comes and goes.
    #[test]
    fn who_stays_is_seen() {
        loom::model(|| {
            let index = Arc::new(Index::new(4));
            (0..3).for_each(|n| index.add(HASH, entry(7 + n)).unwrap());
            let thread = thread::spawn({
                let index = Arc::clone(&index);
                move || {
                    index.remove(HASH, entry(8));
                    index.add(HASH, entry(1)).unwrap();
                    index.remove(HASH, entry(1));
                }
            });
            assert!(index.find(HASH, |found| found == entry(9)).is_some());
            thread.join().unwrap();
        });
    }
}
