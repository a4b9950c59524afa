//! The rules that are looked up by one mask: those that have it, and perhaps some that look at more.

use std::borrow::Cow;
use std::hash::Hasher;
use std::sync::Arc;

use api::Match;
use packet::memory::prefetch_whole;
use packet::{Key, Seed};

use crate::addresses::{Addresses, Asked, FIELDS, prefix_len};
use crate::counts::Counts;
use crate::mask::{Mask, STAGES};
use crate::prefixes::{Prefixes, Short};
use crate::ranges::Ranges;
use crate::rule::Rule;
use crate::same::{Entry, Met, Same};
use crate::sorted::Sorted;
use crate::table::Looked;
use crate::values::Values;

/// The stage of addresses.
const NETWORK: usize = 2;
/// The stage of ports, which is one word.
const TRANSPORT: usize = 3;
/// That word; both ports are in its upper half.
const PORTS_WORD: usize = Key::TP_DST.word();

/// The rules that are looked up by one mask, which is theirs or a part of it.
#[derive(Clone, Debug)]
pub(crate) struct Tuple<R> {
    pub(crate) mask: Arc<Mask>,
    /// How many rules have another mask: its bits and more.
    foreign: usize,
    pub(crate) highest: u16,
    last_stage: usize,
    /// Prefix length of the mask in each of [`FIELDS`]; 0 if it is no prefix.
    pub(crate) lengths: [u8; FIELDS.len()],
    /// Rules by the hash of their values.
    rules: Sorted<u64, Same<R>>,
    /// How many rules have the hash of the words up to the end of a stage; empty for the last stage
    /// and those without words.
    stages: [Counts<u64>; STAGES - 1],
    /// The ports in use, source before destination, masked; each as long as the lowest bit of the
    /// mask.
    ports: Prefixes<Short>,
    ports_len: u8,
    /// The ranges of ports in use, if the mask has some.
    ranges: Option<Box<Ranges>>,
    /// How many rules have each priority.
    priorities: Sorted<u16, u32>,
    /// What all rules say before addresses come, if that is an Ethertype and nothing else.
    eth_type: EthType,
}

/// The Ethertypes that the rules of a tuple match, if they match nothing else before addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum EthType {
    /// No rule yet.
    Free,
    Only(u16),
    /// Several, or there is more than that to be matched.
    Unclear,
}

impl<R: Entry> Tuple<R> {
    /// Rules of different masks that stand together at most: all of them are looked at.
    const TOGETHER: usize = 32;

    pub(crate) fn new(mask: Arc<Mask>) -> Self {
        let lengths = lengths_of(&mask);
        let ports = ports_of(mask.bits()) >> 96;
        let ranges = mask.ranged() != [false; 2];
        Self {
            lengths,
            foreign: 0,
            highest: 0,
            last_stage: mask.last_stage(),
            rules: Sorted::EMPTY,
            stages: [const { Counts::EMPTY }; STAGES - 1],
            ports: Prefixes::EMPTY,
            ports_len: u8::try_from(32 - ports.trailing_zeros().min(32)).unwrap_or(0),
            ranges: ranges.then(|| Box::new(Ranges::new(mask.ranged()))),
            priorities: Sorted::EMPTY,
            eth_type: match (mask.stage(0), mask.stage(1)) {
                ([], [1]) if mask.bits()[1] == 0xffff => EthType::Free,
                _ => EthType::Unclear,
            },
            mask,
        }
    }

    /// Whether there is no rule.
    pub(crate) const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The Ethertype that all rules match, if that and addresses are all there is before the last
    /// stages.
    pub(crate) const fn eth_type(&self) -> Option<u16> {
        match self.eth_type {
            EthType::Only(only) => Some(only),
            _ => None,
        }
    }

