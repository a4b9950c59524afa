//! Addresses that the host uses itself, and the ports that connections may have there.
//!
//! The host's own sockets have ports of these addresses, and nobody asks us before one is opened. So
//! a connection that is given such an address is given a port of a range that has been reserved.
//!
//! Hashes of addresses stand in a table, each in the first place from its own on that was free when it
//! came, and stay there until they go. What was free once is passed by, so that whoever looks for an
//! address finds it in whatever order others come and go. Two addresses with one hash would be one
//! chance in 2^64; then the ports of both are out of the range.

use std::collections::HashSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use packet::Seed;

use crate::sync::zeroed;
use crate::tuple::halves;

/// What is known of the host.
#[derive(Debug)]
pub(crate) struct Host {
    seed: Seed,
    places: Box<[AtomicU64]>,
    /// How many addresses there are.
    count: AtomicU32,
    /// The first and the last port that is reserved.
    reserved: AtomicU32,
}

/// Nothing is in this place, and nothing behind it that belongs in front of it.
const FREE: u64 = 0;
/// Something was in this place.
const LEFT: u64 = 1;
#[cfg(not(loom))]
const PLACES: usize = 1 << 14;
#[cfg(loom)]
const PLACES: usize = 4;

impl Host {
    /// So many addresses are known: with more, looking for one would take long.
    pub(crate) const MOST: usize = PLACES / 2;
    /// Beyond those that Linux gives to sockets unless it is told otherwise, 32768 to 60999.
    pub(crate) const RESERVED: RangeInclusive<u16> = 61_000..=u16::MAX;

    pub(crate) fn new(seed: Seed) -> Self {
        Self::with_places(seed, PLACES)
    }

    /// In so many places: a power of two.
    pub(crate) fn with_places(seed: Seed, places: usize) -> Self {
        let reserved = AtomicU32::new(join(&Self::RESERVED));
        Self { seed, places: zeroed(places), count: AtomicU32::new(0), reserved }
    }

    /// The ports that are reserved.
    pub(crate) fn reserved(&self) -> RangeInclusive<u16> {
        split(self.reserved.load(Ordering::Relaxed))
    }

    pub(crate) fn set_reserved(&self, ports: &RangeInclusive<u16>) {
        self.reserved.store(join(ports), Ordering::Relaxed);
    }

    /// How many addresses are known.
    pub(crate) fn len(&self) -> u32 {
        self.count.load(Ordering::Relaxed)
    }

    /// The ports that a connection may have at an address; `None` if it may have any.
    ///
    /// Cost: a hash and, for almost all addresses that are not the host's, a load.
    pub(crate) fn ports_of(&self, address: IpAddr) -> Option<RangeInclusive<u16>> {
        self.has(self.hash(address)).then(|| self.reserved())
    }

    /// The same at the address of a family that has these bits.
    #[inline]
    pub(crate) fn ports_at(&self, is_ipv4: bool, bits: [u64; 2]) -> Option<RangeInclusive<u16>> {
        self.has(self.hash_of(is_ipv4, bits)).then(|| self.reserved())
    }

    /// What stands for an address.
    fn hash(&self, address: IpAddr) -> u64 {
        match address {
            IpAddr::V4(address) => self.hash_of(true, [0, address.to_bits().into()]),
            IpAddr::V6(address) => self.hash_of(false, halves(address.to_bits())),
        }
    }

    #[inline]
    fn hash_of(&self, is_ipv4: bool, [high, low]: [u64; 2]) -> u64 {
        let hash = match is_ipv4 {
            true => self.seed.hash([low]),
            false => self.seed.hash([high, low]),
        };
        // The others say that there is none.
        hash.max(LEFT + 1)
    }

    /// The places where a hash may be, in order.
    fn way(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        // So many places that their number is a mask.
        let first = usize::try_from(hash).unwrap_or(0) & (self.places.len() - 1);
        let (before, behind) = self.places.split_at(first);
        behind.iter().chain(before)
    }

    #[inline]
    fn has(&self, hash: u64) -> bool {
        // Nearly always, of what is not the host's.
        let first = usize::try_from(hash).unwrap_or(0) & (self.places.len() - 1);
        self.places[first].load(Ordering::Relaxed) != FREE && self.has_from(hash)
    }

    #[inline(never)]
    fn has_from(&self, hash: u64) -> bool {
        let mut met = self.way(hash).map(|place| place.load(Ordering::Relaxed));
        met.find(|met| *met == FREE || *met == hash) == Some(hash)
    }

