//! Cached flows by wildcarded match: one worker's answers to packets it has not met before.
//!
//! A megaflow is what a translation looked at (a mask and the values there) and where it led (a
//! program and a path). A packet that agrees in those bits has the same fate, so a lookup tries the
//! masks in use on its port, one hash each, and any hit is right. Every port has masks of its own,
//! so that one with many does not slow down the others.
//!
//! **Limits.** Entries in all, entries per port and masks per port are bounded. When a port has its
//! share, the oldest of its own entries that share a bucket with the new one go; if there is none,
//! the new one is not kept, and its packets take the long way. A port that has many masks gets some
//! that are wider than need be, and no more: its packets are in the cache all the same, and mostly
//! found by their session.

mod lookup;
mod room;

use bytemuck::Zeroable;
use packet::{Key, Millis, PortId, Seed};

use crate::change::{Basis, Change};
use crate::eras::NEVER;
use crate::family::{Concerned, Families, Family, FamilyId};
use crate::index::Index;
use crate::mac::Version;
use crate::mask::Mask;
use crate::mask_use::{MaskId, MaskUses};
use crate::paths::PathId;
use crate::port_use::{GONE, MaskOfPort, PortUse, PortUses};
use crate::ports::BridgeId;
use crate::program::AsideId;
use crate::programs::ProgramId;
use crate::translate::Translation;

pub use room::NoRoom;
use room::Place;

/// The place of a megaflow of one worker. Another one may be there later.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Zeroable)]
#[repr(transparent)]
pub struct MegaflowId(pub(crate) u32);

/// One use of a place: never the same for two megaflows that could be mistaken for each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Zeroable)]
#[repr(transparent)]
pub struct Serial(pub(crate) u32);

/// The part of a megaflow that a hit reads. The first line suffices for masks of up to four words.
#[derive(Clone, Copy, Debug, Zeroable)]
#[repr(C, align(64))]
struct Entry {
    /// The era in which it was last known to be right.
    era: u32,
    program: ProgramId,
    path: PathId,
    port: u16,
    mask: u16,
    hash: u64,
    /// Seconds of its last hit.
    used: u32,
    /// Which use of this place it is; 0 if it is not in use.
    serial: u32,
    values: [u64; Key::PACKET_WORDS],
}

/// Values in the first line of an entry.
const IN_FIRST_LINE: usize = 4;

/// The part that only a change makes anybody read.
#[derive(Clone, Debug)]
struct Origin {
    generation: u64,
    /// How many flows had been taught in its bridge.
    taught: u64,
    basis: Basis,
    stations: [Option<(BridgeId, Version)>; Translation::STATIONS],
    /// Whether its packets are to be tracked.
    tracks: bool,
}

const NO_ORIGIN: Origin = Origin {
    generation: 0,
    taught: 0,
    basis: Basis::NOTHING,
    stations: [None; Translation::STATIONS],
    tracks: false,
};

/// What a megaflow that is gone had in use.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Gone {
    /// Its program.
    pub program: ProgramId,
    /// Its path.
    pub path: PathId,
    /// The earlier pass that its packets came from, if they did not come from a port.
    pub pass: Option<AsideId>,
}

/// How a port's packets find their megaflow.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lead {
    /// There is one for all of them.
    All(MegaflowId),
    /// By the one mask that is in use.
    One(MaskId),
    /// By one of several masks, or none yet; or their connections are tracked.
    Many,
}

/// Which megaflows some changes concern.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Outdated {
    /// None.
    None,
    /// Some, which are right in no era from now on; or perhaps some that are gone, and cannot be
    /// asked, while what was made of them may still be there.
    Some,
    /// Whichever it may be.
    Any,
}

/// When a megaflow was made.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    /// The era of the cache.
    pub era: u32,
    /// In the generations of the tables.
    pub generation: u64,
    /// In time.
    pub now: Millis,
}

/// One worker's megaflows.
#[derive(Debug)]
pub struct Megaflows {
    entries: Box<[Entry]>,
    origins: Vec<Origin>,
    free: Vec<u32>,
    index: Index,
    masks: MaskUses,
    ports: PortUses,
    families: Families,
    seed: Seed,
    /// Where the next sweep goes on.
    hand: u32,
    next_serial: u32,
    /// Whether some have gone since it was last asked which ones are outdated.
    lost: bool,
}

