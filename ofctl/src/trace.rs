//! `trace`: what would become of a packet, in the shape of `ovs-appctl ofproto/trace`.

use std::io;

use anyhow::Result;
use api::HexBytes;
use api::reply::{Tier, Trace, TraceNode, TracePass, TraceStep, Verdict};
use api::request::{self, TracePacket};
use clap::error::ErrorKind;

use crate::arguments::{misuse, port_ref, with_last};
use crate::cache::tier_text;
use crate::cli::TraceArgs;
use crate::desk::Desk;
use crate::output::{BAD, DOUBTFUL, FAINT, GOOD, Output, STRONG};
use crate::problem::{Problem, Quote, explain};

pub(crate) fn run(args: TraceArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, text) = with_last("trace", "FLOW", args.bridge, args.flow)?;
    let packet = match args.in_port {
        Some(port) => TracePacket::Bytes { packet: bytes(&text)?, in_port: port_ref(&port) },
        None if is_bytes(&text) => {
            let wrong = "a packet in hexadecimal digits needs `--in-port PORT`";
            return Err(misuse("trace", ErrorKind::MissingRequiredArgument, wrong));
        }
        None => TracePacket::Flow(text.clone()),
    };
    let (client, out) = desk.open()?;
    let trace = client.call(request::Trace { bridge, packet });
    let trace = trace.map_err(|error| explain(error, Quote::argument(&text), 0))?;
    out.answer(&trace, print)
}

/// Whether a text is rather a packet than its description.
fn is_bytes(text: &str) -> bool {
    text.len() > 16 && text.bytes().all(|b| b.is_ascii_hexdigit() || matches!(b, b' ' | b':'))
}

fn bytes(text: &str) -> Result<HexBytes> {
    text.parse().map_err(|wrong: api::InvalidHex| {
        let quote = Quote { at: Some(wrong.at..wrong.at + 2), ..Quote::argument(text) };
        Problem {
            title: "expected two hexadecimal digits a byte".to_owned(),
            quote: Some(quote),
            help: Some("with --in-port the packet is given by its bytes".to_owned()),
            failure: None,
        }
        .into()
    })
}

fn print(out: &mut Output, trace: &Trace) -> io::Result<()> {
    for (number, pass) in trace.passes.iter().enumerate() {
        if number > 0 {
            let line = "=".repeat(79);
            out.line(format_args!("\n{line}\nlooked up again, pass {}\n{line}", number + 1))?;
        }
        print_pass(out, pass)?;
    }
    out.end()?;
    match &trace.verdict {
        Verdict::Sent(ports) => {
            out.put("Verdict: ")?;
            out.styled(GOOD, format_args!("sent to {}", ports.join(", ")))?;
        }
        Verdict::Dropped(reason) => {
            out.put("Verdict: ")?;
            out.styled(BAD, format_args!("dropped, {reason}"))?;
            out.put(format_args!(": {}", reason.sentence()))?;
        }
    }
    out.end()?;
    if trace.entries.is_empty() {
        return out
            .line("Cache entries: none, the next such packet is looked up in the tables again");
    }
    out.line("Cache entries:")?;
    for entry in &trace.entries {
        let tier = match entry.tier {
            Tier::Session => 1,
            Tier::Megaflow => 2,
        };
        let matching = if entry.matching.is_empty() { "any packet" } else { &entry.matching };
        let name = tier_text(entry.tier);
        out.put(format_args!("  tier {tier} ({name}): {matching}, "))?;
        out.line(format_args!("actions={}", entry.actions))?;
    }
    Ok(())
}

fn print_pass(out: &mut Output, pass: &TracePass) -> io::Result<()> {
    out.styled(STRONG, "Flow:")?;
    out.line(format_args!(" {}", pass.flow))?;
    pass.steps.iter().try_for_each(|step| print_step(out, step))?;
    out.end()?;
    let last = if pass.final_flow == pass.flow { "unchanged" } else { &pass.final_flow };
    let megaflow = if pass.megaflow.is_empty() { "any packet" } else { &pass.megaflow };
    for (what, text) in
        [("Final flow", last), ("Megaflow", megaflow), ("Datapath actions", &pass.actions)]
    {
        out.styled(STRONG, format_args!("{what}:"))?;
        out.line(format_args!(" {text}"))?;
    }
    Ok(())
}

/// Bridges and the tables that packets enter first stand at the margin, everything else four
/// columns further a level.
fn print_step(out: &mut Output, TraceStep { depth, what }: &TraceStep) -> io::Result<()> {
    // So deep that nobody could read on.
    const DEEPEST: u32 = 64;
    let margin = usize::try_from(depth.saturating_sub(1).min(DEEPEST) * 4).unwrap_or(0);
    let indent = " ".repeat(margin);
    match what {
        TraceNode::Bridge { name } => {
            let title = format!("bridge(\"{name}\")");
            out.end()?;
            out.put(&indent)?;
            out.styled(STRONG, &title)?;
            out.end()?;
            out.put(&indent)?;
            out.line("-".repeat(title.len()))?;
            return Ok(());
        }
        TraceNode::Table { table, flow: None } => {
            out.put(format_args!("{indent}{table:>2}. "))?;
            out.styled(DOUBTFUL, "No match.")?;
        }
        TraceNode::Table { table, flow: Some(flow) } => {
            out.put(format_args!("{indent}{table:>2}. "))?;
            if !flow.matching.is_empty() {
                out.put(format_args!("{}, ", flow.matching))?;
            }
            out.put(format_args!("priority {}", flow.priority))?;
            if flow.cookie != 0 {
                out.put(format_args!(", cookie {:#x}", flow.cookie))?;
            }
        }
        TraceNode::Action { text } => out.put(format_args!("{indent}{text}"))?,
        TraceNode::Detail { text } => {
            out.styled(FAINT, format_args!("{indent} -> {text}"))?;
        }
        TraceNode::Warning { text } => {
            out.styled(DOUBTFUL, format_args!("{indent} >> {text}"))?;
        }
        TraceNode::Error { text } => {
            out.styled(BAD, format_args!("{indent} >>>> {text} <<<<"))?;
        }
    }
    out.end()
}
