//! What tells the packets of one connection and one direction from all others.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use packet::{Key, Seed, ethernet, icmp, tcp, udp};

use crate::query;

/// Addresses, ports, protocol and zone of a packet.
///
/// The ports of a query (ICMP echo and its kin) are its identifier, and its type and code; those of a
/// protocol without ports are zero.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Tuple {
    /// Both addresses, source first; IPv4's take the first word.
    addresses: [u64; 4],
    /// Ports, zone, protocol and family; never 0.
    rest: u64,
}

/// Both ends of what a packet says, and what it speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ends {
    /// Where it comes from.
    pub src: IpAddr,
    /// Where it goes.
    pub dst: IpAddr,
    /// The port it comes from, or the identifier of a query.
    pub src_port: u16,
    /// The port it goes to, or the type and code of a query.
    pub dst_port: u16,
    /// The IP protocol.
    pub proto: u8,
}

/// A tuple, and what leads to its connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hashed {
    pub(crate) tuple: Tuple,
    pub(crate) hash: u64,
}

/// A bit of a hash that is compared, and says nothing of where an entry is put first: whether the tuple
/// comes from the end, of both, that is the greater one.
pub(crate) const TURNED: u64 = 1 << 40;

impl Hashed {
    #[inline]
    pub(crate) fn new(tuple: Tuple, seed: Seed) -> Self {
        Self { tuple, hash: tuple.hash(seed) }
    }

    /// Whether what leads to its connection is where that of another one is.
    #[inline]
    pub(crate) const fn is_beside(&self, other: &Self) -> bool {
        (self.hash ^ other.hash) & !TURNED == 0
    }

    /// The tuple of what answers it; `None` of a query that nothing answers.
    #[inline]
    pub(crate) fn reversed(&self, seed: Seed) -> Option<Self> {
        match self.tuple.proto() {
            icmp::PROTO | icmp::PROTO_V6 => Some(Self::new(self.tuple.reversed()?, seed)),
            _ => {
                let tuple = self.tuple.turned();
                let differs = if tuple == self.tuple { 0 } else { TURNED };
                Some(Self { tuple, hash: self.hash ^ differs })
            }
        }
    }
}

impl Tuple {
    /// Words of one, as it is kept: fewer for IPv4.
    pub const WORDS: usize = 5;

