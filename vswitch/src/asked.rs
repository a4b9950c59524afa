//! What packets ask for that open connections alike, and how each of them opens its own.

use api::{DropReason, Nat};
use arrayvec::ArrayVec;
use conntrack::{
    Awaited, ConnectionId, Connections, Content, Message, NotMade, Notes, Pool, Tuple,
};
use flowtable::Connect;
use packet::{Headers, Key, Memory, Millis, Packet, verify};

use crate::nat::translate;
use crate::ties::MOST;
use crate::tracking::{notes, refusal, tuple_of};
use crate::translation::Translation;

/// What they ask for between their passes, of all connections.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    connections: &'a Connections,
    all: &'a [Connect],
    /// Which of them is awaited: the first that is kept, or else the first.
    nth: usize,
    zone: u16,
    /// What it is translated by.
    pool: Option<Pool<'a>>,
    notes: Notes,
    /// Whether nothing is asked for but this one, or whether there is one, in its zone.
    is_only: bool,
}

/// Why a packet has not opened its connections.
#[derive(Clone, Copy, Debug)]
pub(crate) enum NotOpened {
    /// It is not one that would begin all of them, and is as it was: it takes its passes.
    Other,
    /// The one that it asks for here, counted from 0, is not made.
    Refused(usize, DropReason),
}

impl<'a> Asked<'a> {
    /// What is asked for between the passes, one after the other; `None` if nothing is.
    pub(crate) fn new(connections: &'a Connections, all: &'a [Connect]) -> Option<Self> {
        let nth = all.iter().position(|connect| connect.commit).unwrap_or(0);
        let connect = all.get(nth)?;
        let is_only = connect.commit
            && nth + 1 == all.len()
            && all.iter().all(|other| other.zone == connect.zone);
        let (zone, notes) = (connect.zone, notes(connect));
        let pool = given(connect).map(|nat| connections.pool(nat));
        Some(Self { connections, all, nth, zone, pool, notes, is_only })
    }

    /// Awaits the connection of a packet of this key, if it may open one: fetches what that begins with.
    #[inline]
    pub(crate) fn awaited(&self, key: &Key) -> Option<Awaited> {
        Some(self.connections.await_new(&tuple_of(key, self.zone)?, self.pool.as_ref()))
    }

    /// Whether what is awaited is translated.
    #[inline]
    pub(crate) fn is_translated(&self) -> bool {
        self.pool.as_ref().is_some_and(Pool::is_any)
    }

    /// Looks at what was fetched when it was awaited, and fetches what is needed then; dice are rolled for
    /// `before` others first.
    #[inline]
    pub(crate) fn look_ahead(&self, awaited: &mut Option<Awaited>, before: usize) {
        if let (Some(pool), Some(awaited)) = (&self.pool, awaited) {
            self.connections.await_other(awaited, pool, before);
        }
    }

    /// Looks at what was fetched when it was looked ahead.
    #[inline]
    pub(crate) fn look_again(&self, awaited: &Option<Awaited>) {
        if let Some(awaited) = awaited {
            self.connections.await_drawn(awaited);
        }
    }

    /// Has a packet open its connections, one after the other, as it does on its passes; `awaited` is what
    /// [`Asked::awaited`] has said of it.
    #[inline]
    pub(crate) fn open(
        &self,
        awaited: Option<&Awaited>,
        (key, headers): (&Key, Headers),
        (packet, memory): (&mut Packet, &Memory),
        now: Millis,
    ) -> Result<(), NotOpened> {
        if !verify(packet, headers, memory) {
            return Err(NotOpened::Other);
        }
        let (bytes, len) = (packet.head(memory), packet.len());
        if let Some(awaited) = awaited
            && let Some(content) = &Content::read_ported(headers, bytes, len)
        {
            let to = match self.is_only {
                true => self.open_only(awaited, content, now)?,
                false => self.open_each(awaited, content, now)?,
            };
            if let Some(to) = to
                && let Some(translation) = Translation::between(awaited.tuple(), &to)
            {
                translation.apply(packet, headers, memory);
            }
            return Ok(());
        }
        self.open_unusual((key, headers), (packet, memory), now)
    }

