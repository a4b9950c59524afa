//! Addresses: `fdb show`, `fdb add`, `fdb del`, `fdb flush`, `fdb stats`.

use std::io;
use std::str::FromStr;

use anyhow::Result;
use api::reply::{Bridge, Fdb, FdbTable, FdbTables};
use api::request::{FdbAdd, FdbDel, FdbFlush, FdbShow, FdbStats};
use clap::error::ErrorKind;

use crate::arguments::{bridges, misuse, port_ref};
use crate::cli::{BridgeArgs, FdbAddArgs, FdbDelArgs};
use crate::desk::Desk;
use crate::grid::Grid;
use crate::output::Output;

pub(crate) fn show(args: BridgeArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let fdb = client.call(FdbShow { bridge: args.bridge })?;
    // For people, a port has a name.
    let known = if out.is_json() { Vec::new() } else { bridges(client)? };
    out.answer(&fdb, |out, fdb| print(out, fdb, &known))
}

pub(crate) fn add(args: &FdbAddArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, [port, vlan, mac]) = match &*args.words {
        [bridge, port, vlan, mac] => (Some(bridge.clone()), [port, vlan, mac]),
        [port, vlan, mac] => (None, [port, vlan, mac]),
        _ => return Err(misuse("fdb", ErrorKind::WrongNumberOfValues, "PORT VLAN ADDRESS")),
    };
    let add = FdbAdd { bridge, port: port_ref(port), vlan: number(vlan)?, mac: address(mac)? };
    let (client, out) = desk.open()?;
    let done = client.call(add)?;
    out.answer(&done, |_, _| Ok(()))
}

pub(crate) fn remove(args: &FdbDelArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, [vlan, mac]) = match &*args.words {
        [bridge, vlan, mac] => (Some(bridge.clone()), [vlan, mac]),
        [vlan, mac] => (None, [vlan, mac]),
        _ => return Err(misuse("fdb", ErrorKind::WrongNumberOfValues, "VLAN ADDRESS")),
    };
    let del = FdbDel { bridge, vlan: number(vlan)?, mac: address(mac)? };
    let (client, out) = desk.open()?;
    let flushed = client.call(del)?;
    out.answer(&flushed, |_, _| Ok(()))
}

fn number(text: &str) -> Result<u16> {
    text.parse().map_err(|_wrong| {
        let wrong = format!("`{text}` is no VLAN: 1 to 4094, or 0 for none");
        misuse("fdb", ErrorKind::InvalidValue, &wrong)
    })
}

fn address<T: FromStr>(text: &str) -> Result<T> {
    text.parse().map_err(|_wrong| {
        let wrong = format!("`{text}` is no Ethernet address, such as 02:00:00:00:00:01");
        misuse("fdb", ErrorKind::InvalidValue, &wrong)
    })
}

pub(crate) fn stats(args: BridgeArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let tables = client.call(FdbStats { bridge: args.bridge })?;
    out.answer(&tables, |out, FdbTables { bridges }| {
        bridges.iter().try_for_each(|table| print_table(out, table))
    })
}

/// As `ovs-appctl fdb/stats-show` has it, and what else is known.
fn print_table(out: &mut Output, table: &FdbTable) -> io::Result<()> {
    let FdbTable { bridge, entries, limit, .. } = table;
    out.line(format_args!("Statistics for bridge \"{bridge}\":"))?;
    out.line(format_args!("  Current/maximum MAC entries in the table: {entries}/{limit}"))?;
    let lines = [
        ("Current static MAC entries in the table", table.static_entries),
        ("Total number of learned MAC entries", table.learned),
        ("Total number of expired MAC entries", table.expired),
        ("Total number of evicted MAC entries", table.evicted),
        ("Total number of port moved MAC entries", table.moved),
        ("Total number of refused MAC entries", table.refused),
        ("Maximum learned MAC entries of one port", table.port_limit),
        ("Seconds until a MAC entry expires", table.age_limit_s),
    ];
    lines.iter().try_for_each(|(what, count)| out.line(format_args!("  {what:<40}: {count}")))
}

pub(crate) fn flush(args: BridgeArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let flushed = client.call(FdbFlush { bridge: args.bridge })?;
    out.answer(&flushed, |out, flushed| match flushed.entries {
        1 => out.line("1 address forgotten"),
        count => out.line(format_args!("{count} addresses forgotten")),
    })
}

fn print(out: &mut Output, fdb: &Fdb, bridges: &[Bridge]) -> io::Result<()> {
    let mut grid = Grid::new(&["BRIDGE", "PORT", "NAME", "VLAN", "MAC", "AGE-S"]);
    for entry in &fdb.entries {
        let mut ports =
            bridges.iter().filter(|one| one.name == entry.bridge).flat_map(|one| &one.ports);
        let port = ports.find(|port| port.number == entry.port);
        grid.row([
            entry.bridge.clone(),
            entry.port.to_string(),
            port.map_or_else(|| "-".to_owned(), |port| port.name.clone()),
            entry.vlan.to_string(),
            entry.mac.to_string(),
            if entry.is_static { "static".to_owned() } else { entry.age_s.to_string() },
        ]);
    }
    grid.print(out, "No address has been learned.")
}
