//! Groups: `add-group`, `del-groups`, `dump-groups` and their like.

use std::io;

use anyhow::Result;
use api::reply::{GroupStats, GroupsFeatures};
use api::request::{GroupDump, GroupFeatures};
use api::{Dialect, PortNames};
use clap::error::ErrorKind;

use crate::arguments::{Chosen, misuse, port_names, tell_apart, with_last};
use crate::cli::{ChosenGroupArgs, DumpGroupsArgs, GroupArgs, GroupCommand};
use crate::desk::Desk;
use crate::file::File;
use crate::output::{GOOD, Output};
use crate::problem::with_help;
use crate::transaction::Transaction;

pub(crate) fn run(command: GroupCommand, desk: &mut Desk) -> Result<()> {
    match command {
        GroupCommand::AddGroup(args) => change("add-group", "add", args, desk),
        GroupCommand::ModGroup(args) if args.may_create => {
            change("mod-group", "add_or_mod", args.group, desk)
        }
        GroupCommand::ModGroup(args) => change("mod-group", "modify", args.group, desk),
        GroupCommand::InsertBuckets(args) => change("insert-buckets", "insert_bucket", args, desk),
        GroupCommand::RemoveBuckets(args) => change("remove-buckets", "remove_bucket", args, desk),
        GroupCommand::AddGroups(args) => {
            let (bridge, path) = with_last("add-groups", "FILE", args.bridge, args.file)?;
            Transaction::of(bridge, desk).change_file("group ", &File::read(&path)?, desk)
        }
        GroupCommand::DelGroups(args) => remove(args, desk),
        GroupCommand::DumpGroups(args) => dump(args, desk),
        GroupCommand::DumpGroupStats(args) => dump_stats(args, desk),
        GroupCommand::DumpGroupFeatures(_) => features(desk),
    }
}

fn change(command: &str, verb: &str, args: GroupArgs, desk: &mut Desk) -> Result<()> {
    let (bridge, group) = with_last(command, "GROUP", args.bridge, args.group)?;
    Transaction::of(bridge, desk).change(&format!("group {verb} "), &group, desk)
}

fn remove(args: ChosenGroupArgs, desk: &mut Desk) -> Result<()> {
    if args.bridge.is_none() {
        let wrong = "name the bridge to remove all of its groups, or say which one";
        return Err(misuse("del-groups", ErrorKind::MissingRequiredArgument, wrong));
    }
    let chosen = tell_apart(desk.open()?.0, args.bridge, args.group)?;
    let group = chosen.other.unwrap_or_default();
    // A number alone says it as well.
    let is_number = !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit());
    let before = if is_number { "group delete group_id=" } else { "group delete " };
    let done = Transaction::of(chosen.bridge, desk).change(before, &group, desk);
    done.map_err(|error| with_help(error, chosen.help))
}

fn dump(args: DumpGroupsArgs, desk: &mut Desk) -> Result<()> {
    let dialect = desk.options.protocols;
    let chosen = tell_apart(desk.open()?.0, args.group.bridge, args.group.group)?;
    let bridge = chosen.bridge.as_deref();
    let (client, out) = desk.open()?;
    let names = match args.names.names || out.is_terminal() && !args.names.no_names {
        true if !out.is_json() => port_names(client, bridge)?,
        _ => Vec::new(),
    };
    pages("dump-groups", chosen, desk, |out, stats| print(out, stats, dialect, &names))
}

fn dump_stats(args: ChosenGroupArgs, desk: &mut Desk) -> Result<()> {
    let chosen = tell_apart(desk.open()?.0, args.bridge, args.group)?;
    pages("dump-group-stats", chosen, desk, print_stats)
}

