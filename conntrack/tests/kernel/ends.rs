//! Who talks to whom: hosts on two sides, with addresses that no other case has had.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

/// Which IP.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Family {
    V4,
    V6,
}

/// The side that sends a packet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Sender {
    A,
    B,
}

/// Both ends of what is said, A's first: few, so that much of what is said is of one connection, or
/// nearly.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct Ends {
    pub(crate) family: Family,
    /// Which host of each side.
    pub(crate) hosts: [u8; 2],
    /// Which port of each host; the first is also the identifier of a query.
    pub(crate) ports: [u16; 2],
}

/// The network of each side.
pub(crate) const NETWORKS: [[&str; 2]; 2] =
    [["10.64.0.0/10", "fd00:a::/32"], ["10.128.0.0/10", "fd00:b::/32"]];

impl fmt::Debug for Ends {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { family, hosts: [a, b], ports: [a_port, b_port] } = self;
        write!(f, "{family:?} a{a} {a_port} - b{b} {b_port}")
    }
}

impl Sender {
    /// The other one.
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl Ends {
    /// The first ones.
    pub(crate) const fn first(family: Family) -> Self {
        Self { family, hosts: [0; 2], ports: [7; 2] }
    }

    /// The address of one end.
    pub(crate) fn address(&self, side: Sender, case: u32) -> IpAddr {
        let host = self.hosts[side as usize];
        match self.family {
            Family::V4 => {
                let network = [0x0a40_0000, 0x0a80_0000][side as usize];
                Ipv4Addr::from_bits(network | (case << 2 & 0x003f_ffff) | u32::from(host)).into()
            }
            Family::V6 => {
                let [_, high, middle, low] = case.to_be_bytes();
                let case = [u16::from(high), u16::from_be_bytes([middle, low])];
                let network = [0xa, 0xb][side as usize];
                Ipv6Addr::new(0xfd00, network, case[0], case[1], 0, 0, 0, host.into()).into()
            }
        }
    }

    /// The port of one end.
    pub(crate) const fn port(&self, side: Sender) -> u16 {
        self.ports[side as usize]
    }
}

pub(crate) fn family() -> impl Strategy<Value = Family> {
    prop_oneof![Just(Family::V4), Just(Family::V6)]
}

pub(crate) fn sender() -> impl Strategy<Value = Sender> {
    prop_oneof![Just(Sender::A), Just(Sender::B)]
}

/// Of two hosts on each side, and two ports on each host.
pub(crate) fn ends(family: Family) -> impl Strategy<Value = Ends> {
    let host = || prop_oneof![8 => Just(0), 1 => Just(1)];
    let port = || prop_oneof![7 => Just(7), 1 => Just(8)];
    ([host(), host()], [port(), port()]).prop_map(move |(hosts, ports)| Ends {
        family,
        hosts,
        ports,
    })
}
