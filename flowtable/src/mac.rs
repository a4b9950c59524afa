//! Learned addresses: which port of a bridge a MAC was last seen at.
//!
//! **What.** A bounded table of slots, sixteen candidates for each address. Workers read and insert
//! without a lock, while they translate a packet that no cache knew; the control thread ages
//! entries.
//!
//! **Changes.** A cached program depends on single entries, also on one that is *not* there. Every
//! address therefore has a version, one of a few thousand shared by hash: it changes whenever an
//! entry of that hash comes, goes or moves. A cache entry remembers the versions it was made under;
//! two addresses that share one cost a needless check, never a wrong answer. [`Epoch`] says that
//! some version has changed.
//!
//! **Static entries** are added by hand. They neither age nor move, whatever packets show, and count
//! towards the share of their port.
//!
//! **Limits.** [`MacTable::CAPACITY`] entries, and no port more than an eighth of them, so that a
//! port that invents addresses forgets its own and not those of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use packet::{MacAddr, Millis, PortId, Seed};
use serde::{Deserialize, Serialize};

/// Counts changes of learned state, in all bridges. A worker whose caches were checked at the
/// current count need not check again.
#[derive(Debug, Default)]
pub struct Epoch(AtomicU64);

impl Epoch {
    /// The count now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(crate) fn advance(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// An address in a VLAN.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Station {
    /// The VLAN, 0 for none.
    pub vlan: u16,
    /// The address.
    pub mac: MacAddr,
}

impl Station {
    /// Never [`FREE`] nor [`CLAIMED`].
    fn to_word(self) -> u64 {
        1 << 63 | u64::from(self.vlan & 0x0fff) << 48 | self.mac.to_u64()
    }

    fn from_word(word: u64) -> Self {
        let vlan = u16::try_from(word >> 48 & 0x0fff).unwrap_or(0);
        Self { vlan, mac: MacAddr::from_u64(word) }
    }
}

/// A learned entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Learned {
    /// Which slot it is in: a short name for it, as long as it lives.
    pub slot: u16,
    /// The address.
    pub station: Station,
    /// Where it was seen last.
    pub port: PortId,
    /// When; the end of time if it is static.
    pub used: Millis,
    /// Whether it was added by hand.
    pub is_static: bool,
}

/// What has become of learned entries so far.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct MacStats {
    /// Entries that were learned.
    pub learned: u64,
    /// Those that moved to another port.
    pub moved: u64,
    /// Those that went because of their age.
    pub expired: u64,
    /// Those that made room for another one.
    pub evicted: u64,
    /// Times that there was no room.
    pub refused: u64,
}

/// [`MacStats`] as they are counted, by all threads.
#[derive(Debug, Default)]
struct Tally {
    learned: AtomicU64,
    moved: AtomicU64,
    expired: AtomicU64,
    evicted: AtomicU64,
    refused: AtomicU64,
}

/// What learning changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The entry was there, at this port.
    Known,
    /// A new entry, or one that moved here from another port.
    Changed,
    /// There was no room: the port has its share, or all candidate slots belong to others.
    Refused,
}

/// A version that some addresses share.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Version {
    /// Which.
    pub index: u16,
    /// Its value.
    pub value: u32,
}

/// One slot: an address, and behind it port and time. The address is written last and cleared
/// first.
#[derive(Debug, Default)]
struct Slot {
    /// [`FREE`], [`CLAIMED`] or the word of a [`Station`].
    station: AtomicU64,
    /// Port in the upper 16 bits, milliseconds in the others.
    seen: AtomicU64,
}

/// A slot without an entry.
const FREE: u64 = 0;
/// A slot that somebody is about to fill.
const CLAIMED: u64 = 1;

const TIME_BITS: u32 = 48;
/// The time of a static entry.
const STATIC: u64 = (1 << TIME_BITS) - 1;

const fn is_static(seen: u64) -> bool {
    seen & STATIC == STATIC
}

fn seen(port: PortId, now: Millis) -> u64 {
    u64::from(port.0) << TIME_BITS | now.0 & ((1 << TIME_BITS) - 1)
}

fn port_of(seen: u64) -> PortId {
    PortId(u16::try_from(seen >> TIME_BITS).unwrap_or(0))
}

fn time_of(seen: u64) -> Millis {
    Millis(seen & ((1 << TIME_BITS) - 1))
}

