//! What the switch says about itself: everything that only looks.

use std::time::Duration;

use api::reply::{
    Bridge, Bridges, CacheEntries, CacheEntry, Capability, Cursor, Done, Dropped, Fdb, FdbEntry,
    FlowStats, Flows, Flushed, Port, PortState, PortStats, Ports, Queue, RxQueue, RxQueues,
    TableStats, Taken, Tier, Trace, Worker, Workers,
};
use api::request::{self, TracePacket};
use api::{Action, Failure, FlowFilter, FlowMod, HexBytes, Match, text};
use flowtable::{BridgeId, Rule, Step};
use packet::{Key, compose, parse};

use crate::account::{Account, Counter};
use crate::control::Control;
use crate::describe::{self, Names};
use crate::desk::Order;
use crate::dump::{CachedFlow, DumpRequest};
use crate::ledger::{self, Place, Sums};
use crate::ports::{Assigned, Entry};
use crate::trace;

/// Entries on a page at most.
const PAGE: usize = 2_000;
/// Bytes of text on a page, by and large: a line has room for four times as much.
const PAGE_WEIGHT: usize = 4 << 20;
/// Seconds after which a learned address is forgotten.
const STATION_AGE_S: u64 = 300;
/// What a dump shows of each worker, in this order.
const TIERS: [Tier; 2] = [Tier::Session, Tier::Megaflow];
/// How long a worker may take to describe its caches.
const DUMP_PATIENCE: Duration = Duration::from_secs(1);

impl Control {
    pub(crate) fn show(&self, bridge: Option<&str>) -> Result<Bridges, Failure> {
        let only = bridge.map(|name| self.bridge(Some(name))).transpose()?;
        let bridges = self.tables.bridges().filter(|(id, _)| only.is_none_or(|only| only == *id));
        let bridges = bridges.map(|(id, bridge)| {
            let mut ports: Vec<_> = self.ports.of(id).map(show_port).collect();
            ports.sort_by_key(|port| port.number);
            Bridge { name: bridge.name.to_string(), ports }
        });
        Ok(Bridges { bridges: bridges.collect() })
    }

    pub(crate) fn dump_flows(&mut self, dump: &request::FlowDump) -> Result<Flows, Failure> {
        let bridge = self.bridge(dump.bridge.as_deref())?;
        let filter = self.filter(bridge, dump.filter.as_deref().unwrap_or(""))?;
        let after = dump.after.as_ref().map(|cursor| place_of(bridge, cursor)).transpose()?;
        let limit =
            dump.limit.map_or(PAGE, |limit| usize::try_from(limit).unwrap_or(PAGE)).clamp(1, PAGE);
        self.ledger.fold(self.crew.paths(), &self.tables);
        let sums = self.ledger.sums(self.crew.paths());
        let mut matching = ledger::flows(&self.tables, bridge, after)
            .filter(|(_, rule)| is_meant(rule, &filter))
            .peekable();
        let (mut page, mut weight) = (Vec::new(), 0);
        while page.len() < limit
            && weight < PAGE_WEIGHT
            && let Some((place, rule)) = matching.next()
        {
            weight += 256 + weigh(&rule.actions);
            page.push((place, rule));
        }
        let next = page.last().filter(|_| matching.peek().is_some());
        let next = next.map(|(place, _)| cursor_of(place));
        let now = self.clock.millis();
        let flows = page.into_iter().map(|(_, rule)| {
            let count = sums.rule(rule);
            FlowStats {
                id: rule.id.0,
                flow: rule.flow_mod(),
                packets: count.packets,
                bytes: count.bytes,
                duration_ms: now.since(rule.created),
                idle_ms: now.since(count.used.max(rule.created)),
                hard_ms: now.since(rule.modified),
            }
        });
        Ok(Flows { flows: flows.collect(), next })
    }

    fn filter(&self, bridge: BridgeId, text: &str) -> Result<FlowFilter, Failure> {
        let Some(bridge) = self.tables.bridge(bridge) else {
            return Err(Failure::refused("no such bridge"));
        };
        text::filter(text, &Names(&bridge.ports)).map_err(|error| Failure::member("filter", &error))
    }

