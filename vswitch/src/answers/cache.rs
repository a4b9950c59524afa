//! What the workers have cached.

use std::fmt;
use std::str::FromStr;

use api::reply::{CacheEntries, CacheEntry, CacheFlushed, Cursor, Tie, Tier, Ties};
use api::{Failure, request};
use conntrack::{Direction, Standing};
use flowtable::{Aside, AsideId, BridgeId, Step};
use packet::Key;

use super::connections::told;
use super::{PAGE_WEIGHT, bad_cursor, hear, page_of};
use crate::control::Control;
use crate::describe::{self, Names, Vocabulary};
use crate::desk::Order;
use crate::dump::{CachedFlow, DumpRequest, Identity, TiedTo, Which};

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
        let limit = page_of(dump.limit);
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
                true => self.ask_for_entries(worker, tier, Which::From(skip))?,
                false => Vec::new(),
            };
            (at, skip) = match cached.len() {
                crate::dump::PAGE => (at, skip + crate::dump::PAGE),
                _ => (at + 1, 0),
            };
            let described = cached.iter().filter_map(|entry| self.cache_entry(worker, entry));
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

    pub(super) fn ask_for_entries(
        &self,
        worker: usize,
        tier: Tier,
        which: Which,
    ) -> Result<Vec<CachedFlow>, Failure> {
        let order = |reply| Order::Dump(DumpRequest { tier, which, reply });
        hear(worker, &self.ask(worker, order))
    }

    pub(super) fn cache_entry(
        &self,
        worker: usize,
        flow: &CachedFlow,
    ) -> Option<(BridgeId, CacheEntry)> {
        let frozen = flow.behind.and_then(|number| match flow.aside(number)? {
            Aside::Frozen(frozen) => Some((number, frozen)),
            Aside::Show(_) | Aside::Sample(_) => None,
        });
        let bridge = match frozen {
            Some((_, frozen)) => frozen.bridge,
            None => self.ports.get(flow.port)?.bridge,
        };
        let view = self.tables.bridge(bridge)?;
        let words = Vocabulary {
            tables: &self.tables,
            port: &|id| {
                self.ports.get(id).map_or_else(|| "gone".to_owned(), |entry| entry.name.to_string())
            },
            aside: &|number| flow.aside(number),
        };
        let behind = frozen.map(|(AsideId(number), frozen)| {
            let outcome = u16::try_from(flow.key.word(Key::OUTCOME)).unwrap_or(0);
            describe::behind(frozen, number, outcome, &self.tables)
        });
        let rules = flow.path.iter().filter_map(|step| match step {
            Step::Rule(id) => Some(id.0),
            _ => None,
        });
        let (key, mask) = (&flow.key, &flow.mask);
        let seconds = self.clock.millis().0 / 1000;
        let entry = CacheEntry {
            id: EntryId { worker, tier: flow.tier, identity: flow.identity }.to_string(),
            worker: u32::try_from(worker).unwrap_or(u32::MAX),
            tier: flow.tier,
            bridge: view.name.to_string(),
            matching: describe::matching(key, mask, &Names(&view.ports), behind.as_ref()),
            behind,
            actions: describe::program(&flow.ops, &words),
            packets: flow.packets,
            bytes: flow.bytes,
            idle_ms: seconds.saturating_sub(flow.used.into()) * 1000,
            flows: rules.collect(),
            ties: flow.ties.as_ref().map(|ties| Box::new(self.ties(ties))),
        };
        Some((bridge, entry))
    }

    /// What a session is tied to, as far as it is still there.
    fn ties(&self, TiedTo { passes, standings, translated }: &TiedTo) -> Ties {
        let tie = |standing: &Standing| {
            let original = self.crew.connections().seen(standing.id())?.tuples.original;
            let reply = standing.direction() == Direction::Reply;
            Some(Tie { zone: original.zone(), reply, original: told(&original) })
        };
        Ties {
            passes: u32::try_from(*passes).unwrap_or(u32::MAX),
            connections: standings.iter().filter_map(tie).collect(),
            translated: translated.as_ref().map(told),
        }
    }
}

/// A cache entry as clients name it: `WORKER.m.PLACE.USE` of a megaflow, with an `s` of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct EntryId {
    /// Whose it is.
    pub(super) worker: usize,
    /// Of which cache.
    pub(super) tier: Tier,
    /// Which of its entries.
    pub(super) identity: Identity,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { worker, tier, identity: Identity { place, serial } } = self;
        let tier = match tier {
            Tier::Session => 's',
            Tier::Megaflow => 'm',
        };
        write!(f, "{worker}.{tier}.{place}.{serial}")
    }
}

impl FromStr for EntryId {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let read = || {
            let [worker, tier, place, serial] = *text.split('.').collect::<Vec<_>>() else {
                return None;
            };
            let tier = match tier {
                "s" => Tier::Session,
                "m" => Tier::Megaflow,
                _ => return None,
            };
            let identity = Identity { place: place.parse().ok()?, serial: serial.parse().ok()? };
            Some(Self { worker: worker.parse().ok()?, tier, identity })
        };
        let wrong = || format!("`{text}` is no entry: `ofctl dump-cache` shows them, as `id=`");
        read().ok_or_else(|| Failure::refused(wrong()))
    }
}

fn split(cursor: &Cursor) -> Option<(usize, usize)> {
    let (worker, skip) = cursor.0.split_once('.')?;
    Some((worker.parse().ok()?, skip.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_found_by_what_it_is_called() {
        let identity = Identity { place: 7, serial: u32::MAX };
        for tier in TIERS {
            let id = EntryId { worker: 3, tier, identity };
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        for wrong in ["", "0", "0.m.1", "0.m.1.2.3", "0.x.1.2", "-1.m.1.2", "0.m.1.4294967296"] {
            assert!(wrong.parse::<EntryId>().is_err(), "{wrong}");
        }
    }
}
