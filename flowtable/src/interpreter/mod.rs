//! What flows mean, spelled out: one packet at a time, every rule looked at, every action carried
//! out on the bytes as it is written.
//!
//! Nothing that makes the switch fast is here: no tuples, masks, caches or programs, no shared
//! counters. It is what the rest is held against in tests: the same packets must leave by the same
//! ports with the same bytes, and the same rules must have counted them.

mod actions;
mod forward;
mod literal;
mod tracking;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use api::{
    Action, Command, DropReason, FlowMod, Group, GroupMod, Match, MeterId, MeterMod, TableId,
    TableMiss, TableMod,
};
use packet::ethernet;

use crate::mac::Station;
use crate::meter::Meter;
use crate::ports::Ports;
use literal::Literal;
pub use tracking::{Found, Tracker};

/// A flow, and the packets it has met.
#[derive(Clone, Debug)]
pub struct LiteralRule {
    /// The table it is in.
    pub table: TableId,
    /// Higher goes first; among equals the one that was added first.
    pub priority: u16,
    /// Which packets it is for.
    pub matching: Match,
    /// What it does.
    pub actions: Vec<Action>,
    /// Its cookie.
    pub cookie: u64,
    /// Packets it has met.
    pub packets: u64,
    /// Bytes of those packets as they came in.
    pub bytes: u64,
}

/// What became of a packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It left: by the ports of these OpenFlow numbers, with these bytes, in this order.
    Sent(Vec<(u16, Vec<u8>)>),
    /// It was shown to those who watch, and went nowhere else.
    Shown,
    /// It was dropped.
    Dropped(DropReason),
}

/// A group, and the packets it has met.
#[derive(Clone, Debug)]
pub struct LiteralGroup {
    /// The group.
    pub group: Group,
    /// Packets that were led to it.
    pub packets: u64,
    /// Packets that took each of its buckets.
    pub buckets: Vec<u64>,
}

/// One bridge.
#[derive(Debug, Default)]
pub struct Interpreter {
    /// Its flows, oldest first.
    pub rules: Vec<LiteralRule>,
    /// Its ports.
    pub ports: Ports,
    /// What `normal` has learned: the number of the port each address was seen at last.
    pub stations: HashMap<Station, u16>,
    /// Packets that a flow of a table matched, be it gone by now.
    pub matches: HashMap<TableId, u64>,
    /// Packets that no flow of a table matched.
    pub misses: HashMap<TableId, u64>,
    /// What becomes of those, where they are not just dropped.
    pub on_miss: HashMap<TableId, TableMiss>,
    /// Its groups.
    pub groups: HashMap<u32, LiteralGroup>,
    /// Its meters.
    pub meters: HashMap<u32, Meter>,
    /// Packets that meters and the limit of passes have stopped, copies included.
    pub stopped: BTreeMap<DropReason, u64>,
    /// Packets that were shown.
    pub shown: u64,
    /// The time.
    pub now: Duration,
    /// Who tracks connections; without one, nothing is ever found out.
    pub tracker: Option<Box<dyn Tracker>>,
}

/// What one packet has done so far.
struct Run {
    packet: Literal,
    len: u64,
    sent: Vec<(u16, Vec<u8>)>,
    /// Whether it was shown to those who watch, or stopped: then it is not dropped for want of
    /// anything better.
    is_over: bool,
    reason: DropReason,
    stack: Vec<u128>,
    set: Vec<Action>,
    resubmits: u32,
    depth: u32,
    /// Decisions that were taken about it, each packet anew: it has taken as many passes.
    decisions: usize,
    /// What the tracker has said of it, and in which zone.
    judged: Option<(u16, u64)>,
}

/// How a list of actions ended.
enum End {
    Done,
    Goto(TableId),
    /// Nothing of what is around it is done, either.
    Exit,
}

impl Interpreter {
    /// Carries out one change of flows.
    pub fn flow_mod(&mut self, change: &FlowMod) {
        let actions = change.actions.clone().unwrap_or_default();
        let is_same = |rule: &LiteralRule| {
            Some(rule.table) == change.table
                && rule.priority == change.priority
                && rule.matching == change.matching
        };
        let is_meant = |rule: &LiteralRule| {
            let strict = matches!(change.command, Command::ModifyStrict | Command::DeleteStrict);
            let table = change.table.is_none_or(|table| table == rule.table);
            let cookie =
                change.cookie_filter.is_none_or(|(value, mask)| (rule.cookie ^ value) & mask == 0);
            let out = |port| rule.actions.iter().any(|action| action.outputs_to(port));
            let group = |id| rule.actions.iter().any(|action| action.leads_to_group(id));
            let covered = if strict {
                rule.priority == change.priority && rule.matching == change.matching
            } else {
                change.matching.contains(&rule.matching)
            };
            let outputs = change.out_port.is_none_or(out) && change.out_group.is_none_or(group);
            table && cookie && outputs && covered
        };
        let reset = change.flags.reset_counts;
        match change.command {
            Command::Add => {
                let new = LiteralRule {
                    table: change.table.unwrap_or(0),
                    priority: change.priority,
                    matching: change.matching,
                    actions,
                    cookie: change.cookie.unwrap_or(0),
                    packets: 0,
                    bytes: 0,
                };
                match self.rules.iter_mut().find(|rule| is_same(rule)) {
                    Some(old) => {
                        let counts = if reset { (0, 0) } else { (old.packets, old.bytes) };
                        *old = LiteralRule { packets: counts.0, bytes: counts.1, ..new };
                    }
                    None => self.rules.push(new),
                }
            }
            Command::Modify | Command::ModifyStrict => {
                for rule in self.rules.iter_mut().filter(|rule| is_meant(rule)) {
                    rule.actions.clone_from(&actions);
                    rule.cookie = change.cookie.unwrap_or(rule.cookie);
                    if reset {
                        (rule.packets, rule.bytes) = (0, 0);
                    }
                }
            }
            Command::Delete | Command::DeleteStrict => self.rules.retain(|rule| !is_meant(rule)),
        }
    }

