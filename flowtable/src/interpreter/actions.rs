//! What each action does to a packet, carried out as it is written.

use api::{Action, Bucket, DropReason, Group, GroupKind, OutPort, Selection, TableId};
use packet::{Key, Network, Seed, vlan};

use super::{End, Interpreter, Run};
use crate::choose::{choose_link, choose_member, connection_hash, hash_of};
use crate::meter::Metered;
use crate::walk::{DEPTH, PASSES, RESUBMITS, STACK};

impl Interpreter {
    /// Carries out the actions of a flow in `table`, one after the other.
    pub(super) fn actions(
        &mut self,
        run: &mut Run,
        actions: &[Action],
        table: TableId,
    ) -> Result<End, DropReason> {
        for action in actions {
            match self.action(run, action, table)? {
                None => {}
                Some(end) => return Ok(end),
            }
        }
        Ok(End::Done)
    }

    /// Carries out one; answers with how the list ends if it ends here.
    fn action(
        &mut self,
        run: &mut Run,
        action: &Action,
        table: TableId,
    ) -> Result<Option<End>, DropReason> {
        match action {
            Action::Output(to) => self.output(run, *to)?,
            Action::OutputField(field) => {
                let number = u16::try_from(run.packet.key().get(field.span())).unwrap_or(0);
                match OutPort::from_number(number) {
                    Some(to) => self.output(run, to)?,
                    None if number == 0xfffd => self.show(run),
                    None => run.reason = DropReason::NoSuchPort,
                }
            }
            Action::OutputTruncated { port, max_len } => {
                let before = run.sent.len();
                self.output(run, *port)?;
                for (_, bytes) in &mut run.sent[before..] {
                    bytes.truncate(*max_len as usize);
                }
            }
            Action::Controller(_) => self.show(run),
            Action::Group(number) => return self.group(run, *number),
            Action::Meter(number) => return Ok(self.meter(run, *number)),
            Action::SetField { field, value, mask } => {
                run.packet.write(field.span(), *value, *mask)?;
            }
            Action::WriteMetadata { value, mask } => {
                run.packet.write(Key::METADATA, (*value).into(), (*mask).into())?;
            }
            Action::Move { src, dst } => {
                let value = run.packet.key().get(src.span());
                run.packet.write(dst.span(), value, dst.span().ones())?;
            }
            Action::Push(field) if run.stack.len() >= STACK => {
                let _ = field;
                return Err(DropReason::StackLimit);
            }
            Action::Push(field) => run.stack.push(run.packet.key().get(field.span())),
            Action::Pop(field) => {
                if let Some(value) = run.stack.pop() {
                    let span = field.span();
                    run.packet.write(span, value & span.ones(), span.ones())?;
                }
            }
            Action::PushVlan(tpid) => run.packet.push_vlan(*tpid)?,
            Action::PopVlan => run.packet.pop_vlan()?,
            Action::ModVlanVid(vid) => {
                run.packet.set_tag((vid & vlan::VID).into(), vlan::VID.into())?;
            }
            Action::ModVlanPcp(pcp) => {
                run.packet.set_tag(u128::from(*pcp) << 13, vlan::PCP.into())?;
            }
            Action::DecTtl(_) => {
                let key = run.packet.key();
                if run.packet.headers().network == Network::None {
                    return Ok(None);
                }
                let ttl = key.get(Key::NW_TTL);
                if ttl <= 1 {
                    run.reason = DropReason::InvalidTtl;
                    return Ok(Some(End::Done));
                }
                run.packet.write(Key::NW_TTL, ttl - 1, Key::NW_TTL.ones())?;
            }
            Action::CheckPktLarger { len, dst } => {
                if let Some(end) = self.decide(run) {
                    return Ok(Some(end));
                }
                let tags = usize::from(run.packet.headers().vlans) * vlan::LEN;
                let is_larger = run.packet.bytes.len() - tags > usize::from(*len);
                run.packet.write(dst.span(), is_larger.into(), 1)?;
            }
            Action::Resubmit { in_port, table: to } => {
                return self.resubmit(run, *in_port, to.unwrap_or(table), table);
            }
            Action::GotoTable(next) => return Ok(Some(End::Goto(*next))),
            Action::Clone(actions) => {
                let set = run.set.clone();
                self.copy(run, set, |literal, run| match literal.list(run, actions, table)? {
                    End::Exit => Ok(()),
                    _ => literal.action_set(run).map(|_| ()),
                })?;
            }
            Action::Exit => return Ok(Some(End::Exit)),
            Action::Ct(ct) => return self.connect(run, ct),
            Action::CtClear => {
                run.judged = None;
                run.hide_tracked();
            }
            Action::Multipath(multipath) => {
                let key = run.packet.key();
                let hash = hash_of(multipath.fields, multipath.basis, |span| key.get(span));
                let (dst, link) = (multipath.dst.span(), choose_link(multipath, hash));
                run.packet.write(dst, link.into(), dst.ones())?;
            }
            Action::Bundle(bundle) => {
                let key = run.packet.key();
                let hash = hash_of(bundle.fields, bundle.basis, |span| key.get(span));
                let is_live = |number| self.ports.get(number).is_some_and(|port| port.is_up);
                let number = choose_member(bundle, hash, is_live);
                match bundle.dst {
                    Some(dst) => {
                        run.packet.write(dst.span(), number.into(), dst.span().ones())?;
                    }
                    None => self.output(run, OutPort::Port(number))?,
                }
            }
            Action::ClearActions => run.set.clear(),
            Action::WriteActions(actions) => run.set.extend(actions.iter().cloned()),
            Action::SetQueue(_)
            | Action::PopQueue
            | Action::Learn(_)
            | Action::FinTimeout { .. }
            | Action::Conjunction { .. }
            | Action::Note(_)
            | Action::Sample(_) => {}
        }
        Ok(None)
    }

