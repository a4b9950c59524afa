//! How many connections there are, by how many have come and how many have gone.

use crate::sync::{AtomicU64, Ordering};

/// Two counts, of which each change writes one.
#[derive(Debug)]
pub(crate) struct Population {
    most: u32,
    come: AtomicU64,
    gone: AtomicU64,
}

impl Population {
    /// None, of so many at most.
    pub(crate) fn new(most: u32) -> Self {
        Self { most, come: AtomicU64::new(0), gone: AtomicU64::new(0) }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        // In this order: who is seen to have gone is seen to have come.
        let gone = self.gone.load(Ordering::Acquire);
        self.come.load(Ordering::Relaxed) - gone
    }

    /// How many have come so far.
    pub(crate) fn come(&self) -> u64 {
        self.come.load(Ordering::Relaxed)
    }

    /// One comes, unless there are as many as there may be; answers whether it has.
    #[inline]
    pub(crate) fn enter(&self) -> bool {
        let gone = self.gone.load(Ordering::Acquire);
        let has_room = self.come.fetch_add(1, Ordering::Relaxed) - gone < self.most.into();
        if !has_room {
            self.withdraw();
        }
        has_room
    }

    /// One that was counted has not come after all.
    #[cold]
    pub(crate) fn withdraw(&self) {
        self.come.fetch_sub(1, Ordering::Relaxed);
    }

    /// So many go.
    pub(crate) fn leave(&self, count: u64) {
        self.gone.fetch_add(count, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_room_is_not_counted() {
        let population = Population::new(2);
        assert_eq!([(); 3].map(|()| population.enter()), [true, true, false]);
        assert_eq!((population.len(), population.come()), (2, 2));
        population.leave(1);
        assert!(population.enter());
        assert_eq!((population.len(), population.come()), (2, 3));
        population.withdraw();
        assert_eq!((population.len(), population.come()), (1, 2));
    }
}
