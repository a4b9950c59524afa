//! The way of a packet, top to bottom.
//!
//! A worker takes turns. In each it looks once for something new from control, then serves its queues one
//! after the other: a batch is received, each packet's program is found, and carried out; what is to be
//! sent waits for the end of the batch and goes out together. Packets of one queue are carried out in the
//! order they came in.
//!
//! How a program is found depends on what the port's packets are told apart by (its *lead*):
//!
//! * by nothing: one megaflow is for all of them, and they are not even parsed, if its program does not
//!   need the headers;
//! * by one mask: a hash and a probe of the megaflows (tier 2);
//! * by several masks: a session (tier 1) first, then the megaflows.
//!
//! Whatever misses goes through the tables (tier 3), which makes a megaflow of it. The steps of a tier
//! are done for up to [`LANES`] packets at a time, each asking for the memory that the next one needs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::DropReason;
use flowtable::{Cache, Found, Lead, Limits, MaskId, Millis, Op, PathId, Paths, Seed, Tables};
use hw::{RxQueue, Wake};
use packet::{Batch, Depot, FramePool, Headers, Key, Memory, Packet, PortId, ethernet, mark_partial, parse};

use crate::account::Account;
use crate::act::{Exit, act};
use crate::capture::Direction;
use crate::clock::{Clock, millis};
use crate::counters::WorkerCounters;
use crate::desk::{Desk, Order, Returned};
use crate::outputs::Outputs;
use crate::publish::Publication;
use crate::session::{SessionKey, Sessions};
use crate::sleep::Sleep;

/// Packets that go through a step together.
const LANES: usize = 32;
/// What serving one queue may cost before the next one's turn comes.
const TURN_NS: u64 = 50_000;
/// The longest sleep; it only bounds how late caches are swept.
const NAP: Duration = Duration::from_secs(5);

/// What a worker is made with.
#[derive(Debug)]
pub struct Setup {
    /// Its desk.
    pub desk: Arc<Desk>,
    /// Where tables are published.
    pub tables: Arc<Publication<Tables>>,
    /// Where frames come from.
    pub depot: Arc<Depot>,
    /// What it credits packets to.
    pub paths: Paths,
    /// What it counts.
    pub counters: Arc<WorkerCounters>,
    /// The time.
    pub clock: Clock,
    /// Sizes of its caches.
    pub limits: Limits,
    /// Room for so many sessions; none if 0.
    pub sessions: u32,
    /// Whether it never sleeps.
    pub busy_poll: bool,
}

/// A worker.
#[derive(Debug)]
pub struct Worker {
    desk: Arc<Desk>,
    published: Arc<Publication<Tables>>,
    counters: Arc<WorkerCounters>,
    clock: Clock,
    sleep: Sleep,
    inputs: Vec<Input>,
    /// Whether some queue always has packets.
    restless: bool,
    batch: Batch,
    way: Way,
    /// The signal up to which orders have been carried out.
    signal: u64,
    /// The number of the tables in use.
    number: u64,
    swept: Millis,
    stopping: bool,
}

/// A queue that a worker polls.
struct Input {
    port: PortId,
    number: u32,
    queue: Box<dyn RxQueue>,
    unmarked_partial: bool,
    account: Arc<Account>,
    /// What a packet of this queue costs by and large, in nanoseconds.
    cost_ns: u64,
}

/// Everything between receiving and sending.
#[derive(Debug)]
struct Way {
    cache: Cache,
    sessions: Option<Sessions>,
    outputs: Outputs,
    pool: FramePool,
    memory: Arc<Memory>,
    lanes: Box<Lanes>,
}

/// What is known of the packets that go through a step together.
#[derive(Debug)]
struct Lanes {
    keys: [Key; LANES],
    /// Where the headers are; `None` of a frame too short to have any.
    headers: [Option<Headers>; LANES],
    sessions: [Option<SessionKey>; LANES],
    hashes: [u64; LANES],
}

impl Worker {
    /// A worker without queues.
    pub fn new(setup: Setup) -> std::io::Result<Self> {
        let sleep = Sleep::new(std::os::fd::AsFd::as_fd(&*setup.desk), setup.busy_poll)?;
        let (number, tables) = setup.tables.get();
        let seed = tables.seed();
        let pool = FramePool::new(&setup.depot);
        let memory = Arc::clone(pool.memory());
        Ok(Self {
            sleep,
            inputs: Vec::new(),
            restless: false,
            batch: Batch::new(),
            way: Way {
                cache: Cache::new(tables, setup.paths, setup.limits),
                sessions: (setup.sessions > 0)
                    .then(|| Sessions::new(setup.sessions, Seed(seed.0 ^ 1))),
                outputs: Outputs::new(Arc::clone(&memory)),
                pool,
                memory,
                lanes: Box::new(Lanes::new()),
            },
            signal: 0,
            number,
            swept: Millis(0),
            stopping: false,
            desk: setup.desk,
            published: setup.tables,
            counters: setup.counters,
            clock: setup.clock,
        })
    }

