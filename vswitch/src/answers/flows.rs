//! Flows and tables, and what they have counted.

use api::reply::{Aggregate, Cursor, Flows, TableStats, Tables};
use api::{Action, Failure, FlowFilter, FlowMod, Match, TableMiss, request, text};
use flowtable::{BridgeId, Overflow, Rule, Step};

use super::{PAGE_WEIGHT, bad_cursor, page_of};
use crate::control::Control;
use crate::describe::{Names, flow_stats};
use crate::ledger::{self, Place};

impl Control {
    pub(crate) fn dump_flows(&mut self, dump: &request::FlowDump) -> Result<Flows, Failure> {
        let bridge = self.bridge(dump.bridge.as_deref())?;
        let filter = self.filter(bridge, dump.filter.as_deref().unwrap_or(""))?;
        let after = dump.after.as_ref().map(|cursor| place_of(bridge, cursor)).transpose()?;
        let limit = page_of(dump.limit);
        self.ledger.fold(self.crew.paths(), &self.tables);
        let sums = self.ledger.sums(self.crew.paths());
        let mut matching = ledger::flows(&self.tables, bridge, after)
            .filter(|(_, rule)| is_meant(rule, &filter))
            .peekable();
        let (mut page, mut weight) = (Vec::new(), 0);
        while page.len() < limit
            && weight < PAGE_WEIGHT
            && let Some((place, rule)) = matching.next()
        {
            weight += 256 + weigh(&rule.actions);
            page.push((place, rule));
        }
        let next = page.last().filter(|_| matching.peek().is_some());
        let next = next.map(|(place, _)| cursor_of(place));
        let now = self.clock.millis();
        let flows = page.into_iter().map(|(_, rule)| flow_stats(rule, sums.rule(rule), now));
        Ok(Flows { flows: flows.collect(), next })
    }

    pub(crate) fn aggregate(
        &mut self,
        aggregate: &request::FlowAggregate,
    ) -> Result<Aggregate, Failure> {
        let bridge = self.bridge(aggregate.bridge.as_deref())?;
        let filter = self.filter(bridge, aggregate.filter.as_deref().unwrap_or(""))?;
        self.ledger.fold(self.crew.paths(), &self.tables);
        let sums = self.ledger.sums(self.crew.paths());
        let mut all = Aggregate { packets: 0, bytes: 0, flows: 0 };
        let flows = ledger::flows(&self.tables, bridge, None);
        let meant = flows.filter(|(_, rule)| is_meant(rule, &filter));
        for (_, rule) in meant {
            let count = sums.rule(rule);
            all.packets += count.packets;
            all.bytes += count.bytes;
            all.flows += 1;
        }
        Ok(all)
    }

    pub(super) fn filter(&self, bridge: BridgeId, text: &str) -> Result<FlowFilter, Failure> {
        let Some(bridge) = self.tables.bridge(bridge) else {
            return Err(Failure::refused("no such bridge"));
        };
        text::filter(text, &Names(&bridge.ports)).map_err(|error| Failure::member("filter", &error))
    }

    pub(crate) fn dump_tables(&mut self, bridge: Option<&str>) -> Result<Tables, Failure> {
        let id = self.bridge(bridge)?;
        self.ledger.fold(self.crew.paths(), &self.tables);
        let sums = self.ledger.sums(self.crew.paths());
        let Some(bridge) = self.tables.bridge(id) else {
            return Err(Failure::refused("no such bridge"));
        };
        let mut tables = Vec::new();
        for table in 0..=FlowMod::MAX_TABLE {
            let active = bridge.table(table).map_or(0, |table| table.len() as u64);
            let step = Step::Match { bridge: id, table };
            let matched = sums.with(step, bridge.matched(table)).packets;
            let missed = sums.with(Step::Miss { bridge: id, table }, bridge.missed(table)).packets;
            let (miss, limit) = (bridge.on_miss(table), bridge.limit(table));
            let is_usual = miss == TableMiss::default() && !limit.is_one();
            if active > 0 || matched + missed > 0 || !is_usual {
                let less = Some(limit.flows).filter(|flows| *flows < self.tables.table_limit());
                tables.push(TableStats {
                    table,
                    active,
                    lookups: matched + missed,
                    matched,
                    miss,
                    limit: less.map(|flows| flows as u64),
                    evict: limit.overflow == Overflow::Evict,
                });
            }
        }
        Ok(Tables { tables })
    }
}

/// Whether a rule is one of those that a filter chooses.
pub(crate) fn is_meant(rule: &Rule, filter: &FlowFilter) -> bool {
    let table = filter.table.is_none_or(|table| table == rule.table);
    let cookie = filter.cookie.is_none_or(|(value, mask)| (rule.cookie ^ value) & mask == 0);
    let output = |port| rule.actions.iter().any(|action| action.outputs_to(port));
    let all = Match::ANY == filter.matching;
    table
        && cookie
        && filter.out_port.is_none_or(output)
        && (all || filter.matching.contains(&rule.matching()))
}

/// About how many bytes the text of actions has.
pub(super) fn weigh(actions: &[Action]) -> usize {
    let inner = |action: &Action| match action {
        Action::Clone(actions) => weigh(actions),
        _ => 0,
    };
    actions.iter().map(|action| 64 + inner(action)).sum()
}

fn cursor_of(place: &Place) -> Cursor {
    Cursor(format!("{}.{}.{}", place.table, place.priority.0, place.order))
}

fn place_of(bridge: BridgeId, cursor: &Cursor) -> Result<Place, Failure> {
    let mut parts = cursor.0.split('.');
    let mut next = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let place = (|| {
        Some(Place {
            bridge,
            table: u8::try_from(next()?).ok()?,
            priority: std::cmp::Reverse(u16::try_from(next()?).ok()?),
            order: next()?,
        })
    })();
    place.ok_or_else(bad_cursor)
}
