//! How much there is of everything, and how much there may be.

use api::reply::{Limit, Limits, Memory, MemoryUse};
use api::{Action, Failure, FlowMod};
use conntrack::{Connections, Zones};
use flowtable::{Groups, MacTable, Megaflows, Meters, Rule, RuleStats, Tables};
use packet::FRAME_SIZE;

use crate::capture::{RING, Sight};
use crate::control::Control;
use crate::counters::WorkerCounters;
use crate::events;
use crate::last_drops::LastDrops;
use crate::ports::Ports;
use crate::server::CLIENTS;
use crate::viewing;

impl Control {
    /// What memory is used for. Cost: a look at every flow.
    pub(crate) fn memory(&self) -> Result<Memory, Failure> {
        let workers = || self.crew.members().iter().map(|member| &*member.counters);
        let sum = |of: fn(&WorkerCounters) -> u64| workers().map(of).sum::<u64>();
        let frames = self.depot.memory().frames() as u64;
        let rules = self.tables.bridges().flat_map(|(_, bridge)| bridge.rules());
        let (flows, rules) =
            rules.fold((0, 0), |(count, bytes), rule| (count + 1, bytes + weigh(rule)));
        let macs = || self.tables.bridges().map(|(_, bridge)| &bridge.macs);
        let sights = (self.viewers * self.crew.members().len() * RING) as u64;
        let (clients, client_bytes) = self.connections;
        let connections = self.crew.connections();
        let uses = vec![
            of("frames", frames * FRAME_SIZE as u64, frames, "frames"),
            of("flows", rules as u64, flows, "flows"),
            of("ledger", self.ledger.bytes() as u64, self.ledger.len() as u64, "timeouts"),
            of(
                "megaflows",
                sum(|w| w.megaflow_bytes.get()),
                sum(|w| w.megaflows.get()),
                "megaflows",
            ),
            of("programs", sum(|w| w.program_bytes.get()), sum(|w| w.programs.get()), "programs"),
            of("paths", sum(|w| w.path_bytes.get()), sum(|w| w.paths.get()), "paths"),
            of("sessions", sum(|w| w.session_bytes.get()), sum(|w| w.sessions.get()), "sessions"),
            of(
                "fdb",
                macs().map(|macs| macs.bytes() as u64).sum(),
                macs().map(|macs| macs.iter().count() as u64).sum(),
                "addresses",
            ),
            of("captures", sights * size_of::<Sight>() as u64, self.viewers as u64, "captures"),
            of(
                "last drops",
                sum(|w| w.last_drop_bytes.get()),
                self.ports.iter().count() as u64,
                "ports",
            ),
            of("connections", connections.bytes() as u64, connections.len() as u64, "connections"),
            of("clients", client_bytes as u64, clients as u64, "clients"),
            of("events", self.events.waiting() as u64, self.events.len() as u64, "listeners"),
        ];
        Ok(Memory { uses, resident: resident() })
    }

    /// How much there may be of everything, and is.
    pub(crate) fn limits(&self) -> Limits {
        let mut limits = self.limits_of_switch();
        limits.extend(self.limits_of_bridges());
        limits.extend(self.limits_of_workers());
        limits.push(Limit {
            name: "bytes of events that wait".to_owned(),
            each: "client".to_owned(),
            limit: events::ROOM as u64,
            now: None,
            at: None,
            then: "events are lost, and the client is told how many".to_owned(),
        });
        Limits { limits }
    }

    fn limits_of_switch(&self) -> Vec<Limit> {
        let switch = |name, limit, now, then| limit_of(name, "switch", limit, now, then);
        let pools: u64 = self.crew.members().iter().map(|one| one.counters.free_frames.get()).sum();
        let frames = self.depot.memory().frames() as u64;
        let used = frames.saturating_sub(self.depot.len() as u64 + pools);
        let connections = self.crew.connections();
        vec![
            switch(
                "bridges",
                Tables::BRIDGES as u64,
                self.tables.bridges().count() as u64,
                "refused",
            ),
            switch(
                "ports",
                u64::from(Ports::MOST) - 1,
                self.ports.iter().count() as u64,
                "refused",
            ),
            switch(
                "frames",
                frames,
                used,
                "packets are dropped as no-frames, or not received: rx errors",
            ),
            switch(
                "connections",
                connections.most() as u64,
                connections.len() as u64,
                "half-open ones go from 95 % on, then packets are dropped as ct-full",
            ),
            switch(
                "announced connections",
                connections.most_expected() as u64,
                connections.expected() as u64,
                "packets that announce others are dropped as ct-expect-full",
            ),
            switch(
                "zones with timeouts of their own",
                Zones::most_timed() as u64,
                connections.zones().timed().count() as u64,
                "refused",
            ),
            switch(
                "addresses of the host",
                Connections::most_host_addresses() as u64,
                connections.host_addresses().into(),
                "connections are given any port at others",
            ),
            switch(
                "clients",
                CLIENTS as u64,
                self.connections.0 as u64,
                "others wait until one leaves",
            ),
            switch("captures", viewing::MOST as u64, self.viewers as u64, "refused"),
            switch(
                "collected changes of flows",
                2 * self.tables.table_limit() as u64,
                self.collected as u64,
                "refused",
            ),
        ]
    }

