//! What two switches may have made of a packet, if each chooses freely.

use std::net::IpAddr;
use std::ops::Range;

use packet::checksum::{self, Sum};
use packet::ipv4::Ipv4;
use packet::ipv6::Ipv6;
use packet::{Headers, Key, Transport, ethernet, icmp, ipv4, ipv6, parse, sctp, tcp, udp};

use crate::ip::seal_sctp;
use crate::setups::Setup;

/// A packet in a frame.
pub(crate) fn framed(packet: &[u8]) -> Vec<u8> {
    let ethertype = if packet[0] >> 4 == 4 { ethernet::IPV4 } else { ethernet::IPV6 };
    let mut frame = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]].concat();
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet);
    frame
}

/// What a packet's headers say; places are those of its frame.
pub(crate) fn parsed(packet: &[u8]) -> (Key, Headers) {
    let (frame, mut key) = (framed(packet), Key::ZERO);
    let headers = parse(&frame, frame.len(), &mut key).unwrap();
    (key, headers)
}

/// Whether the checksum of a packet's transport is right, if it has one.
fn is_sum_right(packet: &[u8]) -> Option<bool> {
    let (key, headers) = parsed(packet);
    if headers.transport == Transport::None {
        return None;
    }
    let l4 = usize::from(headers.l4) - ethernet::LEN;
    let proto = u8::try_from(key.word(Key::NW_PROTO)).unwrap();
    let payload = packet.get(l4..)?;
    let place = match proto {
        sctp::PROTO => {
            let mut sealed = payload.to_vec();
            seal_sctp(&mut sealed);
            return Some(sealed == payload);
        }
        tcp::PROTO => tcp::CHECKSUM,
        udp::PROTO => udp::CHECKSUM,
        icmp::PROTO | icmp::PROTO_V6 => icmp::CHECKSUM,
        _ => return None,
    };
    let written = payload.get(place..place + 2)?;
    let sum = match addresses(packet, packet[0] >> 4 == 4) {
        _ if proto == icmp::PROTO => Sum::default(),
        [IpAddr::V4(src), IpAddr::V4(dst)] => Sum::pseudo_v4(src, dst, proto, payload.len()),
        [IpAddr::V6(src), IpAddr::V6(dst)] => Sum::pseudo_v6(src, dst, proto, payload.len()),
        _ => return None,
    };
    let is_none = proto == udp::PROTO && written == [0; 2];
    Some(is_none || sum.bytes(payload).finish() == 0)
}

/// Whether a packet has come out as it went in, but for what routers change.
pub(crate) fn is_untouched(sent: &[u8], came: &[u8]) -> bool {
    let rest = |packet: &[u8]| match packet[0] >> 4 {
        4 => [&packet[..8], &packet[9..10], &packet[12..]].concat(),
        _ => [&packet[..7], &packet[8..]].concat(),
    };
    rest(sent) == rest(came)
}

/// Whether the checksums of a packet are right, as far as it has some, and those of what it quotes.
pub(crate) fn is_right(packet: &[u8]) -> bool {
    let is_ipv4 = packet[0] >> 4 == 4;
    (!is_ipv4 || is_head_right(packet))
        && is_sum_right(packet).is_none_or(|is_right| is_right)
        && quoted(packet).is_none_or(|quoted| !is_ipv4 || is_quoted_right(quoted))
}

/// Whether the checksum of a header of IPv4 is right.
fn is_head_right(packet: &[u8]) -> bool {
    let len = usize::from(packet[0] & 0xf) * 4;
    packet.get(..len).is_some_and(|head| checksum::of(head) == 0)
}

/// The same of a packet that is quoted, and that of what it carries, if all of it is there.
fn is_quoted_right(quoted: &[u8]) -> bool {
    let Ok((ip, _)) = Ipv4::split(quoted) else { return false };
    let is_whole = ip.total_len() == quoted.len();
    is_head_right(quoted) && (!is_whole || is_sum_right(quoted).is_none_or(|is_right| is_right))
}

/// The packet that an error quotes.
fn quoted(packet: &[u8]) -> Option<&[u8]> {
    let (proto, l4) = carried(packet, packet[0] >> 4 == 4)?;
    let is_of_icmp = matches!(proto, icmp::PROTO | icmp::PROTO_V6);
    let is_error = is_of_icmp && is_error(proto, *packet.get(l4)?);
    packet.get(l4 + icmp::LEN..).filter(|_| is_error)
}

