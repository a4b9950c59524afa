//! What a packet is worth to what it meets, where no path counts it.

use std::sync::Arc;

use api::TableId;
use packet::Millis;

use crate::group::{GroupEntry, GroupStats};
use crate::rule::{Rule, RuleStats};
use crate::tables::Bridge;
use crate::translate::Record;

/// What one packet is worth.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credit {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) now: Millis,
}

/// Something that a packet met and that counts it.
#[derive(Debug)]
pub(crate) enum Met {
    /// A rule of this table.
    Rule(TableId, Arc<RuleStats>),
    /// No rule of this table.
    Miss(TableId),
    /// A group.
    Group(Arc<GroupStats>),
    /// A bucket of one, by its place.
    Bucket(Arc<GroupStats>, usize),
}

impl Met {
    /// Gives it the credit; it is of this bridge.
    pub(crate) fn credit(&self, bridge: &Bridge, credit: Credit) {
        let stats = match self {
            Self::Rule(table, stats) => {
                bridge.matched(*table).credit(credit.packets, credit.bytes, credit.now);
                stats
            }
            Self::Miss(table) => bridge.missed(*table),
            Self::Group(stats) => &stats.group,
            Self::Bucket(stats, at) => match stats.buckets.get(*at) {
                Some(stats) => stats,
                None => return,
            },
        };
        stats.credit(credit.packets, credit.bytes, credit.now);
    }
}

/// Shows what a walk meets, one by one.
pub(crate) struct Meeting<F>(pub(crate) F);

impl<F: FnMut(Met)> Record for Meeting<F> {
    fn table(&mut self, table: TableId, rule: Option<&Rule>) {
        (self.0)(match rule {
            Some(rule) => Met::Rule(table, Arc::clone(&rule.stats)),
            None => Met::Miss(table),
        });
    }

    fn group(&mut self, group: &GroupEntry, bucket: Option<usize>) {
        let stats = Arc::clone(&group.stats);
        (self.0)(match bucket {
            Some(at) => Met::Bucket(stats, at),
            None => Met::Group(stats),
        });
    }
}
