//! The walk through the tables: which flows a packet meets, and what each of their actions comes to.
//!
//! What an action does to the packet goes into the [`Draft`]; this is about where it leads.

use std::sync::Arc;

use api::{Action, Controller, DropReason, FlowMod, PacketInReason, TableId, TableMiss};
use packet::{Key, PortId};

use crate::action_set::{List, in_order};
use crate::change::Basis;
use crate::draft::{Draft, TooLong};
use crate::frozen::{Aside, Context, Decision, Frame, Frozen, Place, notes_of};
use crate::mac::{Station, Version};
use crate::ports::{BridgeId, PortView};
use crate::program::AsideId;
use crate::rule::Rule;
use crate::step::Step;
use crate::table::Looked;
use crate::tables::{Bridge, Tables};
use crate::translate::{Lesson, Note, Record, Stop, Translation};

/// Resubmits to the same or an earlier table, and groups, may be nested so deep (as in Open
/// vSwitch).
pub const DEPTH: u32 = 64;
/// One packet is resubmitted at most so often on one pass (as in Open vSwitch).
pub const RESUBMITS: u32 = 4096;
/// A packet takes at most so many passes beyond its first, those of the packet it is a copy of
/// included.
pub const PASSES: usize = 8;
/// Values that lie on the stack at most (as many as Open vSwitch has room for).
pub const STACK: usize = 4096;

/// How a list of actions ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// All were executed, or the list ended early.
    Done,
    /// Its last one goes on in this table.
    Goto(TableId),
}

/// One walk through the tables of a bridge.
pub(crate) struct Walk<'a, R> {
    pub(crate) tables: &'a Tables,
    pub(crate) bridge: &'a Bridge,
    pub(crate) id: BridgeId,
    pub(crate) draft: Draft<'a>,
    pub(crate) path: &'a mut Vec<Step>,
    pub(crate) flows: &'a mut Vec<(BridgeId, Arc<Rule>)>,
    pub(crate) basis: &'a mut Basis,
    /// Flows that packets have taught since this generation.
    pub(crate) pending: &'a [Arc<Rule>],
    pub(crate) stack: Vec<(u128, u8)>,
    pub(crate) record: &'a mut R,
    stations: &'a mut Vec<(BridgeId, Version)>,
    lessons: &'a mut Vec<Lesson>,
    asides: &'a mut Vec<Aside>,
    /// The action set.
    pub(crate) set: Vec<&'a Action>,
    /// Why the packet is dropped, if nothing sends it.
    reason: DropReason,
    resubmits: u32,
    depth: u32,
}

impl From<TooLong> for Stop {
    fn from(_: TooLong) -> Self {
        Self::Limit(DropReason::ProgramLimit)
    }
}