    /// The rules that a packet with this key agrees with, if there are any and no ranges: all stages at
    /// once. If there are none, nothing has been noted, and [`Tuple::lookup`] tells why.
    pub(crate) fn meet(
        &self,
        key: &Key,
        seed: Seed,
        looked: &mut impl Looked,
    ) -> Option<Met<'_, R>> {
        if self.ranges.is_some() || self.foreign > 0 {
            return None;
        }
        let same = self.rules.get(seed.hash(self.mask.values(key)))?;
        if let Same::One(only) = same {
            prefetch_whole(&**only.rule());
        }
        let met = Met { same, mask: Some(&*self.mask), ranges: None };
        met.from(0, key)?;
        self.looked_before(STAGES, looked);
        Some(met)
    }

    /// Shows the rules to `found` that a packet with this key agrees with: once, or once for each
    /// range its ports lie in. Those whose rank is `before` or behind cannot win, and need not be
    /// shown. `looked` learns which bits decided that.
    pub(crate) fn lookup<'a>(
        &'a self,
        key: &Key,
        seed: Seed,
        before: u64,
        asked: &mut Asked<'_>,
        looked: &mut impl Looked,
        mut found: impl FnMut(Met<'a, R>),
    ) {
        let mut hasher = seed.hasher();
        // Who comes here with an Ethertype that all rules have has compared it.
        let is_typed = matches!(self.eth_type, EthType::Only(_));
        for stage in 0..=self.last_stage {
            if stage == NETWORK && asked.exclude(&self.lengths, key, looked) {
                return self.looked_before(stage, looked);
            }
            if stage == TRANSPORT && self.ranges.is_some() {
                break;
            }
            let words = self.mask.stage(stage);
            for word in words {
                let word = usize::from(*word);
                hasher.write_u64(key[word] & self.mask.bits()[word]);
            }
            let is_known = words.is_empty() || is_typed && stage < NETWORK;
            if !is_known && stage < self.last_stage && !self.stages[stage].has(hasher.finish()) {
                return self.looked_before(stage + 1, looked);
            }
        }
        if let Some(ranges) = &self.ranges {
            self.looked_before(TRANSPORT, looked);
            return self.lookup_ranges(ranges, hasher, key, looked, found);
        }
        let same = self.rules.get(hasher.finish());
        if self.foreign > 0 {
            self.looked_before(STAGES, looked);
            let met = same.map(|same| Met { same, mask: None, ranges: None });
            return met.filter(|met| met.look(key, before, looked)).into_iter().for_each(found);
        }
        let met = same.map(|same| Met { same, mask: Some(&*self.mask), ranges: None });
        let is_met = met.is_some_and(|met| met.from(0, key).is_some());
        if !is_met && self.last_stage == TRANSPORT && self.ports_len > 0 {
            self.looked_before(TRANSPORT, looked);
            self.looked_at_ports(key, looked);
        } else {
            self.looked_before(STAGES, looked);
        }
        met.filter(|_| is_met).into_iter().for_each(&mut found);
    }

    /// The last stage where ports are matched by ranges: first those, then what else is in it.
    fn lookup_ranges<'a>(
        &'a self,
        ranges: &Ranges,
        hasher: impl Hasher + Copy,
        key: &Key,
        looked: &mut impl Looked,
        mut found: impl FnMut(Met<'a, R>),
    ) {
        let word = key[PORTS_WORD];
        #[expect(clippy::cast_possible_truncation, reason = "the ports are in the upper half")]
        let ports = [(word >> 48) as u16, (word >> 32) as u16];
        let look = |field: usize, looked: &mut _| {
            looked_at_port(field, ranges.decisive(field, ports[field]), looked);
        };
        let (lead, other) = (ranges.lead(), 1 - ranges.lead());
        look(lead, looked);
        ranges.containing(ports, |pair, both| {
            if self.mask.ranged()[other] {
                look(other, looked);
            }
            if !both {
                return;
            }
            let mut hasher = hasher;
            for word in self.mask.stage(TRANSPORT) {
                hasher.write_u64(key[usize::from(*word)] & self.mask.bits()[usize::from(*word)]);
                looked.at(usize::from(*word), self.mask.bits()[usize::from(*word)]);
            }
            hasher.write_u64(pair);
            let mask = Some(&*self.mask);
            let same = self.rules.get(hasher.finish());
            let met = same.map(|same| Met { same, mask, ranges: Some(pair) });
            met.filter(|met| met.from(0, key).is_some()).into_iter().for_each(&mut found);
        });
    }

    /// Notes that the words of all stages before `stage` were looked at.
    fn looked_before(&self, stage: usize, looked: &mut impl Looked) {
        for word in (0..stage).flat_map(|stage| self.mask.stage(stage)) {
            looked.at(usize::from(*word), self.mask.bits()[usize::from(*word)]);
        }
    }

    /// Notes that the transport word was looked at without finding anything: of the ports only as
    /// many bits as show that no rule has them, unless it was something else that differed.
    fn looked_at_ports(&self, key: &Key, looked: &mut impl Looked) {
        let mask = self.mask.bits()[PORTS_WORD];
        let ports = ports_of(key) & ports_of(self.mask.bits());
        let bits = self.ports.decisive(ports, 32);
        let leading = u64::MAX.checked_shl(64 - u32::from(bits)).unwrap_or(0);
        looked.at(PORTS_WORD, if bits < self.ports_len { mask & leading } else { mask });
    }

    /// What a rule, whose mask has the bits of this tuple's, has at them.
    fn values_of<'a>(&self, mask: &Mask, values: &'a Values) -> Cow<'a, Values> {
        if *mask == *self.mask {
            return Cow::Borrowed(values);
        }
        Cow::Owned(self.mask.values(&mask.expand(values)).collect())
    }

    fn hash_of(&self, mask: &Mask, values: &Values, seed: Seed) -> u64 {
        seed.hash(self.values_of(mask, values).iter().copied())
    }

    /// The rule of this match and this priority; its mask has the bits of this tuple's.
    pub(crate) fn find(
        &self,
        mask: &Mask,
        values: &Values,
        priority: u16,
        seed: Seed,
    ) -> Option<&R> {
        self.rules.get(self.hash_of(mask, values, seed))?.find(mask, values, priority)
    }

    /// Whether there is room for another rule beside those it stands with here.
    pub(crate) fn has_room(&self, rule: &Rule, seed: Seed) -> bool {
        let same = self.rules.get(self.hash_of(&rule.mask, &rule.values, seed));
        same.is_none_or(|same| same.iter().nth(Self::TOGETHER - 1).is_none())
    }

    /// Every rule.
    pub(crate) fn rules(&self) -> impl Iterator<Item = &R> {
        self.rules.iter().flat_map(|(_, same)| same.iter())
    }

    /// Whether some rule may look at all of these bits.
    pub(crate) fn may_have(&self, bits: &Key) -> bool {
        self.foreign > 0 || self.mask.has(bits)
    }

    /// How many rules have another mask than the tuple.
    pub(crate) const fn foreign(&self) -> usize {
        self.foreign
    }

    /// Whether `matching` looks at all that the rules are looked up by.
    pub(crate) fn is_direct(&self, matching: &Match) -> bool {
        self.ranges.is_none() && self.mask.lies_within(matching.mask())
    }

    /// The rules that may have packets in common with `matching`, or lie within it: those that have
    /// what it has, if it looks at all that the tuple is looked up by, else every rule.
    pub(crate) fn close_to(&self, matching: &Match, seed: Seed) -> impl Iterator<Item = &R> {
        let is_direct = self.is_direct(matching);
        let same = || self.rules.get(seed.hash(self.mask.values(matching.key())));
        let (near, all) = if is_direct { (same(), None) } else { (None, Some(self.rules())) };
        near.into_iter().flat_map(Same::iter).chain(all.into_iter().flatten())
    }

    /// Whether some rule has this priority.
    pub(crate) fn has_priority(&self, priority: u16) -> bool {
        self.priorities.get(priority).is_some()
    }

    /// Adds a rule; there is none with its match and its priority. Packets can meet it as soon as the
    /// tuple and the addresses are settled.
    pub(crate) fn insert(&mut self, entry: R, seed: Seed, addresses: &mut Addresses) {
        let rule = Arc::clone(entry.rule());
        let hash = self.count(&rule, seed, addresses, true);
        self.rules.insert_with(hash, |same| match same {
            None => Same::One(entry),
            Some(same) => same.with(entry),
        });
    }

    /// Puts a rule in place of one with the same match and the same priority.
    pub(crate) fn replace(&mut self, old: &Rule, entry: R, seed: Seed) {
        let hash = self.hash_of(&old.mask, &old.values, seed);
        self.rules.insert_with(hash, |same| match same.and_then(|same| same.without(old.rank())) {
            None => Same::One(entry),
            Some(same) => same.with(entry),
        });
    }

    /// Removes a rule that is there.
    pub(crate) fn remove(&mut self, rule: &Rule, seed: Seed, addresses: &mut Addresses) {
        let hash = self.count(rule, seed, addresses, false);
        match self.rules.get(hash).and_then(|same| same.without(rule.rank())) {
            None => drop(self.rules.remove(hash)),
            Some(same) => self.rules.insert(hash, same),
        }
    }

    /// Adds a rule to what is counted beside the rules themselves, or takes it out; answers with the
    /// hash it is found by.
    fn count(&mut self, rule: &Rule, seed: Seed, addresses: &mut Addresses, add: bool) -> u64 {
        let values = self.values_of(&rule.mask, &rule.values);
        if *rule.mask != *self.mask {
            self.foreign = if add { self.foreign + 1 } else { self.foreign - 1 };
        }
        let step = if add { Counts::add } else { Counts::remove };
        let step_priority = if add { Sorted::count } else { Sorted::discount };
        step_priority(&mut self.priorities, rule.priority);
        self.highest = self.priorities.last().map_or(0, |(priority, _)| *priority);

        if add && let Some(first) = values.first() {
            #[expect(clippy::cast_possible_truncation, reason = "the mask has no other bits there")]
            let own = EthType::Only(*first as u16);
            self.eth_type = match self.eth_type {
                EthType::Free => own,
                known if known == own => own,
                _ => EthType::Unclear,
            };
        }
        let mut hasher = seed.hasher();
        let mut words = values.iter();
        for stage in 0..self.last_stage {
            let count = self.mask.stage(stage).len();
            words.by_ref().take(count).for_each(|value| hasher.write_u64(*value));
            if count > 0 {
                step(&mut self.stages[stage], hasher.finish());
            }
        }
        if self.lengths != [0; FIELDS.len()] || self.ports_len > 0 {
            let key = self.mask.expand(&values);
            addresses.count(&self.lengths, &key, add);
            let step = if add { Prefixes::insert } else { Prefixes::remove };
            step(&mut self.ports, ports_of(&key), self.ports_len);
        }
        if let (Some(ranges), Some(pair)) = (&mut self.ranges, values.last()) {
            let step = if add { Ranges::insert } else { Ranges::remove };
            step(ranges, *pair);
        }
        seed.hash(values.iter().copied())
    }

    /// Counts what the rules that were added have.
    pub(crate) fn settle(&mut self) {
        self.stages.iter_mut().for_each(Counts::settle);
        self.ports.settle();
    }

    /// Asserts that the tuple is what a table says it is, for tests; answers with its rules.
    pub(crate) fn check(&self, seed: Seed) -> usize {
        assert!(!self.is_empty(), "invariant 3");
        let highest = self.rules().map(|rule| rule.rule().priority).max();
        assert_eq!(highest, Some(self.highest), "the highest priority");
        let foreign = self.rules().filter(|rule| *rule.rule().mask != *self.mask);
        assert_eq!(foreign.count(), self.foreign, "rules of other masks");
        for (hash, same) in self.rules.iter() {
            same.check();
            for rule in same.iter().map(Entry::rule) {
                assert!(rule.mask.has(self.mask.bits()), "invariant 1");
                assert_eq!(self.hash_of(&rule.mask, &rule.values, seed), *hash);
            }
        }
        self.rules().count()
    }
}

/// Notes that the leading `bits` bits of the source (0) or destination (1) port were looked at.
fn looked_at_port(field: usize, bits: u8, looked: &mut impl Looked) {
    let port = !0xffffu16.checked_shr(bits.into()).unwrap_or(0);
    looked.at(PORTS_WORD, u64::from(port) << (48 - 16 * field));
}

/// How long the prefixes of addresses are that a mask has; 0 where it has none.
pub(crate) fn lengths_of(mask: &Mask) -> [u8; FIELDS.len()] {
    FIELDS.map(|span| prefix_len(mask.bits().get(span), span.bits()))
}

/// Both ports as a value for [`Prefixes`].
fn ports_of(key: &Key) -> u128 {
    u128::from(key[PORTS_WORD] >> 32) << 96
}
