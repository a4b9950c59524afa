//! Conjunctive matches: one that holds for a packet if for each of its clauses some rule does.
//!
//! A rule with the action `conjunction(id,k/n)` never matches by itself; it makes clause `k` of
//! match `id` hold. If of one priority all `n` clauses hold, the packet is looked up once more with
//! `conj_id` set to `id`, and what it meets then is what it meets. So a policy of n sources, m
//! destinations and k ports is n + m + k rules, and a lookup looks at those of them that the packet
//! agrees with.
//!
//! Numbers of a match are those of one priority: clauses of two priorities do not meet. If several
//! matches hold, the lowest `id` is tried first.

use std::sync::Arc;

use api::Action;
use packet::Key;

use crate::rule::Rule;
use crate::same::{Entry, Met};
use crate::sorted::Value;

/// A conjunctive match: its number, and how many clauses it has.
pub(crate) type Conjunction = (u32, u8);

/// A rule that is a clause of conjunctive matches.
#[derive(Debug)]
pub(crate) struct Soft {
    rule: Arc<Rule>,
    /// The matches in ascending order, each with the clause.
    clauses: Box<[(Conjunction, u8)]>,
}

impl Soft {
    /// What the actions of a rule make of it.
    pub(crate) fn new(rule: Arc<Rule>) -> Self {
        let mut clauses: Vec<_> = rule
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::Conjunction { id, clause, clauses } => Some(((*id, *clauses), *clause)),
                _ => None,
            })
            .collect();
        clauses.sort_unstable();
        Self { rule, clauses: clauses.into() }
    }
}

impl Value for Arc<Soft> {}

impl Entry for Arc<Soft> {
    /// Which of them a packet agrees with is asked again and again.
    const SHARES: bool = false;

    fn rule(&self) -> &Arc<Rule> {
        &self.rule
    }
}

/// Tuples that a packet can agree with before memory is taken.
const FEW: usize = 24;

/// The clauses that a packet meets, from the highest priority down.
#[derive(Debug)]
pub(crate) struct Clauses<'a> {
    few: [Option<Place<'a>>; FEW],
    more: Vec<Option<Place<'a>>>,
    len: usize,
    /// The priority that places stand at or are above of.
    priority: u16,
}

/// The rules of one tuple that a packet agrees with, as far as they have not been considered.
#[derive(Clone, Copy, Debug)]
struct Place<'a> {
    met: Met<'a, Arc<Soft>>,
    soft: &'a Soft,
    /// How many of its clauses have been considered.
    seen: usize,
}

impl<'a> Clauses<'a> {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self { few: [None; FEW], more: Vec::new(), len: 0, priority: 0 }
    }

    /// Adds what a packet with this key meets in one tuple.
    pub(crate) fn add(&mut self, met: Met<'a, Arc<Soft>>, key: &Key) {
        let Some(soft) = met.from(0, key) else { return };
        let place = Some(Place { met, soft, seen: 0 });
        match self.few.get_mut(self.len) {
            Some(free) => *free = place,
            None => self.more.push(place),
        }
        self.len += 1;
    }

    /// Goes on to the highest priority there is; answers with it.
    pub(crate) fn highest(&mut self) -> Option<u16> {
        self.priority = self.places().map(|place| place.soft.rule.priority).max()?;
        Some(self.priority)
    }

    /// The next match all of whose clauses hold at this priority.
    pub(crate) fn next_complete(&mut self) -> Option<Conjunction> {
        loop {
            let next = self.standing().filter_map(|place| place.conjunction()).min()?;
            let mut missing = u64::MAX.checked_shr(64 - u32::from(next.1.min(64))).unwrap_or(0);
            for place in self.standing() {
                while place.conjunction() == Some(next) {
                    missing &=
                        !1u64.checked_shl(place.soft.clauses[place.seen].1.into()).unwrap_or(0);
                    place.seen += 1;
                }
            }
            if missing == 0 {
                return Some(next);
            }
        }
    }

    /// The rules of this priority that make clauses of `conjunction` hold.
    pub(crate) fn rules_of(
        &mut self,
        conjunction: Conjunction,
    ) -> impl Iterator<Item = &'a Arc<Rule>> {
        let softs = self.standing().map(|place| place.soft);
        softs
            .filter(move |soft| soft.clauses.iter().any(|(other, _)| *other == conjunction))
            .map(|soft| &soft.rule)
    }

    /// Leaves this priority behind.
    pub(crate) fn descend(&mut self, key: &Key) {
        let Some(below) = self.priority.checked_sub(1) else {
            self.few = [None; FEW];
            self.more.clear();
            return;
        };
        let priority = self.priority;
        for slot in self.few.iter_mut().chain(&mut self.more) {
            if let Some(place) = slot
                && place.soft.rule.priority == priority
            {
                let lower = place.met.from(Rule::rank_of(below, 0), key);
                *slot = lower.map(|soft| Place { soft, seen: 0, ..*place });
            }
        }
    }

    fn places(&mut self) -> impl Iterator<Item = &mut Place<'a>> {
        let few = self.len.min(FEW);
        self.few[..few].iter_mut().chain(&mut self.more).flatten()
    }

    /// The places that are of this priority.
    fn standing(&mut self) -> impl Iterator<Item = &mut Place<'a>> {
        let priority = self.priority;
        self.places().filter(move |place| place.soft.rule.priority == priority)
    }
}

impl Place<'_> {
    /// The next of its matches.
    fn conjunction(&self) -> Option<Conjunction> {
        self.soft.clauses.get(self.seen).map(|(conjunction, _)| *conjunction)
    }
}
