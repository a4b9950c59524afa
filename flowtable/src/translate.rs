//! From a packet's key to the program for it: the walk through the tables, once per kind of packet.
//!
//! Translation is a function of the tables, the packet and what has been learned. It changes
//! nothing: what it would learn is part of its answer. `ofctl trace` runs this very function with a
//! [`Record`] that writes down what it sees.

use std::sync::Arc;

use api::{Action, DropReason, TableId, TableMiss};
use packet::{Key, PortId};

use crate::change::Basis;
use crate::frozen::{Aside, Context, Decision, Frozen, Show};
use crate::group::GroupEntry;
use crate::mac::{Station, Version};
use crate::ports::{BridgeId, PortView};
use crate::program::Op;
use crate::rule::Rule;
use crate::step::Step;
use crate::tables::Tables;
use crate::walk::{RESUBMITS, Walk};

/// What becomes of a kind of packet. Made once, filled anew by each translation, so that none
/// allocates.
#[derive(Debug)]
pub struct Translation {
    /// The bits that decided: packets that agree in them get the same program.
    pub looked: Key,
    /// The program.
    pub ops: Vec<Op>,
    /// What the packet passed.
    pub path: Vec<Step>,
    /// The learned entries, present or absent, that decided.
    pub stations: Vec<(BridgeId, Version)>,
    /// What the packet teaches.
    pub lessons: Vec<Lesson>,
    /// Flows that the packet shows the need for.
    pub flows: Vec<(BridgeId, Arc<Rule>)>,
    /// What operations say apart, each by the place it has here.
    pub asides: Vec<Aside>,
    /// The tables that decided.
    pub basis: Basis,
    /// How many flows had been taught in the bridge by then, ever.
    pub(crate) taught: u64,
    /// The packet, and the registers, as they were in the end.
    pub last: Key,
}

/// That an address was seen at a port.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lesson {
    /// In this bridge.
    pub bridge: BridgeId,
    /// The address.
    pub station: Station,
    /// The port.
    pub port: PortId,
}

impl Translation {
    /// Most learned entries that one cached program may depend on.
    pub const STATIONS: usize = 8;

    /// An empty one, with room for the largest.
    pub fn new() -> Self {
        let most = RESUBMITS as usize + 256;
        Self {
            looked: Key::ZERO,
            ops: Vec::with_capacity(Op::MOST),
            path: Vec::with_capacity(2 * most),
            stations: Vec::with_capacity(most),
            lessons: Vec::with_capacity(most),
            flows: Vec::new(),
            asides: Vec::new(),
            basis: Basis::NOTHING,
            taught: 0,
            last: Key::ZERO,
        }
    }

    /// Whether it depends on few enough learned entries to be cached.
    pub const fn is_cacheable(&self) -> bool {
        self.stations.len() <= Self::STATIONS
    }

    /// Whether it ends where a packet's connection is asked for.
    pub fn tracks(&self) -> bool {
        let asks = |aside: &Aside| {
            let Aside::Frozen(frozen) = aside else { return false };
            matches!(frozen.decision, Decision::Connect(_))
        };
        self.asides.iter().any(asks)
    }

    /// The answer for a port that belongs to no bridge.
    pub(crate) fn close(&mut self) {
        self.path.clear();
        self.stations.clear();
        self.lessons.clear();
        self.flows.clear();
        self.asides.clear();
        self.ops.clear();
        self.ops.push(Op::Drop(DropReason::Closed));
    }

    /// Translates a packet with this key that came in by `port`.
    ///
    /// Cost: a lookup per table it passes; no allocation, unless the walk has to be frozen.
    pub fn translate<R: Record>(
        &mut self,
        tables: &Tables,
        port: &PortView,
        key: &Key,
        record: &mut R,
    ) {
        let receives = port.flags.receives();
        let reason = if receives { DropReason::FlowDrop } else { DropReason::NoReceive };
        self.walk(tables, (port.bridge, reason, None), key, record);
    }

    /// Translates what becomes of a packet that goes on where a walk was frozen. Its key is one that
    /// [`Frozen::complete`] has made.
    pub fn resume<R: Record>(
        &mut self,
        tables: &Tables,
        frozen: &Frozen,
        key: &Key,
        record: &mut R,
    ) {
        let (id, reason) = (frozen.bridge, frozen.reason);
        self.walk(tables, (id, reason, Some(frozen)), key, record);
    }

