//! Learned addresses: `fdb show`, `fdb flush`.

use std::io;

use anyhow::Result;
use api::reply::{Bridge, Fdb};
use api::request::{FdbFlush, FdbShow};

use crate::arguments::bridges;
use crate::cli::BridgeArgs;
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
            entry.age_s.to_string(),
        ]);
    }
    grid.print(out, "No address has been learned.")
}
