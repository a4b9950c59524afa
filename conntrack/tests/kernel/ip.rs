//! IP packets, also such as only errors quote.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use packet::checksum::{self, Sum};
use packet::{icmp, sctp, tcp, udp};
use proptest::prelude::*;
use proptest::sample::select;

use crate::ends::Family;

/// The identification of IPv4 and the flow label of IPv6 of all packets.
pub(crate) const ID: u16 = 7777;

/// The head of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ip {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) proto: u8,
    pub(crate) extra: Extra,
}

/// What is unusual about the head of a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Extra {
    Nothing,
    /// So many words of options, or eights of destination options.
    Options(u8),
    /// A header of IPv6 with so many eights.
    Header(u8, u8),
    /// It is, or looks like, a fragment: the field with the offset.
    Fragment(u16),
    /// It says that it is of another version.
    Version(u8),
    /// Its header, or that behind it, is of another length than it says.
    Length(u8),
}

/// Extension headers of IPv6.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const OPTIONS: u8 = 60;

/// Heads that routers let pass.
pub(crate) fn passing(family: Family) -> BoxedStrategy<Extra> {
    let unusual = match family {
        Family::V4 => (1..=10u8).prop_map(Extra::Options).boxed(),
        Family::V6 => {
            let header = select(vec![ROUTING, AUTHENTICATION, OPTIONS]);
            let header = prop_oneof![
                3 => (header, 1..=4u8),
                // More padding than that is suspicious to routers, who read it.
                1 => Just((HOP_BY_HOP, 1)),
            ];
            header.prop_map(|(header, eights)| Extra::Header(header, eights)).boxed()
        }
    };
    prop_oneof![12 => Just(Extra::Nothing), 1 => unusual].boxed()
}

/// Heads that errors quote.
pub(crate) fn quoted(family: Family) -> impl Strategy<Value = Extra> {
    let offset = match family {
        // The offset, behind the bit that says that more follow.
        Family::V4 => vec![0x2000, 0x4000, 0x8000, 1, 0x2001],
        // The offset, in front of three bits.
        Family::V6 => vec![0, 1, 2, 8, 9],
    };
    prop_oneof![
        6 => passing(family),
        1 => select(offset).prop_map(Extra::Fragment),
        1 => (0..16u8).prop_map(Extra::Version),
        1 => (0..16u8).prop_map(Extra::Length),
    ]
}

impl Ip {
    /// A packet that carries this.
    pub(crate) fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.header_v4(src, dst, payload.len()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.header_v6(src, dst, payload.len()),
            _ => unreachable!("ends have one family"),
        };
        packet.extend(payload);
        packet
    }

    fn header_v4(&self, src: Ipv4Addr, dst: Ipv4Addr, len: usize) -> Vec<u8> {
        let words = if let Extra::Options(words) = self.extra { words } else { 0 };
        let len = u16::try_from(len).unwrap() + 20 + u16::from(words) * 4;
        let version = if let Extra::Version(version) = self.extra { version } else { 4 };
        let says = if let Extra::Length(says) = self.extra { says } else { 5 + words };
        let fragment = if let Extra::Fragment(field) = self.extra { field } else { 0 };
        let mut header = vec![version << 4 | says, 0];
        header.extend([len, ID, fragment].map(u16::to_be_bytes).concat());
        header.extend([64, self.proto, 0, 0]);
        header.extend(src.octets().into_iter().chain(dst.octets()));
        // No operation.
        header.resize(header.len() + usize::from(words) * 4, 1);
        let sum = checksum::of(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        header
    }

    fn header_v6(&self, src: Ipv6Addr, dst: Ipv6Addr, len: usize) -> Vec<u8> {
        let (next, extension) = match self.extra {
            Extra::Nothing | Extra::Version(_) => (self.proto, Vec::new()),
            Extra::Options(eights) => (OPTIONS, self.extension(OPTIONS, eights, eights)),
            Extra::Header(header, eights) => (header, self.extension(header, eights, eights)),
            Extra::Length(says) => (OPTIONS, self.extension(OPTIONS, 1, says + 1)),
            Extra::Fragment(field) => {
                let [high, low] = field.to_be_bytes();
                (FRAGMENT, vec![self.proto, 0, high, low, 0, 0, 0, 1])
            }
        };
        let version = if let Extra::Version(version) = self.extra { version } else { 6 };
        let len = u16::try_from(len + extension.len()).unwrap();
        let mut header = vec![version << 4, 0];
        header.extend([ID, len].map(u16::to_be_bytes).concat());
        header.extend([next, 64]);
        header.extend(src.octets().into_iter().chain(dst.octets()));
        header.extend(extension);
        header
    }

    /// A header of so many eights which says that it has others.
    fn extension(&self, header: u8, eights: u8, says: u8) -> Vec<u8> {
        let len = usize::from(eights) * 8;
        let says = if header == AUTHENTICATION { says * 2 - 2 } else { says - 1 };
        let mut bytes = vec![self.proto, says];
        if header == ROUTING {
            // An experimental type, with no segments left.
            bytes.extend([253, 0, 0, 0, 0, 0]);
        } else if header != AUTHENTICATION {
            // Padding.
            bytes.extend([1, u8::try_from(len - 4).unwrap()]);
        }
        bytes.resize(len, 0);
        bytes
    }

    /// Writes the checksum into what it carries, if there is room for it.
    pub(crate) fn seal(&self, payload: &mut [u8]) {
        let (at, has_pseudo) = match self.proto {
            tcp::PROTO => (tcp::CHECKSUM, true),
            udp::PROTO => (udp::CHECKSUM, true),
            icmp::PROTO => (icmp::CHECKSUM, false),
            icmp::PROTO_V6 => (icmp::CHECKSUM, true),
            sctp::PROTO => return seal_sctp(payload),
            _ => return,
        };
        let Some(field) = payload.get_mut(at..at + 2) else { return };
        field.fill(0);
        let sum = match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) if has_pseudo => {
                Sum::pseudo_v4(src, dst, self.proto, payload.len())
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) if has_pseudo => {
                Sum::pseudo_v6(src, dst, self.proto, payload.len())
            }
            _ => Sum::default(),
        };
        let sum = sum.bytes(payload).finish();
        // In UDP zero is none.
        let sum = if sum == 0 && self.proto == udp::PROTO { u16::MAX } else { sum };
        payload[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    }
}

/// Writes SCTP's checksum, bit by bit (RFC 9260 appendix A).
pub(crate) fn seal_sctp(payload: &mut [u8]) {
    let Some(field) = payload.get_mut(sctp::CHECKSUM..sctp::LEN) else { return };
    field.fill(0);
    let bit = |crc: u32, _| if crc & 1 == 0 { crc >> 1 } else { crc >> 1 ^ 0x82f6_3b78 };
    let crc = payload.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), bit));
    payload[sctp::CHECKSUM..sctp::LEN].copy_from_slice(&(!crc).to_le_bytes());
}
