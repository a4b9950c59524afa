//! From bytes to the key: all headers of a packet, found once.
//!
//! A header that is cut short or contradicts itself ends the walk: what came before it counts, its
//! own fields stay zero. So a frame with a broken IP header can still be switched by its Ethernet
//! header, and no rule about IP ever sees it. (Open vSwitch decides the same.)

use crate::arp::Arp;
use crate::ethernet::{self, Ethernet};
use crate::icmp::{self, Icmp};
use crate::ipv4::{self, Ipv4};
use crate::ipv6::{self, Ipv6};
use crate::key::Key;
use crate::nd::Nd;
use crate::sctp;
use crate::tcp::{self, Tcp};
use crate::udp::{self, Udp};
use crate::vlan::Vlan;

/// How far into a packet headers are looked for; what lies beyond is payload.
pub const HEADER_WINDOW: usize = 256;

/// The network header of a packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Network {
    /// None that is known, or a broken one.
    #[default]
    None,
    /// ARP about IPv4.
    Arp,
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// The transport header of a packet.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Transport {
    /// None that is known, a broken one, or none in this fragment.
    #[default]
    None,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// ICMP over IPv4.
    Icmp,
    /// ICMPv6 over IPv6.
    Icmpv6,
}

/// Which part of an IP packet a packet is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Fragment {
    /// All of it.
    #[default]
    No,
    /// The first part, with the transport header.
    First,
    /// A later part.
    Later,
}

impl Fragment {
    /// The value of [`Key::NW_FRAG`].
    pub const fn bits(self) -> u8 {
        match self {
            Self::No => 0,
            Self::First => 1,
            Self::Later => 3,
        }
    }
}

/// Where a packet's headers lie: 8 bytes, kept beside the packet while it is worked on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(C, align(8))]
pub struct Headers {
    /// VLAN tags in front of the Ethertype, at most 2.
    pub vlans: u8,
    /// The network header, at [`Headers::l3`].
    pub network: Network,
    /// The transport header, at [`Headers::l4`].
    pub transport: Transport,
    /// Whether this is a fragment.
    pub fragment: Fragment,
    /// Whether there are IPv4 options or IPv6 extension headers.
    pub options: bool,
    /// Where the network header begins.
    pub l3: u8,
    /// Where the transport header begins; means something only if there is one.
    pub l4: u16,
}

/// A frame too short for an Ethernet header.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{len} bytes make no Ethernet frame")]
pub struct Runt {
    /// How long it is.
    pub len: usize,
}

/// Finds the headers of a packet and writes its fields into `key`.
///
/// * `window`: the packet's first bytes; more than [`HEADER_WINDOW`] of them are not looked at, so
///   that the answer does not depend on how a packet is spread over frames.
/// * `len`: bytes of the whole packet.
/// * `key`: words 1 to 14 are written, all of them, and of a runt too; word 0, where the packet came
///   in, is the caller's.
///
/// Cost: no loop but the one over IPv6 extension headers; reads each header once.
#[inline]
pub fn parse(window: &[u8], len: usize, key: &mut Key) -> Result<Headers, Runt> {
    if let Some(headers) = parse_plain(window, len, key) {
        return Ok(*headers);
    }
    parse_any(window, len, key)
}

/// Where the headers of such a packet are.
const L3: usize = ethernet::LEN;
const L4: usize = L3 + ipv4::LEN;

const _: () = assert!(L3 == 14 && L4 == 34, "as `Headers::plain` has it");

impl Headers {
    /// Where the network header of nearly every packet begins, and what it carries: in an untagged
    /// frame, and behind IPv4 without options.
    pub const PLAIN: [usize; 2] = [L3, L4];

    /// Whether both are there, the network header is of IPv4 and the transport header of this.
    #[inline]
    pub fn are_plain_of(self, transport: Transport) -> bool {
        let places = (usize::from(self.l3), usize::from(self.l4));
        // In this order both kinds are one comparison.
        self.network == Network::Ipv4 && self.transport == transport && places == (L3, L4)
    }

    const fn plain(transport: Transport) -> Self {
        Self {
            vlans: 0,
            network: Network::Ipv4,
            transport,
            fragment: Fragment::No,
            options: false,
            l3: 14,
            l4: 34,
        }
    }
}

/// Their headers, ready to be copied by eight bytes at once: put together field by field and copied
/// as a whole they cost 15 ticks a packet.
static PLAIN_TCP: Headers = Headers::plain(Transport::Tcp);
static PLAIN_UDP: Headers = Headers::plain(Transport::Udp);

