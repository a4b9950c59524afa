//! Everything one may ask, and what there is to be done that nobody asks for.
//!
//! One thread owns all state that is not a worker's: it takes a [`Request`], changes or looks at
//! that state, and answers with a [`Reply`]. How flows are changed stands in `changes.rs`.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use api::reply::RemovedReason;
use api::request::PortRef;
use api::{Failure, Reply, Request};
use conntrack::Connections;
use flowtable::{BridgeId, Edit, Limits, Rule, Tables};
use packet::{Depot, Memory, Millis, Seed};

use crate::answers::{group_features, meter_features};
use crate::changes::Session;
use crate::clock::Clock;
use crate::crew::{Common, Crew};
use crate::events::Events;
use crate::ledger::Ledger;
use crate::news::Paused;
use crate::numbers::Numbers;
use crate::ports::{Entry, Ports};

/// How often there is something to be done that nobody has asked for.
const TICK: Duration = Duration::from_secs(5);
/// Places of connections that are looked at in one go: some milliseconds' worth.
const SWEPT: u32 = 100_000;

/// The state behind the control socket.
#[derive(Debug)]
pub struct Control {
    /// The workers.
    pub crew: Crew,
    /// The ports.
    pub ports: Ports,
    /// The flows and their counters.
    pub ledger: Ledger,
    /// The tables that were published last.
    pub tables: Tables,
    /// The time.
    pub clock: Clock,
    /// Frames of all ports.
    pub depot: Arc<Depot>,
    /// Captures that are running.
    pub viewers: usize,
    /// Who is told what happens.
    pub events: Events,
    /// How many clients there are, and the bytes that they take.
    pub connections: (usize, usize),
    pub(crate) numbers: Numbers,
    /// Sizes of each worker's caches, and sessions of each.
    pub(crate) cache_limits: (Limits, u32),
    /// Changes that connections have collected, all together.
    pub(crate) collected: usize,
    /// Packets that wait for whoever watches.
    pub(crate) paused: Paused,
    /// When ports that do not work were tried last.
    retried: Duration,
}

/// How a switch is made.
#[derive(Debug)]
pub struct Plan {
    /// The CPU of each worker.
    pub cpus: Vec<Option<usize>>,
    /// What workers have in common.
    pub common: Common,
    /// The start of all hashes.
    pub seed: Seed,
    /// Flows that a table holds.
    pub table_limit: usize,
    /// The numbers of ports.
    pub numbers: Numbers,
}

impl Plan {
    /// A switch without workers and packets, to try changes with.
    pub fn without_packets(table_limit: usize) -> Self {
        let common = Common {
            depot: Depot::new(Memory::heap(0)),
            clock: Clock::start(),
            limits: Limits::default(),
            sessions: 0,
            busy_poll: false,
            generation: None,
            connections: 1,
        };
        Self { cpus: Vec::new(), common, seed: Seed(0), table_limit, numbers: Numbers::default() }
    }
}

impl Control {
    /// A switch without bridges; its workers run, and carry nothing.
    pub fn new(plan: Plan) -> std::io::Result<Self> {
        let tables = Tables::new(plan.seed).with_table_limit(plan.table_limit);
        Ok(Self {
            crew: Crew::start(&plan.cpus, tables.clone(), &plan.common)?,
            ports: Ports::default(),
            ledger: Ledger::default(),
            tables,
            clock: plan.common.clock,
            depot: plan.common.depot,
            viewers: 0,
            events: Events::default(),
            connections: (0, 0),
            cache_limits: (plan.common.limits, plan.common.sessions),
            numbers: plan.numbers,
            collected: 0,
            paused: Paused::default(),
            retried: Duration::ZERO,
        })
    }

