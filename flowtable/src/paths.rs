//! Paths: which rules a kind of packet passes, and how many packets did.
//!
//! A packet that meets five rules would have to count five times. Instead it counts once, on its
//! *path*: the list of steps, interned by each worker, which all cache entries with the same steps
//! share. A rule's counter is what has been folded into it ([`crate::RuleStats`]) plus the sum over
//! the paths it is part of, which the control thread forms when somebody asks.
//!
//! **Threads.** The worker alone writes a path's counters, with plain loads and stores of atomics.
//! When the last cache entry of a path goes, the worker *retires* it: it stops writing and pushes
//! the path's number into a ring. The control thread pops it, folds the counters into the rules,
//! and gives the number back through another ring. Since only the control thread folds, and only it
//! reads sums, it never sees a packet twice or not at all, however it is interleaved with the
//! worker.
//!
//! **Limits.** As many paths as there are cache entries; where steps or numbers run out, the
//! packets of that path are carried without a cache entry and credited directly.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytemuck::Zeroable;
use hashbrown::HashTable;
use packet::memory::prefetch;
use packet::{Millis, Seed};

use crate::ring::Ring;
use crate::runs::Runs;
use crate::step::Step;

/// A path of one worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Zeroable)]
#[repr(transparent)]
pub struct PathId(pub(crate) u32);

/// Steps a path has on average, for which there is room.
const STEPS: u32 = 8;
/// Steps a path has at most.
const LONGEST: u32 = 16_384;

/// The counters of a path, written by the worker, read by the control thread. Two share a cache line:
/// where there are a hundred thousand, each packet writes one that is far away.
#[derive(Debug, Zeroable)]
#[repr(C, align(32))]
struct Counters {
    packets: AtomicU64,
    bytes: AtomicU64,
    used: AtomicU64,
    /// A [`Place`], as a word.
    place: AtomicU64,
}

/// Where the steps of a path are.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    len: u32,
    /// The steps are written, the counters count. Ends when the control thread has folded them.
    in_use: bool,
}

impl Place {
    const fn to_word(self) -> u64 {
        (self.start as u64) << 32 | (self.len as u64) << 1 | self.in_use as u64
    }

    #[expect(clippy::cast_possible_truncation, reason = "its parts")]
    const fn from_word(word: u64) -> Self {
        Self { start: (word >> 32) as u32, len: word as u32 >> 1, in_use: word & 1 != 0 }
    }
}

/// What worker and control thread share of a worker's paths.
#[derive(Debug)]
struct Shared {
    paths: Box<[Counters]>,
    steps: Box<[AtomicU64]>,
    /// Paths below this have been in use at some time.
    highest: AtomicU32,
    retired: Ring,
    folded: Ring,
}

/// Credit that is given together: packets in a row that pass the same path.
#[derive(Debug)]
struct Tally {
    path: Option<PathId>,
    packets: u64,
    bytes: u64,
    now: Millis,
}

/// The worker's side.
#[derive(Debug)]
pub struct Paths {
    shared: Arc<Shared>,
    /// What has been counted and not credited yet.
    tally: Tally,
    /// Cache entries of each path.
    users: Box<[u32]>,
    by_steps: HashTable<u32>,
    /// Numbers that were folded and await reuse.
    spare: Vec<u32>,
    runs: Runs,
    seed: Seed,
}

/// The control thread's side.
#[derive(Debug)]
pub struct PathReader {
    shared: Arc<Shared>,
}

/// What a path has counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
    /// When the last packet came.
    pub used: Millis,
}

/// Room for `most` paths, in two halves: one for the worker, one for the control thread.
pub fn paths(most: u32, seed: Seed) -> (Paths, PathReader) {
    let steps = most.saturating_mul(STEPS).max(LONGEST);
    let shared = Arc::new(Shared {
        paths: bytemuck::allocation::zeroed_slice_box(most as usize),
        steps: bytemuck::allocation::zeroed_slice_box(steps as usize),
        highest: AtomicU32::new(0),
        retired: Ring::new(most as usize),
        folded: Ring::new(most as usize),
    });
    let worker = Paths {
        shared: Arc::clone(&shared),
        tally: Tally { path: None, packets: 0, bytes: 0, now: Millis(0) },
        users: bytemuck::allocation::zeroed_slice_box(most as usize),
        by_steps: HashTable::with_capacity(most as usize),
        spare: Vec::with_capacity(most as usize),
        runs: Runs::new(steps, LONGEST),
        seed,
    };
    (worker, PathReader { shared })
}