    /// The tuple between two ends; `None` if their families differ.
    pub fn new(ends: Ends, zone: u16) -> Option<Self> {
        let (addresses, family) = match (ends.src, ends.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                ([u64::from(src.to_bits()) << 32 | u64::from(dst.to_bits()), 0, 0, 0], 4)
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                let ([a, b], [c, d]) = (halves(src.to_bits()), halves(dst.to_bits()));
                ([a, b, c, d], 6)
            }
            _ => return None,
        };
        let ports = u64::from(ends.src_port) << 48 | u64::from(ends.dst_port) << 32;
        let rest = ports | u64::from(zone) << 16 | u64::from(ends.proto) << 8 | family;
        Some(Self { addresses, rest })
    }

    /// The tuple of an IP packet whose fields are known, and these ports.
    #[inline]
    pub fn of(key: &Key, [src_port, dst_port]: [u16; 2], zone: u16) -> Option<Self> {
        let (addresses, family) = match u16::try_from(key.word(Key::ETH_TYPE)) {
            Ok(ethernet::IPV4) => ([key[Key::NW_SRC.word()], 0, 0, 0], 4),
            Ok(ethernet::IPV6) => {
                let (src, dst) = (Key::IPV6_SRC.word(), Key::IPV6_DST.word());
                ([key[src - 1], key[src], key[dst - 1], key[dst]], 6)
            }
            _ => return None,
        };
        let ports = u64::from(src_port) << 48 | u64::from(dst_port) << 32;
        let rest = ports | u64::from(zone) << 16 | key.word(Key::NW_PROTO) << 8 | family;
        Some(Self { addresses, rest })
    }

    /// The tuple of what answers it; `None` of a query that nothing answers.
    pub fn reversed(&self) -> Option<Self> {
        let turned = self.turned();
        match self.proto() {
            icmp::PROTO | icmp::PROTO_V6 => {
                let [kind, code] = self.dst_port().to_be_bytes();
                let kind = query::answer(self.is_ipv4(), kind)?;
                let ports = [self.src_port(), u16::from_be_bytes([kind, code])];
                Some(turned.with_ports(ports))
            }
            _ => Some(turned),
        }
    }

    /// The same with these ports, source first.
    #[must_use]
    pub(crate) fn with_ports(self, [src, dst]: [u16; 2]) -> Self {
        let ports = u64::from(src) << 48 | u64::from(dst) << 32;
        Self { rest: self.rest & 0xffff_ffff | ports, ..self }
    }

    /// The same from port 0: as that of all which differ in nothing but their source port.
    pub(crate) fn without_src_port(self) -> Self {
        self.with_ports([0, self.dst_port()])
    }

    /// The same from this port.
    pub(crate) fn with_src_port(self, port: u16) -> Self {
        self.with_ports([port, self.dst_port()])
    }

    /// The same in this zone.
    #[must_use]
    pub const fn in_zone(self, zone: u16) -> Self {
        Self { rest: self.rest & !(0xffff << 16) | (zone as u64) << 16, ..self }
    }

    /// The same from this address, the bits of one of its family.
    #[inline]
    #[must_use]
    pub(crate) fn with_src(self, address: u128) -> Self {
        let ([_, _, c, d], [high, low]) = (self.addresses, halves(address));
        let addresses = match self.is_ipv4() {
            true => [low << 32 | self.addresses[0] & 0xffff_ffff, 0, 0, 0],
            false => [high, low, c, d],
        };
        Self { addresses, ..self }
    }

    /// The same to this address, the bits of one of its family.
    #[inline]
    #[must_use]
    pub(crate) fn with_dst(self, address: u128) -> Self {
        let ([a, b, ..], [high, low]) = (self.addresses, halves(address));
        let addresses = match self.is_ipv4() {
            true => [a & !0xffff_ffff | low, 0, 0, 0],
            false => [a, b, high, low],
        };
        Self { addresses, ..self }
    }

    /// Whether it is one of IPv4.
    pub const fn is_ipv4(&self) -> bool {
        self.rest & 0xff == 4
    }

    /// The IP protocol.
    pub const fn proto(&self) -> u8 {
        let [_, _, _, _, _, _, proto, _] = self.rest.to_be_bytes();
        proto
    }

    /// The zone.
    pub const fn zone(&self) -> u16 {
        let [_, _, _, _, high, low, _, _] = self.rest.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// The port it comes from, or the identifier of a query.
    pub const fn src_port(&self) -> u16 {
        let [high, low, ..] = self.rest.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// The port it goes to, or the type and code of a query.
    pub const fn dst_port(&self) -> u16 {
        let [_, _, high, low, ..] = self.rest.to_be_bytes();
        u16::from_be_bytes([high, low])
    }

    /// Where it comes from.
    pub fn src(&self) -> IpAddr {
        let [a, b, ..] = self.addresses;
        match self.is_ipv4() {
            true => Ipv4Addr::from_bits(upper(a)).into(),
            false => Ipv6Addr::from_bits(u128::from(a) << 64 | u128::from(b)).into(),
        }
    }

    /// Where it goes.
    pub fn dst(&self) -> IpAddr {
        let [a, _, c, d] = self.addresses;
        match self.is_ipv4() {
            true => Ipv4Addr::from_bits(upper(a << 32)).into(),
            false => Ipv6Addr::from_bits(u128::from(c) << 64 | u128::from(d)).into(),
        }
    }

    /// Both addresses as a packet has them, source first; IPv4's take the first eight bytes.
    pub fn octets(&self) -> [u8; 32] {
        let mut octets = [0; 32];
        for (place, word) in octets.as_chunks_mut::<8>().0.iter_mut().zip(self.addresses) {
            *place = word.to_be_bytes();
        }
        octets
    }

    /// Both addresses in two words each, source first, as a key has those of IPv6.
    pub fn wide(&self) -> [[u64; 2]; 2] {
        let [a, b, c, d] = self.addresses;
        match self.is_ipv4() {
            true => [[0, a >> 32], [0, a & 0xffff_ffff]],
            false => [[a, b], [c, d]],
        }
    }

    /// Whether it comes from elsewhere than another one, by address or port, and whether it goes
    /// elsewhere.
    pub fn differs(&self, other: &Self) -> [bool; 2] {
        let [[src, dst], [other_src, other_dst]] = [self, other].map(Self::wide);
        let ports = self.rest ^ other.rest;
        [src != other_src || ports >> 48 != 0, dst != other_dst || ports >> 32 & 0xffff != 0]
    }

    /// Both addresses, source first; IPv4's take the first word.
    pub const fn addresses(&self) -> [u64; 4] {
        self.addresses
    }

    /// Both ports, source first.
    pub const fn ports(&self) -> u32 {
        let [a, b, c, d, ..] = self.rest.to_be_bytes();
        u32::from_be_bytes([a, b, c, d])
    }

    /// What it is made of, but for the zone.
    pub fn ends(&self) -> Ends {
        Ends {
            src: self.src(),
            dst: self.dst(),
            src_port: self.src_port(),
            dst_port: self.dst_port(),
            proto: self.proto(),
        }
    }

    /// Whether ports of it are ports.
    pub const fn has_ports(&self) -> bool {
        matches!(self.proto(), tcp::PROTO | udp::PROTO | packet::sctp::PROTO)
    }

    /// As `ct_tp_src` and `ct_tp_dst` have them: ports, or type and code of a query.
    pub fn fields(&self) -> [u16; 2] {
        match self.proto() {
            icmp::PROTO | icmp::PROTO_V6 => self.dst_port().to_be_bytes().map(u16::from),
            _ => [self.src_port(), self.dst_port()],
        }
    }

    /// Its hash. What goes between the same ends the other way has the same one but for a bit: where
    /// nothing is translated, a packet and what answers it lead to one place.
    #[inline]
    pub fn hash(&self, seed: Seed) -> u64 {
        let ([a, b, c, d], rest) = (self.addresses, self.rest);
        let [src_port, dst_port] = [rest >> 48, rest >> 32 & 0xffff];
        let (hash, is_turned) = if self.is_ipv4() {
            let [src, dst] = [a >> 32 << 16 | src_port, (a & 0xffff_ffff) << 16 | dst_port];
            // 48 bits are an end: the zone is above the lesser one, protocol and family above the other.
            let [zone, kind] = [rest >> 16 << 48, rest << 48];
            (seed.hash([src.min(dst) | zone, src.max(dst) | kind]), src > dst)
        } else {
            let is_turned = (a, b, src_port) > (c, d, dst_port);
            let [rest, a, b, c, d] = if is_turned { self.turned().words() } else { self.words() };
            (seed.hash([rest, a, b, c, d]), is_turned)
        };
        hash & !TURNED | u64::from(is_turned) << TURNED.trailing_zeros()
    }

    /// The same the other way.
    #[inline]
    fn turned(&self) -> Self {
        let [a, b, c, d] = self.addresses;
        let addresses = if self.is_ipv4() { [a.rotate_left(32), 0, 0, 0] } else { [c, d, a, b] };
        Self { addresses, rest: self.rest }.with_ports([self.dst_port(), self.src_port()])
    }

    /// As it is kept: of IPv4 only the first two words mean something.
    pub const fn words(&self) -> [u64; Self::WORDS] {
        let [a, b, c, d] = self.addresses;
        [self.rest, a, b, c, d]
    }

    /// The tuple that has these words; `None` if none has.
    pub fn read(words: [u64; Self::WORDS]) -> Option<Self> {
        let tuple = Self::from_words(words);
        Self::new(tuple.ends(), tuple.zone()).filter(|read| *read == tuple)
    }

    /// The tuple that was kept like this.
    pub(crate) const fn from_words([rest, a, b, c, d]: [u64; Self::WORDS]) -> Self {
        Self { addresses: [a, b, c, d], rest }
    }
}

fn upper(word: u64) -> u32 {
    // Always, of 32 bits.
    u32::try_from(word >> 32).unwrap_or(0)
}

pub(crate) const fn halves(wide: u128) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = wide.to_be_bytes();
    [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(rest)]
}

