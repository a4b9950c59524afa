//! Rules that stand together in a tuple: what they have at its mask is the same.

use std::sync::Arc;

use packet::Key;
use packet::memory::prefetch;

use crate::mask::Mask;
use crate::rule::Rule;
use crate::sorted::{Sorted, Value};
use crate::table::Looked;

/// What a tuple holds: a rule, with or without something that belongs to it.
pub(crate) trait Entry: Value {
    /// Whether rules of different masks may share a tuple.
    const SHARES: bool;

    /// The rule.
    fn rule(&self) -> &Arc<Rule>;
}

impl Entry for Arc<Rule> {
    const SHARES: bool = true;

    fn rule(&self) -> &Self {
        self
    }
}

/// The rules of one hash, in the order in which they win: nearly always one, or some that differ in
/// their priority alone, or a few of different masks.
#[derive(Clone, Debug)]
pub(crate) enum Same<R> {
    One(R),
    Many(Sorted<u64, R>),
}

/// The rules of a tuple that a packet may agree with.
#[derive(Debug)]
pub(crate) struct Met<'a, R> {
    pub(crate) same: &'a Same<R>,
    /// The mask of all of them; if there is none, each has its own.
    pub(crate) mask: Option<&'a Mask>,
    /// The ranges that the packet's ports lie in, if the mask has some.
    pub(crate) ranges: Option<u64>,
}

impl<R> Clone for Met<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Met<'_, R> {}

impl<'a, R: Entry> Met<'a, R> {
    /// The first that a packet with this key agrees with, of those whose rank is `rank` or behind.
    pub(crate) fn from(&self, mut rank: u64, key: &Key) -> Option<&'a R> {
        loop {
            let found = self.same.from(rank)?;
            if self.agrees(found.rule(), key) {
                return Some(found);
            }
            // Another match with the same hash.
            rank = found.rule().rank() + 1;
        }
    }

    fn agrees(&self, rule: &Rule, key: &Key) -> bool {
        match self.mask {
            Some(mask) => {
                mask.agrees(key, &rule.values)
                    && rule.values.get(mask.words().len()).copied() == self.ranges
            }
            None => {
                rule.mask.agrees(key, &rule.values)
                    && rule.mask.outside(key, &rule.values).is_none()
            }
        }
    }

    /// Whether there is such a rule before the rank `before`, where each has its own mask: `looked`
    /// learns which bits tell the packet from those before it, and all that it is found by.
    pub(crate) fn look(&self, key: &Key, before: u64, looked: &mut impl Looked) -> bool {
        let ranked = || self.same.ranked().take_while(|(rank, _)| *rank < before);
        for rule in ranked().map(|(_, entry)| entry.rule()) {
            prefetch(&rule.mask);
            prefetch(&rule.values);
        }
        ranked().any(|(_, entry)| {
            let Rule { mask, values, .. } = &**entry.rule();
            let agrees = !mask.look_at_difference(key, values, looked);
            if agrees {
                mask.look_at_all(looked);
            }
            agrees
        })
    }
}

impl<R: Entry> Value for Same<R> {
    fn prefetch(&self) {
        if let Self::One(only) = self {
            only.prefetch();
        }
    }
}

impl<R: Entry> Same<R> {
    /// The first rule whose rank is `rank` or behind.
    pub(crate) fn from(&self, rank: u64) -> Option<&R> {
        match self {
            Self::One(only) => Some(only).filter(|only| only.rule().rank() >= rank),
            Self::Many(rules) => rules.from(rank).map(|(_, rule)| rule),
        }
    }

    /// All of them with their ranks, in the order in which they win.
    fn ranked(&self) -> impl Iterator<Item = (u64, &R)> {
        let (one, many) = match self {
            Self::One(only) => (Some(only), None),
            Self::Many(rules) => (None, Some(rules)),
        };
        let one = one.into_iter().map(|only| (only.rule().rank(), only));
        one.chain(many.into_iter().flat_map(Sorted::iter).map(|(rank, rule)| (*rank, rule)))
    }

    /// All of them, in the order in which they win.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &R> {
        self.ranked().map(|(_, entry)| entry)
    }

    /// The rule of this match and this priority.
    pub(crate) fn find(&self, mask: &Mask, values: &[u64], priority: u16) -> Option<&R> {
        let mut found = self.from(Rule::rank_of(priority, 0))?;
        while *found.rule().values != *values || *found.rule().mask != *mask {
            found = self.from(found.rule().rank() + 1)?;
        }
        Some(found).filter(|found| found.rule().priority == priority)
    }

    pub(crate) fn with(&self, entry: R) -> Self {
        let mut rules = match self {
            Self::Many(rules) => rules.clone(),
            Self::One(only) => {
                let mut rules = Sorted::EMPTY;
                rules.insert(only.rule().rank(), only.clone());
                rules
            }
        };
        rules.insert(entry.rule().rank(), entry);
        Self::Many(rules)
    }

    pub(crate) fn without(&self, rank: u64) -> Option<Self> {
        let Self::Many(rules) = self else { return None };
        let mut rules = rules.clone();
        rules.remove(rank);
        let (first, entry) = rules.first()?;
        if rules.last()?.0 == *first {
            Some(Self::One(entry.clone()))
        } else {
            Some(Self::Many(rules))
        }
    }

    /// Asserts that it is in order, for tests.
    pub(crate) fn check(&self) {
        if let Self::Many(rules) = self {
            assert!(rules.iter().all(|(rank, rule)| rule.rule().rank() == *rank));
            assert!(rules.iter().nth(1).is_some(), "one rule stands alone");
        }
    }
}
