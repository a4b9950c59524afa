//! Connections that others have announced and that have not come yet.
//!
//! One is known by where it will come from and go to; from which port nobody has said. Each is used
//! once. There are as many as there may be, eight of one connection, of which the oldest makes room.
//! They go with the connection that has announced them, and when their time is over.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU32, Ordering};

use packet::Seed;
use parking_lot::Mutex;

use crate::table::ConnectionId;
use crate::tuple::Tuple;

/// Milliseconds that a connection is waited for, as in the Linux kernel.
const TIME: u32 = 300_000;
/// The most there may be of all connections together.
const MOST: u32 = 4096;

/// A connection that was announced.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Expectation {
    /// Who has announced it.
    pub(crate) master: ConnectionId,
    /// What its packets become, if those of the master are translated; the source port is none.
    pub(crate) to: Option<Tuple>,
    /// When it is over: milliseconds, wrapping.
    deadline: u32,
}

impl Expectation {
    /// One that a connection announces now.
    pub(crate) const fn new(master: ConnectionId, to: Option<Tuple>, now: u32) -> Self {
        Self { master, to, deadline: now.wrapping_add(TIME) }
    }

    const fn is_over(&self, now: u32) -> bool {
        self.deadline.wrapping_sub(now).wrapping_sub(1) >= u32::MAX / 2
    }

    /// Whether it is the same but for its time.
    fn is_like(&self, other: &Self) -> bool {
        (self.master, self.to) == (other.master, other.to)
    }
}

/// Why a connection is not expected.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum NotExpected {
    /// Another one is, between the same ends.
    Taken,
    /// There are as many as there may be.
    Full,
}

/// All that are expected.
#[derive(Debug)]
pub(crate) struct Expectations {
    seed: Seed,
    most: u32,
    /// How many there are, or are being added.
    len: AtomicU32,
    /// When they were last looked at.
    swept: AtomicU32,
    shards: [Shard; 64],
}

#[derive(Debug, Default)]
struct Shard {
    len: AtomicU32,
    /// By the words of their tuples, without a source port.
    expected: Mutex<BTreeMap<[u64; Tuple::WORDS], Expectation>>,
}

impl Shard {
    /// What is to be done under the lock, after which the length is noted.
    fn with<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<[u64; Tuple::WORDS], Expectation>) -> T,
    ) -> T {
        let mut expected = self.expected.lock();
        let answer = change(&mut expected);
        self.len.store(u32::try_from(expected.len()).unwrap_or(u32::MAX), Ordering::Release);
        answer
    }
}

