//! The connections that are tracked in measurements, and the flows that do it: the same for both sides.

use std::net::{IpAddr, Ipv4Addr};

use packet::{Key, compose, ethernet, parse, tcp, udp};

use crate::pktgen::order::Random;

/// What flows do with connections.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pipeline {
    /// What is established passes.
    Permit,
    /// The same, behind another address.
    Hide,
    /// As a node of Kubernetes does it: nobody lies about his address, who asks for a service is led
    /// to what is behind it, a policy says who may, and what is established is routed. Three passes.
    Service,
}

/// Who asks, whom they ask for, and whom they get.
const CLIENTS: u32 = 0x0a00_0001;
const SERVERS: u32 = 0x0a01_0001;
const SERVICE: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
const BACKEND: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 1);
const HIDDEN: Ipv4Addr = Ipv4Addr::new(100, 64, 0, 1);

impl Pipeline {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Permit => "established",
            Self::Hide => "established with SNAT",
            Self::Service => "three passes of Kubernetes",
        }
    }

    /// The flows that do it, in zones of their own.
    pub fn flows(self, zone: u16) -> Vec<String> {
        let (zone, other) = (zone, zone + 1000);
        let nat = if self == Self::Hide { ",nat" } else { "" };
        let hide = if self == Self::Hide { format!(",nat(src={HIDDEN})") } else { String::new() };
        match self {
            Self::Permit | Self::Hide => vec![
                format!("table=0,priority=1,ip,actions=ct(table=1,zone={zone}{nat})"),
                // Whoever answers begins nothing, even if the question was lost while a port was opened.
                format!(
                    "table=1,priority=1,ip,dl_src=02:00:00:00:00:01,ct_state=+new+trk,\
                     actions=ct(commit,zone={zone}{hide}),output:2"
                ),
                "table=1,priority=1,ip,ct_state=+est+trk,actions=output:2".to_owned(),
            ],
            Self::Service => vec![
                format!(
                    "table=0,priority=2,ip,dl_src=02:00:00:00:00:01,nw_src=10.0.0.0/16,\
                     actions=ct(table=1,zone={zone},nat)"
                ),
                format!(
                    "table=1,priority=2,ip,ct_state=+new+trk,nw_dst={SERVICE},\
                     actions=ct(commit,table=2,zone={zone},nat(dst={BACKEND}))"
                ),
                "table=1,priority=1,ip,ct_state=+est+trk,actions=resubmit(,2)".to_owned(),
                format!("table=2,priority=1,ip,actions=ct(table=3,zone={other})"),
                format!(
                    "table=3,priority=2,ip,ct_state=+new+trk,nw_dst={BACKEND},\
                     actions=ct(commit,table=4,zone={other})"
                ),
                "table=3,priority=1,ip,ct_state=+est+trk,actions=resubmit(,4)".to_owned(),
                format!("table=0,priority=1,ip,nw_src={BACKEND},actions=ct(table=5,zone={other})"),
                format!(
                    "table=5,priority=1,ip,ct_state=+est+trk,actions=ct(table=4,zone={zone},nat)"
                ),
                "table=4,priority=1,ip,actions=set_field:02:00:00:00:00:aa->eth_src,\
                 set_field:02:00:00:00:00:bb->eth_dst,dec_ttl,output:2"
                    .to_owned(),
            ],
        }
    }
}

/// A connection between two ends, seen from where its packets come in.
struct Ends {
    proto: u8,
    /// Address and port of who asks, whom he asks for, and who answers whom.
    client: (Ipv4Addr, u16),
    asked: (Ipv4Addr, u16),
    answers: (Ipv4Addr, u16),
    answered: (Ipv4Addr, u16),
}

impl Ends {
    fn of(pipeline: Pipeline, number: u32) -> Self {
        let proto = if number.is_multiple_of(2) { tcp::PROTO } else { udp::PROTO };
        let address = |first: u32, n: u32| Ipv4Addr::from(first + n);
        // Ports alone tell them apart, as long as they are enough.
        let (port, round) = (1024 + u16::try_from(number % 50_000).unwrap_or(0), number / 50_000);
        let client = (address(CLIENTS, number % 5000), port);
        let server = (address(SERVERS, round), 80);
        match pipeline {
            Pipeline::Permit => {
                Self { proto, client, asked: server, answers: server, answered: client }
            }
            Pipeline::Hide => {
                let answered = (HIDDEN, port);
                Self { proto, client, asked: server, answers: server, answered }
            }
            Pipeline::Service => {
                let [asked, answers] = [(SERVICE, 80), (BACKEND, 80)];
                Self { proto, client, asked, answers, answered: client }
            }
        }
    }