    /// Does what a list says, and what the table says that it leads to.
    fn list(
        &mut self,
        run: &mut Run,
        actions: &[Action],
        table: TableId,
    ) -> Result<End, DropReason> {
        match self.actions(run, actions, table)? {
            End::Goto(next) => self.table(run, next),
            end => Ok(end),
        }
    }

    /// Does something with a copy, which has this action set.
    pub(super) fn copy(
        &mut self,
        run: &mut Run,
        set: Vec<Action>,
        what: impl FnOnce(&mut Self, &mut Run) -> Result<(), DropReason>,
    ) -> Result<(), DropReason> {
        let before = (run.packet.clone(), run.stack.clone(), run.decisions, run.judged);
        let outside = std::mem::replace(&mut run.set, set);
        what(self, run)?;
        (run.packet, run.stack, run.decisions, run.judged) = before;
        run.set = outside;
        Ok(())
    }

    /// What the action set says, in the order of OpenFlow 1.5 section 5.6.
    pub(super) fn action_set(&mut self, run: &mut Run) -> Result<End, DropReason> {
        let set = std::mem::take(&mut run.set);
        self.list(run, &ordered(&set), 0)
    }

    fn enter(run: &mut Run) -> Result<(), DropReason> {
        run.depth += 1;
        if run.depth > DEPTH { Err(DropReason::ResubmitDepth) } else { Ok(()) }
    }

    fn resubmit(
        &mut self,
        run: &mut Run,
        in_port: Option<u16>,
        to: TableId,
        from: TableId,
    ) -> Result<Option<End>, DropReason> {
        run.resubmits += 1;
        if run.resubmits > RESUBMITS {
            return Err(DropReason::ResubmitLimit);
        }
        if to <= from {
            Self::enter(run)?;
        }
        let real = run.packet.in_port;
        run.packet.in_port = in_port.unwrap_or(real);
        let actions = self.lookup(run, to);
        run.packet.in_port = real;
        if actions.is_none() {
            run.reason = DropReason::TableMiss;
        }
        let end = self.list(run, &actions.unwrap_or_default(), to)?;
        run.depth -= u32::from(to <= from);
        Ok(matches!(end, End::Exit).then_some(End::Exit))
    }

    pub(super) fn show(&mut self, run: &mut Run) {
        run.is_over = true;
        self.shown += 1;
    }

    /// Ends a packet here, and says so.
    pub(super) fn stop(&mut self, run: &mut Run, reason: DropReason) -> End {
        run.is_over = true;
        *self.stopped.entry(reason).or_default() += 1;
        End::Exit
    }

    /// Has a packet take one more decision; answers with its end if those are too many.
    pub(super) fn decide(&mut self, run: &mut Run) -> Option<End> {
        if run.decisions == PASSES {
            return Some(self.stop(run, DropReason::PassLimit));
        }
        run.decisions += 1;
        None
    }

    fn meter(&mut self, run: &mut Run, number: u32) -> Option<End> {
        if !self.meters.contains_key(&number) {
            run.reason = DropReason::NoSuchMeter;
            return Some(End::Exit);
        }
        if let Some(end) = self.decide(run) {
            return Some(end);
        }
        let meter = self.meters.get(&number)?;
        match meter.admit(1, run.packet.bytes.len() as u64, self.now) {
            Metered::Passes | Metered::Remarked(_) => None,
            Metered::Dropped => Some(self.stop(run, DropReason::Metered)),
        }
    }

    fn group(&mut self, run: &mut Run, number: u32) -> Result<Option<End>, DropReason> {
        let Some(group) = self.groups.get_mut(&number) else {
            run.reason = DropReason::NoSuchGroup;
            return Ok(None);
        };
        group.packets += 1;
        let group = group.group.clone();
        let live = (0..group.buckets.len()).filter(|at| self.is_live(&group, *at, &mut vec![]));
        let live: Vec<_> = live.collect();
        if group.kind == GroupKind::Select && is_a_choice(&group, &live) {
            // Only the copy that takes the group is what is decided about.
            return self
                .copy(run, Vec::new(), |literal, run| match literal.decide(run) {
                    Some(_) => Ok(()),
                    None => literal.buckets(run, number, &group, &live),
                })
                .map(|()| None);
        }
        self.buckets(run, number, &group, &live).map(|()| None)
    }

