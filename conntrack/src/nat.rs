//! Which address and port a new connection is given (RFC 4787, RFC 5382), in the order in which they
//! are tried.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use api::{Nat, NatChoice, NatRange};
use packet::{Seed, icmp};

use crate::host::Host;
use crate::tuple::{Ends, Tuple};

/// So many are tried; if all are taken, the connection is not made.
const TRIES: u64 = 256;

/// What decides about the tuple of a new connection.
struct Choice {
    is_src: bool,
    choice: Option<NatChoice>,
    hash: u64,
    /// The address that it is given.
    address: IpAddr,
    /// The ports that may be tried; `None` if the port stays.
    ports: Option<(u16, u16)>,
    /// The port that it keeps, if it may.
    kept: Option<u16>,
}

impl Choice {
    #[inline]
    fn new(nat: &Nat, ends: &Ends, host: &Host, seed: Seed) -> Self {
        let range = nat.range().copied().unwrap_or_default();
        let (is_src, choice) = (matches!(nat, Nat::Src(_)), range.choice);
        let own = if is_src { ends.src } else { ends.dst };
        let hash = if needs_hash(&range) { hash(&range, ends, seed) } else { 0 };
        let address = address(&range, own, hash);
        let mut ports = ports(&range, ends, is_src);
        if let Some(reserved) = host.ports_of(address) {
            ports = ports.map(|asked| of_host(asked, &range, is_src, &reserved));
        }
        let port = port_of(ends, is_src);
        let keeps =
            choice.is_none() && ports.is_none_or(|(least, most)| (least..=most).contains(&port));
        Self { is_src, choice, hash, address, ports, kept: keeps.then_some(port) }
    }

    /// What the tuple becomes if it is given this address; with its ports.
    fn moved(&self, ends: &Ends, original: Tuple) -> Option<Tuple> {
        let is_src = self.is_src;
        let (src, dst) = if is_src { (self.address, ends.dst) } else { (ends.src, self.address) };
        Tuple::new(Ends { src, dst, ..*ends }, original.zone())
    }
}

/// What the tuple of a new connection may become, best first. `dice` is different for each.
pub(crate) fn candidates(
    nat: &Nat,
    original: Tuple,
    host: &Host,
    seed: Seed,
    dice: u64,
) -> impl Iterator<Item = Tuple> + use<> {
    let ends = original.ends();
    let chosen = Choice::new(nat, &ends, host, seed);
    let moved = chosen.moved(&ends, original);
    let Choice { is_src, choice, hash, ports, kept, .. } = chosen;
    let count = ports.map_or(0, |(least, most)| (u64::from(most) + 1).saturating_sub(least.into()));
    let start = if choice == Some(NatChoice::Hash) { hash >> 32 } else { dice };
    let others = (0..count.min(TRIES)).filter_map(move |n| {
        // By a step that meets all of few, and is spread over many.
        let (least, _) = ports?;
        let step = if count > TRIES { count / TRIES } else { 1 };
        let place = start.wrapping_add(n * step);
        u16::try_from(u64::from(least) + place % count).ok()
    });
    let is_first = is_src || is_query(ends.proto);
    kept.into_iter().chain(others).filter_map(move |port| {
        let [src, dst] = if is_first { [port, ends.dst_port] } else { [ends.src_port, port] };
        Some(moved?.with_ports([src, dst]))
    })
}

/// What of that is tried first, if it keeps its port: then no dice decide.
#[inline]
pub(crate) fn first(nat: &Nat, original: Tuple, host: &Host, seed: Seed) -> Option<Tuple> {
    let ends = original.ends();
    let chosen = Choice::new(nat, &ends, host, seed);
    chosen.kept.and_then(|_port| chosen.moved(&ends, original))
}

/// Whether anything is decided by the hash: if there is only one address, and ports need none, it is not.
fn needs_hash(range: &NatRange) -> bool {
    range.choice == Some(NatChoice::Hash)
        || range.addresses.is_some_and(|(first, last)| first != last)
}

