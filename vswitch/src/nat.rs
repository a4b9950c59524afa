//! Makes a packet say other addresses and ports, and the packet that it quotes as well.
//!
//! Checksums stay as right or wrong as they were, as everywhere (`act.rs`).

use std::net::IpAddr;

use conntrack::{Content, Ends, Message, Tuple};
use flowtable::Op;
use packet::checksum::update;
use packet::ipv4::Ipv4;
use packet::ipv6::Ipv6;
use packet::{Fragment, Headers, Memory, Packet, carried, icmp, ipv4, ipv6, sctp, tcp, udp};

use crate::act::{write, write_covered};

/// Makes a packet that says `message` one of the tuple `to`; one that quotes another packet quotes
/// what that was before it was translated. A fragment is one of such a packet, of which IP carries so
/// many bytes in `whole`.
pub(crate) fn translate(
    packet: &mut Packet,
    headers: Headers,
    message: &Message,
    (to, whole): (&Tuple, Option<usize>),
    memory: &Memory,
) {
    let (from, to) = (message.tuple.ends(), to.ends());
    let is_error = matches!(message.content, Content::Error { .. });
    let has_transport = headers.fragment != Fragment::Later;
    if is_error && has_transport {
        // What it cannot change of a quoted packet, nobody can have said to it.
        let _ = translate_quoted(packet, headers, &to, memory);
    }
    if from.src != to.src {
        write_address(packet, headers, to.src, true, memory);
    }
    if from.dst != to.dst {
        write_address(packet, headers, to.dst, false, memory);
    }
    if is_error || !has_transport {
        return;
    }
    match (from.proto, whole) {
        (icmp::PROTO | icmp::PROTO_V6, _) if from.src_port != to.src_port => {
            write_covered(usize::from(headers.l4) + ID, to.src_port, packet, headers, memory);
        }
        (icmp::PROTO | icmp::PROTO_V6, _) => {}
        (sctp::PROTO, Some(whole)) => {
            // If it is cut off, there is nothing to be translated.
            let _ =
                write_ports(packet.head_mut(memory), headers, [to.src_port, to.dst_port], whole);
        }
        _ => {
            let [src, dst] = [to.src_port, to.dst_port];
            write(Op::TpSrc { value: src, mask: u16::MAX }, packet, headers, memory);
            write(Op::TpDst { value: dst, mask: u16::MAX }, packet, headers, memory);
        }
    }
}

/// Writes the ports of a packet of SCTP that is `whole` bytes long, of which the first fragment begins
/// here: how a CRC changes depends on what lies behind.
fn write_ports(bytes: &mut [u8], headers: Headers, ports: [u16; 2], whole: usize) -> Option<()> {
    let header: &mut [u8; sctp::LEN] = bytes.get_mut(headers.l4.into()..)?.first_chunk_mut()?;
    for (at, new) in [0, 2].into_iter().zip(ports) {
        let (old, behind) = (half(header, at)?, whole.checked_sub(at + 2)?);
        let sum = *header[sctp::CHECKSUM..].first_chunk()?;
        header[at..at + 2].copy_from_slice(&new.to_be_bytes());
        header[sctp::CHECKSUM..].copy_from_slice(&sctp::update(sum, old, new, behind));
    }
    Some(())
}

/// Where the identifier of a query stands.
const ID: usize = 4;

fn write_address(
    packet: &mut Packet,
    headers: Headers,
    address: IpAddr,
    is_src: bool,
    memory: &Memory,
) {
    match address {
        IpAddr::V4(address) => {
            let (value, mask) = (address.to_bits(), u32::MAX);
            let op = match is_src {
                true => Op::Ipv4Src { value, mask },
                false => Op::Ipv4Dst { value, mask },
            };
            write(op, packet, headers, memory);
        }
        IpAddr::V6(address) => {
            let octets = address.octets();
            let words = octets.as_chunks::<4>().0;
            for (word, bytes) in (if is_src { 0..4 } else { 4..8 }).zip(words) {
                let (value, mask) = (u32::from_be_bytes(*bytes), u32::MAX);
                write(Op::Ipv6 { word, value, mask }, packet, headers, memory);
            }
        }
    }
}

/// Words of a quoted packet that are to be others, by place.
struct Edits {
    words: [(usize, u16); 20],
    len: usize,
}