    /// Takes turns until control says to stop.
    pub fn run(&mut self) {
        while !self.stopping {
            let now = self.clock.now();
            if self.turn(now) {
                self.sleep.worked();
            } else if !self.restless && self.sleep.is_due(now) {
                self.rest();
            }
        }
    }

    /// Frames in its own pool, for tests.
    pub fn free_frames(&self) -> usize {
        self.way.pool.len()
    }

    /// One turn. Answers whether there was anything to do.
    pub fn turn(&mut self, now: Duration) -> bool {
        self.look_up();
        self.desk.turns.store(self.desk.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let mut before = now;
        let mut worked = false;
        for input in &mut self.inputs {
            self.desk.serving.store(input.port.0.into(), Ordering::Relaxed);
            let limit = input.limit();
            input.queue.rx(&mut self.batch, limit, &mut self.way.pool);
            if self.batch.is_empty() {
                continue;
            }
            worked = true;
            let packets = self.batch.len() as u64;
            self.way.carry(&mut self.batch, input, millis(before));
            let after = self.clock.now();
            let spent = nanoseconds(after.saturating_sub(before));
            before = after;
            input.learn_cost(spent, packets);
            self.counters.batches.add(1);
            self.counters.packets.add(packets);
            self.counters.busy_ns.add(spent);
        }
        let again = self.way.outputs.clear_up(&mut self.way.pool);
        if worked {
            self.counters.turns.add(1);
        }
        self.sweep(millis(before));
        worked || again
    }

    /// Goes along with whatever control has published or ordered since the last turn.
    #[inline]
    fn look_up(&mut self) {
        let signal = self.desk.signal();
        if signal != self.signal {
            self.catch_up(signal);
        }
    }

    #[cold]
    fn catch_up(&mut self, signal: u64) {
        for order in self.desk.take_orders() {
            self.carry_out(order);
        }
        if self.published.number() != self.number {
            let (number, tables) = self.published.get();
            let old = self.way.cache.refresh(tables);
            self.desk.give_back(Returned::Tables(old));
            self.number = number;
        }
        self.desk.tables.set(self.number);
        self.desk.orders_done.set(signal);
        self.signal = signal;
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Receive { port, number, queue, unmarked_partial, account } => {
                if let Wake::Readable(fd) = queue.wake() {
                    // A queue that cannot wake us is found when we are awake.
                    let _ = self.sleep.add(fd);
                }
                self.inputs.push(Input {
                    port,
                    number,
                    queue,
                    unmarked_partial,
                    account,
                    cost_ns: 100,
                });
            }
            Order::Send { port, queue, capabilities, account } => {
                self.way.outputs.add(port, queue, &capabilities, account);
            }
            Order::Change(port, capabilities) => self.way.outputs.change(port, &capabilities),
            Order::Leave(port) => self.leave(port),
            Order::Watch(watch) => self.way.outputs.capture.add(watch),
            Order::Unwatch(number) => self.way.outputs.capture.remove(number),
            Order::Dump(request) => request.answer(&self.way.cache),
            Order::Stop => self.stopping = true,
        }
        self.restless = self.inputs.iter().any(|input| matches!(input.queue.wake(), Wake::Always));
    }

    fn leave(&mut self, port: PortId) {
        let (left, kept) = self.inputs.drain(..).partition(|input| input.port == port);
        self.inputs = kept;
        for Input { queue, .. } in Vec::from(left) {
            if let Wake::Readable(fd) = queue.wake() {
                self.sleep.remove(fd);
            }
            self.desk.give_back(Returned::Rx(port, queue));
        }
        if let Some(queue) = self.way.outputs.remove(port) {
            self.desk.give_back(Returned::Tx(port, queue));
        }
    }

    /// A little of the work that is nobody's turn.
    fn sweep(&mut self, now: Millis) {
        if now == self.swept {
            return;
        }
        self.swept = now;
        let Way { cache, sessions, .. } = &mut self.way;
        cache.sweep(now);
        if let Some(sessions) = sessions {
            sessions.sweep(cache, now);
        }
        self.report();
    }

    /// Brings the counters up to date that others keep.
    fn report(&self) {
        let Way { cache, sessions, outputs, .. } = &self.way;
        let stats = sessions.as_ref().map(Sessions::stats).unwrap_or_default();
        let receiving: u64 = self.inputs.iter().map(|input| input.queue.syscalls()).sum();
        let syscalls = receiving + outputs.syscalls() + self.sleep.syscalls;
        self.counters.follow(cache.stats(), stats);
        self.counters.set_levels(
            syscalls,
            sessions.as_ref().map_or(0, Sessions::len),
            cache.megaflows().len(),
            cache.programs().len(),
        );
    }

