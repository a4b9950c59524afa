//! Flows as they are: `dump-flows`, `dump-aggregate`, `dump-tables`.

use std::io;

use anyhow::Result;
use api::reply::{FlowStats, Flows, TableStats, Tables};
use api::request::{FlowAggregate, FlowDump, TableDump};
use api::{Dialect, FlowMod, PortNames, TableId, TableMiss, TableMod};

use crate::arguments::{port_names, tell_apart};
use crate::cli::{DumpAggregateArgs, DumpFlowsArgs, OneBridgeArgs, OrderArgs};
use crate::desk::Desk;
use crate::output::{FAINT, GOOD, Output};
use crate::problem::{Quote, explain, with_help};
use crate::progress::Progress;
use crate::sorting::{Criterion, compare};

pub(crate) fn dump(args: DumpFlowsArgs, desk: &mut Desk) -> Result<()> {
    let dialect = desk.options.protocols;
    let (client, out) = desk.open()?;
    let chosen = tell_apart(client, args.bridge, args.matching)?;
    let names = match args.names.names || out.is_terminal() && !args.names.no_names {
        true if !out.is_json() => port_names(client, chosen.bridge.as_deref())?,
        _ => Vec::new(),
    };
    let criteria = criteria(&args.order);
    let mut progress = Progress::of("flows", out.is_terminal());
    let mut count = 0;
    let mut page = |after| {
        let dump = FlowDump {
            bridge: chosen.bridge.clone(),
            filter: chosen.other.clone(),
            after,
            limit: None,
        };
        let page = client.call(dump).map_err(|error| {
            let filter = chosen.other.as_deref().unwrap_or_default();
            with_help(explain(error, Quote::argument(filter), 0), chosen.help.clone())
        })?;
        count += page.flows.len();
        if page.next.is_some() {
            progress.at(count, None);
        }
        Ok((page.flows, page.next))
    };
    let words = |out: &mut Output, flow: &FlowStats| match args.no_stats {
        true => print_without_stats(out, flow, dialect, &names),
        false => print(out, flow, dialect, &names),
    };
    if criteria.is_empty() {
        return out.pages("flows", page, words);
    }
    let mut flows = Vec::new();
    let mut after = None;
    loop {
        let (more, next) = page(after)?;
        flows.extend(more);
        if next.is_none() {
            break;
        }
        after = next;
    }
    flows.sort_by(|a: &FlowStats, b| compare(&criteria, &a.flow, &b.flow));
    out.answer(&Flows { flows, next: None }, |out, Flows { flows, .. }| {
        flows.iter().try_for_each(|flow| words(out, flow))
    })
}

pub(crate) fn aggregate(args: DumpAggregateArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let chosen = tell_apart(client, args.bridge, args.matching)?;
    let ask = FlowAggregate { bridge: chosen.bridge.clone(), filter: chosen.other.clone() };
    let sums = client.call(ask).map_err(|error| {
        let filter = chosen.other.as_deref().unwrap_or_default();
        with_help(explain(error, Quote::argument(filter), 0), chosen.help.clone())
    })?;
    out.answer(&sums, |out, sums| {
        let (packets, bytes, flows) = (sums.packets, sums.bytes, sums.flows);
        out.line(format_args!("packet_count={packets} byte_count={bytes} flow_count={flows}"))
    })
}

/// By what to sort, in the order of the command line.
fn criteria(order: &OrderArgs) -> Vec<Criterion> {
    order.0.iter().map(|(key, falling)| Criterion { key: *key, falling: *falling }).collect()
}

/// A line as `ovs-ofctl dump-flows` prints it, its first blank included.
fn print(
    out: &mut Output,
    flow: &FlowStats,
    dialect: Dialect,
    names: &dyn PortNames,
) -> io::Result<()> {
    let line = flow.print_in(dialect, names).to_string();
    // Only what is brighter depends on it where these words stand.
    let stats = line.find("idle_age=").unwrap_or(0);
    let actions = line.rfind("actions=").unwrap_or(line.len()).max(stats);
    out.put(" ")?;
    out.styled(FAINT, &line[..stats])?;
    out.put(&line[stats..actions])?;
    out.styled(GOOD, &line[actions..])?;
    out.end()
}

/// The same as it would be added again: without counters and without what goes without saying.
fn print_without_stats(
    out: &mut Output,
    flow: &FlowStats,
    dialect: Dialect,
    names: &dyn PortNames,
) -> io::Result<()> {
    let cookie = flow.flow.cookie.filter(|cookie| *cookie != 0);
    let flow = FlowMod { cookie, ..flow.flow.clone() };
    out.line(format_args!(" {}", flow.print_in(dialect, names)))
}

pub(crate) fn dump_tables(args: OneBridgeArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let tables = client.call(TableDump { bridge: args.bridge })?;
    out.answer(&tables, print_tables)
}

/// Every table, as `ovs-ofctl` has it: those like the one before are named together.
fn print_tables(out: &mut Output, tables: &Tables) -> io::Result<()> {
    let counts = |table: TableId| {
        let stats = tables.tables.iter().find(|stats| stats.table == table);
        let usual = (0, 0, 0, TableMiss::default(), None, false);
        stats.map_or(
            usual,
            |&TableStats { active, lookups, matched, miss, limit, evict, .. }| {
                (active, lookups, matched, miss, limit, evict)
            },
        )
    };
    let mut table = 0;
    while table <= FlowMod::MAX_TABLE {
        let these @ (active, lookups, matched, miss, limit, evict) = counts(table);
        let alike = (table..=FlowMod::MAX_TABLE).take_while(|other| counts(*other) == these);
        let last = alike.last().unwrap_or(table);
        if table > 0 {
            out.end()?;
        }
        out.line(format_args!("  table {table}:"))?;
        out.line(format_args!("    active={active}, lookup={lookups}, matched={matched}"))?;
        let set = TableMod {
            table: None,
            miss: Some(miss).filter(|miss| *miss != TableMiss::default()),
            limit: limit.and_then(|limit| u32::try_from(limit).ok()),
            evict: Some(true).filter(|_| evict),
        };
        if set != TableMod::default() {
            out.line(format_args!("    set: {}", set.to_string().trim_start_matches("all ")))?;
        }
        if last > table {
            out.end()?;
        }
        match last - table {
            0 => {}
            1 => out.line(format_args!("  table {last}: ditto"))?,
            _ => out.line(format_args!("  tables {}...{last}: ditto", table + 1))?,
        }
        table = last + 1;
    }
    Ok(())
}
