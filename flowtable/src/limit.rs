//! How many flows a table holds, and which of them go when there are more.
//!
//! As in Open vSwitch, only flows with a timeout can be evicted: those of lower importance first,
//! and of equal importance those that end soonest.

use std::sync::Arc;

use api::TableMod;
use packet::Millis;

use crate::rule::Rule;
use crate::sorted::Sorted;

/// What a table does that has no room for a new flow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Overflow {
    /// It refuses the new flow.
    #[default]
    Refuse,
    /// It gives up another one, if there is one with a timeout.
    Evict,
}

/// How many flows a table holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TableLimit {
    /// The most flows.
    pub flows: usize,
    /// What happens to the next.
    pub overflow: Overflow,
}

impl Default for TableLimit {
    /// That of all tables.
    fn default() -> Self {
        Self { flows: usize::MAX, overflow: Overflow::Refuse }
    }
}

impl TableLimit {
    /// The limit as a change leaves it.
    pub(crate) fn changed(self, change: &TableMod) -> Self {
        let flows = change.limit.map(|flows| usize::try_from(flows).unwrap_or(usize::MAX));
        let overflow = change.evict.map(|evicts| match evicts {
            true => Overflow::Evict,
            false => Overflow::Refuse,
        });
        Self { flows: flows.unwrap_or(self.flows), overflow: overflow.unwrap_or(self.overflow) }
    }

    /// Whether it is another one than that of all tables.
    pub fn is_one(self) -> bool {
        self != Self::default()
    }
}

/// A table's limit; and if some of its flows are to be evicted, which: by importance, and by when
/// each would have ended if it had had no packet.
#[derive(Clone, Debug)]
pub(crate) struct Limited {
    limit: Option<TableLimit>,
    mortal: Sorted<Place, Arc<Rule>>,
}

/// Importance, end, rank.
type Place = (u16, Millis, u64);

fn place(rule: &Rule) -> Option<Place> {
    Some((rule.importance, rule.end(rule.created)?, rule.rank()))
}

impl Limited {
    /// No limit, no flows.
    pub(crate) const EMPTY: Self = Self { limit: None, mortal: Sorted::EMPTY };

    /// The limit of a table with these flows.
    pub(crate) fn new<'a>(
        limit: Option<TableLimit>,
        rules: impl Iterator<Item = &'a Arc<Rule>>,
    ) -> Self {
        let mut limited = Self { limit, ..Self::EMPTY };
        if limited.evicts() {
            rules.for_each(|rule| limited.entered(rule));
        }
        limited
    }

    pub(crate) const fn limit(&self) -> Option<TableLimit> {
        self.limit
    }

    const fn evicts(&self) -> bool {
        matches!(self.limit, Some(TableLimit { overflow: Overflow::Evict, .. }))
    }

    /// Notes a new flow.
    pub(crate) fn entered(&mut self, rule: &Arc<Rule>) {
        if self.evicts()
            && let Some(place) = place(rule)
        {
            self.mortal.insert(place, Arc::clone(rule));
        }
    }

    /// Notes that a flow is gone.
    pub(crate) fn left(&mut self, rule: &Rule) {
        if self.evicts()
            && let Some(place) = place(rule)
        {
            self.mortal.remove(place);
        }
    }

    /// The flow to be given up first. Of many of one importance the first few are asked when they
    /// were used last, as far as that has been counted.
    pub(crate) fn first_to_go(&self) -> Option<&Arc<Rule>> {
        const FEW: usize = 16;
        let ((least, ..), _) = self.mortal.first()?;
        let equals = self.mortal.iter().take_while(|((importance, ..), _)| importance == least);
        let end = |rule: &Rule| rule.end(rule.stats.load().2.max(rule.created));
        equals.take(FEW).map(|(_, rule)| rule).min_by_key(|rule| end(rule))
    }
}
