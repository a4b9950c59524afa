//! `trace`: what would become of a packet, in the shape of `ovs-appctl ofproto/trace`.

use std::io;

use anyhow::Result;
use api::HexBytes;
use api::reply::{Behind, Tier, Trace, TraceEntry, TraceNode, TracePass, TraceStep, Verdict};
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
    let TraceArgs { metered, all_buckets, ct_next, .. } = args;
    let trace = client.call(request::Trace { bridge, packet, metered, all_buckets, ct_next });
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
    for pass in &trace.passes {
        if let Some(behind) = &pass.behind {
            print_ruler(out, behind, pass.assumed.as_deref().unwrap_or_default())?;
        }
        print_pass(out, pass)?;
    }
    out.end()?;
    out.put("Verdict: ")?;
    match &trace.verdict {
        Verdict::Sent(ports) => {
            out.styled(GOOD, format_args!("sent to {}", ports.join(", ")))?;
        }
        Verdict::Shown => {
            out.styled(GOOD, "shown")?;
            out.put(" to whoever watches, and sent nowhere")?;
        }
        Verdict::Dropped(reason) => {
            out.styled(BAD, format_args!("dropped, {reason}"))?;
            out.put(format_args!(": {}", reason.sentence()))?;
        }
    }
    if trace.several {
        out.put(" (by all passes together, of which a packet takes some)")?;
    }
    out.end()?;
    out.line(format_args!("Session: {}", trace.session))?;
    print_entries(out, &trace.entries)
}

fn print_entries(out: &mut Output, entries: &[TraceEntry]) -> io::Result<()> {
    if entries.is_empty() {
        return out
            .line("Cache entries: none, the next such packet is looked up in the tables again");
    }
    out.line("Cache entries:")?;
    for entry in entries {
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

/// What stands between two passes.
fn print_ruler(out: &mut Output, behind: &Behind, assumed: &str) -> io::Result<()> {
    let ruler = "=".repeat(79);
    let Behind { resume, decision } = behind;
    out.end()?;
    out.line(&ruler)?;
    out.line(format_args!("resume({resume}) - {decision}: {assumed}"))?;
    out.line(&ruler)?;
    out.end()
}

fn print_pass(out: &mut Output, pass: &TracePass) -> io::Result<()> {
    out.styled(STRONG, "Flow:")?;
    out.line(format_args!(" {}", pass.flow))?;
    for (step, column) in pass.steps.iter().zip(columns(&pass.steps)) {
        print_step(out, &step.what, column)?;
    }
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

/// So deep that nobody could read on.
const DEEPEST: usize = 64;

/// In which column each step begins, in the units of four that Open vSwitch has: a table that is the
/// last of its level stands where its parent does, so that a chain of tables stays at the margin.
fn columns(steps: &[TraceStep]) -> Vec<usize> {
    let mut columns = Vec::with_capacity(steps.len());
    // Of each depth, the level of what lies there.
    let mut levels = vec![0];
    for (at, step) in steps.iter().enumerate() {
        let depth = usize::try_from(step.depth).unwrap_or(DEEPEST);
        levels.truncate(depth + 1);
        let level = levels.last().copied().unwrap_or(0);
        let more = usize::from(stands_in(&step.what) || is_followed(&steps[at..]));
        columns.push(level + more);
        levels.push(level + 2 * more);
    }
    columns
}

/// Whether a step always stands a column further in than its parent.
const fn stands_in(what: &TraceNode) -> bool {
    match what {
        TraceNode::Bridge { .. }
        | TraceNode::Table { .. }
        | TraceNode::ActionSet
        | TraceNode::Thaw { .. } => false,
        TraceNode::Bucket { .. }
        | TraceNode::Action { .. }
        | TraceNode::Detail { .. }
        | TraceNode::Warning { .. }
        | TraceNode::Error { .. } => true,
    }
}

/// Whether another step of its level comes behind the first one.
fn is_followed(steps: &[TraceStep]) -> bool {
    let Some((first, rest)) = steps.split_first() else { return false };
    let next = rest.iter().find(|step| step.depth <= first.depth);
    next.is_some_and(|next| next.depth == first.depth)
}

fn print_step(out: &mut Output, what: &TraceNode, column: usize) -> io::Result<()> {
    let indent = " ".repeat(4 * column.min(DEEPEST));
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
        TraceNode::Bucket { bucket, .. } => out.put(format_args!("{indent}bucket {bucket}"))?,
        TraceNode::ActionSet => out.put(format_args!("{indent}--. Executing action set:"))?,
        TraceNode::Thaw { text } => {
            out.line(format_args!("{indent}thaw"))?;
            out.put(format_args!("{indent}    {text}"))?;
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
