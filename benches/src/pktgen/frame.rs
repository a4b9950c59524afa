//! The packets of the generator: Ethernet, IPv4 or IPv6, UDP, and a header of ours behind that.
//!
//! ```text
//! magic(2) stream(2) flow(4) sequence(4) sent(6)      18 bytes, all big-endian
//! ```
//!
//! 18 bytes are what the shortest Ethernet frame has left behind UDP over IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use crate::pktgen::address::Mac;

/// Behind the Ethernet header.
const IP: usize = 14;
const UDP_PROTOCOL: u8 = 17;
/// Nanoseconds are sent modulo this, about 78 hours.
const TIME_MASK: u64 = (1 << 48) - 1;

/// What stands in a packet of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header {
    /// The run of the sender that it belongs to.
    pub stream: u16,
    /// Its flow; [`Header::END`] in a packet that says how many were sent.
    pub flow: u32,
    /// Its number within the stream, modulo 2³²; how many there were if the flow is
    /// [`Header::END`].
    pub sequence: u32,
    /// When it was sent, in nanoseconds on a clock that all of this machine share; 48 bits of it.
    pub sent_ns: u64,
}

impl Header {
    /// Bytes on the wire.
    pub const LEN: usize = 18;
    /// The flow of packets that end a stream.
    pub const END: u32 = u32::MAX;
    const MAGIC: [u8; 2] = *b"Pg";

    fn write(self, to: &mut [u8; Self::LEN]) {
        let [_, _, time @ ..] = self.sent_ns.to_be_bytes();
        let parts: [&[u8]; 5] = [
            &Self::MAGIC,
            &self.stream.to_be_bytes(),
            &self.flow.to_be_bytes(),
            &self.sequence.to_be_bytes(),
            &time,
        ];
        let bytes = parts.into_iter().flatten();
        to.iter_mut().zip(bytes).for_each(|(to, byte)| *to = *byte);
    }

    fn read(from: &[u8; Self::LEN]) -> Option<Self> {
        let [m0, m1, s0, s1, f0, f1, f2, f3, n0, n1, n2, n3, t0, t1, t2, t3, t4, t5] = *from;
        ([m0, m1] == Self::MAGIC).then(|| Self {
            stream: u16::from_be_bytes([s0, s1]),
            flow: u32::from_be_bytes([f0, f1, f2, f3]),
            sequence: u32::from_be_bytes([n0, n1, n2, n3]),
            sent_ns: u64::from_be_bytes([0, 0, t0, t1, t2, t3, t4, t5]),
        })
    }

    /// How long it has been under way at `now_ns`, in nanoseconds; 0 if it seems to come from the
    /// future.
    pub const fn age_ns(self, now_ns: u64) -> u64 {
        let age = now_ns.wrapping_sub(self.sent_ns) & TIME_MASK;
        if age > TIME_MASK / 2 { 0 } else { age }
    }
}

/// The addresses of flow 0, both of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hosts {
    /// The sender of flow 0 and the receiver, by IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// The same by IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

impl Hosts {
    /// Both addresses, if they are of one kind.
    pub fn new(src: IpAddr, dst: IpAddr) -> Result<Self, String> {
        match (src, dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Ok(Self::V4(src, dst)),
            (IpAddr::V6(src), IpAddr::V6(dst)) => Ok(Self::V6(src, dst)),
            _ => Err(format!("{src} and {dst} must both be IPv4 or both IPv6 addresses")),
        }
    }

    const fn layout(self) -> &'static Layout {
        match self {
            Self::V4(..) => &V4,
            Self::V6(..) => &V6,
        }
    }
}

/// Where things stand in a packet.
struct Layout {
    ethertype: [u8; 2],
    /// Both addresses, the source first.
    addresses: Range<usize>,
    /// The UDP header.
    udp: usize,
}

const V4: Layout = Layout { ethertype: [0x08, 0x00], addresses: IP + 12..IP + 20, udp: IP + 20 };
const V6: Layout = Layout { ethertype: [0x86, 0xdd], addresses: IP + 8..IP + 40, udp: IP + 40 };

impl Layout {
    /// That of a received frame; none if it is neither IPv4 nor IPv6, or too short.
    fn of(frame: &[u8]) -> Option<&'static Self> {
        let kind = frame.get(12..14)?;
        let layout = [&V4, &V6].into_iter().find(|layout| layout.ethertype == kind)?;
        (frame.len() >= layout.udp + 8).then_some(layout)
    }

    const fn payload(&self) -> usize {
        self.udp + 8
    }
}

