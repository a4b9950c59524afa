//! A switch in memory: a real worker, ports that are lists, and the interpreter beside it.

#![allow(dead_code, reason = "each test uses some of it")]
#![allow(clippy::allow_attributes, reason = "which part is unused differs between tests")]
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "what a test's helpers cannot do fails the test"
)]

pub(crate) mod checksums;
mod outcome;
mod tracker;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{DropReason, FlowMod, GroupMod, MeterMod, PortFlags, TableMod};
use conntrack::Connections;
use flowtable::interpreter::{Fate, Interpreter};
use flowtable::{
    BridgeId, GroupSerial, Limits, PathReader, PortView, Step, Tables, VlanMode, paths,
};
use hw::shortcut::Generation;
use hw::{Capabilities, Capability, Refusal, RxQueue, TxQueue, Wake};
use packet::{Batch, Chainer, Depot, FramePool, HEADROOM, Memory, Millis, Packet, PortId, Seed};
use vswitch::account::Account;
use vswitch::clock::Clock;
use vswitch::counters::WorkerCounters;
use vswitch::desk::{Desk, Order};
use vswitch::publish::Publication;
use vswitch::tracking::Tracker;
use vswitch::worker::{Setup, Worker};

pub(crate) use outcome::Outcome;
use tracker::Plain;

/// A port whose wires are two lists.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wires {
    pub(crate) incoming: Arc<Mutex<VecDeque<Vec<u8>>>>,
    pub(crate) outgoing: Arc<Mutex<Vec<Vec<u8>>>>,
}

struct Receiving(Wires, PortId);
struct Sending(Wires);

impl RxQueue for Receiving {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        let mut incoming = self.0.incoming.lock().unwrap();
        while batch.len() < limit
            && let Some(bytes) = incoming.pop_front()
        {
            batch.push(Chainer::copy_of(&bytes, HEADROOM, self.1, pool).expect("frames enough"));
        }
    }
    fn wake(&self) -> Wake<'_> {
        Wake::Never
    }
    fn syscalls(&self) -> u64 {
        0
    }
}

impl TxQueue for Sending {
    fn tx(&mut self, batch: &mut Batch, pool: &mut FramePool, _: &mut Vec<(Packet, Refusal)>) {
        let memory = Arc::clone(pool.memory());
        for packet in batch.drain(..) {
            self.0.outgoing.lock().unwrap().push(packet.to_vec(&memory));
            packet.free(pool);
        }
    }
    fn flush(&mut self, _: &mut FramePool) -> bool {
        false
    }
    fn syscalls(&self) -> u64 {
        0
    }
}

/// Receives nothing, and throws away what is sent.
pub(crate) struct Nothing;

impl RxQueue for Nothing {
    fn rx(&mut self, _: &mut Batch, _: usize, _: &mut FramePool) {}
    fn wake(&self) -> Wake<'_> {
        Wake::Never
    }
    fn syscalls(&self) -> u64 {
        0
    }
}

impl TxQueue for Nothing {
    fn tx(&mut self, batch: &mut Batch, pool: &mut FramePool, _: &mut Vec<(Packet, Refusal)>) {
        batch.drain(..).for_each(|packet| packet.free(pool));
    }
    fn flush(&mut self, _: &mut FramePool) -> bool {
        false
    }
    fn syscalls(&self) -> u64 {
        0
    }
}

pub(crate) fn capabilities() -> Capabilities {
    let no = || Capability::No("a list".to_owned());
    Capabilities {
        checksum: no(),
        segmentation: no(),
        chains: Capability::Yes,
        zero_copy: no(),
        unmarked_partial: false,
        max_frame: 9014,
        short_cut: None,
    }
}

/// How a switch in memory is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) sessions: u32,
    pub(crate) megaflows: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self { sessions: 256, megaflows: 1024 }
    }
}

/// Connections that there may be.
pub(crate) const CONNECTIONS: u32 = 250;

