//! How the next generation of the tables is made.
//!
//! An [`Edit`] is a copy of the tables that shares with them what no change has touched. Changes are
//! carried out on it one by one; if one is refused, all of it is dropped and nothing has happened.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use api::{Action, Command, FlowMod, Match, MeterId, TableId, TableMiss};
use packet::Millis;

use crate::change::Changes;
use crate::group::GroupEntry;
use crate::history::History;
use crate::learned::Teachers;
use crate::limit::TableLimit;
use crate::mac::MacTable;
use crate::mask::Mask;
use crate::meter::Meter;
use crate::meters::MeterSlot;
use crate::pending::Pending;
use crate::ports::{BridgeId, PortView};
use crate::refused::Refused;
use crate::rule::{Rule, RuleId, RuleStats};
use crate::table::Table;
use crate::tables::{Bridge, Tables};
use crate::values::Values;

/// What an [`Edit`] did to rules.
#[derive(Debug, Default)]
pub struct Applied {
    /// New rules, and new versions of modified ones.
    pub added: Vec<Arc<Rule>>,
    /// Rules that are gone, modified ones (in their old version) included.
    pub removed: Vec<Arc<Rule>>,
    /// Which of them had to make room for others.
    pub evicted: Vec<RuleId>,
    /// New groups, and new versions of modified ones.
    pub groups: Vec<Arc<GroupEntry>>,
    /// Those of the removed rules that are gone because a group that they used is.
    pub with_groups: HashSet<RuleId>,
    /// The same with meters.
    pub with_meters: HashSet<RuleId>,
}

/// The next generation while it is being made. Dropping it leaves everything as it was.
#[derive(Debug)]
pub struct Edit {
    tables: Tables,
    pub(crate) changes: Changes,
    pub(crate) applied: Applied,
    /// Tables and cookies that have lost their last teacher.
    pub(crate) orphans: Vec<(BridgeId, TableId, u64)>,
    /// Tables that have new rules, which no packet can meet before they are settled.
    unsettled: BTreeSet<(BridgeId, TableId)>,
}

impl Edit {
    /// What comes after `tables`, without changes yet.
    pub(crate) fn of(tables: Tables) -> Self {
        Self {
            tables,
            changes: Changes::default(),
            applied: Applied::default(),
            orphans: Vec::new(),
            unsettled: BTreeSet::new(),
        }
    }

    /// The next generation, and what became of rules.
    pub fn finish(mut self) -> (Tables, Applied) {
        self.settle();
        self.tables.history.push(self.changes);
        (self.tables, self.applied)
    }

    fn settle(&mut self) {
        for (bridge, table) in std::mem::take(&mut self.unsettled) {
            // The bridge may be gone by now.
            if let Ok(table) = self.table_mut(bridge, table) {
                table.settle();
            }
        }
    }

    /// What became of rules so far.
    pub const fn applied(&self) -> &Applied {
        &self.applied
    }

    /// The state so far, for all questions but what a packet meets.
    pub const fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Adds a bridge without ports or flows; `None` if there are [`Tables::BRIDGES`] of them.
    pub fn add_bridge(&mut self, name: Arc<str>) -> Option<BridgeId> {
        let bridges = &self.tables.bridges;
        let free = bridges.iter().position(Option::is_none).unwrap_or(bridges.len());
        let id = BridgeId(u8::try_from(free).ok().filter(|_| free < Tables::BRIDGES)?);
        self.place_bridge(id, name);
        Some(id)
    }

    fn place_bridge(&mut self, id: BridgeId, name: Arc<str>) {
        let macs = Arc::new(MacTable::new(self.tables.seed, Arc::clone(&self.tables.epoch)));
        let counters = || (0..=u8::MAX).map(|_| RuleStats::default()).collect();
        let bridge = Bridge {
            name,
            tables: Vec::new(),
            ports: Arc::default(),
            macs,
            groups: Arc::default(),
            meters: Arc::default(),
            pending: Arc::new(Pending::new(Arc::clone(&self.tables.epoch))),
            teachers: Teachers::default(),
            matches: counters(),
            misses: counters(),
            on_miss: vec![TableMiss::default(); usize::from(u8::MAX) + 1].into(),
        };
        let bridges = &mut self.tables.bridges;
        if bridges.len() <= usize::from(id.0) {
            bridges.resize(usize::from(id.0) + 1, None);
        }
        bridges[usize::from(id.0)] = Some(Arc::new(bridge));
        self.changes.everything();
    }

