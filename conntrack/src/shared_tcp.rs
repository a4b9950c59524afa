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
use crate::quick::{self, Ack};
use crate::segment::{Kind, Segment, before};
use crate::settings::Settings;
use crate::shared_sctp::SharedSctp;
use crate::sync::{AtomicU64, Ordering};
use crate::tcp::{Fate, Known, Last, State, Tcp};
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
    pub(crate) fn begin(&self, words: &Words) {
        self.last.store(words.last, Ordering::Relaxed);
        for (place, word) in self.sides.as_flattened().iter().zip(words.sides.as_flattened()) {
            place.store(*word, Ordering::Relaxed);
        }
        self.short.store(words.short, Ordering::Release);
    }

    /// There is none, but one of another protocol, which begins at this time.
    pub(crate) fn begin_other(&self, now: u32) {
        self.last.store(now.into(), Ordering::Relaxed);
        self.short.store(0, Ordering::Release);
    }

    /// When the one of another protocol began, that is neither TCP nor SCTP.
    pub(crate) fn began(&self) -> u32 {
        let [_, began] = split(self.last.load(Ordering::Relaxed));
        began
    }

    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        short::is_there(self.short.load(Ordering::Acquire))
    }

    /// The words of an association of SCTP, if it is one.
    pub(crate) const fn as_sctp(&self) -> SharedSctp<'_> {
        SharedSctp { short: &self.short, tags: &self.last }
    }

    /// What is known by now.
    pub(crate) fn get(&self) -> (Tcp, Known) {
        self.words(Direction::Original).read()
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
            let before = self.words(Direction::Original);
            let (mut tcp, known) = before.read();
            let fate = tcp.track(direction, segment, known, settings);
            let belongs = matches!(fate, Fate::Valid { .. } | Fate::Ignored);
            let after = Known {
                replied: known.replied || belongs && direction == Direction::Reply,
                assured: known.assured || fate == Fate::Valid { assures: true },
            };
            let is_told = self.replace(&before, &Words::of(&tcp, after));
            if is_told || tries.next().is_none() {
                return (fate, tcp, known);
            }
        }
    }

    /// Judges an acknowledgement as nearly all are; `None` if it is none of those. Nothing has changed
    /// yet.
    #[expect(clippy::inline_always, reason = "of what it needs and finds, most stays in registers")]
    #[inline(always)]
    pub(crate) fn judge_ack(&self, direction: Direction, ack: Ack) -> Option<Judged> {
        let words = self.words(direction);
        quick::fits(&words, direction, ack).then_some(Judged(words))
    }

    /// Takes an acknowledgement that was judged; answers whether anything that was sent has not been
    /// acknowledged then. `None` if others were faster, and it is not as nearly all are any more: then
    /// nothing has changed.
    #[expect(clippy::inline_always, reason = "of what it needs and finds, most stays in registers")]
    #[inline(always)]
    pub(crate) fn take_ack(&self, direction: Direction, judged: &Judged, ack: Ack) -> Option<bool> {
        if let Some(is_owed) = self.follow(direction, judged, ack) {
            return Some(is_owed);
        }
        let (ends, acks, window) = ack.spread();
        self.take_ack_anew(direction, ends, acks, window)
    }

    /// Judges and takes it anew.
    #[cold]
    fn take_ack_anew(
        &self,
        direction: Direction,
        ends: [u32; 2],
        acks: [u32; 2],
        window: u16,
    ) -> Option<bool> {
        let ack = Ack::gather(ends, acks, window);
        for _ in 1..TRIES {
            let judged = self.judge_ack(direction, ack)?;
            if let Some(is_owed) = self.follow(direction, &judged, ack) {
                return Some(is_owed);
            }
        }
        None
    }

    /// Writes what an acknowledgement changes; answers whether anything that was sent has not been
    /// acknowledged then. `None` if others were faster.
    #[expect(clippy::inline_always, reason = "of what it needs and finds, most stays in registers")]
    #[inline(always)]
    fn follow(&self, direction: Direction, Judged(before): &Judged, ack: Ack) -> Option<bool> {
        let (last, is_owed) = quick::follow(before, direction, ack, |side, word, new| {
            let place = &self.sides[(direction as usize + side) % 2][word];
            let wider = if word == 0 { wider_ends } else { wider_rest };
            widen(place, before.sides[side][word], new, wider);
        });
        let is_told = last == before.last || self.replace_last(before.last, last);
        is_told.then_some(is_owed)
    }

    /// Whether it is established, and both sides have acknowledged something since: then nearly all
    /// segments are such acknowledgements.
    pub(crate) fn is_calm(&self) -> bool {
        short::is_calm(self.short.load(Ordering::Acquire))
    }

    /// The words, the side first that sends what goes this way.
    #[inline]
    fn words(&self, direction: Direction) -> Words {
        let read = |word: &AtomicU64| word.load(Ordering::Acquire);
        let short = read(&self.short);
        let sides = self.sides(direction).map(|side| side.each_ref().map(read));
        Words { short, last: read(&self.last), sides }
    }

    /// Both sides, the one first that sends what goes this way.
    #[inline]
    fn sides(&self, direction: Direction) -> [&[AtomicU64; 2]; 2] {
        let own = direction as usize;
        [own, own + 1].map(|side| &self.sides[side % 2])
    }

    /// Writes what has changed of words that were read in their order; answers whether nobody else has
    /// changed the state meanwhile.
    fn replace(&self, before: &Words, after: &Words) -> bool {
        for (n, side) in self.sides.iter().enumerate() {
            let ([old_ends, old_rest], [ends, rest]) = (before.sides[n], after.sides[n]);
            if ends != old_ends {
                widen(&side[0], old_ends, ends, wider_ends);
            }
            if rest != old_rest {
                widen(&side[1], old_rest, rest, wider_rest);
            }
        }
        if before.short == after.short && short::is_calm(after.short) {
            return before.last == after.last || self.replace_last(before.last, after.last);
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

    /// Writes what is known of the last segment while nothing happens but data and acknowledgements;
    /// answers whether nobody else has, where that counts.
    #[inline]
    fn replace_last(&self, before: u64, after: u64) -> bool {
        if short::owes(before | after) {
            // What another thread has found acknowledged meanwhile stays so: it is judged again. Where
            // neither segment leaves anything owed, the last store wins: that something is owed may be
            // lost in a race, and a connection that is dead then stays for as long as one at rest.
            return self
                .last
                .compare_exchange(before, after, Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        }
        self.last.store(after, Ordering::Relaxed);
        true
    }
}

/// Writes a word, or what is wider of it and what another thread has written meanwhile.
#[inline]
fn widen(place: &AtomicU64, old: u64, new: u64, wider: fn(u64, u64) -> u64) {
    if let Err(seen) = place.compare_exchange(old, new, Ordering::AcqRel, Ordering::Acquire) {
        widen_anew(place, (old, new), seen, wider);
    }
}

/// Another thread was faster.
#[cold]
fn widen_anew(
    place: &AtomicU64,
    (old, new): (u64, u64),
    mut seen: u64,
    wider: fn(u64, u64) -> u64,
) {
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

pub(crate) const fn later(one: u32, other: u32) -> u32 {
    if before(one, other) { other } else { one }
}

/// The words as one thread has read them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Words {
    pub(crate) short: u64,
    pub(crate) last: u64,
    /// In the order in which they were read; [`Words::of`] has that of who began first.
    pub(crate) sides: [[u64; 2]; 2],
}

/// What was known when an acknowledgement was found to fit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged(Words);

/// Where what is short lies in its word.
pub(crate) mod short {
    use crate::Direction;
    use crate::segment::Kind;
    use crate::tcp::State;

    const THERE: u64 = 1 << 55;
    const STATE: u32 = 51;
    const KIND: u32 = 48;
    const CHALLENGING: u64 = 1 << 45;
    const REPLIED: u64 = 1 << 44;
    const ASSURED: u64 = 1 << 43;
    const OPENING: u64 = 1 << 42;
    /// Both sides have acknowledged something.
    const ACKS: u64 = 0x88;
    /// Something that a side has sent has not been acknowledged, and which way the last segment went:
    /// what changes with nearly every segment.
    const RESTLESS: u64 = 0x11 | 1 << 47;

    /// What is the same while nothing happens but data and acknowledgements.
    const CALM: u64 = THERE
        | (State::Established as u64) << STATE
        | (Kind::Ack as u64) << KIND
        | REPLIED
        | ASSURED
        | ACKS;
    /// The bits that say whether it is so.
    const CALM_MASK: u64 = CALM | 0xf << STATE | 0x7 << KIND | CHALLENGING | OPENING;

    /// What a connection begins with whose SYN has said this.
    pub(super) const fn of_syn(shift: u8, scales: bool, takes_sack: bool) -> u64 {
        let begun = THERE | (State::SynSent as u64) << STATE | (Kind::Syn as u64) << KIND;
        begun | (shift as u64) << 16 | (scales as u64) << 15 | (takes_sack as u64) << 14
    }

    /// Whether there is a connection.
    pub(crate) const fn is_there(word: u64) -> bool {
        word & THERE != 0
    }

    /// By how many bits the windows of a side are shifted.
    #[expect(clippy::cast_possible_truncation, reason = "four bits")]
    pub(crate) const fn shift(word: u64, side: usize) -> u32 {
        (word >> (16 - 6 * side)) as u32 & 0xf
    }

    /// Whether a side takes selective acknowledgements.
    pub(crate) const fn takes_sack(side: usize) -> u64 {
        1 << (14 - 6 * side)
    }

    /// Whether the state is one in which what is restless is kept beside the end of the last segment,
    /// where nothing else is then.
    pub(crate) const fn is_calm(word: u64) -> bool {
        word & CALM_MASK == CALM
    }

    /// Takes what is restless out of the word, and puts it into that of the last segment.
    pub(super) fn calmed(word: u64, last: u64) -> (u64, u64) {
        if !is_calm(word) {
            return (word, last);
        }
        let [end, _] = super::split(last);
        let owed = [0, 1].map(|side| word >> (4 - 4 * side) & 1 == 1);
        let direction = if word >> 47 & 1 == 1 { Direction::Reply } else { Direction::Original };
        let owed = if direction == Direction::Reply { [owed[1], owed[0]] } else { owed };
        (word & !RESTLESS, super::join([end, rest(direction, owed)]))
    }

    /// The opposite.
    pub(super) const fn restless(word: u64, last: u64) -> (u64, u64) {
        if !is_calm(word) {
            return (word, last);
        }
        let [end, rest] = super::split(last);
        let rest = rest as u64;
        (word | (rest & 1) << 47 | (rest >> 1 & 1) << 4 | rest >> 2 & 1, super::join([end, 0]))
    }

    /// What is restless, beside the end of the last segment: which way it went, and what was sent and
    /// not acknowledged, first what was sent this way.
    fn rest(direction: Direction, is_owed: [bool; 2]) -> u32 {
        let [own, other] = owed(direction);
        let bits = is_owed.map(|is| if is { u32::MAX } else { 0 });
        direction as u32 | own & bits[0] | other & bits[1]
    }

    /// The bits that say that something has not been acknowledged, beside the end of the last segment.
    pub(crate) const OWED: u32 = 0b110;

    /// That of each side, first of the one that sends what goes this way.
    pub(crate) const fn owed(direction: Direction) -> [u32; 2] {
        let own = 2 + 2 * direction as u32;
        [own, OWED ^ own]
    }

    /// Whether anything that was sent has not been acknowledged, beside the end of the last segment.
    pub(super) const fn owes(last: u64) -> bool {
        last & OWED as u64 != 0
    }
}

impl Words {
    /// Of a connection that begins with this SYN.
    pub(crate) fn of_syn(syn: &Segment) -> Self {
        let Side { end, max_end, max_window, shift, scales, takes_sack, .. } = Side::opening(syn);
        let begun = [join([end, max_end]), join([max_window, 0])];
        Self { short: short::of_syn(shift, scales, takes_sack), last: 0, sides: [begun, [0; 2]] }
    }

    pub(crate) fn of(tcp: &Tcp, known: Known) -> Self {
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
        let (short, last) = short::calmed(short.0, join([last.end, last.ack]));
        Self { short, last, sides: sides.each_ref().map(words) }
    }

    fn read(&self) -> (Tcp, Known) {
        let (short, last) = short::restless(self.short, self.last);
        let mut short = Unpacker(short);
        // In the opposite order.
        let [end, ack] = split(last);
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

pub(crate) const fn join([high, low]: [u32; 2]) -> u64 {
    (high as u64) << 32 | low as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
pub(crate) const fn split(word: u64) -> [u32; 2] {
    [(word >> 32) as u32, word as u32]
}

#[cfg(all(test, loom))]
mod model;

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_segment() -> impl Strategy<Value = Segment> {
        let kind = prop::sample::select(&Kind::ALL[..]);
        let near = 0..3000u32;
        let scale = prop::option::of(0..=14u8);
        let window = prop_oneof![9 => any::<u16>(), 1 => Just(0)];
        (kind, near.clone(), near.clone(), near, window, scale, any::<[bool; 3]>()).prop_map(
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
        /// As all the others are judged, or not at all.
        #[test]
        fn what_is_usual_is_judged_as_anything_else(
            first in any_segment(),
            segments in prop::collection::vec((any_direction(), any_segment()), 0..40),
            acks in prop::collection::vec((any_direction(), any_segment()), 40),
        ) {
            let settings = Settings::default();
            let Some(tcp) = Tcp::open(&first, settings) else { return Ok(()) };
            let shared = SharedTcp::default();
            shared.begin(&Words::of(&tcp, Known { replied: true, assured: true }));
            let acks = acks.into_iter().map(|(direction, segment)| {
                let kind = if segment.kind == Kind::Syn { Kind::Ack } else { segment.kind };
                (direction, Segment { kind, has_ack: true, ..segment })
            });
            for (direction, segment) in segments.into_iter().chain(acks) {
                let Segment { seq, end, ack, sack, window, .. } = segment;
                let words = shared.words(Direction::Original);
                if segment.kind == Kind::Ack && segment.has_ack {
                    let ack = Ack { seq, end, ack, sack, window };
                    let before = shared.words(direction);
                    let fits = quick::fits(&before, direction, ack);
                    let (mut tcp, known) = words.read();
                    let is_first = tcp.sides.iter().any(|side| side.max_window == 0);
                    let fate = tcp.track(direction, &segment, known, settings);
                    if fits {
                        prop_assert_eq!(fate, Fate::Valid { assures: false });
                        let mut expected = Words::of(&tcp, known);
                        if direction == Direction::Reply {
                            expected.sides.reverse();
                        }
                        let (mut after, mut count) = (before, 0);
                        let (last, is_owed) =
                            quick::follow(&before, direction, ack, |side, word, new| {
                                (after.sides[side][word], count) = (new, count + 1);
                            });
                        after.last = last;
                        prop_assert_eq!(after, expected);
                        prop_assert_eq!(is_owed, tcp.sides.iter().any(|side| side.is_owed));
                        // What stays as it is, is not written.
                        let [old, new] = [before, expected].map(|words| words.sides);
                        let pairs = old.as_flattened().iter().zip(new.as_flattened());
                        prop_assert_eq!(count, pairs.filter(|(old, new)| old != new).count());
                    } else if short::is_calm(words.short) && !is_first {
                        // It does not fit, or is tolerated because of what was not seen.
                        let is_guessed = tcp.sides.iter().any(|side| side.is_guessed);
                        let fits = fate == Fate::Valid { assures: false };
                        prop_assert!(is_guessed || !fits);
                    }
                }
                shared.track(direction, &segment, settings);
            }
        }

        #[test]
        fn six_words_say_all_of_a_connection(
            first in any_segment(),
            segments in prop::collection::vec((any_direction(), any_segment()), 0..40),
        ) {
            let settings = Settings::default();
            let Some(mut tcp) = Tcp::open(&first, settings) else { return Ok(()) };
            let (shared, mut known) = (SharedTcp::default(), Known::default());
            shared.begin(&Words::of(&tcp, known));
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