/// One bridge with ports 1 to `n`, carried by one worker.
pub(crate) struct Bench {
    pub(crate) worker: Worker,
    pub(crate) tables: Arc<Publication<Tables>>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) depot: Arc<Depot>,
    pub(crate) counters: Arc<WorkerCounters>,
    pub(crate) connections: Arc<Connections>,
    /// Those that the interpreter knows.
    pub(crate) literal_connections: Arc<Connections>,
    pub(crate) reader: PathReader,
    pub(crate) ports: Vec<(Wires, Arc<Account>)>,
    pub(crate) literal: Interpreter,
    pub(crate) now: Duration,
    frames: u32,
}

pub(crate) const BRIDGE: BridgeId = BridgeId(0);

/// Room for those of a switch with so many workers.
fn connections(members: usize) -> Arc<Connections> {
    Arc::new(Connections::new(CONNECTIONS, members, Seed(3)))
}

/// One bridge with such ports, here and in the interpreter.
fn tables(vlans: &[VlanMode]) -> (Arc<Publication<Tables>>, Interpreter) {
    let tables = Tables::new(Seed(99));
    let mut edit = tables.edit();
    assert_eq!(edit.add_bridge("br0".into()), Some(BRIDGE));
    let mut literal = Interpreter::default();
    for (vlan, number) in vlans.iter().zip(1..) {
        let port = PortView {
            // Not the OpenFlow number, so that nobody mistakes one for the other.
            id: PortId(number + 10),
            number,
            bridge: BRIDGE,
            name: format!("p{number}").into(),
            vlan: vlan.clone(),
            flags: PortFlags {
                no_flood: number == 4,
                no_receive: number == 7,
                no_forward: number == 8,
                ..PortFlags::default()
            },
            is_up: true,
        };
        literal.ports.insert(port.clone());
        edit.set_port(port).unwrap();
    }
    (Arc::new(Publication::new(Arc::new(edit.finish().0))), literal)
}

impl Bench {
    /// With lists for wires.
    pub(crate) fn new(vlans: &[VlanMode], options: Options) -> Self {
        let mut bench = Self::without_queues(vlans, options);
        bench.wire(vlans.len());
        bench
    }

    /// Another worker of the same switch, which has wires of its own for so many ports.
    pub(crate) fn beside(&self, ports: usize, options: Options) -> Self {
        let tables = Arc::clone(&self.tables);
        let mut bench =
            Self::of(tables, Interpreter::default(), options, None, (connections(1), 0));
        bench.now = self.now;
        bench.wire(ports);
        bench
    }

    /// Two workers of one switch, who share its connections.
    pub(crate) fn two(vlans: &[VlanMode], options: Options) -> [Self; 2] {
        let connections = connections(2);
        let (tables, literal) = tables(vlans);
        let of = |literal, member| {
            let (tables, member) = (Arc::clone(&tables), (Arc::clone(&connections), member));
            let mut bench = Self::of(tables, literal, options, None, member);
            bench.wire(vlans.len());
            bench
        };
        [of(literal, 0), of(Interpreter::default(), 1)]
    }

    fn wire(&mut self, ports: usize) {
        for number in 1..=u16::try_from(ports).unwrap() {
            let wires = Wires::default();
            let receiving = Receiving(wires.clone(), PortId(number + 10));
            let account = self.plug(number, Box::new(receiving), Box::new(Sending(wires.clone())));
            self.ports.push((wires, account));
        }
    }

    /// Gives a port its queues. Answers with what it counts.
    pub(crate) fn plug(
        &mut self,
        number: u16,
        receiving: Box<dyn RxQueue>,
        sending: Box<dyn TxQueue>,
    ) -> Arc<Account> {
        let (port, account) = (PortId(number + 10), Arc::new(Account::default()));
        self.desk.order([
            Order::Receive {
                port,
                number: 0,
                queue: receiving,
                unmarked_partial: false,
                account: Arc::clone(&account),
                busy_ns: Arc::default(),
            },
            Order::Send {
                port,
                queue: sending,
                capabilities: capabilities(),
                account: Arc::clone(&account),
            },
        ]);
        self.turn();
        account
    }

    /// With ports that only flows know.
    pub(crate) fn without_queues(vlans: &[VlanMode], options: Options) -> Self {
        Self::with_short_cuts(vlans, options, None)
    }

