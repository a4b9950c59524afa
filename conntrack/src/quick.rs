//! The segment that nearly all are: an acknowledgement, perhaps with data, in a connection that has
//! long been established, and that fits.
//!
//! What comes of it is what [`Tcp::track`](crate::tcp::Tcp::track) comes to, found out on the six words
//! as they are. Whatever else a segment is, is left to that.

use packet::PlainTcp;
use packet::tcp::{self, Tcp};

use crate::Direction;
use crate::segment::{Kind, Segment, before};
use crate::shared_tcp::{Words, join, later, short, split};
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
    /// What says how long a header is, and what it does.
    const LOOKED: u16 = 0xf000 | tcp::FIN | tcp::SYN | tcp::RST | tcp::ACK;
    /// That of an acknowledgement without options.
    const BARE: u16 = 5 << 12 | tcp::ACK;
    /// That of one with timestamps.
    const STAMPED: u16 = 8 << 12 | tcp::ACK;

    /// Reads a segment of `len` bytes that begins here, if it is an acknowledgement that says nothing
    /// else: no SYN, FIN or RST, and no option but timestamps.
    #[inline]
    pub(crate) fn read(bytes: &[u8], len: usize) -> Option<Self> {
        let (header, options) = bytes.split_first_chunk::<{ tcp::LEN }>()?;
        let data = len.checked_sub(header_len(header, options)?)?;
        Self::of(header, u32::try_from(data).ok()?)
    }

    /// The same of a plain packet.
    #[inline]
    pub(crate) fn read_plain(packet: PlainTcp<'_>) -> Option<Self> {
        let (header, behind) = packet.split();
        let data = (tcp::LEN + behind.len()).checked_sub(header_len(header, behind)?)?;
        Self::of(header, u32::try_from(data).ok()?)
    }

    /// That of a header with so many bytes behind it.
    #[inline]
    fn of(header: &[u8; tcp::LEN], data: u32) -> Option<Self> {
        let (tcp, _) = Tcp::split(header).ok()?;
        let (seq, ack) = (tcp.seq(), tcp.ack());
        Some(Self { seq, end: seq.wrapping_add(data), ack, sack: ack, window: tcp.window() })
    }

    /// The same with whatever options.
    pub(crate) fn read_all(bytes: &[u8], len: usize) -> Option<Self> {
        let segment = Segment::read(bytes, len).ok()?;
        let Segment { kind, has_ack, seq, end, ack, sack, window, .. } = segment;
        (kind == Kind::Ack && has_ack).then_some(Self { seq, end, ack, sack, window })
    }

    /// What it acknowledges at most, to a side of which the short word says whether it takes that.
    #[inline]
    const fn sack_to(self, short: u64, direction: Direction) -> u32 {
        let takes_sack = short::takes_sack(direction.reversed() as usize);
        if short & takes_sack == 0 { self.ack } else { self.sack }
    }

    /// The same in pieces that are handed on in registers.
    #[inline]
    pub(crate) const fn spread(self) -> ([u32; 2], [u32; 2], u16) {
        ([self.seq, self.end], [self.ack, self.sack], self.window)
    }

    /// The opposite.
    #[inline]
    pub(crate) const fn gather([seq, end]: [u32; 2], [ack, sack]: [u32; 2], window: u16) -> Self {
        Self { seq, end, ack, sack, window }
    }
}

/// How long the header of an acknowledgement is that says nothing else.
#[inline]
fn header_len(header: &[u8; tcp::LEN], options: &[u8]) -> Option<usize> {
    /// Two bytes of nothing, and the kind and length of timestamps (RFC 7323 appendix A).
    const STAMPS: [u8; 4] = [1, 1, 8, 10];
    match u16::from_be_bytes([header[tcp::FLAGS], header[tcp::FLAGS + 1]]) & Ack::LOOKED {
        Ack::BARE => Some(tcp::LEN),
        Ack::STAMPED if options.first_chunk::<12>()?.starts_with(&STAMPS) => Some(32),
        _ => None,
    }
}

/// Whether an acknowledgement that goes this way is one that nearly all are, and fits. `words` were read
/// the same way: its sender's side comes first.
#[expect(clippy::inline_always, reason = "of what it reads, most stays in registers")]
#[inline(always)]
pub(crate) fn fits(words: &Words, direction: Direction, segment: Ack) -> bool {
    if !short::is_calm(words.short) {
        return false;
    }
    let Ack { seq, end, .. } = segment;
    let sack = segment.sack_to(words.short, direction);
    let [([own_end, own_max_end], [own_window, _]), ([other_end, _], [other_window, _])] =
        words.sides.map(|[ends, rest]| (split(ends), split(rest)));
    // What has sent nothing that we know of has to be met first.
    let is_met = own_window != 0 && other_window != 0;
    // The four bounds of `window.rs`.
    let oldest = other_end.wrapping_sub(own_window.max(OLD_ACK)).wrapping_sub(1);
    let kept = own_end.wrapping_sub(other_window).wrapping_sub(1);
    let fits = before(seq, own_max_end.wrapping_add(1))
        & before(kept, end)
        & before(sack, other_end.wrapping_add(1))
        & before(oldest, sack);
    is_met & fits
}

