//! The way of a packet, top to bottom.
//!
//! A worker takes turns. In each it looks once for something new from control, then serves its
//! queues one after the other: a batch is received, each packet's program is found, and carried
//! out; what is to be sent waits for the end of the batch and goes out together. Packets of one
//! queue are carried out in the order they came in.
//!
//! How a program is found depends on what the port's packets are told apart by (its *lead*):
//!
//! * by nothing: one megaflow is for all of them, and they are not even parsed, if its program does
//!   not need the headers;
//! * by one mask: a hash and a probe of the megaflows (tier 2);
//! * by several masks: a session (tier 1) first, then the megaflows.
//!
//! Whatever misses goes through the tables (tier 3), which makes a megaflow of it. The steps of a
//! tier are done for up to `LANES` packets at a time, each asking for the memory that the next
//! one needs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use api::DropReason;
use api::request::Direction;
use flowtable::{
    Cache, Found, Lead, Limits, MaskId, MegaflowId, Millis, Op, PathId, Paths, Resolved, Seed,
    Tables,
};
use hw::{RxQueue, Wake};
use packet::{
    Batch, Depot, FramePool, Headers, Key, Memory, Packet, PortId, ethernet, mark_partial, parse,
};

use crate::account::{Account, Counter};
use crate::act::{Verdict, act};
use crate::clock::{Clock, millis};
use crate::counters::WorkerCounters;
use crate::desk::{Desk, Order, Returned};
use crate::outputs::Outputs;
use crate::publish::Publication;
use crate::session::{SessionKey, Sessions};
use crate::sleep::Sleep;

/// Packets that go through a step together.
const LANES: usize = 32;
/// How many packets ahead of the parser their heads are fetched.
const AHEAD: usize = 6;
/// How long serving one queue may take before the next one's turn comes.
const TURN_NS: u64 = 300_000;
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
    /// Nanoseconds spent on its packets.
    busy_ns: Arc<Counter>,
    /// How many packets may be taken in one turn.
    limit: usize,
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
    /// What becomes of the first packets of the batch, as far as that is known.
    verdicts: Vec<Verdict>,
}