    /// Removes a bridge with its flows.
    pub fn remove_bridge(&mut self, bridge: BridgeId) -> Result<(), Refused> {
        let place = self.tables.bridges.get_mut(usize::from(bridge.0)).ok_or(Refused::NoBridge)?;
        let removed = place.take().ok_or(Refused::NoBridge)?;
        removed.rules().for_each(|rule| self.left(bridge, Arc::clone(rule)));
        self.changes.everything();
        Ok(())
    }

    /// Adds a port to its bridge, or changes what is known of it.
    pub fn set_port(&mut self, port: PortView) -> Result<(), Refused> {
        let (id, number) = (port.bridge, port.number);
        let ports = Arc::make_mut(&mut self.bridge_mut(id)?.ports);
        let old =
            ports.get(number).map(|old| PortView { is_up: port.is_up, ..PortView::clone(old) });
        let only_turned = old.is_some_and(|old| old == port);
        ports.insert(port);
        // Who does not watch it sends there all the same.
        match only_turned {
            true => self.changes.port(id, number),
            false => self.changes.everything(),
        }
        Ok(())
    }

    /// Removes a port from its bridge; what was learned there is forgotten.
    pub fn remove_port(&mut self, bridge: BridgeId, number: u16) -> Result<(), Refused> {
        let bridge = self.bridge_mut(bridge)?;
        if let Some(port) = Arc::make_mut(&mut bridge.ports).remove(number) {
            bridge.macs.expire(|entry| entry.port == port.id);
        }
        self.changes.everything();
        Ok(())
    }

    pub(crate) fn bridge_mut(&mut self, bridge: BridgeId) -> Result<&mut Bridge, Refused> {
        let place = self.tables.bridges.get_mut(usize::from(bridge.0)).and_then(Option::as_mut);
        place.map(Arc::make_mut).ok_or(Refused::NoBridge)
    }

    /// Carries out one change of flows.
    ///
    /// Cost: O(log rules) for adding and strict commands; the loose ones look at every rule of the
    /// tuples whose masks allow it.
    pub fn flow_mod(
        &mut self,
        bridge: BridgeId,
        change: &FlowMod,
        now: Millis,
    ) -> Result<(), Refused> {
        match change.command {
            Command::Add => self.add(bridge, change, now),
            Command::Modify | Command::ModifyStrict => self.modify(bridge, change, now),
            Command::Delete | Command::DeleteStrict => self.delete(bridge, change),
        }?;
        self.remove_orphans()
    }

    fn add(&mut self, bridge: BridgeId, change: &FlowMod, now: Millis) -> Result<(), Refused> {
        let table = change.table.ok_or(Refused::NoTable)?;
        let actions = change.actions.as_ref().ok_or(Refused::NoActions)?;
        self.require(bridge, actions)?;
        let id = self.tables.take_rule_id();
        let into = self.table_mut(bridge, table)?;
        let mask = into.mask(&change.matching);
        let values = mask.values_of(&change.matching);
        let old = into.find(&mask, &values, change.priority).cloned();
        if old.is_none() {
            if change.flags.check_overlap
                && let Some(rule) = into.overlapping(&change.matching, change.priority)
            {
                return Err(Refused::Overlap { cookie: rule.cookie });
            }
            self.make_room(bridge, table)?;
        }
        // OpenFlow 1.3 §6.4: a flow that replaces one goes on counting, unless it says
        // reset_counts.
        let keep = old.as_ref().filter(|_| !change.flags.reset_counts);
        let rule = Rule {
            id: keep.map_or(id, |old| old.id),
            order: old.as_ref().map_or(id.0, |old| old.order),
            table,
            priority: change.priority,
            mask,
            values,
            actions: self.tables.actions.share(actions),
            cookie: change.cookie.unwrap_or(0),
            idle_timeout: change.idle_timeout,
            hard_timeout: change.hard_timeout,
            importance: change.importance,
            flags: change.flags,
            created: now,
            modified: now,
            stats: keep.map_or_else(Arc::<RuleStats>::default, |old| Arc::clone(&old.stats)),
        };
        self.changes.rule(bridge, table, &change.matching, rule.mask.hash());
        self.enter(bridge, rule, old)
    }

