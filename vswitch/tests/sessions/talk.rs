//! Two who talk across a switch.

use crate::common::checksums;
use packet::{Headers, Key, checksum, compose, ethernet, ipv4, ipv6, parse, tcp, udp};

/// What one side says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Say {
    pub(crate) flags: u16,
    /// Beside what it has said before, and what the other one has.
    pub(crate) seq: i32,
    pub(crate) ack: i32,
    pub(crate) window: u16,
    pub(crate) len: u16,
    pub(crate) tos: u8,
    pub(crate) ttl: u8,
    pub(crate) odd: Option<Odd>,
}

/// What is unusual about a packet, whatever it says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Odd {
    /// Its sender has another address on the link.
    Mac,
    /// There is something between the header of IP and what it carries.
    Options,
    /// There is less of it than it says.
    Cut,
    /// Its checksum is wrong.
    Sum,
}

pub(crate) const USUAL: Say =
    Say { flags: tcp::ACK, seq: 0, ack: 0, window: 1000, len: 10, tos: 0, ttl: 64, odd: None };

/// Two who talk, and what each has said so far.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    /// What the client says to whom it asks for.
    pub(crate) client: Key,
    /// What answers what the server has heard last.
    server: Key,
    next: [u32; 2],
}

impl Talk {
    pub(crate) fn new(n: u8, is_tcp: bool, is_ipv6: bool) -> Self {
        let (proto, flags) = if is_tcp { (tcp::PROTO, tcp::ACK) } else { (udp::PROTO, 0) };
        let mut key = Key::ZERO
            .with(Key::ETH_SRC, 0x0200_0000_0001_u64)
            .with(Key::ETH_DST, 0x0200_0000_0002_u64)
            .with(Key::NW_PROTO, proto)
            .with(Key::HAS_NETWORK, 1u8)
            .with(Key::HAS_TRANSPORT, 1u8)
            .with(Key::TTL_LEFT, 1u8)
            .with(Key::TP_SRC, 1000 + u16::from(n))
            .with(Key::TP_DST, 80u16)
            .with(Key::TCP_FLAGS, flags);
        key = match is_ipv6 {
            false => key
                .with(Key::ETH_TYPE, ethernet::IPV4)
                .with(Key::NW_SRC, 0x0a00_0001_u32)
                .with(Key::NW_DST, 0x0a00_0002_u32),
            true => key
                .with(Key::ETH_TYPE, ethernet::IPV6)
                .with(Key::IPV6_SRC, 0xfd00_u128 << 112 | 1)
                .with(Key::IPV6_DST, 0xfd00_u128 << 112 | 2),
        };
        Self { client: key, server: answer(&key), next: [1000, 50_000] }
    }

    pub(crate) fn is_tcp(&self) -> bool {
        self.client.word(Key::NW_PROTO) == u64::from(tcp::PROTO)
    }

    /// The packet in which a side says something.
    pub(crate) fn say(&mut self, back: bool, say: &Say) -> Vec<u8> {
        let template = if back { self.server } else { self.client };
        let flags = if self.is_tcp() { say.flags } else { 0 };
        let key = template
            .with(Key::NW_TOS, say.tos)
            .with(Key::NW_TTL, say.ttl)
            .with(Key::TTL_LEFT, u8::from(say.ttl > 1))
            .with(Key::TCP_FLAGS, flags);
        let key = match say.odd {
            Some(Odd::Mac) => key.with(Key::ETH_SRC, 0x0200_0000_0099_u64),
            _ => key,
        };
        let (mut bytes, mut parsed) = (compose(&key, 0), Key::ZERO);
        let len = bytes.len() + usize::from(say.len);
        bytes = compose(&key, len);
        let headers: Headers = parse(&bytes, bytes.len(), &mut parsed).unwrap();
        let at = usize::from(headers.l4);
        if self.is_tcp() {
            let [own, other] = if back { [1, 0] } else { [0, 1] };
            let seq = self.next[own].wrapping_add_signed(say.seq);
            let ack = self.next[other].wrapping_add_signed(say.ack);
            bytes[at + 4..at + 8].copy_from_slice(&seq.to_be_bytes());
            bytes[at + 8..at + 12].copy_from_slice(&ack.to_be_bytes());
            bytes[at + 14..at + 16].copy_from_slice(&say.window.to_be_bytes());
            if say.seq == 0 {
                let counts = u32::from(flags & (tcp::SYN | tcp::FIN) != 0);
                self.next[own] = self.next[own].wrapping_add(u32::from(say.len) + counts);
            }
        }
        match say.odd {
            // More header than there is; and a longer datagram.
            Some(Odd::Cut) if self.is_tcp() => bytes[at + 12] = 0xf0,
            Some(Odd::Cut) => bytes[at + 4..at + 6].fill(0xff),
            Some(Odd::Options) => add_options(&mut bytes),
            Some(Odd::Mac | Odd::Sum) | None => {}
        }
        checksums::make(&mut bytes);
        if say.odd == Some(Odd::Sum) {
            // What it carries, or the last field of its header.
            *bytes.last_mut().unwrap() ^= 1;
        }
        bytes
    }

