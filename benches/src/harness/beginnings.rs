//! First packets of connections that nobody has seen yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use packet::{tcp, udp};

use crate::harness::connections::frame;
use crate::pktgen::order::Random;

/// Who begins: hosts of 10.0.0.0/16, or of fd00::/112.
const CLIENTS: u32 = 0x0a00_0001;
const CLIENTS_V6: u128 = 0xfd00 << 112 | 1;
/// Their number.
const HOSTS: u32 = 256;
/// The ports that Linux gives to those who ask for none (`ip_local_port_range`).
const FIRST_PORT: u32 = 32_768;
const PORTS: u32 = 28_232;

/// The port of a host's `nth` connection: each host begins elsewhere, and none has a port twice.
fn port(host: u32, nth: u32) -> u16 {
    // Coprime to the number of ports, so that all are met.
    const STEP: u32 = 10_007;
    let place = (host * 7919 % PORTS + nth % PORTS * STEP) % PORTS;
    u16::try_from(FIRST_PORT + place).unwrap_or(u16::MAX)
}

/// Host, port, and which server: each server has as many connections as all hosts have ports.
fn ends(number: u32) -> (u32, u16, u32) {
    let (host, nth) = (number % HOSTS, number / HOSTS);
    (host, port(host, nth), nth / PORTS)
}

/// SYNs of so many connections to `server`, in an order that only looks random, as sent by the station
/// 02:00:00:00:00:xx.
pub fn syns(count: u32, server: Ipv4Addr, station: u8) -> Vec<Vec<u8>> {
    let syn = |number: u32| {
        let (host, port, further) = ends(number);
        let client = Ipv4Addr::from_bits(CLIENTS + host);
        let server = Ipv4Addr::from_bits(server.to_bits() + further);
        frame([station, 2], tcp::PROTO, [(client.into(), port), (server.into(), 80)], tcp::SYN)
    };
    let mut frames: Vec<_> = (0..count).map(syn).collect();
    Random::new(u64::from(count)).shuffle(&mut frames);
    frames
}

/// Datagrams of as many connections, by IPv4 or by IPv6.
pub fn datagrams(numbers: std::ops::Range<u32>, is_ipv4: bool) -> Vec<Vec<u8>> {
    let datagram = |number: u32| {
        let (host, port, further) = ends(number);
        let [client, server]: [IpAddr; 2] = if is_ipv4 {
            [CLIENTS + host, 0x0a01_0001 + further].map(|bits| Ipv4Addr::from_bits(bits).into())
        } else {
            let server = CLIENTS_V6 | 1 << 64 | u128::from(further) << 16;
            let client = CLIENTS_V6 + u128::from(host);
            [client, server].map(|bits| Ipv6Addr::from_bits(bits).into())
        };
        frame([1, 2], udp::PROTO, [(client, port), (server, 53)], 0)
    };
    let first = numbers.start;
    let mut frames: Vec<_> = numbers.map(datagram).collect();
    Random::new(u64::from(first)).shuffle(&mut frames);
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_begins_a_connection_of_its_own() {
        let numbers = [0..300_000, 7_000_000..7_300_000];
        for numbers in numbers {
            let tuples: HashSet<_> = numbers.map(ends).collect();
            assert_eq!(tuples.len(), 300_000);
        }
        let server = Ipv4Addr::new(10, 2, 0, 1);
        let frames = [syns(5000, server, 1), datagrams(0..5000, true), datagrams(0..5000, false)];
        for frames in frames {
            assert_eq!(frames.iter().collect::<HashSet<_>>().len(), 5000);
            for frame in frames {
                assert_eq!(etherparse::SlicedPacket::from_ethernet(&frame).err(), None);
            }
        }
    }

    #[test]
    fn a_syn_is_nothing_else() {
        let frame = &syns(1, Ipv4Addr::new(10, 2, 0, 1), 3)[0];
        assert_eq!((frame.len(), frame[11], frame[47]), (60, 3, 0x02));
    }
}
