//! What the workers have cached: `dump-cache`.

use std::io;

use anyhow::Result;
use api::reply::{CacheEntry, Tier};
use api::request::{CacheDump, CacheFlush};

use crate::cli::{DumpCacheArgs, TierName};
use crate::desk::Desk;
use crate::output::{FAINT, GOOD, Output};

/// The word for a tier.
pub(crate) const fn tier_text(tier: Tier) -> &'static str {
    match tier {
        Tier::Session => "session",
        Tier::Megaflow => "megaflow",
    }
}

pub(crate) fn dump(args: &DumpCacheArgs, desk: &mut Desk) -> Result<()> {
    let (client, out) = desk.open()?;
    let tier = args.tier.map(|tier| match tier {
        TierName::Session => Tier::Session,
        TierName::Megaflow => Tier::Megaflow,
    });
    let page = |after| {
        let page =
            client.call(CacheDump { bridge: args.bridge.clone(), tier, after, limit: None })?;
        Ok((page.entries, page.next))
    };
    out.pages("entries", page, print)
}

pub(crate) fn flush(desk: &mut Desk) -> Result<()> {
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
    if !entry.matching.is_empty() {
        out.put(format_args!("{} ", entry.matching))?;
    }
    out.styled(GOOD, format_args!("actions={}", entry.actions))?;
    out.end()
}
