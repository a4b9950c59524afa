//! Everything of a bridge in one file: `bundle`, `save`, `restore`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use api::reply::{
    Bridge, Cursor, EgressQueue, FdbEntry, GroupStats, MeterStats, TableStats, Tables,
};
use api::request::{FdbShow, FlowDump, GroupDump, MeterDump, QueueDump, TableDump};
use api::{Action, Client, ClientError, FlowMod, PortNames, QueueSettings, TableMiss, TableMod};
use serde::Serialize;

use crate::arguments::{bridges, with_last};
use crate::cli::{BundleArgs, BundleCommand, SaveArgs};
use crate::desk::Desk;
use crate::file::File;
use crate::output::Output;
use crate::packet_out;
use crate::problem::{Problem, with_help};
use crate::queues;
use crate::transaction::{Lines, Transaction, tell, warn_of};

pub(crate) fn run(command: BundleCommand, desk: &mut Desk) -> Result<()> {
    match command {
        BundleCommand::Bundle(args) => {
            let (bridge, path) = with_last("bundle", "FILE", args.bridge, args.file)?;
            Transaction::of(bridge, desk).change_file("", &File::read(&path)?, desk)
        }
        BundleCommand::PacketOut(args) => packet_out::run(&args, desk),
        BundleCommand::Save(args) => save(args, desk),
        BundleCommand::Restore(args) => restore(args, desk),
    }
}

/// What is saved.
#[derive(Serialize)]
struct Saved {
    bridges: Vec<SavedBridge>,
}

#[derive(Serialize)]
struct SavedBridge {
    name: String,
    /// Lines of a bundle.
    changes: Vec<String>,
}

fn save(args: SaveArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let mut there = bridges(client)?;
    if !args.all {
        // The switch knows which one is meant, or says why none is.
        let only = there.len() == 1 && args.bridge.is_none();
        let name = args.bridge.or_else(|| there.first().filter(|_| only).map(|b| b.name.clone()));
        client.call(TableDump { bridge: name.clone() })?;
        there.retain(|bridge| Some(&bridge.name) == name.as_ref());
    }
    let mut saved = Saved { bridges: Vec::new() };
    for bridge in &there {
        let ports = bridge.ports.iter().map(|port| (port.number, port.name.clone()));
        let names: Vec<_> = if args.names { ports.collect() } else { Vec::new() };
        let changes = changes(client, bridge, &names)?;
        if out.is_json() {
            saved.bridges.push(SavedBridge { name: bridge.name.clone(), changes });
            continue;
        }
        if args.all {
            out.line(format_args!("bridge {}", bridge.name))?;
        }
        print_ports(client, out, bridge)?;
        changes.iter().try_for_each(|line| out.line(line))?;
    }
    if out.is_json() { out.json(&saved) } else { Ok(()) }
}

/// What the first line of a bridge says.
const SAVED_BY: &str = ", saved by ofctl ";

/// What a bundle cannot bring back, for whoever reads it: as commands, as far as there are some.
fn print_ports(client: &mut Client, out: &mut Output, bridge: &Bridge) -> Result<()> {
    let name = &bridge.name;
    out.line(format_args!("# {name}{SAVED_BY}{}", env!("CARGO_PKG_VERSION")))?;
    for port in &bridge.ports {
        let kind = port.kind.name();
        out.line(format_args!("# port {}({}): {kind}", port.number, port.name))?;
        let flags: Vec<_> = port.flags.names().map(|flag| flag.replace('_', "-")).collect();
        if !flags.is_empty() {
            let flags = flags.join(" ");
            out.line(format_args!("# ofctl mod-port {name} {} {flags}", port.name))?;
        }
    }
    let here = || Some(name.clone());
    let queues = client.call(QueueDump { bridge: here(), ..QueueDump::default() })?;
    // Queue 0 is there with others, whether somebody has set it or not.
    let usual =
        |queue: &EgressQueue| queue.queue == 0 && queue.settings == QueueSettings::default();
    for queue in queues.queues.iter().filter(|queue| !usual(queue)) {
        let EgressQueue { name: port, queue, settings, .. } = queue;
        let settings = queues::words(settings);
        out.line(format_args!("# ofctl set-queue {name} {port} {queue}{settings}"))?;
    }
    let addresses = client.call(FdbShow { bridge: here() })?.entries;
    for FdbEntry { port, vlan, mac, .. } in addresses.iter().filter(|entry| entry.is_static) {
        out.line(format_args!("# ofctl fdb add {name} {port} {vlan} {mac}"))?;
    }
    Ok(())
}