impl fmt::Debug for Tuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (self.src(), self.dst());
        write!(f, "{} {src} {} > {dst} {}", self.proto(), self.src_port(), self.dst_port())?;
        match self.zone() {
            0 => Ok(()),
            zone => write!(f, " zone {zone}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_ends() -> impl Strategy<Value = Ends> {
        let addresses = prop_oneof![
            (any::<Ipv4Addr>(), any::<Ipv4Addr>()).prop_map(|(a, b)| (a.into(), b.into())),
            (any::<Ipv6Addr>(), any::<Ipv6Addr>()).prop_map(|(a, b)| (a.into(), b.into())),
        ];
        (addresses, any::<u16>(), any::<u16>(), any::<u8>()).prop_map(
            |((src, dst), src_port, dst_port, proto)| Ends { src, dst, src_port, dst_port, proto },
        )
    }

    proptest! {
        #[test]
        fn what_it_is_made_of_is_read_from_it(ends in any_ends(), zone: u16) {
            let tuple = Tuple::new(ends, zone).unwrap();
            prop_assert_eq!((tuple.ends(), tuple.zone()), (ends, zone));
            prop_assert_eq!(Tuple::from_words(tuple.words()), tuple);
            prop_assert_eq!(Tuple::read(tuple.words()), Some(tuple));
            prop_assert_eq!(Tuple::new(ends, !zone).unwrap().in_zone(zone), tuple);
        }

        #[test]
        fn one_end_is_put_elsewhere(ends in any_ends(), zone: u16, bits: u128) {
            let tuple = Tuple::new(ends, zone).unwrap();
            let (address, bits): (IpAddr, u128) = match ends.src {
                IpAddr::V4(_) => {
                    let bits = bits & u128::from(u32::MAX);
                    (Ipv4Addr::from_bits(upper(u64::try_from(bits << 32).unwrap())).into(), bits)
                }
                IpAddr::V6(_) => (Ipv6Addr::from_bits(bits).into(), bits),
            };
            let from = Tuple::new(Ends { src: address, ..ends }, zone).unwrap();
            let to = Tuple::new(Ends { dst: address, ..ends }, zone).unwrap();
            prop_assert_eq!([tuple.with_src(bits), tuple.with_dst(bits)], [from, to]);
        }

        #[test]
        fn what_answers_it_has_its_hash(ends in any_ends(), is_alike: bool, query in any::<bool>()) {
            let proto = if query && ends.src.is_ipv4() { icmp::PROTO } else { ends.proto };
            let ends = Ends { proto, ..ends };
            let alike = Ends { src: ends.dst, src_port: ends.dst_port, ..ends };
            let tuple = Tuple::new(if is_alike { alike } else { ends }, 3).unwrap();
            let reversed = Hashed::new(tuple, Seed(5)).reversed(Seed(5));
            prop_assert_eq!(reversed.map(|hashed| hashed.tuple), tuple.reversed());
            if let Some(Hashed { tuple, hash }) = reversed {
                prop_assert_eq!(hash, tuple.hash(Seed(5)));
            }
        }

        #[test]
        fn ends_differ_by_address_or_port(
            (one, other) in (any_ends(), any_ends()).prop_filter("families", |(one, other)| {
                one.src.is_ipv4() == other.src.is_ipv4()
            }),
            same: [bool; 4],
        ) {
            let [src, dst, src_port, dst_port] = same;
            let other = Ends {
                src: if src { one.src } else { other.src },
                dst: if dst { one.dst } else { other.dst },
                src_port: if src_port { one.src_port } else { other.src_port },
                dst_port: if dst_port { one.dst_port } else { other.dst_port },
                proto: one.proto,
            };
            let [tuple, changed] = [one, other].map(|ends| Tuple::new(ends, 7).unwrap());
            let differs = [
                (one.src, one.src_port) != (other.src, other.src_port),
                (one.dst, one.dst_port) != (other.dst, other.dst_port),
            ];
            prop_assert_eq!(tuple.differs(&changed), differs);
        }

        #[test]
        fn what_is_no_tuple_is_not_read(words: [u64; Tuple::WORDS]) {
            let is_family = matches!(words[0] & 0xff, 4 | 6);
            prop_assert!(is_family || Tuple::read(words).is_none());
        }

        #[test]
        fn what_answers_an_answer_is_what_was_asked(ends in any_ends(), zone: u16) {
            let tuple = Tuple::new(ends, zone).unwrap();
            if let Some(answer) = tuple.reversed() {
                prop_assert_eq!(answer.reversed(), Some(tuple));
                let differs = tuple.hash(Seed(7)) ^ answer.hash(Seed(7));
                let is_query = matches!(ends.proto, icmp::PROTO | icmp::PROTO_V6);
                prop_assert!(is_query || differs.count_ones() == u32::from(answer != tuple));
                prop_assert_eq!((answer.src(), answer.dst()), (tuple.dst(), tuple.src()));
            }
        }
    }

    #[test]
    fn an_echo_is_answered_with_its_identifier() {
        let [src, dst] = [Ipv4Addr::new(10, 0, 0, 1).into(), Ipv4Addr::new(10, 0, 0, 2).into()];
        let ends = Ends { src, dst, src_port: 77, dst_port: 8 << 8, proto: icmp::PROTO };
        let answer = Tuple::new(ends, 0).unwrap().reversed().unwrap();
        assert_eq!((answer.src_port(), answer.dst_port()), (77, 0));
        let unanswered = Ends { dst_port: 9 << 8, ..ends };
        assert_eq!(Tuple::new(unanswered, 0).unwrap().reversed(), None);
    }
}
