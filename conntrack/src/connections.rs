//! Connection tracking: what a packet is to the connections that are known.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use api::{Alg, Nat};
use packet::{Millis, Seed};

use crate::Direction;
use crate::awaited::{Awaited, Drawn};
use crate::connection::Connection;
use crate::hear;
use crate::host::Host;
use crate::kin::Kin;
use crate::message::{Content, Message};
use crate::nat::Pool;
use crate::news::Change;
use crate::opened::Opened;
use crate::settings::{Settings, SharedSettings};
use crate::standing::Standing;
use crate::table::{Beginning, ConnectionId, NotMade, Table, Tuples};
use crate::tally::Stats;
use crate::tcp::Fate;
use crate::tuple::{Hashed, Tuple};
use crate::zones::Zones;

/// All connections of a switch.
///
/// Threads share it. Those that read packets are members, each with a number: what one of them has
/// found stays as it is, or is known to be gone, until it begins its next batch.
#[derive(Debug)]
pub struct Connections {
    pub(crate) table: Table,
    pub(crate) seed: Seed,
    /// What decides about ports.
    dice: AtomicU64,
    settings: SharedSettings,
    pub(crate) host: Host,
    /// When places were last looked at.
    swept: AtomicU32,
}

/// As connections note it: it begins anew every 49 days.
#[expect(clippy::cast_possible_truncation, reason = "differences are what counts")]
pub(crate) const fn wrapped(now: Millis) -> u32 {
    now.0 as u32
}

/// What a packet is to a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// It belongs to none, and begins none.
    Invalid,
    /// It would begin one, or is of one that nobody has answered.
    New,
    /// It belongs to one that was answered.
    Established,
    /// It says what became of a packet of one.
    Related,
}

/// What has been found out about a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Judgement {
    /// What it is.
    pub verdict: Verdict,
    /// Which way it goes.
    pub direction: Direction,
    /// Its connection, if there is one.
    pub connection: Option<ConnectionId>,
}

/// What is kept of a connection besides.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Notes {
    /// The mark, and which bits of it are written.
    pub mark: (u32, u32),
    /// The label, and which bits of it are written.
    pub label: (u128, u128),
    /// The protocol by which it announces others: of one that is made, and no other.
    pub alg: Option<Alg>,
}

/// What the packets of a connection are told about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seen {
    /// Both of its tuples.
    pub tuples: Tuples,
    /// Its mark.
    pub mark: u32,
    /// Its label.
    pub label: u128,
    /// How often the two have changed.
    pub version: u32,
    /// The original tuple of the one that has announced it.
    pub master: Option<Tuple>,
}

/// A connection that is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    pub(crate) id: ConnectionId,
    /// What the tuple of the packet that has begun it is to become, if it is translated.
    pub(crate) to: Option<Tuple>,
}

/// From one roll of the dice to the next.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
/// Each place is looked at once in so many milliseconds.
const ROUND: u32 = 10_000;
/// The same under pressure.
const HASTY_ROUND: u32 = 500;

impl Connections {
    /// None, with room for so many, for so many members.
    pub fn new(most: u32, members: usize, seed: Seed) -> Self {
        Self {
            table: Table::new(most, members, seed),
            seed: Seed(seed.hash([0])),
            dice: AtomicU64::new(seed.hash([1])),
            settings: SharedSettings::new(Settings::default()),
            host: Host::new(Seed(seed.hash([2]))),
            swept: AtomicU32::new(0),
        }
    }