/// The lines of a bundle that make an empty bridge this one.
fn changes(client: &mut Client, bridge: &Bridge, names: &dyn PortNames) -> Result<Vec<String>> {
    let name = || Some(bridge.name.clone());
    let Tables { tables } = client.call(TableDump { bridge: name() })?;
    let mut lines: Vec<_> = tables.iter().filter_map(table_line).collect();
    let meters = all(|after| {
        let page = client.call(MeterDump { bridge: name(), meter: None, after })?;
        Ok((page.meters, page.next))
    })?;
    lines.extend(meters.iter().map(|MeterStats { meter, .. }| format!("meter {meter}")));
    let groups = all(|after| {
        let page = client.call(GroupDump { bridge: name(), group: None, after })?;
        Ok((page.groups, page.next))
    })?;
    let groups = in_order(&groups);
    lines.extend(groups.iter().map(|stats| format!("group {}", stats.group.print(names))));
    let flows = all(|after| {
        let page = client.call(FlowDump { bridge: name(), after, ..FlowDump::default() })?;
        Ok((page.flows, page.next))
    })?;
    for stats in flows {
        let cookie = stats.flow.cookie.filter(|cookie| *cookie != 0);
        lines.push(format!("flow {}", FlowMod { cookie, ..stats.flow }.print(names)));
    }
    Ok(lines)
}

/// All pages of a dump.
pub(crate) fn all<T>(
    mut page: impl FnMut(Option<Cursor>) -> Result<(Vec<T>, Option<Cursor>), ClientError>,
) -> Result<Vec<T>, ClientError> {
    let (mut items, mut next) = page(None)?;
    while next.is_some() {
        let (more, after) = page(next)?;
        items.extend(more);
        next = after;
    }
    Ok(items)
}

/// What was said of a table, if anything was.
fn table_line(stats: &TableStats) -> Option<String> {
    let change = TableMod {
        table: Some(stats.table),
        miss: Some(stats.miss).filter(|miss| *miss != TableMiss::default()),
        limit: stats.limit.and_then(|limit| u32::try_from(limit).ok()),
        evict: Some(true).filter(|_| stats.evict),
    };
    let nothing = TableMod { table: change.table, ..TableMod::default() };
    (change != nothing).then(|| format!("table {change}"))
}

/// Groups, each behind those that it leads to or watches.
fn in_order(groups: &[GroupStats]) -> Vec<&GroupStats> {
    let known: BTreeMap<_, _> = groups.iter().map(|stats| (stats.group.id, stats)).collect();
    let mut done = BTreeSet::new();
    let mut order = Vec::with_capacity(groups.len());
    for stats in groups {
        // Depth first, without recursion: a chain of groups may be long.
        let mut open = vec![(stats, false)];
        while let Some((stats, is_ready)) = open.pop() {
            if is_ready {
                order.push(stats);
            } else if done.insert(stats.group.id) {
                open.push((stats, true));
                let needed = needs(stats).into_iter().filter_map(|id| known.get(&id));
                open.extend(needed.map(|stats| (*stats, false)));
            }
        }
    }
    order
}

/// The groups that one leads to or watches.
fn needs(GroupStats { group, .. }: &GroupStats) -> Vec<u32> {
    let mut needs = Vec::new();
    for bucket in &group.buckets {
        needs.extend(bucket.watch_group);
        needs.extend(bucket.actions.iter().filter_map(|action| match action {
            Action::Group(id) => Some(*id),
            _ => None,
        }));
    }
    needs
}

/// What makes a bridge empty.
const EMPTY: [&str; 4] =
    ["flow delete", "group delete", "meter delete", "table all drop,noevict,limit=4294967295"];

