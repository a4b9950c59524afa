//! What the workers have cached.

use api::reply::{CacheEntries, CacheEntry, CacheFlushed, Cursor, Tier};
use api::{Failure, request};
use flowtable::{BridgeId, Step};

use super::{PAGE, PAGE_WEIGHT, bad_cursor, hear};
use crate::control::Control;
use crate::describe::{self, Names};
use crate::desk::Order;
use crate::dump::{CachedFlow, DumpRequest};

/// What a dump shows of each worker, in this order.
const TIERS: [Tier; 2] = [Tier::Session, Tier::Megaflow];

impl Control {
    pub(crate) fn dump_cache(
        &mut self,
        dump: &request::CacheDump,
    ) -> Result<CacheEntries, Failure> {
        let only = dump.bridge.as_deref().map(|name| self.bridge(Some(name))).transpose()?;
        let (mut at, mut skip) = match &dump.after {
            None => (0, 0),
            Some(cursor) => split(cursor).ok_or_else(bad_cursor)?,
        };
        let limit =
            dump.limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(PAGE)).clamp(1, PAGE);
        let mut entries = Vec::new();
        let weigh = |entry: &CacheEntry| entry.matching.len() + entry.actions.len();
        // Each worker's tiers, one after the other.
        let end = self.crew.members().len() * TIERS.len();
        while at < end
            && entries.len() < limit
            && entries.iter().map(weigh).sum::<usize>() < PAGE_WEIGHT
        {
            let (worker, tier) = (at / TIERS.len(), TIERS[at % TIERS.len()]);
            let cached = match dump.tier.is_none_or(|only| only == tier) {
                true => self.ask_for_entries(worker, tier, skip)?,
                false => Vec::new(),
            };
            (at, skip) = match cached.len() {
                crate::dump::PAGE => (at, skip + crate::dump::PAGE),
                _ => (at + 1, 0),
            };
            let described = cached.into_iter().filter_map(|entry| self.cache_entry(worker, entry));
            let here = described.filter(|(bridge, _)| only.is_none_or(|only| only == *bridge));
            entries.extend(here.map(|(_, entry)| entry));
        }
        let next = (at < end).then(|| Cursor(format!("{at}.{skip}")));
        Ok(CacheEntries { entries, next })
    }

    /// Forgets what workers have cached of flows.
    pub(crate) fn flush_caches(&self) -> Result<CacheFlushed, Failure> {
        let flushed = self.ask_workers(Order::Flush)?;
        let sum =
            |each: fn(&(usize, usize)) -> usize| flushed.iter().map(each).sum::<usize>() as u64;
        Ok(CacheFlushed { megaflows: sum(|one| one.0), sessions: sum(|one| one.1) })
    }

    fn ask_for_entries(
        &self,
        worker: usize,
        tier: Tier,
        skip: usize,
    ) -> Result<Vec<CachedFlow>, Failure> {
        let order = |reply| Order::Dump(DumpRequest { tier, skip, reply });
        hear(worker, &self.ask(worker, order))
    }

    fn cache_entry(&self, worker: usize, flow: CachedFlow) -> Option<(BridgeId, CacheEntry)> {
        let bridge = self.ports.get(flow.port)?.bridge;
        let view = self.tables.bridge(bridge)?;
        let names = Names(&view.ports);
        let name_of = |id| {
            self.ports.get(id).map_or_else(|| "gone".to_owned(), |entry| entry.name.to_string())
        };
        let rules = flow.path.iter().filter_map(|step| match step {
            Step::Rule(id) => Some(id.0),
            _ => None,
        });
        let seconds = self.clock.millis().0 / 1000;
        let entry = CacheEntry {
            worker: u32::try_from(worker).unwrap_or(u32::MAX),
            tier: flow.tier,
            bridge: view.name.to_string(),
            matching: describe::megaflow(&flow.key, &flow.mask, &names),
            actions: describe::program(&flow.ops, &name_of),
            packets: flow.packets,
            bytes: flow.bytes,
            idle_ms: seconds.saturating_sub(flow.used.into()) * 1000,
            flows: rules.collect(),
        };
        Some((bridge, entry))
    }
}

fn split(cursor: &Cursor) -> Option<(usize, usize)> {
    let (worker, skip) = cursor.0.split_once('.')?;
    Some((worker.parse().ok()?, skip.parse().ok()?))
}