    /// Does what is asked. What is shown as it happens is the connection's own affair and does not
    /// come here.
    pub fn handle(&mut self, request: Request, session: &mut Session) -> Result<Reply, Failure> {
        // What packets have taught before is there for whoever asks, or changes it.
        self.take_in_taught();
        if counts(&request) {
            self.crew.settle();
        }
        Ok(match request {
            Request::Version(_) => Reply::Version(self.version()),
            Request::BridgeAdd(add) => Reply::BridgeAdd(self.add_bridge(&add.name)?),
            Request::BridgeDel(del) => Reply::BridgeDel(self.remove_bridge(&del.name)?),
            Request::PortAdd(add) => Reply::PortAdd(self.add_port(add)?),
            Request::PortMod(change) => Reply::PortMod(self.change_port(&change)?),
            Request::PortDel(del) => {
                Reply::PortDel(self.remove_port(del.bridge.as_deref(), &del.name)?)
            }
            Request::Show(show) => Reply::Show(self.show(show.bridge.as_deref())?),
            Request::FlowChange(change) => Reply::FlowChange(self.change(&change)?),
            Request::FlowBegin(begin) => Reply::FlowBegin(self.begin(begin, session)?),
            Request::FlowAppend(append) => Reply::FlowAppend(self.append(&append.flows, session)?),
            Request::FlowCommit(_) => Reply::FlowCommit(self.commit(session)?),
            Request::FlowDump(dump) => Reply::FlowDump(self.dump_flows(&dump)?),
            Request::FlowAggregate(aggregate) => Reply::FlowAggregate(self.aggregate(&aggregate)?),
            Request::TableDump(dump) => Reply::TableDump(self.dump_tables(dump.bridge.as_deref())?),
            Request::TableChange(change) => Reply::TableChange(self.change_table(&change)?),
            Request::GroupDump(dump) => Reply::GroupDump(self.dump_groups(&dump)?),
            Request::GroupFeatures(_) => Reply::GroupFeatures(group_features()),
            Request::MeterDump(dump) => Reply::MeterDump(self.dump_meters(&dump)?),
            Request::MeterFeatures(_) => Reply::MeterFeatures(meter_features()),
            Request::PortStats(stats) => Reply::PortStats(self.port_stats(&stats)?),
            Request::QueueSet(set) => Reply::QueueSet(self.set_queue(&set)?),
            Request::QueueDel(del) => Reply::QueueDel(self.remove_queue(&del)?),
            Request::QueueDump(dump) => Reply::QueueDump(self.dump_queues(&dump)?),
            Request::Trace(trace) => Reply::Trace(self.trace(&trace)?),
            Request::CacheDump(dump) => Reply::CacheDump(self.dump_cache(&dump)?),
            Request::CacheDetrace(detrace) => Reply::CacheDetrace(self.detrace(&detrace)?),
            Request::CacheFlush(_) => Reply::CacheFlush(self.flush_caches()?),
            Request::DropsExplain(explain) => Reply::DropsExplain(self.explain_drops(&explain)?),
            Request::WorkerStats(_) => Reply::WorkerStats(self.worker_stats()),
            Request::RxqShow(_) => Reply::RxqShow(self.show_queues()),
            Request::FdbShow(show) => Reply::FdbShow(self.show_stations(show.bridge.as_deref())?),
            Request::FdbFlush(flush) => {
                Reply::FdbFlush(self.flush_stations(flush.bridge.as_deref())?)
            }
            Request::FdbAdd(add) => Reply::FdbAdd(self.add_station(&add)?),
            Request::FdbDel(del) => Reply::FdbDel(self.remove_station(&del)?),
            Request::FdbStats(stats) => {
                Reply::FdbStats(self.station_stats(stats.bridge.as_deref())?)
            }
            Request::CtDump(dump) => Reply::CtDump(self.dump_connections(&dump)?),
            Request::CtExpectDump(dump) => Reply::CtExpectDump(self.dump_expected(&dump)?),
            Request::CtFlush(flush) => Reply::CtFlush(self.flush_connections(&flush)),
            Request::CtStats(stats) => Reply::CtStats(self.connection_stats(&stats)),
            Request::CtLimitSet(set) => Reply::CtLimitSet(self.set_limits(&set)?),
            Request::CtLimitDel(del) => Reply::CtLimitDel(self.remove_limits(&del)),
            Request::CtLimitDump(dump) => Reply::CtLimitDump(self.dump_limits(&dump)),
            Request::CtTimeoutSet(set) => Reply::CtTimeoutSet(self.set_timeouts(&set)?),
            Request::CtTimeoutDel(del) => Reply::CtTimeoutDel(self.remove_timeouts(del)),
            Request::CtTimeoutDump(dump) => Reply::CtTimeoutDump(self.dump_timeouts(dump)),
            Request::CtTcpSet(set) => Reply::CtTcpSet(self.set_tcp(set)),
            Request::CtTcpShow(_) => Reply::CtTcpShow(self.show_tcp()),
            Request::WorkerHistograms(_) => Reply::WorkerHistograms(self.histograms()),
            Request::MemoryShow(_) => Reply::MemoryShow(self.memory()?),
            Request::LimitsShow(_) => Reply::LimitsShow(self.limits()),
            Request::DummyReceive(receive) => Reply::DummyReceive(self.dummy_receive(receive)?),
            Request::DummyTake(take) => Reply::DummyTake(self.dummy_take(&take)?),
            Request::PacketResume(resume) => Reply::PacketResume(self.resume(resume)?),
            Request::CaptureStart(_) | Request::EventsWatch(_) => {
                return Err(Failure::internal("what is shown belongs to its connection"));
            }
        })
    }

    /// From now on connections know these addresses to be the host's.
    pub fn set_host_addresses(&self, addresses: &BTreeSet<IpAddr>) {
        let connections = self.crew.connections();
        let most = Connections::most_host_addresses();
        let was_full = connections.host_addresses() as usize >= most;
        let left_out = connections.set_host_addresses(addresses.iter().copied());
        if left_out > 0 && !was_full {
            tracing::warn!(most, left_out, "the host has too many addresses to know all");
        }
    }

