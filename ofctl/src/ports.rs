//! Ports: `add-port`, `del-port`, `dump-ports`.

use std::io;

use anyhow::{Context as _, Result};
use api::request::{PortAdd, PortDel, PortKind, PortStats};
use clap::error::ErrorKind;
use serde_json::{Map, Value};

use crate::arguments::{misuse, port_ref, tell_apart, with_last};
use crate::cli::{AddPortArgs, DelPortArgs, DumpPortsArgs, PortOptions, PortType};
use crate::desk::Desk;
use crate::grid::Grid;
use crate::output::{FAINT, Output};
use crate::problem::{unsure, with_help};

pub(crate) fn add(args: AddPortArgs, desk: &mut Desk) -> Result<()> {
    let kind = kind(args.kind, &args.options)?;
    let (bridge, name) = with_last("add-port", "NAME", args.bridge, args.name)?;
    let (client, out) = desk.open()?;
    let add = PortAdd { bridge, name, number: args.number, kind, vlan: args.vlan };
    let added = client.call(add).map_err(unsure)?;
    out.answer(&added, |out, added| out.line(added.number))
}

pub(crate) fn remove(args: DelPortArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, name) = with_last("del-port", "NAME", args.bridge, args.name)?;
    let (client, out) = desk.open()?;
    let done = client.call(PortDel { bridge, name }).map_err(unsure)?;
    out.answer(&done, |_, _| Ok(()))
}

/// Which options each type has.
const OPTIONS: [(PortType, &[&str]); 3] = [
    (PortType::Afxdp, &["queues", "mode", "when_away"]),
    (PortType::Internal, &["mtu", "mac"]),
    (PortType::Pcap, &["rx", "loop", "tx", "limit"]),
];

/// A type with those of its options that are given.
fn kind(kind: PortType, options: &PortOptions) -> Result<PortKind> {
    let options: Map<String, Value> = serde_json::to_value(options)
        .and_then(serde_json::from_value)
        .context("a path cannot be sent that is no UTF-8")?;
    let owner = |option: &str| OPTIONS.iter().find(|(_, names)| names.contains(&option));
    let foreign = options.keys().find_map(|option| {
        owner(option).filter(|(owner, _)| *owner != kind).map(|(owner, _)| (option, owner))
    });
    if let Some((option, owner)) = foreign {
        let (option, owner) = (option.replace('_', "-"), serde_json::to_value(owner)?);
        let owner = owner.as_str().unwrap_or_default();
        let wrong = format!("--{option} is an option of type {owner}: say `--type {owner}`");
        return Err(misuse("add-port", ErrorKind::ArgumentConflict, &wrong));
    }
    let kind = serde_json::json!({ "type": kind, "options": options });
    // Such as `options.mac`: what is no address has passed us as text.
    serde_json::from_value(kind)
        .map_err(|error| misuse("add-port", ErrorKind::ValueValidation, &error.to_string()))
}

pub(crate) fn dump(args: DumpPortsArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let chosen = tell_apart(client, args.bridge, args.port)?;
    let port = chosen.other.as_deref().map(port_ref);
    let stats = PortStats { bridge: chosen.bridge, port };
    let ports = client.call(stats).map_err(|error| with_help(error.into(), chosen.help))?;
    out.answer(&ports, |out, ports| print(out, &ports.ports))
}

fn print(out: &mut Output, ports: &[api::reply::PortStats]) -> io::Result<()> {
    let mut grid = Grid::new(&[
        "BRIDGE",
        "PORT",
        "NAME",
        "RX-PACKETS",
        "RX-BYTES",
        "RX-ERRORS",
        "DROPS",
        "TX-PACKETS",
        "TX-BYTES",
        "TX-ERRORS",
    ]);
    let mut drops = Grid::new(&["BRIDGE", "PORT", "NAME", "DROPS", "REASON", "WHICH MEANS"]);
    for port in ports {
        let [bridge, number, name] = [&port.bridge, &port.number.to_string(), &port.name];
        let dropped: u64 = port.drops.iter().map(|drop| drop.packets).sum();
        let received = [port.rx_packets, port.rx_bytes, port.rx_errors, dropped];
        let counters = [received.as_slice(), &[port.tx_packets, port.tx_bytes, port.tx_errors]];
        let cells = counters.concat().into_iter().map(|count| count.to_string());
        grid.row([bridge, number, name].map(ToOwned::to_owned).into_iter().chain(cells));
        for drop in &port.drops {
            let [count, reason] = [drop.packets.to_string(), drop.reason.name().to_owned()];
            let which = [bridge, number, name, &count, &reason].map(ToOwned::to_owned);
            drops.row(which.into_iter().chain([drop.reason.sentence().to_owned()]));
        }
    }
    grid.print(out, "There is no port.")?;
    if !drops.is_empty() {
        out.end()?;
        out.styled(FAINT, "Dropped, counted where the packets came in:")?;
        out.end()?;
        drops.print(out, "")?;
    }
    Ok(())
}