    /// The same, as strict as this.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> Self {
        Self { settings: SharedSettings::new(settings), ..self }
    }

    /// How strict they are.
    pub fn settings(&self) -> Settings {
        self.settings.get()
    }

    /// From now on they are as strict as this.
    pub fn set_settings(&self, settings: Settings) {
        self.settings.set(settings);
    }

    /// The ports, and identifiers of queries, that they are given at addresses of the host.
    pub fn reserved_ports(&self) -> RangeInclusive<u16> {
        self.host.reserved()
    }

    /// From now on they are given these there.
    pub fn set_reserved_ports(&self, ports: &RangeInclusive<u16>) {
        self.host.set_reserved(ports);
    }

    /// How many addresses of the host are known.
    pub fn host_addresses(&self) -> u32 {
        self.host.len()
    }

    /// How many there may be.
    pub const fn most_host_addresses() -> usize {
        Host::MOST
    }

    /// From now on the host uses these addresses: connections that are made with one of them are given
    /// only ports that are reserved. Answers how many of them have found no room, and are as any
    /// other. One thread at a time.
    pub fn set_host_addresses(&self, addresses: impl IntoIterator<Item = IpAddr>) -> usize {
        self.host.set(addresses)
    }

    /// What their zones may have.
    pub const fn zones(&self) -> &Zones {
        &self.table.zones
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }

    /// What has become of them.
    pub fn stats(&self) -> Stats {
        self.table.tally.read(self.table.population.come())
    }

    /// A member begins a batch: it holds nothing of an earlier one.
    #[inline]
    pub fn begin(&self, member: usize) {
        self.table.grace.begin(member);
    }

    /// A member holds nothing, until it begins again.
    #[inline]
    pub fn end(&self, member: usize) {
        self.table.grace.end(member);
    }

    /// Fetches what a judgement begins with.
    #[inline]
    pub fn prefetch(&self, tuple: &Tuple) {
        self.table.prefetch(&self.table.hashed(*tuple));
    }

    /// What a packet is. Its connection, if there is one, takes it.
    pub fn judge(&self, message: &Message, now: Millis) -> Judgement {
        let found = match message.content {
            Content::Error { to } => self.find_quoted(message, to, now),
            _ => self.find(message, now),
        };
        let judgement = found.unwrap_or_else(|| self.judge_first(message));
        if judgement.verdict == Verdict::Invalid {
            self.table.tally.invalid.fetch_add(1, Ordering::Relaxed);
        }
        judgement
    }

    /// What a packet is to its connection, if there is one.
    fn find(&self, message: &Message, now: Millis) -> Option<Judgement> {
        let (id, direction) = self.table.find(&message.tuple)?;
        let (connection, now) = (self.table.get(id)?, wrapped(now));
        if connection.left(now).is_none() {
            self.expire(id);
            return None;
        }
        let (settings, policies) = (self.settings(), self.zones().policies());
        let content = match &message.content {
            Content::Tcp(segment) if connection.is_watched() => {
                Content::Tcp(self.own_numbers(id, direction, segment))
            }
            content => *content,
        };
        let before = self.table.newsroom.is_heard().then(|| connection.progress());
        let (fate, known) = connection.track(direction, &content, settings, policies, now);
        if before.is_some_and(|before| before != connection.progress()) {
            self.tell(Change::Changed, id, now);
        }
        let verdict = match fate {
            Fate::Invalid => Verdict::Invalid,
            Fate::Reopens => {
                self.table.remove(id);
                return None;
            }
            Fate::Valid { .. } | Fate::Ignored | Fate::Ends
                if direction == Direction::Original && !known.replied =>
            {
                Verdict::New
            }
            Fate::Valid { .. } | Fate::Ignored | Fate::Ends => Verdict::Established,
        };
        if fate == Fate::Ends {
            // This packet is still one of it.
            connection.prolong(0, now);
        }
        Some(Judgement { verdict, direction, connection: Some(id) })
    }

    /// What an error is to the connection whose packet it quotes: nothing is, unless it goes where
    /// that packet came from.
    fn find_quoted(&self, message: &Message, to: IpAddr, now: Millis) -> Option<Judgement> {
        let (id, direction) = self.table.find(&message.tuple)?;
        let is_there = self.table.get(id)?.left(wrapped(now)).is_some();
        (is_there && message.tuple.dst() == to).then_some(Judgement {
            verdict: Verdict::Related,
            direction,
            connection: Some(id),
        })
    }

    /// What a packet is that belongs to no connection.
    fn judge_first(&self, message: &Message) -> Judgement {
        let begins = Opened::is_begun_by(&message.content, self.settings());
        let verdict = if begins { Verdict::New } else { Verdict::Invalid };
        Judgement { verdict, direction: Direction::Original, connection: None }
    }

    /// Keeps the connection that a packet begins, translated as `nat` says.
    pub fn commit(
        &self,
        message: &Message,
        nat: Option<&Nat>,
        notes: &Notes,
        now: Millis,
    ) -> Result<ConnectionId, NotMade> {
        let awaited = Awaited::of(self.table.hashed(message.tuple));
        let pool = nat.map(|nat| self.pool(nat));
        self.keep(&awaited, &message.content, pool.as_ref(), notes, now).map(|kept| kept.id)
    }

    /// The same of one that was awaited.
    #[inline(never)]
    pub(crate) fn keep(
        &self,
        awaited: &Awaited,
        content: &Content,
        pool: Option<&Pool<'_>>,
        notes: &Notes,
        now: Millis,
    ) -> Result<Kept, NotMade> {
        let made = self.make(awaited, content, pool, notes, now);
        match made {
            Ok(Kept { id, .. }) => self.tell(Change::Made, id, wrapped(now)),
            Err(why) => self.table.tally.refused(why),
        }
        made
    }

    #[expect(clippy::inline_always, reason = "what it is given is at hand where it is called")]
    #[inline(always)]
    fn make(
        &self,
        awaited: &Awaited,
        content: &Content,
        pool: Option<&Pool<'_>>,
        notes: &Notes,
        now: Millis,
    ) -> Result<Kept, NotMade> {
        let opened = &Opened::by(content, self.settings()).ok_or(NotMade::BeginsNone)?;
        let (mark, label) = (notes.mark.0 & notes.mark.1, notes.label.0 & notes.label.1);
        let alg = notes.alg.filter(|alg| hear::fits(*alg, content));
        let (kin, now) = (Kin { alg, master: None }, wrapped(now));
        let beginning = Beginning { awaited, content, opened, mark, label, now, kin };
        let expectations = &self.table.relations().expectations;
        if !expectations.are_none()
            && let Some(made) = self.make_announced(&beginning, pool, notes)
        {
            return made;
        }
        self.make_own(&beginning, pool)
    }

    /// Makes a connection whose packets become what a pool makes of them.
    #[expect(clippy::inline_always, reason = "what it is given is at hand where it is called")]
    #[inline(always)]
    pub(crate) fn make_own(
        &self,
        beginning: &Beginning<'_>,
        pool: Option<&Pool<'_>>,
    ) -> Result<Kept, NotMade> {
        let Awaited { original, reply, .. } = beginning.awaited;
        if let Some(pool) = pool.filter(|pool| pool.is_any()) {
            if reply.is_none() {
                original.tuple.reversed().ok_or(NotMade::BeginsNone)?;
            }
            return self.make_translated(beginning, original.tuple, pool);
        }
        let reply = match reply {
            Some(reply) => *reply,
            None => self.table.answer(original).ok_or(NotMade::BeginsNone)?,
        };
        match self.table.insert(beginning, Some(&reply), std::iter::empty) {
            Ok((id, _)) => Ok(Kept { id, to: None }),
            Err(NotMade::NoPort) => Err(NotMade::Exists),
            Err(why) => Err(why),
        }
    }

    /// Another number each time.
    pub(crate) fn roll(&self) -> u64 {
        self.seed.hash([self.dice.fetch_add(STEP, Ordering::Relaxed)])
    }

    /// What is rolled after so many others, if nobody else rolls dice meanwhile.
    pub(crate) fn foresee(&self, before: usize) -> u64 {
        let passed = STEP.wrapping_mul(before as u64);
        self.seed.hash([self.dice.load(Ordering::Relaxed).wrapping_add(passed)])
    }

    /// What connections are given that are made now as `nat` says.
    pub fn pool<'a>(&'a self, nat: &'a Nat) -> Pool<'a> {
        Pool::new(nat, &self.host, self.seed)
    }

    /// What answers a connection whose packets become what a pool makes of `from`, if no dice decide.
    #[inline]
    pub(crate) fn sure(&self, pool: &Pool<'_>, from: &Tuple) -> Option<Hashed> {
        let to = pool.first(from)?;
        Some(self.table.hashed(to.reversed()?))
    }

    /// What may answer it if that is taken, as these dice have it.
    pub(crate) fn drawn<'a>(
        &'a self,
        pool: &Pool<'_>,
        from: &Tuple,
        dice: u64,
    ) -> impl Iterator<Item = Hashed> + use<'a> {
        let others = pool.others(from, dice);
        others.filter_map(|to| Some(self.table.hashed(to.reversed()?)))
    }

    /// The same, as dice have it that are rolled now: what was drawn by them is known.
    fn others<'a>(
        &'a self,
        pool: &'a Pool<'_>,
        from: &'a Tuple,
        drawn: Option<Drawn>,
    ) -> impl Iterator<Item = Hashed> + 'a {
        let dice = self.roll();
        let known =
            drawn.filter(|drawn| drawn.dice == dice).map_or([None; 2], |drawn| drawn.replies);
        let rest = std::iter::once_with(move || self.drawn(pool, from, dice)).flatten();
        known.into_iter().flatten().chain(rest.skip(known.iter().flatten().count()))
    }

    /// Makes a connection whose packets become what a pool makes of `from`: the first of which nothing
    /// else answers, and which nobody has announced.
    pub(crate) fn make_translated(
        &self,
        beginning: &Beginning<'_>,
        from: Tuple,
        pool: &Pool<'_>,
    ) -> Result<Kept, NotMade> {
        let expectations = &self.table.relations().expectations;
        let is_free = |reply: &Hashed| expectations.find(&reply.tuple, beginning.now).is_none();
        let Awaited { original, reply, drawn } = beginning.awaited;
        let sure;
        let first = match reply {
            Some(reply) => Some(reply),
            None => {
                sure = self.sure(pool, &from);
                sure.as_ref()
            }
        };
        // What is known to be taken is not entered.
        let may_have = |reply: &Hashed| {
            is_free(reply) && (drawn.is_none() || !self.table.has_other(reply, beginning.now))
        };
        let first = first.filter(|first| may_have(first));
        // Dice are rolled only for who cannot have what is sure.
        let others = || self.others(pool, &from, *drawn).filter(is_free);
        let (id, other) = self.table.insert(beginning, first, others)?;
        let reply = other.or(first.map(|first| first.tuple));
        let to = reply.and_then(|reply| reply.reversed());
        Ok(Kept { id, to: to.filter(|to| *to != original.tuple) })
    }

    /// Writes notes to a connection, if it is still there.
    pub fn note(&self, id: ConnectionId, notes: &Notes, now: Millis) {
        if !self.has(id) {
            return;
        }
        let place = id.place();
        let ((mark, mark_bits), (label, label_bits)) = (notes.mark, notes.label);
        let has_other_mark = (self.table.mark(place) ^ mark) & mark_bits != 0;
        let has_other_label =
            label_bits != 0 && (self.table.label(place) ^ label) & label_bits != 0;
        if has_other_mark {
            self.table.set_mark(place, mark, mark_bits);
        }
        if has_other_label {
            self.table.set_label(place, label, label_bits);
        }
        if has_other_mark || has_other_label {
            self.tell(Change::Changed, id, wrapped(now));
        }
    }

    /// Whether a connection is still there.
    pub fn has(&self, id: ConnectionId) -> bool {
        self.table.get(id).is_some()
    }

    /// What the tuple of a packet of a connection that goes this way is to become, if it is still
    /// there.
    pub fn translated(&self, id: ConnectionId, direction: Direction) -> Option<Tuple> {
        self.table.tuple(id, direction.reversed())?.reversed()
    }

    /// What the packets of a connection are told about it, if it is still there.
    pub fn seen(&self, id: ConnectionId) -> Option<Seen> {
        let (tuples, connection) = (self.table.tuples(id)?, self.table.get(id)?);
        // First: if they change meanwhile, that shows.
        let version = connection.version();
        let (mark, label) = (self.table.mark(id.place()), self.table.label(id.place()));
        let master =
            connection.is_announced().then(|| self.table.relations().kin(id.place()).master);
        Some(Seen { tuples, mark, label, version, master: master.flatten() })
    }

    /// How a connection stands of which this was seen, if further packets that go this way will find
    /// the same.
    pub fn standing(
        &self,
        id: ConnectionId,
        direction: Direction,
        seen: &Seen,
    ) -> Option<Standing> {
        let is_settled = self.table.get(id)?.is_settled();
        is_settled.then(|| Standing::new(id, direction, seen.version))
    }

    /// Fetches what taking a packet begins with.
    #[inline]
    pub fn prefetch_standing(&self, standing: &Standing) {
        self.table.prefetch_place(standing.id().place());
    }

    /// Takes a connection away; answers whether it was still there.
    pub fn remove(&self, id: ConnectionId) -> bool {
        self.table.remove(id)
    }

    /// All of them, as they are met: some that come or go meanwhile are among them, some are not.
    pub fn iter(&self) -> impl Iterator<Item = ConnectionId> {
        self.table.iter(0)
    }

    /// Has those go that have been silent for too long: a little at a time, as much as is due by now, and
    /// of `most` places at most; the rest stays due. If there is hardly any room left, those go as well
    /// that are not assured. And frees the places of those that have gone, as many at most.
    ///
    /// Cost: some ten nanoseconds a place, which are read in order; some hundred for each that goes, and
    /// as much for each that is freed.
    pub fn sweep(&self, most: u32, now: Millis) {
        self.table.free(most);
        let is_crowded = self.table.is_crowded();
        let round = if is_crowded { HASTY_ROUND } else { ROUND };
        let now = wrapped(now);
        self.table.relations().expectations.sweep(now);
        let count = self.due(round, most, now);
        if count > 0 {
            let is_over = |connection: &Connection| is_crowded && !connection.known().assured;
            let gone = self.table.sweep(count, now, is_over);
            self.table.tally.expired.fetch_add(gone as u64, Ordering::Relaxed);
        }
    }

    /// Takes over so many of the places that are due to be looked at, of which all are in a round.
    fn due(&self, round: u32, most: u32, now: u32) -> u32 {
        let before = self.swept.load(Ordering::Relaxed);
        let passed = now.wrapping_sub(before);
        // The clocks of two threads may differ a little.
        if passed == 0 || passed > u32::MAX / 2 {
            return 0;
        }
        // More than a round is never due.
        let (passed, last) = (passed.min(round), now.wrapping_sub(passed.min(round)));
        let places = u64::from(self.table.used()) * u64::from(passed) / u64::from(round) + 1;
        let count = places.min(most.into());
        let done = u32::try_from(u64::from(passed) * count / places).unwrap_or(passed);
        let after = last.wrapping_add(done);
        // Of several threads one does it.
        let is_ours = self
            .swept
            .compare_exchange(before, after, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok();
        if is_ours { u32::try_from(count).unwrap_or(most) } else { 0 }
    }

    fn expire(&self, id: ConnectionId) {
        if self.table.remove(id) {
            self.table.tally.expired.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// As [`Connections::iter`], in the order of [`ConnectionId::place`], from one place on.
    pub fn iter_from(&self, first: u32) -> impl Iterator<Item = ConnectionId> {
        self.table.iter(first)
    }

    /// How many there may be.
    pub const fn most(&self) -> usize {
        self.table.most()
    }
}
