//! What makes all packets of one flow packets of another: known addresses and ports become others, so
//! that what their checksums change by is known as well.

use bytemuck::Zeroable;
use conntrack::Tuple;
use packet::checksum::Delta;
use packet::{
    Checksum, Headers, Key, Memory, Network, Packet, Transport, ethernet, ipv4, ipv6, tcp, udp,
};

/// New addresses and ports for the packets of one flow of TCP or UDP.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Zeroable)]
#[repr(C)]
pub(crate) struct Translation {
    /// Both, source first, as the packet has them.
    ports: [u8; 4],
    /// What other addresses make of a sum, in the order of bytes that packets have: in which one words
    /// are summed makes no difference (RFC 1071 §2).
    of_addresses: u16,
    /// What addresses and ports make of one.
    of_all: u16,
    /// Both, source first; IPv4's take the first eight bytes.
    addresses: [u8; 32],
}

impl Translation {
    /// What makes packets of this key packets of that tuple; `None` if there is nothing to it.
    pub(crate) fn new(key: &Key, to: &Tuple) -> Option<Self> {
        let ports = [Key::TP_SRC, Key::TP_DST].map(|span| u16::try_from(key.word(span)).ok());
        Self::between(&Tuple::of(key, [ports[0]?, ports[1]?], to.zone())?, to)
    }

    /// What makes packets of one tuple packets of another; `None` if there is nothing to it.
    pub(crate) fn between(from: &Tuple, to: &Tuple) -> Option<Self> {
        if *from == to.in_zone(from.zone()) || from.is_ipv4() != to.is_ipv4() {
            return None;
        }
        let [[a, b, c, d], [to_a, to_b, to_c, to_d]] = [from, to].map(Tuple::addresses);
        let of_addresses = match from.is_ipv4() {
            true => Delta::of(a, to_a),
            false => {
                let [src, dst] = [
                    Delta::of(a, to_a).and(Delta::of(b, to_b)),
                    Delta::of(c, to_c).and(Delta::of(d, to_d)),
                ];
                src.and(dst)
            }
        };
        let of_all = of_addresses.and(Delta::of(from.ports().into(), to.ports().into()));
        let [of_addresses, of_all] = [of_addresses, of_all].map(|Delta(delta)| delta.to_be());
        let (addresses, ports) = (to.octets(), to.ports().to_be_bytes());
        Some(Self { addresses, ports, of_addresses, of_all })
    }

    /// What packets of this key become.
    pub(crate) fn to(&self, key: &Key) -> Option<Tuple> {
        let [a, b, c, d] = self.ports;
        let ports = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
        let mut key = *key;
        let [src, dst] = self.addresses.as_chunks::<16>().0 else { return None };
        if key.word(Key::ETH_TYPE) == u64::from(ethernet::IPV4) {
            let [src, dst, ..] = self.addresses.as_chunks::<4>().0 else { return None };
            key.set(Key::NW_SRC, u32::from_be_bytes(*src));
            key.set(Key::NW_DST, u32::from_be_bytes(*dst));
        } else {
            key.set(Key::IPV6_SRC, u128::from_be_bytes(*src));
            key.set(Key::IPV6_DST, u128::from_be_bytes(*dst));
        }
        Tuple::of(&key, ports, 0)
    }

    /// Translates a packet of the flow, whose headers are all there. Checksums stay as right or wrong
    /// as they were.
    #[expect(clippy::inline_always, reason = "where it is applied, its words are at hand")]
    #[inline(always)]
    pub(crate) fn apply(&self, packet: &mut Packet, headers: Headers, memory: &Memory) {
        let checksum = packet.checksum;
        let bytes = packet.head_mut(memory);
        if matches!(checksum, Checksum::Partial { .. }) || !self.write_plain(bytes, headers) {
            let is_partial =
                matches!(checksum, Checksum::Partial { start, .. } if start == headers.l4);
            self.write(bytes, headers, is_partial);
        }
    }

    /// Writes it where nearly all packets have it: in an untagged frame, behind IPv4 without options.
    /// Answers whether it is there.
    #[inline]
    fn write_plain(&self, bytes: &mut [u8], headers: Headers) -> bool {
        let of_all = Delta(self.of_all);
        // Whatever it carries: that is looked at on its own.
        if !headers.are_plain_of(headers.transport) {
            return false;
        }
        match headers.transport {
            Transport::Tcp => {
                let head = bytes.first_chunk_mut::<{ L4 + tcp::LEN }>();
                let Some(head) = head else { return false };
                self.write_ends(head);
                change(head, L4 + tcp::CHECKSUM, |sum| of_all.on(sum));
            }
            Transport::Udp => {
                let head = bytes.first_chunk_mut::<{ L4 + udp::LEN }>();
                let Some(head) = head else { return false };
                self.write_ends(head);
                change(head, L4 + udp::CHECKSUM, |sum| of_udp(of_all, sum));
            }
            _ => return false,
        }
        true
    }