impl Edits {
    fn push(&mut self, at: usize, bytes: &[u8]) {
        for (n, word) in bytes.as_chunks::<2>().0.iter().enumerate() {
            if let Some(place) = self.words.get_mut(self.len) {
                *place = (at + 2 * n, u16::from_be_bytes(*word));
                self.len += 1;
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = (usize, u16)> {
        self.words[..self.len].iter().copied()
    }

    /// A checksum over words that are to be others.
    fn correct(&self, sum: u16, bytes: &[u8]) -> Option<u16> {
        self.correct_but(None, sum, bytes)
    }

    /// The same, if one of them is not counted.
    fn correct_but(&self, uncounted: Option<usize>, sum: u16, bytes: &[u8]) -> Option<u16> {
        let mut counted = self.iter().filter(|(at, _)| Some(*at) != uncounted);
        counted.try_fold(sum, |sum, (at, new)| Some(update(sum, half(bytes, at)?, new)))
    }
}

/// Makes the packet that an error quotes one which `to` would answer. `None` if it is not that of a
/// connection, or cut short: then nothing is changed.
fn translate_quoted(
    packet: &mut Packet,
    headers: Headers,
    to: &Ends,
    memory: &Memory,
) -> Option<()> {
    // Behind its end there may be anything.
    let (head, l4) = (packet.head(memory), usize::from(headers.l4));
    let end = l4 + carried(head, headers.network, headers.l3.into(), l4)?;
    let bytes = &head[..end.min(head.len())];
    let start = l4 + icmp::LEN;
    let quoted = bytes.get(start..)?;
    let mut edits = Edits { words: [(0, 0); 20], len: 0 };
    let transport = match (to.dst, to.src) {
        // What it answers went the other way.
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let (ip, _) = Ipv4::split(quoted).ok()?;
            edits.push(start + ipv4::SRC, &src.octets());
            edits.push(start + ipv4::DST, &dst.octets());
            let sum = edits.correct(half(bytes, start + ipv4::CHECKSUM)?, bytes)?;
            edits.push(start + ipv4::CHECKSUM, &sum.to_be_bytes());
            start + ip.header_len()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let (ip, rest) = Ipv6::split(quoted).ok()?;
            edits.push(start + ipv6::SRC, &src.octets());
            edits.push(start + ipv6::DST, &dst.octets());
            start + ipv6::LEN + ipv6::skip_extensions(ip.next_header(), rest).ok()?.len
        }
        _ => return None,
    };
    let sum_at = match to.proto {
        icmp::PROTO | icmp::PROTO_V6 => {
            if to.proto == icmp::PROTO {
                // Its checksum knows nothing of addresses.
                let own = Edits { words: [(transport + ID, to.src_port); 20], len: 1 };
                let at = transport + icmp::CHECKSUM;
                let sum = own.correct(half(bytes, at)?, bytes)?;
                edits.push(at, &sum.to_be_bytes());
            }
            edits.push(transport + ID, &to.src_port.to_be_bytes());
            (to.proto == icmp::PROTO_V6).then_some(transport + icmp::CHECKSUM)
        }
        proto @ (tcp::PROTO | udp::PROTO | sctp::PROTO) => {
            edits.push(transport, &to.dst_port.to_be_bytes());
            edits.push(transport + 2, &to.src_port.to_be_bytes());
            match proto {
                tcp::PROTO => Some(transport + tcp::CHECKSUM),
                udp::PROTO => {
                    Some(transport + udp::CHECKSUM).filter(|at| half(bytes, *at) != Some(0))
                }
                _ => None,
            }
        }
        _ => None,
    };
    // Often only the ports are quoted.
    if let Some((at, old)) = sum_at.and_then(|at| Some((at, half(bytes, at)?))) {
        // Of IPv4's own checksum the change is that of the addresses, once more: not counted.
        let own = to.src.is_ipv4().then_some(start + ipv4::CHECKSUM);
        let sum = match edits.correct_but(own, old, bytes)? {
            // To UDP zero is none (RFC 768).
            0 if to.proto == udp::PROTO => u16::MAX,
            sum => sum,
        };
        edits.push(at, &sum.to_be_bytes());
    }
    // All of it is there, or nothing is changed.
    edits.iter().try_for_each(|(at, _)| half(bytes, at).map(drop))?;
    for (at, new) in edits.iter() {
        write_covered(at, new, packet, headers, memory);
    }
    Some(())
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use packet::checksum::Sum;
    use packet::{Chainer, Depot, FramePool, HEADROOM, Key, PortId, compose, ethernet, parse};

    const HERE: [u8; 4] = [10, 0, 0, 1];
    const OUTSIDE: [u8; 4] = [192, 0, 2, 1];
    const THERE: [u8; 4] = [192, 0, 2, 9];

    fn address(is_ipv4: bool, address: [u8; 4]) -> IpAddr {
        let address = std::net::Ipv4Addr::from(address);
        let [.., net, n] = address.octets();
        // They differ in every word.
        let word = u16::from(net) << 8 | u16::from(n) | 0x2000;
        if is_ipv4 { address.into() } else { std::net::Ipv6Addr::from([word; 8]).into() }
    }

    /// A frame of a packet between two ends, of so many bytes.
    fn frame(ends: &Ends, len: usize) -> Vec<u8> {
        let mut key = Key::ZERO
            .with(Key::NW_TTL, 64u8)
            .with(Key::NW_PROTO, ends.proto)
            .with(Key::HAS_NETWORK, 1u8)
            .with(Key::HAS_TRANSPORT, 1u8)
            .with(Key::TTL_LEFT, 1u8);
        key = match (ends.src, ends.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => key
                .with(Key::ETH_TYPE, ethernet::IPV4)
                .with(Key::NW_SRC, src.to_bits())
                .with(Key::NW_DST, dst.to_bits()),
            (IpAddr::V6(src), IpAddr::V6(dst)) => key
                .with(Key::ETH_TYPE, ethernet::IPV6)
                .with(Key::IPV6_SRC, src.to_bits())
                .with(Key::IPV6_DST, dst.to_bits()),
            mixed => panic!("{mixed:?}"),
        };
        let [src, dst] = match ends.proto {
            icmp::PROTO | icmp::PROTO_V6 => ends.dst_port.to_be_bytes().map(u16::from),
            _ => [ends.src_port, ends.dst_port],
        };
        let mut frame = compose(&key.with(Key::TP_SRC, src).with(Key::TP_DST, dst), len);
        if matches!(ends.proto, icmp::PROTO | icmp::PROTO_V6) {
            let at = ethernet::LEN + if ends.src.is_ipv4() { ipv4::LEN } else { ipv6::LEN };
            frame[at + ID..][..2].copy_from_slice(&ends.src_port.to_be_bytes());
            sum_up(&mut frame, at, ends);
        }
        frame
    }

    /// Makes the checksum of a message of ICMP.
    fn sum_up(frame: &mut [u8], at: usize, ends: &Ends) {
        frame[at + icmp::CHECKSUM..][..2].fill(0);
        let sum = match (ends.src, ends.dst) {
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                Sum::pseudo_v6(src, dst, ends.proto, frame.len() - at)
            }
            _ => Sum::default(),
        };
        let sum = sum.bytes(&frame[at..]).finish();
        frame[at + icmp::CHECKSUM..][..2].copy_from_slice(&sum.to_be_bytes());
    }

    /// What there is to say about a packet between these ends that was too big for somebody.
    fn error(about: &Ends, quoted: usize) -> Vec<u8> {
        let is_ipv4 = about.src.is_ipv4();
        let (proto, kind) = if is_ipv4 { (icmp::PROTO, 3) } else { (icmp::PROTO_V6, 2) };
        let router = address(is_ipv4, [203, 0, 113, 7]);
        let ends = Ends { src: router, dst: about.src, src_port: 0, dst_port: kind << 8, proto };
        let inner = frame(about, 100);
        let l3 = if is_ipv4 { ipv4::LEN } else { ipv6::LEN };
        let inner = &inner[ethernet::LEN..][..l3 + quoted];
        let mut frame = frame(&ends, ethernet::LEN + l3 + icmp::LEN + inner.len());
        let at = ethernet::LEN + l3;
        frame[at + icmp::LEN..].copy_from_slice(inner);
        sum_up(&mut frame, at, &ends);
        frame
    }

    fn translated(frame: &[u8], to: &Tuple) -> Vec<u8> {
        let mut pool = FramePool::new(&Depot::new(Memory::heap(64)));
        let mut packet = Chainer::copy_of(frame, HEADROOM, PortId(1), &mut pool).unwrap();
        let mut key = Key::ZERO;
        let headers = parse(frame, frame.len(), &mut key).unwrap();
        let message = Message::read(&key, headers, frame, frame.len(), 0).unwrap();
        let memory = std::sync::Arc::clone(pool.memory());
        translate(&mut packet, headers, &message, (to, None), &memory);
        packet.to_vec(pool.memory())
    }

    #[test]
    fn an_error_is_what_it_would_be_without_translation() {
        for (is_ipv4, proto, quoted) in [
            (true, tcp::PROTO, 8),
            (true, tcp::PROTO, 20),
            (true, udp::PROTO, 8),
            (true, icmp::PROTO, 8),
            (false, tcp::PROTO, 20),
            (false, udp::PROTO, 8),
            (false, icmp::PROTO_V6, 8),
        ] {
            let is_query = matches!(proto, icmp::PROTO | icmp::PROTO_V6);
            let asks = if is_ipv4 { 8 << 8 } else { 128 << 8 };
            let dst_port = if is_query { asks } else { 80 };
            let inside = Ends {
                src: address(is_ipv4, HERE),
                dst: address(is_ipv4, THERE),
                src_port: 5000,
                dst_port,
                proto,
            };
            let outside = Ends { src: address(is_ipv4, OUTSIDE), src_port: 40_000, ..inside };
            // What answers the packet that the error is about, once it is translated.
            let to = Tuple::new(inside, 0).unwrap().reversed().unwrap();
            let (mut came, mut expected) = (error(&outside, quoted), error(&inside, quoted));
            assert_eq!(translated(&came, &to), expected, "{proto} of {quoted} bytes");
            // What lies behind its end was taken for more of what it quotes.
            came.extend([0x5a; 14]);
            expected.extend([0x5a; 14]);
            assert_eq!(translated(&came, &to), expected, "{proto} of {quoted} bytes, padded");
        }
    }
}
