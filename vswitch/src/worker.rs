//! A worker: its turns, and what control has it do.
//!
//! In each turn it looks once for something new from control, then serves its queues one after the
//! other: a batch is received and carried to wherever its packets go (`way.rs`). Packets of one
//! queue are carried out in the order they came in. Between turns it may sleep.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flowtable::{Limits, Paths, Tables};
use hw::shortcut::Generation;
use hw::{RxQueue, Wake};
use packet::{Batch, Depot, Millis, PortId};

use crate::account::Counter;
use crate::clock::{Clock, millis};
use crate::counters::WorkerCounters;
use crate::desk::{Desk, Order, Returned};
use crate::histogram::Stopwatch;
use crate::longest::Longest;
use crate::news::Teller;
use crate::publish::Publication;
use crate::session::Sessions;
use crate::short_cuts::{Destination, ShortCuts};
use crate::sleep::Sleep;
use crate::tracking::Tracker;
use crate::way::{Ingress, Way};

/// The fewest packets a turn may take of a queue that has more.
const LEAST: usize = 32;
/// How long serving one queue may take before the next one's turn comes.
const TURN_NS: u64 = 300_000;
/// The longest sleep; it only bounds how late caches are swept.
const NAP: Duration = Duration::from_secs(5);
/// The longest sleep while there are short-cuts, and how often what they carry is settled.
const SETTLE: Duration = Duration::from_millis(50);
/// Batches that took all there was to take, after which short-cuts are made nevertheless.
const PATIENCE: u32 = 64;

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
    /// The CPU it is pinned to, if it is.
    pub cpu: Option<usize>,
    /// What ends short-cuts, if there are any.
    pub generation: Option<Arc<Generation>>,
    /// What tells control of what there is to be told.
    pub teller: Teller,
    /// What finds out about connections.
    pub tracker: Tracker,
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
    longest: Longest,
    /// The end of the last sleep, until the first turn behind it is over.
    woken: Option<Duration>,
    cpu: Option<usize>,
    /// What ends short-cuts, if there are any.
    generation: Option<Arc<Generation>>,
    /// Changes of what is learned for which short-cuts have been ended.
    learned: u64,
    /// When short-cuts were settled last, and how busy the worker had been by then.
    settled: (Millis, u64),
    /// Short-cuts made.
    made: u64,
    /// Packets by short-cuts of ports that are gone.
    gone_by: u64,
}

/// A queue that a worker polls.
struct Input {
    ingress: Ingress,
    number: u32,
    queue: Box<dyn RxQueue>,
    /// Nanoseconds spent on its packets.
    busy_ns: Arc<Counter>,
    /// How many packets may be taken in one turn.
    limit: usize,
    /// Batches in a row that were as long as they might be.
    full: u32,
    short_cuts: Option<ShortCuts>,
}

