//! Connections that packets are about to begin: what leads to them is known, and fetched, before their
//! packets are looked at.

use std::sync::atomic::Ordering;

use packet::Millis;

use crate::connections::{Connections, Kept, Notes};
use crate::message::Content;
use crate::nat::Pool;
use crate::opened::Opened;
use crate::table::{ConnectionId, NotMade};
use crate::tuple::{Hashed, Tuple};

/// The connection that a packet has if it begins one.
#[derive(Clone, Copy, Debug)]
pub struct Awaited {
    pub(crate) original: Hashed,
    /// Of what answers it, if that can have what is tried first.
    pub(crate) reply: Option<Hashed>,
    /// What is tried behind that, if another connection may have it.
    pub(crate) drawn: Option<Drawn>,
}

/// What some dice draw for what answers a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Drawn {
    pub(crate) dice: u64,
    /// The first two that are tried.
    pub(crate) replies: [Option<Hashed>; 2],
}

impl Awaited {
    /// One of which nothing is known but its tuple.
    pub(crate) const fn of(original: Hashed) -> Self {
        Self { original, reply: None, drawn: None }
    }

    /// Whether another connection may have what is tried first for what answers it, as
    /// [`Connections::await_other`] has found.
    pub const fn is_contested(&self) -> bool {
        self.drawn.is_some()
    }

    /// The tuple of the packet.
    pub const fn tuple(&self) -> &Tuple {
        &self.original.tuple
    }
}

impl Connections {
    /// Awaits the connection of a packet of this tuple, translated by a pool if one is given:
    /// fetches what keeping it begins with.
    #[inline]
    pub fn await_new(&self, tuple: &Tuple, pool: Option<&Pool<'_>>) -> Awaited {
        let original = self.table.hashed(*tuple);
        self.table.prefetch(&original);
        let reply = match pool.filter(|pool| pool.is_any()) {
            Some(pool) => self.sure(pool, tuple),
            None => self.table.answer(&original),
        };
        if let Some(reply) = &reply
            && !reply.is_beside(&original)
        {
            self.table.prefetch(reply);
        }
        Awaited { original, reply, drawn: None }
    }

    /// Looks at what was fetched when a connection was awaited that is translated by a pool: if another one
    /// may have what is tried first, fetches what tells, and what dice will lead to then. They are
    /// rolled for `before` others first.
    #[inline]
    pub fn await_other(&self, awaited: &mut Awaited, pool: &Pool<'_>, before: usize) {
        let reply = awaited.reply.as_ref();
        if let Some(reply) = reply.filter(|reply| !self.table.has_none(reply)) {
            self.table.prefetch_alike(reply);
            awaited.drawn = Some(self.draw(pool, awaited.tuple(), self.foresee(before)));
        }
    }

    /// Looks at what was fetched when dice drew for a connection: if another one may have the first that
    /// they have drawn, fetches what tells.
    #[inline]
    pub fn await_drawn(&self, awaited: &Awaited) {
        if let Some(Drawn { replies: [Some(reply), _], .. }) = &awaited.drawn
            && !self.table.has_none(reply)
        {
            self.table.prefetch_alike(reply);
        }
    }

    #[inline(never)]
    fn draw(&self, pool: &Pool<'_>, from: &Tuple, dice: u64) -> Drawn {
        let mut drawn = self.drawn(pool, from, dice);
        let replies = [drawn.next(), drawn.next()];
        replies.iter().flatten().for_each(|reply| self.table.prefetch(reply));
        Drawn { dice, replies }
    }

    /// Whether a packet would begin its connection: it belongs to none, and nobody has announced it.
    #[inline]
    pub fn would_begin(&self, awaited: &Awaited, content: &Content, now: Millis) -> bool {
        let original = &awaited.original;
        Opened::is_begun_by(content, self.settings())
            && (self.table.has_none(original) || self.table.find_hashed(original).is_none())
            && self.announced(awaited.tuple(), now).is_none()
    }

    /// Keeps the connection that a packet begins, as [`Connections::commit`] does, translated as it was
    /// awaited. Answers also what the tuple of the packet is to become, if it is translated.
    #[inline]
    pub fn commit_awaited(
        &self,
        awaited: &Awaited,
        content: &Content,
        pool: Option<&Pool<'_>>,
        notes: &Notes,
        now: Millis,
    ) -> Result<(ConnectionId, Option<Tuple>), NotMade> {
        let Kept { id, to } = self.keep(awaited, content, pool, notes, now)?;
        Ok((id, to))
    }

    /// Takes a connection back that was kept just now, and was not to be.
    #[cold]
    pub fn take_back(&self, id: ConnectionId) {
        if self.table.remove(id) {
            self.table.tally.taken_back.fetch_add(1, Ordering::Relaxed);
        }
    }
}