impl Megaflows {
    /// Most masks in use on one port.
    pub const MASKS: usize = PortUses::MASKS;
    /// How many of them are wide at least: each depends on all that the others do.
    const WIDE: usize = 8;
    /// Most masks in use at all.
    pub const ALL_MASKS: usize = MaskUses::MOST;

    /// Room for `most` megaflows, of which one port may have three quarters. Memory is taken as it
    /// is touched.
    pub fn new(most: u32, seed: Seed) -> Self {
        Self {
            entries: bytemuck::allocation::zeroed_slice_box(most as usize),
            origins: Vec::with_capacity(most as usize),
            free: Vec::with_capacity(most as usize),
            index: Index::new(most as usize),
            masks: MaskUses::new(seed),
            ports: PortUses::default(),
            families: Families::new(),
            seed,
            hand: 0,
            next_serial: 1,
            lost: false,
        }
    }

    /// Bytes of what has been in use at some time.
    pub fn bytes(&self) -> usize {
        let each = size_of::<Entry>() + size_of::<Origin>() + size_of::<u32>();
        let uses = self.masks.bytes() + self.ports.bytes() + self.families.bytes();
        self.origins.len() * each + self.index.bytes() + uses
    }

    /// What stands for a port where packets come from the end of an earlier pass.
    pub fn behind(aside: AsideId) -> PortId {
        PortUses::behind(aside)
    }

    /// Makes room for the ports up to `port`, or the passes. Allocates: for the moment in which a
    /// port is added, or a walk frozen for the first time.
    pub fn prepare(&mut self, port: PortId) {
        self.ports.prepare(port);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.origins.len() - self.free.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Masks in use on `port`.
    pub fn masks(&self, port: PortId) -> usize {
        self.ports.get(port).map_or(0, |port| port.masks.len())
    }

    /// Different masks in use on all ports. Cost: a look at each that ever was.
    pub fn all_masks(&self) -> usize {
        self.masks.in_use()
    }

    /// How packets of `port` find their megaflow.
    pub fn lead(&self, port: PortId) -> Lead {
        match self.ports.get(port) {
            // Several passes are shorter as one.
            Some(PortUse { tracking: 1.., .. }) => Lead::Many,
            // A mask that looks at nothing but where packets come from has one megaflow a port.
            Some(PortUse { masks, flows: 1, newest, .. })
                if *newest != GONE && self.mask(masks[0].mask).words() == [0] =>
            {
                Lead::All(MegaflowId(*newest))
            }
            Some(PortUse { masks, .. }) if masks.len() == 1 => Lead::One(masks[0].mask),
            _ => Lead::Many,
        }
    }

    /// A mask in use.
    #[inline]
    pub fn mask(&self, mask: MaskId) -> &Mask {
        self.masks.get(mask)
    }

    /// Which use of its place a megaflow is.
    #[inline]
    pub fn serial(&self, flow: MegaflowId) -> Serial {
        Serial(self.entries[flow.0 as usize].serial)
    }

    /// The era in which a megaflow was last known to be right.
    #[inline]
    pub fn era(&self, flow: MegaflowId) -> u32 {
        self.entries[flow.0 as usize].era
    }

    /// Notes that a megaflow is right in `era`.
    pub fn stamp(&mut self, flow: MegaflowId, era: u32) {
        self.entries[flow.0 as usize].era = era;
    }

    /// Notes which megaflows these changes concern: they are right in no era. Few changes of few
    /// masks are looked at, each in the time of a lookup.
    pub(crate) fn outdate<'a>(&mut self, changes: impl Iterator<Item = &'a Change>) -> Outdated {
        /// Changes and masks, so that packets do not wait for long.
        const MOST: usize = 1024;
        let lost = std::mem::take(&mut self.lost);
        let (mut looks, mut outdated) = (0, if lost { Outdated::Some } else { Outdated::None });
        for change in changes {
            for uses in self.ports.iter() {
                looks += 1 + uses.masks.len();
                if looks > MOST {
                    return Outdated::Any;
                }
                for MaskOfPort { mask, family, .. } in &uses.masks {
                    let Some(family) = self.families.get(*family) else { return Outdated::Any };
                    let key = match family.concerned(change, self.mask(*mask).bits()) {
                        Concerned::None => continue,
                        Concerned::One(key) => key,
                        Concerned::Any => return Outdated::Any,
                    };
                    if let Some(flow) = self.find(*mask, self.hash(*mask, &key), None, &key) {
                        self.entries[flow.0 as usize].era = NEVER;
                        outdated = Outdated::Some;
                    }
                }
            }
        }
        outdated
    }

