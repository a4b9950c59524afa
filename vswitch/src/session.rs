//! Tier 1: sessions, exact matches on where a packet came in and its 5-tuple.
//!
//! Where a port's packets are told apart by many masks, trying them one after the other costs a
//! hash each. A session takes one: it names the program and the path that the long way led to. What
//! that way looked at beyond the 5-tuple (addresses, a VLAN, DSCP, TCP flags) is kept with it and
//! compared on every hit, so that a session is right for exactly the packets its megaflow is right
//! for; what does not fit into those four words is not made a session, and counted.
//!
//! **Who gets one.** TCP, UDP, SCTP and ICMP (whose type and code stand for ports) over IPv4 or IPv6
//! in whole packets without options, with a TTL that can be decremented; of TCP only what belongs to
//! the middle of a connection. A tuple that is seen once gets none: the second packet makes it, so
//! that a scan of random tuples throws no real session out.
//!
//! **Several passes as one.** Where flows ask for a packet's connection, it takes several passes. Of
//! what settled connections go through a session is made as well: it does what all passes do, and is
//! tied to the connections (`ties.rs`). Each takes every packet of the session, and looks whether it
//! lies in the windows; a packet that would change more than that takes its passes, and so do all as
//! soon as what flows are told of a connection has changed.
//!
//! **When it is right.** A session of the worker's current epoch is. An older one asks its
//! megaflows; if one is gone or no longer right, the packet goes the long way, and the session is
//! made anew.

use bytemuck::Zeroable;
use conntrack::Connections;
use flowtable::{
    Cache, Composed, Found, Index, MegaflowId, NotComposed, PathId, ProgramId, Serial,
};
use packet::memory::prefetch;
use packet::{Key, Millis, PortId, Seed};

use crate::dump::{Entry, Identity};
use crate::recent::Recent;
use crate::ties::Ties;
use crate::trail::Trail;
pub use crate::who::Who;
use crate::who::{REST, SessionKey, rest_of};
pub(crate) use crate::who::{compared, refusal};

/// A session: the line that every hit reads, and the one that is read if more than the 5-tuple
/// counts.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C, align(128))]
struct Session {
    key: SessionKey,
    epoch: u32,
    program: ProgramId,
    path: PathId,
    flow: MegaflowId,
    serial: Serial,
    /// Seconds of its last hit; the upper bits say whether there is a rest to compare, and whether it
    /// has ties.
    used: u32,
    rest_mask: [u64; REST.len()],
    rest: [u64; REST.len()],
}

const HAS_REST: u32 = 1 << 31;
const HAS_TIES: u32 = 1 << 30;
const SECONDS: u32 = HAS_TIES - 1;

impl Session {
    fn entry(&self, identity: Identity, ties: &Ties, cache: &Cache) -> Entry {
        let (mut key, mut mask) = self.key.spelled();
        for ((word, bits), value) in REST.into_iter().zip(self.rest_mask).zip(self.rest) {
            key[word] |= value;
            mask[word] |= bits;
        }
        let port = PortId(self.key.ingress());
        key.set(Key::IN_PORT, cache.port(port).map_or(0, |port| port.number));
        mask.set_all(Key::IN_PORT);
        let used = self.used & SECONDS;
        let (program, path) = (self.program, self.path);
        let ties = (self.used & HAS_TIES != 0).then(|| ties.tell(&key));
        Entry { identity, behind: None, port, key, mask, program, path, used, ties }
    }
}

/// How often tier 1 answered, and what became of its sessions.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SessionStats {
    /// Packets that met a session.
    pub hits: u64,
    /// Packets that could have one and met none.
    pub misses: u64,
    /// Sessions made.
    pub made: u64,
    /// Sessions that were not made because what was looked at does not fit.
    pub unfit: u64,
    /// Sessions that were not made because there was no room.
    pub refused: u64,
}