/// What is known of the packets that go through a step together.
#[derive(Debug)]
struct Lanes {
    keys: [Key; LANES],
    /// Where the headers are; of a runt, which has none, nowhere.
    headers: [Headers; LANES],
    /// Whether the session keys are those of these packets.
    want_sessions: bool,
    sessions: [Option<SessionKey>; LANES],
    hashes: [u64; LANES],
    guesses: [Option<MegaflowId>; LANES],
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
                verdicts: Vec::with_capacity(Batch::CAPACITY),
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
            input.queue.rx(&mut self.batch, input.limit, &mut self.way.pool);
            if self.batch.is_empty() {
                continue;
            }
            worked = true;
            let packets = self.batch.len();
            self.way.carry(&mut self.batch, input, before);
            let after = self.clock.now();
            let spent = nanoseconds(after.saturating_sub(before));
            before = after;
            input.learn(spent, packets);
            self.counters.batches.add(1);
            self.counters.packets.add(packets as u64);
            self.counters.busy_ns.add(spent);
            input.busy_ns.add(spent);
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
            Order::Receive { port, number, queue, unmarked_partial, account, busy_ns } => {
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
                    busy_ns,
                    limit: Batch::CAPACITY,
                });
            }
            Order::Send { port, queue, capabilities, account } => {
                self.way.outputs.add(port, queue, &capabilities, account);
            }
            Order::Change(port, capabilities) => self.way.outputs.change(port, &capabilities),
            Order::Leave(port) => self.leave(port),
            Order::Watch(watch) => self.way.outputs.capture.add(watch),
            Order::Unwatch(number) => {
                if let Some(watch) = self.way.outputs.capture.remove(number) {
                    self.desk.give_back(Returned::Watch(watch));
                }
            }
            Order::Dump(request) => request.answer(&self.way.cache, self.way.sessions.as_ref()),
            Order::Stop => self.stopping = true,
        }
        self.restless = self.inputs.iter().any(|input| matches!(input.queue.wake(), Wake::Always));
    }

    fn leave(&mut self, port: PortId) {
        let (left, kept): (Vec<_>, _) = self.inputs.drain(..).partition(|input| input.port == port);
        self.inputs = kept;
        for Input { queue, .. } in left {
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
        let Way { cache, sessions, outputs, pool, .. } = &self.way;
        let counters = &self.counters;
        counters.follow(cache.stats(), sessions.as_ref().map(Sessions::stats).unwrap_or_default());
        let receiving: u64 = self.inputs.iter().map(|input| input.queue.syscalls()).sum();
        counters.syscalls.set(receiving + outputs.syscalls() + self.sleep.syscalls);
        counters.sent.set(outputs.sent);
        counters.idle_ns.set(nanoseconds(self.sleep.vain));
        counters.sessions.set(sessions.as_ref().map_or(0, Sessions::len) as u64);
        counters.megaflows.set(cache.megaflows().len() as u64);
        counters.masks.set(cache.megaflows().all_masks() as u64);
        counters.programs.set(cache.programs().len() as u64);
        counters.free_frames.set(pool.len() as u64);
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
    /// Learns from a batch that took so long how many packets to take the next time, so that a port
    /// with costly ones harms itself. Never a few only: what a batch costs as such, in system calls
    /// and in what the kernel does on their occasion, would be paid for ever fewer packets.
    fn learn(&mut self, spent: u64, packets: usize) {
        if spent > TURN_NS {
            self.limit = (self.limit / 2).max(LANES);
        } else if packets == self.limit {
            self.limit = (self.limit * 2).min(Batch::CAPACITY);
        }
    }
}

impl Way {
    /// Carries a batch from one queue to wherever its packets go.
    #[inline]
    fn carry(&mut self, batch: &mut Batch, input: &Input, now: Duration) {
        let account: &Account = &input.account;
        account.rx.add(batch.len() as u64);
        account.rx_bytes.add(batch.iter().map(|packet| packet.len() as u64).sum());
        self.outputs.capture.now = now;
        let now = millis(now);
        if self.outputs.capture.sees(input.port, Direction::Rx) {
            for packet in batch.iter() {
                self.outputs.capture.packet(input.port, Direction::Rx, packet, &self.memory);
            }
        }
        self.cache.begin();
        let mut tally = Tally::new(now);
        match self.cache.lead(input.port) {
            Lead::All(flow) => match self.cache.hit(flow, batch.len(), now) {
                Some(found) => self.all_alike(batch, input, found, &mut tally),
                None => self.by_sessions(batch, input, &mut tally),
            },
            Lead::One(mask) => self.by_one_mask(batch, input, mask, &mut tally),
            Lead::Many => self.by_sessions(batch, input, &mut tally),
        }
        tally.settle(self.cache.paths());
        self.outputs.dispatch(batch, &mut self.verdicts, &mut self.pool, account);
        self.outputs.flush(&mut self.pool, account);
    }

    /// One program for all. If it looks at nothing but the addresses, the packets are not parsed.
    fn all_alike(&mut self, batch: &mut Batch, input: &Input, found: Found, tally: &mut Tally) {
        let unread = matches!(found, Found::Cached(program, _) if !program.needs_headers());
        if !unread || input.unmarked_partial {
            while let Some(first) = self.next_lanes(batch) {
                let lanes = (batch.len() - first).min(LANES);
                self.parse(&batch[first..first + lanes], input.port);
                for lane in 0..lanes {
                    self.deliver(batch, lane, Some(found), input, tally);
                }
            }
        }
        while let Some(at) = self.next_lanes(batch) {
            if batch[at].len() < ethernet::LEN {
                self.verdicts.push(Verdict::Drop(DropReason::Runt));
            } else {
                self.perform(batch, Headers::default(), found, &input.account, tally);
            }
        }
    }

    /// Each packet's program by the one mask that tells this port's packets apart.
    fn by_one_mask(&mut self, batch: &mut Batch, input: &Input, mask: MaskId, tally: &mut Tally) {
        let mut last = None;
        while let Some(first) = self.next_lanes(batch) {
            let lanes = (batch.len() - first).min(LANES);
            self.parse(&batch[first..first + lanes], input.port);
            if let Some(flow) = last
                && self.all_agree(flow, mask, lanes)
                && let Some(found) = self.cache.hit(flow, lanes, tally.now)
            {
                for lane in 0..lanes {
                    self.deliver(batch, lane, Some(found), input, tally);
                }
                continue;
            }
            self.find_guesses(mask, lanes);
            for lane in 0..lanes {
                let Lanes { keys, hashes, guesses, .. } = &*self.lanes;
                last = self.cache.megaflows().find(mask, hashes[lane], guesses[lane], &keys[lane]);
                let found = last.and_then(|flow| self.cache.hit(flow, 1, tally.now));
                self.deliver(batch, lane, found, input, tally);
            }
        }
    }

    /// Hashes the keys of all lanes, and fetches the megaflows they will most likely meet.
    #[inline]
    fn find_guesses(&mut self, mask: MaskId, lanes: usize) {
        let Lanes { keys, hashes, guesses, want_sessions, .. } = &mut *self.lanes;
        *want_sessions = false;
        let megaflows = self.cache.megaflows();
        megaflows.hash_all(mask, &keys[..lanes], hashes);
        for (guess, hash) in guesses.iter_mut().zip(&hashes[..lanes]) {
            *guess = megaflows.guess(*hash);
        }
    }

    /// Whether all lanes meet this megaflow, as they do when one rule is for many packets: then
    /// there is nothing to look up. The first packet that does not ends the attempt.
    #[inline]
    fn all_agree(&self, flow: MegaflowId, mask: MaskId, lanes: usize) -> bool {
        self.lanes.keys[..lanes].iter().all(|key| self.cache.megaflows().agrees(flow, mask, key))
    }

    /// Each packet's program by its session, or the long way.
    fn by_sessions(&mut self, batch: &mut Batch, input: &Input, tally: &mut Tally) {
        while let Some(first) = self.next_lanes(batch) {
            let lanes = (batch.len() - first).min(LANES);
            self.parse(&batch[first..first + lanes], input.port);
            self.find_session_keys(lanes);
            for lane in 0..lanes {
                let found = self.session(lane, tally.now);
                self.deliver(batch, lane, found, input, tally);
            }
        }
    }

    /// The first packet of the batch that has no verdict yet: where the next lanes begin.
    fn next_lanes(&self, batch: &Batch) -> Option<usize> {
        (self.verdicts.len() < batch.len()).then_some(self.verdicts.len())
    }

    /// Finds the headers of packets.
    #[inline]
    fn parse(&mut self, packets: &[Packet], port: PortId) {
        let number = self.cache.port(port).map_or(0, |port| port.number);
        let Lanes { keys, headers, .. } = &mut *self.lanes;
        packets.iter().take(AHEAD).for_each(|packet| packet.prefetch(&self.memory));
        for (n, ((packet, key), headers)) in packets.iter().zip(keys).zip(headers).enumerate() {
            if let Some(later) = packets.get(n + AHEAD) {
                later.prefetch(&self.memory);
            }
            key[0] = u64::from(port.0) << 16 | u64::from(number);
            *headers = parse(packet.head(&self.memory), packet.len(), key).unwrap_or_default();
        }
    }

    #[inline]
    fn find_session_keys(&mut self, lanes: usize) {
        let Some(sessions) = &self.sessions else { return };
        let Lanes { keys, headers, sessions: wanted, hashes, want_sessions, .. } = &mut *self.lanes;
        *want_sessions = true;
        for lane in 0..lanes {
            wanted[lane] = SessionKey::of(&keys[lane], headers[lane]);
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

    #[cold]
    fn learn_session(&mut self, lane: usize, flow: MegaflowId, now: Millis) {
        let (Some(sessions), lanes) = (&mut self.sessions, &self.lanes) else { return };
        let wanted = lanes.sessions[lane].as_ref().filter(|_| lanes.want_sessions);
        let Some(wanted) = wanted else { return };
        sessions.learn(wanted, lanes.hashes[lane], &lanes.keys[lane], flow, &mut self.cache, now);
    }

    /// Carries out what was found for the packet whose turn it is, or finds it the long way.
    #[inline]
    fn deliver(
        &mut self,
        batch: &mut Batch,
        lane: usize,
        found: Option<Found>,
        input: &Input,
        tally: &mut Tally,
    ) {
        if batch[self.verdicts.len()].len() < ethernet::LEN {
            return self.verdicts.push(Verdict::Drop(DropReason::Runt));
        }
        let headers = self.lanes.headers[lane];
        if input.unmarked_partial {
            mark_partial(&mut batch[self.verdicts.len()], headers, &self.memory);
        }
        let found = match found {
            Some(found) => found,
            None => self.resolve(&batch[self.verdicts.len()], lane, input.port, tally.now),
        };
        self.perform(batch, headers, found, &input.account, tally);
    }

    /// The long way.
    #[cold]
    fn resolve(&mut self, packet: &Packet, lane: usize, port: PortId, now: Millis) -> Found {
        let key = &self.lanes.keys[lane];
        match self.cache.resolve(port, key, packet.packets(), packet.wire_bytes(), now) {
            Resolved::Cached(flow, found) => {
                self.learn_session(lane, flow, now);
                found
            }
            Resolved::Once => Found::Once,
        }
    }

    /// Carries out the program of the packet whose turn it is, and sees to the credit for it.
    #[inline]
    fn perform(
        &mut self,
        batch: &mut Batch,
        headers: Headers,
        found: Found,
        account: &Account,
        tally: &mut Tally,
    ) {
        if self.outputs.begin(self.verdicts.len()) {
            self.outputs.dispatch(batch, &mut self.verdicts, &mut self.pool, account);
            self.outputs.begin(0);
        }
        let packet = &mut batch[self.verdicts.len()];
        let ops: &[Op] = match found {
            Found::Cached(program, path) => {
                tally.count(path, packet, self.cache.paths());
                self.cache.programs().ops(program)
            }
            Found::Once => self.cache.once(),
        };
        let verdict =
            act(ops, packet, headers, &self.memory, &mut self.pool, account, &mut self.outputs);
        self.verdicts.push(verdict);
    }
}

impl Lanes {
    fn new() -> Self {
        Self {
            keys: [Key::ZERO; LANES],
            headers: [Headers::default(); LANES],
            want_sessions: false,
            sessions: [None; LANES],
            hashes: [0; LANES],
            guesses: [None; LANES],
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