/// The learned addresses of one bridge.
#[derive(Debug)]
pub struct MacTable {
    seed: Seed,
    slots: Box<[Slot]>,
    versions: Box<[AtomicU32]>,
    /// Entries of each port, to keep its share.
    shares: Box<[AtomicU32]>,
    epoch: Arc<Epoch>,
    tally: Tally,
}

/// Slots an address may be in: two groups of eight.
const GROUP: usize = 8;

impl MacTable {
    /// The most entries a bridge has: 8192, but for an interpreter, which looks at all of them too slowly.
    pub const CAPACITY: usize = if cfg!(miri) { 512 } else { 8192 };
    /// The most entries one port has.
    pub const SHARE: u32 = if cfg!(miri) { 64 } else { 1024 };
    const VERSIONS: usize = if cfg!(miri) { 256 } else { 4096 };
    const PORTS: usize = 4096;

    /// An empty table whose changes advance `epoch`.
    pub fn new(seed: Seed, epoch: Arc<Epoch>) -> Self {
        Self {
            seed,
            slots: (0..Self::CAPACITY).map(|_| Slot::default()).collect(),
            versions: (0..Self::VERSIONS).map(|_| AtomicU32::new(0)).collect(),
            shares: (0..Self::PORTS).map(|_| AtomicU32::new(0)).collect(),
            epoch,
            tally: Tally::default(),
        }
    }

    fn hash(&self, station: Station) -> usize {
        usize::try_from(self.seed.hash([station.to_word()])).unwrap_or(0)
    }

    /// The slots in which `station` may be, in the order in which they are looked at.
    fn candidates(&self, station: Station) -> impl Iterator<Item = (u16, &Slot)> + Clone {
        let hash = self.hash(station);
        let groups = Self::CAPACITY / GROUP;
        // Never the same group twice.
        let first = hash % groups;
        let second = (first + 1 + (hash >> 32) % (groups - 1)) % groups;
        let group =
            |group: usize| (group * GROUP..(group + 1) * GROUP).map(|n| (n, &self.slots[n]));
        group(first).chain(group(second)).map(|(n, slot)| (u16::try_from(n).unwrap_or(0), slot))
    }

    /// The version of `station`. To be read *before* the entry: then a change in between shows.
    pub fn version(&self, station: Station) -> Version {
        let index = self.hash(station) >> 16 & (Self::VERSIONS - 1);
        let value = self.versions[index].load(Ordering::Acquire);
        Version { index: u16::try_from(index).unwrap_or(0), value }
    }

    /// Whether nothing that shares this version has changed since it was read.
    #[inline]
    pub fn is_current(&self, version: Version) -> bool {
        self.versions[usize::from(version.index)].load(Ordering::Acquire) == version.value
    }

    fn changed(&self, station: Station) {
        let index = usize::from(self.version(station).index);
        self.versions[index].fetch_add(1, Ordering::Release);
        self.epoch.advance();
    }

    /// Where `station` was seen.
    pub fn find(&self, station: Station) -> Option<Learned> {
        let word = station.to_word();
        self.candidates(station)
            .find(|(_, slot)| slot.holds(word))
            .and_then(|(n, slot)| slot.read(n))
    }

    /// Notes that `station` was seen at `port`, before the packet that showed it goes on.
    pub fn learn(&self, station: Station, port: PortId, now: Millis) -> Outcome {
        let word = station.to_word();
        let known = self.candidates(station).find(|(_, slot)| slot.holds(word));
        if let Some((_, slot)) = known {
            let learn = |before: u64| (!is_static(before)).then(|| seen(port, now));
            let seen = slot.seen.fetch_update(Ordering::AcqRel, Ordering::Acquire, learn);
            // What is static has been said by somebody who knows.
            let Ok(before) = seen else { return Outcome::Known };
            if port_of(before) == port {
                return Outcome::Known;
            }
            self.tally.moved.fetch_add(1, Ordering::Relaxed);
            self.moved(station, port_of(before), port);
            return Outcome::Changed;
        }
        let Some(slot) = self.claim(station, port) else {
            self.tally.refused.fetch_add(1, Ordering::Relaxed);
            return Outcome::Refused;
        };
        self.tally.learned.fetch_add(1, Ordering::Relaxed);
        self.fill(slot, station, port, seen(port, now));
        Outcome::Changed
    }

