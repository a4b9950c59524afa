//! Flows of several places beside each other: `replace-flows`, `diff-flows`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use api::request::FlowDump;
use api::text::{Reading, print_actions_in};
use api::{Client, ClientError, Command, Dialect, FlowFlags, FlowMod, NoNames, PortNames, TableId};
use serde::Serialize;

use crate::arguments::{port_names, with_last};
use crate::cli::{CompareCommand, DiffFlowsArgs, ReplaceFlowsArgs};
use crate::desk::Desk;
use crate::file::File;
use crate::offline;
use crate::output::{BAD, GOOD};
use crate::problem::{Problem, Quote};
use crate::save::all;
use crate::transaction::{Transaction, tell};

pub(crate) fn run(command: CompareCommand, desk: &mut Desk) -> Result<()> {
    match command {
        CompareCommand::ReplaceFlows(args) => replace(args, desk),
        CompareCommand::DiffFlows(args) => diff(&args, desk),
        CompareCommand::ParseFlow(args) => offline::parse_flow(&args.flow, desk),
        CompareCommand::ParseFlows(args) => offline::parse_flows(&args.file, desk),
        CompareCommand::ParseGroup(args) => offline::parse_group(&args.group, desk),
    }
}

/// What tells a flow from others, in the order of a dump: its table, its priority from the highest
/// on, and its match as text.
type Place = (TableId, Reverse<u16>, String);

/// Flows by their place.
type Flows = BTreeMap<Place, FlowMod>;

fn place(flow: &FlowMod) -> Place {
    (flow.table.unwrap_or(0), Reverse(flow.priority), flow.matching.to_string())
}

/// Flows of a bridge.
fn of_bridge(client: &mut Client, bridge: Option<&str>) -> Result<Flows, ClientError> {
    let flows = all(|after| {
        let bridge = bridge.map(str::to_owned);
        let page = client.call(FlowDump { bridge, after, ..FlowDump::default() })?;
        Ok((page.flows, page.next))
    })?;
    Ok(flows.into_iter().map(|stats| (place(&stats.flow), stats.flow)).collect())
}

/// Flows of a file; of two of the same place the later one.
fn of_file(file: &File, names: &dyn PortNames, lenient: bool) -> Result<Flows> {
    let strictly = Reading::new(names);
    let reading = if lenient { strictly.lenient() } else { strictly };
    let mut flows = Flows::new();
    for line in file.lines() {
        let flow = reading.flow(line.1, Command::Add).map_err(|error| {
            let quote = Quote { at: Some(error.at()), ..file.quote(line) };
            Problem { title: error.to_string(), quote: Some(quote), ..Problem::default() }
        })?;
        flows.insert(place(&flow), flow);
    }
    Ok(flows)
}

/// What two flows of the same place must agree in to be equal.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Care {
    /// Actions alone.
    Loose,
    /// Actions, cookie, timeouts and importance, as in OVS.
    Usual,
    /// Flags, too.
    Strict,
}

impl Care {
    fn are_equal(self, a: &FlowMod, b: &FlowMod) -> bool {
        let shown = |flow: &FlowMod| {
            let times = (flow.idle_timeout, flow.hard_timeout, flow.importance);
            (flow.cookie.unwrap_or(0), times)
        };
        // What belongs to the command is no flag of the flow.
        let flags =
            |flow: &FlowMod| FlowFlags { check_overlap: false, reset_counts: false, ..flow.flags };
        a.actions == b.actions
            && (self == Self::Loose || shown(a) == shown(b))
            && (self != Self::Strict || flags(a) == flags(b))
    }
}

fn replace(args: ReplaceFlowsArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, path) = with_last("replace-flows", "FILE", args.bridge, args.file)?;
    let file = File::read(&path)?;
    let lenient = desk.options.lenient;
    let (client, _) = desk.open()?;
    let names = port_names(client, bridge.as_deref())?;
    let wanted = of_file(&file, &names, lenient)?;
    let there = of_bridge(client, bridge.as_deref())?;
    let gone = there.iter().filter(|(place, _)| !wanted.contains_key(*place));
    let gone = gone.map(|(_, flow)| FlowMod {
        command: Command::DeleteStrict,
        table: flow.table,
        priority: flow.priority,
        matching: flow.matching,
        actions: None,
        ..FlowMod::default()
    });
    let is_there = |(place, flow): &(&Place, &FlowMod)| {
        there.get(*place).is_some_and(|old| Care::Strict.are_equal(old, flow))
    };
    let new = wanted.iter().filter(|flow| args.readd || !is_there(flow));
    let new = new.map(|(_, flow)| flow.clone());
    let lines: Vec<_> = gone.chain(new).map(|flow| format!("flow {flow}")).collect();
    let numbered: Vec<_> = (1..).zip(&lines).map(|(n, line)| (n, line.as_str())).collect();
    let changed = Transaction::of(bridge, desk).make("", &numbered, desk.open()?.0);
    tell(&changed.map_err(crate::problem::unsure)?, desk)
}

