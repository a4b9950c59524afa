//! Which part of a datagram a fragment is (RFC 791 §3.2, RFC 8200 §4.5).

use std::ops::Range;

use crate::headers::{Fragment, Headers, Network, Transport};
use crate::ipv4::Ipv4;
use crate::ipv6::{self, Ipv6};
use crate::key::Key;
use crate::tcp;

/// Bytes of a datagram at most, headers of IPv4 included.
const LONGEST: usize = 65_535;

/// A part of a datagram that was cut into fragments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// What its sender has numbered the datagram with.
    pub id: u32,
    /// Which bytes of the datagram's payload it carries: one at least.
    pub bytes: Range<u32>,
    /// Whether the datagram ends here.
    pub is_last: bool,
    /// Where they begin in the frame.
    pub at: usize,
}

impl Part {
    /// Reads a fragment of which `headers` are known; `frame` begins where it does. `None` if it is
    /// none, or one that no datagram can have: empty, in front of others and no multiple of eight bytes
    /// long, or beyond what a datagram may hold.
    pub fn read(headers: Headers, frame: &[u8]) -> Option<Self> {
        if headers.fragment == Fragment::No {
            return None;
        }
        let l3 = usize::from(headers.l3);
        let bytes = frame.get(l3..)?;
        let (id, offset, more, header, end) = match headers.network {
            Network::Ipv4 => {
                let (ip, _) = Ipv4::split(bytes).ok()?;
                let (offset, more) = (ip.fragment_offset(), ip.more_fragments());
                (ip.id().into(), offset, more, ip.header_len(), ip.total_len())
            }
            Network::Ipv6 => {
                let (ip, rest) = Ipv6::split(bytes).ok()?;
                let upper = ipv6::skip_extensions(ip.next_header(), rest).ok()?;
                let fragment = upper.fragment?;
                let header = ipv6::LEN + fragment.end;
                let end = ipv6::LEN + ip.payload_len();
                (fragment.id, fragment.offset, fragment.more, header, end)
            }
            Network::None | Network::Arp => return None,
        };
        let len = end.checked_sub(header).filter(|len| *len > 0 && (!more || len % 8 == 0))?;
        let end = (offset + len <= LONGEST).then_some(offset + len)?;
        let bytes = u32::try_from(offset).ok()?..u32::try_from(end).ok()?;
        Some(Self { id, bytes, is_last: !more, at: l3 + header })
    }
}

/// What a datagram says that was cut into fragments, of which only the first has its transport header.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Whole {
    /// Its ports, or the type and code of ICMP; none of a protocol without.
    ports: Option<[u16; 2]>,
    tcp_flags: u16,
}

impl Whole {
    /// Reads it from the first fragment, of which `headers` are known.
    pub fn read(headers: Headers, frame: &[u8]) -> Self {
        let half = |at: usize| {
            let bytes = frame.get(usize::from(headers.l4) + at..)?.first_chunk()?;
            Some(u16::from_be_bytes(*bytes))
        };
        let ports = match headers.transport {
            Transport::None => None,
            Transport::Tcp | Transport::Udp | Transport::Sctp => {
                half(0).zip(half(2)).map(<[u16; 2]>::from)
            }
            Transport::Icmp | Transport::Icmpv6 => {
                half(0).map(|word| word.to_be_bytes().map(u16::from))
            }
        };
        let tcp_flags = match headers.transport {
            Transport::Tcp => half(tcp::FLAGS).unwrap_or(0) & 0x0fff,
            _ => 0,
        };
        Self { ports, tcp_flags }
    }