impl Expectations {
    /// None, of so many connections.
    pub(crate) fn new(connections: u32, seed: Seed) -> Self {
        Self {
            seed,
            most: MOST.min(connections),
            len: AtomicU32::new(0),
            swept: AtomicU32::new(0),
            shards: std::array::from_fn(|_| Shard::default()),
        }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed) as usize
    }

    /// How many there may be.
    pub(crate) const fn most(&self) -> usize {
        self.most as usize
    }

    fn shard(&self, key: &Tuple) -> &Shard {
        &self.shards[self.place(key)]
    }

    /// The number of a shard.
    fn place(&self, key: &Tuple) -> usize {
        // Of any 64 bits, six.
        usize::try_from(key.hash(self.seed) >> 58).unwrap_or(0)
    }

    /// Expects a connection, or goes on to expect it.
    pub(crate) fn add(
        &self,
        tuple: &Tuple,
        expectation: Expectation,
        now: u32,
    ) -> Result<(), NotExpected> {
        let key = tuple.without_src_port();
        self.shard(&key).with(|expected| {
            if let Some(known) = expected.get_mut(&key.words()) {
                if !known.is_like(&expectation) && !known.is_over(now) {
                    return Err(NotExpected::Taken);
                }
                *known = expectation;
                return Ok(());
            }
            if self.len.fetch_add(1, Ordering::Relaxed) >= self.most {
                self.len.fetch_sub(1, Ordering::Relaxed);
                return Err(NotExpected::Full);
            }
            expected.insert(key.words(), expectation);
            Ok(())
        })
    }

    /// Whether there is none.
    #[inline]
    pub(crate) fn are_none(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    /// Whether a packet of this tuple would begin one. Cost: a load, if there are none.
    #[inline]
    pub(crate) fn find(&self, tuple: &Tuple, now: u32) -> Option<Expectation> {
        if self.are_none() { None } else { self.find_among(tuple, now) }
    }

    #[inline(never)]
    fn find_among(&self, tuple: &Tuple, now: u32) -> Option<Expectation> {
        let key = tuple.without_src_port();
        let shard = self.shard(&key);
        if shard.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let found = shard.expected.lock().get(&key.words()).copied();
        found.filter(|found| !found.is_over(now))
    }

    /// The same, after which it is expected no more.
    pub(crate) fn take(&self, tuple: &Tuple, now: u32) -> Option<Expectation> {
        self.find(tuple, now)?;
        let key = tuple.without_src_port();
        let taken = self.shard(&key).with(|expected| expected.remove(&key.words()))?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        (!taken.is_over(now)).then_some(taken)
    }

    /// Those behind one, or from the first on, `most` at most: each with its milliseconds left. The order
    /// stays as long as this lives. Cost: of each shard in which some are, its lock once.
    pub(crate) fn behind(
        &self,
        last: Option<&Tuple>,
        most: usize,
        now: u32,
    ) -> Vec<(Tuple, Expectation, u32)> {
        let mut found = Vec::new();
        let first = last.map_or(0, |last| self.place(last));
        for (n, shard) in self.shards.iter().enumerate().skip(first) {
            if found.len() >= most {
                break;
            }
            let start = last
                .filter(|_| n == first)
                .map_or(Bound::Unbounded, |last| Bound::Excluded(last.without_src_port().words()));
            let expected = shard.expected.lock();
            let waits = expected.range((start, Bound::Unbounded));
            let waits = waits.filter(|(_, one)| !one.is_over(now));
            found.extend(waits.take(most - found.len()).map(|(words, one)| {
                (Tuple::from_words(*words), *one, one.deadline.wrapping_sub(now))
            }));
        }
        found
    }

    /// Forgets what a connection has announced.
    pub(crate) fn remove(&self, key: &Tuple, master: ConnectionId) {
        let removed = self.shard(key).with(|expected| {
            let is_its = expected.get(&key.words()).is_some_and(|it| it.master == master);
            if is_its { expected.remove(&key.words()) } else { None }
        });
        if removed.is_some() {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Forgets those whose time is over, now and then.
    pub(crate) fn sweep(&self, now: u32) {
        /// Milliseconds from one time to the next.
        const EACH: u32 = 1000;
        let before = self.swept.load(Ordering::Relaxed);
        if self.len() == 0 || now.wrapping_sub(before) < EACH {
            return;
        }
        self.swept.store(now, Ordering::Relaxed);
        for shard in &self.shards {
            if shard.len.load(Ordering::Acquire) == 0 {
                continue;
            }
            let gone = shard.with(|expected| {
                let before = expected.len();
                expected.retain(|_, expectation| !expectation.is_over(now));
                before - expected.len()
            });
            self.len.fetch_sub(u32::try_from(gone).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.len() * (size_of::<Expectation>() + size_of::<[u64; Tuple::WORDS]>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Ends;

    fn tuple(src_port: u16, dst_port: u16) -> Tuple {
        let [src, dst] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(|bytes| bytes.into());
        Tuple::new(Ends { src, dst, src_port, dst_port, proto: 6 }, 5).unwrap()
    }

    fn expectation(to: u16, now: u32) -> Expectation {
        Expectation::new(ConnectionId::default(), Some(tuple(0, to)), now)
    }

    #[test]
    fn each_is_used_once_and_without_src_port() {
        let expectations = Expectations::new(9, Seed(3));
        assert_eq!(expectations.find(&tuple(20, 1025), 0), None);
        expectations.add(&tuple(0, 1025), expectation(1, 0), 0).unwrap();
        assert_eq!(expectations.find(&tuple(20, 1026), 0), None);
        let elsewhere = Tuple::new(tuple(20, 1025).ends(), 6).unwrap();
        assert_eq!(expectations.find(&elsewhere, 0), None, "of another zone");
        assert_eq!(expectations.find(&tuple(20, 1025), 0), Some(expectation(1, 0)));
        assert_eq!(expectations.take(&tuple(7, 1025), 0), Some(expectation(1, 0)));
        assert_eq!((expectations.take(&tuple(7, 1025), 0), expectations.len()), (None, 0));
    }

    #[test]
    fn what_is_announced_again_is_waited_for_anew_and_nobody_elses() {
        let expectations = Expectations::new(9, Seed(3));
        let now = u32::MAX - 10;
        expectations.add(&tuple(0, 1025), expectation(1, now), now).unwrap();
        let taken = expectations.add(&tuple(0, 1025), expectation(2, now), now);
        assert_eq!(taken, Err(NotExpected::Taken));
        let later = now.wrapping_add(TIME - 1);
        expectations.add(&tuple(0, 1025), expectation(1, later), later).unwrap();
        let over = later.wrapping_add(TIME);
        assert!(expectations.find(&tuple(1, 1025), over.wrapping_sub(1)).is_some());
        assert!(expectations.find(&tuple(1, 1025), over).is_none());
        expectations.add(&tuple(0, 1025), expectation(2, over), over).unwrap();
        assert_eq!(expectations.len(), 1);
    }

    #[test]
    fn all_are_met_once_however_few_at_a_time() {
        let expectations = Expectations::new(1000, Seed(3));
        let count = if cfg!(miri) { 40 } else { 300 };
        let ports = 1..=count;
        ports.clone().for_each(|port| {
            expectations.add(&tuple(0, port), expectation(port, 7), 7).unwrap();
        });
        for most in [1, 7, usize::from(count) - 1, count.into(), 1000] {
            let mut met: Vec<(Tuple, Expectation, u32)> = Vec::new();
            loop {
                let last = met.last().map(|(tuple, ..)| *tuple);
                let more = expectations.behind(last.as_ref(), most, 1007);
                assert!(more.len() <= most);
                if more.is_empty() {
                    break;
                }
                met.extend(more);
            }
            assert!(met.iter().all(|(_, _, left)| *left == TIME - 1000));
            let mut met: Vec<_> = met.iter().map(|(tuple, ..)| tuple.dst_port()).collect();
            met.sort_unstable();
            assert!(met.into_iter().eq(ports.clone()), "{most} at a time");
        }
        assert_eq!(expectations.behind(None, 1000, 7 + TIME), []);
    }

    #[test]
    fn there_are_as_many_as_there_may_be_until_their_time_is_over() {
        let expectations = Expectations::new(9, Seed(3));
        let add = |port, now| expectations.add(&tuple(0, port), expectation(port, now), now);
        assert!((1..=9).all(|port| add(port, 0).is_ok()));
        assert_eq!(add(10, 0), Err(NotExpected::Full));
        expectations.remove(&tuple(0, 9), ConnectionId::default());
        assert_eq!((add(10, 5), add(11, 5)), (Ok(()), Err(NotExpected::Full)));
        expectations.sweep(TIME);
        assert_eq!((expectations.len(), expectations.bytes() > 0), (1, true));
        assert!(expectations.find(&tuple(1, 10), TIME).is_some());
    }
}
