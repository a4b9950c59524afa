//! What a packet says, as far as connections care.

use std::net::IpAddr;

use packet::icmp::{self, Icmp};
use packet::ipv4::Ipv4;
use packet::ipv6::{self, Ipv6};
use packet::udp::{self, Udp};
use packet::{Fragment, Headers, Key, Network, Transport, Whole, ipv4, sctp, tcp};

use crate::bundle::Bundle;
use crate::query;
use crate::quoted;
use crate::segment::Segment;
use crate::tuple::Tuple;

/// What a packet says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Message {
    /// Who says it to whom.
    pub tuple: Tuple,
    /// What.
    pub content: Content,
}

/// What a packet says beside its tuple.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Content {
    /// A segment of TCP.
    Tcp(Segment),
    /// A datagram of UDP.
    Udp,
    /// A packet of SCTP.
    Sctp(Bundle),
    /// A message of ICMP that asks.
    Question,
    /// A message of ICMP that answers.
    Answer,
    /// What became of another packet; the tuple is that of what answers the packet.
    Error {
        /// To whom this is said.
        to: IpAddr,
    },
    /// Anything else.
    Other,
}

/// Why a packet belongs to no connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Untracked {
    /// It is not of IP.
    #[error("it is not of IP")]
    NotIp,
    /// It is a part of one.
    #[error("it is a fragment")]
    Fragment,
    /// Its transport header is cut off or contradicts itself.
    #[error("its transport header is broken")]
    Malformed,
    /// It is a message of ICMP that neither asks nor answers, nor quotes a packet.
    #[error("it is a message that nobody answers")]
    Unanswerable,
}

impl Content {
    /// What a packet of TCP or UDP says, read as [`Message::read`] does. `None` of any other packet, of a
    /// fragment, and of one that is malformed.
    #[inline]
    pub fn read_ported(headers: Headers, bytes: &[u8], len: usize) -> Option<Self> {
        let (bytes, len) = match headers.fragment {
            Fragment::No => transport(headers, bytes, len).ok()?,
            _ => return None,
        };
        match headers.transport {
            Transport::Tcp => Segment::read(bytes, len).ok().map(Self::Tcp),
            Transport::Udp => is_datagram(bytes, len).then_some(Self::Udp),
            _ => None,
        }
    }
}

impl Message {
    /// Reads a packet of which `key` and `headers` are known ([`packet::parse`]). `bytes` begin where
    /// it does, and hold its headers; `len` is how long it is.
    pub fn read(
        key: &Key,
        headers: Headers,
        bytes: &[u8],
        len: usize,
        zone: u16,
    ) -> Result<Self, Untracked> {
        match headers.fragment {
            Fragment::No => Self::read_whole(key, headers, transport(headers, bytes, len), zone),
            _ => Err(Untracked::Fragment),
        }
    }

    /// Reads a datagram that was cut into fragments: `key`, `headers` and `bytes` are those of the
    /// first one, as [`Message::read`] takes them. `len` is how long all that follows the headers is
    /// that each fragment repeats, and `start` where that begins in the first one.
    pub fn read_fragmented(
        key: &Key,
        headers: Headers,
        bytes: &[u8],
        (start, len): (usize, usize),
        zone: u16,
    ) -> Result<Self, Untracked> {
        let l4 = usize::from(headers.l4);
        let transport = transport(headers, bytes, bytes.len()).and_then(|(bytes, own)| {
            // Behind its end there may be anything.
            let bytes = &bytes[..bytes.len().min(own)];
            // What lies between is not repeated, but counts.
            let len = (start + len).checked_sub(l4).ok_or(Untracked::Malformed)?;
            Ok((bytes, len))
        });
        let mut key = *key;
        Whole::read(headers, bytes).write(&mut key);
        Self::read_whole(&key, headers, transport, zone)
    }