    /// Sees to it that a table has room for one more flow, if need be by giving up another one.
    fn make_room(&mut self, bridge: BridgeId, table: TableId) -> Result<(), Refused> {
        let most = self.tables.table_limit;
        let into = self.table_mut(bridge, table)?;
        let limit = into.limit().map_or(most, |limit| limit.flows.min(most));
        if into.len() < limit {
            return Ok(());
        }
        let first = into.first_to_go().cloned().ok_or(Refused::TableFull { table, limit })?;
        self.evict(bridge, &first)
    }

    fn evict(&mut self, bridge: BridgeId, rule: &Rule) -> Result<(), Refused> {
        self.applied.evicted.push(rule.id);
        self.remove_rule(bridge, rule)
    }

    /// Says how many flows a table holds and what happens to the next; `None` is what all tables
    /// have. Those that are too many by now are evicted, if the table does that.
    ///
    /// Cost: a look at every rule of a table that evicts.
    pub fn limit_table(
        &mut self,
        bridge: BridgeId,
        table: TableId,
        limit: Option<TableLimit>,
    ) -> Result<(), Refused> {
        self.table_mut(bridge, table)?.set_limit(limit);
        let Some(TableLimit { flows, .. }) = limit else { return Ok(()) };
        while let into = self.table_mut(bridge, table)?
            && into.len() > flows
            && let Some(first) = into.first_to_go().cloned()
        {
            self.evict(bridge, &first)?;
        }
        Ok(())
    }

    /// Refuses actions that lead to groups or through meters that are not there.
    pub fn require(&self, bridge: BridgeId, actions: &[Action]) -> Result<(), Refused> {
        let bridge = self.tables.bridge(bridge).ok_or(Refused::NoBridge)?;
        for action in actions {
            require(bridge, action)?;
        }
        Ok(())
    }

    /// Puts a flow among the others that a packet has taught, in place of one with the same match
    /// and priority.
    pub fn learn(
        &mut self,
        bridge: BridgeId,
        rule: &Arc<Rule>,
        now: Millis,
    ) -> Result<(), Refused> {
        let table = rule.table;
        let into = self.table_mut(bridge, table)?;
        let old = into.find(&rule.mask, &rule.values, rule.priority).cloned();
        if old.is_none() {
            self.make_room(bridge, table)?;
        }
        let into = self.table_mut(bridge, table)?;
        let (matching, actions) = (rule.matching(), &rule.actions);
        let rule = Rule {
            mask: into.mask(&matching),
            created: old.as_ref().map_or(now, |old| old.created),
            modified: now,
            actions: self.tables.actions.share(actions),
            ..Rule::clone(rule)
        };
        self.changes.rule(bridge, table, &matching, rule.mask.hash());
        self.enter(bridge, rule, old)?;
        self.remove_orphans()
    }

    pub(crate) fn take_group_serial(&mut self) -> u32 {
        let serial = self.tables.next_group;
        self.tables.next_group += 1;
        serial
    }

    /// A slot that no meter has.
    pub(crate) fn take_meter_slot(&mut self) -> MeterSlot {
        let meters = &self.tables.meters;
        let free = meters.iter().position(Option::is_none).unwrap_or(meters.len());
        MeterSlot(u32::try_from(free).unwrap_or(u32::MAX))
    }

    pub(crate) fn set_meter(&mut self, MeterSlot(slot): MeterSlot, meter: Option<Arc<Meter>>) {
        let (at, meters) = (slot as usize, Arc::make_mut(&mut self.tables.meters));
        if meters.len() <= at {
            meters.resize(at + 1, None);
        }
        meters[at] = meter;
    }

