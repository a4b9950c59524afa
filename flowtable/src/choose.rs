//! Choices by a hash of the packet: buckets of select groups, links, ports of a bundle.

use api::{Bundle, BundleAlgorithm, HashFields, Multipath, MultipathAlgorithm};
use packet::{Key, Seed, Span, ethernet, sctp, tcp, udp};

use crate::translate::{Record, Stop};
use crate::walk::Walk;

/// What a hash of some fields is made from: equal for both directions where the words for it say so.
#[derive(Clone, Copy, Debug, Default)]
struct Parts {
    /// Source and destination of each kind of address.
    pairs: [(u128, u128); 3],
    rest: u128,
}

impl Parts {
    /// The same for a packet that goes the other way.
    fn symmetric(self) -> impl Iterator<Item = u64> {
        let pairs = self.pairs.into_iter().flat_map(|(src, dst)| [src.min(dst), src.max(dst)]);
        pairs.chain([self.rest]).flat_map(halves)
    }
}

fn halves(value: u128) -> [u64; 2] {
    let half = |value: u128| u64::try_from(value & u128::from(u64::MAX)).unwrap_or(0);
    [half(value >> 64), half(value)]
}

/// A hash by which packets of one connection, in both directions, are alike: of the addresses, the
/// protocol and the ports, or of what there is of these.
pub fn connection_hash(key: &Key, basis: u64) -> u64 {
    let pair = |src, dst| (key.get(src), key.get(dst));
    let ethertype = key.get(Key::ETH_TYPE);
    let addresses = match u16::try_from(ethertype) {
        Ok(ethernet::IPV4) => pair(Key::NW_SRC, Key::NW_DST),
        Ok(ethernet::IPV6) => pair(Key::IPV6_SRC, Key::IPV6_DST),
        _ => pair(Key::ETH_SRC, Key::ETH_DST),
    };
    let parts = Parts {
        pairs: [addresses, pair(Key::TP_SRC, Key::TP_DST), (0, 0)],
        rest: ethertype << 8 | key.get(Key::NW_PROTO),
    };
    Seed(basis).hash(parts.symmetric())
}

/// The highest random weight: which of `count` has it for this hash.
fn highest_weight(hash: u64, count: usize, is_live: impl Fn(usize) -> bool) -> Option<usize> {
    let weight = |at: &usize| Seed(hash).hash([*at as u64]);
    (0..count).filter(|at| is_live(*at)).max_by_key(weight)
}

/// The number of the link that this hash takes.
pub(crate) fn choose_link(multipath: &Multipath, hash: u64) -> u64 {
    let links = u64::from(multipath.links.max(1));
    match multipath.algorithm {
        MultipathAlgorithm::ModuloN => hash % links,
        MultipathAlgorithm::HashThreshold => halves(u128::from(hash) * u128::from(links))[0],
        MultipathAlgorithm::Hrw => {
            let links = usize::try_from(links).unwrap_or(usize::MAX);
            highest_weight(hash, links, |_| true).unwrap_or(0) as u64
        }
        MultipathAlgorithm::IterHash => iterate(hash, links, multipath.arg),
    }
}

/// The number of the port that this hash takes; that of no port if none is live.
pub(crate) fn choose_member(bundle: &Bundle, hash: u64, is_live: impl Fn(u16) -> bool) -> u16 {
    let members = &bundle.members;
    let is_live = |at: usize| is_live(members[at]);
    let chosen = match bundle.algorithm {
        BundleAlgorithm::ActiveBackup => (0..members.len()).find(|at| is_live(*at)),
        BundleAlgorithm::Hrw => highest_weight(hash, members.len(), is_live),
    };
    chosen.map_or(api::OutPort::NONE, |at| members[at])
}

