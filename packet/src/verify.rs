//! Whether the checksums that a packet bears are right: of the header of IPv4, and of TCP, UDP, ICMP and
//! SCTP.
//!
//! As in the Linux kernel, those of TCP and UDP are over all that IP carries, whatever UDP says its length
//! is, and a datagram of UDP whose checksum is zero bears none.

use std::ops::Range;

use crate::checksum::{Sum, add, sum_of, sum_of_few, sum_of_words};
use crate::headers::{Fragment, Headers, Network, Transport};
use crate::ipv4::{self, Ipv4};
use crate::memory::Memory;
use crate::packet::{Checksum, Kind, Packet};
use crate::plain::{Plain, PlainTcp, PlainUdp};
use crate::segment::{Payload, carried, pseudo_sum};
use crate::{icmp, sctp, tcp, udp};

/// Whether the checksums of a packet are right, as far as it bears any. If its transport header bears one,
/// it is good from then on, and not looked at again.
///
/// * One that is still to be made is right, and so is that of a packet of which a device has said so.
/// * Of a fragment only the header of IPv4 is looked at: for the rest, see [`is_right`].
/// * Cost: reads every byte, of SCTP one after the other.
#[inline]
pub fn verify(packet: &mut Packet, headers: Headers, memory: &Memory) -> bool {
    if packet.checksum != Checksum::Unknown {
        return true;
    }
    match plain(packet.head(memory), packet.len(), headers) {
        Some(true) => {
            packet.checksum = Checksum::Good;
            true
        }
        Some(false) => false,
        None => verify_unusual(packet, headers, memory),
    }
}

#[inline(never)]
fn verify_unusual(packet: &mut Packet, headers: Headers, memory: &Memory) -> bool {
    let is_right = anywhere(packet, headers, memory);
    if is_right && headers.fragment == Fragment::No && headers.transport != Transport::None {
        packet.checksum = Checksum::Good;
    }
    is_right
}

/// The same of a plain packet; `None` if it is none.
#[inline]
fn plain(head: &[u8], len: usize, headers: Headers) -> Option<bool> {
    match headers.transport {
        Transport::Tcp => PlainTcp::read(headers, head, len).map(PlainTcp::is_right),
        Transport::Udp => PlainUdp::read(headers, head, len).map(PlainUdp::is_right),
        _ => None,
    }
}

impl PlainTcp<'_> {
    /// Whether both of its checksums are right.
    #[inline]
    pub fn is_right(self) -> bool {
        self.are_right(tcp::PROTO, false)
    }
}

impl PlainUdp<'_> {
    /// The same, as far as it bears them.
    #[inline]
    pub fn is_right(self) -> bool {
        let (header, _) = self.split();
        self.are_right(udp::PROTO, header.ends_with(&[0; 2]))
    }
}

impl<const LEN: usize> Plain<'_, LEN> {
    /// Whether the checksum of IP is right, and that of the protocol that it carries, if it has one.
    #[inline]
    fn are_right(self, proto: u8, has_none: bool) -> bool {
        let Some((fixed, addresses)) = self.ip().split_first_chunk::<{ ipv4::SRC }>() else {
            return false;
        };
        let addresses = sum_of_words(addresses);
        if !add(sum_of_words(fixed), addresses).is_multiple_of(ALL_ONES) {
            return false;
        }
        if has_none {
            return true;
        }
        let (header, rest) = self.split();
        // It comes from sixteen bits.
        let len = u16::try_from(self.carried().len()).unwrap_or(0);
        let rest = match rest.len() {
            ..16 => sum_of_few(rest, self.last()),
            _ => sum_of_many(rest),
        };
        let pseudo = u64::from(u16::from(proto).to_be()) + u64::from(len.to_be());
        let sum = [sum_of_words(header), pseudo, rest].into_iter().fold(addresses, add);
        sum.is_multiple_of(ALL_ONES)
    }
}

/// On its own: what few need is in nobody's way.
#[inline(never)]
fn sum_of_many(bytes: &[u8]) -> u64 {
    sum_of(bytes)
}

/// What is a multiple of it is a sum of all ones; that of a header is never zero.
const ALL_ONES: u64 = 0xffff;

