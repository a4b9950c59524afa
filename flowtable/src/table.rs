//! One table: which rule a packet meets, and what had to be looked at to know.
//!
//! **What.** Tuple-space search (Srinivasan, Suri, Varghese, SIGCOMM 1999): rules with the same
//! mask make a *tuple*, in which a masked key is looked up by its hash. A lookup walks the tuples
//! in descending order of their highest priority and stops when no later one can win.
//!
//! **What was looked at.** The second result of a lookup is a mask: any packet that agrees with
//! this one in those bits meets the same rule. The fewer bits, the more packets share a cache
//! entry, so a tuple is passed over as early as possible: after the first of four *stages* of words
//! (pipeline, Ethernet, network, transport) that no rule of the tuple has; by an address, if no
//! prefix in the table that matches it has the tuple's length, which its leading bits tell; and by
//! the ports of the tuple in the same way.
//!
//! **Many tuples.** Where nothing but an Ethertype comes before addresses, which is most rules of
//! most tables, that and the prefix lengths of a tuple stand in the list that is walked: of some
//! hundred tuples the lookup looks into those whose lengths the packet's addresses can match. And
//! from some number of masks on, rules of several share a tuple (`shared.rs`).
//!
//! **Ranges of ports** are part of a rule's values, not many rules: the mask says which ports are
//! matched by ranges, and a tuple with ranges knows which of them a packet's ports lie in. Each of
//! those is looked up by its hash. What was looked at are as many leading bits of the ports as tell
//! all ranges of the tuple apart.
//!
//! **Conjunctive matches.** Rules that are clauses have tuples of their own, which are walked at the
//! same time. As soon as nothing that is still to come has the priority of clauses that were met,
//! these are put together; if they are all of a match, the tuples of the other rules are walked once
//! more with `conj_id` set. Of a rule and a conjunctive match of one priority the rule wins, as in
//! Open vSwitch.
//!
//! **Invariants.**
//! 1. Every rule in a tuple has all bits of the tuple's mask, and no two tuples of a kind share one.
//! 2. Tuples are sorted by their highest priority, descending.
//! 3. No tuple is empty.
//! 4. Every rule is also in a list by priority and age: the order of a dump.
//! 5. A table that packets are looked up in is settled: all its rules are counted.
//!
//! **Threads.** A table is a value. A change makes a new one that shares what it did not touch: the
//! cost is O(log rules + tuples), and readers of the old value go on undisturbed until they let go
//! of it, which costs as much. Changes that are made in one go copy what they have in common once.

use std::sync::Arc;

use api::Match;
use packet::{Key, Seed, Span};

use crate::conjunction::{Clauses, Soft};
use crate::limit::{Limited, TableLimit};
use crate::mask::Mask;
use crate::rule::Rule;
use crate::same::Entry;
use crate::sorted::Sorted;
use crate::tuples::Tuples;
use crate::values::Values;

/// The rules of one table.
#[derive(Clone, Debug)]
pub struct Table {
    /// Rules that match by themselves.
    hard: Tuples<Arc<Rule>>,
    /// Rules that are clauses.
    soft: Tuples<Arc<Soft>>,
    /// All of them by their rank.
    ranks: Sorted<u64, Arc<Rule>>,
    len: usize,
    limit: Limited,
}

/// What a lookup has looked at so far: a mask that only grows.
pub trait Looked {
    /// Notes that the bits of `mask` in word `word` of the key decided something.
    fn at(&mut self, word: usize, mask: u64);

    /// Whether one of these bits is known without looking at it, or has been looked at.
    fn shows(&self, word: usize, bits: u64) -> bool;
}

impl Looked for Key {
    #[inline]
    fn at(&mut self, word: usize, mask: u64) {
        self[word] |= mask;
    }

    fn shows(&self, word: usize, bits: u64) -> bool {
        self[word] & bits != 0
    }
}

/// All but the number of a conjunctive match: that is not the packet's where the lookup has set it.
struct Beside<'a, L>(&'a mut L);

impl<L> Beside<'_, L> {
    /// The bits of that number in a word.
    const fn number(word: usize) -> u64 {
        const CONJ_ID: Span = Key::CONJ_ID;
        if word == CONJ_ID.word() { !(u64::MAX >> CONJ_ID.bits()) } else { 0 }
    }
}

impl<L: Looked> Looked for Beside<'_, L> {
    fn at(&mut self, word: usize, mask: u64) {
        self.0.at(word, mask & !Self::number(word));
    }

    fn shows(&self, word: usize, bits: u64) -> bool {
        bits & Self::number(word) != 0 || self.0.shows(word, bits)
    }
}

