//! Flows as they are: `dump-flows`, `dump-tables`.

use std::io;

use anyhow::Result;
use api::reply::{FlowStats, Tables};
use api::request::{FlowDump, TableDump};
use api::{FlowMod, PortNames};

use crate::arguments::{port_names, tell_apart};
use crate::cli::{BridgeArgs, DumpFlowsArgs};
use crate::desk::Desk;
use crate::grid::Grid;
use crate::output::{FAINT, GOOD, Output};
use crate::problem::{Quote, explain, with_help};
use crate::progress::Progress;

pub(crate) fn dump(args: DumpFlowsArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let chosen = tell_apart(client, args.bridge, args.matching)?;
    let names = match args.names.names || out.is_terminal() && !args.names.no_names {
        true if !out.is_json() => port_names(client, chosen.bridge.as_deref())?,
        _ => Vec::new(),
    };
    let mut progress = Progress::of("flows", out.is_terminal());
    let mut count = 0;
    let page = |after| {
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
    out.pages("flows", page, |out, flow| match args.no_stats {
        true => print_without_stats(out, flow, &names),
        false => print(out, flow, &names),
    })
}

/// A line as `ovs-ofctl dump-flows` prints it, its first blank included.
fn print(out: &mut Output, flow: &FlowStats, names: &dyn PortNames) -> io::Result<()> {
    let line = flow.print(names).to_string();
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
    names: &dyn PortNames,
) -> io::Result<()> {
    let cookie = flow.flow.cookie.filter(|cookie| *cookie != 0);
    let flow = FlowMod { cookie, ..flow.flow.clone() };
    out.line(format_args!(" {}", flow.print(names)))
}

pub(crate) fn dump_tables(args: BridgeArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let tables = client.call(TableDump { bridge: args.bridge })?;
    out.answer(&tables, print_tables)
}

fn print_tables(out: &mut Output, tables: &Tables) -> io::Result<()> {
    let mut grid = Grid::new(&["TABLE", "FLOWS", "LOOKUPS", "MATCHED", "MISSED"]);
    for table in &tables.tables {
        let missed = table.lookups.saturating_sub(table.matched);
        let counters = [table.table.into(), table.active, table.lookups, table.matched, missed];
        grid.row(counters.map(|count: u64| count.to_string()));
    }
    grid.print(out, "No table has a flow, and none has been looked into.")
}