impl<'a, R: Record> Walk<'a, R> {
    /// A walk that has not begun, whose results go into `into`.
    pub(crate) fn new(
        into: &'a mut Translation,
        tables: &'a Tables,
        (id, bridge): (BridgeId, &'a Bridge),
        pending: &'a [Arc<Rule>],
        key: &Key,
        reason: DropReason,
        record: &'a mut R,
    ) -> Self {
        Self {
            tables,
            bridge,
            id,
            draft: Draft::new(key, &mut into.looked, &mut into.ops),
            path: &mut into.path,
            flows: &mut into.flows,
            basis: &mut into.basis,
            pending,
            stack: Vec::new(),
            record,
            stations: &mut into.stations,
            lessons: &mut into.lessons,
            asides: &mut into.asides,
            set: Vec::new(),
            reason,
            resubmits: 0,
            depth: 0,
        }
    }

    /// Goes on where an earlier walk was frozen.
    pub(crate) fn resume(&mut self, frozen: &'a Frozen) -> Result<(), Stop> {
        self.draft.resume_queue(frozen.queue);
        self.draft.resume_tracking(frozen.shows);
        self.stack.clone_from(&frozen.stack);
        self.set = frozen.set.iter().collect();
        self.record.note(Note::Thawed(frozen));
        let outcome = self.draft.look16(Key::OUTCOME);
        match &frozen.decision {
            Decision::Larger { dst, .. } => {
                self.draft.write(dst.span(), outcome.into(), dst.span().ones())?;
            }
            Decision::Select(selector) => self.selected(selector.group(), outcome.into())?,
            Decision::Meter(_) if outcome > 0 => self.draft.remark(outcome)?,
            Decision::Meter(_) | Decision::Pause(_) => {}
            Decision::Connect(_) | Decision::Nothing => {}
        }
        let mut frames = frozen.frames.iter();
        while let Some(frame) = frames.next() {
            self.record.note(Note::Rest(frame.context));
            let outcome = self.list(List::of(&frame.actions), frame.context);
            if let Err(Stop::Frozen) = outcome {
                for later in frames.by_ref() {
                    self.keep(later.actions.iter(), later.context);
                }
            }
            outcome?;
        }
        Ok(())
    }

    /// Ends the walk: answers with the packet as it is by then.
    pub(crate) fn end(mut self, outcome: Result<(), Stop>) -> (Key, Result<(), DropReason>) {
        let outcome = outcome.and_then(|()| self.action_set());
        let outcome = end_of_part(outcome);
        self.basis.rewritten |= self.draft.rewritten();
        let last = *self.draft.flow();
        let finished = self.draft.finish(self.reason).map_err(Stop::from);
        let ended = outcome.and(finished).map_err(|stop| match stop {
            Stop::Limit(reason) => reason,
            Stop::Exit | Stop::Frozen => DropReason::ProgramLimit,
        });
        (last, ended)
    }

    /// Looks the packet up in `table` and does what it finds, from table to table.
    pub(crate) fn table(&mut self, mut table: TableId) -> Result<(), Stop> {
        loop {
            let end = match self.lookup(table) {
                Some(rule) => self.rule(table, rule)?,
                None => self.missed(table, self.bridge.on_miss(table))?,
            };
            match end {
                End::Done => return Ok(()),
                End::Goto(next) => table = next,
            }
        }
    }

    fn lookup(&mut self, table: TableId) -> Option<&'a Rule> {
        self.basis.note(table);
        let (flow, mut inspector) = self.draft.inspect();
        let record = &mut *self.record;
        let found = self.bridge.table(table).and_then(|table| {
            table.lookup_noting(flow, &mut inspector, |clause| record.clause(clause))
        });
        let mut best = found.map(AsRef::as_ref);
        for rule in self.pending.iter().filter(|rule| rule.table == table) {
            // One that takes the place of another has its age.
            let is_better = best.is_none_or(|best| {
                (rule.priority, best.order) > (best.priority, rule.order)
                    || (rule.priority, rule.order) == (best.priority, best.order)
            });
            if !is_better {
                continue;
            }
            for word in rule.mask.words() {
                inspector.at(usize::from(*word), rule.mask.bits()[usize::from(*word)]);
            }
            if rule.mask.agrees(flow, &rule.values) {
                best = Some(rule);
            }
        }
        best
    }

    fn rule(&mut self, table: TableId, rule: &'a Rule) -> Result<End, Stop> {
        self.record.table(table, Some(rule));
        self.path.push(Step::Match { bridge: self.id, table });
        self.path.push(Step::Rule(rule.id));
        if rule.actions.is_empty() {
            self.dropped(DropReason::FlowDrop);
        }
        let context =
            Context { table, rule: Some(rule.id), cookie: rule.cookie, place: Place::Flow };
        self.actions(List::of(&rule.actions), context)
    }

    /// Does what a table says about packets that none of its flows matches.
    fn missed(&mut self, table: TableId, miss: TableMiss) -> Result<End, Stop> {
        self.record.table(table, None);
        self.record.note(Note::Missed(miss));
        self.path.push(Step::Miss { bridge: self.id, table });
        match miss {
            TableMiss::Continue if table < FlowMod::MAX_TABLE => return Ok(End::Goto(table + 1)),
            TableMiss::Drop | TableMiss::Continue => self.dropped(DropReason::TableMiss),
            TableMiss::Controller => {
                let context = Context { table, rule: None, cookie: 0, place: Place::Flow };
                let reason = PacketInReason::NoMatch;
                self.show(&Controller { reason, ..Controller::default() }, context)?;
            }
        }
        Ok(End::Done)
    }

