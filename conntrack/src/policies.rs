//! Timeout policies: how long connections may be silent, where zones differ.
//!
//! A connection knows the number of its policy from its beginning on, so that a packet finds its
//! timeout in one line of memory. Number 0 is the default. Another one is given to a zone, and stays
//! with it until the zone has none of its own any more and no connection goes by it: only then may
//! another zone have it. What a policy does not say itself is what the default says.

use std::sync::atomic::AtomicU32 as Word;

use api::{CtSeconds, CtTimeout, CtTimeouts};

use crate::sync::{AtomicU32, Ordering, fence};
use crate::timeouts::Timeouts;

/// Seconds, as all threads read them.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Policy([Word; CtTimeout::ALL.len()]);

impl Policy {
    fn new(timeouts: &Timeouts) -> Self {
        Self(CtTimeout::ALL.map(|timeout| Word::new(timeouts[timeout])))
    }

    #[inline]
    pub(crate) fn get(&self, timeout: CtTimeout) -> u32 {
        self.0[timeout as usize].load(Ordering::Relaxed)
    }

    /// More than [`CtSeconds::MOST`] is none: half of what a deadline can say.
    fn set(&self, timeout: CtTimeout, seconds: u32) {
        self.0[timeout as usize].store(seconds.min(CtSeconds::MOST), Ordering::Relaxed);
    }

    /// Of TCP that is established, by whether something that was sent is not acknowledged.
    #[inline]
    pub(crate) fn established(&self, is_owed: bool) -> u32 {
        let timeout = self.get(CtTimeout::TcpEstablished);
        if is_owed { timeout.min(self.get(CtTimeout::TcpUnack)) } else { timeout }
    }
}

/// What is known of a policy besides.
#[derive(Debug, Default)]
struct Slot {
    /// Which of its seconds are its own, as bits.
    own: Word,
    /// One more than the zone that it was given to last; 0 if to none.
    zone: Word,
    /// Connections that go by it.
    users: AtomicU32,
}

/// All policies.
#[derive(Debug)]
pub(crate) struct Policies {
    policies: [Policy; COUNT],
    slots: Box<[Slot]>,
}

/// The default, and those that may be given to a zone: whoever has a number of eight bits has one.
#[cfg(not(loom))]
const COUNT: usize = 1 << u8::BITS;
#[cfg(loom)]
const COUNT: usize = 2;

/// Every policy belongs to another zone.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{} zones have timeouts of their own, or connections that began when they had",
    Policies::MOST
)]
pub struct TooManyPolicies;

impl Policies {
    /// The most that zones may have.
    pub(crate) const MOST: usize = COUNT - 1;

    pub(crate) fn new() -> Self {
        let timeouts = Timeouts::default();
        Self {
            policies: std::array::from_fn(|_| Policy::new(&timeouts)),
            slots: (0..COUNT).map(|_| Slot::default()).collect(),
        }
    }

    /// The policy of this number.
    #[inline]
    pub(crate) fn get(&self, number: u8) -> &Policy {
        &self.policies[usize::from(number) % COUNT]
    }

    /// Counts in a connection that goes by the policy that a zone names.
    pub(crate) fn enter(&self, named: &AtomicU32) -> u8 {
        loop {
            let number = number(named.load(Ordering::Acquire));
            let Some(slot) = self.slot(number) else { return 0 };
            slot.users.fetch_add(1, Ordering::Relaxed);
            // If it is named no more, another zone may have got it before this one was counted; if it
            // is, whoever looks for one that is unused finds that this one is not.
            fence(Ordering::SeqCst);
            if named.load(Ordering::Relaxed) == u32::from(number) {
                return number;
            }
            slot.users.fetch_sub(1, Ordering::Release);
        }
    }

    /// Counts it out.
    pub(crate) fn leave(&self, number: u8) {
        if let Some(slot) = self.slot(number) {
            slot.users.fetch_sub(1, Ordering::Release);
        }
    }