/// What decides where in a range one begins: the same for all connections of a source, if that is
/// asked for.
fn hash(range: &NatRange, ends: &Ends, seed: Seed) -> u64 {
    let words = |address: IpAddr| match address {
        IpAddr::V4(address) => [0, u64::from(address.to_bits())],
        IpAddr::V6(address) => halves(address.to_bits()),
    };
    let [a, b] = words(ends.src);
    let [c, d] = if range.persistent { [0, 0] } else { words(ends.dst) };
    let ports = u64::from(ends.src_port) << 16 | u64::from(ends.dst_port);
    seed.hash([a, b, c, d, if range.choice == Some(NatChoice::Hash) { ports } else { 0 }])
}

/// The address of a range that a hash leads to; its own if there is no range of its family.
fn address(range: &NatRange, own: IpAddr, hash: u64) -> IpAddr {
    match (range.addresses, own) {
        (Some((first, _)), _) if first.is_unspecified() => own,
        (Some((only, last)), _) if only == last && only.is_ipv4() == own.is_ipv4() => only,
        (Some((IpAddr::V4(first), IpAddr::V4(last))), IpAddr::V4(_)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            let count = u64::from(last.saturating_sub(first)) + 1;
            let place = u32::try_from(hash % count).unwrap_or(0);
            Ipv4Addr::from_bits(first.saturating_add(place)).into()
        }
        (Some((IpAddr::V6(first), IpAddr::V6(last))), IpAddr::V6(_)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            let most = last.saturating_sub(first);
            let place = most.checked_add(1).map_or(hash.into(), |count| u128::from(hash) % count);
            Ipv6Addr::from_bits(first.saturating_add(place)).into()
        }
        _ => own,
    }
}

/// The ports that may be tried; `None` if the port stays.
fn ports(range: &NatRange, ends: &Ends, is_src: bool) -> Option<(u16, u16)> {
    match (range.ports, ends.proto) {
        (_, proto) if !has_ports(proto) => None,
        (Some(ports), _) => Some(ports),
        // To another port another service would answer.
        (None, _) if !is_src => None,
        (None, icmp::PROTO | icmp::PROTO_V6) => Some((0, u16::MAX)),
        // Who trusts low ports shall have no reason to wonder, and the other way round.
        (None, _) => Some(match ends.src_port {
            0..512 => (1, 511),
            512..1024 => (600, 1023),
            1024.. => (1024, u16::MAX),
        }),
    }
}

/// What is left of ports that may be tried at an address of the host; nothing if the first is beyond
/// the last.
fn of_host(
    asked: (u16, u16),
    range: &NatRange,
    is_src: bool,
    reserved: &RangeInclusive<u16>,
) -> (u16, u16) {
    let (least, most) = match range.ports {
        // A flow that names one port of a service knows who answers there.
        Some((first, last)) if !is_src && first == last => return asked,
        Some(asked) => asked,
        // Who is given another port anyway is given any of them.
        None => (0, u16::MAX),
    };
    (least.max(*reserved.start()), most.min(*reserved.end()))
}

const fn has_ports(proto: u8) -> bool {
    is_query(proto)
        || matches!(proto, packet::tcp::PROTO | packet::udp::PROTO | packet::sctp::PROTO)
}

const fn is_query(proto: u8) -> bool {
    matches!(proto, icmp::PROTO | icmp::PROTO_V6)
}

/// The port at the end that changes; of a query its identifier.
const fn port_of(ends: &Ends, is_src: bool) -> u16 {
    if is_src || is_query(ends.proto) { ends.src_port } else { ends.dst_port }
}

