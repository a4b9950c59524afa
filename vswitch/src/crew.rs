//! The workers, as the control thread sees them.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use conntrack::Connections;
use flowtable::{Limits, PathReader, Tables, paths};
use hw::shortcut::Generation;
use packet::{Depot, PortId, Seed};

use crate::clock::Clock;
use crate::counters::WorkerCounters;
use crate::desk::{Desk, Order, Returned};
use crate::news::{Hearing, Shown, news};
use crate::publish::Publication;
use crate::queues::Queues;
use crate::tracking::Tracker;
use crate::worker::{Setup, Worker};

/// How long control waits for workers before it answers without them.
const PATIENCE: Duration = Duration::from_millis(200);

/// One worker.
#[derive(Debug)]
pub struct Member {
    /// The CPU it is pinned to, if it is.
    pub cpu: Option<usize>,
    /// Where orders are left.
    pub desk: Arc<Desk>,
    /// What it has done.
    pub counters: Arc<WorkerCounters>,
    /// What its paths have counted.
    pub paths: PathReader,
    hearing: Hearing,
    thread: Option<JoinHandle<()>>,
}

/// What all workers are made alike with.
#[derive(Clone, Debug)]
pub struct Common {
    /// The frames of all.
    pub depot: Arc<Depot>,
    /// The time.
    pub clock: Clock,
    /// Sizes of each one's caches.
    pub limits: Limits,
    /// Room for so many sessions in each; none if 0.
    pub sessions: u32,
    /// Whether they never sleep.
    pub busy_poll: bool,
    /// What ends the short-cuts between pods; without it there are none.
    pub generation: Option<Arc<Generation>>,
    /// Room for so many connections, of all together.
    pub connections: u32,
}

/// All workers.
#[derive(Debug)]
pub struct Crew {
    members: Vec<Member>,
    tables: Arc<Publication<Tables>>,
    generation: Option<Arc<Generation>>,
    connections: Arc<Connections>,
    /// Workers that did not keep up the last time; nobody waits for them again until they do.
    slow: HashSet<usize>,
}

impl Crew {
    /// Starts a worker for each CPU of `cpus`; `None` is one that goes where the kernel puts it.
    pub fn start(cpus: &[Option<usize>], tables: Tables, common: &Common) -> io::Result<Self> {
        let seed = tables.seed();
        let tables = Arc::new(Publication::new(Arc::new(tables)));
        let generation = common.generation.clone();
        let connections = Connections::new(common.connections, cpus.len(), Seed(seed.0 ^ 3));
        let connections = Arc::new(connections);
        let slow = HashSet::new();
        let mut crew = Self { members: Vec::new(), tables, generation, connections, slow };
        for (number, cpu) in cpus.iter().enumerate() {
            let (writer, reader) = paths(common.limits.megaflows, seed);
            let (desk, counters) = (Arc::new(Desk::new()?), Arc::new(WorkerCounters::default()));
            let (teller, hearing) = news();
            let worker = Worker::new(Setup {
                teller,
                desk: Arc::clone(&desk),
                tables: Arc::clone(&crew.tables),
                depot: Arc::clone(&common.depot),
                paths: writer,
                counters: Arc::clone(&counters),
                clock: common.clock,
                limits: common.limits,
                sessions: common.sessions,
                busy_poll: common.busy_poll,
                cpu: *cpu,
                generation: common.generation.clone(),
                tracker: Tracker::new(Arc::clone(&crew.connections), number),
            })?;
            let thread = Some(spawn(number, *cpu, worker)?);
            crew.members.push(Member { cpu: *cpu, desk, counters, paths: reader, hearing, thread });
        }
        Ok(crew)
    }

    /// The workers, by number.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The connections of all workers.
    pub const fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Where tables are published.
    pub const fn tables(&self) -> &Arc<Publication<Tables>> {
        &self.tables
    }

    /// Whatever workers have shown since the last time.
    pub fn hear(&mut self) -> Vec<Shown> {
        let mut shown = Vec::new();
        for member in &mut self.members {
            // First: what is told from here on rings again.
            member.desk.heard();
            shown.extend(std::iter::from_fn(|| member.hearing.pop().ok()));
        }
        shown
    }

    /// Tells workers whether anybody wants to see packets.
    pub fn watch_packets(&self, watched: bool) {
        self.members
            .iter()
            .for_each(|member| member.desk.watched.store(watched, Ordering::Relaxed));
    }

    /// What the paths of all workers have counted.
    pub fn paths(&self) -> impl Iterator<Item = &PathReader> {
        self.members.iter().map(|member| &member.paths)
    }

    /// Publishes the next tables. Answers when every worker uses them, with the number of those
    /// that still do not.
    pub fn publish(&mut self, tables: Tables) -> Vec<usize> {
        let (number, _) = self.tables.publish(Arc::new(tables));
        self.members.iter().for_each(|member| member.desk.ring());
        // After all have been told: who sees the new generation looks up before it makes any.
        self.end_short_cuts();
        let late = self.wait(|_, member| member.desk.tables.get() >= number);
        self.put_away();
        late
    }