    fn modify(&mut self, bridge: BridgeId, change: &FlowMod, now: Millis) -> Result<(), Refused> {
        let table = change.table.ok_or(Refused::NoTable)?;
        let actions = change.actions.as_ref().ok_or(Refused::NoActions)?;
        self.require(bridge, actions)?;
        let depends = actions.iter().any(Action::depends_on_tags);
        for old in self.selected(bridge, Some(table), change)? {
            let mut new = Rule::clone(&old);
            let fitting = if depends { fit(&old, actions)? } else { None };
            new.actions = self.tables.actions.share(fitting.as_deref().unwrap_or(actions));
            new.cookie = change.cookie.unwrap_or(old.cookie);
            new.modified = now;
            if change.flags.reset_counts {
                new.id = self.tables.take_rule_id();
                new.stats = Arc::default();
                // As in OVS its idle time begins anew as well.
                new.stats.credit(0, 0, now);
            }
            self.changes.rule(bridge, table, &old.matching(), old.mask.hash());
            self.enter(bridge, new, Some(old))?;
        }
        Ok(())
    }

    fn delete(&mut self, bridge: BridgeId, change: &FlowMod) -> Result<(), Refused> {
        for rule in self.selected(bridge, change.table, change)? {
            self.remove_rule(bridge, &rule)?;
        }
        Ok(())
    }

    /// Removes one rule, if it is still there, and what goes with it: what a timeout does.
    pub fn remove_rule(&mut self, bridge: BridgeId, rule: &Rule) -> Result<(), Refused> {
        self.take_out(bridge, rule)?;
        self.remove_orphans()
    }

    /// Removes one rule, if it is still there.
    pub(crate) fn take_out(&mut self, bridge: BridgeId, rule: &Rule) -> Result<(), Refused> {
        if let Some(removed) = self.table_mut(bridge, rule.table)?.remove(rule) {
            self.changes.rule(bridge, rule.table, &removed.matching(), removed.mask.hash());
            self.left(bridge, removed);
        }
        Ok(())
    }

    /// Puts a rule into its table, in place of the one with its match and priority.
    fn enter(
        &mut self,
        bridge: BridgeId,
        rule: Rule,
        old: Option<Arc<Rule>>,
    ) -> Result<(), Refused> {
        let rule = Arc::new(rule);
        self.table_mut(bridge, rule.table)?.put(Arc::clone(&rule), old.as_deref());
        self.unsettled.insert((bridge, rule.table));
        // First: who is replaced by another teacher leaves no orphans.
        self.teacher_entered(bridge, &rule);
        old.into_iter().for_each(|old| self.left(bridge, old));
        self.tables.rules.insert(rule.id.0, Arc::clone(&rule));
        self.applied.added.push(rule);
        Ok(())
    }

    /// Notes that a rule is in its table no more.
    fn left(&mut self, bridge: BridgeId, rule: Arc<Rule>) {
        self.teacher_left(bridge, &rule);
        self.tables.rules.remove(rule.id.0);
        self.tables.actions.release(&rule.actions);
        self.applied.removed.push(rule);
    }

    /// The rules that a command is about.
    fn selected(
        &mut self,
        bridge: BridgeId,
        table: Option<TableId>,
        change: &FlowMod,
    ) -> Result<Vec<Arc<Rule>>, Refused> {
        let bridge = self.tables.bridge(bridge).ok_or(Refused::NoBridge)?;
        let wanted = bridge.tables().filter(|(n, _)| table.is_none_or(|table| table == *n));
        let strict = matches!(change.command, Command::ModifyStrict | Command::DeleteStrict);
        let mut selected = Vec::new();
        for (_, table) in wanted {
            if strict {
                let mask = table.mask(&change.matching);
                let values = mask.values_of(&change.matching);
                selected.extend(table.find(&mask, &values, change.priority).cloned());
            } else {
                selected.append(&mut table.within(&change.matching));
            }
        }
        selected.retain(|rule| is_meant(rule, change));
        Ok(selected)
    }

