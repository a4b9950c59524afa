//! How connections go: one alone, or many together that have had their time.

use super::{ConnectionId, Table, Tuples};
use crate::Direction;
use crate::connection::Connection;
use crate::index::Entry;
use crate::news::Change;
use crate::places::Places;
use crate::sync::Ordering;
use crate::tuple::Hashed;

/// Places that are looked at together, step by step: so what they need of memory comes at once, and what
/// is noted about all that go is noted once.
const TOGETHER: u32 = if cfg!(any(loom, miri)) { 2 } else { 32 };

/// A connection that is to go, and what leads to it.
#[derive(Clone, Copy, Debug)]
struct Leaver {
    id: ConnectionId,
    original: Hashed,
    reply: Hashed,
}

impl Leaver {
    /// Both entries that lead to it, with their hashes.
    fn entries(&self) -> [(u64, Entry); 2] {
        let &Self { id: ConnectionId { place, .. }, original, reply } = self;
        [(original, Direction::Original), (reply, Direction::Reply)]
            .map(|(hashed, direction)| (hashed.hash, Entry { place, direction }))
    }
}

impl Table {
    /// Takes a connection away; answers whether this thread did.
    pub(crate) fn remove(&self, id: ConnectionId) -> bool {
        let has_gone = self.leaver(id).is_some_and(|leaver| self.end(&leaver));
        if has_gone {
            self.lay_aside(&[id.place]);
        }
        has_gone
    }

    /// Looks at the next `count` places, whether what is there has had its time. Answers how many
    /// connections have gone.
    pub(crate) fn sweep(
        &self,
        count: u32,
        now: u32,
        is_over: impl Fn(&Connection) -> bool,
    ) -> usize {
        let [v6, v4] = self.places.each_ref().map(Places::used);
        let used = v4 + v6;
        if used == 0 {
            return 0;
        }
        let start = self.hand.fetch_add(count, Ordering::Relaxed) % used;
        let place = |n| match if n < used - start { start + n } else { n - (used - start) } {
            n if n < v4 => self.nth(true, n),
            n => self.nth(false, n - v4),
        };
        let is_over = |place| {
            let connection = self.connection(place);
            connection.left(now).is_none() || is_over(connection)
        };
        let (mut gone, count) = (0, count.min(used));
        let fetch = |first: u32| {
            (first..count.min(first + TOGETHER)).for_each(|n| self.prefetch_place(place(n)));
        };
        fetch(0);
        for first in (0..count).step_by(TOGETHER as usize) {
            let next = count.min(first + TOGETHER);
            fetch(next);
            gone += self.sweep_together((first..next).map(place), is_over);
        }
        gone
    }

    /// Takes away those connections of a few places that are over.
    fn sweep_together(
        &self,
        places: impl Iterator<Item = u32>,
        is_over: impl Fn(u32) -> bool,
    ) -> usize {
        let over = places.filter_map(|place| {
            let is_use = self.connection(place).in_use().filter(|_| is_over(place))?;
            self.prefetch_use(place, place < self.most);
            Some(ConnectionId { place, is_use })
        });
        let mut ids = [ConnectionId::default(); TOGETHER as usize];
        let ids = fill(&mut ids, over);
        if ids.is_empty() {
            return 0;
        }
        let mut leavers = [None; TOGETHER as usize];
        let leavers = fill(&mut leavers, ids.iter().map(|id| self.leaver(*id)));
        self.fetch_entries(leavers);
        let mut gone = [0; TOGETHER as usize];
        let ended = leavers.iter().flatten().filter(|leaver| {
            // A packet of it may have come meanwhile.
            is_over(leaver.id.place) && self.end(leaver)
        });
        let gone = fill(&mut gone, ended.map(|leaver| leaver.id.place));
        self.lay_aside(gone);
        gone.len()
    }

    /// Fetches what leads to connections.
    fn fetch_entries(&self, leavers: &[Option<Leaver>]) {
        let entries = || leavers.iter().flatten().flat_map(Leaver::entries);
        // Nothing else is done between: a fetch is not over before its page is found, and only what is
        // near behind it begins meanwhile.
        entries().for_each(|(hash, _)| self.index.prefetch_bucket(hash));
        entries().for_each(|(hash, entry)| self.index.prefetch_away(hash, entry));
    }

    /// A connection that is to go, if it lives.
    fn leaver(&self, id: ConnectionId) -> Option<Leaver> {
        let Tuples { original, reply } = self.tuples(id)?;
        Some(Leaver { id, original: self.hashed(original), reply: self.hashed(reply) })
    }

    /// Ends a connection, which is to be laid aside then; answers whether this thread did.
    fn end(&self, leaver: &Leaver) -> bool {
        let &Leaver { id, original, reply } = leaver;
        let connection = self.connection(id.place);
        let has_kin = connection.is_watched() || connection.is_announced();
        if !connection.end(id.is_use) {
            return false;
        }
        // Nobody takes the place before it is said to be gone.
        self.newsroom.tell(Change::Gone, || {
            let tuples = Tuples { original: original.tuple, reply: reply.tuple };
            Some(self.describe(id.place, tuples, has_kin))
        });
        if has_kin {
            self.relations.forget(id);
        }
        for (hash, entry) in leaver.entries() {
            self.index.remove(hash, entry);
        }
        self.zones.leave(original.tuple.zone(), connection.policy());
        true
    }

    /// Lays places of connections aside that have ended, to which nothing leads any more.
    fn lay_aside(&self, places: &[u32]) {
        if places.is_empty() {
            return;
        }
        let moment = self.grace.stamp();
        places.iter().for_each(|place| self.link(*place).gone(moment));
        self.gone.add(places, |place, before| self.link(place).set_next(before));
        self.population.leave(places.len() as u64);
    }
}

/// Fills places with what there is, as far as they go; answers with those that are filled.
fn fill<T>(places: &mut [T], with: impl Iterator<Item = T>) -> &[T] {
    let filled = places.iter_mut().zip(with).map(|(place, one)| *place = one).count();
    &places[..filled]
}
