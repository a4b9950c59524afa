//! What zones may have: how many connections, and for how long.
//!
//! A connection is counted in before it takes a place, and counted out when it leaves it, or when it
//! was not made after all: a zone never has more than it may. Nothing else follows from a count or a
//! limit, so there is no order in which others have to be seen with them.

use std::sync::atomic::AtomicU32 as Word;

use api::CtTimeouts;
#[cfg(not(loom))]
use bytemuck::Zeroable;

use crate::policies::{Policies, TooManyPolicies, number};
use crate::sync::{AtomicU32, Ordering, zeroed};

/// All zones.
#[derive(Debug)]
pub struct Zones {
    zones: Box<[Zone]>,
    /// Of each that has no limit of its own; there is none if it is 0.
    limit: Word,
    policies: Policies,
}

#[cfg_attr(not(loom), derive(Zeroable))]
#[derive(Debug, Default)]
#[repr(C)]
struct Zone {
    /// Connections that it has, and that are being made in it.
    count: Word,
    /// Its own limit, or [`NONE`], or [`UNLIMITED`].
    limit: Word,
    /// By which policy connections go that begin.
    policy: AtomicU32,
}

/// It has no limit of its own.
const NONE: u32 = 0;
/// It may have as many as there is room for, whatever others may.
const UNLIMITED: u32 = u32::MAX;
/// As many as there are.
#[cfg(not(loom))]
const COUNT: usize = 1 << u16::BITS;
#[cfg(loom)]
const COUNT: usize = 2;

impl Zones {
    pub(crate) fn new() -> Self {
        Self { zones: zeroed(COUNT), limit: Word::new(0), policies: Policies::new() }
    }

    pub(crate) const fn policies(&self) -> &Policies {
        &self.policies
    }

    fn zone(&self, zone: u16) -> &Zone {
        &self.zones[usize::from(zone) % COUNT]
    }

    /// Counts in a connection; answers by which policy it goes, unless its zone has as many as it may.
    pub(crate) fn enter(&self, zone: u16) -> Option<u8> {
        let Zone { count, limit, policy } = self.zone(zone);
        let most = match limit.load(Ordering::Relaxed) {
            NONE => self.limit.load(Ordering::Relaxed).wrapping_sub(1),
            limit => limit - 1,
        };
        let one_more = |count| (count <= most).then(|| count + 1);
        count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(self.policies.enter(policy))
    }

    /// Counts out a connection that went by this policy.
    pub(crate) fn leave(&self, zone: u16, policy: u8) {
        self.policies.leave(policy);
        self.zone(zone).count.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many connections a zone has.
    pub fn count(&self, zone: u16) -> u32 {
        self.zone(zone).count.load(Ordering::Relaxed)
    }

    /// How many a zone may have that has no limit of its own; 0 is as many as there is room for.
    pub fn default_limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Sets it. Connections that there are stay.
    pub fn set_default_limit(&self, limit: u32) {
        self.limit.store(limit, Ordering::Relaxed);
    }

    /// How many a zone may have, if it has a limit of its own; 0 is as many as there is room for.
    pub fn limit(&self, zone: u16) -> Option<u32> {
        match self.zone(zone).limit.load(Ordering::Relaxed) {
            NONE => None,
            UNLIMITED => Some(0),
            limit => Some(limit),
        }
    }

    /// Sets or removes the limit of a zone. Connections that there are stay.
    pub fn set_limit(&self, zone: u16, limit: Option<u32>) {
        let limit = match limit {
            None => NONE,
            Some(0) => UNLIMITED,
            Some(limit) => limit,
        };
        self.zone(zone).limit.store(limit, Ordering::Relaxed);
    }

    /// The zones that have a limit of their own. Cost: a look at all.
    pub fn limited(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|zone| self.limit(*zone).is_some())
    }

    /// How long connections may be silent where nothing else is said.
    pub fn default_timeouts(&self) -> CtTimeouts {
        self.policies.own(0)
    }

    /// Sets some of that, from the next packet of each connection on.
    pub fn set_default_timeouts(&self, timeouts: &CtTimeouts) {
        self.policies.set_default(timeouts);
    }

    /// Has it be what it was at first.
    pub fn reset_default_timeouts(&self) {
        self.policies.reset_default();
    }

    /// The timeouts that a zone has of its own, if it has any.
    pub fn timeouts(&self, zone: u16) -> Option<CtTimeouts> {
        let number = number(self.zone(zone).policy.load(Ordering::Relaxed));
        (number != 0).then(|| self.policies.own(number))
    }

    /// Sets some timeouts of a zone: of connections that begin, and from the next packet on of those
    /// that began when it had timeouts of its own. One thread at a time.
    pub fn set_timeouts(&self, zone: u16, timeouts: &CtTimeouts) -> Result<(), TooManyPolicies> {
        let is_named = |zone| self.zone(zone).policy.load(Ordering::Relaxed) != 0;
        self.policies.set(zone, &self.zone(zone).policy, is_named, timeouts)
    }

    /// Has a zone go by the default, its connections from their next packet on. One thread at a time.
    pub fn reset_timeouts(&self, zone: u16) {
        self.policies.reset(&self.zone(zone).policy);
    }

    /// The zones that have timeouts of their own. Cost: a look at all.
    pub fn timed(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|zone| self.zone(*zone).policy.load(Ordering::Relaxed) != 0)
    }

    /// How many zones may have timeouts of their own.
    pub const fn most_timed() -> usize {
        Policies::MOST
    }
}
