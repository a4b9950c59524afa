//! Places of connections that were taken away, until nobody can see those any more: then they are free.
//!
//! Whoever takes a connection away puts its place here. One thread at a time frees those whose moment
//! is over: it takes over all that have come, and goes through them, the newest first. What it finds is
//! mostly free, or mostly not: so it stops at the first that is not.

use crate::sync::{AtomicU32, Ordering};

#[derive(Debug)]
pub(crate) struct Gone {
    /// The newest that nobody has taken over yet.
    newest: AtomicU32,
    /// The next one that is looked at: for who is busy here.
    next: AtomicU32,
    is_busy: AtomicU32,
}

/// No place.
const NONE: u32 = u32::MAX;

impl Gone {
    pub(crate) fn new() -> Self {
        let [newest, next] = [(); 2].map(|()| AtomicU32::new(NONE));
        Self { newest, next, is_busy: AtomicU32::new(0) }
    }

    /// Adds places. `set_next` notes which one has come before another.
    pub(crate) fn add(&self, places: &[u32], set_next: impl Fn(u32, u32)) {
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return };
        places.windows(2).for_each(|pair| set_next(pair[1], pair[0]));
        let add = |newest| {
            set_next(*first, newest);
            Some(*last)
        };
        // It always succeeds.
        let _ = self.newest.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    /// Whether there is none, as far as this thread knows.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        [&self.newest, &self.next].iter().all(|place| place.load(Ordering::Relaxed) == NONE)
    }

    /// Has `free` free places, `most` at most, until it says that one is not; unless another thread does.
    /// `next` says which one has come before another.
    pub(crate) fn free(
        &self,
        most: u32,
        next: impl Fn(u32) -> u32,
        mut free: impl FnMut(u32) -> bool,
    ) {
        let is_free =
            self.is_busy.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok();
        if !is_free {
            return;
        }
        let mut place = self.next.load(Ordering::Relaxed);
        for _ in 0..most {
            if place == NONE {
                place = self.newest.swap(NONE, Ordering::Acquire);
            }
            if place == NONE {
                break;
            }
            // Before it is free, and another thread writes there.
            let behind = next(place);
            if !free(place) {
                break;
            }
            place = behind;
        }
        self.next.store(place, Ordering::Relaxed);
        self.is_busy.store(0, Ordering::Release);
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn none_is_freed_twice_and_none_is_lost() {
        let (gone, links) = (Gone::new(), RefCell::new([NONE; 5]));
        let set_next = |place: u32, before| links.borrow_mut()[place as usize] = before;
        let add = |places: &[u32]| gone.add(places, set_next);
        let free = |most, is_over: &dyn Fn(u32) -> bool| {
            let mut freed = Vec::new();
            gone.free(
                most,
                |place| links.borrow()[place as usize],
                |place| {
                    freed.extend(is_over(place).then_some(place));
                    is_over(place)
                },
            );
            freed
        };
        add(&[0]);
        add(&[]);
        add(&[1, 2]);
        let none: [u32; 0] = [];
        assert_eq!(free(9, &|_| false), none);
        assert_eq!(free(2, &|_| true), [2, 1]);
        add(&[3, 4]);
        assert_eq!(free(9, &|place| place < 4), [0], "those that have come since come then");
        assert_eq!(free(9, &|_| true), [4, 3]);
        assert_eq!(free(9, &|_| true), none);
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[derive(Debug)]
    struct Places {
        gone: Gone,
        links: [AtomicU32; 3],
        freed: [AtomicU32; 3],
    }

    impl Places {
        fn add(&self, places: &[u32]) {
            self.gone.add(places, |place, before| {
                self.links[place as usize].store(before, Ordering::Relaxed);
            });
        }

        fn free(&self) {
            let next = |place: u32| self.links[place as usize].load(Ordering::Relaxed);
            self.gone.free(3, next, |place| {
                self.freed[place as usize].fetch_add(1, Ordering::Relaxed);
                // Its next user writes there at once.
                self.links[place as usize].store(7, Ordering::Relaxed);
                true
            });
        }
    }

    #[test]
    fn each_place_is_freed_once() {
        loom::model(|| {
            let places = Arc::new(Places {
                gone: Gone::new(),
                links: Default::default(),
                freed: Default::default(),
            });
            places.add(&[0]);
            let threads = [1, 2].map(|place| {
                let places = Arc::clone(&places);
                thread::spawn(move || {
                    places.add(&[place]);
                    places.free();
                })
            });
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            places.free();
            let freed = places.freed.each_ref().map(|count| count.load(Ordering::Relaxed));
            assert_eq!(freed, [1, 1, 1]);
        });
    }
}