    /// The server has heard something.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        let mut key = Key::ZERO;
        parse(bytes, bytes.len(), &mut key).unwrap();
        self.server = answer(&key);
    }
}

/// Where a packet of IP begins, which has no tag.
const L3: usize = ethernet::LEN;

/// Puts something between the header of IP and what it carries.
fn add_options(bytes: &mut Vec<u8>) {
    let is_ipv4 = bytes[L3] >> 4 == 4;
    // Four times nothing; or six bytes of padding (RFC 8200 §4.2) in front of the protocol.
    let (at, new, len_at) = match is_ipv4 {
        true => (L3 + ipv4::LEN, vec![1; 4], L3 + 2),
        false => (L3 + ipv6::LEN, vec![bytes[L3 + 6], 0, 1, 4, 0, 0, 0, 0], L3 + 4),
    };
    let len = u16::from_be_bytes([bytes[len_at], bytes[len_at + 1]]);
    let len = len + u16::try_from(new.len()).unwrap();
    bytes[len_at..len_at + 2].copy_from_slice(&len.to_be_bytes());
    bytes.splice(at..at, new);
    if is_ipv4 {
        bytes[L3] += 1;
        sum_header(bytes);
    } else {
        bytes[L3 + 6] = ipv6::HOP_BY_HOP;
    }
}

/// A packet of IPv4 without options in two fragments, if it can be cut.
pub(crate) fn fragments(bytes: &[u8]) -> Option<[Vec<u8>; 2]> {
    const CUT: usize = 8;
    const MORE: u16 = 0x2000;
    let (header, data) = bytes.split_at_checked(L3 + ipv4::LEN)?;
    let is_cut = header[L3] == 0x45 && data.len() > CUT;
    let parts = [(&data[..CUT.min(data.len())], MORE), (&data[CUT.min(data.len())..], 1)];
    is_cut.then(|| {
        parts.map(|(data, place)| {
            let mut part = [header, data].concat();
            let len = u16::try_from(part.len() - L3).unwrap();
            part[L3 + 2..L3 + 4].copy_from_slice(&len.to_be_bytes());
            part[L3 + 6..L3 + 8].copy_from_slice(&place.to_be_bytes());
            sum_header(&mut part);
            part
        })
    })
}

/// Makes the checksum of a header of IPv4 right.
fn sum_header(bytes: &mut [u8]) {
    let end = L3 + 4 * usize::from(bytes[L3] & 0xf);
    bytes[L3 + 10..L3 + 12].fill(0);
    let sum = checksum::of(&bytes[L3..end]);
    bytes[L3 + 10..L3 + 12].copy_from_slice(&sum.to_be_bytes());
}

/// What answers a packet.
fn answer(key: &Key) -> Key {
    let swaps = [
        (Key::ETH_SRC, Key::ETH_DST),
        (Key::TP_SRC, Key::TP_DST),
        (Key::NW_SRC, Key::NW_DST),
        (Key::IPV6_SRC, Key::IPV6_DST),
    ];
    let mut answer = *key;
    for (one, other) in swaps {
        answer.set(one, key.get(other));
        answer.set(other, key.get(one));
    }
    answer
}