    /// Has a packet take those buckets of a group that are for it, a copy each.
    fn buckets(
        &mut self,
        run: &mut Run,
        number: u32,
        group: &Group,
        live: &[usize],
    ) -> Result<(), DropReason> {
        let taken: Vec<_> = match group.kind {
            GroupKind::All | GroupKind::Indirect => (0..group.buckets.len()).collect(),
            GroupKind::FastFailover => live.iter().copied().take(1).collect(),
            GroupKind::Select => self.select(run, &group.selection, &group.buckets, live),
        };
        if taken.is_empty() {
            run.reason = DropReason::NoLiveBucket;
        }
        for at in taken {
            if let Some(group) = self.groups.get_mut(&number) {
                group.buckets[at] += 1;
            }
            Self::enter(run)?;
            let actions = ordered(&group.buckets[at].actions);
            self.copy(run, Vec::new(), |literal, run| literal.list(run, &actions, 0).map(|_| ()))?;
            run.depth -= 1;
        }
        Ok(())
    }

    /// Whether a bucket is live, if these groups have been asked already.
    fn is_live(&self, group: &Group, at: usize, asked: &mut Vec<u32>) -> bool {
        let (kind, bucket) = (group.kind, &group.buckets[at]);
        let port =
            bucket.watch_port.map(|number| self.ports.get(number).is_some_and(|port| port.is_up));
        let group = bucket.watch_group.map(|number| {
            let group = self.groups.get(&number).filter(|_| !asked.contains(&number));
            asked.push(number);
            group.is_some_and(|group| {
                let mut buckets = 0..group.group.buckets.len();
                buckets.any(|at| self.is_live(&group.group, at, asked))
            })
        });
        match (port, group) {
            (None, None) => kind != GroupKind::FastFailover,
            (port, group) => port.unwrap_or(false) || group.unwrap_or(false),
        }
    }

    /// Of all hashes each live bucket has a share as large as its weight.
    fn select(
        &self,
        run: &Run,
        selection: &Selection,
        buckets: &[Bucket],
        live: &[usize],
    ) -> Vec<usize> {
        let key = run.packet.key();
        let hash = match selection {
            Selection::Default => connection_hash(&key, 0),
            Selection::DpHash { param } => connection_hash(&key, *param),
            Selection::Hash { param, fields } if fields.is_empty() => connection_hash(&key, *param),
            Selection::Hash { param, .. } => {
                let values = selection.spans().map(|(span, mask)| key.get(span) & mask);
                let words = values.flat_map(|value| [value >> 64, value & u128::from(u64::MAX)]);
                Seed(*param).hash(words.map(|word| u64::try_from(word).unwrap_or(0)))
            }
        };
        let weight = |at: usize| u64::from(buckets[at].weight);
        let all: u64 = live.iter().map(|at| weight(*at)).sum();
        let mut so_far = 0;
        let chosen = live.iter().copied().filter(|at| weight(*at) > 0).find(|at| {
            so_far += weight(*at);
            (hash >> 32) < (so_far << 32) / all
        });
        chosen.into_iter().collect()
    }
}

/// Whether a packet that takes a select group has to choose, by a hash of its connection.
fn is_a_choice(group: &Group, live: &[usize]) -> bool {
    let by_fields =
        matches!(&group.selection, Selection::Hash { fields, .. } if !fields.is_empty());
    let candidates = live.iter().filter(|at| group.buckets[**at].weight > 0).count();
    !by_fields && candidates > 1
}

/// An action set in the order in which it is carried out: a step for each kind.
fn ordered(set: &[Action]) -> Vec<Action> {
    let mut ordered = Vec::new();
    let mut last = |is: fn(&Action) -> bool| {
        let found = set.iter().rev().find(|action| is(action)).cloned();
        found.is_some_and(|action| {
            ordered.push(action);
            true
        })
    };
    last(|action| matches!(action, Action::PopVlan));
    last(|action| matches!(action, Action::PushVlan(_)));
    last(|action| matches!(action, Action::DecTtl(_)));
    for action in set {
        if let Action::SetField { .. }
        | Action::Move { .. }
        | Action::ModVlanVid(_)
        | Action::ModVlanPcp(_) = action
        {
            ordered.push(action.clone());
        }
    }
    let mut last = |is: fn(&Action) -> bool| {
        let found = set.iter().rev().find(|action| is(action)).cloned();
        found.is_some_and(|action| {
            ordered.push(action);
            true
        })
    };
    last(|action| matches!(action, Action::SetQueue(_)));
    let leads = last(|action| matches!(action, Action::Group(_)))
        || last(|action| matches!(action, Action::Output(_)))
        || last(|action| matches!(action, Action::Resubmit { .. }))
        || last(|action| matches!(action, Action::CtClear))
        || last(|action| matches!(action, Action::Ct(_)));
    if leads { ordered } else { Vec::new() }
}
