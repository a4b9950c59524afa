//! Which address and port a new connection is given (RFC 4787, RFC 5382), in the order in which they
//! are tried.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use api::{Nat, NatChoice, NatRange};
use packet::{Seed, icmp};

use crate::host::Host;
use crate::tuple::Tuple;

/// So many are tried; if all are taken, the connection is not made.
const TRIES: u64 = 256;

/// What connections are given that are made in one moment as `nat` says: what is known of it before one of
/// them is.
#[derive(Clone, Debug)]
pub struct Pool<'a> {
    range: Option<&'a NatRange>,
    is_src: bool,
    addresses: Option<Addresses>,
    /// Whether anything is decided by a hash: if there is only one address, and ports need none, it is not.
    needs_hash: bool,
    host: &'a Host,
    seed: Seed,
}

/// The addresses of a pool, of one family: the first, and the last or how many there are.
#[derive(Clone, Debug)]
enum Addresses {
    V4 { first: u32, count: u64 },
    V6 { first: u128, last: u128 },
}

impl Addresses {
    /// `None` if they stand for the packet's own.
    fn new(addresses: (IpAddr, IpAddr)) -> Option<Self> {
        match addresses {
            (first, _) if first.is_unspecified() => None,
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                Some(Self::V4 { first, count: u64::from(last.saturating_sub(first)) + 1 })
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                Some(Self::V6 { first: first.to_bits(), last: last.to_bits() })
            }
            _ => None,
        }
    }

    fn are_many(&self) -> bool {
        match self {
            Self::V4 { count, .. } => *count > 1,
            Self::V6 { first, last } => first < last,
        }
    }

    /// A tuple from, or to, the one that a hash leads to; as it is if it is of another family.
    #[inline]
    fn moved(&self, original: &Tuple, is_src: bool, hash: u64) -> Tuple {
        let address = match self {
            Self::V4 { first, count } if original.is_ipv4() => {
                // The upper part of a product: spread as evenly as a remainder would be.
                let place = (u128::from(hash) * u128::from(*count)) >> 64;
                u128::from(*first) + place
            }
            Self::V6 { first, last } if !original.is_ipv4() => {
                let count = last.saturating_sub(*first).checked_add(1);
                let place = count.map_or(hash.into(), |count| u128::from(hash) % count);
                first.saturating_add(place)
            }
            _ => return *original,
        };
        if is_src { original.with_src(address) } else { original.with_dst(address) }
    }
}

impl<'a> Pool<'a> {
    pub(crate) fn new(nat: &'a Nat, host: &'a Host, seed: Seed) -> Self {
        let (range, is_src) = (nat.range(), matches!(nat, Nat::Src(_)));
        let addresses = range.and_then(|range| Addresses::new(range.addresses?));
        let goes_by_hash = range.is_some_and(|range| range.choice == Some(NatChoice::Hash));
        let needs_hash = goes_by_hash || addresses.as_ref().is_some_and(Addresses::are_many);
        Self { range, is_src, addresses, needs_hash, host, seed }
    }

    /// Whether there is anything to be given, or connections that are made are not translated.
    pub const fn is_any(&self) -> bool {
        self.range.is_some()
    }

    /// What the tuple of a new connection becomes if it keeps its port, and may: then no dice decide.
    #[inline]
    pub(crate) fn first(&self, original: &Tuple) -> Option<Tuple> {
        let Choice { keeps, moved, .. } = self.choose(original);
        keeps.then_some(moved)
    }

    /// What else it may become, in the order in which that is tried. `dice` is different for each.
    pub(crate) fn others(
        &self,
        original: &Tuple,
        dice: u64,
    ) -> impl Iterator<Item = Tuple> + use<> {
        let Choice { hash, moved, ports, .. } = self.choose(original);
        let count =
            ports.map_or(0, |(least, most)| (u64::from(most) + 1).saturating_sub(least.into()));
        let start = if self.choice() == Some(NatChoice::Hash) { hash >> 32 } else { dice };
        let tried = (0..count.min(TRIES)).filter_map(move |n| {
            // By a step that meets all of few, and is spread over many.
            let (least, _) = ports?;
            let step = if count > TRIES { count / TRIES } else { 1 };
            let place = start.wrapping_add(n * step);
            u16::try_from(u64::from(least) + place % count).ok()
        });
        let is_first = self.is_src || is_query(moved.proto());
        tried.map(move |port| {
            let ports = if is_first { [port, moved.dst_port()] } else { [moved.src_port(), port] };
            moved.with_ports(ports)
        })
    }