    fn read_whole(
        key: &Key,
        headers: Headers,
        transport: Result<(&[u8], usize), Untracked>,
        zone: u16,
    ) -> Result<Self, Untracked> {
        if !matches!(headers.network, Network::Ipv4 | Network::Ipv6) {
            return Err(Untracked::NotIp);
        }
        let ports = [Key::TP_SRC, Key::TP_DST].map(|span| {
            // A field of sixteen bits.
            u16::try_from(key.word(span)).unwrap_or(0)
        });
        let (ports, content) = match headers.transport {
            Transport::Tcp => {
                let (bytes, len) = transport?;
                let segment = Segment::read(bytes, len).ok().ok_or(Untracked::Malformed)?;
                (ports, Content::Tcp(segment))
            }
            Transport::Udp => {
                let (bytes, len) = transport?;
                let udp = is_datagram(bytes, len).then_some((ports, Content::Udp));
                udp.ok_or(Untracked::Malformed)?
            }
            Transport::Sctp => {
                let (bytes, len) = transport?;
                let bundle = Bundle::read(bytes, len).ok().ok_or(Untracked::Malformed)?;
                (ports, Content::Sctp(bundle))
            }
            Transport::Icmp | Transport::Icmpv6 => {
                let (bytes, len) = transport?;
                let bytes = &bytes[..bytes.len().min(len)];
                let (icmp, quoted) = Icmp::split(bytes).ok().ok_or(Untracked::Malformed)?;
                let is_ipv4 = headers.transport == Transport::Icmp;
                if query::is_error(is_ipv4, icmp.kind()) {
                    return Self::read_error(key, quoted, is_ipv4, zone);
                }
                Self::read_query(icmp, is_ipv4)?
            }
            Transport::None if has_ports(key) => return Err(Untracked::Malformed),
            Transport::None if says_nothing(key, headers) => return Err(Untracked::Unanswerable),
            Transport::None => ([0; 2], Content::Other),
        };
        let tuple = Tuple::of(key, ports, zone).ok_or(Untracked::NotIp)?;
        Ok(Self { tuple, content })
    }

    /// Reads a message of ICMP that asks or answers.
    fn read_query(icmp: Icmp<'_>, is_ipv4: bool) -> Result<([u16; 2], Content), Untracked> {
        query::answer(is_ipv4, icmp.kind()).ok_or(Untracked::Unanswerable)?;
        let ports = [icmp.identifier(), u16::from_be_bytes([icmp.kind(), icmp.code()])];
        let asks = query::asks(is_ipv4, icmp.kind());
        Ok((ports, if asks { Content::Question } else { Content::Answer }))
    }

    /// Reads a message of ICMP that says what became of a packet.
    fn read_error(key: &Key, quoted: &[u8], is_ipv4: bool, zone: u16) -> Result<Self, Untracked> {
        let quoted = quoted::tuple(quoted, is_ipv4, zone).ok_or(Untracked::Malformed)?;
        let tuple = quoted.reversed().ok_or(Untracked::Unanswerable)?;
        let outer = Tuple::of(key, [0; 2], zone).ok_or(Untracked::NotIp)?;
        Ok(Self { tuple, content: Content::Error { to: outer.dst() } })
    }
}

/// Whether a datagram of UDP begins here that is `len` bytes long, or shorter if it says so.
#[inline]
pub(crate) fn is_datagram(bytes: &[u8], len: usize) -> bool {
    Udp::split(bytes).is_ok_and(|(udp, _)| (udp::LEN..=len).contains(&udp.length()))
}

/// What IP carries in these bytes of a frame, and how long it is.
#[inline]
pub(crate) fn transport(
    headers: Headers,
    bytes: &[u8],
    len: usize,
) -> Result<(&[u8], usize), Untracked> {
    match plain_transport(headers, bytes, len) {
        Some(plain) => Ok(plain),
        None => any_transport(headers, bytes, len),
    }
}

/// The same, wherever it is.
fn any_transport(headers: Headers, bytes: &[u8], len: usize) -> Result<(&[u8], usize), Untracked> {
    let (start, end) = (usize::from(headers.l4), end_of_packet(bytes, headers, len));
    let bytes = bytes.get(start..).ok_or(Untracked::Malformed)?;
    Ok((bytes, end.checked_sub(start).ok_or(Untracked::Malformed)?))
}

/// The same where nearly all are: in an untagged frame, behind IPv4 without options.
#[inline]
fn plain_transport(headers: Headers, bytes: &[u8], len: usize) -> Option<(&[u8], usize)> {
    const L3: usize = Headers::PLAIN[0];
    const L4: usize = Headers::PLAIN[1];
    let is_plain = headers.are_plain_of(headers.transport);
    let (head, rest) = bytes.split_first_chunk::<L4>().filter(|_| is_plain)?;
    let says = u16::from_be_bytes([head[L3 + ipv4::TOTAL_LEN], head[L3 + ipv4::TOTAL_LEN + 1]]);
    Some((rest, len.min(L3 + usize::from(says)).checked_sub(L4)?))
}

