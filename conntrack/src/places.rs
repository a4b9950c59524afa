//! Free places for connections, of which any thread takes one, without a lock.

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The places of one family, counted from 0.
#[derive(Debug)]
pub(crate) struct Places {
    most: u32,
    /// The first place that is free again, and how often one was taken: so nobody takes what another
    /// has taken and given back meanwhile.
    free: AtomicU64,
    /// Places beyond this were never in use.
    used: AtomicU32,
}

/// No place.
const NONE: u32 = u32::MAX;

impl Places {
    pub(crate) fn new(most: u32) -> Self {
        let free = AtomicU64::new(u64::from(NONE));
        Self { most, free, used: AtomicU32::new(0) }
    }

    /// How many have ever been in use.
    pub(crate) fn used(&self) -> u32 {
        self.used.load(Ordering::Acquire)
    }

    /// Takes a place that was in use before, and says which one is taken next, if that is known. `next`
    /// says which one is free behind another.
    pub(crate) fn take(&self, next: impl Fn(u32) -> u32) -> Option<(u32, Option<u32>)> {
        let mut behind = NONE;
        let take = |head| {
            let (count, place) = split(head);
            (place != NONE).then(|| {
                behind = next(place);
                join(count.wrapping_add(1), behind)
            })
        };
        let head = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        Some((split(head).1, (behind != NONE).then_some(behind)))
    }

    /// Takes a place that was never in use.
    pub(crate) fn take_fresh(&self) -> Option<u32> {
        let take = |used| (used < self.most).then_some(used + 1);
        self.used.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()
    }

    /// Gives a place back. `set_next` notes which one is free behind it.
    pub(crate) fn give(&self, place: u32, set_next: impl Fn(u32)) {
        let give = |head| {
            let (count, first) = split(head);
            set_next(first);
            Some(join(count, place))
        };
        // It always succeeds.
        let _ = self.free.fetch_update(Ordering::AcqRel, Ordering::Acquire, give);
    }
}

const fn join(count: u32, place: u32) -> u64 {
    (count as u64) << 32 | place as u64
}

#[expect(clippy::cast_possible_truncation, reason = "the halves of a word")]
const fn split(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn what_is_given_back_is_taken_first() {
        let places = Places::new(3);
        let next = RefCell::new([NONE; 3]);
        let take = || {
            let again = places.take(|place| next.borrow()[place as usize]);
            again.map(|(place, _)| place).or_else(|| places.take_fresh())
        };
        let give =
            |place: u32| places.give(place, |after| next.borrow_mut()[place as usize] = after);
        assert_eq!([take(), take()], [Some(0), Some(1)]);
        give(0);
        give(1);
        assert_eq!([take(), take(), take(), take()], [Some(1), Some(0), Some(2), None]);
    }
}