    fn rest(&mut self) {
        self.report();
        self.counters.sleeps.add(1);
        self.desk.asleep.store(true, Ordering::Relaxed);
        let clock = self.clock;
        self.sleep.sleep(NAP, || clock.now());
        self.desk.asleep.store(false, Ordering::Relaxed);
        self.desk.woken();
    }
}

impl Input {
    /// How many packets may be taken in one turn, so that a port with costly ones harms itself.
    fn limit(&self) -> usize {
        let affordable = TURN_NS / self.cost_ns.max(1);
        usize::try_from(affordable).unwrap_or(Batch::CAPACITY).clamp(8, Batch::CAPACITY)
    }

    fn learn_cost(&mut self, spent: u64, packets: u64) {
        self.cost_ns = (self.cost_ns * 7 + spent / packets.max(1)) / 8;
    }
}

impl Way {
    /// Carries a batch from one queue to wherever its packets go.
    #[inline]
    fn carry(&mut self, batch: &mut Batch, input: &Input, now: Millis) {
        let account: &Account = &input.account;
        account.rx.add(batch.len() as u64);
        account.rx_bytes.add(batch.iter().map(|packet| packet.len() as u64).sum());
        self.outputs.capture.now = now;
        if self.outputs.capture.sees(input.port, Direction::In) {
            for packet in batch.iter() {
                self.outputs.capture.packet(input.port, Direction::In, packet, &self.memory);
            }
        }
        self.cache.begin();
        match self.cache.lead(input.port) {
            Lead::All(flow) if !input.unmarked_partial => match self.cache.hit(flow, now) {
                Some(found) if !self.needs_headers(found) => {
                    self.all_alike(batch, found, account, now)
                }
                _ => self.by_sessions(batch, input, now),
            },
            Lead::One(mask) => self.by_one_mask(batch, input, mask, now),
            Lead::All(_) | Lead::Many => self.by_sessions(batch, input, now),
        }
        self.outputs.flush(&mut self.pool, account);
    }

    /// Whether a program writes into what only parsing finds.
    fn needs_headers(&self, found: Found) -> bool {
        match found {
            Found::Cached(_, program, _) => {
                self.cache.programs().exactly(program).iter().any(|op| op.needs_headers())
            }
            Found::Once => true,
        }
    }

    /// One program for all.
    fn all_alike(&mut self, batch: &mut Batch, found: Found, account: &Account, now: Millis) {
        let mut tally = Tally::new(now);
        for packet in batch.drain(..) {
            if packet.len() < ethernet::LEN {
                self.outputs.drop(packet, DropReason::Runt, &mut self.pool, account);
                continue;
            }
            self.perform(packet, Headers::default(), found, account, &mut tally);
        }
        tally.settle(self.cache.paths());
    }

    /// Each packet's program by the one mask that tells this port's packets apart.
    fn by_one_mask(&mut self, batch: &mut Batch, input: &Input, mask: MaskId, now: Millis) {
        let mut tally = Tally::new(now);
        let mut packets = batch.drain(..);
        loop {
            let lanes = packets.as_slice().len().min(LANES);
            if lanes == 0 {
                break;
            }
            self.parse(&packets.as_slice()[..lanes], input.port);
            for lane in 0..lanes {
                let hash = self.cache.megaflows().hash(mask, &self.lanes.keys[lane]);
                self.lanes.hashes[lane] = hash;
                self.cache.megaflows().prefetch(hash);
            }
            for lane in 0..lanes {
                self.cache.megaflows().prefetch_entry(self.lanes.hashes[lane]);
            }
            for (lane, packet) in packets.by_ref().take(lanes).enumerate() {
                let (key, hash) = (&self.lanes.keys[lane], self.lanes.hashes[lane]);
                let known = self.cache.megaflows().find(mask, hash, key);
                let found = known.and_then(|flow| self.cache.hit(flow, now));
                self.deliver(packet, lane, found, input, &mut tally);
            }
        }
        tally.settle(self.cache.paths());
    }

    /// Each packet's program by its session, or the long way.
    fn by_sessions(&mut self, batch: &mut Batch, input: &Input, now: Millis) {
        let mut tally = Tally::new(now);
        let mut packets = batch.drain(..);
        loop {
            let lanes = packets.as_slice().len().min(LANES);
            if lanes == 0 {
                break;
            }
            self.parse(&packets.as_slice()[..lanes], input.port);
            self.find_session_keys(lanes);
            for (lane, packet) in packets.by_ref().take(lanes).enumerate() {
                let found = self.session(lane, now);
                let had_one = found.is_some();
                let found = self.deliver(packet, lane, found, input, &mut tally);
                if !had_one {
                    self.learn_session(lane, found, now);
                }
            }
        }
        tally.settle(self.cache.paths());
    }

