//! One table: which rule a packet meets, and what had to be looked at to know.
//!
//! **What.** Tuple-space search (Srinivasan, Suri, Varghese, SIGCOMM 1999): rules with the same
//! mask make a *tuple*, in which a masked key is looked up by its hash. A lookup walks the tuples
//! in descending order of their highest priority and stops when no later one can win.
//!
//! **What was looked at.** The second result of a lookup is a mask: any packet that agrees with
//! this one in those bits meets the same rule. The fewer bits, the more packets share a cache
//! entry, so a tuple is passed over as early as possible: after the first of four *stages* of words
//! (pipeline, Ethernet, network, transport) that no rule of the tuple has; by the [`Trie`] of an
//! address, which needs only the leading bits that tell the prefixes apart; and by the trie of the
//! tuple's ports.
//!
//! **Invariants.**
//! 1. Every rule in a tuple has the tuple's mask, and no two tuples share one.
//! 2. Tuples are sorted by their highest priority, descending.
//! 3. No tuple is empty.
//! 4. Rules that share values stand in the order in which they win.
//!
//! **Threads.** A table is a value. A change makes a new one that shares what it did not touch: the
//! cost is O(log rules + tuples), and readers of the old value go on undisturbed until they let go
//! of it.

use std::hash::Hasher;
use std::sync::Arc;

use packet::{Key, Span};
use rpds::{HashTrieMapSync, RedBlackTreeMapSync};

use crate::mask::{Mask, STAGES, Seed};
use crate::rule::Rule;
use crate::trie::{Found, Trie};

/// The address fields that have a trie.
const PREFIXES: [Span; 4] = [Key::NW_SRC, Key::NW_DST, Key::IPV6_SRC, Key::IPV6_DST];

/// A map whose keys are hashes already.
type ByHash<V> = HashTrieMapSync<u64, V, Identity>;

/// The rules of one table.
#[derive(Clone, Debug)]
pub struct Table {
    seed: Seed,
    tuples: Vec<Arc<Tuple>>,
    tries: [Trie; PREFIXES.len()],
    rules: usize,
}

/// The rules of one mask.
#[derive(Clone, Debug)]
struct Tuple {
    mask: Arc<Mask>,
    /// Prefix length of the mask in each field of [`PREFIXES`]; 0 if it is no prefix.
    lengths: [u8; PREFIXES.len()],
    /// Rules by the hash of their values.
    rules: ByHash<Vec<Arc<Rule>>>,
    /// How many rules have the hash of the words up to the end of a stage; empty for the last stage
    /// and those without words.
    stages: [ByHash<u32>; STAGES],
    /// The ports in use, source before destination, masked; each as long as the lowest bit of the
    /// mask.
    ports: Trie,
    ports_len: u8,
    /// How many rules have each priority.
    priorities: RedBlackTreeMapSync<u16, u32>,
    highest: u16,
}

/// What a lookup has looked at so far: a mask that only grows.
pub trait Looked {
    /// Notes that the bits of `mask` in word `word` of the key decided something.
    fn at(&mut self, word: usize, mask: u64);
}

impl Looked for Key {
    #[inline]
    fn at(&mut self, word: usize, mask: u64) {
        self[word] |= mask;
    }
}

impl Table {
    /// An empty table that hashes with `seed`.
    pub const fn new(seed: Seed) -> Self {
        let tries = [const { Trie::EMPTY }; PREFIXES.len()];
        Self { seed, tuples: Vec::new(), tries, rules: 0 }
    }

    /// How many rules there are.
    pub const fn len(&self) -> usize {
        self.rules
    }

    /// Whether there is no rule.
    pub const fn is_empty(&self) -> bool {
        self.rules == 0
    }

    /// How many masks the rules have.
    pub const fn tuples(&self) -> usize {
        self.tuples.len()
    }

