//! The segment that nearly all are: an acknowledgement, perhaps with data, in a connection that has
//! long been established, and that fits.
//!
//! What comes of it is what [`Tcp::track`](crate::tcp::Tcp::track) comes to, found out on the six words
//! as they are. Whatever else a segment is, is left to that.

use packet::tcp::{self, Tcp};

use crate::Direction;
use crate::segment::{Kind, Segment, before};
use crate::shared_tcp::{Words, join, short, split};
use crate::window::OLD_ACK;

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Ack {
    /// Its first sequence number.
    pub(crate) seq: u32,
    /// The one behind its data.
    pub(crate) end: u32,
    /// What it acknowledges.
    pub(crate) ack: u32,
    /// The same, with what it acknowledges selectively.
    pub(crate) sack: u32,
    /// The window it offers, unscaled.
    pub(crate) window: u16,
}

impl Ack {
    /// Reads a segment of `len` bytes that begins here, if it is an acknowledgement that says nothing
    /// else: no SYN, FIN or RST, and no option but timestamps.
    #[inline]
    pub(crate) fn read(bytes: &[u8], len: usize) -> Option<Self> {
        const FLAGS: u16 = tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK;
        /// Two bytes of nothing, and the kind and length of timestamps (RFC 7323 appendix A).
        const STAMPS: [u8; 4] = [1, 1, 8, 10];
        let (tcp, options) = Tcp::split(bytes).ok()?;
        if tcp.flags() & FLAGS != tcp::ACK {
            return None;
        }
        let says_no_more = match tcp.header_len() {
            tcp::LEN => true,
            32 => options.first_chunk() == Some(&STAMPS) && options.len() >= 12,
            _ => false,
        };
        if !says_no_more {
            return None;
        }
        let data = u32::try_from(len.checked_sub(tcp.header_len())?).ok()?;
        let (seq, ack) = (tcp.seq(), tcp.ack());
        Some(Self { seq, end: seq.wrapping_add(data), ack, sack: ack, window: tcp.window() })
    }

    /// The same with whatever options.
    pub(crate) fn read_all(bytes: &[u8], len: usize) -> Option<Self> {
        let segment = Segment::read(bytes, len).ok()?;
        let Segment { kind, has_ack, seq, end, ack, sack, window, .. } = segment;
        (kind == Kind::Ack && has_ack).then_some(Self { seq, end, ack, sack, window })
    }
}

/// What is known behind an acknowledgement that goes this way, if it is one that nearly all are; and
/// whether something that was sent has not been acknowledged then. `words` were read the same way: its
/// sender's side comes first.
#[expect(clippy::inline_always, reason = "its result is six words, which need not be written down")]
#[inline(always)]
pub(crate) fn track(words: &Words, direction: Direction, segment: Ack) -> Option<(Words, bool)> {
    if !short::is_calm(words.short) {
        return None;
    }
    let (own, other) = (direction as usize, direction.reversed() as usize);
    let Ack { seq, end, ack, mut sack, window } = segment;
    if words.short & short::takes_sack(other) == 0 {
        sack = ack;
    }
    let [([own_end, own_max_end], [own_window, own_ack]), other_side] =
        words.sides.map(|[ends, rest]| (split(ends), split(rest)));
    let ([other_end, other_max_end], [other_window, other_ack]) = other_side;
    // What has sent nothing that we know of has to be met first.
    let is_met = own_window != 0 && other_window != 0;
    // The four bounds of `window.rs`.
    let oldest = other_end.wrapping_sub(own_window.max(OLD_ACK)).wrapping_sub(1);
    let kept = own_end.wrapping_sub(other_window).wrapping_sub(1);
    let fits = before(seq, own_max_end.wrapping_add(1))
        & before(kept, end)
        & before(sack, other_end.wrapping_add(1))
        & before(oldest, sack);
    if !(is_met & fits) {
        return None;
    }
    let window = u32::from(window) << short::shift(words.short, own);
    let may_send = sack.wrapping_add(window);
    let is_longer = before(own_end, end);
    let is_wider = before(other_max_end.wrapping_sub(1), may_send);
    let beyond = if before(own_max_end, end) { end.wrapping_sub(own_max_end) } else { 0 };
    let owes = short::is_owed(words.last, own) || is_longer;
    let is_owed = short::is_owed(words.last, other) && ack != other_end;
    let own = [
        join([if is_longer { end } else { own_end }, own_max_end]),
        join([
            own_window.max(window.wrapping_add(sack.wrapping_sub(ack))),
            if before(own_ack, ack) { ack } else { own_ack },
        ]),
    ];
    let other = [
        // To a closed window one byte may be sent: a probe (RFC 9293 §3.8.6.1).
        join([
            other_end,
            if is_wider { may_send.wrapping_add(u32::from(window == 0)) } else { other_max_end },
        ]),
        join([other_window.wrapping_add(beyond), other_ack]),
    ];
    let last = join([end, short::rest(direction, [owes, is_owed])]);
    Some((Words { short: words.short, last, sides: [own, other] }, owes || is_owed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// However it is cut, and whatever its options are.
        #[test]
        fn an_acknowledgement_reads_as_any_segment(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            offset in 4..12u8,
            flags in prop_oneof![Just(0x10u8), Just(0x18), any::<u8>()],
            stamps: bool,
            more in 0..2000usize,
        ) {
            let (mut bytes, len) = (bytes.clone(), bytes.len() + more);
            if let Some(place) = bytes.get_mut(tcp::FLAGS..tcp::FLAGS + 2) {
                place.copy_from_slice(&[offset << 4, flags]);
            }
            if let (true, Some(place)) = (stamps, bytes.get_mut(20..24)) {
                place.copy_from_slice(&[1, 1, 8, 10]);
            }
            let plain = Segment::read(&bytes, len).ok();
            let plain = plain.filter(|segment| segment.kind == Kind::Ack && segment.has_ack);
            let expected = plain.map(|Segment { seq, end, ack, sack, window, .. }| {
                Ack { seq, end, ack, sack, window }
            });
            prop_assert_eq!(Ack::read_all(&bytes, len), expected);
            let quick = Ack::read(&bytes, len);
            prop_assert!(quick.is_none() || quick == expected);
            prop_assert!(quick.is_some() || expected.is_none() || bytes[12] >> 4 > 5);
        }
    }
}
