//! Packets that meet certain rules, and packets that meet none.

use crate::harness::rules::index::Index;
use crate::harness::rules::profile::{ICMP, TCP, UDP};
use crate::harness::rules::rule::Rule;
use crate::pktgen::order::Random;

/// What rules can tell packets apart by.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Header {
    /// From where.
    pub src: u32,
    /// To where.
    pub dst: u32,
    /// TCP, UDP or ICMP.
    pub protocol: u8,
    /// From which port; 0 without ports.
    pub src_port: u16,
    /// To which port; 0 without ports.
    pub dst_port: u16,
}

/// How often rules are met.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Skew {
    /// Each as often as the others.
    Uniform,
    /// By Zipf's law with exponent 1: the second half as often as the first, the third a third as
    /// often. Which is the first is drawn.
    Zipf,
}

impl Skew {
    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "Zipf 1.0",
        }
    }
}

/// One packet for each rule that can be met, and some that meet none.
#[derive(Clone, Debug)]
pub struct Headers {
    /// Those that meet a rule, each with its rule's number.
    pub hits: Vec<(Header, usize)>,
    /// Those that meet none.
    pub misses: Vec<Header>,
}

/// Of so many packets one meets no rule.
const MISS: usize = 20;
/// How often a rule, or a miss, is tried.
const TRIES: usize = 16;

impl Headers {
    /// Packets for rules in order. The same seed gives the same ones.
    pub fn new(rules: &[Rule], seed: u64) -> Self {
        let index = Index::new(rules);
        let mut random = Random::new(seed);
        let mut hits = Vec::with_capacity(rules.len());
        for (number, rule) in rules.iter().enumerate() {
            // What lies under earlier rules is not met by this one.
            let mut tries = (0..TRIES).map(|_| rule.draw(&mut random));
            let header = tries.find(|header| index.first(header) == Some(number));
            hits.extend(header.map(|header| (header, number)));
        }
        let mut misses = Vec::new();
        for _ in 0..TRIES * hits.len().div_ceil(MISS) {
            if misses.len() >= hits.len().div_ceil(MISS) {
                break;
            }
            let header = anything(rules, &mut random);
            misses.extend(Some(header).filter(|header| index.first(header).is_none()));
        }
        Self { hits, misses }
    }

    /// `count` packets, one of twenty a miss if there are misses, each with the rule that it meets.
    pub fn draw(&self, skew: Skew, count: usize, seed: u64) -> Vec<(Header, Option<usize>)> {
        let mut random = Random::new(seed);
        let missing = if self.misses.is_empty() { 0 } else { count / MISS };
        let misses = self.misses.iter().cycle().take(missing).map(|header| (*header, None));
        let mut drawn: Vec<_> = misses.collect();
        let hitting = count - missing;
        let mut order: Vec<_> = self.hits.iter().collect();
        random.shuffle(&mut order);
        match skew {
            Skew::Uniform => drawn.extend(
                order.iter().cycle().take(hitting).map(|(header, rule)| (*header, Some(*rule))),
            ),
            Skew::Zipf => {
                let zipf = Zipf::new(order.len());
                let ranks = (0..hitting).filter_map(|_| order.get(zipf.rank(&mut random)));
                drawn.extend(ranks.map(|(header, rule)| (*header, Some(*rule))));
            }
        }
        random.shuffle(&mut drawn);
        drawn
    }
}

/// A packet to anywhere, by addresses of the rules' own neighbourhood half of the time.
fn anything(rules: &[Rule], random: &mut Random) -> Header {
    let [a, b] = [random.number(), random.number()].map(u64::to_le_bytes);
    let near = (random.below(2) == 0).then(|| random.below(rules.len().max(1)));
    let near = near.and_then(|number| rules.get(number)).map(|rule| rule.draw(random));
    let protocol = [TCP, UDP, ICMP][random.below(3)];
    let has_ports = protocol != ICMP;
    let port = |bytes: [u8; 2]| if has_ports { u16::from_le_bytes(bytes) } else { 0 };
    Header {
        src: near.map_or(u32::from_le_bytes([a[0], a[1], a[2], a[3]]), |near| near.src),
        dst: u32::from_le_bytes([a[4], a[5], a[6], a[7]]),
        protocol,
        src_port: port([b[0], b[1]]),
        dst_port: port([b[2], b[3]]),
    }
}

/// Ranks by Zipf's law with exponent 1.
struct Zipf {
    /// How much weight the ranks up to each have.
    sums: Vec<f64>,
}

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "there are few ranks")]
    fn new(ranks: usize) -> Self {
        let mut sum = 0.0;
        let sums = (1..=ranks).map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        });
        Self { sums: sums.collect() }
    }

    /// A rank, the first one being 0.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are enough to choose by")]
    fn rank(&self, random: &mut Random) -> usize {
        let share = (random.number() >> 11) as f64 / (1_u64 << 53) as f64;
        let at = share * self.sums.last().copied().unwrap_or(0.0);
        self.sums.partition_point(|sum| *sum <= at)
    }
}