    pub(crate) fn dump_tables(
        &mut self,
        bridge: Option<&str>,
    ) -> Result<api::reply::Tables, Failure> {
        let id = self.bridge(bridge)?;
        self.ledger.fold(self.crew.paths(), &self.tables);
        let sums = self.ledger.sums(self.crew.paths());
        let Some(bridge) = self.tables.bridge(id) else {
            return Err(Failure::refused("no such bridge"));
        };
        let mut tables = Vec::new();
        for table in 0..=FlowMod::MAX_TABLE {
            let active = bridge.table(table).map_or(0, |table| table.len() as u64);
            let rules = bridge.table(table).into_iter().flat_map(|table| table.rules());
            let matched: u64 = rules.map(|rule| sums.rule(rule).packets).sum();
            let missed = sums.with(Step::Miss { bridge: id, table }, bridge.missed(table)).packets;
            if active > 0 || matched + missed > 0 {
                tables.push(TableStats { table, active, lookups: matched + missed, matched });
            }
        }
        Ok(api::reply::Tables { tables })
    }

    pub(crate) fn port_stats(&self, stats: &request::PortStats) -> Result<Ports, Failure> {
        let ports = match (&stats.port, &stats.bridge) {
            (Some(port), bridge) => vec![self.port(self.bridge(bridge.as_deref())?, port)?],
            (None, Some(bridge)) => self.ports.of(self.bridge(Some(bridge))?).collect(),
            (None, None) => self.ports.iter().collect(),
        };
        let mut ports: Vec<_> = ports.into_iter().map(|entry| self.stats_of(entry)).collect();
        ports.sort_by(|a, b| (&a.bridge, a.number).cmp(&(&b.bridge, b.number)));
        Ok(Ports { ports })
    }

    fn stats_of(&self, entry: &Entry) -> PortStats {
        let sum = |counter: fn(&Account) -> &Counter| {
            entry.accounts.iter().map(|account| counter(account).get()).sum::<u64>()
        };
        let lost = entry.lost();
        let mut drops: Vec<Dropped> = Vec::new();
        for (reason, packets) in entry.accounts.iter().flat_map(|account| account.drops()) {
            match drops.iter_mut().find(|dropped| dropped.reason == reason) {
                Some(dropped) => dropped.packets += packets,
                None => drops.push(Dropped { reason, packets }),
            }
        }
        drops.sort_by_key(|dropped| dropped.reason);
        PortStats {
            bridge: self.bridge_name(entry.bridge),
            number: entry.number,
            name: entry.name.to_string(),
            rx_packets: sum(|account| &account.rx),
            rx_bytes: sum(|account| &account.rx_bytes),
            rx_errors: lost.rx_ring_full + lost.rx_dropped + lost.rx_invalid + lost.rx_no_frames,
            tx_packets: sum(|account| &account.out),
            tx_bytes: sum(|account| &account.out_bytes),
            tx_errors: lost.tx_invalid,
            drops,
        }
    }

    pub(crate) fn trace(&self, trace: &request::Trace) -> Result<Trace, Failure> {
        let id = self.bridge(trace.bridge.as_deref())?;
        let Some(bridge) = self.tables.bridge(id) else {
            return Err(Failure::refused("no such bridge"));
        };
        let (mut key, headers) = match &trace.packet {
            TracePacket::Flow(flow) => {
                let key = text::packet(flow, &Names(&bridge.ports))
                    .map_err(|error| Failure::member("flow", &error))?;
                let bytes = compose(&key, 0);
                let mut parsed = Key::ZERO;
                (key, parse(&bytes, bytes.len(), &mut parsed).ok())
            }
            TracePacket::Bytes { packet, in_port } => {
                let number = self.port(id, in_port)?.number;
                let mut key = Key::ZERO.with(Key::IN_PORT, number);
                let headers = parse(&packet.0, packet.0.len(), &mut key)
                    .map_err(|runt| Failure::refused(runt.to_string()))?;
                (key, Some(headers))
            }
        };
        let number = u16::try_from(key.word(Key::IN_PORT)).unwrap_or(0);
        let port = bridge.ports.get(number).ok_or_else(|| {
            Failure::refused(format!(
                "a packet comes in by a port of {}: in_port={number} is none",
                bridge.name
            ))
        })?;
        key.set(Key::INGRESS, port.id.0);
        Ok(trace::trace(&self.tables, port, &key, headers))
    }

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