pub(crate) fn halves(wide: u128) -> [u64; 2] {
    [wide >> 64, wide & u128::from(u64::MAX)].map(|half| u64::try_from(half).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn original(src_port: u16, proto: u8) -> Tuple {
        let [src, dst] = [[10, 0, 0, 1], [192, 0, 2, 9]].map(IpAddr::from);
        Tuple::new(Ends { src, dst, src_port, dst_port: 80, proto }, 5).unwrap()
    }

    /// It uses one address.
    fn host() -> Host {
        let host = Host::with_places(Seed(7), 16);
        host.set([[9, 9, 9, 9].into()]);
        host
    }

    fn of(nat: &str, tuple: Tuple) -> Vec<Tuple> {
        let flow = format!("tcp,actions=ct(commit,nat({nat}))");
        let flow: api::FlowMod = flow.parse().unwrap();
        let Some([api::Action::Ct(ct)]) = flow.actions.as_deref() else { panic!("{flow:?}") };
        candidates(&ct.nat.unwrap(), tuple, &host(), Seed(7), 12_345).collect()
    }

    #[test]
    fn a_port_is_kept_if_it_may_be() {
        let first = |nat: &str| of(nat, original(5000, 6))[0].ends();
        let kept = first("src=1.2.3.4");
        assert_eq!((kept.src, kept.src_port), ([1, 2, 3, 4].into(), 5000));
        assert_eq!(first("src=1.2.3.4:4000-6000").src_port, 5000);
        assert!((6000..=6010).contains(&first("src=1.2.3.4:6000-6010").src_port));
        let dst = first("dst=1.2.3.4:8080");
        assert_eq!((dst.dst, dst.dst_port, dst.src_port), ([1, 2, 3, 4].into(), 8080, 5000));
        assert_eq!(first("dst=1.2.3.4").dst_port, 80);
        assert_eq!(first("src=0.0.0.0").src, IpAddr::from([10, 0, 0, 1]));
    }

    #[test]
    fn all_of_few_ports_are_tried_and_none_twice() {
        let tried = of("src=1.2.3.4:6000-6010", original(5000, 6));
        let ports: HashSet<_> = tried.iter().map(|tuple| tuple.ends().src_port).collect();
        assert_eq!((tried.len(), ports), (11, (6000..=6010).collect()));
    }

    #[test]
    fn low_ports_become_low_ports() {
        let ports = |port| {
            let tried = of("src=1.2.3.4", original(port, 17));
            tried.iter().map(|tuple| tuple.ends().src_port).collect::<Vec<_>>()
        };
        assert!(ports(80).iter().all(|port| *port < 512));
        assert!(ports(999).iter().all(|port| (600..1024).contains(port)));
        assert!(ports(5000).len() > 200 && ports(5000).iter().all(|port| *port >= 1024));
    }

    #[test]
    fn one_source_has_one_address_if_that_is_asked_for() {
        let addresses = |nat: &str| -> HashSet<IpAddr> {
            let to = |dst: u8| {
                let ends = original(5000, 6).ends();
                Tuple::new(Ends { dst: [192, 0, 2, dst].into(), ..ends }, 5).unwrap()
            };
            (0..40).map(|dst| of(nat, to(dst))[0].ends().src).collect()
        };
        assert!(addresses("src=1.2.3.4-1.2.3.11").len() > 4);
        assert_eq!(addresses("src=1.2.3.4-1.2.3.11,persistent").len(), 1);
    }

    #[test]
    fn at_an_address_of_the_host_ports_are_reserved() {
        let ports = |nat: &str, port| {
            let tried = of(nat, original(port, 6));
            tried.iter().map(|tuple| tuple.ends().src_port).collect::<Vec<_>>()
        };
        assert!(ports("src=9.9.9.9", 80).iter().all(|port| *port >= 61_000));
        assert_eq!(ports("src=9.9.9.9", 62_000)[0], 62_000);
        assert_ne!(ports("src=9.9.9.9", 5000)[0], 5000);
        assert_eq!(ports("src=9.9.9.9:60990-61000", 5000), [61_000]);
        assert!(ports("src=9.9.9.9:4000-6000", 5000).is_empty());
        let served = |nat: &str| {
            let tried = of(nat, original(5000, 6));
            tried.iter().map(|tuple| tuple.ends().dst_port).collect::<Vec<_>>()
        };
        assert_eq!(served("dst=9.9.9.9"), [80]);
        assert_eq!(served("dst=9.9.9.9:6443")[0], 6443);
        assert_eq!(served("dst=9.9.9.9:60999-61000"), [61_000]);
        assert!(served("dst=9.9.9.9:6443-6444").is_empty());
    }

    #[test]
    fn of_a_query_the_identifier_changes() {
        let ends = original(77, 1).ends();
        let echo = Tuple::new(Ends { dst_port: 8 << 8, ..ends }, 5).unwrap();
        let [kept, other, ..] = *of("src=1.2.3.4", echo) else { panic!() };
        assert_eq!((kept.ends().src_port, kept.ends().dst_port), (77, 8 << 8));
        assert!(other.ends().src_port != 77 && other.ends().dst_port == 8 << 8);
        assert_eq!(of("dst=1.2.3.4", echo).len(), 1);
    }
}
