//! From the key to bytes: a packet that says what a key says.
//!
//! For tests, for the load generator and for whoever must make an example of a flow. The inverse of
//! [`crate::parse`] on every key that a packet can have.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::checksum::{self, Sum};
use crate::key::Key;
use crate::{arp, ethernet, icmp, ipv4, ipv6, nd, sctp, tcp, udp, vlan};

/// The packet that `key` describes, `len` bytes long or as short as its headers allow; what is
/// behind the headers is zero. Lengths and checksums are right.
///
/// Fields that the packet cannot have (ports without a transport that has them) are left out.
pub fn compose(key: &Key, len: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(len.max(128));
    bytes.extend_from_slice(&tail::<6>(key.word(Key::ETH_DST)));
    bytes.extend_from_slice(&tail::<6>(key.word(Key::ETH_SRC)));
    for (tci, tpid) in [(Key::VLAN_TCI, Key::VLAN_TPID), (Key::VLAN2_TCI, Key::VLAN2_TPID)] {
        let tci = half(key, tci);
        if tci & vlan::PRESENT != 0 {
            let tpid = match half(key, tpid) {
                0 => ethernet::VLAN,
                tpid => tpid,
            };
            bytes.extend_from_slice(&tpid.to_be_bytes());
            bytes.extend_from_slice(&(tci & !vlan::PRESENT).to_be_bytes());
        }
    }
    let l3 = bytes.len() + 2;
    match half(key, Key::ETH_TYPE) {
        ethernet::NOT_A_TYPE => {
            let length =
                u16::try_from(len.saturating_sub(l3)).unwrap_or(0).min(ethernet::TYPE_MIN - 1);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.resize(len.max(l3), 0);
        }
        ethertype => {
            bytes.extend_from_slice(&ethertype.to_be_bytes());
            let body = len.saturating_sub(l3);
            match ethertype {
                ethernet::IPV4 => bytes.extend(ipv4_packet(key, body)),
                ethernet::IPV6 => bytes.extend(ipv6_packet(key, body)),
                ethernet::ARP | ethernet::RARP => bytes.extend(arp_packet(key)),
                _ => {}
            }
            bytes.resize(len.max(bytes.len()), 0);
        }
    }
    bytes
}

/// The last `N` bytes of a word, in network order.
fn tail<const N: usize>(word: u64) -> [u8; N] {
    let bytes = word.to_be_bytes();
    std::array::from_fn(|n| bytes[8 - N + n])
}

fn half(key: &Key, span: crate::Span) -> u16 {
    u16::from_be_bytes(tail(key.word(span)))
}

fn byte(key: &Key, span: crate::Span) -> u8 {
    tail::<1>(key.word(span))[0]
}

fn put(bytes: &mut [u8], at: usize, word: u16) {
    bytes[at..at + 2].copy_from_slice(&word.to_be_bytes());
}

/// A length field; a super-frame says what fits.
fn length(len: usize) -> u16 {
    u16::try_from(len).unwrap_or(u16::MAX)
}

fn arp_packet(key: &Key) -> Vec<u8> {
    let mut bytes = arp::PREFIX.to_vec();
    bytes.extend_from_slice(&u16::from(byte(key, Key::NW_PROTO)).to_be_bytes());
    bytes.extend_from_slice(&tail::<6>(key.word(Key::ARP_SHA)));
    bytes.extend_from_slice(&tail::<4>(key.word(Key::NW_SRC)));
    bytes.extend_from_slice(&tail::<6>(key.word(Key::ARP_THA)));
    bytes.extend_from_slice(&tail::<4>(key.word(Key::NW_DST)));
    bytes
}

fn ipv4_packet(key: &Key, len: usize) -> Vec<u8> {
    let (src, dst) = (tail::<4>(key.word(Key::NW_SRC)), tail::<4>(key.word(Key::NW_DST)));
    let proto = byte(key, Key::NW_PROTO);
    let pseudo = |len| Sum::pseudo_v4(Ipv4Addr::from(src), Ipv4Addr::from(dst), proto, len);
    let body = transport(key, proto, icmp::PROTO, len.saturating_sub(ipv4::LEN), pseudo);
    let mut bytes = vec![0; ipv4::LEN];
    bytes[0] = 0x45;
    bytes[ipv4::TOS] = byte(key, Key::NW_TOS);
    put(&mut bytes, ipv4::TOTAL_LEN, length(ipv4::LEN + body.len()));
    match byte(key, Key::NW_FRAG) {
        0 => {}
        1 => bytes[6] = 0x20,
        _ => bytes[7] = 0x01,
    }
    bytes[ipv4::TTL] = byte(key, Key::NW_TTL);
    bytes[ipv4::PROTO] = proto;
    bytes[ipv4::SRC..ipv4::SRC + 4].copy_from_slice(&src);
    bytes[ipv4::DST..ipv4::DST + 4].copy_from_slice(&dst);
    let sum = checksum::of(&bytes);
    put(&mut bytes, ipv4::CHECKSUM, sum);
    bytes.extend(body);
    bytes
}

