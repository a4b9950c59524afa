//! A bucket of tokens: what comes at a rate may be taken at once up to a size, by any number of
//! threads and without a lock.
//!
//! The state is one word. It is not how full the bucket is, which would have to be brought up to
//! date little by little, rounding each time, but what has been *taken* in all. What has been
//! *poured* in all is a function of the time alone, so nothing adds up that should not: over any
//! span the rate is right to one token. The difference of the two is the level; where it passes the
//! size, the bucket ran over, and the next taker counts what was lost as taken.
//!
//! Tokens are kept as fractions, as fine as the rate leaves room for, and both sums wrap around.
//!
//! **Threads.** Takers may hand in times a little apart. Whoever is late finds less poured than
//! others have taken already, and gets nothing; it never gets twice what was poured once.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering};

/// A bucket of tokens, shared by all who take from it.
#[derive(Debug)]
pub struct TokenBucket {
    /// All that has been taken or has run over, in fractions of a token; wraps around.
    taken: AtomicU64,
    /// Fractions that come in a second.
    rate: u64,
    /// Fractions that come in a nanosecond, times 2^32.
    pace: u64,
    /// Fractions that it holds.
    size: i64,
    /// Fractions by which more may have been taken than was poured: a debt, or a time that another
    /// thread is ahead of us.
    ahead: i64,
    /// A token is 2^this fractions.
    scale: u32,
}

/// Bits of the fractions that come in a second: what is left of a word wraps around after a year.
const RATE_BITS: u32 = 36;
/// Bits of the fractions that a bucket holds.
const SIZE_BITS: u32 = 60;
/// The finest fraction.
const FINEST: u32 = 30;
const NANOS: u64 = 1_000_000_000;

impl TokenBucket {
    /// The most that is taken at once.
    pub const MOST: u64 = 1 << 28;
    /// The highest rate.
    pub const FASTEST: u64 = 1 << 42;
    /// The largest size.
    pub const LARGEST: u64 = 1 << SIZE_BITS;

    /// A full bucket of `size` tokens, into which `rate` flow in a second. Both are at least one;
    /// more than [`TokenBucket::FASTEST`] and [`TokenBucket::LARGEST`] is as much as these.
    pub fn new(rate: u64, size: u64, now: Duration) -> Self {
        let (rate, size) = (rate.clamp(1, Self::FASTEST), size.clamp(1, Self::LARGEST));
        let bits = |value: u64| u64::BITS - value.leading_zeros();
        let scale = RATE_BITS
            .saturating_sub(bits(rate))
            .min(SIZE_BITS.saturating_sub(bits(size)))
            .min(FINEST);
        let rate = rate << scale;
        let pace = (u128::from(rate) << 32) / u128::from(NANOS);
        let size = (size << scale).cast_signed();
        let mut bucket = Self {
            taken: AtomicU64::new(0),
            rate,
            pace: u64::try_from(pace).unwrap_or(u64::MAX),
            size,
            ahead: (Self::MOST << scale).cast_signed() + rate.cast_signed(),
            scale,
        };
        bucket.taken = AtomicU64::new(bucket.poured(now).wrapping_sub(size.cast_unsigned()));
        bucket
    }