    /// Every rule, in no particular order.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.tuples.iter().flat_map(|tuple| tuple.rules.values().flatten())
    }

    /// The rule that a packet with this key meets. `looked` learns which bits decided that.
    ///
    /// Cost: a hash and a probe per stage of each tuple that may hold a better rule; no allocation.
    pub fn lookup(&self, key: &Key, looked: &mut impl Looked) -> Option<&Arc<Rule>> {
        let mut best: Option<&Arc<Rule>> = None;
        let mut tries = TrieLookups { tries: &self.tries, found: [None; PREFIXES.len()] };
        for tuple in &self.tuples {
            // Of equal priority the older rule wins, and it may be in a later tuple.
            if best.is_some_and(|best| best.priority > tuple.highest) {
                break;
            }
            if let Some(rule) = tuple.lookup(key, self.seed, &mut tries, looked)
                && best.is_none_or(|best| rule.precedes(best))
            {
                best = Some(rule);
            }
        }
        best
    }

    /// The rule with exactly this mask, these values and this priority.
    pub fn find(&self, mask: &Mask, values: &[u64], priority: u16) -> Option<&Arc<Rule>> {
        let tuple = self.tuples.iter().find(|tuple| *tuple.mask == *mask)?;
        let rules = tuple.rules.get(&self.seed.hash(values.iter().copied()))?;
        rules.iter().find(|rule| rule.priority == priority && *rule.values == *values)
    }

    /// The mask to be shared by rules with these bits.
    pub fn mask(&self, bits: Key) -> Arc<Mask> {
        let known = self.tuples.iter().find(|tuple| *tuple.mask.bits() == bits);
        known.map_or_else(|| Arc::new(Mask::new(bits)), |tuple| Arc::clone(&tuple.mask))
    }

    /// Adds a rule in place of the one with the same match and priority, which it answers with.
    pub fn insert(&mut self, rule: Arc<Rule>) -> Option<Arc<Rule>> {
        let at = self.tuple_for(&rule);
        let tuple = Arc::make_mut(&mut self.tuples[at]);
        let old = tuple.insert(rule, self.seed, &mut self.tries);
        self.rules += usize::from(old.is_none());
        self.settle(at);
        old
    }

    /// Removes a rule, which must be in the table.
    pub fn remove(&mut self, rule: &Rule) -> Option<Arc<Rule>> {
        let at = self.tuples.iter().position(|tuple| *tuple.mask == *rule.mask)?;
        let tuple = Arc::make_mut(&mut self.tuples[at]);
        let removed = tuple.remove(rule, self.seed, &mut self.tries)?;
        self.rules -= 1;
        if tuple.priorities.is_empty() {
            self.tuples.remove(at);
        } else {
            self.settle(at);
        }
        Some(removed)
    }

    fn tuple_for(&mut self, rule: &Rule) -> usize {
        let known = self.tuples.iter().position(|tuple| *tuple.mask == *rule.mask);
        known.unwrap_or_else(|| {
            self.tuples.push(Arc::new(Tuple::new(Arc::clone(&rule.mask))));
            self.tuples.len() - 1
        })
    }

    /// Moves the tuple at `at` to where its highest priority belongs.
    fn settle(&mut self, mut at: usize) {
        while at > 0 && self.tuples[at - 1].highest < self.tuples[at].highest {
            self.tuples.swap(at - 1, at);
            at -= 1;
        }
        while at + 1 < self.tuples.len() && self.tuples[at].highest < self.tuples[at + 1].highest {
            self.tuples.swap(at, at + 1);
            at += 1;
        }
    }

    /// Asserts the invariants, for tests.
    pub fn check(&self) {
        let sorted = self.tuples.is_sorted_by(|a, b| a.highest >= b.highest);
        assert!(sorted, "invariant 2");
        let mut rules = 0;
        for (at, tuple) in self.tuples.iter().enumerate() {
            assert!(
                self.tuples[..at].iter().all(|other| *other.mask != *tuple.mask),
                "invariant 1"
            );
            assert!(!tuple.rules.is_empty(), "invariant 3");
            let highest = tuple.rules.values().flatten().map(|rule| rule.priority).max();
            assert_eq!(highest, Some(tuple.highest), "the highest priority");
            for bucket in tuple.rules.values() {
                assert!(bucket.iter().all(|rule| *rule.mask == *tuple.mask), "invariant 1");
                assert!(bucket.is_sorted_by(|a, b| a.precedes(b)), "invariant 4");
                rules += bucket.len();
            }
        }
        assert_eq!(rules, self.rules, "the number of rules");
    }
}