/// What nearly every packet is: untagged, IPv4 without options, whole, TCP or UDP. Reads the
/// headers in words of eight bytes; for anything else, `None`.
#[inline]
fn parse_plain(window: &[u8], len: usize, key: &mut Key) -> Option<&'static Headers> {
    // Both addresses and the Ethertype, all of IPv4, and UDP or the ports of TCP.
    let bytes: &[u8; L4 + udp::LEN] = window.first_chunk()?;
    let word = |at: usize| {
        let &[a, b, c, d, e, f, g, h] = bytes[at..].first_chunk()?;
        Some(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
    };
    let (dst_src, src_type, lengths) = (word(0)?, word(8)?, word(16)?);
    // Ethertype 0x0800, then version 4 and five words of header; the TOS byte may be anything.
    let is_ipv4 = src_type >> 8 & 0x00ff_ffff == 0x08_0045;
    // Total length, identification, fragment offset and more-fragments (not: don't-fragment), TTL,
    // protocol.
    let total = usize::try_from(lengths >> 48).unwrap_or(0);
    let is_whole = lengths & 0x0000_0000_bfff_0000 == 0 && L3 + total <= len;
    let proto = lengths & 0xff;
    if !is_ipv4 || !is_whole {
        return None;
    }
    let (headers, least, flags) = match u8::try_from(proto).unwrap_or(0) {
        udp::PROTO => (&PLAIN_UDP, udp::LEN, 0),
        tcp::PROTO => {
            let bytes: &[u8; L4 + tcp::LEN] = window.first_chunk()?;
            // Beside the window they lie as the key has them.
            let &[a, b, c, d] = bytes[L4 + tcp::FLAGS..].first_chunk()?;
            (&PLAIN_TCP, tcp::LEN, u64::from(u32::from_be_bytes([a, b, c, d]) & 0x0fff_0000))
        }
        _ => return None,
    };
    if total < ipv4::LEN + least {
        return None;
    }
    let (tos, ttl) = (src_type & 0xff, lengths >> 8 & 0xff);
    let words = key.words_mut();
    words[1] = dst_src & !0xffff | u64::from(ethernet::IPV4);
    words[2] = dst_src << 48 | src_type >> 32 << 16;
    words[3] = 0;
    words[4] = word(L3 + ipv4::SRC)?;
    words[5] = proto << 56 | tos << 48 | ttl << 40 | u64::from(ttl > 1) << 22 | 0b11 << 20;
    words[6] = word(L4)? >> 32 << 32 | flags;
    words[7..Key::PARSED_WORDS].fill(0);
    Some(headers)
}

/// Whatever a packet is, header by header.
fn parse_any(window: &[u8], len: usize, key: &mut Key) -> Result<Headers, Runt> {
    let window = &window[..window.len().min(HEADER_WINDOW)];
    key.words_mut()[1..Key::PARSED_WORDS].fill(0);
    let (ethernet, mut rest) = Ethernet::split(window).map_err(|_short| Runt { len })?;
    let mut walk = Walk { key, headers: Headers::default(), end: len };
    walk.key.put(Key::ETH_DST, ethernet.dst().to_u64());
    walk.key.put(Key::ETH_SRC, ethernet.src().to_u64());
    while walk.headers.vlans < 2
        && let Ok(Some((tag, inner))) = Vlan::split(rest)
    {
        walk.tag(tag);
        rest = inner;
    }
    let Some((ethertype, rest)) = rest.split_first_chunk() else {
        // Ends inside a tag, or right behind the addresses.
        return if walk.headers.vlans == 0 { Err(Runt { len }) } else { Ok(walk.headers) };
    };
    let (ethertype, rest) = ethertype_of(u16::from_be_bytes(*ethertype), rest);
    walk.key.put(Key::ETH_TYPE, ethertype.into());
    let l3 = window.len() - rest.len();
    walk.headers.l3 = u8::try_from(l3).unwrap_or(u8::MAX);
    match ethertype {
        ethernet::IPV4 => walk.ipv4(l3, rest),
        ethernet::IPV6 => walk.ipv6(l3, rest),
        ethernet::ARP | ethernet::RARP => walk.arp(rest),
        _ => {}
    }
    Ok(walk.headers)
}

/// The Ethertype of a frame whose length-or-type field is `field`, and what follows it: an 802.3
/// frame may carry one in a SNAP header (IEEE 802 §9.4).
#[inline]
fn ethertype_of(field: u16, rest: &[u8]) -> (u16, &[u8]) {
    const SNAP: [u8; 6] = [0xaa, 0xaa, 0x03, 0, 0, 0];
    if field >= ethernet::TYPE_MIN {
        return (field, rest);
    }
    match rest.split_first_chunk::<8>() {
        Some((&[a, b, c, d, e, f, high, low], inner))
            if [a, b, c, d, e, f] == SNAP
                && u16::from_be_bytes([high, low]) >= ethernet::TYPE_MIN =>
        {
            (u16::from_be_bytes([high, low]), inner)
        }
        _ => (ethernet::NOT_A_TYPE, rest),
    }
}