impl Worker {
    /// A worker without queues.
    pub fn new(setup: Setup) -> std::io::Result<Self> {
        let sleep = Sleep::new(std::os::fd::AsFd::as_fd(&*setup.desk), setup.busy_poll)?;
        let (number, tables) = setup.tables.get();
        let news = (setup.teller, Arc::clone(&setup.desk));
        let mut way = Way::new(
            tables,
            &setup.depot,
            setup.paths,
            setup.limits,
            setup.sessions,
            setup.tracker,
            news,
        );
        way.stopwatch = Stopwatch::new(setup.clock, Arc::clone(&setup.counters));
        Ok(Self {
            sleep,
            inputs: Vec::new(),
            restless: false,
            batch: Batch::new(),
            way,
            signal: 0,
            number,
            swept: Millis(0),
            stopping: false,
            longest: Longest::default(),
            woken: None,
            cpu: setup.cpu,
            generation: setup.generation,
            learned: 0,
            settled: (Millis(0), 0),
            made: 0,
            gone_by: 0,
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
        self.longest.turn(now);
        // First: what is found out from here on is right for what has changed by now.
        let generation = self.generation.as_ref().map_or(0, |generation| generation.get());
        self.look_up();
        if self.stopping {
            return false;
        }
        self.desk.turns.store(self.desk.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // All that happens in a turn happens at its beginning; only what it takes is measured.
        let mut before = now;
        let mut worked = false;
        for input in &mut self.inputs {
            self.desk.serving.store(input.ingress.port.0.into(), Ordering::Relaxed);
            input.queue.rx(&mut self.batch, input.limit, &mut self.way.pool);
            if self.batch.is_empty() {
                continue;
            }
            worked = true;
            let packets = self.batch.len();
            self.counters.histograms.batch_packets.note(packets as u64);
            if let Some(woken) = self.woken.take() {
                let late = self.clock.now().saturating_sub(woken);
                self.counters.histograms.wake_ns.note(nanoseconds(late));
            }
            self.way.carry(&mut self.batch, &input.ingress, now);
            let after = self.clock.now();
            let spent = nanoseconds(after.saturating_sub(before));
            before = after;
            if input.short_cuts.is_some() {
                let made = input.take_up(&mut self.way, packets, generation, millis(now));
                self.made += made;
                // At once: who is about to look asks only those that have some.
                self.counters.short_cuts.add(made);
            }
            input.learn(spent, packets);
            self.counters.batches.add(1);
            self.counters.packets.add(packets as u64);
            self.counters.busy_ns.add(spent);
            input.busy_ns.add(spent);
        }
        if worked {
            self.end_short_cuts_if_learned();
        } else {
            // Others wait for who holds something, however long it is until the next packet.
            self.way.tracker.rest();
        }
        self.tell_news();
        worked |= self.way.outputs.serve(now, &mut self.way.pool);
        let again = self.way.outputs.clear_up(&mut self.way.pool);
        if worked {
            self.counters.turns.add(1);
            let took = nanoseconds(before.saturating_sub(now));
            self.counters.histograms.turn_ns.note(took);
        }
        // Whatever woke the worker, it was no packet.
        self.woken = None;
        self.sweep(millis(now));
        worked || again
    }

    /// Has control hear of what there is to be told.
    #[inline]
    fn tell_news(&mut self) {
        let taught = self.way.cache.take_news();
        if self.way.teller.take_news() || taught || self.way.tracker.has_news() {
            self.desk.tell();
        }
    }

    /// What was learned in this turn may lead packets elsewhere.
    #[inline]
    fn end_short_cuts_if_learned(&mut self) {
        let learned = self.way.cache.learned();
        if learned != self.learned {
            self.learned = learned;
            self.end_short_cuts();
        }
    }

    fn end_short_cuts(&self) {
        if let Some(generation) = &self.generation {
            generation.end();
        }
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
        let orders = self.desk.take_orders();
        // First: what control has ordered may rest on what it had published before.
        if self.published.number() != self.number {
            let (number, tables) = self.published.get();
            let old = self.way.cache.refresh(tables);
            self.desk.give_back(Returned::Tables(old));
            self.number = number;
        }
        for order in orders {
            self.carry_out(order);
        }
        self.desk.tables.set(self.number);
        self.desk.orders_done.set(signal);
        self.signal = signal;
    }

    fn carry_out(&mut self, order: Order) {
        match order {
            Order::Receive { port, number, mut queue, unmarked_partial, account, busy_ns } => {
                if let Wake::Readable(fd) = queue.wake() {
                    // A queue that cannot wake us is found when we are awake.
                    let _ = self.sleep.add(fd);
                }
                self.way.outputs.last_drops.add(port);
                let table = queue.short_cuts().filter(|_| self.generation.is_some());
                let short_cuts = table.map(|table| ShortCuts::new(table, self.cpu));
                self.inputs.push(Input {
                    ingress: Ingress {
                        port,
                        unmarked_partial,
                        short_cuts: short_cuts.is_some(),
                        account,
                    },
                    number,
                    queue,
                    busy_ns,
                    limit: Batch::CAPACITY,
                    full: 0,
                    short_cuts,
                });
            }
            Order::Send { port, queue, capabilities, account } => {
                self.way.outputs.add(port, queue, &capabilities, account);
            }
            Order::Change(port, capabilities) => {
                self.way.outputs.change(port, &capabilities);
                self.end_short_cuts();
            }
            Order::Queue { port, queues, most_held } => {
                let Way { outputs, pool, .. } = &mut self.way;
                if let Some(old) = outputs.set_queues(port, queues, most_held, pool) {
                    self.desk.give_back(Returned::Queues(port, old));
                }
                self.end_short_cuts();
            }
            Order::Leave(port) => self.leave(port),
            Order::Watch(watch) => {
                self.way.outputs.capture.add(watch);
                self.end_short_cuts();
            }
            Order::Unwatch(number) => {
                if let Some(watch) = self.way.outputs.capture.remove(number) {
                    self.desk.give_back(Returned::Watch(watch));
                }
            }
            Order::Inject(injection) => {
                self.way.inject(&injection, self.clock.now());
            }
            Order::Settle => {
                self.settle(millis(self.clock.now()));
                self.report();
            }
            Order::Drops(request) => request.answer(&self.way.outputs.last_drops),
            Order::Flush(reply) => {
                // Whoever asked may have gone.
                let _ = reply.try_send(self.flush());
            }
            Order::Dump(request) => request.answer(&self.way.cache, self.way.sessions.as_ref()),
            Order::Stop => self.stopping = true,
        }
        self.restless = self.inputs.iter().any(|input| matches!(input.queue.wake(), Wake::Always));
    }

    /// Forgets what is cached; answers how many megaflows and sessions there were.
    fn flush(&mut self) -> (usize, usize) {
        let Way { cache, sessions, openings, .. } = &mut self.way;
        let sessions = sessions.as_mut().map_or(0, |sessions| sessions.flush(cache));
        openings.flush(cache);
        let flushed = (cache.flush(), sessions);
        self.end_short_cuts();
        self.report();
        flushed
    }

    fn leave(&mut self, port: PortId) {
        let (left, kept): (Vec<_>, _) =
            self.inputs.drain(..).partition(|input| input.ingress.port == port);
        self.inputs = kept;
        self.way.outputs.last_drops.remove(port);
        for Input { queue, short_cuts, ingress, .. } in left {
            if let Some(mut short_cuts) = short_cuts {
                let now = millis(self.clock.now());
                short_cuts.close(&mut self.way.cache, &ingress.account, now);
                self.gone_by += short_cuts.frames();
            }
            if let Wake::Readable(fd) = queue.wake() {
                self.sleep.remove(fd);
            }
            self.desk.give_back(Returned::Rx(port, queue));
        }
        self.way.close_fragments(port);
        let Way { outputs, pool, .. } = &mut self.way;
        if let Some(queues) = outputs.close_queues(port, pool) {
            self.desk.give_back(Returned::Queues(port, queues));
        }
        if let Some(queue) = outputs.remove(port) {
            self.desk.give_back(Returned::Tx(port, queue));
        }
    }

    /// A little of the work that is nobody's turn.
    fn sweep(&mut self, now: Millis) {
        if now == self.swept {
            return;
        }
        self.swept = now;
        if now.since(self.settled.0) >= millis(SETTLE).0 {
            self.settle(now);
        }
        self.way.expire_fragments(now);
        let Way { cache, sessions, openings, tracker, .. } = &mut self.way;
        cache.sweep(now);
        tracker.sweep(now);
        if let Some(sessions) = sessions {
            sessions.sweep(cache, now);
        }
        openings.sweep(cache, now);
        self.report();
    }

    /// Credits what short-cuts have carried since the last time.
    fn settle(&mut self, now: Millis) {
        let (since, before) = self.settled;
        let busy = self.counters.busy_ns.get();
        self.settled = (now, busy);
        // Half of the time is free.
        let is_idle = 2 * (busy - before) < now.since(since) * 1_000_000;
        for Input { short_cuts, ingress, .. } in &mut self.inputs {
            if let Some(short_cuts) = short_cuts {
                short_cuts.settle_all(&mut self.way.cache, &ingress.account, is_idle, now);
            }
        }
    }

    /// Brings the counters up to date that others keep.
    fn report(&self) {
        let Way { cache, sessions, openings, outputs, pool, .. } = &self.way;
        let counters = &self.counters;
        let sessions_stats = sessions.as_ref().map(Sessions::stats).unwrap_or_default();
        counters.follow(cache.stats(), sessions_stats, openings.stats());
        let receiving: u64 = self.inputs.iter().map(|input| input.queue.syscalls()).sum();
        counters.syscalls.set(receiving + outputs.syscalls() + self.sleep.syscalls);
        counters.sent.set(outputs.sent);
        counters.unheard.set(self.way.teller.unheard);
        counters.idle_ns.set(nanoseconds(self.sleep.vain));
        counters.sessions.set(sessions.as_ref().map_or(0, Sessions::len) as u64);
        counters.megaflows.set(cache.megaflows().len() as u64);
        counters.masks.set(cache.megaflows().all_masks() as u64);
        counters.programs.set(cache.programs().len() as u64);
        counters.paths.set(cache.paths().len() as u64);
        counters.operations.set(cache.programs().operations() as u64);
        counters.megaflow_bytes.set(cache.megaflows().bytes() as u64);
        counters.program_bytes.set(cache.programs().bytes() as u64);
        counters.path_bytes.set(cache.paths().bytes() as u64);
        counters.session_bytes.set(sessions.as_ref().map_or(0, Sessions::bytes) as u64);
        counters.last_drop_bytes.set(outputs.last_drops.bytes() as u64);
        counters.free_frames.set(pool.len() as u64);
        counters.longest_turn_ns.set(nanoseconds(self.longest.get()));
        counters.short_cuts.set(self.short_cuts() as u64);
        counters.short_cuts_made.set(self.made);
        let carried = self.inputs.iter().filter_map(|input| input.short_cuts.as_ref());
        let carried: u64 = carried.map(ShortCuts::frames).sum();
        counters.short_cut_packets.set(self.gone_by + carried);
    }

    /// How many short-cuts there are.
    fn short_cuts(&self) -> usize {
        let all = self.inputs.iter().filter_map(|input| input.short_cuts.as_ref());
        all.map(ShortCuts::len).sum()
    }

    fn rest(&mut self) {
        self.report();
        self.longest.rest();
        self.way.tracker.rest();
        self.counters.sleeps.add(1);
        self.desk.asleep.store(true, Ordering::Relaxed);
        let clock = self.clock;
        let most = if self.short_cuts() > 0 { SETTLE } else { NAP };
        let due = self.way.outputs.due().map(|due| due.saturating_sub(clock.now()));
        self.sleep.sleep(due.map_or(most, |due| due.min(most)), || clock.now());
        self.desk.asleep.store(false, Ordering::Relaxed);
        self.woken = Some(self.clock.now());
        self.desk.woken();
    }
}

impl Input {
    /// Makes short-cuts for what a batch of so many packets proposes; answers how many. Not while
    /// more packets may wait, since these would be overtaken; but if more always wait, then after
    /// some time.
    fn take_up(&mut self, way: &mut Way, packets: usize, generation: u32, now: Millis) -> u64 {
        let Some(short_cuts) = &mut self.short_cuts else { return 0 };
        let waits = packets == self.limit && self.full < PATIENCE;
        self.full = if waits { self.full + 1 } else { 0 };
        let mut made = 0;
        let Way { cache, outputs, proposals, .. } = way;
        for proposal in proposals.drain(..) {
            let target = outputs.short_cut(proposal.port).filter(|_| !waits);
            let to = outputs.account(proposal.port).map(Arc::clone);
            let is_made = target.zip(to).is_some_and(|(target, to)| {
                let destination = Destination { target, to, generation };
                short_cuts.take_up(&proposal, destination, cache, &self.ingress.account, now)
            });
            if is_made {
                made += 1;
            } else {
                cache.release(proposal.program, proposal.path);
            }
        }
        made
    }

    /// Learns from a batch that took so long how many packets to take the next time, so that a port
    /// with costly ones harms itself. Never a few only: what a batch costs as such, in system calls
    /// and in what the kernel does on their occasion, would be paid for ever fewer packets.
    fn learn(&mut self, spent: u64, packets: usize) {
        if spent > TURN_NS {
            self.limit = (self.limit / 2).max(LEAST);
        } else if packets == self.limit {
            self.limit = (self.limit * 2).min(Batch::CAPACITY);
        }
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input")
            .field("port", &self.ingress.port)
            .field("queue", &self.number)
            .finish_non_exhaustive()
    }
}