impl Tuple {
    fn new(mask: Arc<Mask>) -> Self {
        let lengths = PREFIXES.map(|span| prefix_len(mask.bits().get(span), span.bits()));
        let ports = ports_of(mask.bits()) >> 96;
        Self {
            mask,
            lengths,
            rules: ByHash::new_with_hasher_and_ptr_kind(Identity::default()),
            stages: std::array::from_fn(|_| {
                ByHash::new_with_hasher_and_ptr_kind(Identity::default())
            }),
            ports: Trie::EMPTY,
            ports_len: if ports == 0 { 0 } else { 32 - low_zeros(ports) },
            priorities: RedBlackTreeMapSync::new_sync(),
            highest: 0,
        }
    }

    fn lookup(
        &self,
        key: &Key,
        seed: Seed,
        tries: &mut TrieLookups<'_>,
        looked: &mut impl Looked,
    ) -> Option<&Arc<Rule>> {
        let mut hasher = seed.hasher();
        let last = self.mask.last_stage();
        for stage in 0..=last {
            if tries.exclude(stage, self, key, looked) {
                self.looked_before(stage, looked);
                return None;
            }
            for word in self.mask.stage(stage) {
                let word = usize::from(*word);
                hasher.write_u64(key[word] & self.mask.bits()[word]);
            }
            let known = stage == last || self.mask.stage(stage).is_empty();
            if !known && !self.stages[stage].contains_key(&hasher.finish()) {
                self.looked_before(stage + 1, looked);
                return None;
            }
        }
        let bucket = self.rules.get(&hasher.finish());
        let found = bucket.and_then(|rules| rules.iter().find(|rule| self.values_are(key, rule)));
        if found.is_none() && last == STAGES - 1 && self.ports_len > 0 {
            self.looked_before(last, looked);
            self.looked_at_transport(key, looked);
        } else {
            self.looked_before(STAGES, looked);
        }
        found
    }

    fn values_are(&self, key: &Key, rule: &Rule) -> bool {
        self.mask.values(key).eq(rule.values.iter().copied())
    }

    /// Notes that the words of all stages before `stage` were looked at.
    fn looked_before(&self, stage: usize, looked: &mut impl Looked) {
        for word in (0..stage).flat_map(|stage| self.mask.stage(stage)) {
            looked.at(usize::from(*word), self.mask.bits()[usize::from(*word)]);
        }
    }

    /// Notes that the transport words were looked at without finding anything: of the ports only as
    /// many bits as show that no rule has them, unless it was something else that differed.
    fn looked_at_transport(&self, key: &Key, looked: &mut impl Looked) {
        let ports = ports_of(key) & ports_of(self.mask.bits());
        let bits = self.ports.lookup(ports).bits;
        for word in self.mask.stage(STAGES - 1).iter().map(|word| usize::from(*word)) {
            let mask = self.mask.bits()[word];
            let is_ports = word == PORTS_WORD && bits < self.ports_len;
            let narrow = if is_ports {
                mask & u64::MAX.checked_shl(64 - u32::from(bits)).unwrap_or(0)
            } else {
                mask
            };
            looked.at(word, narrow);
        }
    }

    fn insert(&mut self, rule: Arc<Rule>, seed: Seed, tries: &mut [Trie]) -> Option<Arc<Rule>> {
        let hash = seed.hash(rule.values.iter().copied());
        let mut bucket = self.rules.get(&hash).cloned().unwrap_or_default();
        let same = |old: &Arc<Rule>| old.priority == rule.priority && old.values == rule.values;
        if let Some(at) = bucket.iter().position(same) {
            // The same match and priority: nothing but the rule itself changes.
            let old = std::mem::replace(&mut bucket[at], rule);
            self.rules.insert_mut(hash, bucket);
            return Some(old);
        }
        self.count(&rule, seed, tries, true);
        let at = bucket.partition_point(|other| other.precedes(&rule));
        bucket.insert(at, rule);
        self.rules.insert_mut(hash, bucket);
        None
    }