    /// The same, whose short-cuts are ended by `generation`.
    pub(crate) fn with_short_cuts(
        vlans: &[VlanMode],
        options: Options,
        generation: Option<Arc<Generation>>,
    ) -> Self {
        let (tables, literal) = tables(vlans);
        Self::of(tables, literal, options, generation, (connections(1), 0))
    }

    /// A worker that uses these tables.
    fn of(
        tables: Arc<Publication<Tables>>,
        mut literal: Interpreter,
        options: Options,
        generation: Option<Arc<Generation>>,
        (connections, member): (Arc<Connections>, usize),
    ) -> Self {
        const FRAMES: u32 = 4096;
        let literal_connections = Arc::new(Connections::new(CONNECTIONS, 0, Seed(3)));
        literal.tracker = Some(Box::new(Plain::new(Arc::clone(&literal_connections))));
        let depot = Depot::new(Memory::heap(FRAMES));
        let desk = Arc::new(Desk::new().unwrap());
        let counters = Arc::new(WorkerCounters::default());
        let (paths, reader) = paths(options.megaflows, Seed(99));
        let worker = Worker::new(Setup {
            desk: Arc::clone(&desk),
            tables: Arc::clone(&tables),
            depot: Arc::clone(&depot),
            paths,
            counters: Arc::clone(&counters),
            clock: Clock::start(),
            limits: Limits { megaflows: options.megaflows, operations: 4096, idle: 10 },
            sessions: options.sessions,
            busy_poll: false,
            cpu: None,
            generation,
            teller: vswitch::news::news().0,
            tracker: Tracker::new(Arc::clone(&connections), member),
        })
        .unwrap();
        Self {
            worker,
            tables,
            desk,
            depot,
            counters,
            connections,
            literal_connections,
            reader,
            ports: Vec::new(),
            literal,
            now: Duration::from_secs(1),
            frames: FRAMES,
        }
    }

    pub(crate) fn turn(&mut self) {
        self.worker.turn(self.now);
        self.desk.take_returned();
    }

    pub(crate) fn generation(&self) -> Arc<Tables> {
        self.tables.get().1
    }

    /// Changes flows, here and there: all of them, or none if one is refused.
    pub(crate) fn flow_mods(&mut self, changes: &[FlowMod]) {
        let mut edit = self.generation().edit();
        if changes.iter().any(|change| edit.flow_mod(BRIDGE, change, Millis(1)).is_err()) {
            return;
        }
        changes.iter().for_each(|change| self.literal.flow_mod(change));
        self.tables.publish(Arc::new(edit.finish().0));
        self.desk.ring();
    }

    /// Changes groups, here and there, if that is not refused.
    pub(crate) fn group_mod(&mut self, change: &GroupMod) {
        let mut edit = self.generation().edit();
        if edit.group_mod(BRIDGE, change, Millis(1)).is_ok() {
            self.literal.group_mod(change);
            self.tables.publish(Arc::new(edit.finish().0));
            self.desk.ring();
        }
    }

    /// Changes meters, here and there, if that is not refused.
    pub(crate) fn meter_mod(&mut self, change: &MeterMod) {
        let mut edit = self.generation().edit();
        if edit.meter_mod(BRIDGE, change, self.now).is_ok() {
            self.literal.now = self.now;
            self.literal.meter_mod(change);
            self.tables.publish(Arc::new(edit.finish().0));
            self.desk.ring();
        }
    }

    /// Changes tables as such, here and there.
    pub(crate) fn table_mod(&mut self, change: &TableMod) {
        let mut edit = self.generation().edit();
        edit.table_mod(BRIDGE, change).unwrap();
        self.literal.table_mod(change);
        self.tables.publish(Arc::new(edit.finish().0));
        self.desk.ring();
    }

    /// Puts a packet on the wire into port `number`.
    pub(crate) fn put(&mut self, number: u16, bytes: &[u8]) {
        self.ports[usize::from(number) - 1].0.incoming.lock().unwrap().push_back(bytes.to_vec());
    }

    /// Everything that has left by each port since the last time.
    pub(crate) fn take(&mut self) -> Vec<(u16, Vec<u8>)> {
        let each = self.ports.iter().zip(1..).flat_map(|((wires, _), number)| {
            let outgoing = std::mem::take(&mut *wires.outgoing.lock().unwrap());
            outgoing.into_iter().map(move |bytes| (number, bytes))
        });
        each.collect()
    }

