//! Tier 1 of packets that begin connections.
//!
//! The first packet of a connection has no session: nothing is settled. But where flows ask for
//! connections, most that begin go through the same passes: nobody knows their ends, so in each zone they
//! are told that they are new. An *opening* is all those passes made one, for every packet that agrees in
//! what they have looked at. Such a packet is looked up once. Its connections are made, in one zone after
//! the other, it is translated, and does what all passes do.
//!
//! **When it is right.** As a session: while its megaflows are. Beside that, each packet must be one that
//! its connections begin with; any other takes its passes.
//!
//! **What has none.** Passes that look at what connections have been given (translated addresses and
//! ports), or at the tuple of the connection itself: of these each packet has others.

use api::{Nat, ct_state};
use arrayvec::ArrayVec;
use flowtable::{Cache, Composed, Connect, Found, MegaflowId, PathId, ProgramId, Serial};
use packet::{Key, Millis, Span};

use crate::ties;
use crate::trail::Trail;
use crate::worth::Worth;

/// The most words of a key that one opening compares.
const WORDS: usize = 8;
/// The most openings of a worker.
const MOST: usize = 16;
/// Passes that are tried in a millisecond whether they can be made one.
const TRIES: u32 = 4;
/// Seconds without a packet after which an opening goes.
const IDLE: u32 = 10;

/// What packets that begin connections go through.
#[derive(Debug)]
pub(crate) struct Opening {
    /// What they agree in: a word of their key, the bits of it that count, and their value.
    looked: ArrayVec<(usize, u64, u64), WORDS>,
    epoch: u32,
    program: ProgramId,
    path: PathId,
    passes: ArrayVec<(MegaflowId, Serial), { 1 + ties::MOST }>,
    /// What they ask for between the passes.
    asked: ArrayVec<Connect, { ties::MOST }>,
    /// Seconds of its last packet.
    used: u64,
}

impl Opening {
    /// Whether a packet of this key goes by it.
    #[inline]
    pub(crate) fn agrees(&self, key: &Key) -> bool {
        self.looked.iter().all(|(word, mask, value)| key[*word] & mask == *value)
    }

    /// What packets that go by it ask for between their passes.
    #[inline]
    pub(crate) fn asked(&self) -> &[Connect] {
        &self.asked
    }

    /// What they do, and what counts them.
    #[inline]
    pub(crate) const fn found(&self) -> Found {
        Found::Cached(self.program, self.path)
    }

    fn is_right(&self, cache: &mut Cache) -> bool {
        self.passes.iter().all(|(flow, serial)| cache.is_right(*flow, *serial))
    }
}

/// How often packets went by openings.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OpeningStats {
    /// Packets that did.
    pub hits: u64,
    /// Openings made.
    pub made: u64,
}

/// One worker's openings.
#[derive(Debug)]
pub(crate) struct Openings {
    known: Vec<Opening>,
    room: usize,
    /// The one that was met last, which most packets meet.
    met: usize,
    /// How many passes may still be tried in this millisecond.
    tries: u32,
    now: Millis,
    stats: OpeningStats,
}

impl Openings {
    /// None; and none ever, unless they are `wanted`.
    pub(crate) fn new(wanted: bool) -> Self {
        let room = if wanted { MOST } else { 0 };
        let known = Vec::with_capacity(room);
        Self { known, room, met: 0, tries: TRIES, now: Millis(0), stats: OpeningStats::default() }
    }

    /// A batch begins.
    #[inline]
    pub(crate) fn begin(&mut self, now: Millis) {
        if now != self.now {
            (self.now, self.tries) = (now, TRIES);
        }
    }

    /// What they did.
    pub(crate) const fn stats(&self) -> OpeningStats {
        self.stats
    }

    /// The opening that a packet would go by, and its place.
    #[inline]
    pub(crate) fn find(&mut self, key: &Key, cache: &mut Cache) -> Option<(usize, &Opening)> {
        let is_it = |opening: &Opening| opening.agrees(key);
        let at = match self.known.get(self.met).is_some_and(is_it) {
            true => self.met,
            false => self.known.iter().position(is_it)?,
        };
        self.met = at;
        let opening = &mut self.known[at];
        if opening.epoch != cache.epoch() {
            if !opening.is_right(cache) {
                self.remove(at, cache);
                return None;
            }
            opening.epoch = cache.epoch();
        }
        Some((at, &self.known[at]))
    }

    /// So many packets go by the opening at a place.
    pub(crate) fn hit(&mut self, at: usize, packets: usize, cache: &mut Cache) {
        let (opening, seconds) = (&mut self.known[at], self.now.0 / 1000);
        if opening.used != seconds {
            opening.used = seconds;
            for (flow, serial) in &opening.passes {
                cache.touch(*flow, *serial, self.now);
            }
        }
        self.stats.hits += packets as u64;
    }

