//! All connections, for all threads.
//!
//! A connection has two tuples: that of the packets which go as its first one did, and that of those
//! which come back. Both lead to it, or neither does: whoever makes one writes it where nobody looks,
//! enters both tuples, and looks whether somebody else has entered one of them meanwhile. If so it
//! takes its own away again. Of two that are made at once perhaps neither is; never are there two for
//! one packet.

use packet::Seed;

use crate::Direction;
use crate::awaited::Awaited;
use crate::connection::{Connection, Stage, Use};
use crate::gone::Gone;
use crate::grace::Grace;
use crate::index::{Entry, Full, Index};
use crate::kin::{Kin, Relations};
use crate::link::Link;
use crate::marks::AllMarks;
use crate::message::Content;
use crate::news::Newsroom;
use crate::opened::Opened;
use crate::places::Places;
use crate::population::Population;
use crate::sync::{AtomicU32, AtomicU64, Ordering, zeroed};
use crate::tally::Tally;
use crate::tuple::{Hashed, Tuple};
use crate::zones::Zones;

/// A connection, as long as it lives.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq, bytemuck::Zeroable)]
#[repr(C)]
pub struct ConnectionId {
    place: u32,
    is_use: Use,
}

impl ConnectionId {
    /// Where it is: no other connection that lives is there.
    pub const fn place(self) -> u32 {
        self.place
    }
}

/// Why a connection was not made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotMade {
    /// No connection begins with such a packet.
    #[error("no connection begins with such a packet")]
    BeginsNone,
    /// There are as many as there may be.
    #[error("there is no room for another connection")]
    Full,
    /// Its zone has as many as it may have.
    #[error("the zone has as many connections as it may have")]
    ZoneLimit,
    /// Every port that it might have been given is taken.
    #[error("every port that it might have been given is taken")]
    NoPort,
    /// There is one with this tuple, or another thread is making one.
    #[error("there is a connection between these ends")]
    Exists,
}

/// Both tuples of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tuples {
    /// Of the packets that go as its first one did.
    pub original: Tuple,
    /// Of those that come back.
    pub reply: Tuple,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beginning<'a> {
    pub(crate) awaited: &'a Awaited,
    /// What begins it, and what is known then.
    pub(crate) content: &'a Content,
    pub(crate) opened: &'a Opened,
    pub(crate) mark: u32,
    pub(crate) label: u128,
    pub(crate) now: u32,
    pub(crate) kin: Kin,
}

mod departure;

#[derive(Debug)]
pub(crate) struct Table {
    seed: Seed,
    index: Index,
    most: u32,
    /// IPv4's places come first, then as many of IPv6: what has never been touched takes no memory.
    connections: Box<[Connection]>,
    /// Of the same places.
    links: Box<[Link]>,
    /// The same.
    pub(crate) marks: AllMarks,
    places: [Places; 2],
    gone: Gone,
    /// Both tuples of each connection, by family: two words each of IPv4, five of IPv6.
    tuples: [Box<[AtomicU64]>; 2],
    pub(crate) grace: Grace,
    relations: Relations,
    pub(crate) zones: Zones,
    pub(crate) newsroom: Newsroom,
    pub(crate) population: Population,
    pub(crate) tally: Tally,
    /// The next place that is looked at whether its connection has had its time.
    hand: AtomicU32,
}

/// Both families, by whether it is IPv4: in the order of whatever is kept for each.
const FAMILIES: [bool; 2] = [false, true];

/// Words of a tuple, by family.
const fn words(is_ipv4: bool) -> usize {
    if is_ipv4 { 2 } else { Tuple::WORDS }
}

impl Table {
    pub(crate) fn new(most: u32, members: usize, seed: Seed) -> Self {
        let room = most as usize;
        Self {
            seed,
            index: Index::new(2 * room),
            most,
            connections: zeroed(2 * room),
            links: zeroed(2 * room),
            marks: AllMarks::new(2 * room),
            places: [(); 2].map(|()| Places::new(most)),
            gone: Gone::new(),
            tuples: FAMILIES.map(|is_ipv4| zeroed(2 * words(is_ipv4) * room)),
            grace: Grace::new(members),
            relations: Relations::new(most, seed),
            zones: Zones::new(),
            newsroom: Newsroom::default(),
            population: Population::new(most),
            tally: Tally::default(),
            hand: AtomicU32::new(0),
        }
    }

