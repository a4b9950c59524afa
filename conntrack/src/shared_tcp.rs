//! A TCP connection that several threads track at once.
//!
//! What is known lies in six words. A thread reads them, judges a segment by what it has read, and
//! writes back what has changed: first what is known of the windows, then the word of the state, by
//! compare-and-swap. If another thread was faster the segment is judged again. Of a race for a window
//! both outcomes are kept, the wider of each bound: so a segment may pass that ought not to, but none
//! is refused that fits.

#[cfg(not(loom))]
use bytemuck::Zeroable;

use crate::Direction;
use crate::segment::{Kind, Segment, before};
use crate::sync::{AtomicU64, Ordering};
use crate::tcp::{Fate, Known, Last, Settings, State, Tcp};
use crate::window::Side;

/// Six words.
#[cfg_attr(not(loom), derive(Zeroable))]
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct SharedTcp {
    /// The state, and whatever else is short.
    short: AtomicU64,
    /// Of the last segment: `end` and `ack`.
    last: AtomicU64,
    /// Of each side: `end` and `max_end`, `max_window` and `max_ack`.
    sides: [[AtomicU64; 2]; 2],
}

/// So often a segment is judged again because others were faster; then it counts for nothing.
const TRIES: u32 = 64;

impl SharedTcp {
    /// Begins with what one thread alone knows.
    pub(crate) fn begin(&self, tcp: &Tcp, known: Known) {
        let words = Words::of(tcp, known);
        self.last.store(words.last, Ordering::Relaxed);
        for (place, word) in self.sides.as_flattened().iter().zip(words.sides.as_flattened()) {
            place.store(*word, Ordering::Relaxed);
        }
        self.short.store(words.short, Ordering::Release);
    }

    /// There is none.
    pub(crate) fn clear(&self) {
        self.short.store(0, Ordering::Release);
    }

    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.short.load(Ordering::Acquire) != 0
    }

    /// What is known by now.
    pub(crate) fn get(&self) -> (Tcp, Known) {
        self.words().read()
    }

    /// Takes a segment: [`Tcp::track`]. Answers also with the connection as it is then, and with what
    /// was known besides before.
    pub(crate) fn track(
        &self,
        direction: Direction,
        segment: &Segment,
        settings: Settings,
    ) -> (Fate, Tcp, Known) {
        let mut tries = 0..TRIES;
        loop {
            let before = self.words();
            let (mut tcp, known) = before.read();
            let fate = tcp.track(direction, segment, known, settings);
            let belongs = matches!(fate, Fate::Valid { .. } | Fate::Ignored);
            let after = Known {
                replied: known.replied || belongs && direction == Direction::Reply,
                assured: known.assured || fate == Fate::Valid { assures: true },
            };
            if self.replace(&before, &Words::of(&tcp, after)) || tries.next().is_none() {
                return (fate, tcp, known);
            }
        }
    }

    fn words(&self) -> Words {
        let read = |word: &AtomicU64| word.load(Ordering::Acquire);
        let short = read(&self.short);
        let sides = self.sides.each_ref().map(|side| side.each_ref().map(read));
        Words { short, last: read(&self.last), sides }
    }

    /// Writes what has changed; answers whether nobody else has changed the state meanwhile.
    fn replace(&self, before: &Words, after: &Words) -> bool {
        for side in [Direction::Original, Direction::Reply].map(|side| side as usize) {
            let ([old_ends, old_rest], [ends, rest]) = (before.sides[side], after.sides[side]);
            widen(&self.sides[side][0], old_ends, ends, wider_ends);
            widen(&self.sides[side][1], old_rest, rest, wider_rest);
        }
        if before.last != after.last {
            self.last.store(after.last, Ordering::Relaxed);
        }
        before.short == after.short
            || self
                .short
                .compare_exchange(before.short, after.short, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok()
    }
}

/// Writes a word, or what is wider of it and what another thread has written meanwhile.
fn widen(place: &AtomicU64, old: u64, new: u64, wider: fn(u64, u64) -> u64) {
    if old == new {
        return;
    }
    let mut seen = old;
    loop {
        let written = if seen == old { new } else { wider(seen, new) };
        match place.compare_exchange(seen, written, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return,
            Err(other) => seen = other,
        }
    }
}

fn wider_ends(one: u64, other: u64) -> u64 {
    let ([end, max_end], [other_end, other_max_end]) = (split(one), split(other));
    join([later(end, other_end), later(max_end, other_max_end)])
}

fn wider_rest(one: u64, other: u64) -> u64 {
    let ([window, ack], [other_window, other_ack]) = (split(one), split(other));
    join([window.max(other_window), later(ack, other_ack)])
}

const fn later(one: u32, other: u32) -> u32 {
    if before(one, other) { other } else { one }
}

/// The words as one thread has read them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Words {
    short: u64,
    last: u64,
    sides: [[u64; 2]; 2],
}