/// What is known behind an acknowledgement that [`fits`]. `widen` is called with the side, the word of it
/// and what that becomes, for each that does not stay as it is: of most acknowledgements one or two, and
/// the same for many in a row. Answers with the word of the last segment, and whether something that was
/// sent has not been acknowledged then.
#[inline(always)]
pub(crate) fn follow(
    words: &Words,
    direction: Direction,
    segment: Ack,
    mut widen: impl FnMut(usize, usize, u64),
) -> (u64, bool) {
    const OWN: usize = 0;
    const OTHER: usize = 1;
    let Ack { end, ack, window, .. } = segment;
    let sack = segment.sack_to(words.short, direction);
    let window = u32::from(window) << short::shift(words.short, direction as usize);
    let [[own_ends, own_rest], [other_ends, other_rest]] = words.sides;
    let [owed_by_own, owed_by_other] = short::owed(direction);
    let [_, mut owed] = split(words.last);
    owed &= short::OWED;

    let [own_end, own_max_end] = split(own_ends);
    let [own_window, own_ack] = split(own_rest);
    let [other_end, other_max_end] = split(other_ends);
    let offered = window.wrapping_add(sack.wrapping_sub(ack));
    let may_send = sack.wrapping_add(window);
    // Of all at once whether it may become anything else: one jump instead of one for each.
    let may_widen = before(own_end, end)
        | before(own_max_end, end)
        | before(own_ack, ack)
        | before(other_max_end, may_send)
        | (own_window < offered)
        | (window == 0);
    if may_widen {
        if before(own_end, end) {
            owed |= owed_by_own;
            widen(OWN, 0, join([end, own_max_end]));
        }
        if before(own_max_end, end) {
            let ([window, ack], beyond) = (split(other_rest), end.wrapping_sub(own_max_end));
            widen(OTHER, 1, join([window.wrapping_add(beyond), ack]));
        }
        if own_window < offered || before(own_ack, ack) {
            widen(OWN, 1, join([own_window.max(offered), later(own_ack, ack)]));
        }
        if before(other_max_end.wrapping_sub(1), may_send) {
            // To a closed window one byte may be sent: a probe (RFC 9293 §3.8.6.1).
            let widest = may_send.wrapping_add(u32::from(window == 0));
            if widest != other_max_end {
                widen(OTHER, 0, join([other_end, widest]));
            }
        }
    }
    if ack == other_end {
        owed &= !owed_by_other;
    }
    (join([end, direction as u32 | owed]), owed != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Headers, Network, Transport};
    use proptest::prelude::*;

    use crate::message;

    fn bytes_of(len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), len)
    }

    proptest! {
        /// However it is cut, and whatever is said about it.
        #[test]
        fn where_nearly_all_are_an_acknowledgement_reads_as_anywhere(
            mut bytes in prop_oneof![1 => bytes_of(0..80), 3 => bytes_of(60..80)],
            total in prop_oneof![4 => 20..66u16, 1 => any::<u16>()],
            more in prop_oneof![3 => Just(0), 1 => 0..100usize],
            flags in prop::sample::select(vec![[0x50, 0x10], [0x80, 0x10], [0x50, 0x11]]),
            stamps: bool,
            network in prop::sample::select(vec![Network::Ipv4, Network::Ipv4, Network::Ipv6]),
            transport in prop::sample::select(vec![Transport::Tcp, Transport::Tcp, Transport::Udp]),
            (l3, l4) in prop_oneof![4 => Just((14u8, 34u16)), 1 => any::<(u8, u16)>()],
        ) {
            let len = bytes.len() + more;
            let stamps: &[u8] = if stamps { &[1, 1, 8, 10] } else { &[] };
            for (at, value) in [(16, &total.to_be_bytes()[..]), (46, &flags), (54, stamps)] {
                if let Some(place) = bytes.get_mut(at..at + value.len()) {
                    place.copy_from_slice(value);
                }
            }
            let headers = Headers { network, transport, l3, l4, ..Headers::default() };
            let found = message::transport(headers, &bytes, len).ok();
            let expected = found.and_then(|(bytes, len)| Ack::read(bytes, len));
            let packet = PlainTcp::read(headers, &bytes, len);
            prop_assert_eq!(packet.and_then(Ack::read_plain), expected.filter(|_| packet.is_some()));
        }

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