/// The same, wherever it is.
#[inline(never)]
fn anywhere(packet: &Packet, headers: Headers, memory: &Memory) -> bool {
    let head = packet.head(memory);
    let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
    if headers.network == Network::Ipv4 {
        let bytes = head.get(l3..).unwrap_or_default();
        let len = Ipv4::split(bytes).map_or(0, |(ip, _)| ip.header_len());
        if !bytes.get(..len).is_some_and(|header| sum_of(header).is_multiple_of(ALL_ONES)) {
            return false;
        }
    }
    // What is to be cut has no checksum yet.
    let has_none = headers.fragment != Fragment::No || packet.segmentation.kind != Kind::None;
    let carried = carried(head, headers.network, l3, l4).filter(|_| !has_none);
    let Some(len) = carried else { return true };
    is_right(headers, head, len, pieces(packet, l4..l4 + len, memory))
}

/// Bytes of a packet, piece by piece as they lie in its frames: fewer if it ends before.
pub fn pieces<'a>(
    packet: &'a Packet,
    Range { start, end }: Range<usize>,
    memory: &'a Memory,
) -> impl Iterator<Item = &'a [u8]> {
    let (mut payload, mut left) = (Payload::behind(start, packet, memory), end - start);
    std::iter::from_fn(move || {
        let piece = payload.take(left).filter(|piece| !piece.is_empty())?;
        left -= piece.len();
        Some(piece)
    })
}

