//! The packets and flows of the measurements in memory, the same for both sides.

use std::net::Ipv4Addr;

use crate::pktgen::address::Mac;
use crate::pktgen::frame::{Header, Hosts, Route, Template};
use crate::pktgen::order::Random;

/// What the switch does with packets.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Work {
    /// From one port to the other.
    Across,
    /// By the destination's prefix, as a router: other Ethernet addresses, one hop less.
    Route,
    /// By the destination's prefix, as it is: one rule that looks at more than the port.
    Prefix,
    /// By addresses and ports, a rule for each flow; what fits none is dropped.
    Rules,
}

impl Work {
    /// What is measured with few flows.
    pub const ALL: [Self; 3] = [Self::Across, Self::Route, Self::Rules];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Across => "port to port",
            Self::Route => "L3: two MACs, dec_ttl",
            Self::Prefix => "one prefix",
            Self::Rules => "5-tuple rules",
        }
    }

    /// The flows of the switch that do it for so many flows of packets.
    pub fn flows(self, count: u32) -> Vec<String> {
        let only = |text: &str| vec![text.to_owned()];
        match self {
            Self::Across => only("in_port=1,actions=output:2"),
            Self::Route => only(
                "in_port=1,ip,nw_dst=10.1.0.0/16,actions=set_field:02:00:00:00:00:aa->eth_src,\
                 set_field:02:00:00:00:00:bb->eth_dst,dec_ttl,output:2",
            ),
            Self::Prefix => only("ip,nw_dst=10.1.0.0/16,actions=output:2"),
            Self::Rules => {
                let rule = |flow| rule(flow, "output:2");
                let last = "priority=0,actions=drop".to_owned();
                let mut rules: Vec<_> = (0..count).map(rule).chain([last]).collect();
                shuffle(&mut rules, u64::from(count));
                rules
            }
        }
    }

    /// How many ticks of the processor's clock a packet is to take at most with few flows: what VPP
    /// takes on an idle machine.
    pub const fn ticks(self) -> Option<f64> {
        match self {
            Self::Across => Some(50.0),
            Self::Route => Some(77.0),
            Self::Prefix | Self::Rules => None,
        }
    }

    /// How many entries a cache of wildcards has for so many flows: one, or, where rules look at
    /// everything, one for each.
    pub const fn megaflows(self, count: u32) -> u32 {
        match self {
            Self::Across | Self::Route | Self::Prefix => 1,
            Self::Rules => count,
        }
    }
}

/// The rule about one flow of packets.
pub fn rule(flow: u32, actions: &str) -> String {
    let Tuple { src, dst, src_port, dst_port } = Tuple::of(flow);
    format!(
        "priority=100,udp,nw_src={src},nw_dst={dst},tp_src={src_port},tp_dst={dst_port},\
         actions={actions}"
    )
}

/// Flows in an order as good as any other: no switch is to gain from one.
pub fn shuffle(flows: &mut [String], seed: u64) {
    Random::new(seed).shuffle(flows);
}

/// What tells flows of packets apart.
struct Tuple {
    src: Ipv4Addr,
    dst: Ipv4Addr,
    src_port: u16,
    dst_port: u16,
}

impl Tuple {
    fn of(flow: u32) -> Self {
        Self {
            src: Ipv4Addr::from(0x0a00_0001 + flow),
            dst: Ipv4Addr::from(0x0a01_0001 + flow % 100),
            src_port: 1024 + u16::try_from(flow % 50_000).unwrap_or_default(),
            dst_port: 80,
        }
    }
}

/// Packets of 64 bytes on the wire, of so many flows: each flow as often as the others, in an order
/// that only looks random, at least 4096 in all.
pub fn packets(flows: u32) -> Vec<Vec<u8>> {
    const LEAST: u32 = 4096;
    let mut random = Random::new(u64::from(flows));
    let mut frames = Vec::new();
    for round in 0..LEAST.div_ceil(flows) {
        let mut order: Vec<_> = (0..flows).collect();
        random.shuffle(&mut order);
        frames.extend(order.into_iter().map(|flow| packet(flow, round)));
    }
    frames
}

fn packet(flow: u32, sequence: u32) -> Vec<u8> {
    let Tuple { src, dst, src_port, dst_port } = Tuple::of(flow);
    let (src_mac, dst_mac) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
    let hosts = Hosts::V4(src, dst);
    let template = Template::new(Route { src_mac, dst_mac, hosts, src_port, dst_port, size: 60 });
    let mut frame = vec![0; template.len()];
    template.write(Header { stream: 0, flow: 0, sequence, sent_ns: 0 }, &mut frame);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn every_flow_has_its_packets() {
        for (flows, expected) in [(1, 4096), (100, 4100), (10_000, 10_000)] {
            let packets = packets(flows);
            assert_eq!(packets.len(), expected);
            let mut tuples: BTreeMap<_, u32> = BTreeMap::new();
            for packet in &packets {
                *tuples.entry((&packet[26..34], &packet[34..38])).or_default() += 1;
            }
            assert_eq!(tuples.len(), usize::try_from(flows).unwrap());
            let counts: Vec<_> = tuples.into_values().collect();
            assert!(counts.iter().all(|count| *count == counts[0]));
        }
    }
}