    /// Says that `station` is at `port`, until it is forgotten. `None` if all candidate slots hold
    /// static entries.
    pub fn add(&self, station: Station, port: PortId) -> Option<()> {
        let word = station.to_word();
        let seen = seen(port, Millis(STATIC));
        if let Some((_, slot)) = self.candidates(station).find(|(_, slot)| slot.holds(word)) {
            let before = slot.seen.swap(seen, Ordering::AcqRel);
            self.moved(station, port_of(before), port);
            return Some(());
        }
        let free = self.candidates(station).find(|(_, slot)| slot.change(FREE, CLAIMED));
        let slot = match free {
            Some((_, slot)) => slot,
            None => {
                let held = self.candidates(station).filter_map(|(n, slot)| slot.read(n));
                self.evict(held)?
            }
        };
        self.fill(slot, station, port, seen);
        Some(())
    }

    /// Puts an entry into the slot where it was. Answers whether that is one of its own and free.
    pub(crate) fn restore(&self, entry: &Learned) -> bool {
        let Learned { slot, station, port, used, is_static } = *entry;
        let is_legal = Station::from_word(station.to_word()) == station
            && self.find(station).is_none()
            && used.0 <= STATIC
            && is_static == (used.0 == STATIC);
        let mut own = self.candidates(station).filter(|(n, _)| *n == slot);
        match own.next() {
            Some((_, slot)) if is_legal && slot.change(FREE, CLAIMED) => {
                self.fill(slot, station, port, seen(port, used));
                true
            }
            _ => false,
        }
    }

    /// Counts on from what had become of learned entries before.
    pub(crate) fn restore_stats(&self, stats: MacStats) {
        let MacStats { learned, moved, expired, evicted, refused } = stats;
        self.tally.learned.fetch_add(learned, Ordering::Relaxed);
        self.tally.moved.fetch_add(moved, Ordering::Relaxed);
        self.tally.expired.fetch_add(expired, Ordering::Relaxed);
        self.tally.evicted.fetch_add(evicted, Ordering::Relaxed);
        self.tally.refused.fetch_add(refused, Ordering::Relaxed);
    }

    /// Forgets where `station` is. Answers whether that was known.
    pub fn remove(&self, station: Station) -> bool {
        self.find(station).is_some_and(|entry| self.clear(&entry))
    }

    /// What has become of learned entries so far.
    pub fn stats(&self) -> MacStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MacStats {
            learned: load(&self.tally.learned),
            moved: load(&self.tally.moved),
            expired: load(&self.tally.expired),
            evicted: load(&self.tally.evicted),
            refused: load(&self.tally.refused),
        }
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + size_of_val(&*self.versions) + size_of_val(&*self.shares)
    }

    fn moved(&self, station: Station, from: PortId, to: PortId) {
        self.share(from, false);
        self.share(to, true);
        self.changed(station);
    }

    /// Makes an entry of a slot that was claimed.
    fn fill(&self, slot: &Slot, station: Station, port: PortId, seen: u64) {
        slot.seen.store(seen, Ordering::Release);
        slot.station.store(station.to_word(), Ordering::Release);
        self.share(port, true);
        self.forget_twins(station);
        self.changed(station);
    }

    /// A slot for a new entry of `port`: a free one if its share allows, else its own oldest one.
    fn claim(&self, station: Station, port: PortId) -> Option<&Slot> {
        if self.entries(port) < Self::SHARE
            && let Some((_, free)) =
                self.candidates(station).find(|(_, slot)| slot.change(FREE, CLAIMED))
        {
            return Some(free);
        }
        let own = self.candidates(station).filter_map(|(n, slot)| slot.read(n));
        self.evict(own.filter(|entry| entry.port == port))
    }

    /// The slot of the oldest of these that is not static, without it.
    fn evict(&self, among: impl Iterator<Item = Learned>) -> Option<&Slot> {
        let oldest = among.filter(|entry| !entry.is_static).min_by_key(|entry| entry.used)?;
        let slot = &self.slots[usize::from(oldest.slot)];
        let is_ours = self.clear(&oldest) && slot.change(FREE, CLAIMED);
        self.tally.evicted.fetch_add(is_ours.into(), Ordering::Relaxed);
        is_ours.then_some(slot)
    }

    /// Two workers may have learned one address at once, in two slots: the first one stays.
    fn forget_twins(&self, station: Station) {
        let found = self.candidates(station).filter_map(|(n, slot)| slot.read(n));
        for twin in found.filter(|entry| entry.station == station).skip(1) {
            self.clear(&twin);
        }
    }

    /// Empties the slot of `entry`, unless it holds another one by now; the address has changed
    /// then.
    fn clear(&self, entry: &Learned) -> bool {
        let slot = &self.slots[usize::from(entry.slot)];
        let cleared = slot.change(entry.station.to_word(), FREE);
        if cleared {
            self.share(entry.port, false);
            self.changed(entry.station);
        }
        cleared
    }

    fn share(&self, port: PortId, more: bool) {
        let share = &self.shares[usize::from(port.0) % Self::PORTS];
        let step =
            |share: u32| Some(if more { share.saturating_add(1) } else { share.saturating_sub(1) });
        // It only ever answers with an error where the closure gives up.
        let _ = share.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
    }

    /// How many entries a port has.
    pub fn entries(&self, port: PortId) -> u32 {
        self.shares[usize::from(port.0) % Self::PORTS].load(Ordering::Acquire)
    }

    /// Notes that packets of the address in `slot` have been carried since, without anybody
    /// learning.
    pub fn touch(&self, slot: u16, port: PortId, used: Millis) {
        let Some(slot) = self.slots.get(usize::from(slot)) else { return };
        let before = slot.seen.load(Ordering::Acquire);
        if port_of(before) == port && time_of(before) < used {
            // Lost against a move: then somebody knows better.
            let _ = slot.seen.compare_exchange(
                before,
                seen(port, used),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
        }
    }

    /// Every entry.
    pub fn iter(&self) -> impl Iterator<Item = Learned> + '_ {
        self.slots.iter().enumerate().filter_map(|(n, slot)| slot.read(u16::try_from(n).ok()?))
    }

    /// Forgets entries that `is_over` says are too old, and counts them.
    pub fn age(&self, is_over: impl Fn(&Learned) -> bool) -> usize {
        let count = self.expire(|entry| !entry.is_static && is_over(entry));
        self.tally.expired.fetch_add(count as u64, Ordering::Relaxed);
        count
    }

    /// Forgets the entries for which `is_over` says so; answers how many.
    pub fn expire(&self, is_over: impl Fn(&Learned) -> bool) -> usize {
        let over = self.iter().filter(|entry| is_over(entry));
        over.filter(|entry| self.clear(entry)).count()
    }
}