/// One worker's sessions.
#[derive(Debug)]
pub struct Sessions {
    index: Index,
    recent: Recent,
    sessions: Box<[Session]>,
    /// Of each, if it has some. How many have, and which places may.
    ties: Box<[Ties]>,
    tied: u32,
    highest_tied: u32,
    /// Places that were in use and are free again.
    free: Vec<u32>,
    /// Places beyond this were never in use.
    next: u32,
    /// The tags of the last four tuples that were seen of those whose hash leads there, 16 bits each.
    seen: Box<[u64]>,
    seed: Seed,
    hand: u32,
    /// The time of this batch.
    now: Millis,
    seconds: u32,
    stats: SessionStats,
}

impl Sessions {
    /// Seconds without a packet after which a session goes.
    const IDLE: u32 = 10;

    /// Bytes of what has been in use at some time.
    pub fn bytes(&self) -> usize {
        let seen = size_of_val(&*self.seen);
        let ties = self.highest_tied as usize * size_of::<Ties>();
        self.next as usize * size_of::<Session>() + ties + self.index.bytes() + seen
    }

    /// Room for `most` sessions. Memory is taken as it is touched.
    pub fn new(most: u32, seed: Seed) -> Self {
        Self {
            index: Index::new(most as usize),
            recent: Recent::new(),
            sessions: bytemuck::allocation::zeroed_slice_box(most as usize),
            ties: bytemuck::allocation::zeroed_slice_box(most as usize),
            tied: 0,
            highest_tied: 0,
            free: Vec::with_capacity(most as usize),
            next: 0,
            seen: bytemuck::allocation::zeroed_slice_box(
                (most as usize / 4).next_power_of_two().max(64),
            ),
            seed,
            hand: 0,
            now: Millis(0),
            seconds: 0,
            stats: SessionStats::default(),
        }
    }

    /// A batch begins.
    #[inline]
    pub fn begin(&mut self, now: Millis) {
        (self.now, self.seconds) = (now, seconds(now));
    }

    /// What tier 1 did.
    pub const fn stats(&self) -> SessionStats {
        self.stats
    }