/// From where to where packets go, and how long they are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// The sender's Ethernet address.
    pub src_mac: Mac,
    /// The receiver's, or the gateway's.
    pub dst_mac: Mac,
    /// The sender of flow 0, and the receiver.
    pub hosts: Hosts,
    /// The source port of flow 0.
    pub src_port: u16,
    /// The destination port.
    pub dst_port: u16,
    /// Bytes from the Ethernet header to the end of the payload: [`Route::shortest`] and more.
    pub size: u16,
}

impl Route {
    /// The shortest packet that has room for a [`Header`], and that Ethernet carries unpadded.
    pub const fn shortest(&self) -> u16 {
        match self.hosts {
            Hosts::V4(..) => 60,
            Hosts::V6(..) => 80,
        }
    }

    /// The source of a flow: ports count up first, from [`Route::src_port`] to 65535, then
    /// addresses.
    pub fn source(&self, flow: u32) -> (IpAddr, u16) {
        let ports = 0x1_0000 - u32::from(self.src_port);
        let port = u16::try_from(u32::from(self.src_port) + flow % ports).unwrap_or(u16::MAX);
        let further = flow / ports;
        let address = match self.hosts {
            Hosts::V4(src, _) => Ipv4Addr::from(u32::from(src).wrapping_add(further)).into(),
            Hosts::V6(src, _) => {
                Ipv6Addr::from(u128::from(src).wrapping_add(further.into())).into()
            }
        };
        (address, port)
    }
}

/// Writes packets of one route.
#[derive(Clone, Debug)]
pub struct Template {
    route: Route,
    /// A packet whose source, checksums and header are zero.
    bytes: Vec<u8>,
    /// Sums of what the two checksums cover of it.
    ip_sum: u32,
    udp_sum: u32,
}

impl Template {
    /// Prepares the packets of `route`; shorter ones than [`Route::shortest`] become that.
    pub fn new(route: Route) -> Self {
        let route = Route { size: route.size.max(route.shortest()), ..route };
        let layout = route.hosts.layout();
        let mut bytes = Vec::with_capacity(usize::from(route.size));
        bytes.extend(route.dst_mac.0);
        bytes.extend(route.src_mac.0);
        bytes.extend(layout.ethertype);
        let ip_len = route.size - 14;
        let udp_len = match route.hosts {
            Hosts::V4(_, dst) => {
                // Version 4, five words of header, no special service; not to be fragmented, 64
                // hops.
                bytes.extend([0x45, 0]);
                bytes.extend(ip_len.to_be_bytes());
                bytes.extend([0, 0, 0x40, 0, 64, UDP_PROTOCOL, 0, 0]);
                bytes.extend([0; 4]);
                bytes.extend(dst.octets());
                ip_len - 20
            }
            Hosts::V6(_, dst) => {
                // Version 6, no class, no label; 64 hops.
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend((ip_len - 40).to_be_bytes());
                bytes.extend([UDP_PROTOCOL, 64]);
                bytes.extend([0; 16]);
                bytes.extend(dst.octets());
                ip_len - 40
            }
        };
        bytes.extend([0; 2]);
        bytes.extend(route.dst_port.to_be_bytes());
        bytes.extend(udp_len.to_be_bytes());
        bytes.extend([0; 2]);
        bytes.resize(usize::from(route.size), 0);
        let ip_sum = sum(&bytes[IP..layout.udp]);
        let udp_sum = sum(&bytes[layout.udp..]) + pseudo(&bytes[layout.addresses.clone()], udp_len);
        Self { route, bytes, ip_sum, udp_sum }
    }

    /// The length of each packet.
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Never: packets have headers.
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes the packet of `header` to the front of `to` and answers its length; 0 if there is
    /// too little room.
    pub fn write(&self, header: Header, to: &mut [u8]) -> usize {
        let Some(to) = to.get_mut(..self.bytes.len()) else { return 0 };
        to.copy_from_slice(&self.bytes);
        // Packets that end a stream go the way of its first flow.
        let flow = if header.flow == Header::END { 0 } else { header.flow };
        let (src, port) = self.route.source(flow);
        let layout = self.route.hosts.layout();
        let Layout { udp, addresses, .. } = layout;
        let src_sum = match src {
            IpAddr::V4(src) => {
                to[addresses.start..][..4].copy_from_slice(&src.octets());
                let src_sum = sum(&src.octets());
                to[IP + 10..IP + 12].copy_from_slice(&(!fold(self.ip_sum + src_sum)).to_be_bytes());
                src_sum
            }
            IpAddr::V6(src) => {
                to[addresses.start..][..16].copy_from_slice(&src.octets());
                sum(&src.octets())
            }
        };
        let mut part = [0; Header::LEN];
        header.write(&mut part);
        let checksum = match !fold(self.udp_sum + src_sum + u32::from(port) + sum(&part)) {
            // Zero would say that there is no checksum (RFC 768).
            0 => u16::MAX,
            checksum => checksum,
        };
        to[*udp..udp + 2].copy_from_slice(&port.to_be_bytes());
        to[udp + 6..udp + 8].copy_from_slice(&checksum.to_be_bytes());
        to[layout.payload()..][..Header::LEN].copy_from_slice(&part);
        self.bytes.len()
    }
}