fn pages(
    command: &str,
    chosen: Chosen,
    desk: &mut Desk,
    words: impl FnMut(&mut Output, &GroupStats) -> io::Result<()>,
) -> Result<()> {
    let group = match chosen.other.as_deref() {
        None | Some("all" | "ALL" | "any" | "ANY" | "group_id=all" | "group_id=ALL") => None,
        Some(text) => {
            let number = text.strip_prefix("group_id=").unwrap_or(text).parse::<u32>();
            let wrong = format!("`{text}` is no group: a number, or group_id=N");
            let misused = |_wrong| misuse(command, ErrorKind::InvalidValue, &wrong);
            Some(number.map_err(misused).map_err(|error| with_help(error, chosen.help.clone()))?)
        }
    };
    let (client, out) = desk.open()?;
    let page = |after| {
        let dump = GroupDump { bridge: chosen.bridge.clone(), group, after };
        let page = client.call(dump);
        let page = page.map_err(|error| with_help(error.into(), chosen.help.clone()))?;
        Ok((page.groups, page.next))
    };
    out.pages("groups", page, words)
}

/// ` group_id=5,type=all,bucket=bucket_id:0,actions=output:2`.
fn print(
    out: &mut Output,
    stats: &GroupStats,
    dialect: Dialect,
    names: &dyn PortNames,
) -> io::Result<()> {
    let line = stats.group.print_in(dialect, names).to_string();
    let buckets = line.find(",bucket=").unwrap_or(line.len());
    out.put(" ")?;
    out.put(&line[..buckets])?;
    out.styled(GOOD, &line[buckets..])?;
    out.end()
}

/// ` group_id=5,duration=1.4s,ref_count=3,packet_count=1,byte_count=106,bucket0:packet_count=...`.
fn print_stats(out: &mut Output, stats: &GroupStats) -> io::Result<()> {
    let GroupStats { group, flows, packets, bytes, duration_ms, buckets } = stats;
    let (id, duration) = (group.id, duration(*duration_ms));
    out.put(format_args!(" group_id={id},duration={duration},ref_count={flows}"))?;
    out.put(format_args!(",packet_count={packets},byte_count={bytes}"))?;
    for (at, bucket) in buckets.iter().enumerate() {
        let (packets, bytes) = (bucket.packets, bucket.bytes);
        out.put(format_args!(",bucket{at}:packet_count={packets},byte_count={bytes}"))?;
    }
    out.end()
}

fn features(desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let features = client.call(GroupFeatures {})?;
    out.answer(&features, print_features)
}

/// What OpenFlow says in bits, in the order of their numbers.
const TYPES: [(&str, &str); 4] =
    [("all", "all"), ("select", "select"), ("indirect", "indirect"), ("ff", "fast failover")];
const CAPABILITIES: [&str; 4] = ["select_weight", "select_liveness", "chaining", "chaining_checks"];

fn print_features(out: &mut Output, features: &GroupsFeatures) -> io::Result<()> {
    let has = |all: &[String], word: &str| all.iter().any(|known| known == word);
    let bits = |known: &mut dyn Iterator<Item = bool>| -> u32 {
        known.zip(0..).map(|(is, bit)| u32::from(is) << bit).sum()
    };
    let types = bits(&mut TYPES.iter().map(|(word, _)| has(&features.types, word)));
    let capabilities = bits(&mut CAPABILITIES.iter().map(|word| has(&features.capabilities, word)));
    out.line(" Group table:")?;
    out.line(format_args!("    Types:  {types:#x}"))?;
    out.line(format_args!("    Capabilities:  {capabilities:#x}"))?;
    for (_, name) in TYPES.iter().filter(|(word, _)| has(&features.types, word)) {
        out.line(format_args!("    {name} group:"))?;
        out.line(format_args!("       max_groups={:#x}", features.max_groups))?;
        out.line(format_args!("       actions: {}", features.actions.join(" ")))?;
    }
    Ok(())
}

/// `1.400s`, or `1s` if there is nothing behind the second, as OVS has it.
pub(crate) fn duration(ms: u64) -> String {
    match ms % 1000 {
        0 => format!("{}s", ms / 1000),
        rest => format!("{}.{rest:03}s", ms / 1000),
    }
}
