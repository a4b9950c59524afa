//! Checksums of packets, one after the other, as the RFCs have them.

use packet::checksum::{self, Sum};
use packet::{Fragment, Headers, Key, Network, Transport, parse, sctp};

/// Makes the checksums of a packet right: that of IPv4, and, if it is no fragment, that of what IP
/// carries. A datagram of UDP that bears none bears none.
pub(crate) fn make(bytes: &mut [u8]) {
    let headers: Headers = parse(bytes, bytes.len(), &mut Key::ZERO.clone()).unwrap();
    let (l3, l4) = (usize::from(headers.l3), usize::from(headers.l4));
    let half = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let (end, addresses) = match headers.network {
        Network::Ipv4 => (l3 + half(l3 + 2), l3 + 12..l3 + 20),
        Network::Ipv6 => (l3 + 40 + half(l3 + 4), l3 + 8..l3 + 40),
        Network::None | Network::Arp => return,
    };
    if headers.network == Network::Ipv4 {
        let header_len = 4 * usize::from(bytes[l3] & 0xf);
        let header = &mut bytes[l3..l3 + header_len];
        header[10..12].fill(0);
        let sum = checksum::of(header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let (at, proto) = match headers.transport {
        Transport::Tcp => (16, 6),
        Transport::Udp => (6, 17),
        Transport::Icmp => (2, 0),
        Transport::Icmpv6 => (2, 58),
        Transport::Sctp | Transport::None => (0, 0),
    };
    let bears_none = || headers.transport == Transport::Udp && bytes[l4 + 6..l4 + 8] == [0, 0];
    if headers.fragment != Fragment::No || end > bytes.len() || bears_none() {
        return;
    }
    if headers.transport == Transport::Sctp {
        let sum = sctp::checksum(&bytes[l4..end]);
        bytes[l4 + 8..l4 + 12].copy_from_slice(&sum);
    }
    if at == 0 {
        return;
    }
    bytes[l4 + at..l4 + at + 2].fill(0);
    let pseudo = match headers.transport {
        Transport::Icmp => Sum::default(),
        _ => {
            let len = u16::try_from(end - l4).unwrap();
            Sum::default().bytes(&bytes[addresses]).word(proto).word(len)
        }
    };
    // Zero would mean that there is none (RFC 768).
    let sum = match pseudo.bytes(&bytes[l4..end]).finish() {
        0 => 0xffff,
        sum => sum,
    };
    bytes[l4 + at..l4 + at + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Whether they are right already.
pub(crate) fn are_right(bytes: &[u8]) -> bool {
    let mut right = bytes.to_vec();
    make(&mut right);
    // Zero and all ones are the same number, which only UDP tells apart.
    let differ =
        |(one, other): (&[u8], &[u8])| one != other && ![one, other].iter().all(|sum| is_zero(sum));
    !bytes.chunks(2).zip(right.chunks(2)).any(differ)
}

fn is_zero(sum: &[u8]) -> bool {
    [&[0, 0], &[0xff, 0xff]].iter().any(|zero| sum == zero.as_slice())
}
