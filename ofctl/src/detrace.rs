//! Which flows, groups and buckets have made a cache entry: `detrace`.

use std::collections::BTreeMap;
use std::io;

use anyhow::{Result, bail};
use api::reply::{CacheEntry, Detrace, FlowStats, Passed, Rest};
use api::request::{CacheDetrace, CacheDump};
use api::{Client, text};
use serde::Serialize;

use crate::arguments::bridges;
use crate::cache;
use crate::cli::DetraceArgs;
use crate::desk::Desk;
use crate::output::{DOUBTFUL, FAINT, Output};

pub(crate) fn run(args: &DetraceArgs, desk: &mut Desk) -> Result<()> {
    let text = args.entry.join(" ");
    let (client, out) = desk.open()?;
    let ids = match id_in(&text) {
        Some(id) => vec![id.to_owned()],
        None => find(&text, client)?,
    };
    let traced = ids.into_iter().map(|id| client.call(CacheDetrace { id }));
    let detraces = traced.collect::<Result<_, _>>()?;
    out.answer(&Detraces { detraces }, |out, all| {
        all.detraces.iter().enumerate().try_for_each(|(number, detrace)| {
            if number > 0 {
                out.end()?;
            }
            print(out, detrace)
        })
    })
}

/// Several entries: those of one match.
#[derive(Serialize)]
struct Detraces {
    detraces: Vec<Detrace>,
}

/// The identity of an entry that a text names: the text itself, or what a line of `dump-cache` has.
fn id_in(text: &str) -> Option<&str> {
    let is_id = |word: &&str| {
        let parts: Vec<_> = word.split('.').collect();
        matches!(parts[..], [_, "m" | "s", _, _])
            && word.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'm' | b's'))
    };
    let mut words = text.split([',', ' ']).map(|word| word.strip_prefix("id=").unwrap_or(word));
    words.next().filter(is_id)
}

/// The entries with this match, however it is spelled, of all workers.
fn find(text: &str, client: &mut Client) -> Result<Vec<String>> {
    let wanted = text.split(" actions=").next().unwrap_or(text).trim();
    let bridges = bridges(client)?.into_iter().map(|bridge| {
        let ports: Vec<_> = bridge.ports.into_iter().map(|port| (port.number, port.name)).collect();
        let read = text::matching(wanted, &ports).ok();
        (bridge.name, (ports, read))
    });
    let bridges: BTreeMap<_, _> = bridges.collect();
    let is_same = |entry: &CacheEntry| {
        let Some((ports, Some(wanted))) = bridges.get(&entry.bridge) else { return false };
        text::matching(&entry.matching, ports).is_ok_and(|matching| matching == *wanted)
    };
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = client.call(CacheDump {
            bridge: None,
            tier: None,
            after: after.take(),
            limit: None,
        })?;
        let is_meant = |entry: &CacheEntry| entry.matching == wanted || is_same(entry);
        found.extend(page.entries.into_iter().filter(is_meant).map(|entry| entry.id));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    if found.is_empty() {
        bail!("no cache entry has the match `{wanted}`; `ofctl dump-cache` shows those there are");
    }
    Ok(found)
}

fn print(out: &mut Output, detrace: &Detrace) -> io::Result<()> {
    cache::print(out, &detrace.entry)?;
    if let Some(behind) = &detrace.entry.behind {
        out.put(format_args!("goes on behind {}, ", behind.decision))?;
        if !detrace.rests.is_empty() {
            out.line("with what was left to be done:")?;
            detrace.rests.iter().try_for_each(|rest| print_rest(out, rest))?;
        }
        out.line("and passes:")?;
    }
    detrace.passed.iter().try_for_each(|passed| print_passed(out, passed))
}

fn print_rest(out: &mut Output, rest: &Rest) -> io::Result<()> {
    out.line(format_args!("  actions={}", rest.actions))?;
    match rest.flow {
        Some(id) => {
            out.put("    of flow ")?;
            print_flow(out, id, rest.stats.as_ref())
        }
        None => Ok(()),
    }
}

fn print_passed(out: &mut Output, passed: &Passed) -> io::Result<()> {
    match passed {
        Passed::Flow { id, stats } => {
            out.put("  flow ")?;
            print_flow(out, *id, stats.as_ref())
        }
        Passed::Miss { table, packets } => {
            out.put(format_args!("  table={table}, n_packets={packets}, "))?;
            out.styled(DOUBTFUL, "no match")?;
            out.end()
        }
        Passed::Group { stats: Some(group) } => {
            let (packets, bytes) = (group.packets, group.bytes);
            out.put(format_args!("  group n_packets={packets}, n_bytes={bytes}, "))?;
            out.line(&group.text)
        }
        Passed::Bucket { stats: Some(bucket) } => {
            let (group, number) = (bucket.group, bucket.bucket);
            let (packets, bytes) = (bucket.packets, bucket.bytes);
            out.put(format_args!("  bucket {number} of group {group} "))?;
            out.put(format_args!("n_packets={packets}, n_bytes={bytes}, "))?;
            out.line(format_args!("actions={}", bucket.actions))
        }
        Passed::Group { stats: None } => print_gone(out, "group"),
        Passed::Bucket { stats: None } => print_gone(out, "bucket"),
        Passed::Station { vlan, mac, port } => {
            out.line(format_args!("  address {mac} in VLAN {vlan}, learned on port {port}"))
        }
        Passed::StationGone => print_gone(out, "address"),
        Passed::Learned { id, stats } => {
            out.put("  shows that it is needed: flow ")?;
            print_flow(out, *id, stats.as_ref())
        }
        Passed::Fin { id, stats } => {
            out.put("  ends the connection of flow ")?;
            print_flow(out, *id, stats.as_ref())
        }
    }
}

fn print_flow(out: &mut Output, id: u64, stats: Option<&FlowStats>) -> io::Result<()> {
    match stats {
        Some(stats) => out.line(format_args!("{id}: {stats}")),
        None => {
            out.put(format_args!("{id}: "))?;
            out.styled(FAINT, "gone, or not yet among the others")?;
            out.end()
        }
    }
}

fn print_gone(out: &mut Output, what: &str) -> io::Result<()> {
    out.styled(FAINT, format_args!("  {what} that is gone or has changed since"))?;
    out.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_dump_names_its_entry() {
        let line = "id=0.m.4.17, bridge=br0, worker=0, megaflow, ip,nw_dst=10.0.0.1 actions=p2";
        assert_eq!(id_in(line), Some("0.m.4.17"));
        assert_eq!(id_in("0.s.4.17"), Some("0.s.4.17"));
        assert_eq!(id_in("id=0.s.4.17"), Some("0.s.4.17"));
        for text in ["ip,nw_dst=10.0.0.1", "tcp", "", "1.2.3.4"] {
            assert_eq!(id_in(text), None, "{text}");
        }
    }
}