/// How two sources differ.
#[derive(Debug, Default, Serialize)]
struct Difference {
    removed: Vec<String>,
    added: Vec<String>,
}

fn diff(args: &DiffFlowsArgs, desk: &mut Desk) -> Result<()> {
    let care = match (args.strict, args.loose) {
        (true, _) => Care::Strict,
        (_, true) => Care::Loose,
        _ => Care::Usual,
    };
    let names = names(&[&args.first, &args.second], desk)?;
    let first = source(&args.first, &names, desk)?;
    let second = source(&args.second, &names, desk)?;
    let dialect = desk.options.protocols;
    let mut places: Vec<_> = first.keys().chain(second.keys()).collect();
    places.sort();
    places.dedup();
    let mut difference = Difference::default();
    for place in places {
        let (a, b) = (first.get(place), second.get(place));
        if a.zip(b).is_some_and(|(a, b)| care.are_equal(a, b)) {
            continue;
        }
        let mut note = |flow: Option<&FlowMod>, sign, list: &mut Vec<String>| {
            let Some(flow) = flow else { return Ok(()) };
            let line = shown(flow, dialect);
            if !desk.out.is_json() {
                let style = if sign == '-' { BAD } else { GOOD };
                desk.out.styled(style, format_args!("{sign}{line}"))?;
                desk.out.end()?;
            }
            list.push(line);
            Ok::<_, std::io::Error>(())
        };
        note(a, '-', &mut difference.removed)?;
        note(b, '+', &mut difference.added)?;
    }
    if !(difference.removed.is_empty() && difference.added.is_empty()) {
        desk.differs = true;
    }
    desk.out.answer(&difference, |_, _| Ok(()))
}

fn is_file(source: &str) -> bool {
    source == crate::file::STDIN || source.starts_with(['/', '.']) || Path::new(source).exists()
}

/// The names of ports, if a bridge is among the sources: the files may use them then.
fn names(sources: &[&String], desk: &mut Desk) -> Result<Vec<(u16, String)>> {
    match sources.iter().find(|source| !is_file(source)) {
        Some(bridge) => Ok(port_names(desk.open()?.0, Some(bridge))?),
        None => Ok(Vec::new()),
    }
}

fn source(source: &str, names: &dyn PortNames, desk: &mut Desk) -> Result<Flows> {
    match is_file(source) {
        true => of_file(&File::read(source)?, names, desk.options.lenient),
        false => Ok(of_bridge(desk.open()?.0, Some(source))?),
    }
}

/// `table=1 priority=5,ip cookie=0x1 idle_timeout=5 actions=output:2`.
fn shown(flow: &FlowMod, dialect: Dialect) -> String {
    let mut line = String::new();
    if let Some(table) = flow.table.filter(|table| *table != 0) {
        let _ = write!(line, "table={table} ");
    }
    let bare = FlowMod {
        priority: flow.priority,
        matching: flow.matching,
        table: Some(0),
        actions: None,
        ..FlowMod::default()
    };
    // Such as `priority=5,ip `, or nothing at all.
    let _ = write!(line, "{}", bare.print_in(dialect, &NoNames));
    line.truncate(line.trim_end().len());
    let cookie = flow.cookie.unwrap_or(0);
    if cookie != 0 {
        let _ = write!(line, " cookie={cookie:#x}");
    }
    let times = [
        ("idle_timeout", flow.idle_timeout),
        ("hard_timeout", flow.hard_timeout),
        ("importance", flow.importance),
    ];
    for (name, value) in times.into_iter().filter(|(_, value)| *value != 0) {
        let _ = write!(line, " {name}={value}");
    }
    let actions = flow.actions.as_deref().unwrap_or_default();
    let _ = write!(line, " actions={}", print_actions_in(actions, dialect, &NoNames));
    line
}
