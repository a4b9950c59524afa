//! A switch of one worker; or of two, of which one has what clients say, and the other what servers
//! do: each with sessions of its own, to connections that are those of both.

use std::collections::BTreeMap;
use std::time::Duration;

use api::FlowMod;
use api::reply::Tier;
use conntrack::Connections;
use flowtable::VlanMode;
use packet::Millis;
use vswitch::clock::millis;
use vswitch::desk::Order;
use vswitch::dump::{CachedFlow, DumpRequest, Which};

use crate::common::{Bench, Counts, Options, Outcome};

pub(crate) struct Switch {
    workers: Vec<Bench>,
    /// Whether each has what the other had.
    is_turned: bool,
}

impl Switch {
    /// Of so many workers.
    pub(crate) fn new(workers: usize, options: Options) -> Self {
        let vlans = vec![VlanMode::Trunk(Vec::new()); 4];
        let workers = match workers {
            1 => vec![Bench::new(&vlans, options)],
            _ => Bench::two(&vlans, options).into(),
        };
        Self { workers, is_turned: false }
    }

    pub(crate) fn now(&self) -> Millis {
        millis(self.workers[0].now)
    }

    /// Lets time pass, in which nobody looks at anything.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.workers.iter_mut().for_each(|worker| worker.now += Duration::from_secs(seconds));
    }

    /// From now on each worker has what the other had.
    pub(crate) const fn turn_around(&mut self) {
        self.is_turned = !self.is_turned;
    }

    pub(crate) fn flow_mods(&mut self, changes: &[FlowMod]) {
        self.workers[0].flow_mods(changes);
        self.workers.iter().for_each(|worker| worker.desk.ring());
    }

    /// Carries packets of clients or servers, and what the interpreter makes of them.
    pub(crate) fn carry(&mut self, back: bool, packets: &[Vec<u8>]) -> (Outcome, Outcome) {
        let (port, most) = (if back { 2 } else { 1 }, self.workers.len());
        let real = self.workers[usize::from(back != self.is_turned) % most].send(port, packets);
        (real, self.workers[0].interpret(port, packets))
    }

    /// Has all of them look around.
    pub(crate) fn turn(&mut self) {
        self.workers.iter_mut().for_each(Bench::turn);
    }

    /// The same a moment later, with what is always true.
    pub(crate) fn check(&mut self) {
        self.workers.iter_mut().for_each(Bench::check);
    }

    pub(crate) fn connections(&self) -> &Connections {
        &self.workers[0].connections
    }

    /// Those that the interpreter knows.
    pub(crate) fn literal_connections(&self) -> &Connections {
        &self.workers[0].literal_connections
    }

    /// What the flows count, of all workers.
    pub(crate) fn counts(&self) -> Counts {
        let mut counts = self.workers.iter().map(Bench::counts);
        let first = counts.next().unwrap_or_default();
        counts.fold(first, sum)
    }

    pub(crate) fn expected_counts(&self) -> Counts {
        self.workers[0].expected_counts()
    }

    /// Packets that have met a session, of each worker.
    pub(crate) fn hits(&self) -> Vec<u64> {
        self.workers.iter().map(|worker| worker.counters.session_hits.get()).collect()
    }

    /// How many sessions each worker has.
    pub(crate) fn sessions(&self) -> Vec<u64> {
        self.workers.iter().map(|worker| worker.counters.sessions.get()).collect()
    }

    /// All sessions.
    pub(crate) fn cached(&mut self) -> Vec<CachedFlow> {
        let pages = self.workers.iter_mut().map(|worker| {
            let (reply, page) = std::sync::mpsc::sync_channel(1);
            let request = DumpRequest { tier: Tier::Session, which: Which::From(0), reply };
            worker.desk.order([Order::Dump(request)]);
            worker.turn();
            page.try_recv().unwrap()
        });
        pages.flatten().collect()
    }

    /// Has what is cached forgotten; answers how many sessions that were.
    pub(crate) fn flush(&mut self) -> usize {
        let flushed = self.workers.iter_mut().map(|worker| {
            let (reply, flushed) = std::sync::mpsc::sync_channel(1);
            worker.desk.order([Order::Flush(reply)]);
            worker.turn();
            flushed.try_recv().unwrap().1
        });
        flushed.sum()
    }
}

/// What two workers count, of whose paths nothing was folded.
fn sum(one: Counts, other: Counts) -> Counts {
    let each = |one: Vec<(u8, u64)>, other| {
        let mut sums = BTreeMap::new();
        for (table, packets) in one.into_iter().chain(other) {
            *sums.entry(table).or_default() += packets;
        }
        sums.into_iter().collect()
    };
    let rules = one.rules.into_iter().zip(other.rules).map(|(one, other)| {
        assert_eq!(one.0, other.0);
        (one.0, one.1 + other.1, one.2 + other.2)
    });
    Counts {
        rules: rules.collect(),
        matches: each(one.matches, other.matches),
        misses: each(one.misses, other.misses),
        groups: Vec::new(),
    }
}