impl Header {
    /// A frame of 64 bytes on the wire, its checksums right.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = Vec::with_capacity(60);
        frame.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x08, 0]);
        // Version 4, five words; 46 bytes; not to be fragmented; 64 hops.
        frame.extend([0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, self.protocol, 0, 0]);
        frame.extend(self.src.to_be_bytes());
        frame.extend(self.dst.to_be_bytes());
        let ip = checksum(&[&frame[14..34]]);
        frame[24..26].copy_from_slice(&ip.to_be_bytes());
        let ports = [self.src_port.to_be_bytes(), self.dst_port.to_be_bytes()].concat();
        let at = match self.protocol {
            TCP => {
                frame.extend(ports);
                // Numbers; five words, ACK; a window.
                frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0x20, 0, 0, 0, 0, 0]);
                50
            }
            UDP => {
                frame.extend(ports);
                frame.extend([0, 26, 0, 0]);
                40
            }
            _ => {
                // An echo request.
                frame.extend([8, 0, 0, 0, 0, 1, 0, 1]);
                36
            }
        };
        frame.resize(60, 0);
        let pseudo = [&frame[26..34], &[0, self.protocol, 0, 26]].concat();
        let covered = if self.protocol == ICMP { &[][..] } else { &pseudo };
        let sum = checksum(&[covered, &frame[34..]]);
        frame[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        frame
    }
}

/// The checksum of these bytes (RFC 1071), of which there is an even number.
fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.as_chunks::<2>().0);
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    let once = (sum & 0xffff) + (sum >> 16);
    !u16::try_from((once & 0xffff) + (once >> 16)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::harness::rules::list::List;
    use crate::harness::rules::profile::Profile;
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};
    use std::collections::BTreeMap;

    /// Each lies in its rule and in none before it, or in none at all: by asking every rule.
    #[test]
    fn packets_meet_the_rules_they_are_meant_for() {
        for profile in Profile::ALL {
            let rules = List::new(&profile, 2000, 5).rules;
            let headers = Headers::new(&rules, 9);
            for (header, number) in &headers.hits {
                assert!(rules[*number].has(header));
                assert!(!rules[..*number].iter().any(|rule| rule.has(header)));
            }
            for header in &headers.misses {
                assert!(!rules.iter().any(|rule| rule.has(header)), "{header:?}");
            }
            let (hits, misses) = (headers.hits.len(), headers.misses.len());
            assert!(hits > 1600 && misses >= hits / 20, "{}: {hits}, {misses}", profile.name);
        }
    }

    #[test]
    fn a_seed_gives_the_same_packets() {
        let rules = List::new(&Profile::FW1, 1000, 5).rules;
        let drawn = |seed| Headers::new(&rules, seed).draw(Skew::Zipf, 5000, seed);
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    fn counts(drawn: &[(Header, Option<usize>)]) -> Vec<usize> {
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        for rule in drawn.iter().filter_map(|(_, rule)| *rule) {
            *counts.entry(rule).or_default() += 1;
        }
        let mut counts: Vec<_> = counts.into_values().collect();
        counts.sort_unstable_by_key(|count| std::cmp::Reverse(*count));
        counts
    }

    #[test]
    fn rules_are_met_as_often_as_the_law_says() {
        let rules = List::new(&Profile::ACL1, 1000, 5).rules;
        let headers = Headers::new(&rules, 9);
        let uniform = headers.draw(Skew::Uniform, 100_000, 2);
        let misses = uniform.iter().filter(|(_, rule)| rule.is_none()).count();
        assert_eq!(misses, 5000);
        let even = counts(&uniform);
        assert!(even[0] - even[even.len() - 1] <= 1);
        let zipf = counts(&headers.draw(Skew::Zipf, 100_000, 2));
        let (first, second, tenth) = (zipf[0], zipf[1], zipf[9]);
        assert!(first * 10 > second * 18 && first * 10 < second * 22, "{first}, {second}");
        assert!(first > tenth * 8 && first < tenth * 12, "{first}, {tenth}");
    }

    #[test]
    fn frames_say_what_headers_say_and_are_right() {
        for protocol in [TCP, UDP, ICMP] {
            let (src_port, dst_port) = if protocol == ICMP { (0, 0) } else { (1000, 80) };
            let header =
                Header { src: 0x0a00_0001, dst: 0xc0a8_01fe, protocol, src_port, dst_port };
            let frame = header.frame();
            assert_eq!(frame.len(), 60);
            let packet = SlicedPacket::from_ethernet(&frame).unwrap();
            let Some(NetSlice::Ipv4(ip)) = &packet.net else { panic!("no IPv4") };
            let ip = ip.header().to_header();
            assert_eq!((ip.source, ip.destination), ([10, 0, 0, 1], [192, 168, 1, 254]));
            assert_eq!(ip.calc_header_checksum(), ip.header_checksum);
            match packet.transport.unwrap() {
                TransportSlice::Tcp(tcp) => {
                    assert_eq!((tcp.source_port(), tcp.destination_port()), (1000, 80));
                    let sum = tcp.to_header().calc_checksum_ipv4(&ip, tcp.payload());
                    assert_eq!(sum.unwrap(), tcp.checksum());
                }
                TransportSlice::Udp(udp) => {
                    assert_eq!((udp.source_port(), udp.destination_port()), (1000, 80));
                    let sum = udp.to_header().calc_checksum_ipv4(&ip, udp.payload());
                    assert_eq!(sum.unwrap(), udp.checksum());
                }
                TransportSlice::Icmpv4(icmp) => {
                    let right = icmp.header().icmp_type.calc_checksum(icmp.payload());
                    assert_eq!(right, icmp.header().checksum);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}
