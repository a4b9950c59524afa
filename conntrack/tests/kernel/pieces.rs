//! Packets in fragments.

use packet::ipv4::{self, Ipv4};
use packet::ipv6::{self, Ipv6};
use packet::{Seed, checksum, icmp, sctp, tcp, udp};

use crate::ip::ID;

/// A packet in up to three fragments, in any order, as dice have it; or whole, if it is short, or its
/// header has others behind it that each fragment would have to repeat.
pub(crate) fn cut(packet: &[u8], dice: u64) -> Vec<Vec<u8>> {
    let roll = |n: u64, sides: usize| usize::try_from(Seed(dice).hash([n]) >> 33).unwrap() % sides;
    let Some((head, proto)) = head(packet) else { return vec![packet.to_vec()] };
    let payload = &packet[head.len()..];
    // DIFFERS: what is said of a datagram is known by its first fragment alone.
    let least = match (proto, payload.first()) {
        (udp::PROTO, _) => 8,
        (tcp::PROTO, _) => 64,
        // All of its chunks.
        (sctp::PROTO, _) => 600,
        // They ask or answer; others quote.
        (icmp::PROTO, Some(0 | 8 | 13 | 14)) | (icmp::PROTO_V6, Some(128..)) => 8,
        _ => 160,
    };
    let Some(eights) = payload.len().checked_sub(least + 1).map(|more| more / 8 + 1) else {
        return vec![packet.to_vec()];
    };
    let mut at = vec![0, least + 8 * roll(1, eights), payload.len()];
    if roll(2, 2) == 0 {
        at.push(least + 8 * roll(3, eights));
    }
    at.sort_unstable();
    at.dedup();
    let mut pieces: Vec<_> = at
        .windows(2)
        .map(|part| fragment(head, &payload[part[0]..part[1]], part[0], part[1] < payload.len()))
        .collect();
    let first = roll(4, pieces.len());
    pieces.rotate_left(first);
    pieces
}

/// The head that all fragments repeat, and what is behind it.
fn head(packet: &[u8]) -> Option<(&[u8], u8)> {
    if packet[0] >> 4 == 4 {
        let (ip, _) = Ipv4::split(packet).unwrap();
        return Some((&packet[..ip.header_len()], ip.proto()));
    }
    let (ip, _) = Ipv6::split(packet).unwrap();
    let is_repeated = [ipv6::HOP_BY_HOP, ipv6::ROUTING].contains(&ip.next_header());
    (!is_repeated).then_some((&packet[..ipv6::LEN], ip.next_header()))
}

fn fragment(head: &[u8], payload: &[u8], offset: usize, more: bool) -> Vec<u8> {
    let mut bytes = head.to_vec();
    let (offset, more) = (u16::try_from(offset).unwrap(), u16::from(more));
    if head[0] >> 4 == 4 {
        let len = u16::try_from(head.len() + payload.len()).unwrap();
        bytes[ipv4::TOTAL_LEN..][..2].copy_from_slice(&len.to_be_bytes());
        bytes[6..8].copy_from_slice(&((more << 13) + offset / 8).to_be_bytes());
        bytes[ipv4::CHECKSUM..][..2].fill(0);
        let sum = checksum::of(&bytes);
        bytes[ipv4::CHECKSUM..][..2].copy_from_slice(&sum.to_be_bytes());
    } else {
        let len = u16::try_from(8 + payload.len()).unwrap();
        bytes[ipv6::PAYLOAD_LEN..][..2].copy_from_slice(&len.to_be_bytes());
        let next = std::mem::replace(&mut bytes[ipv6::NEXT], ipv6::FRAGMENT);
        bytes.extend([next, 0]);
        bytes.extend([offset | more, 0, ID].map(u16::to_be_bytes).concat());
    }
    bytes.extend(payload);
    bytes
}

/// Whether a packet is whole, or the first of its fragments.
pub(crate) fn is_first(packet: &[u8]) -> bool {
    if packet[0] >> 4 == 4 {
        return Ipv4::split(packet).unwrap().0.fragment_offset() == 0;
    }
    let (ip, rest) = Ipv6::split(packet).unwrap();
    let upper = ipv6::skip_extensions(ip.next_header(), rest);
    upper.is_ok_and(|upper| upper.fragment.is_none_or(|fragment| fragment.offset == 0))
}
