//! Connections that packets are about to begin: what leads to them is known, and fetched, before their
//! packets are looked at.

use api::Nat;
use packet::Millis;

use crate::connections::{Connections, Kept, Notes};
use crate::message::Content;
use crate::nat;
use crate::opened::Opened;
use crate::table::NotMade;
use crate::tuple::{Hashed, Tuple};

/// The connection that a packet has if it begins one.
#[derive(Clone, Copy, Debug)]
pub struct Awaited {
    original: Hashed,
    /// Of what answers it, if that can have what is tried first.
    reply: Option<Hashed>,
}

impl Awaited {
    /// The tuple of the packet.
    pub const fn tuple(&self) -> &Tuple {
        &self.original.tuple
    }
}

impl Connections {
    /// Awaits the connection of a packet of this tuple, translated as `nat` says: fetches what keeping
    /// it begins with.
    #[inline]
    pub fn await_new(&self, tuple: &Tuple, nat: Option<&Nat>) -> Awaited {
        let original = self.table.hashed(*tuple);
        self.table.prefetch(&original);
        let reply = match nat.filter(|nat| nat.range().is_some()) {
            Some(nat) => nat::first(nat, *tuple, &self.host, self.seed)
                .and_then(|to| Some(self.table.hashed(to.reversed()?))),
            None => tuple.reversed().map(|reply| self.table.hashed(reply)),
        };
        if let Some(reply) = &reply {
            self.table.prefetch(reply);
        }
        Awaited { original, reply }
    }

    /// Whether a packet would begin its connection: it belongs to none, and nobody has announced it.
    #[inline]
    pub fn would_begin(&self, awaited: &Awaited, content: &Content, now: Millis) -> bool {
        Opened::is_begun_by(content, self.settings())
            && self.table.find_hashed(&awaited.original).is_none()
            && self.announced(awaited.tuple(), now).is_none()
    }

    /// Keeps the connection that a packet begins, as [`Connections::commit`] does, translated as it was
    /// awaited. Answers what the tuple of the packet is to become, if it is translated.
    pub fn commit_awaited(
        &self,
        awaited: &Awaited,
        content: &Content,
        nat: Option<&Nat>,
        notes: &Notes,
        now: Millis,
    ) -> Result<Option<Tuple>, NotMade> {
        let first = awaited.reply.as_ref();
        let Kept { to, .. } = self.keep((&awaited.original, first), content, nat, notes, now)?;
        Ok(to)
    }
}
