//! From a packet's key to the program for it: the walk through the tables, once per kind of packet.
//!
//! Translation is a function of the tables, the packet and what has been learned. It changes
//! nothing: what it would learn is part of its answer. `ofctl trace` runs this very function with a
//! [`Record`] that writes down what it sees.

use api::{Action, DropReason, OutPort, TableId};
use packet::{Key, PortId};

use crate::change::Basis;
use crate::draft::{Draft, TooLong};
use crate::mac::{Station, Version};
use crate::ports::{BridgeId, PortView, Ports};
use crate::program::Op;
use crate::rule::Rule;
use crate::step::Step;
use crate::tables::{Bridge, Tables};

/// Resubmits to the same or an earlier table may be nested so deep (as in Open vSwitch).
pub const DEPTH: u32 = 64;
/// One packet is resubmitted at most so often (as in Open vSwitch).
pub const RESUBMITS: u32 = 4096;

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
    /// The tables that decided.
    pub basis: Basis,
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
            basis: Basis { tables: [0; 4], bridge: None, rewritten: 0 },
            last: Key::ZERO,
        }
    }

    /// Whether it depends on few enough learned entries to be cached.
    pub const fn is_cacheable(&self) -> bool {
        self.stations.len() <= Self::STATIONS
    }

    /// The answer for a port that belongs to no bridge.
    pub(crate) fn close(&mut self) {
        self.path.clear();
        self.stations.clear();
        self.lessons.clear();
        self.ops.clear();
        self.ops.push(Op::Drop(DropReason::Closed));
    }

    /// Translates a packet with this key that came in by `port`.
    ///
    /// Cost: a lookup per table it passes; no allocation.
    pub fn translate<R: Record>(
        &mut self,
        tables: &Tables,
        port: &PortView,
        key: &Key,
        record: &mut R,
    ) {
        self.close();
        self.basis = Basis { tables: [0; 4], bridge: Some(port.bridge), rewritten: 0 };
        let Some(bridge) = tables.bridge(port.bridge) else { return };
        let mut walk = Walk {
            bridge,
            id: port.bridge,
            draft: Draft::new(key, &mut self.looked, &mut self.ops),
            path: &mut self.path,
            stations: &mut self.stations,
            lessons: &mut self.lessons,
            basis: &mut self.basis,
            reason: DropReason::FlowDrop,
            resubmits: 0,
            depth: 0,
            record,
        };
        walk.record.bridge(&bridge.name);
        let outcome = walk.table(0);
        let reason = walk.reason;
        walk.basis.rewritten = walk.draft.rewritten();
        self.last = *walk.draft.flow();
        walk.draft.finish(reason);
        if let Err(reason) = outcome {
            // Nothing of a packet that broke a limit is sent.
            self.ops.clear();
            self.ops.push(Op::Drop(reason));
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
    /// A table was looked into: the rule that was met, if any.
    fn table(&mut self, _table: TableId, _rule: Option<&Rule>) {}
    /// An action begins.
    fn action(&mut self, _action: &Action) {}
    /// What follows belongs to the last action, until [`Record::leave`].
    fn enter(&mut self) {}
    /// The end of that.
    fn leave(&mut self) {}
    /// Something worth knowing happened.
    fn note(&mut self, _note: Note<'_>) {}
}

/// Nobody watches.
impl Record for () {}

/// Something worth knowing about a translation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Note<'a> {
    /// The packet would be dropped for this reason if nothing else sends it.
    Drop(DropReason),
    /// It is sent to this port.
    Sent(&'a PortView),
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
}

/// How a list of actions ended.
enum End {
    /// All were executed, or the list ended early.
    Done,
    /// Its last one goes on in this table.
    Goto(TableId),
}

/// One walk through the tables of a bridge.
pub(crate) struct Walk<'a, R> {
    pub(crate) bridge: &'a Bridge,
    pub(crate) id: BridgeId,
    pub(crate) draft: Draft<'a>,
    path: &'a mut Vec<Step>,
    stations: &'a mut Vec<(BridgeId, Version)>,
    lessons: &'a mut Vec<Lesson>,
    basis: &'a mut Basis,
    /// Why the packet is dropped, if nothing sends it.
    reason: DropReason,
    resubmits: u32,
    depth: u32,
    pub(crate) record: &'a mut R,
}

impl From<TooLong> for DropReason {
    fn from(_: TooLong) -> Self {
        Self::ProgramLimit
    }
}

impl<'a, R: Record> Walk<'a, R> {
    /// Looks the packet up in `table` and does what it finds, from table to table.
    fn table(&mut self, mut table: TableId) -> Result<(), DropReason> {
        loop {
            let rule = self.lookup(table);
            match self.rule(table, rule)? {
                End::Done => return Ok(()),
                End::Goto(next) => table = next,
            }
        }
    }

    fn lookup(&mut self, table: TableId) -> Option<&'a Rule> {
        self.basis.note(table);
        let (flow, mut inspector) = self.draft.inspect();
        self.bridge.table(table)?.lookup(flow, &mut inspector).map(AsRef::as_ref)
    }

    fn rule(&mut self, table: TableId, rule: Option<&'a Rule>) -> Result<End, DropReason> {
        self.record.table(table, rule);
        let Some(rule) = rule else {
            self.path.push(Step::Miss { bridge: self.id, table });
            self.dropped(DropReason::TableMiss);
            return Ok(End::Done);
        };
        self.path.push(Step::Rule(rule.id));
        if rule.actions.is_empty() {
            self.dropped(DropReason::FlowDrop);
        }
        self.actions(&rule.actions, table)
    }

    fn actions(&mut self, actions: &'a [Action], table: TableId) -> Result<End, DropReason> {
        for action in actions {
            self.record.action(action);
            match action {
                Action::Output(to) => self.output(*to)?,
                Action::SetField { field, value, mask } => {
                    self.draft.write(field.span(), *value, *mask)?
                }
                Action::WriteMetadata { value, mask } => {
                    self.draft.write(Key::METADATA, (*value).into(), (*mask).into())?;
                }
                Action::Move { src, dst } => {
                    let value = self.draft.look(src.span());
                    self.draft.write(dst.span(), value, dst.span().ones())?;
                }
                Action::PushVlan(tpid) => self.push_vlan(*tpid)?,
                Action::PopVlan => self.pop_vlan()?,
                Action::ModVlanVid(vid) => {
                    self.mod_vlan(Key::VLAN_TCI.slice(0, 12), (*vid).into())?
                }
                Action::ModVlanPcp(pcp) => {
                    self.mod_vlan(Key::VLAN_TCI.slice(13, 3), (*pcp).into())?
                }
                Action::DecTtl(_) => {
                    if !self.draft.dec_ttl()? {
                        self.record.note(Note::TtlExpired);
                        self.dropped(DropReason::InvalidTtl);
                        return Ok(End::Done);
                    }
                }
                Action::Resubmit { in_port, table: to } => {
                    self.resubmit(*in_port, to.unwrap_or(table), table)?;
                }
                Action::GotoTable(next) => return Ok(End::Goto(*next)),
                Action::Clone(actions) => self.clone(actions, table)?,
                _ => {}
            }
        }
        Ok(End::Done)
    }

    fn resubmit(
        &mut self,
        in_port: Option<u16>,
        to: TableId,
        from: TableId,
    ) -> Result<(), DropReason> {
        self.resubmits += 1;
        if self.resubmits > RESUBMITS {
            return Err(DropReason::ResubmitLimit);
        }
        let deeper = u32::from(to <= from);
        self.depth += deeper;
        if self.depth > DEPTH {
            return Err(DropReason::ResubmitDepth);
        }
        self.record.enter();
        // Only the lookup sees the other port: what it finds acts for the real one.
        let real = in_port.map(|in_port| self.draft.set_in_port(in_port));
        let rule = self.lookup(to);
        if let Some(real) = real {
            self.draft.set_in_port(real);
        }
        if let End::Goto(next) = self.rule(to, rule)? {
            self.table(next)?;
        }
        self.record.leave();
        self.depth -= deeper;
        Ok(())
    }

    fn clone(&mut self, actions: &'a [Action], table: TableId) -> Result<(), DropReason> {
        self.record.enter();
        let fork = self.draft.fork()?;
        if let End::Goto(next) = self.actions(actions, table)? {
            self.table(next)?;
        }
        self.draft.join(fork);
        self.record.leave();
        Ok(())
    }

    fn push_vlan(&mut self, tpid: u16) -> Result<(), DropReason> {
        if self.draft.has_two_tags() {
            return Err(DropReason::VlanTags);
        }
        Ok(self.draft.push_vlan(tpid)?)
    }

    pub(crate) fn pop_vlan(&mut self) -> Result<(), DropReason> {
        if self.draft.has_unread_tags() {
            return Err(DropReason::VlanTags);
        }
        Ok(self.draft.pop_vlan()?)
    }

    pub(crate) fn mod_vlan(&mut self, part: packet::Span, value: u128) -> Result<(), DropReason> {
        if !self.draft.has_tag() {
            self.push_vlan(packet::ethernet::VLAN)?;
        }
        Ok(self.draft.write(part, value, part.ones())?)
    }

    fn output(&mut self, to: OutPort) -> Result<(), DropReason> {
        let in_port = self.draft.look16(Key::IN_PORT);
        match to {
            OutPort::Port(number) => self.output_to(number, in_port),
            OutPort::Local => self.output_to(Ports::LOCAL, in_port),
            OutPort::InPort => match self.bridge.ports.get(in_port) {
                Some(port) => self.send(port),
                None => {
                    self.dropped(DropReason::NoSuchPort);
                    Ok(())
                }
            },
            OutPort::Flood => self.output_to_all(in_port, |port| !port.no_flood),
            OutPort::All => self.output_to_all(in_port, |_| true),
            OutPort::Normal => self.normal(in_port),
        }
    }

    fn output_to(&mut self, number: u16, in_port: u16) -> Result<(), DropReason> {
        if number == in_port {
            self.dropped(DropReason::OutputToIngress);
            return Ok(());
        }
        match self.bridge.ports.get(number) {
            Some(port) => self.send(port),
            None => {
                self.dropped(DropReason::NoSuchPort);
                Ok(())
            }
        }
    }

    fn output_to_all(
        &mut self,
        in_port: u16,
        wanted: impl Fn(&PortView) -> bool,
    ) -> Result<(), DropReason> {
        let mut nowhere = true;
        for port in self.bridge.ports.iter().filter(|port| port.number != in_port && wanted(port)) {
            nowhere = false;
            self.send(port)?;
        }
        if nowhere {
            self.dropped(DropReason::NormalNowhere);
        }
        Ok(())
    }

    /// Sends the packet as it is by now.
    pub(crate) fn send(&mut self, port: &'a PortView) -> Result<(), DropReason> {
        self.record.note(Note::Sent(port));
        Ok(self.draft.send(port.id)?)
    }

    /// Notes why the packet is dropped, if nothing sends it.
    pub(crate) fn dropped(&mut self, reason: DropReason) {
        self.record.note(Note::Drop(reason));
        self.reason = reason;
    }

    /// Where `station` is; the program rests on the answer, also if it is nowhere.
    pub(crate) fn find(&mut self, station: Station) -> Option<&'a PortView> {
        self.stations.push((self.id, self.bridge.macs.version(station)));
        let taught = self.lessons.iter().rev().find(|lesson| lesson.station == station);
        let learned = taught.map(|lesson| lesson.port);
        let port = learned.or_else(|| Some(self.bridge.macs.find(station)?.port))?;
        self.bridge.ports.by_id(port).map(AsRef::as_ref)
    }

    /// Learns that `station` is at `port`; a program may be used for as long as that is known.
    pub(crate) fn learn(&mut self, station: Station, port: &PortView) {
        let version = self.bridge.macs.version(station);
        match self.bridge.macs.find(station) {
            Some(known) if known.port == port.id => {
                self.stations.push((self.id, version));
                self.path.push(Step::Station { bridge: self.id, slot: known.slot, port: port.id });
            }
            _ => {
                self.record.note(Note::Learned(station));
                self.lessons.push(Lesson { bridge: self.id, station, port: port.id });
            }
        }
    }
}