/// Source and destination.
pub(crate) fn addresses(packet: &[u8], is_ipv4: bool) -> [IpAddr; 2] {
    match is_ipv4 {
        true => [12, 16].map(|at| <[u8; 4]>::try_from(&packet[at..at + 4]).unwrap().into()),
        false => [8, 24].map(|at| <[u8; 16]>::try_from(&packet[at..at + 16]).unwrap().into()),
    }
}

/// Two packets without what may have been chosen: addresses that were given in both, the ports beside
/// them, other ports that were given in one, and checksums; the same of what they quote.
pub(crate) fn without_choice(setup: Setup, packets: [&[u8]; 2]) -> [Vec<u8>; 2] {
    let [one, other] = packets.map(|packet| {
        let mut choice = Choice::default();
        choice.read(setup, packet, 0);
        choice
    });
    let both = one.given.iter().filter(|place| other.given.contains(place));
    let places: Vec<_> = both.chain(&one.others).chain(&other.others).cloned().collect();
    packets.map(|packet| {
        let mut bytes = packet.to_vec();
        for place in &places {
            if let Some(place) = bytes.get_mut(place.clone()) {
                place.fill(0);
            }
        }
        bytes
    })
}

/// Whether a port is one of which somebody's host may have said that it is theirs.
fn is_own(bytes: &[u8], at: usize) -> bool {
    let port = bytes.get(at..at + 2).map_or(0, |port| u16::from_be_bytes([port[0], port[1]]));
    matches!(port, 7 | 8 | 4007 | 4008)
}

/// Places of a packet where something may have been chosen.
#[derive(Default)]
struct Choice {
    /// Addresses, and the ports beside them.
    given: Vec<Range<usize>>,
    /// Other ports, and checksums.
    others: Vec<Range<usize>>,
}

impl Choice {
    /// Reads a packet, or one that it quotes, from `start` on.
    fn read(&mut self, setup: Setup, packet: &[u8], start: usize) {
        let bytes = packet.get(start..).unwrap_or_default();
        // Some of what is quoted says that it is of another version.
        let is_ipv4 = packet[0] >> 4 == 4;
        if bytes.len() < if is_ipv4 { ipv4::LEN } else { ipv6::LEN } {
            return;
        }
        let Some((proto, l4)) = carried(bytes, is_ipv4) else { return };
        let is_given = addresses(bytes, is_ipv4).map(|address| setup.gives(address));
        let (at, len) = if is_ipv4 { ([12, 16], 4) } else { ([8, 24], 16) };
        let place = |at: usize, len: usize| start + at..start + at + len;
        let given = at.into_iter().zip(is_given).filter(|(_, is_given)| *is_given);
        self.given.extend(given.map(|(at, _)| place(at, len)));
        if is_ipv4 {
            self.others.push(place(ipv4::CHECKSUM, 2));
        }
        let mut port = |at: usize, is_given: bool| match is_given {
            true => self.given.push(place(at, 2)),
            false if !is_own(bytes, at) => self.others.push(place(at, 2)),
            false => {}
        };
        match proto {
            tcp::PROTO | udp::PROTO => {
                let sum = if proto == tcp::PROTO { tcp::CHECKSUM } else { udp::CHECKSUM };
                port(l4, is_given[0]);
                port(l4 + 2, is_given[1]);
                self.others.push(place(l4 + sum, 2));
            }
            sctp::PROTO => {
                port(l4, is_given[0]);
                port(l4 + 2, is_given[1]);
                self.others.push(place(l4 + sctp::CHECKSUM, 4));
            }
            icmp::PROTO | icmp::PROTO_V6 => {
                let is_error = is_error(proto, bytes.get(l4).copied().unwrap_or(0));
                if !is_error {
                    port(l4 + 4, is_given != [false; 2]);
                }
                self.others.push(place(l4 + icmp::CHECKSUM, 2));
                if is_error {
                    self.read(setup, packet, start + l4 + icmp::LEN);
                }
            }
            _ => {}
        }
    }
}

/// What a packet carries, and where; it may be cut behind that.
fn carried(bytes: &[u8], is_ipv4: bool) -> Option<(u8, usize)> {
    if is_ipv4 {
        let (ip, _) = Ipv4::split(bytes).ok()?;
        return Some((ip.proto(), ip.header_len()));
    }
    let (ip, rest) = Ipv6::split(bytes).ok()?;
    let upper = ipv6::skip_extensions(ip.next_header(), rest).ok()?;
    Some((upper.proto, ipv6::LEN + upper.len))
}

const fn is_error(proto: u8, kind: u8) -> bool {
    if proto == icmp::PROTO { matches!(kind, 3 | 4 | 5 | 11 | 12) } else { kind < 128 }
}