    /// Does what a list says, and what the table says that it leads to.
    fn list(&mut self, list: List<'a>, context: Context) -> Result<(), Stop> {
        match self.actions(list, context)? {
            End::Done => Ok(()),
            End::Goto(next) => self.table(next),
        }
    }

    fn actions(&mut self, mut list: List<'a>, context: Context) -> Result<End, Stop> {
        while let Some(action) = list.next() {
            self.record.action(action);
            match self.action(action, context) {
                Ok(None) => {}
                Ok(Some(end)) => return Ok(end),
                Err(stop) => {
                    if matches!(stop, Stop::Frozen) {
                        self.keep(list, context);
                    }
                    return Err(stop);
                }
            }
        }
        Ok(End::Done)
    }

    /// Does one action. Answers with how the list ends if it ends here.
    fn action(&mut self, action: &'a Action, context: Context) -> Result<Option<End>, Stop> {
        match action {
            Action::Output(to) => self.output(*to)?,
            Action::OutputField(field) => self.output_by(*field, context)?,
            Action::OutputTruncated { port, max_len } => self.output_part(*port, *max_len)?,
            Action::Controller(controller) => self.show(controller, context)?,
            Action::Group(number) => self.group(*number)?,
            Action::Meter(number) => self.meter(*number)?,
            Action::SetQueue(queue) => self.draft.set_queue(*queue),
            Action::PopQueue => self.draft.set_queue(crate::draft::NO_QUEUE),
            Action::SetField { field, value, mask } => {
                self.draft.write(field.span(), *value, *mask)?;
            }
            Action::WriteMetadata { value, mask } => {
                self.draft.write(Key::METADATA, (*value).into(), (*mask).into())?;
            }
            Action::Move { src, dst } => {
                let value = self.draft.look(src.span());
                self.draft.write(dst.span(), value, dst.span().ones())?;
            }
            Action::Push(field) => self.push(field.span())?,
            Action::Pop(field) => self.pop(field.span())?,
            Action::PushVlan(tpid) => self.push_vlan(*tpid)?,
            Action::PopVlan => self.pop_vlan()?,
            Action::ModVlanVid(vid) => self.mod_vlan(Key::VLAN_TCI.slice(0, 12), (*vid).into())?,
            Action::ModVlanPcp(pcp) => self.mod_vlan(Key::VLAN_TCI.slice(13, 3), (*pcp).into())?,
            Action::DecTtl(watchers) => {
                if !self.draft.dec_ttl()? {
                    self.ttl_expired(watchers, context)?;
                    return Ok(Some(End::Done));
                }
            }
            Action::CheckPktLarger { len, dst } => {
                return self.freeze(Decision::Larger { len: *len, dst: *dst }).map(|()| None);
            }
            Action::Resubmit { in_port, table } => {
                self.resubmit(*in_port, table.unwrap_or(context.table), context.table)?;
            }
            Action::GotoTable(next) => return Ok(Some(End::Goto(*next))),
            Action::Clone(actions) => self.clone(actions, context)?,
            Action::Exit => return Err(Stop::Exit),
            Action::Learn(learn) => self.teach(learn)?,
            Action::FinTimeout { .. } => self.fin_timeout(context),
            Action::Sample(sample) => self.sample(*sample)?,
            Action::Ct(ct) => self.connect(ct, context)?,
            Action::CtClear => self.draft.forget_tracked(),
            Action::Multipath(multipath) => self.multipath(multipath)?,
            Action::Bundle(bundle) => self.bundle(bundle)?,
            Action::ClearActions => self.set.clear(),
            Action::WriteActions(actions) => {
                self.set.extend(actions);
                self.record.note(Note::Written(&self.set));
            }
            // What clauses come to is found out by the lookup.
            Action::Conjunction { .. } | Action::Note(_) => {}
        }
        Ok(None)
    }