impl Words {
    fn of(tcp: &Tcp, known: Known) -> Self {
        let Tcp { state, sides, last, is_simultaneous } = tcp;
        let opening = last.opening.unwrap_or_default();
        let mut short = Packer(0);
        // A connection that is there is never zero.
        short.flag(true);
        short.bits(*state as u32, 4);
        short.bits(last.kind as u32, 3);
        short.bits(last.direction as u32, 1);
        for flag in [*is_simultaneous, last.is_challenging, known.replied, known.assured] {
            short.flag(flag);
        }
        short.flag(last.opening.is_some());
        short.bits(opening.max_window, 16);
        for side in [&opening, &sides[0], &sides[1]] {
            short.bits(side.shift.into(), 4);
            short.flag(side.scales);
            short.flag(side.takes_sack);
        }
        for side in sides {
            for flag in [side.max_ack.is_some(), side.is_guessed, side.closed_first, side.is_owed] {
                short.flag(flag);
            }
        }
        let words = |side: &Side| {
            [join([side.end, side.max_end]), join([side.max_window, side.max_ack.unwrap_or(0)])]
        };
        Self {
            short: short.0,
            last: join([last.end, last.ack]),
            sides: sides.each_ref().map(words),
        }
    }

    fn read(&self) -> (Tcp, Known) {
        let mut short = Unpacker(self.short);
        // In the opposite order.
        let [end, ack] = split(self.last);
        let mut sides = self.sides.map(|[ends, rest]| {
            let ([end, max_end], [max_window, ack]) = (split(ends), split(rest));
            Side { end, max_end, max_window, max_ack: Some(ack), ..Side::default() }
        });
        for side in sides.iter_mut().rev() {
            side.is_owed = short.flag();
            side.closed_first = short.flag();
            side.is_guessed = short.flag();
            side.max_ack = side.max_ack.filter(|_| short.flag());
        }
        let mut opening = Side { end, max_end: end, ..Side::default() };
        let [original, reply] = &mut sides;
        for side in [reply, original, &mut opening] {
            side.takes_sack = short.flag();
            side.scales = short.flag();
            side.shift = u8::try_from(short.bits(4)).unwrap_or(0);
        }
        opening.max_window = short.bits(16);
        let opening = short.flag().then_some(opening);
        let (assured, replied) = (short.flag(), short.flag());
        let (is_challenging, is_simultaneous) = (short.flag(), short.flag());
        let direction = if short.flag() { Direction::Reply } else { Direction::Original };
        let kind = Kind::ALL[short.bits(3) as usize % Kind::ALL.len()];
        let state = State::ALL[short.bits(4) as usize % State::ALL.len()];
        let last = Last { kind, direction, end, ack, opening, is_challenging };
        (Tcp { state, sides, last, is_simultaneous }, Known { replied, assured })
    }
}

/// Bits that are put beside each other.
struct Packer(u64);

impl Packer {
    const fn bits(&mut self, value: u32, bits: u32) {
        self.0 = self.0 << bits | (value & ((1 << bits) - 1)) as u64;
    }

    const fn flag(&mut self, flag: bool) {
        self.bits(flag as u32, 1);
    }
}

/// Bits that are taken from each other, the last one first.
struct Unpacker(u64);

impl Unpacker {
    #[expect(clippy::cast_possible_truncation, reason = "sixteen bits at most")]
    const fn bits(&mut self, bits: u32) -> u32 {
        let value = self.0 as u32 & ((1 << bits) - 1);
        self.0 >>= bits;
        value
    }

    const fn flag(&mut self) -> bool {
        self.bits(1) == 1
    }
}

const fn join([high, low]: [u32; 2]) -> u64 {
    (high as u64) << 32 | low as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
const fn split(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_segment() -> impl Strategy<Value = Segment> {
        let kind = prop::sample::select(&Kind::ALL[..]);
        let near = 0..3000u32;
        let scale = prop::option::of(0..=14u8);
        (kind, near.clone(), near.clone(), near, any::<u16>(), scale, any::<[bool; 3]>()).prop_map(
            |(kind, seq, len, ack, window, scale, [has_ack, has_options, allows_sack])| Segment {
                kind,
                has_ack,
                // One of the two soon begins anew at zero.
                seq: seq.wrapping_sub(1500),
                end: seq.wrapping_sub(1500).wrapping_add(len),
                ack: ack.wrapping_sub(1500),
                sack: ack.wrapping_sub(1500),
                window,
                has_options,
                scale,
                allows_sack,
            },
        )
    }

    fn any_direction() -> impl Strategy<Value = Direction> {
        prop::sample::select(vec![Direction::Original, Direction::Reply])
    }

    proptest! {
        #[test]
        fn six_words_say_all_of_a_connection(
            first in any_segment(),
            segments in prop::collection::vec((any_direction(), any_segment()), 0..40),
        ) {
            let settings = Settings::default();
            let Some(mut tcp) = Tcp::open(&first, settings) else { return Ok(()) };
            let (shared, mut known) = (SharedTcp::default(), Known::default());
            shared.begin(&tcp, known);
            for (direction, segment) in segments {
                let fate = tcp.track(direction, &segment, known, settings);
                prop_assert_eq!(shared.track(direction, &segment, settings), (fate, tcp, known));
                known.replied |= direction == Direction::Reply
                    && matches!(fate, Fate::Valid { .. } | Fate::Ignored);
                known.assured |= fate == Fate::Valid { assures: true };
                prop_assert_eq!(shared.get(), (tcp, known));
            }
        }
    }
}
