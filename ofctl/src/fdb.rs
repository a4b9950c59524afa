//! Learned addresses: `fdb show`, `fdb flush`.

use std::io;

use anyhow::Result;
use api::reply::Fdb;
use api::request::{FdbFlush, FdbShow};

use crate::cli::BridgeArgs;
use crate::desk::Desk;
use crate::grid::Grid;
use crate::output::Output;

pub(crate) fn show(args: BridgeArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let fdb = client.call(FdbShow { bridge: args.bridge })?;
    out.answer(&fdb, print)
}

pub(crate) fn flush(args: BridgeArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let flushed = client.call(FdbFlush { bridge: args.bridge })?;
    out.answer(&flushed, |out, flushed| match flushed.entries {
        1 => out.line("1 address forgotten"),
        count => out.line(format_args!("{count} addresses forgotten")),
    })
}

fn print(out: &mut Output, fdb: &Fdb) -> io::Result<()> {
    let mut grid = Grid::new(&["BRIDGE", "PORT", "VLAN", "MAC", "AGE"]);
    for entry in &fdb.entries {
        grid.row([
            entry.bridge.clone(),
            entry.port.to_string(),
            entry.vlan.to_string(),
            entry.mac.to_string(),
            entry.age_s.to_string(),
        ]);
    }
    grid.print(out, "No address has been learned.")
}