    /// How many sessions there are.
    pub fn len(&self) -> usize {
        self.next as usize - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, spelled out.
    pub fn entries<'a>(&'a self, cache: &'a Cache) -> impl Iterator<Item = Entry> + 'a {
        let used = (0..self.next).zip(self.sessions.iter().zip(&self.ties));
        let live = used.filter(|(_, (session, _))| session.key.who != 0);
        live.map(|(place, (session, ties))| {
            session.entry(self.identity(place, session), ties, cache)
        })
    }

    /// One of them, if it is still there.
    pub fn entry(&self, wanted: Identity, cache: &Cache) -> Option<Entry> {
        let session = self.sessions[..self.next as usize].get(wanted.place as usize)?;
        let is_it = session.key.who != 0 && self.identity(wanted.place, session) == wanted;
        is_it.then(|| session.entry(wanted, &self.ties[wanted.place as usize], cache))
    }

    /// A session is told from others at its place by a part of its hash: one of the same connection
    /// may well be mistaken for it.
    fn identity(&self, place: u32, session: &Session) -> Identity {
        let [_, _, _, _, a, b, c, d] = session.key.hash(self.seed).to_be_bytes();
        Identity { place, serial: u32::from_be_bytes([a, b, c, d]) }
    }

    /// The seed of [`Who::hash`].
    pub const fn seed(&self) -> Seed {
        self.seed
    }

    /// Fetches what a lookup begins with.
    #[inline]
    pub fn prefetch(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// The place of the session that a lookup will most likely end with, which is fetched; any if
    /// there is none.
    #[inline]
    pub fn guess(&self, hash: u64) -> u32 {
        let guess = self.index.guess(hash).unwrap_or(0);
        if let Some(session) = self.sessions.get(guess as usize) {
            prefetch(session);
            if self.tied > 0 {
                prefetch(&self.ties[guess as usize]);
            }
        }
        guess
    }

    /// Fetches what else the session needs that is at a place which [`Sessions::guess`] has said a while
    /// ago: its connections, and what is compared besides.
    #[inline]
    pub(crate) fn prefetch_rest(&self, guess: u32, connections: &Connections) {
        let Some(session) = self.sessions.get(guess as usize) else { return };
        if session.used & HAS_REST != 0 {
            prefetch(&session.rest_mask);
        }
        if session.used & HAS_TIES != 0 {
            self.ties[guess as usize].prefetch(connections);
        }
    }

    /// Whether some sessions have ties.
    #[inline]
    pub(crate) const fn has_tied(&self) -> bool {
        self.tied > 0
    }

    /// What the packet's session says, if it has one and that is right. `guess` is what
    /// [`Sessions::guess`] has said a while ago.
    #[inline]
    pub fn lookup(
        &mut self,
        who: Who,
        place: (u64, u32),
        key: &Key,
        cache: &mut Cache,
    ) -> Option<Found> {
        self.meet(who, place, key, cache, |_| false)
    }

    /// The same of a packet that is there: `take` has the connections take it if its session has ties,
    /// and says whether they did.
    #[inline]
    pub(crate) fn meet(
        &mut self,
        who: Who,
        (hash, guess): (u64, u32),
        key: &Key,
        cache: &mut Cache,
        take: impl FnOnce(&Ties) -> bool,
    ) -> Option<Found> {
        // Both ways to it on their own: where it was guessed, nothing is looked up twice.
        if self.is_at(guess, who, key) {
            return self.meet_at(guess, key, cache, take);
        }
        let at = self.find(who, hash, key)?;
        self.meet_at(at, key, cache, take)
    }

    /// The same of one whose session was probably met lately: it is looked up only if it was not.
    #[inline]
    pub(crate) fn meet_again(
        &mut self,
        who: Who,
        key: &Key,
        cache: &mut Cache,
        take: impl FnOnce(&Ties) -> bool,
    ) -> Option<Found> {
        let guess = self.recent.place(who, key);
        if self.is_at(guess, who, key) {
            return self.meet_at(guess, key, cache, take);
        }
        let at = self.find_missed(who, key)?;
        self.meet_at(at, key, cache, take)
    }

    /// Whether so many packets that come together should be met as if they come again.
    #[inline]
    pub(crate) const fn are_met_again(&mut self, count: usize) -> bool {
        self.recent.is_worth_asking(count)
    }

    /// What the session at a place says, if that is right.
    #[expect(
        clippy::inline_always,
        reason = "where it is known to be there, nothing is asked twice"
    )]
    #[inline(always)]
    fn meet_at(
        &mut self,
        at: u32,
        key: &Key,
        cache: &mut Cache,
        take: impl FnOnce(&Ties) -> bool,
    ) -> Option<Found> {
        let session = self.sessions.get_mut(at as usize)?;
        if session.used & HAS_REST != 0 && !session.agrees(key) {
            self.stats.misses += 1;
            return None;
        }
        let ties = (session.used & HAS_TIES != 0).then(|| &self.ties[at as usize]);
        if session.epoch != cache.epoch() && !session.stays_right(ties, cache) {
            let hash = session.key.hash(self.seed);
            self.remove(at, hash, cache);
            self.stats.misses += 1;
            return None;
        }
        if !ties.is_none_or(take) {
            // If it is right for nobody any more, another one takes its place, or nobody uses it: packets
            // that have met it before may not have been carried out yet.
            self.stats.misses += 1;
            return None;
        }
        if (session.used ^ self.seconds) & SECONDS != 0 {
            session.touch(ties, cache, self.seconds, self.now);
        }
        self.stats.hits += 1;
        Some(Found::Cached(session.program, session.path))
    }

    /// Whether the session at a place is that of a packet.
    #[inline]
    fn is_at(&self, place: u32, who: Who, key: &Key) -> bool {
        self.sessions.get(place as usize).is_some_and(|session| session.key.is(who, key))
    }

    /// The place of a packet's session that is not where it was met lately.
    #[inline(never)]
    fn find_missed(&mut self, who: Who, key: &Key) -> Option<u32> {
        let found = self.find(who, who.hash(key, self.seed), key);
        self.recent.note_missed(who, key, found);
        found
    }

    /// The place of a packet's session that is not where it was guessed.
    #[inline(never)]
    fn find(&mut self, who: Who, hash: u64, key: &Key) -> Option<u32> {
        let found = self.index.find(hash, |place| self.is_at(place, who, key));
        self.stats.misses += u64::from(found.is_none());
        found
    }