    /// Writes addresses, their checksum, and ports there.
    #[inline]
    fn write_ends<const LEN: usize>(&self, head: &mut [u8; LEN]) {
        const { assert!(LEN >= L4 + 4) };
        head[L3 + ipv4::SRC..L3 + ipv4::SRC + 8].copy_from_slice(&self.addresses[..8]);
        head[L4..L4 + 4].copy_from_slice(&self.ports);
        change(head, L3 + ipv4::CHECKSUM, |sum| Delta(self.of_addresses).on(sum));
    }

    /// Writes it wherever it belongs.
    #[inline(never)]
    fn write(&self, bytes: &mut [u8], headers: Headers, is_partial: bool) {
        let [of_addresses, of_all] = [self.of_addresses, self.of_all].map(Delta);
        let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
        match headers.network {
            Network::Ipv4 => {
                let Some(ip) = bytes.get_mut(l3..l3 + ipv4::LEN) else { return };
                ip[ipv4::SRC..ipv4::SRC + 8].copy_from_slice(&self.addresses[..8]);
                change(ip, ipv4::CHECKSUM, |sum| of_addresses.on(sum));
            }
            Network::Ipv6 => {
                let Some(ip) = bytes.get_mut(l3..l3 + ipv6::LEN) else { return };
                ip[ipv6::SRC..ipv6::SRC + 32].copy_from_slice(&self.addresses);
            }
            Network::None | Network::Arp => return,
        }
        let Some(transport) = bytes.get_mut(l4..) else { return };
        if let Some(ports) = transport.first_chunk_mut() {
            *ports = self.ports;
        }
        let at = if headers.transport == Transport::Tcp { tcp::CHECKSUM } else { udp::CHECKSUM };
        match headers.transport {
            _ if is_partial => change(transport, at, |sum| of_addresses.on_partial(sum)),
            Transport::Tcp => change(transport, at, |sum| of_all.on(sum)),
            Transport::Udp => change(transport, at, |sum| of_udp(of_all, sum)),
            Transport::None | Transport::Icmp | Transport::Icmpv6 | Transport::Sctp => {}
        }
    }
}

/// Where nearly all packets have their headers.
const L3: usize = Headers::PLAIN[0];
const L4: usize = Headers::PLAIN[1];

/// A checksum of UDP after a change: zero is none (RFC 768).
#[inline]
fn of_udp(delta: Delta, sum: u16) -> u16 {
    match (sum, delta.on(sum)) {
        (0, _) => 0,
        (_, 0) => u16::MAX,
        (_, sum) => sum,
    }
}

/// Changes a checksum, if it is there, as it lies there.
#[inline]
fn change(bytes: &mut [u8], at: usize, change: impl FnOnce(u16) -> u16) {
    if let Some(field) = bytes.get_mut(at..).and_then(<[u8]>::first_chunk_mut::<2>) {
        *field = change(u16::from_ne_bytes(*field)).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::Fragment;
    use proptest::prelude::*;

    proptest! {
        /// However it is cut, and whatever is said about it.
        #[test]
        fn what_is_where_nearly_all_is_is_written_as_anything_else(
            bytes in prop::collection::vec(any::<u8>(), 0..80),
            ports: [u8; 4],
            addresses: [u8; 32],
            [of_addresses, of_all]: [u16; 2],
            network in prop::sample::select(vec![Network::Ipv4, Network::Ipv6]),
            transport in prop::sample::select(vec![Transport::Tcp, Transport::Udp]),
            (l3, l4) in prop_oneof![3 => Just((14u8, 34u16)), 1 => any::<(u8, u16)>()],
        ) {
            let translation = Translation { ports, of_addresses, of_all, addresses };
            let fragment = Fragment::No;
            let headers = Headers { network, transport, fragment, l3, l4, ..Headers::default() };
            let (mut plain, mut any) = (bytes.clone(), bytes.clone());
            translation.write(&mut any, headers, false);
            let is_written = translation.write_plain(&mut plain, headers);
            prop_assert_eq!(&plain, if is_written { &any } else { &bytes });
            let is_plain = (network, l3, l4) == (Network::Ipv4, 14, 34);
            let least = if transport == Transport::Tcp { 54 } else { 42 };
            prop_assert_eq!(is_written, is_plain && bytes.len() >= least);
        }
    }
}