    /// Takes `volume` tokens if `least` of them are there, and owes the others. Answers whether they
    /// were; if not, nothing was taken.
    ///
    /// * Domain: `least` is no more than `volume`, and that no more than [`TokenBucket::MOST`].
    /// * Cost: two multiplications and a compare-exchange, which is repeated if another thread was
    ///   faster.
    #[inline]
    pub fn take(&self, volume: u64, least: u64, now: Duration) -> bool {
        let (volume, least) = (self.fractions(volume), self.fractions(least).cast_signed());
        let poured = self.poured(now);
        // Relaxed: the word is all there is; nothing else is read or written because of it.
        let take = |taken: u64| {
            let level = self.level(poured, taken);
            let before = poured.wrapping_sub(level.cast_unsigned());
            (level >= least).then(|| before.wrapping_add(volume))
        };
        self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// How long it takes from `now` on until `least` tokens are there, if nobody takes any
    /// meanwhile. More than its size count as there when it is full.
    pub fn wait(&self, least: u64, now: Duration) -> Duration {
        self.until(least, self.level(self.poured(now), self.taken.load(Ordering::Relaxed)))
    }

    /// How long it takes until `least` tokens are there, when there are so many fractions now.
    fn until(&self, least: u64, level: i64) -> Duration {
        let least = self.fractions(least).cast_signed().min(self.size);
        let Ok(missing @ 1..) = u64::try_from(least.saturating_sub(level)) else {
            return Duration::ZERO;
        };
        let nanos = (u128::from(missing) * u128::from(NANOS)).div_ceil(u128::from(self.rate));
        // What comes in a nanosecond was rounded down.
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX).saturating_add(1))
    }

    /// Takes `volume` tokens in any case, and answers how long it takes from `now` on until `least`
    /// of them had been there: whoever acts only then keeps the rate, and all who take do so in the
    /// order in which they came, however often each of them looks.
    ///
    /// * Domain: as [`TokenBucket::take`]; what all have taken in advance is no more than
    ///   [`TokenBucket::MOST`] together.
    /// * Cost: as [`TokenBucket::take`]; a division if it has to wait.
    #[inline]
    pub fn reserve(&self, volume: u64, least: u64, now: Duration) -> Duration {
        let poured = self.poured(now);
        let volume = self.fractions(volume);
        let mut taken = self.taken.load(Ordering::Relaxed);
        loop {
            let level = self.level(poured, taken);
            let next = poured.wrapping_sub(level.cast_unsigned()).wrapping_add(volume);
            let relaxed = Ordering::Relaxed;
            match self.taken.compare_exchange_weak(taken, next, relaxed, relaxed) {
                Ok(_) => return self.until(least, level),
                Err(other) => taken = other,
            }
        }
    }

    /// Puts back what was taken and not used.
    pub fn give_back(&self, volume: u64) {
        self.taken.fetch_sub(self.fractions(volume), Ordering::Relaxed);
    }

    const fn fractions(&self, tokens: u64) -> u64 {
        let tokens = if tokens < Self::MOST { tokens } else { Self::MOST };
        tokens << self.scale
    }

    /// All that has flowed in since the beginning of time; wraps around.
    #[inline]
    fn poured(&self, now: Duration) -> u64 {
        let part = u128::from(now.subsec_nanos()) * u128::from(self.pace);
        // Less than a second's worth, which fits.
        let part = u64::try_from(part >> 32).unwrap_or(self.rate);
        now.as_secs().wrapping_mul(self.rate).wrapping_add(part)
    }

    /// What is in it; less than nothing if more was taken.
    #[inline]
    const fn level(&self, poured: u64, taken: u64) -> i64 {
        let level = poured.wrapping_sub(taken).cast_signed();
        // So far ahead nobody is: nobody came for so long that the difference has wrapped around.
        let long_ago = level < -self.ahead;
        if long_ago || level > self.size { self.size } else { level }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same by plain numbers, which a word does not hold: a token is 10^9 fractions, of which
    /// `rate` come in a nanosecond.
    struct Plain {
        rate: i128,
        size: i128,
        level: i128,
        at: Duration,
    }

    impl Plain {
        fn new(rate: u64, size: u64, now: Duration) -> Self {
            let size = i128::from(size) * i128::from(NANOS);
            Self { rate: rate.into(), size, level: size, at: now }
        }

        fn take(&mut self, volume: u64, least: u64, now: Duration) -> bool {
            let nanos = (now - self.at).as_nanos().cast_signed();
            self.level = (self.level + nanos * self.rate).min(self.size);
            self.at = now;
            let there = self.level >= i128::from(least) * i128::from(NANOS);
            if there {
                self.level -= i128::from(volume) * i128::from(NANOS);
            }
            there
        }
    }

    /// From one to `most`, each length of a number as likely as any other.
    fn any_up_to(most: u64) -> impl Strategy<Value = u64> {
        (0..=most.ilog2(), any::<u64>()).prop_map(move |(bits, n)| {
            let low = 1 << bits;
            (low + n % low).min(most)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn what_it_gives_is_what_plain_numbers_give(
            rate in any_up_to(200_000_000_000),
            size in any_up_to(1 << 42),
            begin in 0u64..1 << 60,
            steps in prop::collection::vec((any_up_to(1 << 34), any_up_to(100_000), any::<bool>()), 1..200),
        ) {
            let mut now = Duration::from_nanos(begin);
            let (bucket, mut plain) = (TokenBucket::new(rate, size, now), Plain::new(rate, size, now));
            let (mut given, mut expected, mut most) = (0u64, 0u64, 0);
            for (nanos, volume, owes) in steps {
                now += Duration::from_nanos(nanos);
                let least = if owes { volume.div_ceil(45) } else { volume };
                most = most.max(volume);
                given += u64::from(bucket.take(volume, least, now)) * volume;
                expected += u64::from(plain.take(volume, least, now)) * volume;
                // Where the two disagree about a fraction, one gives now and the other the next
                // time.
                prop_assert!(given.abs_diff(expected) <= most, "{given} and {expected}");
            }
        }

        #[test]
        fn what_one_waited_for_is_there(
            rate in any_up_to(TokenBucket::FASTEST),
            size in any_up_to(1 << 42),
            volume in any_up_to(TokenBucket::MOST),
            begin in 0u64..1 << 60,
        ) {
            let now = Duration::from_nanos(begin);
            let bucket = TokenBucket::new(rate, size, now);
            let least = volume.min(size);
            prop_assert!(bucket.take(volume, least, now));
            let wait = bucket.wait(least, now);
            prop_assert!(bucket.take(volume, least, now + wait));
            if let Some(early) = wait.checked_sub(Duration::from_nanos(10))
                && rate < 1_000_000_000 {
                let bucket = TokenBucket::new(rate, size, now);
                prop_assert!(bucket.take(volume, least, now));
                prop_assert!(!bucket.take(volume, least, now + early), "too long a wait");
            }
        }
    }

    #[test]
    fn who_reserves_gets_it_in_turn_and_what_is_given_back_is_there_again() {
        let now = Duration::from_secs(5);
        let bucket = TokenBucket::new(1_000, 10, now);
        let waits: Vec<_> = (0..4).map(|_| bucket.reserve(5, 5, now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 5, 10]);
        // Whoever only takes comes behind those who have reserved.
        assert!(!bucket.take(1, 1, now + Duration::from_millis(10)));
        assert!(bucket.take(1, 1, now + Duration::from_micros(11_001)));
        bucket.give_back(5);
        assert!(bucket.take(5, 5, now + Duration::from_micros(11_001)));
        // More than it holds goes when it is full, and is owed.
        let later = now + Duration::from_secs(60);
        assert_eq!(bucket.reserve(100, 100, later), Duration::ZERO);
        assert_eq!(bucket.reserve(1, 1, later).as_millis(), 91);
    }

    #[test]
    fn it_is_full_after_any_time_whatever_the_word_has_done_meanwhile() {
        for rate in [1, 1_000, 100_000_000_000, TokenBucket::FASTEST] {
            let start = Duration::from_secs(7);
            let bucket = TokenBucket::new(rate, 5, start);
            let mut now = start;
            // Nearly a wrap of the word, and some of them.
            for days in [1, 10, 100, 180, 195, 300, 700, 1_000, 2_000, 20_000, 200_000] {
                now += Duration::from_hours(24 * days);
                assert!(bucket.take(5, 5, now), "{rate} a second, after {days} days");
                assert!(!bucket.take(1, 1, now), "{rate} a second, after {days} days");
            }
        }
    }

    #[test]
    fn a_thread_that_is_late_gets_nothing_twice() {
        let (early, late) = (Duration::from_millis(5_000), Duration::from_millis(5_001));
        let bucket = TokenBucket::new(1_000_000, 100, early);
        assert!(bucket.take(100, 100, late));
        assert!(!bucket.take(1, 1, early), "1000 came in that millisecond, of which it holds 100");
        assert!(!bucket.take(1, 1, late));
        assert!(bucket.take(1, 1, late + Duration::from_micros(1)));
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    /// Two threads at a bucket of three, at times one token apart: four are given in all, whoever
    /// comes first.
    #[test]
    fn threads_share_what_is_there() {
        loom::model(|| {
            let start = Duration::from_secs(1);
            let bucket = Arc::new(TokenBucket::new(1_000, 3, start));
            let other = thread::spawn({
                let bucket = Arc::clone(&bucket);
                move || (0..2).filter(|_| bucket.take(1, 1, start)).count()
            });
            let later = start + Duration::from_millis(1);
            let mine = (0..2).filter(|_| bucket.take(1, 1, later)).count();
            let theirs = other.join().unwrap();
            let rest = (0..4).filter(|_| bucket.take(1, 1, later)).count();
            // A token that came when the bucket was full has run over.
            assert!((3..=4).contains(&(mine + theirs + rest)), "{mine} + {theirs} + {rest}");
            assert!(!bucket.take(1, 1, later));
        });
    }
}