impl Paths {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_steps.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_steps.is_empty()
    }

    /// Bytes of what has been in use at some time.
    pub fn bytes(&self) -> usize {
        let highest = self.shared.highest.load(Ordering::Relaxed) as usize;
        // As many steps as a path has on average, and a user count.
        let rest = STEPS as usize * size_of::<u64>() + size_of::<u32>();
        highest * (size_of::<Counters>() + rest) + self.by_steps.allocation_size()
    }

    /// The path of these steps, for one more user; `None` if there is no room.
    pub fn intern(&mut self, steps: &[Step]) -> Option<PathId> {
        let hash = self.seed.hash(steps.iter().map(|step| step.to_word()));
        let known = self.by_steps.find(hash, |path| self.shared.is(*path, steps)).copied();
        let path = known.or_else(|| self.begin(hash, steps))?;
        self.users[path as usize] += 1;
        Some(PathId(path))
    }

    fn begin(&mut self, hash: u64, steps: &[Step]) -> Option<u32> {
        self.reclaim();
        let start = self.runs.take(steps.len())?;
        let Some(path) = self.unused() else {
            self.runs.give_back(start, steps.len());
            return None;
        };
        self.shared.begin(path, start, steps);
        let (shared, seed) = (&self.shared, self.seed);
        self.by_steps.insert_unique(hash, path, |path| shared.hash(*path, seed));
        Some(path)
    }

    /// Takes back a few of the paths that have been folded: more than one for each that begins.
    fn reclaim(&mut self) {
        for path in std::iter::from_fn(|| self.shared.folded.pop()).take(4) {
            let Place { start, len, .. } = self.shared.place(path, Ordering::Relaxed);
            self.runs.give_back(start, len as usize);
            self.spare.push(path);
        }
    }

    /// A number that no path has.
    fn unused(&mut self) -> Option<u32> {
        if let Some(path) = self.spare.pop() {
            return Some(path);
        }
        // Only this thread writes it.
        let path = self.shared.highest.load(Ordering::Relaxed);
        if path as usize >= self.shared.paths.len() {
            return None;
        }
        self.shared.highest.store(path + 1, Ordering::Release);
        Some(path)
    }

    /// One user more of a path.
    pub fn retain(&mut self, path: PathId) {
        self.users[path.0 as usize] += 1;
    }

    /// One user less of a path; without users it is retired.
    pub fn release(&mut self, path: PathId) {
        let users = &mut self.users[path.0 as usize];
        *users -= 1;
        if *users > 0 {
            return;
        }
        if self.tally.path == Some(path) {
            self.settle();
        }
        let hash = self.shared.hash(path.0, self.seed);
        if let Ok(entry) = self.by_steps.find_entry(hash, |other| *other == path.0) {
            entry.remove();
        }
        let retired = self.shared.retired.push(path.0);
        debug_assert!(retired, "the ring has room for every path");
    }

    /// Whether these are the steps of a path.
    pub fn is(&self, path: PathId, steps: &[Step]) -> bool {
        self.shared.is(path.0, steps)
    }

    /// The steps of a path, and what it has counted.
    pub fn describe(&self, path: PathId) -> (Vec<Step>, Count) {
        (self.shared.steps(path.0).collect(), self.shared.counters(path.0).load())
    }

    /// The steps of a path.
    pub fn steps(&self, path: PathId) -> impl DoubleEndedIterator<Item = Step> + '_ {
        self.shared.steps(path.0)
    }

    /// Counts packets of one moment on a path, which are credited together with those in a row: when
    /// there come others, when the path goes, or by [`Paths::settle`].
    #[inline]
    pub fn count(&mut self, path: PathId, packets: u64, bytes: u64, now: Millis) {
        if self.tally.path != Some(path) {
            self.settle();
            (self.tally.path, self.tally.now) = (Some(path), now);
        }
        self.tally.packets += packets;
        self.tally.bytes += bytes;
    }

    /// Credits what has been counted.
    #[inline]
    pub fn settle(&mut self) {
        if let Some(path) = self.tally.path.take() {
            self.credit(path, self.tally.packets, self.tally.bytes, self.tally.now);
            (self.tally.packets, self.tally.bytes) = (0, 0);
        }
    }

    /// Credits packets to a path.
    #[inline]
    pub fn credit(&self, path: PathId, packets: u64, bytes: u64, now: Millis) {
        let counters = self.shared.counters(path.0);
        // One writer: a load and a store, which the processor need not make atomic together.
        counters
            .packets
            .store(counters.packets.load(Ordering::Relaxed) + packets, Ordering::Relaxed);
        counters.bytes.store(counters.bytes.load(Ordering::Relaxed) + bytes, Ordering::Relaxed);
        counters.used.store(now.0, Ordering::Relaxed);
    }

    /// Fetches the line that [`Paths::credit`] writes.
    #[inline]
    pub fn prefetch(&self, path: PathId) {
        prefetch(self.shared.counters(path.0));
    }
}