impl Slot {
    fn holds(&self, word: u64) -> bool {
        self.station.load(Ordering::Acquire) == word
    }

    /// Answers whether the slot held `from`, and holds `to` now.
    fn change(&self, from: u64, to: u64) -> bool {
        self.station.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// The entry in this slot, unless it is empty or being replaced.
    fn read(&self, slot: u16) -> Option<Learned> {
        let word = self.station.load(Ordering::Acquire);
        let seen = self.seen.load(Ordering::Acquire);
        let whole = word != FREE && word != CLAIMED && self.station.load(Ordering::Acquire) == word;
        let station = Station::from_word(word);
        let (port, used, is_static) = (port_of(seen), time_of(seen), is_static(seen));
        whole.then_some(Learned { slot, station, port, used, is_static })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> MacTable {
        MacTable::new(Seed(7), Arc::default())
    }

    fn station(n: u64) -> Station {
        Station { vlan: 5, mac: MacAddr::from_u64(n) }
    }

    #[test]
    fn an_address_is_found_where_it_was_seen_last() {
        let table = table();
        assert_eq!(table.find(station(1)), None);
        assert_eq!(table.learn(station(1), PortId(3), Millis(10)), Outcome::Changed);
        assert_eq!(table.learn(station(1), PortId(3), Millis(20)), Outcome::Known);
        assert_eq!(table.find(station(1)).map(|e| (e.port, e.used)), Some((PortId(3), Millis(20))));
        assert_eq!(table.find(Station { vlan: 6, ..station(1) }), None, "another VLAN");
        assert_eq!(table.learn(station(1), PortId(4), Millis(30)), Outcome::Changed);
        assert_eq!(table.find(station(1)).map(|e| e.port), Some(PortId(4)));
        assert_eq!((table.entries(PortId(3)), table.entries(PortId(4))), (0, 1));
    }

    #[test]
    fn coming_moving_and_going_change_the_version_and_seeing_again_does_not() {
        let table = table();
        let change = |what: &dyn Fn()| {
            let (before, epoch) = (table.version(station(1)), table.epoch.get());
            what();
            let changed = !table.is_current(before);
            assert_eq!(changed, table.epoch.get() != epoch);
            changed
        };
        assert!(
            change(&|| {
                table.learn(station(1), PortId(1), Millis(0));
            }),
            "absence ended"
        );
        assert!(!change(&|| {
            table.learn(station(1), PortId(1), Millis(1));
        }));
        assert!(
            change(&|| {
                table.learn(station(1), PortId(2), Millis(2));
            }),
            "moved"
        );
        assert!(
            change(&|| {
                table.expire(|_| true);
            }),
            "gone"
        );
    }

    #[test]
    #[cfg_attr(miri, ignore = "a hundred thousand addresses take miri an hour")]
    fn a_port_that_invents_addresses_forgets_its_own() {
        let table = table();
        for n in 0..100 {
            table.learn(station(n), PortId(1), Millis(0));
        }
        for n in 0..100_000 {
            table.learn(station(1_000_000 + n), PortId(2), Millis(n));
        }
        assert!(table.entries(PortId(2)) <= MacTable::SHARE);
        assert!((0..100).all(|n| table.find(station(n)).is_some()), "the neighbour's entries stay");
        let (one, two) = (PortId(1), PortId(2));
        let count = |port| table.iter().filter(|entry| entry.port == port).count();
        assert_eq!((count(one), count(two)), (100, table.entries(two) as usize));
    }

    #[test]
    #[cfg_attr(miri, ignore = "a hundred thousand addresses take miri an hour")]
    fn what_is_static_neither_ages_nor_moves_nor_makes_room() {
        let table = table();
        table.learn(station(1), PortId(1), Millis(0));
        table.add(station(1), PortId(2)).unwrap();
        assert_eq!(table.learn(station(1), PortId(1), Millis(5)), Outcome::Known);
        assert_eq!(table.find(station(1)).map(|e| (e.port, e.is_static)), Some((PortId(2), true)));
        assert_eq!((table.entries(PortId(1)), table.entries(PortId(2))), (0, 1));
        let slot = table.find(station(1)).unwrap().slot;
        table.touch(slot, PortId(2), Millis(7));
        assert_eq!(table.age(|entry| Millis(u64::MAX >> 1).since(entry.used) > 300), 0);
        // Its own port invents addresses that fall into every slot.
        for n in 0..20_000 {
            table.learn(station(1_000 + n), PortId(2), Millis(n));
        }
        assert!(table.find(station(1)).unwrap().is_static);
        assert!(table.remove(station(1)) && !table.remove(station(1)));
        assert_eq!(table.find(station(1)), None);
        assert_eq!(table.stats().moved, 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "a hundred thousand addresses take miri an hour")]
    fn static_entries_take_the_place_of_learned_ones_and_not_of_each_other() {
        let table = table();
        let mut refused = 0;
        for n in 0..MacTable::CAPACITY as u64 * 2 {
            table.learn(station(n), PortId(u16::try_from(n % 16).unwrap()), Millis(n));
        }
        let learned = table.iter().count();
        for n in 0..MacTable::CAPACITY as u64 {
            refused += u64::from(table.add(station(1_000_000 + n), PortId(3)).is_none());
        }
        let all = table.iter().count();
        let statics = table.iter().filter(|entry| entry.is_static).count() as u64;
        assert_eq!(statics + refused, MacTable::CAPACITY as u64);
        assert!(refused > 0 && all >= learned && all <= MacTable::CAPACITY, "{refused} {all}");
        assert!(table.iter().filter(|entry| entry.is_static).all(|e| e.port == PortId(3)));
    }

    #[test]
    fn what_becomes_of_entries_is_counted() {
        let table = table();
        table.learn(station(1), PortId(1), Millis(0));
        table.learn(station(1), PortId(2), Millis(0));
        table.learn(station(2), PortId(2), Millis(0));
        assert_eq!(table.age(|entry| entry.station == station(2)), 1);
        assert_eq!(table.expire(|_| true), 1, "flushed, and not counted as aged");
        let expected = MacStats { learned: 2, moved: 1, expired: 1, ..MacStats::default() };
        assert_eq!(table.stats(), expected);
    }

    #[test]
    fn what_is_used_does_not_expire() {
        let table = table();
        table.learn(station(1), PortId(1), Millis(0));
        table.learn(station(2), PortId(1), Millis(0));
        let slot = table.find(station(1)).unwrap().slot;
        table.touch(slot, PortId(1), Millis(500));
        assert_eq!(table.expire(|entry| Millis(600).since(entry.used) > 300), 1);
        assert!(table.find(station(1)).is_some() && table.find(station(2)).is_none());
    }
}