fn ipv6_packet(key: &Key, len: usize) -> Vec<u8> {
    let (src, dst) =
        (Ipv6Addr::from(key.get(Key::IPV6_SRC)), Ipv6Addr::from(key.get(Key::IPV6_DST)));
    let (proto, fragment) = (byte(key, Key::NW_PROTO), byte(key, Key::NW_FRAG));
    let extension = match fragment {
        0 => Vec::new(),
        1 => vec![proto, 0, 0, 0x01, 0, 0, 0, 1],
        _ => vec![proto, 0, 0, 0x08, 0, 0, 0, 1],
    };
    let pseudo = |len| Sum::pseudo_v6(src, dst, proto, len);
    let room = len.saturating_sub(ipv6::LEN + extension.len());
    let body = transport(key, proto, icmp::PROTO_V6, room, pseudo);
    let mut bytes = vec![0; ipv6::LEN];
    let word = 6 << 28 | u32::from(byte(key, Key::NW_TOS)) << 20;
    let [_, b, c, d] = tail::<4>(key.word(Key::IPV6_LABEL));
    let word = word | u32::from_be_bytes([0, b & 0x0f, c, d]);
    bytes[..4].copy_from_slice(&word.to_be_bytes());
    put(&mut bytes, ipv6::PAYLOAD_LEN, length(extension.len() + body.len()));
    bytes[ipv6::NEXT] = if fragment == 0 { proto } else { ipv6::FRAGMENT };
    bytes[ipv6::HOP_LIMIT] = byte(key, Key::NW_TTL);
    bytes[ipv6::SRC..ipv6::SRC + 16].copy_from_slice(&src.octets());
    bytes[ipv6::DST..ipv6::DST + 16].copy_from_slice(&dst.octets());
    bytes.extend(extension);
    bytes.extend(body);
    bytes
}

/// What follows the ICMPv6 header of a message about a neighbour, in place of anything else.
fn neighbour(key: &Key, bytes: &mut Vec<u8>) {
    bytes.resize(nd::TARGET, 0);
    bytes.extend_from_slice(&key.get(Key::ND_TARGET).to_be_bytes());
    let options = [
        (nd::SOURCE, Key::HAS_ND_SLL, Key::ARP_SHA),
        (nd::TARGET_ADDRESS, Key::HAS_ND_TLL, Key::ARP_THA),
    ];
    for (kind, has, address) in options {
        if key.word(has) != 0 {
            bytes.extend_from_slice(&[kind, 1]);
            bytes.extend_from_slice(&tail::<6>(key.word(address)));
        }
    }
}

/// The transport header and what follows, `len` bytes of it if that is enough for the header.
fn transport(key: &Key, proto: u8, icmp: u8, len: usize, pseudo: impl Fn(usize) -> Sum) -> Vec<u8> {
    if byte(key, Key::NW_FRAG) > 1 {
        return vec![0; len.max(8)];
    }
    let (src, dst) = (half(key, Key::TP_SRC), half(key, Key::TP_DST));
    let (header, checksum) = match proto {
        tcp::PROTO => (tcp::LEN, Some(tcp::CHECKSUM)),
        udp::PROTO => (udp::LEN, Some(udp::CHECKSUM)),
        sctp::PROTO => (sctp::LEN, None),
        _ if proto == icmp => (icmp::LEN, Some(icmp::CHECKSUM)),
        _ => return vec![0; len],
    };
    let mut bytes = vec![0; len.max(header)];
    if proto == icmp::PROTO_V6 && key.word(Key::HAS_ND) != 0 {
        neighbour(key, &mut bytes);
    }
    if proto == icmp {
        (bytes[0], bytes[1]) = (tail::<1>(src.into())[0], tail::<1>(dst.into())[0]);
    } else {
        put(&mut bytes, 0, src);
        put(&mut bytes, 2, dst);
    }
    if proto == tcp::PROTO {
        let flags = half(key, Key::TCP_FLAGS) & 0x0fff;
        put(&mut bytes, tcp::FLAGS, 0x5000 | flags);
    } else if proto == udp::PROTO {
        let len = length(bytes.len());
        put(&mut bytes, udp::LENGTH, len);
    }
    if let Some(at) = checksum {
        // ICMP over IPv4 is the one without a pseudo-header.
        let start = if proto == icmp::PROTO { Sum::default() } else { pseudo(bytes.len()) };
        let sum = match start.bytes(&bytes).finish() {
            0 => 0xffff,
            sum => sum,
        };
        put(&mut bytes, at, sum);
    } else {
        let sum = sctp::checksum(&bytes);
        bytes[sctp::CHECKSUM..sctp::LEN].copy_from_slice(&sum);
    }
    bytes
}
