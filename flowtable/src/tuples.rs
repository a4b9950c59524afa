//! All tuples of one kind, in the order in which they can win.

use std::sync::Arc;

use api::Match;
use packet::Key;

use crate::addresses::{Addresses, Asked, FIELDS};
use crate::mask::{Mask, Seed};
use crate::rule::Rule;
use crate::table::Looked;
use crate::tuple::{Entry, Met, Tuple};

/// Of so few tuples each is asked for the packet at once: most packets meet a rule of one of them, and
/// what would pass over the others is further away than they are.
const FEW: usize = 4;

/// Tuples of which no two have the same mask.
#[derive(Clone, Debug)]
pub(crate) struct Tuples<R> {
    seed: Seed,
    tuples: Vec<Arc<Tuple<R>>>,
    /// What [`Mask::hash_of`] says of the mask of each.
    hashes: Vec<u64>,
    /// In descending order of what is highest in them.
    order: Vec<Turn>,
    addresses: Addresses,
    /// The tuples that have had new rules since they were settled.
    unsettled: Vec<usize>,
}

/// When a tuple's turn comes in a lookup, and what passes over most of them without looking into
/// them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Turn {
    highest: u16,
    /// The Ethertype of all rules, if that and addresses come first; else zero.
    eth_type: u16,
    lengths: [u8; FIELDS.len()],
    tuple: u32,
}

impl Turn {
    fn of<R: Entry>(at: usize, tuple: &Tuple<R>) -> Self {
        Self {
            highest: tuple.highest,
            eth_type: tuple.eth_type().unwrap_or(0),
            lengths: tuple.lengths,
            tuple: u32::try_from(at).unwrap_or(u32::MAX),
        }
    }
}

impl<R: Entry> Tuples<R> {
    /// None, for rules that are hashed with `seed`.
    pub(crate) const fn new(seed: Seed) -> Self {
        Self {
            seed,
            tuples: Vec::new(),
            hashes: Vec::new(),
            order: Vec::new(),
            addresses: Addresses::EMPTY,
            unsettled: Vec::new(),
        }
    }

    /// How many there are.
    pub(crate) const fn len(&self) -> usize {
        self.tuples.len()
    }

