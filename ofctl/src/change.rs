//! Changes to flows: `add-flow`, `add-flows`, `mod-flows`, `del-flows`.

use anyhow::Result;
use api::reply::Changed;
use api::request::{FlowAppend, FlowBegin, FlowChange, FlowCommit};
use api::{Client, ClientError, text};
use clap::error::ErrorKind;

use crate::arguments::{Chosen, misuse, tell_apart, with_last};
use crate::cli::{AddFlowsArgs, DelFlowsArgs, FlowArgs, ModFlowsArgs};
use crate::desk::Desk;
use crate::file::{File, STDIN};
use crate::problem::{Problem, Quote, explain, unsure, warn, with_help};
use crate::progress::Progress;

/// Bytes of a request that carries a part of a file: far below what the switch takes, so that one
/// sees how it goes on.
const PART: usize = 1 << 20;
const _: () = assert!(PART + text::MAX_LEN * 2 < api::codec::MAX_REQUEST);

pub(crate) fn add_flow(args: FlowArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, flow) = with_last("add-flow", "FLOW", args.bridge, args.flow)?;
    change("add", bridge, flow, desk)
}

pub(crate) fn mod_flows(args: ModFlowsArgs, desk: &mut Desk) -> Result<()> {
    let verb = if args.strict { "modify_strict" } else { "modify" };
    let (bridge, flow) = with_last("mod-flows", "FLOW", args.flow.bridge, args.flow.flow)?;
    change(verb, bridge, flow, desk)
}

pub(crate) fn del_flows(args: DelFlowsArgs, desk: &mut Desk) -> Result<()> {
    let verb = if args.strict { "delete_strict" } else { "delete" };
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
    change(verb, chosen.bridge, matching, desk).map_err(|error| with_help(error, chosen.help))
}

pub(crate) fn add_flows(args: AddFlowsArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, path) = with_last("add-flows", "FILE", args.bridge, args.file)?;
    change_file("", bridge, &File::read(&path)?, desk)
}

/// Does what `verb` says with a flow from the command line.
fn change(verb: &str, bridge: Option<String>, flow: String, desk: &mut Desk) -> Result<()> {
    let before = format!("{verb} ");
    if flow == STDIN {
        return change_file(&before, bridge, &File::read(STDIN)?, desk);
    }
    let flows = vec![format!("{before}{flow}")];
    let (client, _) = desk.open()?;
    let changed = client.call(FlowChange { bridge, flows });
    let about = |error| match error {
        ClientError::Refused(_) => {
            // The switch speaks of the verbs of files.
            let is_loose = verb == "delete" && error.to_string().contains("`delete_strict`");
            let help = is_loose.then(|| "here that is `--strict`".to_owned());
            with_help(explain(error, Quote::argument(&flow), before.len()), help)
        }
        error => unsure(error),
    };
    tell(&changed.map_err(about)?, desk)
}

/// Does what `before` says, a verb and a blank or nothing, with every line of a file.
fn change_file(before: &str, bridge: Option<String>, file: &File, desk: &mut Desk) -> Result<()> {
    let lines = file.lines();
    if let Some(line) = lines.iter().find(|(_, line)| line.len() > text::MAX_LEN) {
        let title = format!("a flow's text has at most {} bytes", text::MAX_LEN);
        let place = Quote { text: None, ..file.quote(*line) };
        return Err(Problem { title, quote: Some(place), ..Problem::default() }.into());
    }
    let (client, _) = desk.open()?;
    let changed = send(client, bridge, before, &lines);
    let about = |error| match error {
        ClientError::Refused(failure) => {
            let flow = failure.data.as_ref().and_then(|place| place.flow);
            let line = flow.and_then(|flow| lines.get(usize::try_from(flow).ok()?));
            match line {
                Some(line) => with_help(
                    Problem::about(failure, file.quote(*line), before.len()).into(),
                    Some("nothing has been changed".to_owned()),
                ),
                None => ClientError::Refused(failure).into(),
            }
        }
        error => unsure(error),
    };
    tell(&changed.map_err(about)?, desk)
}

/// Sends lines as one change, in parts if there are many.
fn send(
    client: &mut Client,
    bridge: Option<String>,
    before: &str,
    lines: Lines<'_>,
) -> Result<Changed, ClientError> {
    let whole = |lines: Lines<'_>| -> Vec<String> {
        lines.iter().map(|(_, line)| format!("{before}{line}")).collect()
    };
    let mut rest = split(before, lines);
    if rest.1.is_empty() {
        return client.call(FlowChange { bridge, flows: whole(rest.0) });
    }
    let mut progress = Progress::of("flows sent", false);
    client.call(FlowBegin { bridge })?;
    while !rest.0.is_empty() {
        client.call(FlowAppend { flows: whole(rest.0) })?;
        progress.at(lines.len() - rest.1.len(), Some(lines.len()));
        rest = split(before, rest.1);
    }
    client.call(FlowCommit {})
}

/// Lines with their numbers.
type Lines<'a> = &'a [(usize, &'a str)];

/// As many lines as go into one request, and the others.
fn split<'a>(before: &str, lines: Lines<'a>) -> (Lines<'a>, Lines<'a>) {
    let mut room = PART;
    let fits = lines.iter().take_while(|(_, line)| {
        let fits = room > 0;
        room = room.saturating_sub(before.len() + weight(line));
        fits
    });
    lines.split_at(fits.count())
}

/// The most bytes that a text has as JSON.
fn weight(text: &str) -> usize {
    let escaped = |byte: u8| matches!(byte, 0..0x20 | b'"' | b'\\');
    3 + text.bytes().map(|byte| if escaped(byte) { 6 } else { 1 }).sum::<usize>()
}

fn tell(changed: &Changed, desk: &mut Desk) -> Result<()> {
    if !changed.late.is_empty() && !desk.out.is_json() {
        let late: Vec<_> = changed.late.iter().map(ToString::to_string).collect();
        let late = late.join(", ");
        warn(
            &format!("the flows are changed, but worker {late} does not use them yet"),
            desk.options.color,
        );
    }
    desk.out.answer(changed, |_, _| Ok(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_fits_a_request() {
        let nasty = "\u{1}\"\\x".repeat(200);
        let lines: Vec<_> = (1..20_000).map(|number| (number, nasty.as_str())).collect();
        let (mut parts, mut sent, mut rest) = (0, 0, &lines[..]);
        while !rest.is_empty() {
            let (part, others) = split("delete_strict ", rest);
            assert!(!part.is_empty());
            let flows = part.iter().map(|(_, line)| format!("delete_strict {line}")).collect();
            let request = FlowAppend { flows }.into();
            assert!(api::codec::encode_request(1, &request).is_ok());
            (parts, sent, rest) = (parts + 1, sent + part.len(), others);
        }
        assert!(parts > 1 && sent == lines.len(), "{parts} parts, {sent} lines");
    }
}