    /// Walks through a bridge from table 0 on, or from where an earlier walk was frozen.
    fn walk<R: Record>(
        &mut self,
        tables: &Tables,
        (id, reason, frozen): (BridgeId, DropReason, Option<&Frozen>),
        key: &Key,
        record: &mut R,
    ) {
        self.close();
        self.basis = Basis { bridge: Some(id), ..Basis::NOTHING };
        let Some(bridge) = tables.bridge(id) else { return };
        // Before it is asked what is pending: what is left there meanwhile shows then.
        self.taught = bridge.pending.newest();
        let pending = bridge.pending.rules();
        let pending = pending.as_ref().map_or(&[][..], |pending| pending.as_slice());
        let mut walk = Walk::new(self, tables, (id, bridge), pending, key, reason, record);
        walk.record.bridge(&bridge.name);
        let outcome = match frozen {
            None if reason == DropReason::NoReceive => Err(Stop::Limit(reason)),
            None => walk.table(0),
            Some(frozen) => walk.resume(frozen),
        };
        let (last, ended) = walk.end(outcome);
        self.last = last;
        if let Err(reason) = ended {
            // Nothing of a packet that broke a limit is sent.
            self.ops.clear();
            self.ops.push(Op::Drop(reason));
            self.asides.clear();
        }
    }

    /// The frozen state that an operation of this translation ends with.
    pub fn frozen(&self, op: Op) -> Option<&Frozen> {
        match (op, self.asides.get(op.aside()?.0 as usize)?) {
            (Op::Resume(_), Aside::Frozen(frozen)) => Some(frozen),
            _ => None,
        }
    }
}

impl Default for Translation {
    fn default() -> Self {
        Self::new()
    }
}

/// Somebody who watches a translation.
pub trait Record {
    /// The walk enters a bridge.
    fn bridge(&mut self, _name: &str) {}
    /// A rule makes a clause of a conjunctive match hold, in the table that is named next.
    fn clause(&mut self, _clause: &Rule) {}
    /// A table was looked into: the rule that was met, if any.
    fn table(&mut self, _table: TableId, _rule: Option<&Rule>) {}
    /// An action begins.
    fn action(&mut self, _action: &Action) {}
    /// What follows belongs to the last action, until [`Record::leave`].
    fn enter(&mut self) {}
    /// The end of that.
    fn leave(&mut self) {}
    /// The packet is led to a group, or takes one of its buckets, by place.
    fn group(&mut self, _group: &GroupEntry, _bucket: Option<usize>) {}
    /// Something worth knowing happened.
    fn note(&mut self, _note: Note<'_>) {}
}

/// Nobody watches.
impl Record for () {}

/// Something worth knowing about a translation.
#[derive(Clone, Copy, Debug)]
pub enum Note<'a> {
    /// The table that was looked into last has no flow for the packet, and this is what it does.
    Missed(TableMiss),
    /// The packet would be dropped for this reason if nothing else sends it.
    Drop(DropReason),
    /// It is sent to this port.
    Sent(&'a PortView),
    /// It is shown to whoever watches, perhaps to wait for them.
    Shown(&'a Show),
    /// `normal` put it in this VLAN.
    Vlan(u16),
    /// `normal` learned its source.
    Learned(Station),
    /// `normal` does not know its destination, or it is a group, and floods.
    Flooded,
    /// `normal` knows its destination, at this port.
    Known(&'a PortView),
    /// The TTL does not allow it; the list of actions ends.
    TtlExpired,
    /// The pass ends here, until this is decided.
    Frozen(&'a Decision),
    /// What an earlier pass has left goes on.
    Thawed(&'a Frozen),
    /// The rest of a list that it has left.
    Rest(Context),
    /// The action set is this by now.
    Written(&'a [&'a Action]),
    /// The action set is carried out.
    ActionSet,
    /// No bucket of the group is live.
    NoLiveBucket(&'a GroupEntry),
    /// A flow would be learned.
    Taught(&'a Rule),
    /// A flow that would be learned is there already.
    Remembered(&'a Rule),
    /// A flow would be learned, and there is no room for it.
    NotTaught,
    /// A field was taken from an empty stack.
    EmptyStack,
}

/// Why a list of actions was left before its end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// An action ended everything.
    Exit,
    /// The pass ends; what was still to be done is being collected.
    Frozen,
    /// A limit was broken.
    Limit(DropReason),
}