    /// Drops so far, by ingress port and reason.
    pub(crate) fn drops(&self) -> Vec<(u16, DropReason, u64)> {
        let each = self.ports.iter().zip(1..).flat_map(|((_, account), number)| {
            account
                .drops()
                .map(move |(reason, packets)| (number, reason, packets))
                .collect::<Vec<_>>()
        });
        each.collect()
    }

    /// Carries packets that all come in by port `number`, and what the interpreter makes of them.
    pub(crate) fn carry(&mut self, number: u16, packets: &[Vec<u8>]) -> (Outcome, Outcome) {
        (self.send(number, packets), self.interpret(number, packets))
    }

    /// Carries packets that all come in by port `number`.
    pub(crate) fn send(&mut self, number: u16, packets: &[Vec<u8>]) -> Outcome {
        let before = self.drops();
        packets.iter().for_each(|bytes| self.put(number, bytes));
        self.turn();
        let mut dropped = self.drops();
        dropped.retain_mut(|(port, reason, packets)| {
            let old = before.iter().find(|old| (old.0, old.1) == (*port, *reason));
            *packets -= old.map_or(0, |old| old.2);
            *packets > 0
        });
        Outcome { sent: self.take(), dropped }.sorted()
    }

    /// What the interpreter makes of packets that all come in by port `number`.
    pub(crate) fn interpret(&mut self, number: u16, packets: &[Vec<u8>]) -> Outcome {
        self.literal.now = self.now;
        let mut expected = Outcome { sent: Vec::new(), dropped: Vec::new() };
        for bytes in packets {
            match self.literal.packet(number, bytes) {
                Fate::Sent(sent) => expected.sent.extend(sent),
                Fate::Shown => {}
                Fate::Dropped(reason) => expected.dropped.push((number, reason, 1)),
            }
        }
        let stopped = std::mem::take(&mut self.literal.stopped).into_iter();
        expected.dropped.extend(stopped.map(|(reason, packets)| (number, reason, packets)));
        expected.sorted()
    }

    /// Packets and bytes of every rule, by table, priority and match; and the misses of every
    /// table.
    pub(crate) fn counts(&self) -> Counts {
        let tables = self.generation();
        let bridge = tables.bridge(BRIDGE).unwrap();
        let mut counts = Counts::default();
        let mut live: std::collections::HashMap<Step, (u64, u64)> = Default::default();
        self.reader.for_each(|steps, count| {
            for step in steps {
                let sum = live.entry(step).or_default();
                (sum.0, sum.1) = (sum.0 + count.packets, sum.1 + count.bytes);
            }
        });
        for rule in bridge.rules() {
            let (packets, bytes, _) = rule.stats.load();
            let more = live.get(&Step::Rule(rule.id)).copied().unwrap_or_default();
            let flow = format!("table={} {} {:?}", rule.table, rule.priority, rule.matching());
            counts.rules.push((flow, packets + more.0, bytes + more.1));
        }
        for table in 0..=253 {
            let more =
                live.get(&Step::Match { bridge: BRIDGE, table }).copied().unwrap_or_default();
            let packets = bridge.matched(table).load().0 + more.0;
            if packets > 0 {
                counts.matches.push((table, packets));
            }
            let more = live.get(&Step::Miss { bridge: BRIDGE, table }).copied().unwrap_or_default();
            let packets = bridge.missed(table).load().0 + more.0;
            if packets > 0 {
                counts.misses.push((table, packets));
            }
        }
        counts.rules.sort();
        let sum = |step, stats: &flowtable::RuleStats| {
            stats.load().0 + live.get(&step).map_or(0, |live| live.0)
        };
        for entry in bridge.groups.iter() {
            let buckets = (0..)
                .zip(&entry.stats.buckets)
                .map(|(at, stats)| sum(Step::Bucket { group: entry.serial, at }, stats));
            let packets = sum(Step::Group(entry.serial), &entry.stats.group);
            counts.groups.push((entry.group.id, packets, buckets.collect()));
        }
        counts
    }