impl Table {
    /// An empty table that hashes with `seed`.
    pub const fn new(seed: Seed) -> Self {
        Self {
            hard: Tuples::new(seed),
            soft: Tuples::new(seed),
            ranks: Sorted::EMPTY,
            len: 0,
            limit: Limited::EMPTY,
        }
    }

    /// How many rules there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no rule.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many masks the rules have.
    pub const fn tuples(&self) -> usize {
        self.hard.len() + self.soft.len()
    }

    /// Every rule, by priority from the highest on, then by age.
    pub fn rules(&self) -> impl Iterator<Item = &Arc<Rule>> {
        self.ranks.iter().map(|(_, rule)| rule)
    }

    /// The rules whose [`Rule::rank`] is `rank` or behind, in the same order.
    pub fn rules_from(&self, rank: u64) -> impl Iterator<Item = &Arc<Rule>> {
        self.ranks.iter_from(rank).map(|(_, rule)| rule)
    }

    /// The rule that a packet with this key meets. `looked` learns which bits decided that.
    ///
    /// Cost: a hash and a probe per stage of each tuple that may hold a better rule. No allocation,
    /// unless the packet agrees with clauses of more than two dozen masks.
    pub fn lookup(&self, key: &Key, looked: &mut impl Looked) -> Option<&Arc<Rule>> {
        self.lookup_noting(key, looked, |_| ())
    }