    /// A packet of 64 bytes on the wire, one way or the other.
    fn packet(&self, back: bool) -> Vec<u8> {
        let (src, dst) =
            if back { (self.answers, self.answered) } else { (self.client, self.asked) };
        let stations = if back { [2, 1] } else { [1, 2] };
        let flags = if self.proto == tcp::PROTO { tcp::ACK } else { 0 };
        let ends = [src, dst].map(|(address, port)| (address.into(), port));
        let mut frame = frame(stations, self.proto, ends, flags);
        if self.proto == tcp::PROTO {
            number(&mut frame, if back { [2000, 1006] } else { [1000, 2006] });
        }
        frame
    }
}

/// The shortest packet between two such stations (02:00:00:00:00:xx) and two such ends.
pub fn frame(
    [eth_src, eth_dst]: [u8; 2],
    proto: u8,
    [src, dst]: [(IpAddr, u16); 2],
    flags: u16,
) -> Vec<u8> {
    let key = Key::ZERO
        .with(Key::ETH_SRC, 0x0200_0000_0000_u64 | u64::from(eth_src))
        .with(Key::ETH_DST, 0x0200_0000_0000_u64 | u64::from(eth_dst))
        .with(Key::HAS_NETWORK, 1u8)
        .with(Key::HAS_TRANSPORT, 1u8)
        .with(Key::TTL_LEFT, 1u8)
        .with(Key::NW_TTL, 64u8)
        .with(Key::NW_PROTO, proto)
        .with(Key::TP_SRC, src.1)
        .with(Key::TP_DST, dst.1)
        .with(Key::TCP_FLAGS, flags);
    let key = match (src.0, dst.0) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => key
            .with(Key::ETH_TYPE, ethernet::IPV4)
            .with(Key::NW_SRC, src.to_bits())
            .with(Key::NW_DST, dst.to_bits()),
        (src, dst) => {
            let bits = |address: IpAddr| match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
                IpAddr::V6(address) => address.to_bits(),
            };
            key.with(Key::ETH_TYPE, ethernet::IPV6)
                .with(Key::IPV6_SRC, bits(src))
                .with(Key::IPV6_DST, bits(dst))
        }
    };
    compose(&key, 60)
}

/// Numbers the data of a segment and what it acknowledges, with a window that has room for both.
fn number(frame: &mut [u8], numbers: [u32; 2]) {
    const WINDOW: u16 = 1000;
    const SUM: usize = tcp::CHECKSUM;
    let mut key = Key::ZERO;
    let Ok(headers) = parse(frame, frame.len(), &mut key) else { return };
    let segment = &mut frame[usize::from(headers.l4)..];
    let mut sum = u16::from_be_bytes([segment[SUM], segment[SUM + 1]]);
    let [[a, b], [c, d]] = numbers.map(|number| [number >> 16, number & 0xffff]);
    let words = [a, b, c, d].map(|word| u16::try_from(word).unwrap_or(0));
    let places = [tcp::SEQ, tcp::SEQ + 2, tcp::SEQ + 4, tcp::SEQ + 6, tcp::FLAGS + 2];
    for (at, new) in places.into_iter().zip(words.into_iter().chain([WINDOW])) {
        let old = u16::from_be_bytes([segment[at], segment[at + 1]]);
        sum = packet::checksum::update(sum, old, new);
        segment[at..at + 2].copy_from_slice(&new.to_be_bytes());
    }
    segment[SUM..SUM + 2].copy_from_slice(&sum.to_be_bytes());
}

/// Packets of so many connections, of each as many as of the others, by turns one way and the other, in
/// an order that only looks random, at least 4096 in all.
pub fn packets(pipeline: Pipeline, connections: u32) -> Vec<Vec<u8>> {
    const LEAST: u32 = 4096;
    let mut random = Random::new(u64::from(connections));
    let mut frames = Vec::new();
    let rounds = LEAST.div_ceil(connections).next_multiple_of(2);
    for round in 0..rounds {
        let mut order: Vec<_> = (0..connections).collect();
        random.shuffle(&mut order);
        let is_back = round % 2 == 1;
        frames.extend(order.into_iter().map(|n| Ends::of(pipeline, n).packet(is_back)));
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn every_connection_has_packets_both_ways() {
        for (connections, expected) in [(1, 4096), (100, 4200), (10_000, 20_000)] {
            let frames = packets(Pipeline::Permit, connections);
            assert_eq!(frames.len(), expected);
            let mut tuples: HashMap<_, u32> = HashMap::new();
            for frame in &frames {
                assert_eq!(frame.len(), 60);
                assert_eq!(etherparse::SlicedPacket::from_ethernet(frame).err(), None);
                *tuples.entry((&frame[23], &frame[26..34], &frame[34..38])).or_default() += 1;
            }
            assert_eq!(tuples.len(), 2 * usize::try_from(connections).unwrap());
            let mut counts = tuples.into_values();
            let first = counts.next();
            assert!(counts.all(|count| Some(count) == first));
        }
    }

    #[test]
    fn flows_can_be_read() {
        for pipeline in [Pipeline::Permit, Pipeline::Hide, Pipeline::Service] {
            for flow in pipeline.flows(7) {
                assert!(flow.parse::<api::FlowMod>().is_ok(), "{flow}");
            }
        }
    }
}
