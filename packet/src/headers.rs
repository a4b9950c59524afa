//! From bytes to the key: all headers of a packet, found once.
//!
//! A header that is cut short or contradicts itself ends the walk: what came before it counts, its own
//! fields stay zero. So a frame with a broken IP header can still be switched by its Ethernet header, and
//! no rule about IP ever sees it. (Open vSwitch decides the same.)

use crate::arp::Arp;
use crate::ethernet::{self, Ethernet};
use crate::icmp::{self, Icmp};
use crate::ipv4::{self, Ipv4};
use crate::ipv6::{self, Ipv6};
use crate::key::Key;
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
/// * `window`: the packet's first bytes; more than [`HEADER_WINDOW`] of them are not looked at, so that
///   the answer does not depend on how a packet is spread over frames.
/// * `len`: bytes of the whole packet.
/// * `key`: words 1 to 15 are written, all of them; word 0, where the packet came in, is the caller's.
///
/// Cost: no loop but the one over IPv6 extension headers; reads each header once.
#[inline]
pub fn parse(window: &[u8], len: usize, key: &mut Key) -> Result<Headers, Runt> {
    let window = &window[..window.len().min(HEADER_WINDOW)];
    let (ethernet, mut rest) = Ethernet::split(window).map_err(|_short| Runt { len })?;
    let mut walk = Walk { key: Key::ZERO, headers: Headers::default(), end: len };
    walk.key.set(Key::ETH_DST, ethernet.dst().to_u64());
    walk.key.set(Key::ETH_SRC, ethernet.src().to_u64());

    while walk.headers.vlans < 2
        && let Ok(Some((tag, inner))) = Vlan::split(rest)
    {
        walk.tag(tag);
        rest = inner;
    }
    let Some((ethertype, rest)) = rest.split_first_chunk() else {
        // Ends inside a tag, or right behind the addresses.
        if walk.headers.vlans == 0 {
            return Err(Runt { len });
        }
        walk.finish(key);
        return Ok(walk.headers);
    };
    let (ethertype, rest) = ethertype_of(u16::from_be_bytes(*ethertype), rest);
    walk.key.set(Key::ETH_TYPE, ethertype);
    let l3 = window.len() - rest.len();
    walk.headers.l3 = u8::try_from(l3).unwrap_or(u8::MAX);
    match ethertype {
        ethernet::IPV4 => walk.ipv4(l3, rest),
        ethernet::IPV6 => walk.ipv6(l3, rest),
        ethernet::ARP | ethernet::RARP => walk.arp(rest),
        _ => {}
    }
    walk.finish(key);
    Ok(walk.headers)
}

/// The Ethertype of a frame whose length-or-type field is `field`, and what follows it: an 802.3 frame
/// may carry one in a SNAP header (IEEE 802 §9.4).
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
struct Walk {
    key: Key,
    headers: Headers,
    /// Where the packet ends: first its length, then what the IP header says if that is less.
    end: usize,
}

impl Walk {
    #[inline]
    fn tag(&mut self, tag: Vlan<'_>) {
        let (tci, tpid) = match self.headers.vlans {
            0 => (Key::VLAN_TCI, Key::VLAN_TPID),
            _ => (Key::VLAN2_TCI, Key::VLAN2_TPID),
        };
        self.key.set(tci, tag.tci());
        self.key.set(tpid, tag.tpid());
        self.headers.vlans += 1;
    }

    #[inline]
    fn ipv4(&mut self, l3: usize, bytes: &[u8]) {
        let Ok((ip, _)) = Ipv4::split(bytes) else { return };
        let (header, total) = (ip.header_len(), ip.total_len());
        let sane =
            ip.version() == 4 && (ipv4::LEN..=total).contains(&header) && l3 + total <= self.end;
        if !sane || header > bytes.len() {
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
        self.key.set(Key::NW_SRC, ip.src().to_bits());
        self.key.set(Key::NW_DST, ip.dst().to_bits());
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
            Some((0, _)) => Fragment::First,
            Some(_) => Fragment::Later,
        };
        self.key.set(Key::IPV6_SRC, ip.src().to_bits());
        self.key.set(Key::IPV6_DST, ip.dst().to_bits());
        self.key.set(Key::IPV6_LABEL, ip.flow_label());
        self.network(upper.proto, ip.traffic_class(), ip.hop_limit());
        if self.headers.fragment != Fragment::Later {
            let l4 = l3 + ipv6::LEN + upper.len;
            self.transport(upper.proto, icmp::PROTO_V6, l4, &rest[upper.len..]);
        }
    }

    #[inline]
    fn network(&mut self, proto: u8, tos: u8, ttl: u8) {
        self.key.set(Key::NW_PROTO, proto);
        self.key.set(Key::NW_TOS, tos);
        self.key.set(Key::NW_TTL, ttl);
        self.key.set(Key::NW_FRAG, self.headers.fragment.bits());
        self.key.set(Key::HAS_NETWORK, 1u8);
        self.key.set(Key::TTL_LEFT, u8::from(ttl > 1));
    }

    /// `icmp` is the number ICMP has in this network protocol; the other one's is just some number.
    #[inline]
    fn transport(&mut self, proto: u8, icmp: u8, l4: usize, bytes: &[u8]) {
        // Both bounds count: what is in the window, and where the packet ends.
        let bytes = &bytes[..bytes.len().min(self.end.saturating_sub(l4))];
        let (transport, src, dst) = match proto {
            tcp::PROTO => match Tcp::split(bytes) {
                Ok((tcp, _)) => {
                    self.key.set(Key::TCP_FLAGS, tcp.flags());
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
                    let transport =
                        if icmp == icmp::PROTO { Transport::Icmp } else { Transport::Icmpv6 };
                    (transport, u16::from(message.kind()), u16::from(message.code()))
                }
                Err(_) => return,
            },
            _ => return,
        };
        self.key.set(Key::TP_SRC, src);
        self.key.set(Key::TP_DST, dst);
        self.key.set(Key::HAS_TRANSPORT, 1u8);
        self.headers.transport = transport;
        self.headers.l4 = u16::try_from(l4).unwrap_or(u16::MAX);
    }

    #[inline]
    fn arp(&mut self, bytes: &[u8]) {
        let Ok(Some((arp, _))) = Arp::split(bytes) else { return };
        self.headers.network = Network::Arp;
        self.key.set(Key::HAS_NETWORK, 1u8);
        self.key.set(Key::NW_SRC, arp.spa().to_bits());
        self.key.set(Key::NW_DST, arp.tpa().to_bits());
        // The field has eight bits; what does not fit matches nothing.
        self.key.set(Key::NW_PROTO, u8::try_from(arp.op()).unwrap_or(0));
        self.key.set(Key::ARP_SHA, arp.sha().to_u64());
        self.key.set(Key::ARP_THA, arp.tha().to_u64());
    }

    #[inline]
    fn finish(&self, key: &mut Key) {
        key.words_mut()[1..Key::PACKET_WORDS]
            .copy_from_slice(&self.key.words()[1..Key::PACKET_WORDS]);
    }
}