impl PathReader {
    /// Hands every retired path's steps and counts to `fold`, which must keep them: the path is
    /// gone then.
    pub fn fold(&self, mut fold: impl FnMut(&mut dyn Iterator<Item = Step>, Count)) {
        while let Some(path) = self.shared.retired.pop() {
            let counters = self.shared.counters(path);
            fold(&mut self.shared.steps(path), counters.load());
            let place = Place { in_use: false, ..self.shared.place(path, Ordering::Relaxed) };
            counters.place.store(place.to_word(), Ordering::Relaxed);
            let given = self.shared.folded.push(path);
            debug_assert!(given, "the ring has room for every path");
        }
    }

    /// Shows every path that has not been folded to `each`.
    pub fn for_each(&self, mut each: impl FnMut(&mut dyn Iterator<Item = Step>, Count)) {
        for path in 0..self.shared.highest.load(Ordering::Acquire) {
            // Acquire: the steps were written before their place. They stay until we fold the path.
            if self.shared.place(path, Ordering::Acquire).in_use {
                each(&mut self.shared.steps(path), self.shared.counters(path).load());
            }
        }
    }
}

impl Shared {
    #[inline]
    fn counters(&self, path: u32) -> &Counters {
        &self.paths[path as usize]
    }

    fn place(&self, path: u32, order: Ordering) -> Place {
        Place::from_word(self.counters(path).place.load(order))
    }

    fn begin(&self, path: u32, start: u32, steps: &[Step]) {
        for (place, step) in self.steps[start as usize..].iter().zip(steps) {
            place.store(step.to_word(), Ordering::Relaxed);
        }
        let counters = self.counters(path);
        counters.packets.store(0, Ordering::Relaxed);
        counters.bytes.store(0, Ordering::Relaxed);
        counters.used.store(0, Ordering::Relaxed);
        let len = u32::try_from(steps.len()).unwrap_or(0);
        let place = Place { start, len, in_use: true };
        counters.place.store(place.to_word(), Ordering::Release);
    }

    fn words(&self, path: u32) -> impl DoubleEndedIterator<Item = u64> + '_ {
        let Place { start, len, .. } = self.place(path, Ordering::Relaxed);
        self.steps[start as usize..][..len as usize].iter().map(|step| step.load(Ordering::Relaxed))
    }

    fn steps(&self, path: u32) -> impl DoubleEndedIterator<Item = Step> + '_ {
        self.words(path).map(Step::from_word)
    }

    fn is(&self, path: u32, steps: &[Step]) -> bool {
        self.words(path).eq(steps.iter().map(|step| step.to_word()))
    }

    fn hash(&self, path: u32, seed: Seed) -> u64 {
        seed.hash(self.words(path))
    }
}