    /// Folds retired paths, as the control thread does now and then.
    pub(crate) fn fold(&self) {
        let tables = self.generation();
        let bridge = tables.bridge(BRIDGE).unwrap();
        self.reader.fold(|steps, count| {
            for step in steps {
                match step {
                    Step::Rule(id) => {
                        if let Some(rule) = bridge.rules().find(|rule| rule.id == id) {
                            rule.stats.credit(count.packets, count.bytes, count.used);
                        }
                    }
                    Step::Miss { table, .. } => {
                        bridge.missed(table).credit(count.packets, count.bytes, count.used);
                    }
                    Step::Group(serial) => {
                        if let Some(group) = group(bridge, serial) {
                            group.stats.group.credit(count.packets, count.bytes, count.used);
                        }
                    }
                    Step::Bucket { group: serial, at } => {
                        if let Some(group) = group(bridge, serial) {
                            let stats = &group.stats.buckets[usize::from(at)];
                            stats.credit(count.packets, count.bytes, count.used);
                        }
                    }
                    Step::Match { table, .. } => {
                        bridge.matched(table).credit(count.packets, count.bytes, count.used);
                    }
                    Step::Station { .. } | Step::Taught(_) | Step::Fin { .. } => {}
                }
            }
        });
    }

    /// The same from the interpreter.
    pub(crate) fn expected_counts(&self) -> Counts {
        let rules = self.literal.rules.iter().map(|rule| {
            let flow = format!("table={} {} {:?}", rule.table, rule.priority, rule.matching);
            (flow, rule.packets, rule.bytes)
        });
        let mut counts = Counts { rules: rules.collect(), ..Counts::default() };
        let groups = self.literal.groups.values();
        counts.groups = groups.map(|of| (of.group.id, of.packets, of.buckets.clone())).collect();
        counts.groups.sort();
        counts.matches =
            self.literal.matches.iter().map(|(table, packets)| (*table, *packets)).collect();
        counts.matches.sort_unstable();
        counts.misses =
            self.literal.misses.iter().map(|(table, packets)| (*table, *packets)).collect();
        counts.misses.sort_unstable();
        counts.rules.sort();
        counts
    }

    /// Lets time pass.
    pub(crate) fn wait(&mut self, time: Duration) {
        self.now += time;
        self.turn();
    }

    /// Asserts what is always true: the accounts balance, no frame is lost.
    pub(crate) fn check(&mut self) {
        // Counters are reported once a millisecond.
        self.wait(Duration::from_millis(1));
        for ((_, account), number) in self.ports.iter().zip(1..) {
            let (came, went) = account.balance();
            assert_eq!(came, went, "the account of port {number}: {account:?}");
        }
        let counters = &self.counters;
        let found = [&counters.session_hits, &counters.opening_hits, &counters.megaflow_hits];
        let looked_up = [&counters.translated, &counters.retranslated];
        let known: u64 = found.into_iter().chain(looked_up).map(|counter| counter.get()).sum();
        let known = known - counters.passes.get();
        let packets = counters.packets.get();
        let runts = self.drops().into_iter().filter(|(_, reason, _)| *reason == DropReason::Runt);
        let runts: u64 = runts.map(|(_, _, packets)| packets).sum();
        assert!(known <= packets && known + runts >= packets, "{known} of {packets}: {counters:?}");
        let free = self.depot.len() + self.worker.free_frames();
        assert_eq!(free, self.frames as usize, "free frames");
    }
}

#[derive(Debug, Default, Eq, PartialEq)]
pub(crate) struct Counts {
    pub(crate) rules: Vec<(String, u64, u64)>,
    /// Packets that met a rule of a table, and none.
    pub(crate) matches: Vec<(u8, u64)>,
    pub(crate) misses: Vec<(u8, u64)>,
    /// Packets of each group, and of its buckets.
    pub(crate) groups: Vec<(u32, u64, Vec<u64>)>,
}

fn group(bridge: &flowtable::Bridge, serial: GroupSerial) -> Option<&flowtable::GroupEntry> {
    bridge.groups.iter().map(AsRef::as_ref).find(|entry| entry.serial == serial)
}
