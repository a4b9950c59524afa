//! Where sessions were met lately: while they are few whose packets come, nobody looks them up in the
//! index, nor fetches them beforehand.

use packet::Key;

use crate::who::Who;

/// Places of sessions, by what distinguishes their packets: each is that of the last one that led there.
///
/// It is a guess: whoever asks looks whether the session is there.
#[derive(Debug)]
pub(crate) struct Recent {
    places: Box<[u32; MANY]>,
    /// Of so many that have asked, how many were not helped.
    asked: usize,
    missed: usize,
    /// So many times nobody is to ask any more.
    rest: u32,
}

/// Of two for each of a hundred connections, few are led to the same place.
const MANY: usize = 2048;
/// So many have asked before it is seen whether it was worth it.
const ENOUGH: usize = 256;
/// So many times nobody asks once it was not worth it: asking in vain costs more than is won.
const REST: u32 = 1024;

impl Recent {
    /// Nothing was met.
    pub(crate) fn new() -> Self {
        Self { places: Box::new([0; MANY]), asked: 0, missed: 0, rest: 0 }
    }

    /// Whether so many that come together now should ask: not for a while if more than a quarter of
    /// those that have asked before were not helped.
    #[inline]
    pub(crate) const fn is_worth_asking(&mut self, count: usize) -> bool {
        if self.rest > 0 {
            self.rest -= 1;
            return false;
        }
        if self.asked >= ENOUGH {
            self.rest = if self.missed > self.asked / 4 { REST } else { 0 };
            (self.asked, self.missed) = (0, 0);
        }
        self.asked += count;
        true
    }

    /// The place where the session of such a packet was met last.
    #[inline]
    pub(crate) fn place(&self, who: Who, key: &Key) -> u32 {
        self.places[slot(who, key)]
    }

    /// Notes that the session of such a packet was met elsewhere, or nowhere.
    pub(crate) fn note_missed(&mut self, who: Who, key: &Key, place: Option<u32>) {
        self.missed += 1;
        if let Some(place) = place {
            self.places[slot(who, key)] = place;
        }
    }
}

/// Where it is noted: what whoever sends packets can foresee, who gains nothing by it.
#[inline]
fn slot(who: Who, key: &Key) -> usize {
    let slot = who.mixed(key).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - MANY.ilog2());
    usize::try_from(slot).unwrap_or(0) % MANY
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Headers, ethernet};

    fn key(src: u32) -> (Who, Key) {
        let key = Key::ZERO
            .with(Key::HAS_NETWORK, 1u8)
            .with(Key::HAS_TRANSPORT, 1u8)
            .with(Key::TTL_LEFT, 1u8)
            .with(Key::ETH_TYPE, ethernet::IPV4)
            .with(Key::NW_SRC, src);
        (Who::of(&key, Headers::default()).unwrap(), key)
    }

    #[test]
    fn what_did_not_help_rests_for_a_while() {
        let (mut recent, (who, key)) = (Recent::new(), key(1));
        let mut ask = |missed| {
            let are_asked = recent.is_worth_asking(ENOUGH);
            (0..missed).for_each(|_| recent.note_missed(who, &key, None));
            are_asked
        };
        assert!(ask(ENOUGH / 4));
        assert!(ask(ENOUGH / 4 + 1), "most of them were helped");
        assert!(ask(0), "the last ones that ask before it is seen");
        assert!((0..REST).all(|_| !ask(0)));
        assert!(ask(0));
    }

    #[test]
    fn the_last_one_is_where_it_was_met() {
        let (mut recent, (who, one)) = (Recent::new(), key(1));
        recent.note_missed(who, &one, Some(3));
        recent.note_missed(who, &one, None);
        let (_, other) = key(2);
        assert_eq!([one, other].map(|key| recent.place(who, &key)), [3, 0]);
    }

    /// A hundred connections: of both ways of each, few are in another one's place.
    #[test]
    fn neighbours_have_places_of_their_own() {
        let ways = (0..200u32).map(|n| {
            let (end, ports) = (0x0a00_0000 + n / 2, [1024 + n / 2, 80]);
            let (_, key) = key(if n % 2 == 0 { end } else { 0x0a01_0000 });
            let [src, dst] = if n % 2 == 0 { ports } else { [ports[1], ports[0]] };
            let other = if n % 2 == 0 { 0x0a01_0000 } else { end };
            let key = key.with(Key::TP_SRC, src).with(Key::TP_DST, dst).with(Key::NW_DST, other);
            slot(Who::of(&key, Headers::default()).unwrap(), &key)
        });
        let slots: std::collections::HashSet<_> = ways.collect();
        assert!(slots.len() > 180, "{}", slots.len());
    }
}