    /// As [`Table::lookup`]; `clause` is shown the rules that made a conjunctive match hold, if it
    /// was one that led to the answer.
    pub fn lookup_noting<'a>(
        &'a self,
        key: &Key,
        looked: &mut impl Looked,
        mut clause: impl FnMut(&'a Arc<Rule>),
    ) -> Option<&'a Arc<Rule>> {
        if self.soft.len() == 0 {
            return self.lookup_hard(key, looked);
        }
        let (mut hard, mut soft) = (self.hard.walk(), self.soft.walk());
        let mut clauses = Clauses::new();
        let mut best: Option<&Arc<Rule>> = None;
        loop {
            // What is still to come, as far as it could win: of equal priority the older rule does,
            // but no conjunctive match.
            let least = best.map_or(0, |best| best.priority);
            let next_hard = hard.highest().filter(|highest| *highest >= least);
            let next_soft = soft.highest().filter(|highest| best.is_none() || *highest > least);
            let next = next_hard.max(next_soft);
            let decided = next.max(best.map(|best| best.priority));
            if let Some(found) = self.conjoin(&mut clauses, decided, key, looked, &mut clause) {
                return Some(found);
            }
            if next.is_none() {
                return best;
            }
            if next_hard >= next_soft {
                hard.step(key, rank(best), looked, |met| best = better(best, met.from(0, key)));
            } else {
                soft.step(key, u64::MAX, looked, |met| clauses.add(met, key));
            }
        }
    }

    /// What the conjunctive matches lead to whose priority is above `priority`.
    fn conjoin<'a>(
        &'a self,
        clauses: &mut Clauses<'a>,
        priority: Option<u16>,
        key: &Key,
        looked: &mut impl Looked,
        mut clause: impl FnMut(&'a Arc<Rule>),
    ) -> Option<&'a Arc<Rule>> {
        while clauses.highest() > priority {
            while let Some(conjunction) = clauses.next_complete() {
                let key = key.with(Key::CONJ_ID, conjunction.0);
                if let Some(found) = self.lookup_hard(&key, &mut Beside(looked)) {
                    clauses.rules_of(conjunction).for_each(&mut clause);
                    return Some(found);
                }
            }
            clauses.descend(key);
        }
        None
    }

    /// The rule that a packet meets of those that match by themselves.
    fn lookup_hard(&self, key: &Key, looked: &mut impl Looked) -> Option<&Arc<Rule>> {
        let mut walk = self.hard.walk();
        let mut best: Option<&Arc<Rule>> = None;
        // Of equal priority the older rule wins, and it may be in a later tuple.
        while walk.highest() >= best.map(|best| best.priority) && walk.highest().is_some() {
            walk.step(key, rank(best), looked, |met| best = better(best, met.from(0, key)));
        }
        best
    }

    /// The rule with exactly this mask, these values and this priority.
    pub fn find(&self, mask: &Mask, values: &Values, priority: u16) -> Option<&Arc<Rule>> {
        let soft = || self.soft.find(mask, values, priority).map(Entry::rule);
        self.hard.find(mask, values, priority).or_else(soft)
    }

    /// The mask to be shared by rules with this match.
    pub fn mask(&self, matching: &Match) -> Arc<Mask> {
        let known = self.hard.mask(matching).or_else(|| self.soft.mask(matching));
        known.map_or_else(|| Arc::new(Mask::of(matching)), Arc::clone)
    }

    /// Whether a rule of this priority and age is there.
    pub(crate) fn has(&self, rule: &Rule) -> bool {
        self.ranks.get(rule.rank()).is_some()
    }

    /// The rules whose match lies within `matching`, by priority from the highest on, then by age.
    ///
    /// Cost: a look at every rule of the tuples that look at all that `matching` does.
    pub fn within(&self, matching: &Match) -> Vec<Arc<Rule>> {
        let mut rules = Vec::new();
        self.hard.within(matching, &mut rules);
        self.soft.within(matching, &mut rules);
        rules.sort_unstable_by_key(|rule| rule.rank());
        rules
    }

    /// A rule of this priority that has packets in common with `matching`.
    ///
    /// Cost: a probe of each tuple that looks at nothing else than `matching` does; if there are
    /// others with rules of this priority, a look at each of these rules.
    pub fn overlapping(&self, matching: &Match, priority: u16) -> Option<&Arc<Rule>> {
        let (hard, more) = self.hard.overlapping(matching, priority);
        let (soft, others) = self.soft.overlapping(matching, priority);
        let found = hard.or_else(|| soft.map(Entry::rule));
        if found.is_some() || !(more || others) {
            return found;
        }
        let rest = self.rules_from(Rule::rank_of(priority, 0));
        let mut equals = rest.take_while(|rule| rule.priority == priority);
        equals.find(|rule| rule.matching().overlaps(matching))
    }

    /// Adds a rule in place of the one with the same match and priority, which it answers with.
    pub fn insert(&mut self, rule: Arc<Rule>) -> Option<Arc<Rule>> {
        let old = self.find(&rule.mask, &rule.values, rule.priority).cloned();
        self.put(rule, old.as_deref());
        self.settle();
        old
    }

    /// Adds a rule in place of `old`, which must be what [`Table::find`] says of its match and its
    /// priority. Packets can meet it as soon as the table is settled.
    pub(crate) fn put(&mut self, rule: Arc<Rule>, old: Option<&Rule>) {
        let is_clause = rule.is_clause();
        let same_kind = old.filter(|old| old.is_clause() == is_clause);
        match old {
            None => self.len += 1,
            Some(old) => {
                self.ranks.remove(old.rank());
                self.limit.left(old);
                if same_kind.is_none() {
                    self.forget(old);
                }
            }
        }
        self.ranks.insert(rule.rank(), Arc::clone(&rule));
        self.limit.entered(&rule);
        if is_clause {
            self.soft.put(Arc::new(Soft::new(rule)), same_kind);
        } else {
            self.hard.put(rule, same_kind);
        }
    }

    /// Ends a change: counts what the rules that were put in have, all at once.
    pub(crate) fn settle(&mut self) {
        self.hard.settle();
        self.soft.settle();
    }

    /// Removes a rule, if it is in the table.
    pub fn remove(&mut self, rule: &Rule) -> Option<Arc<Rule>> {
        let removed = self.forget(rule)?;
        self.ranks.remove(removed.rank());
        self.limit.left(&removed);
        self.len -= 1;
        Some(removed)
    }

    /// Removes a rule from its tuple.
    fn forget(&mut self, rule: &Rule) -> Option<Arc<Rule>> {
        let hard = self.hard.remove(rule);
        hard.or_else(|| self.soft.remove(rule).map(|soft| Arc::clone(soft.rule())))
    }

    /// How many flows it holds, if that has been said.
    pub const fn limit(&self) -> Option<TableLimit> {
        self.limit.limit()
    }

    /// Says how many flows it holds. Cost: a look at every rule, if some are to be evicted.
    pub(crate) fn set_limit(&mut self, limit: Option<TableLimit>) {
        self.limit = Limited::new(limit, self.rules());
    }

    /// The rule that is to go when there is no room for a new one.
    pub(crate) fn first_to_go(&self) -> Option<&Arc<Rule>> {
        self.limit.first_to_go()
    }

    /// Asserts the invariants, for tests.
    pub fn check(&self) {
        let rules = self.hard.check() + self.soft.check();
        assert_eq!(rules, self.len, "the number of rules");
        assert_eq!(self.rules().count(), self.len, "invariant 4");
        for (rank, rule) in self.ranks.iter() {
            assert_eq!(*rank, rule.rank(), "invariant 4");
            let found = self.find(&rule.mask, &rule.values, rule.priority);
            assert!(found.is_some_and(|found| Arc::ptr_eq(found, rule)), "invariant 4");
        }
    }
}

/// What only rules before which would win.
fn rank(best: Option<&Arc<Rule>>) -> u64 {
    best.map_or(u64::MAX, |best| best.rank())
}

/// The one of two rules that wins.
fn better<'a>(a: Option<&'a Arc<Rule>>, b: Option<&'a Arc<Rule>>) -> Option<&'a Arc<Rule>> {
    a.into_iter().chain(b).min_by_key(|rule| rule.rank())
}