impl Counters {
    fn load(&self) -> Count {
        Count {
            packets: self.packets.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            used: Millis(self.used.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::RuleId;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn sum(reader: &PathReader, folded: &mut HashMap<Step, u64>) -> HashMap<Step, u64> {
        let mut totals = folded.clone();
        let mut add = |steps: &mut dyn Iterator<Item = Step>, count: Count| {
            steps.for_each(|step| *totals.entry(step).or_default() += count.packets);
        };
        reader.for_each(&mut add);
        totals.retain(|_, packets| *packets > 0);
        totals
    }

    fn fold(reader: &PathReader, folded: &mut HashMap<Step, u64>) {
        reader.fold(|steps, count| {
            steps.for_each(|step| *folded.entry(step).or_default() += count.packets)
        });
    }

    #[derive(Clone, Debug)]
    enum Act {
        Intern(Vec<u64>),
        Count(prop::sample::Index, u64),
        Settle,
        Release(prop::sample::Index),
        Fold,
    }

    fn any_act() -> impl Strategy<Value = Act> {
        prop_oneof![
            3 => prop::collection::vec(1..4u64, 0..6).prop_map(Act::Intern),
            4 => (any::<prop::sample::Index>(), 1..9u64).prop_map(|(path, n)| Act::Count(path, n)),
            2 => Just(Act::Settle),
            2 => any::<prop::sample::Index>().prop_map(Act::Release),
            1 => Just(Act::Fold),
        ]
    }

    proptest! {
        /// However paths come and go, every packet is in the sum of each of its steps exactly once.
        #[test]
        fn no_packet_is_lost_or_counted_twice(
            acts in prop::collection::vec(any_act(), 0..if cfg!(miri) { 40 } else { 200 }),
        ) {
            let (mut paths, reader) = paths(8, Seed(1));
            let (mut held, mut folded) = (Vec::new(), HashMap::new());
            let mut expected: HashMap<Step, u64> = HashMap::new();
            for act in acts {
                match act {
                    Act::Intern(ids) => {
                        let steps: Vec<_> = ids.into_iter().map(|id| Step::Rule(RuleId(id))).collect();
                        if let Some(path) = paths.intern(&steps) {
                            prop_assert!(paths.is(path, &steps));
                            held.push((path, steps));
                        }
                    }
                    Act::Count(at, packets) if !held.is_empty() => {
                        let (path, steps) = &held[at.index(held.len())];
                        paths.count(*path, packets, 0, Millis(0));
                        steps.iter().for_each(|step| *expected.entry(*step).or_default() += packets);
                    }
                    Act::Release(at) if !held.is_empty() => {
                        paths.release(held.swap_remove(at.index(held.len())).0);
                    }
                    Act::Fold => fold(&reader, &mut folded),
                    Act::Settle => {
                        paths.settle();
                        prop_assert_eq!(&sum(&reader, &mut folded), &expected);
                    }
                    _ => {}
                }
            }
            paths.settle();
            prop_assert_eq!(&sum(&reader, &mut folded), &expected);
        }
    }

    #[test]
    fn two_paths_share_a_line() {
        assert_eq!(size_of::<Counters>(), 32);
        let place = Place { start: u32::MAX, len: LONGEST, in_use: true };
        let Place { start, len, in_use } = Place::from_word(place.to_word());
        assert_eq!((start, len, in_use), (u32::MAX, LONGEST, true));
    }

    #[test]
    fn paths_that_run_out_are_refused_and_come_back() {
        let (mut paths, reader) = paths(2, Seed(1));
        let step = |n| [Step::Rule(RuleId(n))];
        let first = paths.intern(&step(1)).unwrap();
        assert_eq!(paths.intern(&step(1)), Some(first), "shared");
        assert!(paths.intern(&step(2)).is_some());
        assert_eq!(paths.intern(&step(3)), None);
        paths.release(first);
        paths.release(first);
        assert_eq!(paths.intern(&step(3)), None, "retired, but not folded");
        reader.fold(|_, _| ());
        assert!(paths.intern(&step(3)).is_some());
    }

    /// The worker credited them behind the control thread's back, which had folded the path.
    #[test]
    fn what_was_counted_on_a_path_goes_with_it() {
        let (mut paths, reader) = paths(2, Seed(1));
        let steps = [Step::Rule(RuleId(1))];
        let path = paths.intern(&steps).unwrap();
        paths.count(path, 3, 0, Millis(0));
        paths.release(path);
        let mut folded = HashMap::new();
        fold(&reader, &mut folded);
        paths.settle();
        assert_eq!(sum(&reader, &mut folded), HashMap::from([(steps[0], 3)]));
    }

    #[test]
    fn two_threads_agree_on_the_sum() {
        let (mut paths, reader) = paths(4, Seed(1));
        let steps = [Step::Rule(RuleId(7))];
        let rounds = if cfg!(miri) { 20 } else { 20_000 };
        std::thread::scope(|scope| {
            let worker = scope.spawn(move || {
                for _ in 0..rounds {
                    let path = loop {
                        match paths.intern(&steps) {
                            Some(path) => break path,
                            None => std::thread::yield_now(),
                        }
                    };
                    paths.count(path, 3, 30, Millis(1));
                    paths.release(path);
                }
            });
            let (mut folded, mut last) = (HashMap::new(), 0);
            while !worker.is_finished() {
                fold(&reader, &mut folded);
                let now = sum(&reader, &mut folded).get(&steps[0]).copied().unwrap_or(0);
                assert!(now >= last, "the sum went from {last} back to {now}");
                last = now;
            }
            // Only to have joined it promises that all it wrote is seen; that it has finished does not.
            worker.join().unwrap();
            fold(&reader, &mut folded);
            assert_eq!(sum(&reader, &mut folded)[&steps[0]], 3 * rounds);
        });
    }
}
