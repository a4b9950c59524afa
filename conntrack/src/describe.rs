//! Connections, spelled out, for whoever asks for them or is told what becomes of them.

use api::Alg;
use packet::Millis;

use crate::connections::{Connections, wrapped};
use crate::kin::Kin;
use crate::news::{Change, News};
use crate::opened::State;
use crate::table::{ConnectionId, Table, Tuples};
use crate::tcp::Known;
use crate::tuple::Tuple;

/// A connection, spelled out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Description {
    /// Both of its tuples.
    pub tuples: Tuples,
    /// The state, if its protocol has some.
    pub state: Option<State>,
    /// What is known of it besides.
    pub known: Known,
    /// Its mark.
    pub mark: u32,
    /// Its label.
    pub label: u128,
    /// Milliseconds that it has left, if it stays silent.
    pub left: u32,
    /// The protocol by which it announces others.
    pub alg: Option<Alg>,
    /// The original tuple of the one that has announced it.
    pub master: Option<Tuple>,
}

impl Connections {
    /// What is known of a connection, if it is still there.
    pub fn describe(&self, id: ConnectionId, now: Millis) -> Option<Description> {
        self.describe_at(id, wrapped(now))
    }

    fn describe_at(&self, id: ConnectionId, now: u32) -> Option<Description> {
        let (tuples, connection) = (self.table.tuples(id)?, self.table.get(id)?);
        let has_kin = connection.is_watched() || connection.is_announced();
        let left = connection.left(now)?;
        Some(Description { left, ..self.table.describe(id.place(), tuples, has_kin) })
            // What was read of one that has gone meanwhile may be another's.
            .filter(|_| self.table.get(id).is_some())
    }

    /// Tells of a change of a connection that is there.
    pub(crate) fn tell(&self, change: Change, id: ConnectionId, now: u32) {
        self.table.newsroom.tell(change, || self.describe_at(id, now));
    }

    /// From now on [`Connections::news`] tells what becomes of connections; or no longer.
    pub fn set_heard(&self, is_heard: bool) {
        self.table.newsroom.set_heard(is_heard);
    }

    /// Whether there is something to be told.
    pub fn has_news(&self) -> bool {
        self.table.newsroom.has_any()
    }

    /// Whether there is something to be told of which nobody has been informed: now somebody is to be.
    #[inline]
    pub fn has_unknown_news(&self) -> bool {
        self.table.newsroom.is_unknown()
    }

    /// What has become of connections, in the order in which it was noticed; or how many changes are
    /// missing, because there were more than were heard of. Two threads may notice what they do to one
    /// connection in another order than they did it.
    pub fn news(&self) -> impl Iterator<Item = Result<News, u64>> {
        self.table.newsroom.hear()
    }
}

impl Table {
    /// What is at a place: a connection with these tuples, and without the time that it has left.
    pub(crate) fn describe(&self, place: u32, tuples: Tuples, has_kin: bool) -> Description {
        let connection = self.connection(place);
        let kin = if has_kin { self.relations().kin(place) } else { Kin::default() };
        Description {
            tuples,
            state: connection.state(),
            known: connection.known(),
            mark: self.mark(place),
            label: self.label(place),
            left: 0,
            alg: kin.alg,
            master: kin.master,
        }
    }
}