    fn ask_for_entries(
        &self,
        worker: usize,
        tier: Tier,
        skip: usize,
    ) -> Result<Vec<CachedFlow>, Failure> {
        let (reply, answer) = std::sync::mpsc::sync_channel(1);
        self.crew.order(worker, vec![Order::Dump(DumpRequest { tier, skip, reply })]);
        answer
            .recv_timeout(DUMP_PATIENCE)
            .map_err(|_late| Failure::internal(format!("worker {worker} does not answer")))
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

    pub(crate) fn worker_stats(&self) -> Workers {
        let workers = self.crew.members().iter().zip(0..).map(|(member, number)| {
            let counters = &member.counters;
            Worker {
                worker: number,
                cpu: member.cpu.and_then(|cpu| u32::try_from(cpu).ok()),
                generation: member.desk.tables.get(),
                asleep: member.desk.asleep.load(std::sync::atomic::Ordering::Relaxed),
                busy_ns: counters.busy_ns.get(),
                idle_ns: counters.idle_ns.get(),
                sleeps: counters.sleeps.get(),
                syscalls: counters.syscalls.get(),
                batches: counters.batches.get(),
                rx_packets: counters.packets.get(),
                tx_packets: counters.sent.get(),
                session_hits: counters.session_hits.get(),
                megaflow_hits: counters.megaflow_hits.get(),
                misses: counters.translated.get() + counters.retranslated.get(),
                sessions: counters.sessions.get(),
                megaflows: counters.megaflows.get(),
                masks: counters.masks.get(),
                free_frames: counters.free_frames.get(),
                short_cuts: counters.short_cuts.get(),
                short_cut_packets: counters.short_cut_packets.get(),
            }
        });
        Workers { workers: workers.collect() }
    }

    pub(crate) fn show_queues(&self) -> RxQueues {
        let now = self.clock.now();
        let queue = |entry: &Entry, queue: &Assigned| RxQueue {
            worker: u32::try_from(queue.worker).ok(),
            bridge: self.bridge_name(entry.bridge),
            port: entry.name.to_string(),
            queue: queue.number,
            pinned: false,
            load_permille: queue.load(now),
        };
        let all = self
            .ports
            .iter()
            .flat_map(|entry| entry.queues.iter().map(move |one| queue(entry, one)));
        let mut queues: Vec<_> = all.collect();
        queues.sort_by(|a, b| (a.worker, &a.port, a.queue).cmp(&(b.worker, &b.port, b.queue)));
        RxQueues { queues }
    }

    pub(crate) fn show_stations(&self, bridge: Option<&str>) -> Result<Fdb, Failure> {
        let only = bridge.map(|name| self.bridge(Some(name))).transpose()?;
        let now = self.clock.millis();
        let bridges = self.tables.bridges().filter(|(id, _)| only.is_none_or(|only| only == *id));
        let mut entries: Vec<_> = bridges
            .flat_map(|(_, bridge)| {
                bridge.macs.iter().filter_map(move |learned| {
                    Some(FdbEntry {
                        bridge: bridge.name.to_string(),
                        port: bridge.ports.by_id(learned.port)?.number,
                        vlan: learned.station.vlan,
                        mac: learned.station.mac,
                        age_s: now.since(learned.used) / 1000,
                    })
                })
            })
            .collect();
        entries.sort_by(|a: &FdbEntry, b| {
            let order = |entry: &FdbEntry| (entry.bridge.clone(), entry.vlan, entry.mac);
            order(a).cmp(&order(b))
        });
        Ok(Fdb { entries })
    }

    pub(crate) fn flush_stations(&self, bridge: Option<&str>) -> Result<Flushed, Failure> {
        let only = bridge.map(|name| self.bridge(Some(name))).transpose()?;
        let bridges = self.tables.bridges().filter(|(id, _)| only.is_none_or(|only| only == *id));
        let entries: usize = bridges.map(|(_, bridge)| bridge.macs.expire(|_| true)).sum();
        self.crew.end_short_cuts();
        Ok(Flushed { entries: entries as u64 })
    }

    /// Forgets addresses that have not been seen for long. Cached flows carry packets without
    /// learning; what they show comes here by their paths.
    pub(crate) fn age_stations(&self) {
        let now = self.clock.millis();
        let old = |used: flowtable::Millis| now.since(used) > STATION_AGE_S * 1000;
        let bridges = || self.tables.bridges().map(|(_, bridge)| &bridge.macs);
        if !bridges().any(|macs| macs.iter().any(|entry| old(entry.used))) {
            return;
        }
        let sums: Sums = self.ledger.sums(self.crew.paths());
        for (step, used) in sums.stations() {
            if let Step::Station { bridge, slot, port } = step
                && let Some(bridge) = self.tables.bridge(bridge)
            {
                bridge.macs.touch(slot, port, used);
            }
        }
        bridges().for_each(|macs| drop_count(macs.expire(|entry| old(entry.used))));
        self.crew.end_short_cuts();
    }

    pub(crate) fn dummy_receive(&self, receive: request::DummyReceive) -> Result<Done, Failure> {
        /// Packets that may wait for a worker to receive them.
        const WAITING: usize = 4096;
        let handle = self.dummy(receive.bridge.as_deref(), &receive.port)?;
        if handle.waiting() + receive.packets.len() > WAITING {
            let what = format!("{WAITING} packets may wait at a dummy port, and no more");
            return Err(Failure::refused(what));
        }
        receive.packets.iter().for_each(|packet| handle.inject(packet.0.as_slice()));
        Ok(Done {})
    }

    pub(crate) fn dummy_take(&self, take: &request::DummyTake) -> Result<Taken, Failure> {
        let sent = self.dummy(take.bridge.as_deref(), &take.port)?.take_sent();
        Ok(Taken { packets: sent.into_iter().map(|packet| HexBytes(packet.bytes)).collect() })
    }

    fn dummy(&self, bridge: Option<&str>, port: &str) -> Result<&hw::DummyHandle, Failure> {
        let entry = self.port(self.bridge(bridge)?, &request::PortRef::Name(port.to_owned()))?;
        entry.dummy.as_ref().ok_or_else(|| Failure::refused(format!("{port} is no dummy port")))
    }
}

fn drop_count(entries: usize) {
    if entries > 0 {
        tracing::debug!(entries, "addresses forgotten that were not seen for long");
    }
}

fn show_port(entry: &Entry) -> Port {
    let opened = entry.port.as_ref().ok();
    let reason = match &entry.port {
        Ok(port) => port.why_down(),
        Err(reason) => Some(reason.clone()),
    };
    let capabilities = opened.map(|port| port.capabilities());
    let queues = opened.map_or_else(Vec::new, |port| port.queues());
    let queues = queues.into_iter().map(|status| Queue {
        queue: status.queue,
        worker: entry
            .queues
            .iter()
            .find(|queue| queue.number == status.queue)
            .and_then(|queue| u32::try_from(queue.worker).ok()),
        mode: status.mode.to_owned(),
        reason: Some(status.reason).filter(|reason| !reason.is_empty()),
    });
    Port {
        number: entry.number,
        name: entry.name.to_string(),
        kind: entry.kind.clone(),
        vlan: entry.vlan.clone(),
        state: if reason.is_none() { PortState::Up } else { PortState::Down },
        reason,
        mtu: capabilities.as_ref().map_or(0, |can| {
            u32::try_from(can.max_frame.saturating_sub(packet::ethernet::LEN)).unwrap_or(u32::MAX)
        }),
        mac: opened.and_then(|port| port.mac()),
        queues: queues.collect(),
        capabilities: capabilities.map_or_else(Vec::new, |can| capabilities_of(&can)),
    }
}

fn capabilities_of(can: &hw::Capabilities) -> Vec<Capability> {
    let one = |name: &str, capability: &hw::Capability| Capability {
        name: name.to_owned(),
        available: capability.is_yes(),
        reason: match capability {
            hw::Capability::Yes => None,
            hw::Capability::No(reason) => Some(reason.clone()),
        },
    };
    vec![
        one("checksum", &can.checksum),
        one("segmentation", &can.segmentation),
        one("chains", &can.chains),
        one("zero_copy", &can.zero_copy),
    ]
}

fn is_meant(rule: &Rule, filter: &FlowFilter) -> bool {
    let table = filter.table.is_none_or(|table| table == rule.table);
    let cookie = filter.cookie.is_none_or(|(value, mask)| (rule.cookie ^ value) & mask == 0);
    let output = |port| rule.actions.iter().any(|action| action.outputs_to(port));
    let all = Match::ANY == filter.matching;
    table
        && cookie
        && filter.out_port.is_none_or(output)
        && (all || filter.matching.contains(&rule.matching()))
}

/// About how many bytes the text of actions has.
fn weigh(actions: &[Action]) -> usize {
    let inner = |action: &Action| match action {
        Action::Clone(actions) => weigh(actions),
        _ => 0,
    };
    actions.iter().map(|action| 64 + inner(action)).sum()
}

fn cursor_of(place: &Place) -> Cursor {
    Cursor(format!("{}.{}.{}", place.table, place.priority.0, place.order))
}

fn place_of(bridge: BridgeId, cursor: &Cursor) -> Result<Place, Failure> {
    let mut parts = cursor.0.split('.');
    let mut next = || parts.next().and_then(|part| part.parse::<u64>().ok());
    let place = (|| {
        Some(Place {
            bridge,
            table: u8::try_from(next()?).ok()?,
            priority: std::cmp::Reverse(u16::try_from(next()?).ok()?),
            order: next()?,
        })
    })();
    place.ok_or_else(bad_cursor)
}

fn split(cursor: &Cursor) -> Option<(usize, usize)> {
    let (worker, skip) = cursor.0.split_once('.')?;
    Some((worker.parse().ok()?, skip.parse().ok()?))
}

fn bad_cursor() -> Failure {
    Failure::refused("`after` is no cursor of this dump")
}
