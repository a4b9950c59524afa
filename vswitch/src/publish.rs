//! Where control and workers meet: one value at a time, handed over whole.
//!
//! Control publishes a value under a number that only grows. A worker that sees a new number takes
//! the value, and says so; from then on it uses nothing older. What was published before is kept by
//! control until every worker has said so: no worker ever frees it.
//!
//! A worker pays one load per turn for this, and a lock only when there is something new.

use crate::sync::{Arc, AtomicU64, Mutex, Ordering};

/// A value that changes under the feet of its readers, one whole value at a time.
#[derive(Debug)]
pub struct Publication<T> {
    value: Mutex<Arc<T>>,
    number: AtomicU64,
}

impl<T> Publication<T> {
    /// Publishes the first value, as number 1.
    pub fn new(value: Arc<T>) -> Self {
        Self { value: Mutex::new(value), number: AtomicU64::new(1) }
    }

    /// Publishes the next value; answers with its number and the value before.
    pub fn publish(&self, value: Arc<T>) -> (u64, Arc<T>) {
        let mut current = lock(&self.value);
        let old = std::mem::replace(&mut *current, value);
        // Release: who sees the number finds the value, or a later one. Under the lock, so that
        // numbers are in the order of values.
        let number = self.number.load(Ordering::Relaxed) + 1;
        self.number.store(number, Ordering::Release);
        (number, old)
    }

    /// The number of the value that was published last.
    #[inline]
    pub fn number(&self) -> u64 {
        self.number.load(Ordering::Acquire)
    }

    /// The value that was published last, and its number.
    pub fn get(&self) -> (u64, Arc<T>) {
        let current = lock(&self.value);
        (self.number.load(Ordering::Relaxed), Arc::clone(&current))
    }
}

#[cfg(not(loom))]
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nobody panics while holding it; and if so, a whole value is in it.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(loom)]
fn lock<T>(mutex: &Mutex<T>) -> loom::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The number up to which one reader has gone along.
#[derive(Debug)]
pub struct Seen(AtomicU64);

impl Seen {
    /// A reader that has seen nothing.
    pub fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// Says that nothing older than `number` is in use any more. For the reader alone.
    pub fn set(&self, number: u64) {
        // Release: what was done with older values comes before.
        self.0.store(number, Ordering::Release);
    }

    /// What the reader said last.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

impl Default for Seen {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, loom))]
mod model {
    use super::*;
    use loom::thread;

    /// A value that knows whether it may still be used.
    struct Value {
        number: u64,
        freed: AtomicU64,
    }

    fn value(number: u64) -> Arc<Value> {
        Arc::new(Value { number, freed: AtomicU64::new(0) })
    }

    #[test]
    fn a_reader_never_goes_back_nor_uses_what_was_freed() {
        loom::model(|| {
            let publication = Arc::new(Publication::new(value(1)));
            let seen = Arc::new(Seen::new());
            let reader = thread::spawn({
                let (publication, seen) = (Arc::clone(&publication), Arc::clone(&seen));
                move || {
                    let (mut number, mut current) = publication.get();
                    seen.set(number);
                    for _ in 0..2 {
                        if publication.number() != number {
                            let (next, value) = publication.get();
                            assert!(next > number, "{next} after {number}");
                            assert_eq!(value.number, next, "a number leads to its value");
                            (number, current) = (next, value);
                            seen.set(number);
                        }
                        assert_eq!(
                            current.freed.load(Ordering::Relaxed),
                            0,
                            "used after it was freed"
                        );
                    }
                }
            });
            let mut old = Vec::new();
            for n in 2..=3 {
                let (number, before) = publication.publish(value(n));
                assert_eq!(number, n);
                old.push(before);
                let in_use = seen.get();
                old.retain(|value| {
                    let free = value.number < in_use;
                    if free {
                        value.freed.store(1, Ordering::Relaxed);
                    }
                    !free
                });
            }
            reader.join().unwrap();
        });
    }
}