/// A walk through the headers, and what it has found so far.
struct Walk<'a> {
    /// Zero but for what has been found.
    key: &'a mut Key,
    headers: Headers,
    /// Where the packet ends: first its length, then what the IP header says if that is less.
    end: usize,
}

impl Walk<'_> {
    #[inline]
    fn tag(&mut self, tag: Vlan<'_>) {
        let (tci, tpid) = match self.headers.vlans {
            0 => (Key::VLAN_TCI, Key::VLAN_TPID),
            _ => (Key::VLAN2_TCI, Key::VLAN2_TPID),
        };
        self.key.put(tci, tag.tci().into());
        self.key.put(tpid, tag.tpid().into());
        self.headers.vlans += 1;
    }

    #[inline]
    fn ipv4(&mut self, l3: usize, bytes: &[u8]) {
        let Ok((ip, _)) = Ipv4::split(bytes) else { return };
        let (header, total) = (ip.header_len(), ip.total_len());
        let sane = ip.version() == 4
            && (ipv4::LEN..=total).contains(&header)
            && l3 + total <= self.end
            && header <= bytes.len();
        if !sane {
            return;
        }
        self.end = l3 + total;
        self.headers.network = Network::Ipv4;
        self.headers.options = header > ipv4::LEN;
        self.headers.fragment = match (ip.fragment_offset(), ip.more_fragments()) {
            (0, false) => Fragment::No,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        };
        self.key.put(Key::NW_SRC, ip.src().to_bits().into());
        self.key.put(Key::NW_DST, ip.dst().to_bits().into());
        self.network(ip.proto(), ip.tos(), ip.ttl());
        if self.headers.fragment != Fragment::Later {
            self.transport(ip.proto(), icmp::PROTO, l3 + header, &bytes[header..]);
        }
    }

    #[inline]
    fn ipv6(&mut self, l3: usize, bytes: &[u8]) {
        let Ok((ip, rest)) = Ipv6::split(bytes) else { return };
        let end = l3 + ipv6::LEN + ip.payload_len();
        if ip.version() != 6 || end > self.end {
            return;
        }
        let inside = &rest[..rest.len().min(ip.payload_len())];
        let Ok(upper) = ipv6::skip_extensions(ip.next_header(), inside) else { return };
        self.end = end;
        self.headers.network = Network::Ipv6;
        self.headers.options = upper.len > 0;
        self.headers.fragment = match upper.fragment {
            None => Fragment::No,
            Some(fragment) if fragment.offset == 0 => Fragment::First,
            Some(_) => Fragment::Later,
        };
        self.key.put_wide(Key::IPV6_SRC, ip.src().to_bits());
        self.key.put_wide(Key::IPV6_DST, ip.dst().to_bits());
        self.key.put(Key::IPV6_LABEL, ip.flow_label().into());
        self.network(upper.proto, ip.traffic_class(), ip.hop_limit());
        if self.headers.fragment != Fragment::Later {
            let l4 = l3 + ipv6::LEN + upper.len;
            self.transport(upper.proto, icmp::PROTO_V6, l4, &rest[upper.len..]);
        }
    }

    #[inline]
    fn network(&mut self, proto: u8, tos: u8, ttl: u8) {
        self.key.put(Key::NW_PROTO, proto.into());
        self.key.put(Key::NW_TOS, tos.into());
        self.key.put(Key::NW_TTL, ttl.into());
        self.key.put(Key::NW_FRAG, self.headers.fragment.bits().into());
        self.key.put(Key::HAS_NETWORK, 1);
        self.key.put(Key::TTL_LEFT, (ttl > 1).into());
    }

    /// `icmp` is the number ICMP has in this network protocol; the other one's is just some number.
    #[inline]
    fn transport(&mut self, proto: u8, icmp: u8, l4: usize, bytes: &[u8]) {
        // Both bounds count: what is in the window, and where the packet ends.
        let bytes = &bytes[..bytes.len().min(self.end.saturating_sub(l4))];
        let (transport, src, dst) = match proto {
            tcp::PROTO => match Tcp::split(bytes) {
                Ok((tcp, _)) => {
                    self.key.put(Key::TCP_FLAGS, tcp.flags().into());
                    (Transport::Tcp, tcp.src(), tcp.dst())
                }
                Err(_) => return,
            },
            udp::PROTO => match Udp::split(bytes) {
                Ok((udp, _)) => (Transport::Udp, udp.src(), udp.dst()),
                Err(_) => return,
            },
            // Its ports stand where UDP's do.
            sctp::PROTO => match Udp::split(bytes) {
                Ok((ports, _)) if bytes.len() >= sctp::LEN => {
                    (Transport::Sctp, ports.src(), ports.dst())
                }
                _ => return,
            },
            _ if proto == icmp => match Icmp::split(bytes) {
                Ok((message, _)) => {
                    if icmp == icmp::PROTO_V6 {
                        self.neighbour(bytes);
                    }
                    let transport =
                        if icmp == icmp::PROTO { Transport::Icmp } else { Transport::Icmpv6 };
                    (transport, u16::from(message.kind()), u16::from(message.code()))
                }
                Err(_) => return,
            },
            _ => return,
        };
        // The first fragment alone has ports, and the others go its way only if it shows none: what
        // OVS calls handling fragments normally.
        if self.headers.fragment == Fragment::No {
            self.key.put(Key::TP_SRC, src.into());
            self.key.put(Key::TP_DST, dst.into());
            self.key.put(Key::HAS_TRANSPORT, 1);
        }
        self.headers.transport = transport;
        self.headers.l4 = u16::try_from(l4).unwrap_or(u16::MAX);
    }

    #[cold]
    fn neighbour(&mut self, bytes: &[u8]) {
        if self.headers.fragment != Fragment::No {
            return;
        }
        let Some(nd) = Nd::read(bytes) else { return };
        self.key.put(Key::HAS_ND, 1);
        self.key.put_wide(Key::ND_TARGET, nd.target().to_bits());
        let mut address = |found: Option<crate::MacAddr>, has, place| {
            if let Some(address) = found {
                self.key.put(has, 1);
                self.key.put(place, address.to_u64());
            }
        };
        address(nd.source(), Key::HAS_ND_SLL, Key::ARP_SHA);
        address(nd.target_address(), Key::HAS_ND_TLL, Key::ARP_THA);
    }

    #[inline]
    fn arp(&mut self, bytes: &[u8]) {
        let Ok(Some((arp, _))) = Arp::split(bytes) else { return };
        self.headers.network = Network::Arp;
        self.key.put(Key::HAS_NETWORK, 1);
        self.key.put(Key::NW_SRC, arp.spa().to_bits().into());
        self.key.put(Key::NW_DST, arp.tpa().to_bits().into());
        // The field has eight bits; what does not fit matches nothing.
        self.key.put(Key::NW_PROTO, u8::try_from(arp.op()).unwrap_or(0).into());
        self.key.put(Key::ARP_SHA, arp.sha().to_u64());
        self.key.put(Key::ARP_THA, arp.tha().to_u64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes that look like a plain packet, more or less.
    fn any_nearly_plain() -> impl Strategy<Value = (Vec<u8>, usize)> {
        let noise = prop::collection::vec(any::<u8>(), 0..80);
        let fields = (noise, 0..3usize, any::<u16>(), any::<u8>(), 0..70u16, 0..4u8);
        fields.prop_map(|(mut bytes, proto, fragment, tos, total, faults)| {
            let mut put = |at: usize, value: &[u8]| {
                if let Some(place) = bytes.get_mut(at..at + value.len()) {
                    place.copy_from_slice(value);
                }
            };
            put(12, &[0x08, 0, if faults == 1 { 0x46 } else { 0x45 }, tos]);
            put(16, &total.to_be_bytes());
            put(20, &(if faults == 2 { fragment } else { 0x4000 }).to_be_bytes());
            put(23, &[[6, 17, 1][proto]]);
            let len = bytes.len();
            (bytes, len)
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]

        #[test]
        fn the_short_way_finds_what_the_long_way_finds((bytes, len) in any_nearly_plain()) {
            let (mut short, mut long) = (Key::ZERO, Key::ZERO);
            if let Some(headers) = parse_plain(&bytes, len, &mut short) {
                prop_assert_eq!(Ok(*headers), parse_any(&bytes, len, &mut long));
                prop_assert_eq!(short, long);
            }
        }
    }

    /// A key is used again, and a runt was taken for the packet before it.
    #[test]
    fn a_runt_leaves_nothing_of_the_packet_before_it() {
        let mut key = Key::ZERO;
        key.words_mut()[..Key::PARSED_WORDS].fill(u64::MAX);
        assert_eq!(parse(&[0; 13], 13, &mut key), Err(Runt { len: 13 }));
        assert_eq!(
            key,
            Key::ZERO
                .with(Key::IN_PORT, 0xffff_u16)
                .with(Key::INGRESS, 0xffff_u16)
                .with(Key::RESUME, u32::MAX)
        );
    }
}
