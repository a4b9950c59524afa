//! What a router does to a packet: new addresses in front of it, and a hop less.

use flowtable::Op;
use packet::{Headers, Memory, Network, Packet, ethernet, ipv4, ipv6};

/// How a program begins that routes: what nearly every one does that does anything to a packet.
///
/// Packets in a row that share a program take it together, without a look at each operation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Hop {
    /// Both Ethernet addresses, destination first.
    addresses: Option<[u8; ethernet::TYPE]>,
    /// Whether one is taken off the TTL or hop limit.
    counts: bool,
}

impl Hop {
    /// The hop a program begins with, which may be nothing, and the operations behind it.
    #[inline]
    pub(crate) fn split_off(mut ops: &[Op]) -> (Self, &[Op]) {
        let mut hop = Self::default();
        loop {
            match ops {
                [Op::Eth(addresses), rest @ ..] => (hop.addresses, ops) = (Some(*addresses), rest),
                [Op::DecTtl, rest @ ..] if !hop.counts => (hop.counts, ops) = (true, rest),
                rest => return (hop, rest),
            }
        }
    }

    /// Has a packet take it.
    #[inline]
    pub(crate) fn take(self, packet: &mut Packet, headers: Headers, memory: &Memory) {
        if self == Self::default() {
            return;
        }
        let head = packet.head_mut(memory);
        if let Some(addresses) = self.addresses {
            set_addresses(head, addresses);
        }
        if self.counts {
            dec_ttl(head, headers);
        }
    }
}

/// Writes both Ethernet addresses, destination first.
#[inline]
pub(crate) fn set_addresses(head: &mut [u8], addresses: [u8; ethernet::TYPE]) {
    if let Some(place) = head.first_chunk_mut() {
        *place = addresses;
    }
}

/// Takes one off the TTL or hop limit, which is known to be more than one; the checksum of an IPv4
/// header follows (RFC 1624).
#[inline]
pub(crate) fn dec_ttl(head: &mut [u8], headers: Headers) {
    let Some(ip) = head.get_mut(usize::from(headers.l3)..) else { return };
    match headers.network {
        Network::Ipv4 => {
            let Some(ip) = ip.first_chunk_mut::<{ ipv4::LEN }>() else { return };
            // TTL, protocol and checksum are one word, read and written at once.
            const { assert!(ipv4::TTL == 8 && ipv4::CHECKSUM == 10) };
            let word = u32::from_be_bytes([ip[8], ip[9], ip[10], ip[11]]);
            let Some(less) = word.checked_sub(1 << 24) else { return };
            // The TTL is the upper half of its 16 bits: m - m' = 0x0100.
            let sum = (word & 0xffff) + 0x0100;
            // Of both zeroes the one that all other updates write.
            let sum = sum + u32::from(sum >= 0xffff);
            [ip[8], ip[9], ip[10], ip[11]] = (less & 0xffff_0000 | sum & 0xffff).to_be_bytes();
        }
        Network::Ipv6 => {
            if let Some(limit) = ip.get_mut(ipv6::HOP_LIMIT) {
                *limit = limit.saturating_sub(1);
            }
        }
        Network::None | Network::Arp => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::{Key, PortId, compose, parse};
    use proptest::prelude::*;
    use testnet::packets::any_key;

    const ETH: Op = Op::Eth([7; 12]);
    const SEND: Op = Op::Send(PortId(2));

    #[test]
    fn a_hop_is_split_off_in_whatever_order() {
        let both = Hop { addresses: Some([7; 12]), counts: true };
        assert_eq!(Hop::split_off(&[ETH, Op::DecTtl, SEND]), (both, &[SEND][..]));
        assert_eq!(Hop::split_off(&[Op::DecTtl, ETH, SEND]), (both, &[SEND][..]));
        assert_eq!(Hop::split_off(&[SEND, ETH]), (Hop::default(), &[SEND, ETH][..]));
        // A second one is another hop.
        let (hop, rest) = Hop::split_off(&[Op::DecTtl, Op::DecTtl, SEND]);
        assert_eq!((hop.counts, rest), (true, &[Op::DecTtl, SEND][..]));
    }

    proptest! {
        /// It wrote 0xffff where all others write 0, so that it mattered which of two came last.
        #[test]
        fn one_less_is_an_update_like_any_other(key in any_key(), ttl in 2..=255_u8, sum: u16) {
            let key = key.with(Key::NW_TTL, ttl);
            let (mut bytes, mut parsed) = (compose(&key, 100), Key::ZERO);
            let headers = parse(&bytes, bytes.len(), &mut parsed).unwrap_or_default();
            prop_assume!(headers.network == Network::Ipv4);
            let at = usize::from(headers.l3) + ipv4::CHECKSUM;
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
            let word = |bytes: &[u8]| u16::from_be_bytes([bytes[at - 2], bytes[at - 1]]);
            let before = word(&bytes);
            dec_ttl(&mut bytes, headers);
            let expected = packet::checksum::update(sum, before, word(&bytes));
            prop_assert_eq!(u16::from_be_bytes([bytes[at], bytes[at + 1]]), expected);
        }

        /// Against a packet made anew, with a checksum over all of its header.
        #[test]
        fn one_less_is_what_a_packet_with_one_less_says(key in any_key(), ttl in 2..=255_u8) {
            let made = |ttl| {
                let mut key = key;
                key.set(Key::NW_TTL, ttl);
                compose(&key, 100)
            };
            let (mut bytes, mut parsed) = (made(ttl), Key::ZERO);
            let headers = parse(&bytes, bytes.len(), &mut parsed).unwrap_or_default();
            dec_ttl(&mut bytes, headers);
            let is_ip = matches!(headers.network, Network::Ipv4 | Network::Ipv6);
            prop_assert_eq!(bytes, made(if is_ip { ttl - 1 } else { ttl }));
        }
    }
}
