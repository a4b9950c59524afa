//! Bridges: `show`, `add-br`, `del-br`.

use std::io;

use anyhow::Result;
use api::reply::{Bridge, Bridges, Port, PortState};
use api::request::{BridgeAdd, BridgeDel, Show};

use crate::cli::{BridgeArgs, BridgeNameArgs};
use crate::desk::Desk;
use crate::output::{BAD, DOUBTFUL, FAINT, GOOD, Output, STRONG};
use crate::problem::unsure;
use crate::vlan::vlan_text;

pub(crate) fn show(args: BridgeArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let bridges = client.call(Show { bridge: args.bridge })?;
    out.answer(&bridges, print)
}

pub(crate) fn add(args: BridgeNameArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let done = client.call(BridgeAdd { name: args.bridge }).map_err(unsure)?;
    out.answer(&done, |_, _| Ok(()))
}

pub(crate) fn remove(args: BridgeNameArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let done = client.call(BridgeDel { name: args.bridge }).map_err(unsure)?;
    out.answer(&done, |_, _| Ok(()))
}

fn print(out: &mut Output, bridges: &Bridges) -> io::Result<()> {
    if bridges.bridges.is_empty() && out.is_terminal() {
        out.line("There is no bridge; `ofctl add-br NAME` makes one.")?;
    }
    bridges.bridges.iter().try_for_each(|bridge| print_bridge(out, bridge))
}

fn print_bridge(out: &mut Output, bridge: &Bridge) -> io::Result<()> {
    out.put("bridge ")?;
    out.styled(STRONG, &bridge.name)?;
    out.end()?;
    bridge.ports.iter().try_for_each(|port| print_port(out, port))
}

/// ` 1(eth1): afxdp, up, mtu 1500, mac ..., vlan access=10`, and below it what else is known.
fn print_port(out: &mut Output, port: &Port) -> io::Result<()> {
    out.put(format_args!(" {}(", port.number))?;
    out.styled(STRONG, &port.name)?;
    out.put(format_args!("): {}, ", port.kind.name()))?;
    match port.state {
        PortState::Up => out.styled(GOOD, "up")?,
        PortState::Down => out.styled(BAD, "down")?,
    }
    if port.mtu > 0 {
        out.put(format_args!(", mtu {}", port.mtu))?;
    }
    if let Some(mac) = &port.mac {
        out.put(format_args!(", mac {mac}"))?;
    }
    out.put(format_args!(", vlan {}", vlan_text(&port.vlan)))?;
    for flag in port.flags.names() {
        out.put(", ")?;
        out.styled(DOUBTFUL, flag.replace('_', "-"))?;
    }
    out.end()?;
    if let Some(reason) = &port.reason {
        out.put("     ")?;
        out.styled(BAD, format_args!("down: {reason}"))?;
        out.end()?;
    }
    for queue in &port.queues {
        out.put(format_args!("     queue {}: {}", queue.queue, queue.mode))?;
        match queue.worker {
            Some(worker) => out.put(format_args!(", worker {worker}"))?,
            None => out.styled(DOUBTFUL, ", no worker")?,
        }
        if let Some(reason) = &queue.reason {
            out.styled(FAINT, format_args!(" ({reason})"))?;
        }
        out.end()?;
    }
    let can: Vec<_> = port.capabilities.iter().filter(|can| can.available).collect();
    if !can.is_empty() {
        let names: Vec<_> = can.iter().map(|can| can.name.as_str()).collect();
        out.line(format_args!("     can: {}", names.join(", ")))?;
    }
    for cannot in port.capabilities.iter().filter(|can| !can.available) {
        out.put(format_args!("     cannot: {}", cannot.name))?;
        if let Some(reason) = &cannot.reason {
            out.styled(FAINT, format_args!(" ({reason})"))?;
        }
        out.end()?;
    }
    Ok(())
}