    fn choice(&self) -> Option<NatChoice> {
        self.range.and_then(|range| range.choice)
    }

    #[inline]
    fn choose(&self, original: &Tuple) -> Choice {
        let hash = if self.needs_hash { self.hash(original) } else { 0 };
        let moved = match &self.addresses {
            Some(addresses) => addresses.moved(original, self.is_src, hash),
            None => *original,
        };
        let [src, dst] = moved.wide();
        let reserved = self.host.ports_at(moved.is_ipv4(), if self.is_src { src } else { dst });
        let mut ports = self.ports(original);
        if let Some(reserved) = &reserved {
            ports = ports.map(|asked| self.of_host(asked, reserved));
        }
        let port = port_of(original, self.is_src);
        let keeps = self.choice().is_none()
            && ports.is_none_or(|(least, most)| (least..=most).contains(&port));
        Choice { hash, moved, ports, keeps }
    }

    /// What decides where in a range one begins: the same for all connections of a source, if that is
    /// asked for.
    fn hash(&self, original: &Tuple) -> u64 {
        let [[a, b], [c, d]] = original.wide();
        let is_persistent = self.range.is_some_and(|range| range.persistent);
        let [c, d] = if is_persistent { [0, 0] } else { [c, d] };
        let [src_port, dst_port] = [original.src_port(), original.dst_port()].map(u64::from);
        let goes_by_ports = self.choice() == Some(NatChoice::Hash);
        let ports = if goes_by_ports { src_port << 16 | dst_port } else { 0 };
        match original.is_ipv4() {
            true => self.seed.hash([b << 32 | d, ports]),
            false => self.seed.hash([a, b, c, d, ports]),
        }
    }

    /// The ports that may be tried; `None` if the port stays.
    fn ports(&self, original: &Tuple) -> Option<(u16, u16)> {
        match (self.range?.ports, original.proto()) {
            (_, proto) if !has_ports(proto) => None,
            (Some(ports), _) => Some(ports),
            // To another port another service would answer.
            (None, _) if !self.is_src => None,
            (None, icmp::PROTO | icmp::PROTO_V6) => Some((0, u16::MAX)),
            // Who trusts low ports shall have no reason to wonder, and the other way round.
            (None, _) => Some(match original.src_port() {
                0..512 => (1, 511),
                512..1024 => (600, 1023),
                1024.. => (1024, u16::MAX),
            }),
        }
    }

    /// What is left of ports that may be tried at an address of the host; nothing if the first is beyond
    /// the last.
    fn of_host(&self, asked: (u16, u16), reserved: &RangeInclusive<u16>) -> (u16, u16) {
        let (least, most) = match self.range.and_then(|range| range.ports) {
            // A flow that names one port of a service knows who answers there.
            Some((first, last)) if !self.is_src && first == last => return asked,
            Some(asked) => asked,
            // Who is given another port anyway is given any of them.
            None => (0, u16::MAX),
        };
        (least.max(*reserved.start()), most.min(*reserved.end()))
    }
}

/// What decides about the tuple of a new connection.
struct Choice {
    hash: u64,
    /// What its tuple becomes if it is given the address that it is to have.
    moved: Tuple,
    /// The ports that may be tried; `None` if the port stays.
    ports: Option<(u16, u16)>,
    /// Whether it keeps its own.
    keeps: bool,
}

const fn has_ports(proto: u8) -> bool {
    is_query(proto)
        || matches!(proto, packet::tcp::PROTO | packet::udp::PROTO | packet::sctp::PROTO)
}

const fn is_query(proto: u8) -> bool {
    matches!(proto, icmp::PROTO | icmp::PROTO_V6)
}

/// The port at the end that changes; of a query its identifier.
const fn port_of(original: &Tuple, is_src: bool) -> u16 {
    if is_src || is_query(original.proto()) { original.src_port() } else { original.dst_port() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Ends;
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
        let (nat, host) = (&ct.nat.unwrap(), &host());
        let pool = Pool::new(nat, host, Seed(7));
        pool.first(&tuple).into_iter().chain(pool.others(&tuple, 12_345)).collect()
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