    /// What connections have to do with others.
    pub(crate) const fn relations(&self) -> &Relations {
        &self.relations
    }

    /// How many connections there are.
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.population.len()).unwrap_or(usize::MAX)
    }

    /// Whether there are nearly as many as there may be.
    pub(crate) fn is_crowded(&self) -> bool {
        self.population.len() > (self.most - self.most / 20).into()
    }

    /// How many places have ever been in use.
    pub(crate) fn used(&self) -> u32 {
        self.places.iter().map(Places::used).sum()
    }

    pub(crate) const fn most(&self) -> usize {
        self.most as usize
    }

    /// The same with what leads to its connection.
    #[inline]
    pub(crate) fn hashed(&self, tuple: Tuple) -> Hashed {
        Hashed::new(tuple, self.seed)
    }

    /// The same of what answers it; `None` of a query that nothing answers.
    #[inline]
    pub(crate) fn answer(&self, hashed: &Hashed) -> Option<Hashed> {
        hashed.reversed(self.seed)
    }

    /// Whether there is no connection of this tuple: if so, it is certain.
    #[inline]
    pub(crate) fn has_none(&self, hashed: &Hashed) -> bool {
        self.index.has_none(hashed.hash)
    }

    /// The connection of a packet, and which way the packet goes.
    #[inline]
    pub(crate) fn find(&self, tuple: &Tuple) -> Option<(ConnectionId, Direction)> {
        self.find_hashed(&self.hashed(*tuple))
    }

    /// The same.
    #[inline]
    pub(crate) fn find_hashed(&self, hashed: &Hashed) -> Option<(ConnectionId, Direction)> {
        let (mut id, Hashed { tuple, hash }) = (None, hashed);
        let entry = self.index.find(*hash, |entry| {
            id = self.connection(entry.place).in_use().filter(|_| self.tuple_is(entry, tuple));
            // What was read of a use that has ended since may have been of two.
            id.is_some() && id == self.connection(entry.place).in_use()
        })?;
        // What one says to itself goes as its first packet did, and comes back as well.
        let original = Entry { direction: Direction::Original, ..entry };
        let is_own = entry.direction == Direction::Reply && self.tuple_is(original, tuple);
        let direction = if is_own { Direction::Original } else { entry.direction };
        Some((ConnectionId { place: entry.place, is_use: id? }, direction))
    }

    /// Whether an entry is that of a connection with this tuple, or of one that is being made.
    fn holds(&self, entry: Entry, tuple: &Tuple) -> bool {
        self.connection(entry.place).stage() != Stage::Gone && self.tuple_is(entry, tuple)
    }

    /// Makes a connection. What answers it has `first`, if that is given and nothing else has it, or else
    /// the first of `others` that nothing else has: then it is said which. If all are taken, there is no
    /// port for it.
    #[expect(clippy::inline_always, reason = "what it is given is at hand where it is called")]
    #[inline(always)]
    pub(crate) fn insert<I: Iterator<Item = Hashed>>(
        &self,
        beginning: &Beginning<'_>,
        first: Option<&Hashed>,
        others: impl FnOnce() -> I,
    ) -> Result<(ConnectionId, Option<Tuple>), NotMade> {
        let zone = beginning.awaited.tuple().zone();
        let policy = self.zones.enter(zone).ok_or(NotMade::ZoneLimit)?;
        let made = self.make(beginning, policy, first, others);
        if made.is_err() {
            self.zones.leave(zone, policy);
        }
        made
    }

    /// Makes a connection that goes by this policy.
    #[expect(clippy::inline_always, reason = "what it is given is at hand where it is called")]
    #[inline(always)]
    fn make<I: Iterator<Item = Hashed>>(
        &self,
        beginning: &Beginning<'_>,
        policy: u8,
        first: Option<&Hashed>,
        others: impl FnOnce() -> I,
    ) -> Result<(ConnectionId, Option<Tuple>), NotMade> {
        let Beginning { awaited, content, opened, kin, mark, label, now } = beginning;
        let original = &awaited.original;
        // What answers it is waited for only when all the rest is written.
        if let Some(first) = first
            && !first.is_beside(original)
        {
            self.prefetch(first);
        }
        let place = self.take(original.tuple.is_ipv4()).ok_or(NotMade::Full)?;
        let connection = self.connection(place);
        let is_marked = self.begin_marks(place, *mark, *label);
        connection.begin(opened, kin, is_marked, policy, *now);
        let policy = self.zones.policies().get(policy);
        connection.prolong(opened.timeout(content, policy), *now);
        if kin.is_any() {
            self.relations.put(place, *kin);
        }
        match self.enter_both(place, (original, first), others, *now) {
            Ok(other) => Ok((ConnectionId { place, is_use: connection.live() }, other)),
            Err(why) => {
                self.give_up(place, kin);
                Err(why)
            }
        }
    }

    /// Takes back what was made of a connection. Nobody has held it: who has seen it, on the way to find
    /// that it is not alone, looks whether it still has that tuple.
    #[cold]
    fn give_up(&self, place: u32, kin: &Kin) {
        if kin.is_any() {
            self.relations.forget(ConnectionId { place, ..ConnectionId::default() });
        }
        self.give(place);
        self.population.withdraw();
    }

    /// Enters both tuples of a connection that is being made, or neither: its own, and `first` or, of
    /// `others`, the first that it can have, which is the answer then.
    #[expect(clippy::inline_always, reason = "what it is given is at hand where it is called")]
    #[inline(always)]
    fn enter_both<I: Iterator<Item = Hashed>>(
        &self,
        place: u32,
        (original, first): (&Hashed, Option<&Hashed>),
        others: impl FnOnce() -> I,
        now: u32,
    ) -> Result<Option<Tuple>, NotMade> {
        self.put(Entry { place, direction: Direction::Original }, original)?;
        if let Some(first) = first {
            if let Err(full) = self.put(Entry { place, direction: Direction::Reply }, first) {
                self.index.remove(original.hash, Entry { place, direction: Direction::Original });
                return Err(full);
            }
            if self.index.has_only_both([original.hash, first.hash], place) {
                return Ok(None);
            }
        }
        self.enter_beside(place, (original, first), others, now)
    }

    /// The same if its own and `first` have been put into the index, where others are like them.
    #[cold]
    #[inline(never)]
    fn enter_beside<I: Iterator<Item = Hashed>>(
        &self,
        place: u32,
        (original, first): (&Hashed, Option<&Hashed>),
        others: impl FnOnce() -> I,
        now: u32,
    ) -> Result<Option<Tuple>, NotMade> {
        let [own, back] =
            [Direction::Original, Direction::Reply].map(|direction| Entry { place, direction });
        let is_own_free = || self.is_free(own, original, now);
        let mut why = NotMade::NoPort;
        if let Some(first) = first {
            if self.is_free(back, first, now) {
                if is_own_free() {
                    return Ok(None);
                }
                why = NotMade::Exists;
            }
            self.index.remove(first.hash, back);
        }
        if why == NotMade::NoPort {
            let is_free =
                |reply: &Hashed| self.has_none(reply) || !self.is_taken(place, reply, now);
            for reply in others().filter(is_free) {
                if let Err(full) = self.put(back, &reply) {
                    why = full;
                    break;
                }
                if self.index.has_only_both([original.hash, reply.hash], place)
                    || is_own_free() && self.is_free(back, &reply, now)
                {
                    return Ok(Some(reply.tuple));
                }
                self.index.remove(reply.hash, back);
            }
        }
        if !is_own_free() {
            why = NotMade::Exists;
        }
        self.index.remove(original.hash, own);
        Err(why)
    }

    /// Has a tuple lead to a connection that is being made.
    #[inline]
    fn put(&self, entry: Entry, hashed: &Hashed) -> Result<(), NotMade> {
        self.write_tuple(entry, &hashed.tuple);
        self.index.add(hashed.hash, entry).map_err(|Full| NotMade::Full)
    }

    /// Whether only the connection of an entry has the tuple that leads to it.
    fn is_free(&self, entry: Entry, hashed: &Hashed, now: u32) -> bool {
        self.index.has_only(hashed.hash, entry) || !self.is_taken(entry.place, hashed, now)
    }

    /// Whether a connection has a tuple, or one that is being made. One whose time is over makes room.
    pub(crate) fn has_other(&self, hashed: &Hashed, now: u32) -> bool {
        self.is_taken(u32::MAX, hashed, now)
    }

    /// Whether another connection than that at `place` has a tuple, or one that is being made. One whose
    /// time is over makes room.
    #[inline(never)]
    fn is_taken(&self, place: u32, hashed: &Hashed, now: u32) -> bool {
        let is_other = |other: Entry| other.place != place && self.holds(other, &hashed.tuple);
        let mut others = std::iter::from_fn(|| self.index.find(hashed.hash, is_other));
        others.any(|other| !self.has_made_room(other.place, now))
    }

    /// Takes the connection at a place away, if its time is over.
    fn has_made_room(&self, place: u32, now: u32) -> bool {
        let connection = self.connection(place);
        let over = connection.in_use().filter(|_| connection.left(now).is_none());
        let has_gone = over.is_some_and(|is_use| self.remove(ConnectionId { place, is_use }));
        if has_gone {
            self.tally.expired.fetch_add(1, Ordering::Relaxed);
        }
        has_gone
    }

    /// Takes a place, if there may be another connection.
    #[inline]
    fn take(&self, is_ipv4: bool) -> Option<u32> {
        /// Places that are freed together if one is wanted.
        const FREED: u32 = 32;
        if self.population.enter() {
            let places = &self.places[usize::from(is_ipv4)];
            let next = |n| self.link(self.nth(is_ipv4, n)).next();
            let again = places.take(next).or_else(|| {
                self.free(FREED);
                places.take(next)
            });
            // What was never in use takes memory.
            let taken = again.or_else(|| Some((self.take_fresh(is_ipv4)?, None)));
            if let Some((n, next)) = taken {
                if let Some(next) = next {
                    self.prefetch_use(self.nth(is_ipv4, next), is_ipv4);
                }
                return Some(self.nth(is_ipv4, n));
            }
            self.population.withdraw();
        }
        None
    }

    /// Takes a place of a family that was never in use.
    fn take_fresh(&self, is_ipv4: bool) -> Option<u32> {
        let n = self.places[usize::from(is_ipv4)].take_fresh()?;
        // Now: a connection that goes takes no memory.
        self.link(self.nth(is_ipv4, n)).take_memory();
        Some(n)
    }

    /// Gives back a place that nobody can see any more, or that never was a connection.
    fn give(&self, place: u32) {
        let (is_ipv4, n) = (place < self.most, place % self.most);
        self.places[usize::from(is_ipv4)].give(n, |next| self.link(place).set_next(next));
    }

    /// The `n`th place of a family.
    const fn nth(&self, is_ipv4: bool, n: u32) -> u32 {
        if is_ipv4 { n } else { self.most + n }
    }

    /// Both tuples of a connection, if it lives.
    pub(crate) fn tuples(&self, id: ConnectionId) -> Option<Tuples> {
        let read = |direction| self.read_tuple(Entry { place: id.place, direction });
        let tuples =
            Tuples { original: read(Direction::Original)?, reply: read(Direction::Reply)? };
        (self.connection(id.place).in_use() == Some(id.is_use)).then_some(tuples)
    }

    /// The tuple of a connection's packets that go this way, if it lives.
    pub(crate) fn tuple(&self, id: ConnectionId, direction: Direction) -> Option<Tuple> {
        let tuple = self.read_tuple(Entry { place: id.place, direction })?;
        (self.connection(id.place).in_use() == Some(id.is_use)).then_some(tuple)
    }

    /// What is known of a connection, if it lives.
    #[inline]
    pub(crate) fn get(&self, id: ConnectionId) -> Option<&Connection> {
        let connection = self.connection(id.place);
        (connection.in_use() == Some(id.is_use)).then_some(connection)
    }

    /// All connections that live, in the order of their places, from one place on.
    pub(crate) fn iter(&self, first: u32) -> impl Iterator<Item = ConnectionId> {
        let places = [true, false].into_iter().flat_map(move |is_ipv4| {
            let start = self.nth(is_ipv4, 0);
            let used = self.places[usize::from(is_ipv4)].used();
            first.max(start)..start + used
        });
        places.filter_map(|place| {
            Some(ConnectionId { place, is_use: self.connection(place).in_use()? })
        })
    }

    /// Frees places of connections that nobody can see any more, `most` at most.
    pub(crate) fn free(&self, most: u32) {
        if self.gone.is_empty() {
            return;
        }
        let over = self.grace.over();
        let next = |place| self.link(place).next();
        self.gone.free(most, next, |place| {
            let is_over = self.link(place).has_gone_before(over);
            if is_over {
                self.connection(place).free();
                self.give(place);
            }
            is_over
        });
    }

    pub(crate) fn connection(&self, place: u32) -> &Connection {
        &self.connections[place as usize]
    }

    fn link(&self, place: u32) -> &Link {
        &self.links[place as usize]
    }

    /// The words of a tuple of this family.
    #[inline]
    fn place_of(&self, entry: Entry, is_ipv4: bool) -> &[AtomicU64] {
        let words = words(is_ipv4);
        let n = if is_ipv4 { entry.place } else { entry.place - self.most };
        let start = (2 * n as usize + entry.direction as usize) * words;
        &self.tuples[usize::from(is_ipv4)][start..start + words]
    }

    fn write_tuple(&self, entry: Entry, tuple: &Tuple) {
        let place = self.place_of(entry, tuple.is_ipv4());
        for (place, word) in place.iter().zip(tuple.words()) {
            place.store(word, Ordering::Relaxed);
        }
    }

    /// Whether a tuple is the one that an entry stands for.
    #[inline]
    fn tuple_is(&self, entry: Entry, tuple: &Tuple) -> bool {
        let is_same = |(place, word): (&AtomicU64, u64)| place.load(Ordering::Relaxed) == word;
        (entry.place < self.most) == tuple.is_ipv4()
            && self.place_of(entry, tuple.is_ipv4()).iter().zip(tuple.words()).all(is_same)
    }

    fn read_tuple(&self, entry: Entry) -> Option<Tuple> {
        let is_ipv4 = entry.place < self.most;
        let mut words = [0; Tuple::WORDS];
        for (word, place) in words.iter_mut().zip(self.place_of(entry, is_ipv4)) {
            *word = place.load(Ordering::Relaxed);
        }
        (words[0] != 0).then(|| Tuple::from_words(words))
    }

    /// Bytes in use: connections, their tuples, and what leads to them; of marks, the most that it can be.
    pub(crate) fn bytes(&self) -> usize {
        let of = |is_ipv4| {
            let each = size_of::<Connection>()
                + size_of::<Link>()
                + self.marks.bytes_each()
                + 2 * words(is_ipv4) * size_of::<u64>();
            self.places[usize::from(is_ipv4)].used() as usize * each
        };
        of(true) + of(false) + self.index.bytes() + self.relations.bytes()
    }

    /// Fetches what a connection is written to.
    fn prefetch_use(&self, place: u32, is_ipv4: bool) {
        if let Some(connection) = self.connections.get(place as usize) {
            packet::memory::prefetch(connection);
            packet::memory::prefetch(self.link(place));
            let entry = Entry { place, direction: Direction::Original };
            packet::memory::prefetch(&self.place_of(entry, is_ipv4)[0]);
        }
    }

    /// Fetches what a lookup begins with.
    #[inline]
    pub(crate) fn prefetch(&self, hashed: &Hashed) {
        self.index.prefetch(hashed.hash);
    }

    /// Fetches what tells whether a connection has a tuple, if one may have it whose entries are there.
    #[cold]
    pub(crate) fn prefetch_alike(&self, hashed: &Hashed) {
        self.index.each_like(hashed.hash, |entry| {
            packet::memory::prefetch(self.connection(entry.place));
            let is_ipv4 = entry.place < self.most;
            packet::memory::prefetch(&self.place_of(entry, is_ipv4)[0]);
        });
    }

    /// Fetches what every packet of a connection needs.
    #[inline]
    pub(crate) fn prefetch_place(&self, place: u32) {
        if let Some(connection) = self.connections.get(place as usize) {
            packet::memory::prefetch(connection);
        }
    }
}

#[cfg(all(test, loom))]
mod model;
