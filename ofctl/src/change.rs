//! Changes to flows: `add-flow`, `add-flows`, `mod-flows`, `del-flows`.

use anyhow::Result;
use clap::error::ErrorKind;

use crate::arguments::{Chosen, misuse, tell_apart, with_last};
use crate::cli::{AddFlowsArgs, DelFlowsArgs, FlowArgs, ModFlowsArgs};
use crate::desk::Desk;
use crate::file::{File, STDIN};
use crate::problem::with_help;
use crate::transaction::Transaction;

pub(crate) fn add_flow(args: FlowArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, flow) = with_last("add-flow", "FLOW", args.bridge, args.flow)?;
    Transaction::of(bridge, desk).change("flow add ", &flow, desk)
}

pub(crate) fn mod_flows(args: ModFlowsArgs, desk: &mut Desk) -> Result<()> {
    let verb = if args.strict { "flow modify_strict " } else { "flow modify " };
    let (bridge, flow) = with_last("mod-flows", "FLOW", args.flow.bridge, args.flow.flow)?;
    Transaction::of(bridge, desk).change(verb, &flow, desk)
}

pub(crate) fn del_flows(args: DelFlowsArgs, desk: &mut Desk) -> Result<()> {
    let verb = if args.strict { "flow delete_strict " } else { "flow delete " };
    if args.bridge.is_none() {
        let wrong = "name the bridge to remove all of its flows, or say which ones";
        return Err(misuse("del-flows", ErrorKind::MissingRequiredArgument, wrong));
    }
    let chosen = match args.bridge {
        Some(stdin) if stdin == STDIN && args.matching.is_none() => {
            Chosen { other: Some(stdin), ..Chosen::default() }
        }
        bridge => tell_apart(desk.open()?.0, bridge, args.matching)?,
    };
    let matching = chosen.other.unwrap_or_default();
    let done = Transaction::of(chosen.bridge, desk).change(verb, &matching, desk);
    done.map_err(|error| {
        // The switch speaks of the verbs of files.
        let is_loose = !args.strict && error.to_string().contains("`delete_strict`");
        let help = is_loose.then(|| "here that is `--strict`".to_owned());
        with_help(with_help(error, help), chosen.help)
    })
}

pub(crate) fn add_flows(args: AddFlowsArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, path) = with_last("add-flows", "FILE", args.bridge, args.file)?;
    // No word of a bundle is one of flows, and what is no flow is refused with its place.
    Transaction::of(bridge, desk).change_file("flow ", &File::read(&path)?, desk)
}