    /// A packet goes by it up to what it asks for the `n`th time, from 0, and no further.
    #[cold]
    pub(crate) fn hit_in_part(&mut self, at: usize, n: usize, worth: Worth, cache: &mut Cache) {
        self.hit(at, 1, cache);
        for (flow, serial) in self.known[at].passes.iter().take(n + 1) {
            // What has another one's place by now has not met the packet.
            if cache.megaflows().serial(*flow) == *serial {
                let (_, path) = cache.megaflows().result(*flow);
                cache.paths_mut().count(path, worth.packets, worth.bytes, self.now);
            }
        }
    }

    /// Whether the passes of another packet are to be tried whether they can be made one.
    pub(crate) const fn may_try(&mut self) -> bool {
        let may = self.room > 0 && self.tries > 0;
        self.tries -= may as u32;
        may
    }

    /// Makes an opening of the passes that a packet of this key has taken, if they can be one.
    pub(crate) fn learn(&mut self, key: &Key, trail: &Trail, cache: &mut Cache) {
        // It may have taken its passes because of what was not gone yet.
        if self.known.iter().any(|opening| opening.agrees(key)) {
            return;
        }
        let (passes, asked) = (trail.passes(), trail.begun());
        let is_full = self.known.len() >= self.room && !self.make_room(cache);
        if is_full || passes.len() != asked.len() + 1 || !is_open(passes, asked, cache) {
            return;
        }
        let mut looked = ArrayVec::new();
        let fits = |bits: &Key| {
            let words = bits.words()[..Key::PACKET_WORDS].iter().enumerate();
            let mut words = words.filter(|(_, bits)| **bits != 0);
            words.all(|(word, bits)| looked.try_push((word, *bits, key[word] & bits)).is_ok())
        };
        // What it asks with is what it has come with.
        let Ok(Composed { program, path, .. }) = cache.compose(passes, true, fits) else { return };
        self.stats.made += 1;
        self.known.push(Opening {
            looked,
            epoch: cache.epoch(),
            program,
            path,
            passes: passes.iter().copied().collect(),
            asked: asked.iter().cloned().collect(),
            used: self.now.0 / 1000,
        });
    }

    /// Removes the one that has had no packet for longest, if that is more than a second.
    fn make_room(&mut self, cache: &mut Cache) -> bool {
        let oldest = (0..self.known.len()).min_by_key(|at| self.known[*at].used);
        let oldest = oldest.filter(|at| self.known[*at].used + 1 < self.now.0 / 1000);
        if let Some(at) = oldest {
            self.remove(at, cache);
        }
        oldest.is_some()
    }

    fn remove(&mut self, at: usize, cache: &mut Cache) {
        let Opening { program, path, .. } = self.known.swap_remove(at);
        cache.release(program, path);
    }

    /// Forgets all. For the moment of an order.
    pub(crate) fn flush(&mut self, cache: &mut Cache) {
        for Opening { program, path, .. } in self.known.drain(..) {
            cache.release(program, path);
        }
    }

    /// Removes one that has had no packet for long.
    pub(crate) fn sweep(&mut self, cache: &mut Cache, now: Millis) {
        let is_idle = |opening: &Opening| opening.used + u64::from(IDLE) <= now.0 / 1000;
        if let Some(at) = self.known.iter().position(is_idle) {
            self.remove(at, cache);
        }
    }
}

/// Whether passes behind the first one look only at what is the same for all packets that begin
/// connections there.
fn is_open(passes: &[(MegaflowId, Serial)], asked: &[Connect], cache: &Cache) -> bool {
    const SRC: [Span; 3] = [Key::NW_SRC, Key::IPV6_SRC, Key::TP_SRC];
    const DST: [Span; 3] = [Key::NW_DST, Key::IPV6_DST, Key::TP_DST];
    const TRANSLATED: u32 = ct_state::SNAT | ct_state::DNAT;
    let mut given = Key::ZERO;
    for span in
        [Key::CT_NW_PROTO, Key::CT_IPV6_SRC, Key::CT_IPV6_DST, Key::CT_TP_SRC, Key::CT_TP_DST]
    {
        given.set_all(span);
    }
    passes.iter().skip(1).zip(asked).all(|((flow, _), connect)| {
        let spans = match connect.nat.filter(|_| connect.commit) {
            Some(Nat::Src(_)) => &SRC[..],
            Some(Nat::Dst(_)) => &DST,
            Some(Nat::Existing) | None => &[],
        };
        spans.iter().for_each(|span| given.set_all(*span));
        if !spans.is_empty() {
            given.set(Key::CT_STATE, TRANSLATED);
        }
        let (_, looked) = cache.megaflows().matching(*flow);
        looked.words().iter().zip(given.words()).all(|(looked, given)| looked & given == 0)
    })
}