fn restore(args: BundleArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, path) = with_last("restore", "FILE", args.bridge, args.file)?;
    let file = File::read(&path)?;
    if !file.comments().any(|comment| comment.contains(SAVED_BY)) {
        let title = format!("{path} is nothing that `ofctl save` has written");
        let help = "it would replace all that the bridge has; `replace-flows` and `bundle` read \
                    lists of flows, and a first line `# br0, saved by ofctl 0.1.0` makes this one \
                    a saved bridge";
        return Err(Problem { title, help: Some(help.to_owned()), ..Problem::default() }.into());
    }
    let lines = file.lines();
    let parts = parts(&lines);
    if let [(None, lines)] = &*parts {
        let changed = bring_back(bridge, &file, lines, desk)?;
        return tell(&changed, desk);
    }
    let mut done = Vec::new();
    let mut changes = Vec::new();
    for (name, lines) in parts.into_iter().filter(|(name, _)| name.is_some()) {
        let name = name.map(str::to_owned);
        if bridge.is_some() && bridge != name {
            continue;
        }
        let changed = bring_back(name.clone(), &file, lines, desk).map_err(|error| {
            let before = done.join(", ");
            let help = (!done.is_empty()).then(|| format!("restored before: {before}"));
            with_help(error, help)
        })?;
        done.extend(name);
        warn_of(&changed, desk);
        changes.push(changed);
    }
    if let (true, Some(bridge)) = (done.is_empty(), bridge) {
        anyhow::bail!("{path} has nothing of a bridge {bridge}");
    }
    if desk.out.is_json() { desk.out.json(&changes) } else { Ok(()) }
}

/// The lines of a file by the bridge that they are of; of no bridge in particular if it names none.
fn parts<'a>(lines: Lines<'a>) -> Vec<(Option<&'a str>, Lines<'a>)> {
    let name = |line: &'a str| line.trim().strip_prefix("bridge ").map(str::trim);
    let heads = lines.iter().enumerate().filter_map(|(at, (_, line))| Some((at, name(line)?)));
    let heads: Vec<_> = heads.collect();
    let first = heads.first().map_or(lines.len(), |(at, _)| *at);
    let mut parts = vec![(None, &lines[..first])];
    for (n, (at, name)) in heads.iter().enumerate() {
        let end = heads.get(n + 1).map_or(lines.len(), |(next, _)| *next);
        parts.push((Some(*name), &lines[at + 1..end]));
    }
    parts
}

/// Makes a bridge what these lines say.
fn bring_back(
    bridge: Option<String>,
    file: &File,
    lines: Lines<'_>,
    desk: &mut Desk,
) -> Result<api::reply::Changed> {
    let empty = EMPTY.iter().map(|line| (1, *line));
    let whole: Vec<_> = empty.chain(lines.iter().copied()).collect();
    let changed = Transaction::of(bridge, desk).lines("", file, &whole, desk)?;
    // They were to go.
    Ok(api::reply::Changed { orphans: 0, ..changed })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_behind_those_that_they_need() {
        let group = |text: &str| GroupStats {
            group: text.parse().unwrap(),
            flows: 0,
            packets: 0,
            bytes: 0,
            duration_ms: 0,
            buckets: Vec::new(),
        };
        let groups = [
            group("group_id=1,type=all,bucket=group:3,bucket=group:2"),
            group("group_id=2,type=ff,bucket=watch_group:4,output:1"),
            group("group_id=3,type=all,bucket=group:2"),
            group("group_id=4,type=all,bucket=output:1"),
        ];
        let order: Vec<_> = in_order(&groups).iter().map(|stats| stats.group.id).collect();
        assert_eq!(order, [4, 2, 3, 1]);
    }

    #[test]
    fn a_file_is_of_the_bridges_that_it_names() {
        let lines = [(1, "bridge a"), (3, "flow ip"), (4, " bridge b c "), (5, "x")];
        assert_eq!(
            parts(&lines),
            [(None, &lines[..0]), (Some("a"), &lines[1..2]), (Some("b c"), &lines[3..]),]
        );
        assert_eq!(parts(&lines[1..2]), [(None, &lines[1..2])]);
    }

    #[test]
    fn a_table_is_said_something_of_or_nothing() {
        let stats = TableStats {
            table: 3,
            active: 1,
            lookups: 0,
            matched: 0,
            miss: TableMiss::Drop,
            limit: None,
            evict: false,
        };
        assert_eq!(table_line(&stats), None);
        let stats = TableStats { miss: TableMiss::Continue, limit: Some(7), evict: true, ..stats };
        assert_eq!(table_line(&stats).as_deref(), Some("table 3 continue,limit=7,evict"));
    }
}
