//! The action `learn`: flows that packets show the need for.

use std::sync::Arc;

use api::{Action, FlowFlags, Learn, LearnSource, LearnSpec, Match, OutPort, Subfield, TableId};
use packet::{Key, Millis, tcp};

use crate::frozen::Context;
use crate::pending;
use crate::rule::{Rule, RuleStats};
use crate::step::Step;
use crate::translate::{Note, Record, Stop};
use crate::walk::Walk;

/// A flow in the making.
struct Taught {
    matching: Match,
    actions: Vec<Action>,
}

impl<R: Record> Walk<'_, R> {
    /// Learns the flow that the packet shows the need for, unless it is there already.
    pub(crate) fn teach(&mut self, learn: &Learn) -> Result<(), Stop> {
        let Taught { matching, actions } = self.taught(learn);
        // What was learned goes again some time, and then this has to be done anew: whatever
        // happens in that table concerns this program.
        self.basis.note(learn.table);
        self.basis.rewritten = u64::MAX;
        let known = self.known(learn.table, &matching, learn.priority);
        let is_there = known.as_ref().is_some_and(|known| {
            *known.actions == *actions && known.cookie == learn.cookie && has_timeouts(known, learn)
        });
        // As in Open vSwitch, one that would take the place of another needs room as well.
        let has_room = is_there || self.has_room(learn);
        match known {
            Some(known) if is_there => {
                self.record.note(Note::Remembered(&known));
                self.path.push(Step::Taught(known.id));
            }
            _ if !has_room => self.record.note(Note::NotTaught),
            known => {
                let rule = Arc::new(self.rule_of(learn, matching, actions, known.as_deref()));
                self.record.note(Note::Taught(&rule));
                self.path.push(Step::Taught(rule.id));
                self.flows.push((self.id, rule));
            }
        }
        match learn.result_dst.map(Subfield::span) {
            Some(dst) => Ok(self.draft.write(dst, u128::from(has_room), dst.ones())?),
            None => Ok(()),
        }
    }

    /// What the flow matches and does. All that it takes from the packet has been looked at.
    fn taught(&mut self, learn: &Learn) -> Taught {
        let (mut key, mut mask) = (Key::ZERO, Key::ZERO);
        let mut actions = Vec::new();
        if learn.fin_idle_timeout != 0 || learn.fin_hard_timeout != 0 {
            let (idle, hard) = (learn.fin_idle_timeout, learn.fin_hard_timeout);
            actions.push(Action::FinTimeout { idle, hard });
        }
        for spec in &learn.specs {
            match *spec {
                LearnSpec::Match { dst, src } => {
                    key.set(dst.span(), self.learned_value(src));
                    mask.set_all(dst.span());
                }
                LearnSpec::Load { dst, src } => {
                    let value = self.learned_value(src) & dst.span().ones();
                    actions.push(Action::SetField {
                        field: dst.field,
                        value: value << dst.first,
                        mask: dst.span().ones() << dst.first,
                    });
                }
                LearnSpec::Output(src) => {
                    let number = u16::try_from(self.draft.look(src.span())).unwrap_or(0);
                    actions.extend(OutPort::from_number(number).map(Action::Output));
                }
            }
        }
        Taught { matching: Match::from_bits(key, mask), actions }
    }

    fn learned_value(&mut self, src: LearnSource) -> u128 {
        match src {
            LearnSource::Value(value) => value,
            LearnSource::Field(field) => self.draft.look(field.span()),
        }
    }

    /// The flow of this match and priority, if there is one.
    fn known(&self, table: TableId, matching: &Match, priority: u16) -> Option<Arc<Rule>> {
        let waiting = pending::find(self.pending, table, matching, priority);
        waiting.or_else(|| self.bridge.find(table, matching, priority)).cloned()
    }

    /// Whether one more flow may be learned. Those that the packet has taught itself count, and of
    /// those that are pending the ones that take no other's place. Cost: a look at every flow of the
    /// table, if there is a limit.
    fn has_room(&self, learn: &Learn) -> bool {
        if learn.limit == 0 {
            return true;
        }
        let counts = |rule: &&Arc<Rule>| rule.table == learn.table && rule.cookie == learn.cookie;
        let there = self.bridge.table(learn.table).into_iter().flat_map(|table| table.rules());
        let new = self.pending.iter().filter(|rule| self.tables.rule(rule.id).is_none());
        let own = self.flows.iter().map(|(_, rule)| rule);
        let all = there.chain(new).chain(own).filter(counts);
        all.take(learn.limit as usize).count() < learn.limit as usize
    }

    fn rule_of(
        &self,
        learn: &Learn,
        matching: Match,
        actions: Vec<Action>,
        old: Option<&Rule>,
    ) -> Rule {
        let id = self.tables.take_rule_id();
        let flags = FlowFlags { send_flow_rem: learn.send_flow_rem, ..FlowFlags::default() };
        let mask = Arc::new(crate::mask::Mask::of(&matching));
        Rule {
            id: old.map_or(id, |old| old.id),
            order: old.map_or(id.0, |old| old.order),
            table: learn.table,
            priority: learn.priority,
            values: mask.values_of(&matching),
            mask,
            actions: actions.into(),
            cookie: learn.cookie,
            idle_timeout: learn.idle_timeout,
            hard_timeout: learn.hard_timeout,
            importance: 0,
            flags,
            // Whoever leaves it with the others knows the time.
            created: Millis(0),
            modified: Millis(0),
            stats: old.map_or_else(Arc::<RuleStats>::default, |old| Arc::clone(&old.stats)),
        }
    }

    /// Notes that the packet ends a connection, if it does: its flow has less time from then on.
    pub(crate) fn fin_timeout(&mut self, context: Context) {
        const ENDS: u128 = (tcp::FIN | tcp::RST) as u128;
        let flags = self.draft.look_at(Key::TCP_FLAGS, ENDS);
        if let Some(rule) = context.rule
            && flags & ENDS != 0
        {
            self.path.push(Step::Fin { bridge: self.id, rule });
        }
    }
}

fn has_timeouts(rule: &Rule, learn: &Learn) -> bool {
    (rule.idle_timeout, rule.hard_timeout) == (learn.idle_timeout, learn.hard_timeout)
}