    /// Begins a lookup.
    pub(crate) fn walk(&self) -> Walk<'_, R> {
        Walk { tuples: self, turn: 0, asked: Asked::new(&self.addresses), typed: false }
    }

    /// The mask of a match, if it is that of a tuple.
    pub(crate) fn mask(&self, matching: &Match) -> Option<&Arc<Mask>> {
        let hash = Mask::hash_of(matching);
        self.at(hash, |mask| mask.is_of(matching)).map(|at| &self.tuples[at].mask)
    }

    /// The rule with exactly this mask, these values and this priority.
    pub(crate) fn find(&self, mask: &Mask, values: &[u64], priority: u16) -> Option<&R> {
        let at = self.at(mask.hash(), |other| other == mask)?;
        self.tuples[at].find(values, priority, self.seed)
    }

    fn at(&self, hash: u64, is_mask: impl Fn(&Mask) -> bool) -> Option<usize> {
        let hashes = self.hashes.iter().enumerate().filter(|(_, other)| **other == hash);
        hashes.map(|(at, _)| at).find(|at| is_mask(&self.tuples[*at].mask))
    }

    /// Adds the rules whose match lies within `matching` to `rules`.
    pub(crate) fn within(&self, matching: &Match, rules: &mut Vec<Arc<Rule>>) {
        for tuple in &self.tuples {
            if tuple.mask.is_of(matching) && matching.ranges() == [None; 2] {
                let values = tuple.mask.values_of(matching);
                rules.extend(tuple.same(&values, self.seed).map(Entry::rule).cloned());
            } else if tuple.mask.has(matching.mask()) {
                let lies_within = |rule: &&Arc<Rule>| {
                    tuple.mask.is_within(&rule.values, matching)
                        && (matching.ranges() == [None; 2] || matching.contains(&rule.matching()))
                };
                rules.extend(tuple.rules().map(Entry::rule).filter(lies_within).cloned());
            }
        }
    }

    /// A rule of this priority that has packets in common with `matching`, of the tuples that look
    /// at nothing else; and whether there are others with rules of this priority.
    pub(crate) fn overlapping(&self, matching: &Match, priority: u16) -> (Option<&R>, bool) {
        let mut others = false;
        for tuple in self.tuples.iter().filter(|tuple| tuple.has_priority(priority)) {
            if tuple.mask.ranged() == [false; 2] && tuple.mask.lies_within(matching.mask()) {
                let values = tuple.mask.values_of(matching);
                if let Some(found) = tuple.find(&values, priority, self.seed) {
                    return (Some(found), others);
                }
            } else {
                others = true;
            }
        }
        (None, others)
    }

    /// Adds a rule, in place of `old` if there is one with its match and its priority. Packets can
    /// meet it as soon as it is settled.
    pub(crate) fn put(&mut self, entry: R, old: Option<&Rule>) {
        let rule = entry.rule();
        let hash = rule.mask.hash();
        let at = self.at(hash, |mask| *mask == *rule.mask).unwrap_or_else(|| {
            let tuple = Tuple::new(Arc::clone(&rule.mask));
            self.order.push(Turn::of(self.tuples.len(), &tuple));
            self.tuples.push(Arc::new(tuple));
            self.hashes.push(hash);
            self.tuples.len() - 1
        });
        let tuple = Arc::make_mut(&mut self.tuples[at]);
        match old {
            Some(old) => tuple.replace(old, entry, self.seed),
            None => {
                let before = Turn::of(at, tuple);
                tuple.insert(entry, self.seed, &mut self.addresses);
                if self.unsettled.last() != Some(&at) {
                    self.unsettled.push(at);
                }
                if before != Turn::of(at, tuple) {
                    self.take_turn(at);
                }
            }
        }
    }

    /// Removes a rule, if it is there.
    pub(crate) fn remove(&mut self, rule: &Rule) -> Option<R> {
        // Places may change hands.
        self.settle();
        let at = self.at(rule.mask.hash(), |mask| *mask == *rule.mask)?;
        let found = self.tuples[at].find(&rule.values, rule.priority, self.seed);
        let removed = found.filter(|found| found.rule().id == rule.id)?.clone();
        let tuple = Arc::make_mut(&mut self.tuples[at]);
        tuple.remove(removed.rule(), self.seed, &mut self.addresses);
        self.take_turn(at);
        if self.tuples[at].is_empty() {
            self.forget(at);
        }
        Some(removed)
    }

    /// Counts what the rules that were added have.
    pub(crate) fn settle(&mut self) {
        if self.unsettled.is_empty() {
            return;
        }
        self.addresses.settle();
        for at in self.unsettled.drain(..) {
            Arc::make_mut(&mut self.tuples[at]).settle();
        }
    }

    /// Moves a tuple's turn to where its highest priority belongs.
    fn take_turn(&mut self, at: usize) {
        let own = Turn::of(at, &self.tuples[at]);
        let highest = own.highest;
        let is_it = |turn: &Turn| turn.tuple as usize == at;
        let Some(mut place) = self.order.iter().position(is_it) else { return };
        self.order[place] = own;
        while place > 0 && self.order[place - 1].highest < highest {
            self.order.swap(place - 1, place);
            place -= 1;
        }
        while place + 1 < self.order.len() && highest < self.order[place + 1].highest {
            self.order.swap(place, place + 1);
            place += 1;
        }
    }

    /// Removes a tuple, whose place the last one takes.
    fn forget(&mut self, at: usize) {
        self.tuples.swap_remove(at);
        self.hashes.swap_remove(at);
        self.order.retain(|turn| turn.tuple as usize != at);
        let moved = self.tuples.len();
        for turn in self.order.iter_mut().filter(|turn| turn.tuple as usize == moved) {
            turn.tuple = u32::try_from(at).unwrap_or(u32::MAX);
        }
    }

    /// Asserts the invariants, for tests; answers with the number of rules.
    pub(crate) fn check(&self) -> usize {
        assert!(self.order.is_sorted_by(|a, b| a.highest >= b.highest), "invariant 2");
        assert_eq!(self.order.len(), self.tuples.len());
        assert!(self.unsettled.is_empty(), "invariant 5");
        for turn in &self.order {
            assert_eq!(*turn, Turn::of(turn.tuple as usize, &self.tuples[turn.tuple as usize]));
        }
        for (at, tuple) in self.tuples.iter().enumerate() {
            let others = &self.tuples[..at];
            assert!(others.iter().all(|other| *other.mask != *tuple.mask), "invariant 1");
            assert_eq!(tuple.mask.hash(), self.hashes[at]);
        }
        self.tuples.iter().map(|tuple| tuple.check()).sum()
    }
}

/// A lookup on its way from tuple to tuple.
#[derive(Debug)]
pub(crate) struct Walk<'a, R> {
    tuples: &'a Tuples<R>,
    turn: usize,
    asked: Asked<'a>,
    /// Whether the Ethertype has been noted.
    typed: bool,
}

impl<'a, R: Entry> Walk<'a, R> {
    /// The highest priority of all rules that are still to come.
    #[inline]
    pub(crate) fn highest(&self) -> Option<u16> {
        self.tuples.order.get(self.turn).map(|turn| turn.highest)
    }

    /// Looks into the next tuple: `found` is shown what a packet with this key meets there, and
    /// `looked` learns which bits decided that.
    #[inline]
    pub(crate) fn step(
        &mut self,
        key: &Key,
        looked: &mut impl Looked,
        mut found: impl FnMut(Met<'a, R>),
    ) {
        let Some(turn) = self.tuples.order.get(self.turn) else { return };
        self.turn += 1;
        let is_typed = turn.eth_type != 0;
        if is_typed {
            if !self.typed {
                looked.at(Key::ETH_TYPE.word(), 0xffff);
                self.typed = true;
            }
            if key.word(Key::ETH_TYPE) != u64::from(turn.eth_type) {
                return;
            }
        }
        let (tuple, seed) = (&self.tuples.tuples[turn.tuple as usize], self.tuples.seed);
        if self.tuples.tuples.len() <= FEW
            && let Some(met) = tuple.meet(key, seed, looked)
        {
            return found(met);
        }
        if !is_typed || !self.asked.exclude(&turn.lengths, key, looked) {
            tuple.lookup(key, seed, &mut self.asked, looked, found);
        }
    }
}