/// Where the packet of IP ends that begins in these bytes of a frame: what follows is padding.
#[inline]
fn end_of_packet(bytes: &[u8], headers: Headers, len: usize) -> usize {
    let start = usize::from(headers.l3);
    let bytes = bytes.get(start..).unwrap_or_default();
    let says = match headers.network {
        Network::Ipv4 => Ipv4::split(bytes).ok().map(|(ip, _)| ip.total_len()),
        _ => Ipv6::split(bytes).ok().map(|(ip, _)| ipv6::LEN + ip.payload_len()),
    };
    says.map_or(len, |says| len.min(start + says))
}

/// Whether it is of IPv6 and has nothing behind its header (RFC 8200 §4.7).
fn says_nothing(key: &Key, headers: Headers) -> bool {
    const NOTHING: u64 = 59;
    headers.network == Network::Ipv6 && key.word(Key::NW_PROTO) == NOTHING
}

/// Whether it is of a protocol whose header must be there.
fn has_ports(key: &Key) -> bool {
    let proto = u8::try_from(key.word(Key::NW_PROTO)).unwrap_or(0);
    matches!(proto, tcp::PROTO | udp::PROTO | sctp::PROTO | icmp::PROTO | icmp::PROTO_V6)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use packet::PlainUdp;
    use proptest::prelude::*;

    proptest! {
        /// However it is cut, and whatever it says.
        #[test]
        fn a_datagram_where_nearly_all_are_is_one_anywhere(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            [total, length] in [20..70u16, 0..50u16],
            is_tcp in prop::bool::weighted(0.1),
            (l3, l4) in prop_oneof![4 => Just((14u8, 34u16)), 1 => any::<(u8, u16)>()],
            more in prop_oneof![Just(0), 0..20usize],
        ) {
            let (mut bytes, len) = (bytes.clone(), bytes.len() + more);
            for (at, value) in [(16, total), (38, length)] {
                if let Some(place) = bytes.get_mut(at..at + 2) {
                    place.copy_from_slice(&value.to_be_bytes());
                }
            }
            let transport = if is_tcp { Transport::Tcp } else { Transport::Udp };
            let network = Network::Ipv4;
            let headers = Headers { network, transport, l3, l4, ..Headers::default() };
            let plain = PlainUdp::read(headers, &bytes, len).map(PlainUdp::carried);
            let any = any_transport(headers, &bytes, len);
            let transport = plain_transport(headers, &bytes, len);
            prop_assert!(transport.is_none_or(|transport| any == Ok(transport)));
            let any = any.is_ok_and(|(bytes, len)| is_datagram(bytes, len));
            prop_assert!(plain.is_none_or(|plain| is_datagram(plain, plain.len()) == any));
            let is_there = !is_tcp && (l3, l4) == (14, 34) && more == 0;
            let ends = (42..=bytes.len()).contains(&(14 + usize::from(total)));
            prop_assert_eq!(plain.is_some(), is_there && ends);
        }
    }

    /// Its end was that of the frame: what lay behind was believed.
    #[test]
    fn of_a_first_fragment_what_lies_behind_its_end_is_not_read() {
        const L4: usize = 34;
        let key = Key::ZERO
            .with(Key::HAS_NETWORK, 1u8)
            .with(Key::ETH_TYPE, packet::ethernet::IPV4)
            .with(Key::NW_PROTO, tcp::PROTO)
            .with(Key::NW_SRC, 0x0a00_0001u32)
            .with(Key::NW_DST, 0x0a00_0002u32)
            .with(Key::TP_DST, 80u16);
        let mut bytes = packet::compose(&key.with(Key::HAS_TRANSPORT, 1u8), L4 + 32);
        // A SYN of eight words, of which six are here; behind it a window scale.
        bytes[L4 + tcp::FLAGS..][..2].copy_from_slice(&[8 << 4, 2]);
        bytes[L4 + 20..].copy_from_slice(&[1, 1, 1, 1, 3, 3, 7, 1, 1, 1, 1, 0]);
        let headers = packet::parse(&bytes, bytes.len(), &mut Key::ZERO.clone()).unwrap();
        let read = |bytes: &[u8]| {
            Message::read_fragmented(&key, headers, bytes, (L4, 400), 0).map(|read| read.content)
        };
        let scale = match read(&bytes) {
            Ok(Content::Tcp(segment)) => segment.scale,
            other => panic!("{other:?}"),
        };
        assert_eq!(scale, Some(7));
        bytes[16..18].copy_from_slice(&44u16.to_be_bytes());
        assert_eq!(read(&bytes), Err(Untracked::Malformed));
    }
}
