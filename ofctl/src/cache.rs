//! What the workers have cached: `dump-cache`, `dump-sessions`.

use std::fmt;
use std::io;

use anyhow::Result;
use api::reply::{CacheEntry, Tie, Tier, Ties};
use api::request::{CacheDump, CacheFlush};

use crate::cli::{CacheCommand, DumpCacheArgs, TierName};
use crate::connections::Tuple;
use crate::desk::Desk;
use crate::detrace;
use crate::output::{FAINT, GOOD, Output};

/// The word for a tier.
pub(crate) const fn tier_text(tier: Tier) -> &'static str {
    match tier {
        Tier::Session => "session",
        Tier::Megaflow => "megaflow",
    }
}

pub(crate) fn run(command: CacheCommand, desk: &mut Desk) -> Result<()> {
    match command {
        CacheCommand::DumpCache(args) => dump(&args, desk),
        CacheCommand::DumpSessions(args) => dump_tier(args.bridge, Some(Tier::Session), desk),
        CacheCommand::Detrace(args) => detrace::run(&args, desk),
        CacheCommand::CacheFlush => flush(desk),
    }
}

fn dump(args: &DumpCacheArgs, desk: &mut Desk) -> Result<()> {
    let tier = args.tier.map(|tier| match tier {
        TierName::Session => Tier::Session,
        TierName::Megaflow => Tier::Megaflow,
    });
    dump_tier(args.bridge.clone(), tier, desk)
}

fn dump_tier(bridge: Option<String>, tier: Option<Tier>, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let page = |after| {
        let page = client.call(CacheDump { bridge: bridge.clone(), tier, after, limit: None })?;
        Ok((page.entries, page.next))
    };
    out.pages("entries", page, print)
}

fn flush(desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let flushed = client.call(CacheFlush {})?;
    out.answer(&flushed, |out, flushed| {
        let (megaflows, sessions) = (flushed.megaflows, flushed.sessions);
        out.line(format_args!("{megaflows} megaflows and {sessions} sessions forgotten"))
    })
}

/// `id=0.m.4.17, bridge=br0, worker=0, megaflow, packets=3, bytes=180, idle=1s, flows=7/9, MATCH
/// actions=...`.
pub(crate) fn print(out: &mut Output, entry: &CacheEntry) -> io::Result<()> {
    let CacheEntry { id, worker, tier, bridge, packets, bytes, idle_ms, .. } = entry;
    let flows: Vec<_> = entry.flows.iter().map(ToString::to_string).collect();
    let flows = if flows.is_empty() { "-".to_owned() } else { flows.join("/") };
    let (tier, idle) = (tier_text(*tier), idle_ms / 1000);
    out.styled(
        FAINT,
        format_args!(
            "id={id}, bridge={bridge}, worker={worker}, {tier}, packets={packets}, \
             bytes={bytes}, idle={idle}s, flows={flows}, "
        ),
    )?;
    if let Some(ties) = &entry.ties {
        out.styled(FAINT, format_args!("{}, ", Tied(ties)))?;
    }
    if !entry.matching.is_empty() {
        out.put(format_args!("{} ", entry.matching))?;
    }
    out.styled(GOOD, format_args!("actions={}", entry.actions))?;
    out.end()
}

/// `passes=3, ct(zone=1,src=...,dst=...,sport=1,dport=2), ct(zone=2,reply,...), to(src=...,...)`: a
/// connection by its first packet.
struct Tied<'a>(&'a Ties);

impl fmt::Display for Tied<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ties { passes, connections, translated } = self.0;
        write!(f, "passes={passes}")?;
        for Tie { zone, reply, original } in connections {
            let reply = if *reply { "reply," } else { "" };
            write!(f, ", ct(zone={zone},{reply}{})", Tuple(original))?;
        }
        match translated {
            Some(to) => write!(f, ", to({})", Tuple(to)),
            None => Ok(()),
        }
    }
}