    /// The same of what is neither TCP nor UDP, or not awaited.
    #[inline(never)]
    fn open_unusual(
        &self,
        (key, headers): (&Key, Headers),
        (packet, memory): (&mut Packet, &Memory),
        now: Millis,
    ) -> Result<(), NotOpened> {
        let (bytes, len) = (packet.head(memory), packet.len());
        let read = Message::read(key, headers, bytes, len, self.zone);
        let message = &read.map_err(|_untracked| NotOpened::Other)?;
        let awaited = self.connections.await_new(&message.tuple, self.pool.as_ref());
        if let Some(to) = self.open_each(&awaited, &message.content, now)? {
            translate(packet, headers, message, (&to, None), memory);
        }
        Ok(())
    }

    /// Opens the only one, for a packet that says this. Answers with what the packet's tuple is to become,
    /// if it is translated.
    #[inline]
    fn open_only(
        &self,
        awaited: &Awaited,
        content: &Content,
        now: Millis,
    ) -> Result<Option<Tuple>, NotOpened> {
        if !self.connections.would_begin(awaited, content, now) {
            return Err(NotOpened::Other);
        }
        let made =
            self.connections.commit_awaited(awaited, content, self.pool.as_ref(), &self.notes, now);
        made.map(|(_, to)| to).map_err(|why| not_opened(self.nth, why))
    }

    /// Opens them one after the other; `first` is the one that is awaited. If the packet does not begin one
    /// of them, those before it are not kept: on its passes it is to find what it would have found.
    #[inline(never)]
    fn open_each(
        &self,
        first: &Awaited,
        content: &Content,
        now: Millis,
    ) -> Result<Option<Tuple>, NotOpened> {
        let mut made = ArrayVec::new();
        let opened = self.open_all(first, content, now, &mut made);
        if let Err(NotOpened::Other) = opened {
            made.iter().for_each(|id| self.connections.take_back(*id));
        }
        opened
    }

    fn open_all(
        &self,
        first: &Awaited,
        content: &Content,
        now: Millis,
        made: &mut ArrayVec<ConnectionId, MOST>,
    ) -> Result<Option<Tuple>, NotOpened> {
        let (mut awaited, mut awaited_at, mut other) = (first, self.nth, None);
        let (mut to, mut is_free) = (None, false);
        for (n, connect) in self.all.iter().enumerate() {
            let is_it = awaited.tuple().zone() == connect.zone
                && (awaited_at == n || !connect.commit && awaited_at > n);
            if !is_it {
                let tuple = to.unwrap_or(*awaited.tuple()).in_zone(connect.zone);
                let pool = given(connect).map(|nat| self.connections.pool(nat));
                awaited = other.insert(self.connections.await_new(&tuple, pool.as_ref()));
                (awaited_at, is_free) = (n, false);
            }
            if !is_free && !self.connections.would_begin(awaited, content, now) {
                return Err(NotOpened::Other);
            }
            is_free = !connect.commit;
            if connect.commit {
                let pool = given(connect).map(|nat| self.connections.pool(nat));
                let (pool, notes) = (pool.as_ref(), &notes(connect));
                let kept = self.connections.commit_awaited(awaited, content, pool, notes, now);
                let (id, moved) = kept.map_err(|why| not_opened(n, why))?;
                made.push(id);
                to = moved.or(to);
            }
        }
        Ok(to)
    }
}

/// Why the one that is asked for here has not been opened.
const fn not_opened(n: usize, why: NotMade) -> NotOpened {
    match refusal(why) {
        Some(reason) => NotOpened::Refused(n, reason),
        None => NotOpened::Other,
    }
}

/// What a connection that is kept is translated by.
const fn given(connect: &Connect) -> Option<&Nat> {
    match &connect.nat {
        Some(nat) if connect.commit => Some(nat),
        _ => None,
    }
}
