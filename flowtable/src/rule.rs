//! A flow as it stands in a table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use api::{Action, FlowFlags, FlowMod, Match, TableId};
use packet::Millis;
use packet::memory::prefetch;

use crate::mask::Mask;
use crate::sorted::Value;
use crate::values::Values;

/// A flow's identity: never used twice by one switch. A modified flow keeps it, and with it its
/// counters.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RuleId(pub u64);

/// What has been counted for a rule outside of paths: what retired paths left, and packets that
/// were carried without a cache entry. See [`crate::PathReader`] for the rest.
#[derive(Debug, Default)]
pub struct RuleStats {
    packets: AtomicU64,
    bytes: AtomicU64,
    used: AtomicU64,
}

impl RuleStats {
    /// Credits packets. Any thread may; the order does not matter to a sum.
    pub fn credit(&self, packets: u64, bytes: u64, used: Millis) {
        self.packets.fetch_add(packets, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.used.fetch_max(used.0, Relaxed);
    }

    /// Packets, bytes, and when the last one came (the start of time if none did).
    pub fn load(&self) -> (u64, u64, Millis) {
        (self.packets.load(Relaxed), self.bytes.load(Relaxed), Millis(self.used.load(Relaxed)))
    }

    /// Begins at zero again.
    pub fn reset(&self) {
        self.packets.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
    }
}

/// When a flow is over at the earliest whose last packet came at `used`, with these timeouts, idle
/// and hard, in seconds; `None` is never.
pub fn end(used: Millis, modified: Millis, (idle, hard): (u16, u16)) -> Option<Millis> {
    let after = |from: Millis, seconds: u16| {
        (seconds > 0).then(|| Millis(from.0.saturating_add(u64::from(seconds) * 1000)))
    };
    after(used, idle).into_iter().chain(after(modified, hard)).min()
}

/// A flow in a table. Immutable: a change makes a new one.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Which flow it is.
    pub id: RuleId,
    /// Its age: lower is older. A rule that replaces another takes its place.
    pub order: u64,
    /// The table it is in.
    pub table: TableId,
    /// Higher goes first; among equals the older one.
    pub priority: u16,
    /// Which bits it matches, shared with the rules of its tuple.
    pub mask: Arc<Mask>,
    /// What it matches there: the mask's words in order, masked, and a last one for ranges of ports
    /// if the mask has any.
    pub values: Values,
    /// What it does; nothing drops. Equal lists are shared.
    pub actions: Arc<[Action]>,
    /// The controller's mark.
    pub cookie: u64,
    /// Seconds without a packet after which it goes; 0 is never.
    pub idle_timeout: u16,
    /// Seconds after which it goes; 0 is never.
    pub hard_timeout: u16,
    /// The controller's rank for eviction.
    pub importance: u16,
    /// Flags.
    pub flags: FlowFlags,
    /// When it was added.
    pub created: Millis,
    /// When it was added or last modified.
    pub modified: Millis,
    /// Its counters.
    pub stats: Arc<RuleStats>,
}

impl Value for Arc<Rule> {
    fn prefetch(&self) {
        prefetch(&**self);
    }
}

impl Rule {
    /// Its match.
    pub fn matching(&self) -> Match {
        Match::from_parts(self.mask.expand(&self.values), *self.mask.bits())
            .with_ranges(self.mask.ranges_of(&self.values))
    }

    /// The change that would add it.
    pub fn flow_mod(&self) -> FlowMod {
        FlowMod {
            table: Some(self.table),
            priority: self.priority,
            matching: self.matching(),
            cookie: Some(self.cookie),
            idle_timeout: self.idle_timeout,
            hard_timeout: self.hard_timeout,
            importance: self.importance,
            flags: self.flags,
            actions: Some(self.actions.to_vec()),
            ..FlowMod::default()
        }
    }

    /// Whether it goes before `other` when both match.
    pub fn precedes(&self, other: &Self) -> bool {
        self.rank() < other.rank()
    }

    /// Its place among all rules of its table: lower goes first.
    pub const fn rank(&self) -> u64 {
        Self::rank_of(self.priority, self.order)
    }

    /// The place of a rule of this priority and age.
    pub const fn rank_of(priority: u16, order: u64) -> u64 {
        // So many rules no switch has seen.
        const MOST: u64 = (1 << 48) - 1;
        (!priority as u64) << 48 | order & MOST
    }

    /// When it is over at the earliest, if its last packet came at `used`; `None` is never.
    pub fn end(&self, used: Millis) -> Option<Millis> {
        end(used, self.modified, (self.idle_timeout, self.hard_timeout))
    }

    /// Whether it is a clause of conjunctive matches: such a rule never matches by itself.
    pub fn is_clause(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Conjunction { .. }))
    }
}