    /// Makes a session of what the long way led to, if the packet is not the first of its tuple.
    pub fn learn(&mut self, who: Who, hash: u64, key: &Key, flow: MegaflowId, cache: &mut Cache) {
        // What was learned on the way has it asked first: it may be wrong already.
        if !self.is_seen_again(hash) || !cache.is_fresh(flow) {
            return;
        }
        let looked = *cache.megaflows().matching(flow).1;
        let (program, path) = cache.megaflows().result(flow);
        cache.retain(program, path);
        let serial = cache.megaflows().serial(flow);
        self.keep(
            (who, hash, key),
            (flow, serial),
            &Composed { program, path, looked },
            None,
            cache,
        );
    }

    /// Makes a session of several passes, if they can be one.
    pub(crate) fn learn_trail(
        &mut self,
        (who, hash, key): (Who, u64, &Key),
        trail: &Trail,
        cache: &mut Cache,
    ) {
        let (Some(ties), [first, ..]) = (Ties::of(trail, key), trail.passes()) else { return };
        let fits = |looked: &Key| rest_of(looked, key).is_some();
        match cache.compose(trail.passes(), trail.to().is_some(), fits) {
            Ok(composed) => self.keep((who, hash, key), *first, &composed, Some(&ties), cache),
            Err(NotComposed::Outdated) => {}
            Err(NotComposed::Unfit) => self.stats.unfit += 1,
            Err(NotComposed::NoRoom) => self.stats.refused += 1,
        }
    }

    /// Keeps a session, which is a user of its program and its path already.
    fn keep(
        &mut self,
        (who, hash, key): (Who, u64, &Key),
        (flow, serial): (MegaflowId, Serial),
        &Composed { program, path, ref looked }: &Composed,
        ties: Option<&Ties>,
        cache: &mut Cache,
    ) {
        let Some((rest_mask, rest)) = rest_of(looked, key) else {
            self.stats.unfit += 1;
            return cache.release(program, path);
        };
        let sessions = &self.sessions;
        if let Some(old) = self.index.find(hash, |at| sessions[at as usize].key.is(who, key)) {
            let known = &sessions[old as usize];
            let is_same = (known.program, known.path, known.flow, known.serial)
                == (program, path, flow, serial)
                && (known.rest_mask, known.rest) == (rest_mask, rest)
                && known.used & HAS_TIES != 0;
            if is_same && ties.is_some_and(|ties| self.ties[old as usize].are(ties)) {
                // An unusual packet has taken its passes.
                return cache.release(program, path);
            }
            self.remove(old, hash, cache);
        }
        let Some(at) = self.make_room(hash, cache) else {
            self.stats.refused += 1;
            return cache.release(program, path);
        };
        if self.index.insert(hash, at).is_err() {
            self.free.push(at);
            self.stats.refused += 1;
            return cache.release(program, path);
        }
        let has_rest = if rest_mask == [0; REST.len()] { 0 } else { HAS_REST };
        let has_ties = if ties.is_some() { HAS_TIES } else { 0 };
        if let Some(ties) = ties {
            self.ties[at as usize] = *ties;
            (self.tied, self.highest_tied) = (self.tied + 1, self.highest_tied.max(at + 1));
        }
        self.sessions[at as usize] = Session {
            key: SessionKey::new(who, key),
            epoch: cache.epoch(),
            program,
            path,
            flow,
            serial,
            used: has_rest | has_ties | self.seconds,
            rest_mask,
            rest,
        };
        self.stats.made += 1;
    }

    /// Whether a tuple of this hash was seen before; from now on it was.
    pub(crate) fn is_seen_again(&mut self, hash: u64) -> bool {
        let at = usize::try_from(hash).unwrap_or(0) & (self.seen.len() - 1);
        let (tag, seen) = (hash >> 48 | 1, &mut self.seen[at]);
        // Of one alone, two tuples that lead to one place would keep each other from ever being seen.
        let is_seen = (0..4).any(|place| *seen >> (16 * place) & 0xffff == tag);
        if !is_seen {
            *seen = *seen << 16 | tag;
        }
        is_seen
    }

