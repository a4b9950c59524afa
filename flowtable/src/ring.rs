//! A ring of numbers from one thread to another: how paths change hands.
//!
//! One side pushes, the other pops; nothing else is synchronised, and neither ever waits. Whoever
//! pops a number sees everything the other side wrote before pushing it.

use crate::sync::{AtomicU32, Ordering};

/// A ring with one pusher and one popper.
#[derive(Debug)]
pub(crate) struct Ring {
    numbers: Box<[AtomicU32]>,
    /// How many have been pushed. Both counts wrap around.
    pushed: AtomicU32,
    /// How many have been popped.
    popped: AtomicU32,
}

impl Ring {
    /// An empty ring for at least `capacity` numbers.
    ///
    /// # Panics
    /// If that is more than 2^31.
    pub(crate) fn new(capacity: usize) -> Self {
        assert!(capacity <= 1 << 31, "a ring of {capacity}");
        let numbers = (0..capacity.next_power_of_two()).map(|_| AtomicU32::new(0)).collect();
        Self { numbers, pushed: AtomicU32::new(0), popped: AtomicU32::new(0) }
    }

    fn place(&self, count: u32) -> &AtomicU32 {
        &self.numbers[count as usize & (self.numbers.len() - 1)]
    }

    /// Adds a number; answers whether there was room. For the pushing thread alone.
    pub(crate) fn push(&self, number: u32) -> bool {
        // Our own count; only we change it.
        let pushed = self.pushed.load(Ordering::Relaxed);
        // Acquire: the popper must be done with a place before it is used again.
        let waiting = pushed.wrapping_sub(self.popped.load(Ordering::Acquire));
        if waiting as usize >= self.numbers.len() {
            return false;
        }
        self.place(pushed).store(number, Ordering::Relaxed);
        // Release: the number, and all that was written before, go first.
        self.pushed.store(pushed.wrapping_add(1), Ordering::Release);
        true
    }

    /// Takes the number that was pushed first. For the popping thread alone.
    pub(crate) fn pop(&self) -> Option<u32> {
        let popped = self.popped.load(Ordering::Relaxed);
        if self.pushed.load(Ordering::Acquire) == popped {
            return None;
        }
        let number = self.place(popped).load(Ordering::Relaxed);
        self.popped.store(popped.wrapping_add(1), Ordering::Release);
        Some(number)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    proptest! {
        #[test]
        fn it_is_a_bounded_queue(steps in prop::collection::vec(prop::option::of(any::<u32>()), 0..200)) {
            let (ring, mut model) = (Ring::new(8), VecDeque::new());
            // The counts wrap in the middle.
            ring.pushed.store(u32::MAX - 20, Ordering::Relaxed);
            ring.popped.store(u32::MAX - 20, Ordering::Relaxed);
            for step in steps {
                match step {
                    Some(number) => {
                        let room = model.len() < 8;
                        prop_assert_eq!(ring.push(number), room);
                        if room {
                            model.push_back(number);
                        }
                    }
                    None => prop_assert_eq!(ring.pop(), model.pop_front()),
                }
            }
        }
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::sync::Arc;
    use loom::thread;

    #[test]
    fn every_number_arrives_once_in_order_with_what_was_written_before() {
        loom::model(|| {
            let ring = Arc::new(Ring::new(2));
            let payload: Arc<[AtomicU32; 3]> = Arc::new(std::array::from_fn(|_| AtomicU32::new(0)));
            let pusher = thread::spawn({
                let (ring, payload) = (Arc::clone(&ring), Arc::clone(&payload));
                move || {
                    for n in 0..3 {
                        payload[n as usize].store(n + 10, Ordering::Relaxed);
                        while !ring.push(n) {
                            thread::yield_now();
                        }
                    }
                }
            });
            for expected in 0..3 {
                let n = loop {
                    match ring.pop() {
                        Some(n) => break n,
                        None => thread::yield_now(),
                    }
                };
                assert_eq!(n, expected);
                assert_eq!(payload[n as usize].load(Ordering::Relaxed), n + 10);
            }
            pusher.join().unwrap();
        });
    }
}
