//! Why packets were dropped: `explain-drop`.

use std::io;

use anyhow::Result;
use api::reply::{LastDrop, LastDrops};
use api::request::DropsExplain;
use api::{FlowMod, PortNames};

use crate::arguments::{bridges, port_ref, tell_apart};
use crate::cli::ExplainDropArgs;
use crate::desk::Desk;
use crate::output::{BAD, FAINT, Output, STRONG};
use crate::problem::with_help;

pub(crate) fn explain(args: ExplainDropArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let chosen = tell_apart(client, args.bridge, args.port)?;
    let port = chosen.other.as_deref().map(port_ref);
    let explain = DropsExplain { bridge: chosen.bridge, port, limit: Some(args.last) };
    let drops = client.call(explain).map_err(|error| with_help(error.into(), chosen.help))?;
    let known = if out.is_json() { Vec::new() } else { bridges(client)? };
    out.answer(&drops, |out, LastDrops { drops }| {
        if drops.is_empty() && out.is_terminal() {
            out.line("No packet was dropped.")?;
        }
        drops.iter().try_for_each(|drop| {
            let bridge = known.iter().find(|bridge| bridge.name == drop.bridge);
            let ports = bridge.map_or(&[][..], |bridge| &bridge.ports);
            let names: Vec<_> = ports.iter().map(|port| (port.number, port.name.clone())).collect();
            print(out, drop, &names)
        })
    })
}

/// A drop in a few lines: when and where, why, what the packet was, what it had passed.
fn print(out: &mut Output, drop: &LastDrop, names: &dyn PortNames) -> io::Result<()> {
    if drop.between > 0 {
        out.styled(FAINT, format_args!("({} more drops that were not kept)", drop.between))?;
        out.end()?;
    }
    let (seconds, ms) = (drop.age_ms / 1000, drop.age_ms % 1000);
    out.put(format_args!("{seconds}.{ms:03} s ago, {} bytes from ", drop.len))?;
    out.styled(STRONG, &drop.port)?;
    out.put(format_args!(" of {}, worker {}: ", drop.bridge, drop.worker))?;
    out.styled(BAD, drop.reason)?;
    out.end()?;
    out.line(format_args!("    {}", drop.reason.sentence()))?;
    match &*drop.flow {
        "" => out.line("    no Ethernet frame")?,
        flow => out.line(format_args!("    packet: {flow}"))?,
    }
    if drop.earlier > 0 {
        out.styled(FAINT, format_args!("    passed: {} flows, and then", drop.earlier))?;
        out.end()?;
    }
    for passed in &drop.passed {
        out.put("    passed: ")?;
        match &passed.flow {
            Some(flow) => {
                let cookie = flow.cookie.filter(|cookie| *cookie != 0);
                let flow = FlowMod { cookie, ..flow.clone() };
                out.put(flow.print(names))?;
            }
            None => out.put("a flow that is gone")?,
        }
        out.styled(FAINT, format_args!(" (id {})", passed.id))?;
        out.end()?;
    }
    Ok(())
}