    /// The bridge of this name, or the only one.
    pub(crate) fn bridge(&self, name: Option<&str>) -> Result<BridgeId, Failure> {
        let mut all = self.tables.bridges();
        if let Some(name) = name {
            let found = all.find(|(_, bridge)| *bridge.name == *name);
            return found
                .map(|(id, _)| id)
                .ok_or_else(|| Failure::refused(format!("there is no bridge `{name}`")));
        }
        match (all.next(), all.next()) {
            (Some((only, _)), None) => Ok(only),
            (None, _) => Err(Failure::refused("there is no bridge; `ofctl add-br NAME` makes one")),
            (Some(_), Some(_)) => Err(Failure::refused("there are several bridges: say which one")),
        }
    }

    pub(crate) fn bridge_name(&self, bridge: BridgeId) -> String {
        self.tables.bridge(bridge).map_or_else(String::new, |bridge| bridge.name.to_string())
    }

    /// The port of a bridge that a request means.
    pub(crate) fn port(&self, bridge: BridgeId, port: &PortRef) -> Result<&Entry, Failure> {
        let (found, what) = match port {
            PortRef::Name(name) => (self.ports.named(bridge, name), format!("`{name}`")),
            PortRef::Number(number) => {
                (self.ports.of(bridge).find(|entry| entry.number == *number), number.to_string())
            }
        };
        found.ok_or_else(|| {
            Failure::refused(format!("bridge {} has no port {what}", self.bridge_name(bridge)))
        })
    }

    fn version(&self) -> api::reply::Version {
        api::reply::Version { version: env!("CARGO_PKG_VERSION").to_owned(), api: api::VERSION }
    }

    /// Publishes the next generation; answers with the workers that are late.
    pub(crate) fn publish(&mut self, bridge: Option<BridgeId>, edit: Edit) -> Vec<u32> {
        self.publish_ending(bridge, edit, |_| RemovedReason::Delete)
    }

    /// What is nobody's request: ends flows whose time is over, folds counters, forgets addresses
    /// that have not been seen for long.
    pub fn tick(&mut self) {
        self.crew.settle();
        self.fold();
        self.ledger.finish_all(self.crew.paths(), &self.tables);
        self.end_flows();
        self.paused.forget(self.clock.now());
        self.age_stations();
        // Workers that sleep do not.
        self.crew.connections().sweep(SWEPT, self.clock.millis());
        let now = self.clock.now();
        self.ports.sample(now);
        if now.saturating_sub(self.retried) >= TICK {
            self.retried = now;
            self.retry_ports();
        }
    }

    /// Takes over what paths have counted that no cache uses any more, so that workers can use them
    /// again.
    pub fn fold(&mut self) {
        self.ledger.fold(self.crew.paths(), &self.tables);
        self.crew.put_away();
    }

    fn end_flows(&mut self) {
        let now = self.clock.millis();
        let crew = &self.crew;
        let over = self.ledger.expired(now, &self.tables, |ledger| ledger.sums(crew.paths()));
        let bridges: BTreeSet<BridgeId> = over.iter().map(|(bridge, _)| *bridge).collect();
        for bridge in bridges {
            let mut edit = self.tables.edit();
            for (_, rule) in over.iter().filter(|(of, _)| *of == bridge) {
                // One that is gone by now has no time left to be over.
                let _ = edit.remove_rule(bridge, rule);
            }
            let over: BTreeSet<_> = over.iter().map(|(_, rule)| rule.id).collect();
            // Others go with them.
            let why = |rule: &Rule| match over.contains(&rule.id) {
                true => time_over(rule, now),
                false => RemovedReason::Delete,
            };
            self.publish_ending(Some(bridge), edit, why);
        }
    }

    /// How long it is at most until [`Control::tick`] is due again.
    pub fn until_tick(&self) -> Duration {
        /// So much later than it should be a flow may end.
        const LATE: Duration = Duration::from_millis(100);
        let now = self.clock.millis();
        let due = self.ledger.next_due().map(|due| Duration::from_millis(due.since(now)));
        due.map_or(TICK, |due| due.clamp(LATE, TICK))
    }

    /// Ends all workers. Ports keep what drops packets on their interfaces.
    pub fn stop(&mut self) {
        self.crew.stop();
    }
}

/// Whether the answer tells what packets have counted.
const fn counts(request: &Request) -> bool {
    matches!(
        request,
        Request::FlowDump(_)
            | Request::FlowAggregate(_)
            | Request::TableDump(_)
            | Request::PortStats(_)
            | Request::GroupDump(_)
            | Request::MeterDump(_)
            | Request::CacheDump(_)
            | Request::CacheDetrace(_)
            | Request::WorkerStats(_)
    )
}

/// Which time of a flow is over, if one of them is.
fn time_over(rule: &Rule, now: Millis) -> RemovedReason {
    let hard = u64::from(rule.hard_timeout) * 1000;
    match rule.hard_timeout > 0 && now.since(rule.modified) >= hard {
        true => RemovedReason::Hard,
        false => RemovedReason::Idle,
    }
}