    /// What a megaflow leads to; it has been hit at `now`.
    #[inline]
    pub fn hit(&mut self, flow: MegaflowId, now: Millis) -> (ProgramId, PathId) {
        let entry = &mut self.entries[flow.0 as usize];
        let seconds = seconds(now);
        if entry.used != seconds {
            entry.used = seconds;
        }
        (entry.program, entry.path)
    }

    /// What a megaflow leads to.
    pub fn result(&self, flow: MegaflowId) -> (ProgramId, PathId) {
        let entry = &self.entries[flow.0 as usize];
        (entry.program, entry.path)
    }

    /// Which packets a megaflow is for: key and mask.
    pub fn matching(&self, flow: MegaflowId) -> (Key, &Key) {
        let entry = &self.entries[flow.0 as usize];
        let mask = self.mask(MaskId(entry.mask));
        (mask.expand(&entry.values), mask.bits())
    }

    /// Whether a megaflow is for packets only that agree in these bits.
    pub(crate) fn depends_on(&self, flow: MegaflowId, looked: &Key) -> bool {
        self.mask(MaskId(self.entries[flow.0 as usize].mask)).has(looked)
    }

    /// What a megaflow rests on: the generation it is from and the flows that had been taught by
    /// then, its tables, the learned entries.
    pub fn origin(
        &self,
        flow: MegaflowId,
    ) -> ((u64, u64), &Basis, impl Iterator<Item = (BridgeId, Version)> + '_) {
        let origin = &self.origins[flow.0 as usize];
        let from = (origin.generation, origin.taught);
        (from, &origin.basis, origin.stations.iter().flatten().copied())
    }

    /// Whether a megaflow's packets are to be tracked.
    pub fn tracks(&self, flow: MegaflowId) -> bool {
        self.origins[flow.0 as usize].tracks
    }

    /// Notes that a megaflow rests on this translation, of `generation`, as it is now.
    pub fn renew(&mut self, flow: MegaflowId, generation: u64, translation: &Translation) {
        let mut stations = [None; Translation::STATIONS];
        for (place, station) in stations.iter_mut().zip(&translation.stations) {
            *place = Some(*station);
        }
        let Translation { taught, basis, .. } = *translation;
        let tracks = translation.tracks();
        self.origins[flow.0 as usize] = Origin { generation, taught, basis, stations, tracks };
        let Entry { port, mask, .. } = self.entries[flow.0 as usize];
        if let Some(family) = self.family_of(PortId(port), MaskId(mask)) {
            family.rest_on(&basis);
        }
    }

    fn family_of(&mut self, port: PortId, mask: MaskId) -> Option<&mut Family> {
        let family = self.ports.get(port)?.masks.iter().find(|own| own.mask == mask)?.family;
        self.families.get_mut(family)
    }

    /// Notes that a megaflow is known to be right in `generation`, with so many flows taught.
    pub fn confirm(&mut self, flow: MegaflowId, generation: u64, taught: u64) {
        let origin = &mut self.origins[flow.0 as usize];
        (origin.generation, origin.taught) = (generation, taught);
    }

    /// Adds a megaflow at a place that was just made.
    pub fn insert(
        &mut self,
        Place { port, mask, hash }: Place,
        key: &Key,
        translation: &Translation,
        result: (ProgramId, PathId),
        stamp: Stamp,
    ) -> Result<MegaflowId, NoRoom> {
        let number = self.take_number().ok_or(NoRoom)?;
        if self.index.insert(hash, number).is_err() {
            self.free.push(number);
            return Err(NoRoom);
        }
        let entry = &mut self.entries[number as usize];
        *entry = Entry {
            era: stamp.era,
            program: result.0,
            path: result.1,
            port: port.0,
            mask: mask.0,
            hash,
            used: seconds(stamp.now),
            serial: self.next_serial,
            values: [0; Key::PACKET_WORDS],
        };
        let words = self.masks.get(mask);
        for (place, value) in entry.values.iter_mut().zip(words.values(key)) {
            *place = value;
        }
        self.next_serial = self.next_serial.wrapping_add(1).max(1);
        self.count(port, mask, number, key, translation);
        self.renew(MegaflowId(number), stamp.generation, translation);
        Ok(MegaflowId(number))
    }