/// The hash of some fields; `look` answers with one that is needed.
pub(crate) fn hash_of(fields: HashFields, basis: u16, mut look: impl FnMut(Span) -> u128) -> u64 {
    let ethertype = look(Key::ETH_TYPE);
    let addresses = match u16::try_from(ethertype) {
        Ok(ethernet::IPV4) => Some((Key::NW_SRC, Key::NW_DST)),
        Ok(ethernet::IPV6) => Some((Key::IPV6_SRC, Key::IPV6_DST)),
        _ => None,
    };
    let mut parts = Parts::default();
    match fields {
        HashFields::EthSrc => parts.rest = look(Key::ETH_SRC),
        HashFields::NwSrc => parts.rest = addresses.map_or(0, |(src, _)| look(src)),
        HashFields::NwDst => parts.rest = addresses.map_or(0, |(_, dst)| look(dst)),
        HashFields::SymmetricL3 => {}
        HashFields::SymmetricL4 => {
            parts.pairs[0] = (look(Key::ETH_SRC), look(Key::ETH_DST));
            parts.rest = ethertype << 32 | look(Key::VLAN_TCI.slice(0, 12)) << 16;
        }
        HashFields::SymmetricL3L4 | HashFields::SymmetricL3L4Udp => {}
    }
    let symmetric = !matches!(fields, HashFields::EthSrc | HashFields::NwSrc | HashFields::NwDst);
    if let Some((src, dst)) = addresses.filter(|_| symmetric) {
        parts.pairs[1] = (look(src), look(dst));
        if fields != HashFields::SymmetricL3 {
            let proto = look(Key::NW_PROTO);
            parts.rest |= proto;
            let is = |number: u8| proto == u128::from(number);
            let with_udp = fields == HashFields::SymmetricL3L4Udp;
            if is(tcp::PROTO) || is(sctp::PROTO) || with_udp && is(udp::PROTO) {
                parts.pairs[2] = (look(Key::TP_SRC), look(Key::TP_DST));
            }
        }
    }
    Seed(basis.into()).hash(parts.symmetric())
}

impl<R: Record> Walk<'_, R> {
    pub(crate) fn multipath(&mut self, multipath: &Multipath) -> Result<(), Stop> {
        let hash = hash_of(multipath.fields, multipath.basis, |span| self.draft.look(span));
        let (dst, link) = (multipath.dst.span(), choose_link(multipath, hash));
        Ok(self.draft.write(dst, link.into(), dst.ones())?)
    }

    pub(crate) fn bundle(&mut self, bundle: &Bundle) -> Result<(), Stop> {
        let hash = match bundle.algorithm {
            BundleAlgorithm::ActiveBackup => 0,
            BundleAlgorithm::Hrw => {
                hash_of(bundle.fields, bundle.basis, |span| self.draft.look(span))
            }
        };
        bundle.members.iter().for_each(|member| self.basis.note_port(*member));
        let number = choose_member(bundle, hash, |number| self.bridge.is_live(number));
        match bundle.dst {
            Some(dst) => Ok(self.draft.write(dst.span(), number.into(), dst.span().ones())?),
            None => {
                let in_port = self.draft.look16(Key::IN_PORT);
                self.output_to(number, in_port)
            }
        }
    }
}

/// The first number below `links` among those that a hash leads to, or some number below it.
fn iterate(hash: u64, links: u64, arg: u32) -> u64 {
    let most = u64::from(arg).max(links).next_power_of_two();
    let tries = (0..32u64).map(|n| Seed(hash).hash([n]) % most);
    let mut tries = tries.filter(|link| *link < links);
    tries.next().unwrap_or(hash % links)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use testnet::packets::any_key;

    proptest! {
        #[test]
        fn both_directions_of_a_connection_hash_alike(key in any_key(), basis: u64) {
            let mut back = key;
            for (src, dst) in [
                (Key::ETH_SRC, Key::ETH_DST),
                (Key::NW_SRC, Key::NW_DST),
                (Key::IPV6_SRC, Key::IPV6_DST),
                (Key::TP_SRC, Key::TP_DST),
            ] {
                back.set(src, key.get(dst));
                back.set(dst, key.get(src));
            }
            prop_assert_eq!(connection_hash(&key, basis), connection_hash(&back, basis));
        }

        #[test]
        fn what_iterates_ends_below_the_count(hash: u64, links in 1..70_000u64, arg: u32) {
            prop_assert!(iterate(hash, links, arg) < links);
        }
    }
}
