//! All tuples of one kind, in the order in which they can win.

use std::sync::Arc;

use api::Match;
use packet::{Key, Seed};

use crate::addresses::{Addresses, Asked, FIELDS};
use crate::mask::Mask;
use crate::rule::Rule;
use crate::same::{Entry, Met};
use crate::shared::{Guests, hash_of_shared, shared};
use crate::table::Looked;
use crate::tuple::{Tuple, lengths_of};
use crate::values::Values;

/// Of so few tuples each is asked for the packet at once: most packets meet a rule of one of them, and
/// what would pass over the others is further away than they are.
const FEW: usize = 4;

/// Of so many tuples each has the rules of one mask; rules of further masks share some.
const APART: usize = 32;

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
    /// The masks of rules that stand in tuples of other masks.
    guests: Guests,
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
            guests: Guests::NONE,
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

    /// The mask of a match, if rules have it.
    pub(crate) fn mask(&self, matching: &Match) -> Option<&Arc<Mask>> {
        let hash = Mask::hash_of(matching);
        let own = self.at(hash, |mask| mask.is_of(matching)).map(|at| &self.tuples[at].mask);
        own.or_else(|| self.guests.of(matching))
    }

    /// The rule with exactly this mask, these values and this priority.
    pub(crate) fn find(&self, mask: &Mask, values: &Values, priority: u16) -> Option<&R> {
        self.locate(mask, values, priority).map(|(_, found)| found)
    }

    /// The same, and which tuple it is in.
    fn locate(&self, mask: &Mask, values: &Values, priority: u16) -> Option<(usize, &R)> {
        let find = |at: usize| Some((at, self.tuples[at].find(mask, values, priority, self.seed)?));
        let own = self.at(mask.hash(), |other| other == mask).and_then(find);
        own.or_else(|| find(self.shared_by(mask)?))
    }

    fn at(&self, hash: u64, is_mask: impl Fn(&Mask) -> bool) -> Option<usize> {
        let hashes = self.hashes.iter().enumerate().filter(|(_, other)| **other == hash);
        hashes.map(|(at, _)| at).find(|at| is_mask(&self.tuples[*at].mask))
    }

    /// The tuple that rules of this mask share with others, if some do.
    fn shared_by(&self, mask: &Mask) -> Option<usize> {
        let known = self.guests.has(mask).then_some(mask)?;
        self.at_bits(&shared(known, &lengths_of(known))?)
    }

    fn at_bits(&self, bits: &Key) -> Option<usize> {
        self.at(hash_of_shared(bits), |mask| mask.bits() == bits && mask.ranged() == [false; 2])
    }

    /// The tuple that a new rule goes to.
    fn place(&mut self, rule: &Rule) -> usize {
        let mask = &rule.mask;
        if let Some(own) = self.at(mask.hash(), |other| *other == **mask) {
            return own;
        }
        if R::SHARES
            && self.tuples.len() >= APART
            && self.guests.admits(mask)
            && let Some(bits) = shared(mask, &lengths_of(mask))
        {
            match self.at_bits(&bits) {
                Some(at) if self.tuples[at].has_room(rule, self.seed) => return at,
                Some(_) => {}
                None => return self.add(Arc::new(Mask::new(bits))),
            }
        }
        self.add(Arc::clone(mask))
    }

    /// Adds a tuple, for a rule that comes at once.
    fn add(&mut self, mask: Arc<Mask>) -> usize {
        let at = self.tuples.len();
        self.hashes.push(mask.hash());
        let tuple = Tuple::new(mask);
        self.order.push(Turn::of(at, &tuple));
        self.tuples.push(Arc::new(tuple));
        at
    }

    /// Adds the rules whose match lies within `matching` to `rules`.
    pub(crate) fn within(&self, matching: &Match, rules: &mut Vec<Arc<Rule>>) {
        let lies_within = |rule: &&Arc<Rule>| {
            rule.mask.has(matching.mask())
                && rule.mask.is_within(&rule.values, matching)
                && (matching.ranges() == [None; 2] || matching.contains(&rule.matching()))
        };
        for tuple in self.tuples.iter().filter(|tuple| tuple.may_have(matching.mask())) {
            let close = tuple.close_to(matching, self.seed).map(Entry::rule);
            rules.extend(close.filter(lies_within).cloned());
        }
    }

    /// A rule of this priority that has packets in common with `matching`, of the tuples that are
    /// looked up by nothing else; and whether there are others with rules of this priority.
    pub(crate) fn overlapping(&self, matching: &Match, priority: u16) -> (Option<&R>, bool) {
        let mut others = false;
        for tuple in self.tuples.iter().filter(|tuple| tuple.has_priority(priority)) {
            if tuple.is_direct(matching) {
                let mut close = tuple.close_to(matching, self.seed);
                let found = close.find(|entry| {
                    entry.rule().priority == priority && entry.rule().matching().overlaps(matching)
                });
                if found.is_some() {
                    return (found, others);
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
        let known = old.and_then(|old| self.locate(&old.mask, &old.values, old.priority));
        let at = match known.map(|(at, _)| at) {
            Some(at) => at,
            None => self.place(rule),
        };
        if old.is_none() && *rule.mask != *self.tuples[at].mask {
            self.guests.enter(&rule.mask);
        }
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
        let (at, found) = self.locate(&rule.mask, &rule.values, rule.priority)?;
        let removed = Some(found).filter(|found| found.rule().id == rule.id)?.clone();
        if *rule.mask != *self.tuples[at].mask {
            self.guests.leave(&rule.mask);
        }
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
        let guests = self.tuples.iter().map(|tuple| tuple.foreign()).sum::<usize>();
        assert_eq!(guests, self.guests.rules(), "rules in tuples of other masks");
        self.tuples.iter().map(|tuple| tuple.check(self.seed)).sum()
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

    /// Looks into the next tuple: `found` is shown what a packet with this key meets there, but for
    /// what cannot win, being of the rank `before` or behind; and `looked` learns which bits decided
    /// that.
    #[inline]
    pub(crate) fn step(
        &mut self,
        key: &Key,
        before: u64,
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
            tuple.lookup(key, seed, before, &mut self.asked, looked, found);
        }
    }
}