    /// What ends the short-cuts between pods, if there can be any.
    pub const fn generation(&self) -> Option<&Arc<Generation>> {
        self.generation.as_ref()
    }

    /// Ends all short-cuts, after something has changed.
    pub fn end_short_cuts(&self) {
        if let Some(generation) = &self.generation {
            generation.end();
        }
    }

    /// Has workers credit what short-cuts have carried so far, for somebody who is about to look.
    pub fn settle(&mut self) {
        let settling = |member: &Member| {
            (member.counters.short_cuts.get() > 0).then(|| member.desk.order([Order::Settle]))
        };
        let signals: Vec<_> = self.members.iter().map(settling).collect();
        if signals.iter().any(Option::is_some) {
            let slow = self.slow.clone();
            self.wait(|number, member| {
                signals[number].is_none_or(|signal| member.desk.orders_done.get() >= signal)
            });
            // Those that were not asked have not kept up either.
            self.slow.extend(slow.into_iter().filter(|number| signals[*number].is_none()));
        }
    }

    /// Gives orders to one worker, without waiting.
    pub fn order(&self, worker: usize, orders: Vec<Order>) {
        if let Some(member) = self.members.get(worker) {
            member.desk.order(orders);
        }
    }

    /// Has every worker let go of a port, and takes back its ends. A worker that is late keeps its
    /// ends until it looks up, and they are put away then.
    pub fn leave(&mut self, port: PortId) -> Vec<usize> {
        let signals: Vec<_> =
            self.members.iter().map(|member| member.desk.order([Order::Leave(port)])).collect();
        let late = self.wait(|number, member| member.desk.orders_done.get() >= signals[number]);
        // Those that lead there.
        self.end_short_cuts();
        self.put_away();
        late
    }

    /// Has every worker use these egress queues of a port. Answers when all do, with the number of
    /// those that still do not.
    pub fn use_queues(
        &mut self,
        port: PortId,
        queues: impl Fn(usize) -> Option<Box<Queues>>,
        depot: &Depot,
    ) -> Vec<usize> {
        let signals = self.order_queues(port, queues, depot);
        let late = self.wait(|number, member| member.desk.orders_done.get() >= signals[number]);
        self.end_short_cuts();
        self.put_away();
        late
    }

    /// The same without waiting. Answers with the signals to wait for.
    pub fn order_queues(
        &self,
        port: PortId,
        queues: impl Fn(usize) -> Option<Box<Queues>>,
        depot: &Depot,
    ) -> Vec<u64> {
        // In all queues of all workers together, half of the frames may wait.
        let most_held = depot.memory().frames() as usize / 2 / self.members.len().max(1);
        let order = |(worker, member): (usize, &Member)| {
            let queues = queues(worker);
            member.desk.order([Order::Queue { port, queues, most_held }])
        };
        self.members.iter().enumerate().map(order).collect()
    }

    /// Drops what workers have given back.
    pub fn put_away(&self) {
        for member in &self.members {
            drop::<Vec<Returned>>(member.desk.take_returned());
        }
    }

    /// Waits until all workers have done something; answers with those that have not. A worker that
    /// was late before is not waited for again.
    fn wait(&mut self, has_done: impl Fn(usize, &Member) -> bool) -> Vec<usize> {
        let clock = Clock::start();
        let mut nap = Duration::from_micros(10);
        loop {
            let waiting = |(number, member): &(usize, &Member)| !has_done(*number, member);
            let late: Vec<_> =
                self.members.iter().enumerate().filter(waiting).map(|(n, _)| n).collect();
            if late.iter().all(|number| self.slow.contains(number)) || clock.now() > PATIENCE {
                self.slow = late.iter().copied().collect();
                return late;
            }
            std::thread::sleep(nap);
            nap = (nap * 2).min(Duration::from_millis(1));
        }
    }

    /// Ends all workers, each after the turn it is in.
    pub fn stop(&mut self) {
        for member in &self.members {
            member.desk.order([Order::Stop]);
        }
        for (number, member) in self.members.iter_mut().enumerate() {
            if let Some(thread) = member.thread.take()
                && thread.join().is_err()
            {
                tracing::error!(worker = number, "the worker had panicked");
            }
        }
        // Now nobody makes any more.
        self.end_short_cuts();
        self.put_away();
    }
}

fn spawn(number: usize, cpu: Option<usize>, mut worker: Worker) -> io::Result<JoinHandle<()>> {
    // Translation walks from table to table on the stack.
    const STACK: usize = 8 << 20;
    let body = move || {
        if let Some(cpu) = cpu {
            pin(number, cpu);
        }
        worker.run();
    };
    std::thread::Builder::new().name(format!("worker-{number}")).stack_size(STACK).spawn(body)
}

fn pin(number: usize, cpu: usize) {
    let mut cpus = rustix::thread::CpuSet::new();
    cpus.set(cpu);
    if let Err(errno) = rustix::thread::sched_setaffinity(None, &cpus) {
        tracing::warn!(worker = number, cpu, %errno, "cannot pin the worker; it goes where the kernel puts it");
    }
}
