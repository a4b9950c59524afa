//! The numbers of a kind of list. They are ours, after what is known of such lists.

use crate::harness::rules::ports::PortClass;
use crate::pktgen::order::Random;

/// Something with its weight among others.
pub type Weighted<T> = (u16, T);

/// What a kind of list is made of.
#[derive(Clone, Copy, Debug)]
pub struct Profile {
    /// What it is called.
    pub name: &'static str,
    /// Lengths of the prefixes of source and destination, in pairs: they depend on each other. A
    /// range stands for all lengths in it alike.
    pub prefixes: &'static [Weighted<[(u8, u8); 2]>],
    /// How the sources branch, and how the destinations do: see [`Tree`].
    ///
    /// [`Tree`]: crate::harness::rules::tree::Tree
    pub branching: [[u16; 4]; 2],
    /// How many of a thousand go the heavier way, at sources and at destinations.
    pub skew: [u16; 2],
    /// Protocols by number; none is any.
    pub protocols: &'static [Weighted<Option<u8>>],
    /// Classes of source port and destination port, in pairs, of rules about TCP and UDP.
    pub ports: &'static [Weighted<[PortClass; 2]>],
}

/// TCP's number.
pub const TCP: u8 = 6;
/// UDP's number.
pub const UDP: u8 = 17;
/// ICMP's number.
pub const ICMP: u8 = 1;

use PortClass::{Exact, High, Low, Range, Wildcard};

impl Profile {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::ACL1, Self::FW1, Self::IPC1];

    /// An access list: destinations are hosts, sources networks or hosts, and the destination's
    /// port is one. Hardly a rule is about any address.
    pub const ACL1: Self = Self {
        name: "acl1",
        prefixes: &[
            (300, [(32, 32), (32, 32)]),
            (220, [(24, 31), (32, 32)]),
            (160, [(16, 23), (32, 32)]),
            (90, [(24, 32), (24, 31)]),
            (90, [(16, 23), (24, 31)]),
            (60, [(8, 15), (24, 32)]),
            (50, [(0, 0), (28, 32)]),
            (30, [(20, 32), (16, 23)]),
        ],
        branching: [[500, 350, 450, 600], [350, 300, 450, 650]],
        skew: [700, 650],
        protocols: &[(830, Some(TCP)), (110, Some(UDP)), (25, Some(ICMP)), (35, None)],
        ports: &[
            (700, [Wildcard, Exact]),
            (150, [Wildcard, Range]),
            (80, [Wildcard, Wildcard]),
            (40, [Wildcard, High]),
            (30, [Exact, Wildcard]),
        ],
    };

    /// A firewall: many rules are about any source or any destination, and they lie over each
    /// other.
    pub const FW1: Self = Self {
        name: "fw1",
        prefixes: &[
            (260, [(0, 0), (32, 32)]),
            (190, [(32, 32), (0, 0)]),
            (110, [(0, 0), (16, 31)]),
            (110, [(16, 31), (0, 0)]),
            (150, [(32, 32), (32, 32)]),
            (80, [(16, 31), (32, 32)]),
            (60, [(32, 32), (16, 31)]),
            (40, [(8, 24), (8, 24)]),
        ],
        branching: [[600, 450, 550, 700], [600, 450, 550, 700]],
        skew: [650, 650],
        protocols: &[(520, Some(TCP)), (310, Some(UDP)), (70, Some(ICMP)), (100, None)],
        ports: &[
            (380, [Wildcard, Exact]),
            (180, [Wildcard, Wildcard]),
            (140, [High, Exact]),
            (110, [Wildcard, Range]),
            (70, [Exact, High]),
            (70, [Exact, Wildcard]),
            (50, [High, Low]),
        ],
    };

    /// Chains of a host's or a router's filter: a mixture of both, with pairs of hosts.
    pub const IPC1: Self = Self {
        name: "ipc1",
        prefixes: &[
            (280, [(32, 32), (32, 32)]),
            (170, [(16, 31), (32, 32)]),
            (150, [(32, 32), (16, 31)]),
            (140, [(16, 31), (16, 31)]),
            (90, [(0, 0), (24, 32)]),
            (80, [(24, 32), (0, 0)]),
            (90, [(8, 23), (8, 23)]),
        ],
        branching: [[550, 400, 500, 650], [550, 400, 500, 650]],
        skew: [680, 680],
        protocols: &[(560, Some(TCP)), (260, Some(UDP)), (60, Some(ICMP)), (120, None)],
        ports: &[
            (460, [Wildcard, Exact]),
            (240, [Wildcard, Wildcard]),
            (90, [Exact, Wildcard]),
            (80, [Exact, Exact]),
            (70, [High, Exact]),
            (60, [Wildcard, Range]),
        ],
    };
}

/// One of these, by weight.
pub fn pick<T: Copy>(from: &[Weighted<T>], random: &mut Random) -> Option<T> {
    let all: usize = from.iter().map(|(weight, _)| usize::from(*weight)).sum();
    let mut at = random.below(all.max(1));
    from.iter().find_map(|(weight, what)| {
        let weight = usize::from(*weight);
        let chosen = at < weight;
        at = at.saturating_sub(weight);
        chosen.then_some(*what)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_thousandths() {
        for profile in Profile::ALL {
            let sum = |weights: &mut dyn Iterator<Item = u16>| weights.sum::<u16>();
            assert_eq!(sum(&mut profile.prefixes.iter().map(|(weight, _)| *weight)), 1000);
            assert_eq!(sum(&mut profile.protocols.iter().map(|(weight, _)| *weight)), 1000);
            assert_eq!(sum(&mut profile.ports.iter().map(|(weight, _)| *weight)), 1000);
            assert!(profile.prefixes.iter().flat_map(|(_, pair)| pair).all(|(a, b)| a <= b));
        }
    }

    #[test]
    fn each_is_picked_as_often_as_it_weighs() {
        let mut random = Random::new(5);
        let picked = (0..10_000).filter_map(|_| pick(&[(1, 'a'), (3, 'b')], &mut random));
        let count = picked.filter(|what| *what == 'b').count();
        assert!((7300..7700).contains(&count), "{count}");
        assert_eq!(pick::<char>(&[], &mut random), None);
    }
}