    fn resubmit(&mut self, in_port: Option<u16>, to: TableId, from: TableId) -> Result<(), Stop> {
        self.resubmits += 1;
        if self.resubmits > RESUBMITS {
            return Err(Stop::Limit(DropReason::ResubmitLimit));
        }
        let deeper = to <= from;
        if deeper {
            self.enter()?;
        }
        self.record.enter();
        // Only the lookup sees the other port: what it finds acts for the real one.
        let real = in_port.map(|in_port| self.draft.set_in_port(in_port));
        let rule = self.lookup(to);
        if let Some(real) = real {
            self.draft.set_in_port(real);
        }
        let end = match rule {
            Some(rule) => self.rule(to, rule),
            // As in Open vSwitch, whatever is said of that table: who resubmits goes on anyway.
            None => self.missed(to, TableMiss::Drop),
        };
        let outcome = end.and_then(|end| match end {
            End::Goto(next) => self.table(next),
            End::Done => Ok(()),
        });
        self.record.leave();
        self.depth -= u32::from(deeper);
        outcome
    }

    /// Goes one level deeper.
    fn enter(&mut self) -> Result<(), Stop> {
        self.depth += 1;
        if self.depth > DEPTH { Err(Stop::Limit(DropReason::ResubmitDepth)) } else { Ok(()) }
    }

    fn clone(&mut self, actions: &'a [Action], context: Context) -> Result<(), Stop> {
        self.part(self.set.clone(), |walk| {
            walk.list(List::of(actions), context)?;
            walk.action_set()
        })
    }

    /// Does something with a copy of the packet that has this action set: whatever it changes does
    /// not outlast it.
    pub(crate) fn part(
        &mut self,
        set: Vec<&'a Action>,
        what: impl FnOnce(&mut Self) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        self.record.enter();
        let outside = (self.stack.clone(), std::mem::replace(&mut self.set, set));
        let fork = self.draft.fork()?;
        end_of_part(what(self))?;
        self.draft.join(fork)?;
        (self.stack, self.set) = outside;
        self.record.leave();
        Ok(())
    }

    /// Has a copy of the packet wait for what a decision comes to.
    pub(crate) fn freeze_copy(&mut self, decision: Decision) -> Result<(), Stop> {
        self.part(Vec::new(), |walk| walk.freeze(decision))
    }

    /// Does what a bucket of a group says, one level deeper.
    pub(crate) fn bucket(&mut self, actions: &'a [Action]) -> Result<(), Stop> {
        self.enter()?;
        let context = Context { table: 0, rule: None, cookie: 0, place: Place::Group };
        self.part(Vec::new(), |walk| walk.list(List::of(actions), context))?;
        self.depth -= 1;
        Ok(())
    }

    /// Does what the action set says, which is empty then.
    fn action_set(&mut self) -> Result<(), Stop> {
        let set = std::mem::take(&mut self.set);
        if set.is_empty() {
            return Ok(());
        }
        let context = Context { table: 0, rule: None, cookie: 0, place: Place::ActionSet };
        self.record.note(Note::ActionSet);
        self.list(List::from(in_order(&set)), context)
    }

    /// Ends the pass here, for the packet as it is by now: what decides about it is not the packet
    /// alone. Who called this keeps what is still to be done.
    pub(crate) fn freeze(&mut self, decision: Decision) -> Result<(), Stop> {
        self.record.note(Note::Frozen(&decision));
        let aside = self.aside_number();
        self.draft.freeze(aside)?;
        let (flow, tracking) = (self.draft.flow(), self.draft.tracking());
        let shows = match &decision {
            Decision::Connect(connect) => connect.table.is_some(),
            _ => tracking.shows,
        };
        self.asides.push(Aside::Frozen(Arc::new(Frozen {
            decision,
            bridge: self.id,
            notes: notes_of(flow),
            in_port: u16::try_from(flow.word(Key::IN_PORT)).unwrap_or(0),
            forgets: tracking.forgets,
            shows,
            queue: self.draft.queue(),
            frames: Vec::new(),
            stack: std::mem::take(&mut self.stack),
            set: self.set.drain(..).cloned().collect(),
            reason: self.reason,
        })));
        Err(Stop::Frozen)
    }

    /// Keeps what a list still has to do for when the walk goes on.
    fn keep(&mut self, rest: impl Iterator<Item = &'a Action>, context: Context) {
        self.keep_own(rest.cloned().collect(), context);
    }

    /// Keeps actions that no flow has written like that.
    pub(crate) fn keep_own(&mut self, actions: Box<[Action]>, context: Context) {
        if let Some(Aside::Frozen(frozen)) = self.asides.last_mut()
            && let Some(frozen) = Arc::get_mut(frozen)
            && !actions.is_empty()
        {
            frozen.frames.push(Frame { actions, context });
        }
    }