/// What a received frame is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Seen {
    /// One of ours.
    Ours(Header),
    /// One of ours whose checksums, or whose lengths, are wrong.
    Damaged,
    /// Somebody else's.
    Foreign,
}

/// Looks at a received frame. Lengths and checksums are compared if `verify`.
pub fn inspect(frame: &[u8], verify: bool) -> Seen {
    match Layout::of(frame).and_then(|layout| Some((layout, ours(frame, layout)?))) {
        Some((layout, _)) if verify && !is_whole(frame, layout) => Seen::Damaged,
        Some((_, header)) => Seen::Ours(header),
        None => Seen::Foreign,
    }
}

/// Our header, in an untagged UDP packet without IP options.
fn ours(frame: &[u8], layout: &Layout) -> Option<Header> {
    let (first, protocol) = match layout.ethertype {
        [0x08, 0x00] => (0x45, frame[IP + 9]),
        _ => (0x60, frame[IP + 6]),
    };
    let is_udp = frame[IP] == first && protocol == UDP_PROTOCOL;
    let payload = frame.get(layout.payload()..)?.first_chunk()?;
    if is_udp { Header::read(payload) } else { None }
}

/// Whether lengths and checksums agree with the bytes.
fn is_whole(frame: &[u8], layout: &Layout) -> bool {
    let word = |at: usize| u16::from_be_bytes([frame[at], frame[at + 1]]);
    let udp_len = word(layout.udp + 4);
    let is_v4 = layout.ethertype == V4.ethertype;
    let ip_len = if is_v4 { word(IP + 2).wrapping_sub(20) } else { word(IP + 4) };
    let Some(udp) = frame.get(layout.udp..layout.udp + usize::from(udp_len)) else { return false };
    let ip_is_right = !is_v4 || fold(sum(&frame[IP..layout.udp])) == u16::MAX;
    // A checksum of zero is none, which IPv6 does not allow (RFC 8200 §8.1).
    let unsummed = is_v4 && word(layout.udp + 6) == 0;
    let pseudo = pseudo(&frame[layout.addresses.clone()], udp_len);
    let udp_is_right = unsummed || fold(pseudo + sum(udp)) == u16::MAX;
    ip_len == udp_len && usize::from(udp_len) >= 8 + Header::LEN && ip_is_right && udp_is_right
}

/// The sum of the pseudo header: addresses, protocol, length (RFC 768, RFC 8200 §8.1).
fn pseudo(addresses: &[u8], udp_len: u16) -> u32 {
    sum(addresses) + u32::from(UDP_PROTOCOL) + u32::from(udp_len)
}

/// Turns a packet round in place: its receiver becomes its sender. The checksums stay right, since
/// sums know no order. Answers whether it is one that has a sender.
pub fn turn_round(frame: &mut [u8]) -> bool {
    let Some(layout) = Layout::of(frame) else { return false };
    let mut swap = |first: usize, len: usize| {
        (first..first + len).for_each(|at| frame.swap(at, at + len));
    };
    swap(0, 6);
    swap(layout.addresses.start, layout.addresses.len() / 2);
    swap(layout.udp, 2);
    true
}

/// The sum of 16-bit words, the last one filled up with zero. Packets are far too short for it to
/// overflow.
fn sum(bytes: &[u8]) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let words: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    words + rest.first().map_or(0, |byte| u32::from(*byte) << 8)
}