    /// What is known of a policy besides; nothing of the default.
    fn slot(&self, number: u8) -> Option<&Slot> {
        self.slots.get(usize::from(number)).filter(|_| number != 0)
    }

    /// Sets timeouts of the default.
    pub(crate) fn set_default(&self, timeouts: &CtTimeouts) {
        for (timeout, seconds) in timeouts {
            self.spread(*timeout, (*seconds).into());
        }
    }

    /// Has the default be what it was at first.
    pub(crate) fn reset_default(&self) {
        let timeouts = Timeouts::default();
        CtTimeout::ALL.into_iter().for_each(|timeout| self.spread(timeout, timeouts[timeout]));
    }

    /// Sets a timeout of the default, and of all that say nothing about it.
    fn spread(&self, timeout: CtTimeout, seconds: u32) {
        for (policy, slot) in self.policies.iter().zip(&self.slots) {
            if slot.own.load(Ordering::Relaxed) & bit(timeout) == 0 {
                policy.set(timeout, seconds);
            }
        }
    }

    /// Sets timeouts of a zone, which names its policy here. One thread at a time.
    pub(crate) fn set(
        &self,
        zone: u16,
        named: &AtomicU32,
        is_named: impl Fn(u16) -> bool,
        timeouts: &CtTimeouts,
    ) -> Result<(), TooManyPolicies> {
        let number = match number(named.load(Ordering::Relaxed)) {
            0 => self.unused(zone, is_named).ok_or(TooManyPolicies)?,
            number => number,
        };
        let Some(slot) = self.slot(number) else { return Err(TooManyPolicies) };
        slot.zone.store(u32::from(zone) + 1, Ordering::Relaxed);
        for (timeout, seconds) in timeouts {
            slot.own.fetch_or(bit(*timeout), Ordering::Relaxed);
            self.get(number).set(*timeout, (*seconds).into());
        }
        named.store(number.into(), Ordering::Release);
        Ok(())
    }

    /// A policy that a zone may have: the one that it had, if connections still go by it.
    fn unused(&self, zone: u16, is_named: impl Fn(u16) -> bool) -> Option<u8> {
        // What a zone names no more is named no more to whoever is counted from here on.
        fence(Ordering::SeqCst);
        let slots = || (1..=u8::MAX).zip(self.slots.iter().skip(1));
        let last = |slot: &Slot| slot.zone.load(Ordering::Relaxed).checked_sub(1);
        let is_free = |slot: &Slot| {
            let zone = last(slot).and_then(|zone| u16::try_from(zone).ok());
            zone.is_none_or(|zone| !is_named(zone) && slot.users.load(Ordering::Acquire) == 0)
        };
        let mut had = slots().filter(|(_, slot)| last(slot) == Some(zone.into()));
        let found = had.next().or_else(|| slots().find(|(_, slot)| is_free(slot)));
        found.map(|(number, _)| number)
    }

    /// Has a zone go by the default, with those of its connections that there are.
    pub(crate) fn reset(&self, named: &AtomicU32) {
        let number = number(named.swap(0, Ordering::Relaxed));
        let Some(slot) = self.slot(number) else { return };
        slot.own.store(0, Ordering::Relaxed);
        for timeout in CtTimeout::ALL {
            self.get(number).set(timeout, self.get(0).get(timeout));
        }
    }

    /// What a policy says itself; everything if it is the default.
    pub(crate) fn own(&self, number: u8) -> CtTimeouts {
        let own = self.slot(number).map_or(u32::MAX, |slot| slot.own.load(Ordering::Relaxed));
        let says = CtTimeout::ALL.into_iter().filter(|timeout| own & bit(*timeout) != 0);
        let seconds = |timeout| self.get(number).get(timeout).try_into().ok();
        says.filter_map(|timeout| Some((timeout, seconds(timeout)?))).collect()
    }
}

const fn bit(timeout: CtTimeout) -> u32 {
    1 << timeout as u32
}

/// The number of a policy, as a word has it.
pub(crate) fn number(word: u32) -> u8 {
    u8::try_from(word).unwrap_or(0)
}