    fn limits_of_bridges(&self) -> Vec<Limit> {
        let bridges = || self.tables.bridges().map(|(_, bridge)| bridge);
        let tables = bridges().flat_map(|bridge| {
            bridge.tables().map(|(table, rules)| {
                (rules.len() as u64, format!("table {table} of {}", bridge.name))
            })
        });
        let groups = bridges().map(|one| (one.groups.len() as u64, one.name.to_string()));
        let meters = bridges().map(|one| (one.meters.len() as u64, one.name.to_string()));
        let addresses = bridges().map(|one| (one.macs.iter().count() as u64, one.name.to_string()));
        let shares = self.ports.iter().filter_map(|entry| {
            let macs = &self.tables.bridge(entry.bridge)?.macs;
            Some((u64::from(macs.entries(entry.id)), entry.name.to_string()))
        });
        let oldest = "an older one of the port goes, or the address is not learned";
        vec![
            most_of(
                "flows",
                "table",
                self.tables.table_limit() as u64,
                tables,
                "refused: table full",
            ),
            Limit {
                name: "tables".to_owned(),
                each: "bridge".to_owned(),
                limit: u64::from(FlowMod::MAX_TABLE) + 1,
                now: bridges().map(|bridge| bridge.tables().count() as u64).max(),
                at: None,
                then: "refused".to_owned(),
            },
            most_of("groups", "bridge", Groups::MOST as u64, groups, "refused"),
            most_of("meters", "bridge", Meters::MOST as u64, meters, "refused"),
            most_of("addresses", "bridge", MacTable::CAPACITY as u64, addresses, oldest),
            most_of("learned addresses", "port", MacTable::SHARE.into(), shares, oldest),
            Limit {
                name: "dropped packets that are kept".to_owned(),
                each: "port".to_owned(),
                limit: LastDrops::KEPT as u64,
                now: None,
                at: None,
                then: "the oldest one goes".to_owned(),
            },
        ]
    }

    fn limits_of_workers(&self) -> Vec<Limit> {
        let each = |of: fn(&WorkerCounters) -> u64| {
            let members = self.crew.members().iter().zip(0u32..);
            members.map(move |(one, n)| (of(&one.counters), format!("worker {n}")))
        };
        let (caches, sessions) = self.cache_limits;
        let megaflows = "an older one of the port goes, or the packet takes the tables";
        vec![
            most_of(
                "megaflows",
                "worker",
                caches.megaflows.into(),
                each(|w| w.megaflows.get()),
                megaflows,
            ),
            most_of(
                "masks",
                "worker",
                Megaflows::ALL_MASKS as u64,
                each(|w| w.masks.get()),
                "the packet takes the tables",
            ),
            most_of(
                "paths",
                "worker",
                caches.megaflows.into(),
                each(|w| w.paths.get()),
                "the packet takes the tables",
            ),
            most_of(
                "operations of programs",
                "worker",
                caches.operations.into(),
                each(|w| w.operations.get()),
                "the packet takes the tables",
            ),
            most_of(
                "sessions",
                "worker",
                sessions.into(),
                each(|w| w.sessions.get()),
                "an older one goes, or none is made",
            ),
        ]
    }
}

fn of(name: &str, bytes: u64, items: u64, item: &str) -> MemoryUse {
    MemoryUse { name: name.to_owned(), bytes, items, item: item.to_owned() }
}

/// Bytes of a rule and what only it has.
fn weigh(rule: &Rule) -> usize {
    /// The counts of an `Arc`.
    const COUNTS: usize = 2 * size_of::<usize>();
    let actions = rule.actions.len() * size_of::<Action>();
    let parts = size_of::<Rule>() + size_of::<RuleStats>() + actions + size_of_val(&*rule.values);
    parts + 3 * COUNTS
}

/// What the kernel says is in place of the process.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

fn limit_of(name: &str, each: &str, limit: u64, now: u64, then: &str) -> Limit {
    let (name, each, then) = (name.to_owned(), each.to_owned(), then.to_owned());
    Limit { name, each, limit, now: Some(now), at: None, then }
}

/// A limit of each, with the one that has most.
fn most_of(
    name: &str,
    each: &str,
    limit: u64,
    all: impl Iterator<Item = (u64, String)>,
    then: &str,
) -> Limit {
    let (now, at) = all.max_by_key(|(count, _)| *count).unzip();
    Limit {
        at: at.filter(|_| now > Some(0)),
        now: now.or(Some(0)),
        ..limit_of(name, each, limit, 0, then)
    }
}