    /// Writes it into the key of a fragment, as if that were the whole datagram.
    pub fn write(self, key: &mut Key) {
        key.set(Key::NW_FRAG, Fragment::No.bits());
        let Some([src, dst]) = self.ports else { return };
        key.set(Key::TP_SRC, src);
        key.set(Key::TP_DST, dst);
        key.set(Key::TCP_FLAGS, self.tcp_flags);
        key.set(Key::HAS_TRANSPORT, 1u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ethernet, parse};

    fn read(frame: &[u8]) -> Option<Part> {
        let headers = parse(frame, frame.len(), &mut Key::ZERO.clone()).unwrap();
        Part::read(headers, frame)
    }

    /// A frame of IPv4 whose flags and offset are `word`, and whose payload is so long.
    fn ipv4(word: u16, payload: u16) -> Vec<u8> {
        let mut frame = vec![0; ethernet::TYPE];
        frame.extend([8, 0, 0x46, 0]);
        frame.extend((24 + payload).to_be_bytes());
        frame.extend([0x12, 0x34]);
        frame.extend(word.to_be_bytes());
        frame.extend([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 1, 1, 1, 1]);
        frame.resize(frame.len() + usize::from(payload), 0);
        // Padding.
        frame.extend([0; 7]);
        frame
    }

    /// A frame of IPv6 with options in front of the fragment header.
    fn ipv6(word: u16, payload: u16) -> Vec<u8> {
        let mut frame = vec![0; ethernet::TYPE];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
        frame.extend((16 + payload).to_be_bytes());
        frame.extend([ipv6::DESTINATION_OPTIONS, 64]);
        frame.extend([0xfd; 32]);
        frame.extend([ipv6::FRAGMENT, 0, 1, 4, 0, 0, 0, 0]);
        frame.extend([17, 0]);
        frame.extend(word.to_be_bytes());
        frame.extend([1, 2, 3, 4]);
        frame.resize(frame.len() + usize::from(payload), 0);
        frame
    }

    #[test]
    fn a_fragment_says_which_part_it_is() {
        let part = |id, bytes, is_last, at| Some(Part { id, bytes, is_last, at });
        assert_eq!(read(&ipv4(0x2000, 16)), part(0x1234, 0..16, false, 38));
        assert_eq!(read(&ipv4(0x2002, 16)), part(0x1234, 16..32, false, 38));
        assert_eq!(read(&ipv4(0x0003, 13)), part(0x1234, 24..37, true, 38));
        assert_eq!(read(&ipv6(0x0001, 16)), part(0x0102_0304, 0..16, false, 70));
        assert_eq!(read(&ipv6(0x0010, 5)), part(0x0102_0304, 16..21, true, 70));
    }

    #[test]
    fn the_first_one_says_what_the_datagram_says() {
        let tcp = crate::compose(
            &Key::ZERO
                .with(Key::ETH_TYPE, ethernet::IPV4)
                .with(Key::NW_PROTO, tcp::PROTO)
                .with(Key::TP_SRC, 5000u16)
                .with(Key::TP_DST, 80u16)
                .with(Key::TCP_FLAGS, tcp::SYN | tcp::ACK)
                .with(Key::HAS_NETWORK, 1u8)
                .with(Key::HAS_TRANSPORT, 1u8),
            100,
        );
        let mut whole = Key::ZERO;
        parse(&tcp, tcp.len(), &mut whole).unwrap();
        let mut fragment = tcp;
        // More fragments follow.
        fragment[20] |= 0x20;
        let mut key = Key::ZERO;
        let headers = parse(&fragment, fragment.len(), &mut key).unwrap();
        assert_ne!(key, whole);
        Whole::read(headers, &fragment).write(&mut key);
        assert_eq!(key, whole);
    }

    #[test]
    fn what_no_datagram_can_have_is_none_of_its_parts() {
        assert_eq!(read(&ipv4(0x4000, 16)), None, "it is whole");
        assert_eq!(read(&ipv6(0x0000, 16)), None, "it is whole, and says so");
        assert_eq!(read(&ipv4(0x2000, 15)), None, "no multiple of eight");
        assert_eq!(read(&ipv6(0x0011, 15)), None, "no multiple of eight");
        assert_eq!(read(&ipv4(0x0001, 0)), None, "empty");
        assert_eq!(read(&ipv4(0x1fff, 8)), None, "beyond the longest datagram");
    }
}