/// Whether the checksum of a transport header is right. What IP carries is `len` bytes long, and lies in
/// `pieces`: in any order, if none but the last is of an odd length, but for SCTP. `head` is the packet
/// whose `headers` they are.
///
/// * What is missing makes it wrong. A protocol without a checksum is always right.
/// * Cost: reads every byte.
pub fn is_right<'a>(
    headers: Headers,
    head: &[u8],
    len: usize,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> bool {
    let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
    let pseudo = |proto| pseudo_sum(head, headers.network, proto, l3, len);
    let sum = match headers.transport {
        Transport::None => return true,
        Transport::Sctp => return sctp::is_right(len, pieces),
        Transport::Udp if head.get(l4 + udp::CHECKSUM..l4 + udp::CHECKSUM + 2) == Some(&[0, 0]) => {
            return true;
        }
        Transport::Icmp => Some(Sum::default()),
        Transport::Icmpv6 => pseudo(icmp::PROTO_V6),
        Transport::Tcp => pseudo(tcp::PROTO),
        Transport::Udp => pseudo(udp::PROTO),
    };
    let Some(sum) = sum else { return true };
    let all = (sum, 0);
    let (sum, found) =
        pieces.into_iter().fold(all, |(sum, found), piece| (sum.bytes(piece), found + piece.len()));
    found == len && sum.finish() == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Chainer, PortId};
    use crate::pool::{Depot, FramePool};
    use crate::{Key, compose, ethernet, parse};
    use etherparse::PacketBuilder;
    use proptest::prelude::*;

    /// A packet with these bytes, and whether it is found right and good.
    fn check(bytes: &[u8]) -> (bool, bool) {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(16)));
        let memory = std::sync::Arc::clone(pool.memory());
        let headers = parse(bytes, bytes.len(), &mut Key::default()).unwrap();
        let mut packet = Chainer::copy_of(bytes, 0, PortId(0), &mut pool).unwrap();
        let plain = plain(packet.head(&memory), packet.len(), headers);
        let any = anywhere(&packet, headers, &memory);
        assert!(plain.is_none_or(|plain| plain == any));
        assert_eq!(verify(&mut packet, headers, &memory), any);
        let is_good = packet.checksum == Checksum::Good;
        packet.free(&mut pool);
        (any, is_good)
    }

    /// A frame as another implementation makes it, and where its transport header begins.
    fn frame(is_ipv4: bool, proto: u8, payload: &[u8]) -> (Vec<u8>, usize) {
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]);
        let builder = match is_ipv4 {
            true => builder.ipv4([10, 0, 0, 1], [10, 9, 0, 2], 64),
            false => builder.ipv6([0xfd; 16], [0xfe; 16], 64),
        };
        let mut bytes = Vec::new();
        match proto {
            tcp::PROTO => builder.tcp(4000, 80, 77, 9000).write(&mut bytes, payload),
            udp::PROTO => builder.udp(4000, 53).write(&mut bytes, payload),
            _ if is_ipv4 => builder.icmpv4_echo_request(7, 9).write(&mut bytes, payload),
            _ => builder.icmpv6_echo_request(7, 9).write(&mut bytes, payload),
        }
        .unwrap();
        (bytes, if is_ipv4 { 34 } else { 54 })
    }

    proptest! {
        #[test]
        fn what_another_implementation_makes_is_right_until_a_bit_of_it_changes(
            is_ipv4: bool,
            proto in prop::sample::select(vec![tcp::PROTO, udp::PROTO, icmp::PROTO]),
            payload in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..24),
                prop::collection::vec(any::<u8>(), 0..200),
            ],
            padding in 0..8usize,
            (at, bit) in (any::<prop::sample::Index>(), 0..8u32),
        ) {
            let (mut bytes, l4) = frame(is_ipv4, proto, &payload);
            let end = bytes.len();
            bytes.resize(end + padding, 0x5a);
            prop_assert_eq!(check(&bytes), (true, true));
            // Addresses, and whatever IP carries: but not what says which checksum there is.
            let places = (l4 - if is_ipv4 { 8 } else { 32 }..end).collect::<Vec<_>>();
            let place = places[at.index(places.len())];
            let is_kind = proto == icmp::PROTO && place == l4;
            bytes[place] ^= 1 << bit;
            let has_none = proto == udp::PROTO && bytes[l4 + 6..l4 + 8] == [0, 0];
            prop_assume!(!has_none && !is_kind);
            prop_assert_eq!(check(&bytes), (false, false));
        }
    }

    #[test]
    fn what_lies_in_several_frames_or_behind_tags_is_read_to_its_end() {
        let (whole, _) = frame(true, tcp::PROTO, &[0xa7; 5000]);
        assert_eq!(check(&whole), (true, true));
        let mut broken = whole.clone();
        *broken.last_mut().unwrap() ^= 1;
        assert_eq!(check(&broken), (false, false));
        let mut tagged = whole;
        tagged.splice(12..12, [0x81, 0, 0, 7]);
        assert_eq!(check(&tagged), (true, true));
    }

    #[test]
    fn a_datagram_without_a_checksum_is_right_if_its_header_is() {
        let (mut bytes, l4) = frame(true, udp::PROTO, b"what");
        bytes[l4 + 6..l4 + 8].fill(0);
        assert_eq!(check(&bytes), (true, true));
        bytes[22] ^= 1;
        assert_eq!(check(&bytes), (false, false), "the time to live is covered by the header's");
    }

    #[test]
    fn of_a_fragment_the_header_is_looked_at_and_of_its_datagram_all() {
        let (bytes, l4) = frame(true, udp::PROTO, &[3; 44]);
        let headers = parse(&bytes, bytes.len(), &mut Key::default()).unwrap();
        let (one, other) = bytes[l4..].split_at(24);
        let pieces = [one, other];
        assert!(is_right(headers, &bytes, 52, pieces));
        assert!(!is_right(headers, &bytes, 52, [one]) && !is_right(headers, &bytes, 24, [one]));
        let mut first = bytes[..l4 + 24].to_vec();
        first[16..18].copy_from_slice(&44_u16.to_be_bytes());
        first[20] = 0x20;
        first[24..26].fill(0);
        let sum = crate::checksum::of(&first[14..34]);
        first[24..26].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(check(&first), (true, false));
        first[19] ^= 1;
        assert_eq!(check(&first), (false, false));
    }

    #[test]
    fn what_bears_none_is_right_and_so_is_what_is_still_to_be_made() {
        let key = Key::ZERO
            .with(Key::ETH_TYPE, ethernet::IPV4)
            .with(Key::NW_PROTO, 47u8)
            .with(Key::NW_TTL, 9u8);
        assert_eq!(check(&compose(&key, 100)), (true, false));
        let arp = Key::ZERO.with(Key::ETH_TYPE, ethernet::ARP);
        assert_eq!(check(&compose(&arp, 60)), (true, false));
        let (mut bytes, l4) = frame(true, tcp::PROTO, &[1; 9]);
        bytes[l4 + 16] ^= 1;
        let mut pool = FramePool::new(&Depot::new(Memory::heap(16)));
        let memory = std::sync::Arc::clone(pool.memory());
        let headers = parse(&bytes, bytes.len(), &mut Key::default()).unwrap();
        let mut packet = Chainer::copy_of(&bytes, 0, PortId(0), &mut pool).unwrap();
        packet.checksum = Checksum::Partial { start: 34, offset: 16 };
        assert!(verify(&mut packet, headers, &memory));
        packet.free(&mut pool);
    }

    #[test]
    fn of_sctp_the_checksum_is_another_one() {
        let key = Key::ZERO
            .with(Key::ETH_TYPE, ethernet::IPV4)
            .with(Key::NW_PROTO, sctp::PROTO)
            .with(Key::NW_TTL, 9u8)
            .with(Key::TP_SRC, 77u16);
        let mut bytes = compose(&key, 60);
        assert_eq!(check(&bytes), (true, true));
        bytes[59] ^= 1;
        assert_eq!(check(&bytes), (false, false));
    }
}