    /// Carries out one packet that came in by the port of this number.
    pub fn packet(&mut self, in_port: u16, bytes: &[u8]) -> Fate {
        if bytes.len() < ethernet::LEN {
            return Fate::Dropped(DropReason::Runt);
        }
        let mut run = Run {
            packet: Literal::new(bytes, in_port),
            len: bytes.len() as u64,
            sent: Vec::new(),
            is_over: false,
            reason: DropReason::FlowDrop,
            stack: Vec::new(),
            set: Vec::new(),
            resubmits: 0,
            depth: 0,
            decisions: 0,
            judged: None,
        };
        if self.ports.get(in_port).is_some_and(|port| !port.flags.receives()) {
            return Fate::Dropped(DropReason::NoReceive);
        }
        let outcome = match self.table(&mut run, 0) {
            Ok(End::Done | End::Goto(_)) => self.action_set(&mut run).map(|_| ()),
            Ok(End::Exit) => Ok(()),
            Err(reason) => Err(reason),
        };
        match outcome {
            Err(reason) => Fate::Dropped(reason),
            Ok(()) if !run.sent.is_empty() => Fate::Sent(run.sent),
            Ok(()) if run.is_over => Fate::Shown,
            Ok(()) => Fate::Dropped(run.reason),
        }
    }

    /// Carries out one change of groups, which must be one that can be.
    pub fn group_mod(&mut self, change: &GroupMod) {
        match change {
            GroupMod::Add(group) | GroupMod::Modify(group) | GroupMod::AddOrModify(group) => {
                let buckets = vec![0; group.buckets.len()];
                let group = LiteralGroup { group: group.clone(), packets: 0, buckets };
                self.groups.insert(group.group.id, group);
            }
            GroupMod::Delete(id) => {
                let gone = |of: u32| id.is_none_or(|id| id == of);
                self.groups.retain(|id, _| !gone(*id));
                let leads = |action: &Action| {
                    action.any(&|action| matches!(action, Action::Group(id) if gone(*id)))
                };
                self.rules.retain(|rule| !rule.actions.iter().any(leads));
            }
            GroupMod::InsertBuckets { .. } | GroupMod::RemoveBuckets { .. } => {}
        }
    }

    /// Carries out one change of meters, which must be one that can be.
    pub fn meter_mod(&mut self, change: &MeterMod) {
        match change {
            MeterMod::Add(meter) | MeterMod::Modify(meter) => {
                if let MeterId::Number(number) = meter.id {
                    self.meters.insert(number, Meter::new(meter.clone(), self.now));
                }
            }
            MeterMod::Delete(id) => {
                let gone = |of: u32| id.is_none_or(|id| id == MeterId::Number(of));
                self.meters.retain(|number, _| !gone(*number));
                let uses = |action: &Action| {
                    action.any(&|action| matches!(action, Action::Meter(number) if gone(*number)))
                };
                self.rules.retain(|rule| !rule.actions.iter().any(uses));
            }
        }
    }

    /// Carries out one change of tables as such.
    pub fn table_mod(&mut self, change: &TableMod) {
        let tables = change.table.map_or(0..=FlowMod::MAX_TABLE, |table| table..=table);
        let miss = change.miss.iter();
        self.on_miss.extend(miss.flat_map(|miss| tables.clone().map(|table| (table, *miss))));
    }

    fn table(&mut self, run: &mut Run, mut table: TableId) -> Result<End, DropReason> {
        loop {
            let end = match self.lookup(run, table) {
                Some(actions) => self.actions(run, &actions, table)?,
                None => match self.on_miss.get(&table) {
                    Some(TableMiss::Continue) if table < FlowMod::MAX_TABLE => End::Goto(table + 1),
                    Some(TableMiss::Controller) => {
                        self.show(run);
                        End::Done
                    }
                    _ => {
                        run.reason = DropReason::TableMiss;
                        End::Done
                    }
                },
            };
            match end {
                End::Goto(next) => table = next,
                end => return Ok(end),
            }
        }
    }

    /// The actions of the rule the packet meets, which counts it.
    fn lookup(&mut self, run: &mut Run, table: TableId) -> Option<Vec<Action>> {
        let key = run.packet.key();
        let mut best: Option<&mut LiteralRule> = None;
        for rule in
            self.rules.iter_mut().filter(|rule| rule.table == table && rule.matching.covers(&key))
        {
            if best.as_ref().is_none_or(|best| rule.priority > best.priority) {
                best = Some(rule);
            }
        }
        let Some(rule) = best else {
            *self.misses.entry(table).or_default() += 1;
            return None;
        };
        *self.matches.entry(table).or_default() += 1;
        rule.packets += 1;
        rule.bytes += run.len;
        if rule.actions.is_empty() {
            run.reason = DropReason::FlowDrop;
        }
        Some(rule.actions.clone())
    }
}