    fn aside_number(&self) -> AsideId {
        AsideId(u32::try_from(self.asides.len()).unwrap_or(u32::MAX))
    }

    /// Says something apart from the operations.
    pub(crate) fn aside(&mut self, aside: Aside) -> AsideId {
        let number = self.aside_number();
        self.asides.push(aside);
        number
    }

    fn push(&mut self, span: packet::Span) -> Result<(), Stop> {
        if self.stack.len() >= STACK {
            return Err(Stop::Limit(DropReason::StackLimit));
        }
        let value = self.draft.look(span);
        self.stack.push((value, span.bits()));
        Ok(())
    }

    /// A value is taken as wide as the field: what it is too short for is zero.
    fn pop(&mut self, span: packet::Span) -> Result<(), Stop> {
        match self.stack.pop() {
            Some((value, _)) => self.draft.write(span, value & span.ones(), span.ones())?,
            None => self.record.note(Note::EmptyStack),
        }
        Ok(())
    }

    fn push_vlan(&mut self, tpid: u16) -> Result<(), Stop> {
        if self.draft.has_two_tags() {
            return Err(Stop::Limit(DropReason::VlanTags));
        }
        Ok(self.draft.push_vlan(tpid)?)
    }

    pub(crate) fn pop_vlan(&mut self) -> Result<(), Stop> {
        if self.draft.has_unread_tags() {
            return Err(Stop::Limit(DropReason::VlanTags));
        }
        Ok(self.draft.pop_vlan()?)
    }

    pub(crate) fn mod_vlan(&mut self, part: packet::Span, value: u128) -> Result<(), Stop> {
        if !self.draft.has_tag() {
            self.push_vlan(packet::ethernet::VLAN)?;
        }
        Ok(self.draft.write(part, value, part.ones())?)
    }

    fn ttl_expired(&mut self, watchers: &[u16], context: Context) -> Result<(), Stop> {
        self.record.note(Note::TtlExpired);
        self.dropped(DropReason::InvalidTtl);
        for watcher in if watchers.is_empty() { &[0] } else { watchers } {
            self.show_expired(*watcher, context)?;
        }
        Ok(())
    }

    /// Notes why the packet is dropped, if nothing sends it.
    pub(crate) fn dropped(&mut self, reason: DropReason) {
        self.record.note(Note::Drop(reason));
        self.reason = reason;
    }

    /// Where `station` is; the program rests on the answer, also if it is nowhere.
    pub(crate) fn find(&mut self, station: Station) -> Option<&'a PortView> {
        self.stations.push((self.id, self.bridge.macs.version(station)));
        let port = self.lesson(station).or_else(|| Some(self.bridge.macs.find(station)?.port))?;
        self.bridge.ports.by_id(port).map(AsRef::as_ref)
    }

    /// Where this packet itself has taught last that `station` is.
    fn lesson(&self, station: Station) -> Option<PortId> {
        let lesson = self.lessons.iter().rev().find(|lesson| lesson.station == station);
        lesson.map(|lesson| lesson.port)
    }

    /// Learns that `station` is at `port`; a program may be used for as long as that is known.
    pub(crate) fn learn(&mut self, station: Station, port: &PortView) {
        let version = self.bridge.macs.version(station);
        let taught = self.lesson(station);
        if taught == Some(port.id) {
            return;
        }
        match self.bridge.macs.find(station).filter(|_| taught.is_none()) {
            Some(known) if known.port == port.id || known.is_static => {
                self.stations.push((self.id, version));
                self.path.push(Step::Station {
                    bridge: self.id,
                    slot: known.slot,
                    port: known.port,
                });
            }
            _ => {
                self.record.note(Note::Learned(station));
                self.lessons.push(Lesson { bridge: self.id, station, port: port.id });
            }
        }
    }
}

/// What the end of a part means for what is around it: that an action ended everything, or that the
/// pass ends, concerns the part alone.
fn end_of_part(outcome: Result<(), Stop>) -> Result<(), Stop> {
    match outcome {
        Err(Stop::Limit(reason)) => Err(Stop::Limit(reason)),
        Ok(()) | Err(Stop::Exit | Stop::Frozen) => Ok(()),
    }
}