    /// Puts a bridge where it was; [`crate::State`] knows where.
    pub(crate) fn restore_bridge(&mut self, id: BridgeId, name: Arc<str>) -> Result<(), Refused> {
        let is_free = self.tables.bridge(id).is_none();
        if !is_free || usize::from(id.0) >= Tables::BRIDGES {
            return Err(Refused::NoBridge);
        }
        self.place_bridge(id, name);
        Ok(())
    }

    /// Puts a rule where it was, which `rule` makes of its shared mask and its values.
    pub(crate) fn restore_rule(
        &mut self,
        bridge: BridgeId,
        table: TableId,
        matching: &Match,
        rule: impl FnOnce(Arc<Mask>, Values) -> Rule,
    ) -> Result<(), Refused> {
        let limit = self.tables.table_limit;
        let into = self.table_mut(bridge, table)?;
        if into.len() >= limit {
            return Err(Refused::TableFull { table, limit });
        }
        let mask = into.mask(matching);
        let values = mask.values_of(matching);
        let mut rule = rule(mask, values);
        let is_taken = into.find(&rule.mask, &rule.values, rule.priority).is_some();
        if is_taken || into.has(&rule) || self.tables.rule(rule.id).is_some() {
            return Err(Refused::Taken);
        }
        self.require(bridge, &rule.actions)?;
        rule.actions = self.tables.actions.share(&rule.actions);
        self.enter(bridge, rule, None)
    }

    /// The tables as they were at `generation`.
    pub(crate) fn restored(mut self, generation: u64, next_rule: u64, next_group: u32) -> Tables {
        self.settle();
        self.tables.history = History::beginning_at(generation);
        self.tables.next_rule = Arc::new(AtomicU64::new(next_rule));
        self.tables.next_group = next_group;
        self.tables
    }

    fn table_mut(&mut self, bridge: BridgeId, table: TableId) -> Result<&mut Table, Refused> {
        let seed = self.tables.seed;
        let tables = &mut self.bridge_mut(bridge)?.tables;
        while tables.len() <= usize::from(table) {
            tables.push(Arc::new(Table::new(seed)));
        }
        Ok(Arc::make_mut(&mut tables[usize::from(table)]))
    }
}

/// Whether the filters of a command that are not its match let this rule through.
fn is_meant(rule: &Rule, change: &FlowMod) -> bool {
    let cookie = change.cookie_filter.is_none_or(|(value, mask)| (rule.cookie ^ value) & mask == 0);
    let output = |port| rule.actions.iter().any(|action| action.outputs_to(port));
    let group = |id| rule.actions.iter().any(|action| action.leads_to_group(id));
    cookie && change.out_port.is_none_or(output) && change.out_group.is_none_or(group)
}

/// Refuses an action that leads to a group or through a meter that the bridge does not have.
fn require(bridge: &Bridge, action: &Action) -> Result<(), Refused> {
    let has_meter = |number| match bridge.meters.get(MeterId::Number(number)) {
        Some(_) => Ok(()),
        None => Err(Refused::NoMeter { id: MeterId::Number(number) }),
    };
    match action {
        Action::Group(id) if bridge.groups.get(*id).is_none() => Err(Refused::NoGroup { id: *id }),
        Action::Meter(number) => has_meter(*number),
        Action::Controller(controller) => controller.meter.map_or(Ok(()), has_meter),
        action => action.inner().iter().try_for_each(|inner| require(bridge, inner)),
    }
}

/// What `actions` mean in a flow that matches what `rule` does. They were read behind another match,
/// which may say less about tags.
fn fit(rule: &Rule, actions: &[Action]) -> Result<Option<Vec<Action>>, Refused> {
    let text = FlowMod { actions: Some(actions.to_vec()), ..rule.flow_mod() }.to_string();
    match text.parse::<FlowMod>() {
        Ok(FlowMod { actions, .. }) => Ok(actions),
        Err(why) => Err(Refused::Unfit { flow: rule.flow_mod().to_string(), why: why.to_string() }),
    }
}