    /// From now on these addresses are the host's; answers how many have found no room. One thread at
    /// a time; an address that is the host's before and after is so all the while.
    pub(crate) fn set(&self, addresses: impl IntoIterator<Item = IpAddr>) -> usize {
        let mut hashes: HashSet<u64> = HashSet::new();
        let mut left_out = 0;
        for address in addresses {
            let hash = self.hash(address);
            if hashes.len() < self.places.len() / 2 || hashes.contains(&hash) {
                hashes.insert(hash);
            } else {
                left_out += 1;
            }
        }
        for place in &self.places {
            let hash = place.load(Ordering::Relaxed);
            if hash > LEFT && !hashes.contains(&hash) {
                place.store(LEFT, Ordering::Relaxed);
            }
        }
        for hash in hashes.iter().copied().filter(|hash| !self.has(*hash)) {
            // There are more places than addresses.
            if let Some(place) = self.way(hash).find(|place| place.load(Ordering::Relaxed) <= LEFT)
            {
                place.store(hash, Ordering::Relaxed);
            }
        }
        self.tidy();
        self.count.store(u32::try_from(hashes.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        left_out
    }

    /// Frees places that nobody has to pass by: those in front of a free one.
    fn tidy(&self) {
        let free = |place: &AtomicU64| place.load(Ordering::Relaxed) == FREE;
        let mut is_last = self.places.first().is_some_and(free);
        for place in self.places.iter().rev() {
            if is_last && place.load(Ordering::Relaxed) == LEFT {
                place.store(FREE, Ordering::Relaxed);
            }
            is_last = free(place);
        }
    }
}

fn join(ports: &RangeInclusive<u16>) -> u32 {
    u32::from(*ports.start()) << 16 | u32::from(*ports.end())
}

fn split(word: u32) -> RangeInclusive<u16> {
    let [first, last] = [word >> 16, word & u32::from(u16::MAX)]
        .map(|port| u16::try_from(port).unwrap_or(u16::MAX));
    first..=last
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    proptest! {
        /// Against a plain set, in a table where they stand in each other's way.
        #[test]
        fn what_was_set_last_is_known_and_nothing_else(
            sets in prop::collection::vec(prop::collection::hash_set(0..40u32, 0..33), 1..20),
        ) {
            let host = Host::with_places(Seed(7), 64);
            for set in sets {
                prop_assert_eq!(host.set(set.iter().map(|n| address(*n))), 0);
                prop_assert_eq!(host.len() as usize, set.len());
                for n in 0..40 {
                    prop_assert_eq!(host.ports_of(address(n)).is_some(), set.contains(&n));
                }
            }
        }
    }

    #[test]
    fn a_place_that_was_left_is_passed_by() {
        const PLACES: usize = 64;
        let host = Host::with_places(Seed(7), PLACES);
        // All want the last place: the way goes on at the first one.
        let hashes = [1, 2, 3].map(|n| n * PLACES as u64 + PLACES as u64 - 1);
        for (n, hash) in hashes.into_iter().enumerate() {
            let at = (PLACES - 1 + n) % PLACES;
            host.places[at].store(hash, Ordering::Relaxed);
        }
        host.places[0].store(LEFT, Ordering::Relaxed);
        host.tidy();
        assert!(host.has(hashes[0]) && !host.has(hashes[1]) && host.has(hashes[2]));
        host.places[1].store(LEFT, Ordering::Relaxed);
        host.tidy();
        let taken = host.places.iter().filter(|place| place.load(Ordering::Relaxed) != FREE);
        assert_eq!(taken.count(), 1, "what nobody passes by is free again");
    }

    #[test]
    fn those_that_find_no_room_are_counted() {
        let (host, most) = (Host::with_places(Seed(7), 64), 32);
        assert_eq!(host.set((0..most + 5).map(address)), 5);
        assert_eq!(host.len(), most);
        assert!((0..most).all(|n| host.ports_of(address(n)).is_some()));
        assert_eq!(host.set([address(3)]), 0);
        assert_eq!(host.ports_of(address(3)), Some(Host::RESERVED));
        assert_eq!(host.ports_of(address(4)), None);
        host.set([]);
        assert!(host.places.iter().all(|place| place.load(Ordering::Relaxed) == FREE));
    }
}
