//! What few connections have to do with others: those that announce some, and those that were
//! announced.
//!
//! It lies apart from the connections, under locks that only packets of such connections take; a bit
//! in the connection says that there is something.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};

use api::Alg;
use packet::Seed;
use parking_lot::Mutex;

use crate::expectations::Expectations;
use crate::shifts::Shifts;
use crate::table::ConnectionId;
use crate::tuple::Tuple;

/// So many connections one may have announced that have not come.
pub(crate) const MOST_EXPECTED: usize = 8;

/// What a connection has to do with others.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Kin {
    /// The protocol by which it announces others.
    pub(crate) alg: Option<Alg>,
    /// The original tuple of the one that has announced it.
    pub(crate) master: Option<Tuple>,
}

impl Kin {
    /// Whether there is anything.
    pub(crate) const fn is_any(&self) -> bool {
        self.alg.is_some() || self.master.is_some()
    }
}

/// What has been read of a connection that announces others.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    pub(crate) sides: [Side; 2],
    /// What it has announced, the oldest first: tuples without a source port. Some have come.
    pub(crate) announced: VecDeque<Tuple>,
}

/// What has been read of one side.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Side {
    /// Where lines began that came last: sequence numbers.
    starts: [Option<u32>; 4],
    next: u8,
    /// What rewritten lines make of its sequence numbers.
    pub(crate) shifts: Shifts,
}

impl Side {
    /// Whether a line begins with this number.
    pub(crate) fn is_start(&self, number: u32) -> bool {
        self.starts.contains(&Some(number)) || self.shifts.at(number).is_some()
    }

    /// Notes that one does.
    pub(crate) fn note_start(&mut self, number: u32) {
        if !self.starts.contains(&Some(number)) {
            self.starts[usize::from(self.next) % self.starts.len()] = Some(number);
            self.next = self.next.wrapping_add(1);
        }
    }
}

#[derive(Debug)]
struct Relation {
    kin: Kin,
    watch: Option<Box<Watch>>,
}

/// What all connections have to do with others, by their places.
#[derive(Debug)]
pub(crate) struct Relations {
    shards: [Mutex<BTreeMap<u32, Relation>>; 16],
    pub(crate) expectations: Expectations,
    bytes: AtomicUsize,
}

impl Relations {
    pub(crate) fn new(connections: u32, seed: Seed) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            expectations: Expectations::new(connections, seed),
            bytes: AtomicUsize::new(0),
        }
    }

    fn shard(&self, place: u32) -> &Mutex<BTreeMap<u32, Relation>> {
        &self.shards[place as usize % self.shards.len()]
    }

    /// Notes what a connection has to do with others that is about to live at this place.
    pub(crate) fn put(&self, place: u32, kin: Kin) {
        let watch = kin.alg.map(|_| Box::default());
        let relation = Relation { kin, watch };
        self.bytes.fetch_add(relation.bytes(), Ordering::Relaxed);
        if let Some(before) = self.shard(place).lock().insert(place, relation) {
            self.bytes.fetch_sub(before.bytes(), Ordering::Relaxed);
        }
    }

    /// Forgets it, and what was announced.
    pub(crate) fn forget(&self, id: ConnectionId) {
        let Some(relation) = self.shard(id.place()).lock().remove(&id.place()) else { return };
        self.bytes.fetch_sub(relation.bytes(), Ordering::Relaxed);
        for announced in relation.watch.iter().flat_map(|watch| &watch.announced) {
            self.expectations.remove(announced, id);
        }
    }

    /// What the connection at a place has to do with others.
    pub(crate) fn kin(&self, place: u32) -> Kin {
        self.shard(place).lock().get(&place).map_or_else(Kin::default, |relation| relation.kin)
    }

    /// Does something with what has been read of the connection at a place, if it is watched.
    pub(crate) fn watch<T>(
        &self,
        place: u32,
        work: impl FnOnce(Alg, &mut Watch) -> T,
    ) -> Option<T> {
        let mut shard = self.shard(place).lock();
        let relation = shard.get_mut(&place)?;
        Some(work(relation.kin.alg?, relation.watch.as_mut()?))
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed) + self.expectations.bytes()
    }
}

impl Relation {
    /// With what it may come to hold.
    fn bytes(&self) -> usize {
        let watch = size_of::<Watch>() + MOST_EXPECTED * size_of::<Tuple>();
        size_of::<u32>() + size_of::<Self>() + self.watch.as_ref().map_or(0, |_| watch)
    }
}