    /// A place for a session with this hash; if need be that of one which has been quiet for a
    /// while.
    fn make_room(&mut self, hash: u64, cache: &mut Cache) -> Option<u32> {
        let is_full = self.free.is_empty() && self.next as usize >= self.sessions.len();
        if is_full || self.index.is_crowded(hash) {
            let used = |at: &u32| self.sessions[*at as usize].used & SECONDS;
            let oldest = self.index.rivals(hash).min_by_key(used)?;
            if used(&oldest) >= self.seconds {
                return None;
            }
            let hash = self.sessions[oldest as usize].key.hash(self.seed);
            self.remove(oldest, hash, cache);
        }
        self.free.pop().or_else(|| {
            let next = self.next;
            self.next = next.checked_add(1).filter(|end| *end as usize <= self.sessions.len())?;
            Some(next)
        })
    }

    fn remove(&mut self, at: u32, hash: u64, cache: &mut Cache) {
        let session = &mut self.sessions[at as usize];
        self.index.remove(hash, at);
        cache.release(session.program, session.path);
        session.key.who = 0;
        self.tied -= u32::from(session.used & HAS_TIES != 0);
        self.free.push(at);
    }

    /// Forgets every session; answers how many there were. For the moment of an order.
    pub fn flush(&mut self, cache: &mut Cache) -> usize {
        let before = self.len();
        for at in 0..self.next {
            let session = &self.sessions[at as usize];
            if session.key.who != 0 {
                let hash = session.key.hash(self.seed);
                self.remove(at, hash, cache);
            }
        }
        before
    }

    /// Looks at the next few sessions and removes those that have had no packet for long.
    pub fn sweep(&mut self, cache: &mut Cache, now: Millis) {
        self.begin(now);
        const STEPS: u32 = 16;
        for _ in 0..STEPS.min(self.next) {
            self.hand = if self.hand < self.next { self.hand } else { 0 };
            let session = &self.sessions[self.hand as usize];
            let idle = self.seconds.saturating_sub(session.used & SECONDS) >= Self::IDLE;
            if session.key.who != 0 && idle {
                let hash = session.key.hash(self.seed);
                self.remove(self.hand, hash, cache);
            }
            self.hand += 1;
        }
    }
}

impl Session {
    /// Whether it is still right in the epoch of the cache; then it is of that.
    #[cold]
    fn stays_right(&mut self, ties: Option<&Ties>, cache: &mut Cache) -> bool {
        let is_right =
            cache.is_right(self.flow, self.serial) && ties.is_none_or(|ties| ties.are_right(cache));
        if is_right {
            self.epoch = cache.epoch();
        }
        is_right
    }

    /// Notes that it has had packets in this second, and what it rests on.
    #[cold]
    fn touch(&mut self, ties: Option<&Ties>, cache: &mut Cache, seconds: u32, now: Millis) {
        self.used = self.used & !SECONDS | seconds;
        cache.touch(self.flow, self.serial, now);
        if let Some(ties) = ties {
            ties.touch(cache, now);
        }
    }

    #[inline]
    fn agrees(&self, key: &Key) -> bool {
        let mut differ = 0;
        for (n, word) in REST.iter().enumerate() {
            differ |= key[*word] & self.rest_mask[n] ^ self.rest[n];
        }
        differ == 0
    }
}

fn seconds(now: Millis) -> u32 {
    u32::try_from(now.0 / 1000).unwrap_or(u32::MAX) & SECONDS
}

#[cfg(test)]
mod tests {
    use super::*;

    /// They took turns in the only place there was, and neither ever got a session.
    #[test]
    fn tuples_that_lead_to_one_place_do_not_keep_each_other_out() {
        let mut sessions = Sessions::new(256, Seed(1));
        let tuples = [1u64, 3, 5, 7].map(|tag| tag << 48 | 9);
        assert!(!tuples.iter().any(|hash| sessions.is_seen_again(*hash)));
        assert!(tuples.iter().all(|hash| sessions.is_seen_again(*hash)));
        assert!(!sessions.is_seen_again(11 << 48 | 9));
        assert!(!sessions.is_seen_again(tuples[0]), "the fifth took the place of the first");
    }

    #[test]
    fn a_hit_without_rest_reads_one_line() {
        assert_eq!(size_of::<Session>(), 128);
        assert_eq!(std::mem::offset_of!(Session, rest_mask), 64);
    }
}