/// A sum in ones' complement (RFC 1071).
fn fold(sum: u32) -> u16 {
    let once = (sum & 0xffff) + (sum >> 16);
    u16::try_from((once & 0xffff) + (once >> 16)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use proptest::prelude::*;

    fn any_header() -> impl Strategy<Value = Header> {
        (any::<u16>(), any::<u32>(), any::<u32>(), 0..=TIME_MASK).prop_map(
            |(stream, flow, sequence, sent_ns)| Header { stream, flow, sequence, sent_ns },
        )
    }

    fn any_route() -> impl Strategy<Value = Route> {
        let hosts = prop_oneof![
            any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| Hosts::V4(a.into(), b.into())),
            any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| Hosts::V6(a.into(), b.into())),
        ];
        let macs = any::<([u8; 6], [u8; 6])>().prop_map(|(a, b)| (Mac(a), Mac(b)));
        (macs, hosts, any::<u16>(), any::<u16>(), 80..1515u16).prop_map(
            |((src_mac, dst_mac), hosts, src_port, dst_port, size)| Route {
                src_mac,
                dst_mac,
                hosts,
                src_port,
                dst_port,
                size,
            },
        )
    }

    proptest! {
        /// What is written is read back, and another library finds the packet right.
        #[test]
        fn a_packet_survives_the_wire(route in any_route(), header in any_header()) {
            let mut frame = vec![0xee; 2048];
            let len = Template::new(route).write(header, &mut frame);
            frame.truncate(len);
            prop_assert_eq!(len, usize::from(route.size));
            prop_assert_eq!(inspect(&frame, true), Seen::Ours(header));
            let sliced = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Udp(udp)) = &sliced.transport else { panic!("no UDP") };
            let (source, right) = match sliced.net.as_ref().unwrap() {
                NetSlice::Ipv4(ip) => {
                    let ip = ip.header().to_header();
                    prop_assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
                    let right = udp.to_header().calc_checksum_ipv4(&ip, udp.payload());
                    (IpAddr::from(ip.source), right)
                }
                NetSlice::Ipv6(ip) => {
                    let ip = ip.header().to_header();
                    let right = udp.to_header().calc_checksum_ipv6(&ip, udp.payload());
                    (IpAddr::from(ip.source), right)
                }
                NetSlice::Arp(_) => panic!("no IP"),
            };
            prop_assert_eq!(right.unwrap(), udp.checksum());
            let flow = if header.flow == Header::END { 0 } else { header.flow };
            prop_assert_eq!((source, udp.source_port()), route.source(flow));
        }

        /// A packet that comes back says the same, and is as right as before.
        #[test]
        fn turning_round_keeps_it_right(route in any_route(), header in any_header()) {
            let mut frame = vec![0; 2048];
            let len = Template::new(route).write(header, &mut frame);
            let before = frame[..len].to_vec();
            prop_assert!(turn_round(&mut frame[..len]));
            prop_assert_eq!(inspect(&frame[..len], true), Seen::Ours(header));
            prop_assert_eq!(&frame[..6], &route.src_mac.0);
            prop_assert!(turn_round(&mut frame[..len]));
            prop_assert_eq!(&frame[..len], &*before);
        }

        /// One wrong byte behind the Ethernet header does not pass for a packet of ours.
        #[test]
        fn damage_is_found(
            route in any_route(), header in any_header(),
            at in any::<prop::sample::Index>(), flip in 1u8..,
        ) {
            let mut frame = vec![0; 2048];
            let len = Template::new(route).write(header, &mut frame);
            let udp = route.hosts.layout().udp;
            let at = IP + at.index(len - IP);
            // Class, label and hops of IPv6 are in no checksum.
            prop_assume!(matches!(route.hosts, Hosts::V4(..)) || !matches!(at - IP, 0..4 | 7));
            frame[at] ^= flip;
            // Two bytes of zero mean that there is no checksum.
            prop_assume!(frame[udp + 6..udp + 8] != [0, 0]);
            prop_assert!(!matches!(inspect(&frame[..len], true), Seen::Ours(_)));
        }

        /// Whatever comes in, nothing panics.
        #[test]
        fn noise_is_foreign(noise in prop::collection::vec(any::<u8>(), 0..120)) {
            prop_assert!(!matches!(inspect(&noise, true), Seen::Ours(_)));
        }
    }

    #[test]
    fn flows_have_sources_of_their_own() {
        let route = Route {
            src_mac: Mac([2; 6]),
            dst_mac: Mac([4; 6]),
            hosts: Hosts::V4(Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2)),
            src_port: 1024,
            dst_port: 9,
            size: 60,
        };
        let sources: std::collections::HashSet<_> = (0..200_000).map(|n| route.source(n)).collect();
        assert_eq!(sources.len(), 200_000);
        assert_eq!(route.source(64_512), (IpAddr::from([10, 0, 0, 2]), 1024));
    }

    #[test]
    fn ages_go_through_zero() {
        let header = Header { stream: 0, flow: 0, sequence: 0, sent_ns: TIME_MASK - 4 };
        assert_eq!(header.age_ns((1 << 48) + 5), 10);
        assert_eq!(header.age_ns(TIME_MASK - 9), 0, "from the future");
    }
}