    /// Finds the headers of packets.
    #[inline]
    fn parse(&mut self, packets: &[Packet], port: PortId) {
        let number = self.cache.port(port).map_or(0, |port| port.number);
        let Lanes { keys, headers, .. } = &mut *self.lanes;
        for ((packet, key), headers) in packets.iter().zip(keys).zip(headers) {
            key[0] = u64::from(port.0) << 16 | u64::from(number);
            *headers = parse(packet.head(&self.memory), packet.len(), key).ok();
        }
    }

    #[inline]
    fn find_session_keys(&mut self, lanes: usize) {
        let Some(sessions) = &self.sessions else { return };
        let Lanes { keys, headers, sessions: wanted, hashes } = &mut *self.lanes;
        for lane in 0..lanes {
            wanted[lane] = headers[lane].and_then(|headers| SessionKey::of(&keys[lane], headers));
            if let Some(key) = &wanted[lane] {
                hashes[lane] = key.hash(sessions.seed());
                sessions.prefetch(hashes[lane]);
            }
        }
        for lane in (0..lanes).filter(|lane| wanted[*lane].is_some()) {
            sessions.prefetch_session(hashes[lane]);
        }
    }

    #[inline]
    fn session(&mut self, lane: usize, now: Millis) -> Option<Found> {
        let (sessions, lanes) = (self.sessions.as_mut()?, &self.lanes);
        let wanted = lanes.sessions[lane].as_ref()?;
        sessions.lookup(wanted, lanes.hashes[lane], &lanes.keys[lane], &mut self.cache, now)
    }

    fn learn_session(&mut self, lane: usize, found: Option<Found>, now: Millis) {
        let (Some(sessions), Some(found)) = (&mut self.sessions, found) else { return };
        let Some(wanted) = &self.lanes.sessions[lane] else { return };
        sessions.learn(
            wanted,
            self.lanes.hashes[lane],
            &self.lanes.keys[lane],
            found,
            &mut self.cache,
            now,
        );
    }

    /// Carries out what was found for a packet, or finds it the long way. Answers with what that was.
    #[inline]
    fn deliver(
        &mut self,
        mut packet: Packet,
        lane: usize,
        found: Option<Found>,
        input: &Input,
        tally: &mut Tally,
    ) -> Option<Found> {
        let account: &Account = &input.account;
        let Some(headers) = self.lanes.headers[lane] else {
            self.outputs.drop(packet, DropReason::Runt, &mut self.pool, account);
            return None;
        };
        if input.unmarked_partial {
            mark_partial(&mut packet, headers, &self.memory);
        }
        let found = match found {
            Some(found) => found,
            None => {
                let (key, now) = (&self.lanes.keys[lane], tally.now);
                self.cache.resolve(input.port, key, packet.packets(), packet.wire_bytes(), now)
            }
        };
        self.perform(packet, headers, found, account, tally);
        Some(found)
    }

    /// Carries out a program, and sees to the credit for it.
    #[inline]
    fn perform(
        &mut self,
        packet: Packet,
        headers: Headers,
        found: Found,
        account: &Account,
        tally: &mut Tally,
    ) {
        let ops: &[Op] = match found {
            Found::Cached(_, program, path) => {
                tally.count(path, &packet, self.cache.paths());
                self.cache.programs().ops(program)
            }
            Found::Once => self.cache.once(),
        };
        act(ops, packet, headers, &self.memory, &mut self.pool, account, &mut self.outputs);
    }
}

impl Lanes {
    fn new() -> Self {
        Self {
            keys: [Key::ZERO; LANES],
            headers: [None; LANES],
            sessions: [None; LANES],
            hashes: [0; LANES],
        }
    }
}

/// Credit that is given together: packets in a row that pass the same path.
struct Tally {
    path: Option<PathId>,
    packets: u64,
    bytes: u64,
    now: Millis,
}

impl Tally {
    const fn new(now: Millis) -> Self {
        Self { path: None, packets: 0, bytes: 0, now }
    }

    #[inline]
    fn count(&mut self, path: PathId, packet: &Packet, paths: &Paths) {
        if self.path != Some(path) {
            self.settle(paths);
            self.path = Some(path);
        }
        self.packets += packet.packets();
        self.bytes += packet.wire_bytes();
    }

    #[inline]
    fn settle(&mut self, paths: &Paths) {
        if let Some(path) = self.path.take() {
            paths.credit(path, self.packets, self.bytes, self.now);
            (self.packets, self.bytes) = (0, 0);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("port", &self.port)
            .field("queue", &self.number)
            .finish_non_exhaustive()
    }
}