    fn remove(&mut self, rule: &Rule, seed: Seed, tries: &mut [Trie]) -> Option<Arc<Rule>> {
        let hash = seed.hash(rule.values.iter().copied());
        let mut bucket = self.rules.get(&hash)?.clone();
        let removed = bucket.remove(bucket.iter().position(|other| other.id == rule.id)?);
        if bucket.is_empty() {
            self.rules.remove_mut(&hash);
        } else {
            self.rules.insert_mut(hash, bucket);
        }
        self.count(&removed, seed, tries, false);
        Some(removed)
    }

    /// Adds a rule to what is counted beside the rules themselves, or takes it out.
    fn count(&mut self, rule: &Rule, seed: Seed, tries: &mut [Trie], add: bool) {
        let step = |count: Option<&u32>| {
            let count = count.copied().unwrap_or(0);
            if add { count + 1 } else { count - 1 }
        };
        match step(self.priorities.get(&rule.priority)) {
            0 => drop(self.priorities.remove_mut(&rule.priority)),
            count => self.priorities.insert_mut(rule.priority, count),
        }
        self.highest = self.priorities.last().map_or(0, |(priority, _)| *priority);

        let key = self.mask.expand(&rule.values);
        let mut hasher = seed.hasher();
        for stage in 0..self.mask.last_stage() {
            for word in self.mask.stage(stage) {
                hasher.write_u64(key[usize::from(*word)]);
            }
            if !self.mask.stage(stage).is_empty() {
                let hash = hasher.finish();
                match step(self.stages[stage].get(&hash)) {
                    0 => drop(self.stages[stage].remove_mut(&hash)),
                    count => self.stages[stage].insert_mut(hash, count),
                }
            }
        }
        let change = if add { Trie::insert } else { Trie::remove };
        for ((trie, span), len) in tries.iter_mut().zip(PREFIXES).zip(self.lengths) {
            change(trie, key.get(span) << (128 - span.bits()), len);
        }
        change(&mut self.ports, ports_of(&key), self.ports_len);
    }
}

/// The word that holds both ports, in its upper half.
const PORTS_WORD: usize = 6;

/// Both ports as a value for a trie.
fn ports_of(key: &Key) -> u128 {
    (key.get(Key::TP_SRC) << 16 | key.get(Key::TP_DST)) << 96
}

/// How many of the lowest bits are zero.
fn low_zeros(value: u128) -> u8 {
    u8::try_from(value.trailing_zeros()).unwrap_or(128)
}

/// The length of the prefix that the `bits` wide `mask` is; 0 if it is none.
fn prefix_len(mask: u128, bits: u8) -> u8 {
    let left = mask << (128 - bits);
    let len = left.leading_ones();
    if left.count_ones() == len { u8::try_from(len).unwrap_or(0) } else { 0 }
}

/// The tries of a table during one lookup: each is asked at most once.
struct TrieLookups<'a> {
    tries: &'a [Trie; PREFIXES.len()],
    found: [Option<Found>; PREFIXES.len()],
}

impl TrieLookups<'_> {
    /// Whether an address that is looked at in `stage` has no prefix of the tuple's length; if so,
    /// the bits that show it have been noted.
    fn exclude(
        &mut self,
        stage: usize,
        tuple: &Tuple,
        key: &Key,
        looked: &mut impl Looked,
    ) -> bool {
        if stage != 2 {
            return false;
        }
        for (n, span) in PREFIXES.into_iter().enumerate() {
            let len = tuple.lengths[n];
            if len == 0 {
                continue;
            }
            let found = *self.found[n]
                .get_or_insert_with(|| self.tries[n].lookup(key.get(span) << (128 - span.bits())));
            // A decision that took the whole prefix is one that the tuple itself makes as well.
            if !found.has(len) && found.bits < len {
                let mut bits = Key::ZERO;
                if found.bits > 0 {
                    bits.set_all(span.slice(span.bits() - found.bits, found.bits));
                }
                let mask = Mask::new(bits);
                mask.words()
                    .iter()
                    .for_each(|word| looked.at((*word).into(), bits[usize::from(*word)]));
                return true;
            }
        }
        false
    }
}

/// Hashes a `u64` that is a hash already to itself.
#[derive(Clone, Copy, Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("only hashes are hashed");
    }
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl std::hash::BuildHasher for Identity {
    type Hasher = Self;
    fn build_hasher(&self) -> Self {
        Self::default()
    }
}