    /// Counts a megaflow among those of its port and its mask.
    fn count(
        &mut self,
        port: PortId,
        mask: MaskId,
        number: u32,
        key: &Key,
        translation: &Translation,
    ) {
        let basis = &translation.basis;
        self.masks.enter(mask);
        let is_first = match self.family_of(port, mask) {
            Some(family) => {
                family.add(key, basis);
                false
            }
            None => {
                self.ports.get(port).is_some_and(|own| own.masks.iter().all(|own| own.mask != mask))
            }
        };
        let family = match is_first {
            true => self.families.add(Family::of(key, self.mask(mask).bits(), basis)),
            false => FamilyId::NONE,
        };
        let Some(own) = self.ports.get_mut(port) else { return };
        own.flows += 1;
        own.tracking += u32::from(translation.tracks());
        own.newest = number;
        match own.masks.iter_mut().find(|own| own.mask == mask) {
            Some(own) => own.flows += 1,
            None => own.masks.push(MaskOfPort { mask, flows: 1, family }),
        }
    }

    /// Removes a megaflow; answers with what has one user less.
    pub fn remove(&mut self, flow: MegaflowId) -> Gone {
        let entry = &mut self.entries[flow.0 as usize];
        entry.serial = 0;
        self.lost = true;
        let Entry { hash, port, mask, program, path, .. } = *entry;
        self.index.remove(hash, flow.0);
        self.masks.leave(MaskId(mask));
        self.free.push(flow.0);
        let (port, tracks) = (PortId(port), self.origins[flow.0 as usize].tracks);
        let own = self.ports.get_mut(port);
        if let Some(family) = own.and_then(|own| own.forget(MaskId(mask), flow, tracks)) {
            self.families.remove(family);
        }
        Gone { program, path, pass: PortUses::pass(port) }
    }

    /// Looks at the next few megaflows and removes those that have had no packet for `idle`
    /// seconds.
    pub fn sweep(&mut self, now: Millis, idle: u32, mut gone: impl FnMut(Gone)) {
        const STEPS: usize = 16;
        for _ in 0..STEPS.min(self.origins.len()) {
            self.hand = if (self.hand as usize) < self.origins.len() { self.hand } else { 0 };
            let entry = &self.entries[self.hand as usize];
            if entry.serial != 0 && seconds(now).saturating_sub(entry.used) >= idle {
                gone(self.remove(MegaflowId(self.hand)));
            }
            self.hand += 1;
        }
    }

    /// Every megaflow of `port`, or of all ports.
    pub fn iter(&self, port: Option<PortId>) -> impl Iterator<Item = MegaflowId> + '_ {
        let live =
            (0..).zip(&self.entries[..self.origins.len()]).filter(|(_, entry)| entry.serial != 0);
        let wanted = live.filter(move |(_, entry)| port.is_none_or(|port| port.0 == entry.port));
        wanted.map(|(number, _)| MegaflowId(number))
    }

    /// The port by which a megaflow's packets come in, and the second of its last hit.
    pub fn usage(&self, flow: MegaflowId) -> (PortId, u32) {
        let ingress = self.matching(flow).0.word(Key::INGRESS);
        (PortId(u16::try_from(ingress).unwrap_or(0)), self.entries[flow.0 as usize].used)
    }

    /// The end of the earlier pass that a megaflow's packets come from, if they do not come from a
    /// port.
    pub fn behind_which(&self, flow: MegaflowId) -> Option<AsideId> {
        PortUses::pass(PortId(self.entries[flow.0 as usize].port))
    }

    /// The megaflow at this place that is this use of it, if it is still there.
    pub fn at(&self, place: u32, serial: u32) -> Option<MegaflowId> {
        let entry = self.entries[..self.origins.len()].get(place as usize)?;
        (serial != 0 && entry.serial == serial).then_some(MegaflowId(place))
    }

    /// The numbers by which [`Megaflows::at`] finds a megaflow.
    pub fn place(&self, flow: MegaflowId) -> (u32, u32) {
        (flow.0, self.serial(flow).0)
    }
}

fn seconds(now: Millis) -> u32 {
    u32::try_from(now.0 / 1000).unwrap_or(u32::MAX)
}

// A hit by a small mask reads one line.
const _: () = {
    assert!(size_of::<Entry>() == 256 && align_of::<Entry>() == 64);
    assert!(std::mem::offset_of!(Entry, values) + 8 * IN_FIRST_LINE == 64);
};
