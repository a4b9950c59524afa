//! A ring that two sides share: one puts descriptors in, the other takes them out.
//!
//! The memory of a ring is two counters, a word of flags and a power of two of slots. The counters
//! run freely and wrap at 2^32; `producer - consumer` slots are full, and counter `n` means slot `n
//! % size`. AF_XDP has four such rings a socket: fill and tx, which we produce, rx and completion,
//! which we consume; the kernel is the other side.
//!
//! Each side is one value with one owner, [`Producer`] or [`Consumer`]. Both work in batches: many
//! descriptors, then one store that publishes them. A side keeps its own counter in a field and
//! looks at the other's only when what it knows does not suffice, so that a batch touches the
//! shared cache lines about once.
//!
//! # Invariants
//! 1. The slots between `consumer` and `producer` belong to the consumer, all others to the
//!    producer.
//! 2. A counter is stored only by its side, with release; the other side loads it with acquire. So
//!    whoever is allowed to touch a slot sees what the other wrote, and nobody reads half a
//!    descriptor.
//!
//! Counters that make no sense (`producer - consumer > size`) mean that the other side is broken.
//! They cost wrong descriptors, never an access outside the ring.
#![expect(unsafe_code, reason = "the ring's memory is shared with the kernel")]

use std::any::Any;
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use crate::atomics::{AtomicU32, Ordering, UnsafeCell};
use crate::sys::Mapping;

/// Set by the kernel when it sleeps and must be called (`XDP_RING_NEED_WAKEUP`).
const NEED_WAKEUP: u32 = 1;

/// Where a ring's parts lie, and what keeps them there.
pub(crate) struct Ring<D> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    slots: NonNull<UnsafeCell<D>>,
    size: u32,
    _memory: Arc<dyn Any + Send + Sync>,
}

// SAFETY: the pointers lead into memory that `_memory` keeps and that is made to be shared; who may
// touch which slot is settled by the counters (invariant 1), not by the thread.
unsafe impl<D: Send> Send for Ring<D> {}

impl<D> Ring<D> {
    /// A ring of `size` slots.
    ///
    /// # Safety
    /// The pointers are aligned and valid for reads and writes while `memory` lives, `slots` for
    /// `size` elements, of which any bytes are a valid value. All who touch them keep the
    /// invariants above, and there is at most one [`Producer`] or [`Consumer`] for each side.
    ///
    /// # Panics
    /// If `size` is not a power of two.
    pub(crate) unsafe fn new(
        [producer, consumer, flags]: [NonNull<AtomicU32>; 3],
        slots: NonNull<UnsafeCell<D>>,
        size: u32,
        memory: Arc<dyn Any + Send + Sync>,
    ) -> Self {
        assert!(size.is_power_of_two(), "a ring of {size} slots");
        Self { producer, consumer, flags, slots, size, _memory: memory }
    }

    /// A ring whose counters and flags, and slots, lie at these offsets in `mapping`. `None` if
    /// they do not lie inside it.
    ///
    /// # Safety
    /// As for [`Self::new`], but for the addresses: that what lies there is such a ring, with no
    /// other value for our side.
    pub(crate) unsafe fn mapped(
        mapping: Arc<Mapping>,
        counters: [u64; 3],
        slots: u64,
        size: u32,
    ) -> Option<Self> {
        let [producer, consumer, flags] = counters.map(|offset| mapping.at(offset));
        let counters = [producer?, consumer?, flags?];
        let last = slots + u64::from(size.checked_sub(1)?) * size_of::<D>() as u64;
        mapping.at::<D>(last)?;
        let slots = mapping.at(slots)?;
        // SAFETY: all addresses are aligned and inside the mapping, which is kept; the rest is the
        // caller's promise.
        Some(unsafe { Self::new(counters, slots, size, mapping) })
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: valid while `_memory` lives (`new`), and touched only atomically by both sides.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.flags.as_ref() }
    }

    /// The slot that counter `n` means.
    #[inline]
    fn slot(&self, n: u32) -> &UnsafeCell<D> {
        let index = n & (self.size - 1);
        // SAFETY: the index is below `size`, for which the slots are valid.
        let slot = unsafe { self.slots.add(index as usize) };
        // SAFETY: a shared reference to a cell allows the other side its writes.
        unsafe { slot.as_ref() }
    }
}

impl<D> fmt::Debug for Ring<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ring").field("size", &self.size).finish_non_exhaustive()
    }
}

/// The side that puts descriptors in.
#[derive(Debug)]
pub(crate) struct Producer<D> {
    ring: Ring<D>,
    /// Our counter; what is between the shared one and this is written but not yet published.
    next: u32,
    /// The consumer's counter when we last looked.
    seen: u32,
}

impl<D: Copy> Producer<D> {
    /// Goes on where the ring stands.
    pub(crate) fn new(ring: Ring<D>) -> Self {
        let next = ring.producer().load(Ordering::Acquire);
        let seen = ring.consumer().load(Ordering::Acquire);
        Self { ring, next, seen }
    }

    /// Slots in all.
    pub(crate) const fn size(&self) -> u32 {
        self.ring.size
    }

    /// How many descriptors fit; looks at the other side only if it is not known that `want` do.
    #[inline]
    pub(crate) fn room(&mut self, want: u32) -> u32 {
        if self.known_room() < want {
            self.seen = self.ring.consumer().load(Ordering::Acquire);
        }
        self.known_room()
    }

    /// Writes one descriptor. The other side sees it after [`Self::submit`].
    ///
    /// # Panics
    /// If [`Self::room`] has not said that there is room: a mistake in our own code.
    #[inline]
    pub(crate) fn push(&mut self, descriptor: D) {
        assert!(self.known_room() > 0, "no room among {} slots", self.ring.size);
        self.ring.slot(self.next).with_mut(|slot| {
            // SAFETY: the slot is ours until `submit` (invariant 1), and valid for writes.
            unsafe { slot.write(descriptor) }
        });
        self.next = self.next.wrapping_add(1);
    }

    /// Publishes what has been pushed.
    #[inline]
    pub(crate) fn submit(&mut self) {
        // Release: the other side must see the descriptors before the counter that covers them.
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// How many descriptors the other side has still to take.
    #[inline]
    pub(crate) fn pending(&mut self) -> u32 {
        self.seen = self.ring.consumer().load(Ordering::Acquire);
        self.next.wrapping_sub(self.seen)
    }

    /// Whether the kernel waits to be called before it takes anything.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.ring.flags().load(Ordering::Relaxed) & NEED_WAKEUP != 0
    }

    #[inline]
    const fn known_room(&self) -> u32 {
        self.ring.size.saturating_sub(self.next.wrapping_sub(self.seen))
    }
}

/// The side that takes descriptors out.
#[derive(Debug)]
pub(crate) struct Consumer<D> {
    ring: Ring<D>,
    /// Our counter; what is between the shared one and this is read but not yet released.
    next: u32,
    /// The producer's counter when we last looked.
    seen: u32,
}

impl<D: Copy> Consumer<D> {
    /// Goes on where the ring stands.
    pub(crate) fn new(ring: Ring<D>) -> Self {
        let next = ring.consumer().load(Ordering::Acquire);
        let seen = ring.producer().load(Ordering::Acquire);
        Self { ring, next, seen }
    }

    /// How many descriptors wait; looks at the other side only if it is not known that `want` do.
    #[inline]
    pub(crate) fn ready(&mut self, want: u32) -> u32 {
        if self.known_ready() < want {
            self.seen = self.ring.producer().load(Ordering::Acquire);
        }
        self.known_ready()
    }

    /// Takes the next descriptor. Its slot is the other side's again after [`Self::release`].
    ///
    /// # Panics
    /// If [`Self::ready`] has not said that there is one: a mistake in our own code.
    #[inline]
    pub(crate) fn read(&mut self) -> D {
        assert!(self.known_ready() > 0, "nothing ready among {} slots", self.ring.size);
        let descriptor = self.ring.slot(self.next).with(|slot| {
            // SAFETY: the slot is ours until `release` (invariant 1), and any bytes are a
            // descriptor.
            unsafe { slot.read() }
        });
        self.next = self.next.wrapping_add(1);
        descriptor
    }

    /// Gives the slots of what has been read back.
    #[inline]
    pub(crate) fn release(&mut self) {
        // Release: our reads must be over before the other side may write there again.
        self.ring.consumer().store(self.next, Ordering::Release);
    }

    #[inline]
    const fn known_ready(&self) -> u32 {
        let ready = self.seen.wrapping_sub(self.next);
        if ready > self.ring.size { self.ring.size } else { ready }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ring in the process's own memory whose counters begin at `first`.
    struct Heap<D> {
        counters: [AtomicU32; 3],
        slots: Box<[UnsafeCell<D>]>,
    }

    // SAFETY: the slots are touched through the two sides of a ring only.
    unsafe impl<D: Send> Send for Heap<D> {}
    // SAFETY: as above.
    unsafe impl<D: Send> Sync for Heap<D> {}

    fn heap<D: Copy + Default + Send + 'static>(
        size: u32,
        first: u32,
    ) -> (Producer<D>, Consumer<D>) {
        let slots = (0..size).map(|_| UnsafeCell::new(D::default())).collect();
        let counters = [first, first, 0].map(AtomicU32::new);
        let heap: Arc<Heap<D>> = Arc::new(Heap { counters, slots });
        let ring = || {
            let counters = heap.counters.each_ref().map(NonNull::from);
            let slots = NonNull::new(heap.slots.as_ptr().cast_mut()).unwrap();
            let memory = Arc::clone(&heap) as Arc<dyn Any + Send + Sync>;
            // SAFETY: the memory is the heap's own, and there is one value for each side.
            unsafe { Ring::new(counters, slots, size, memory) }
        };
        (Producer::new(ring()), Consumer::new(ring()))
    }

    #[cfg(not(loom))]
    mod alone {
        use super::*;
        use proptest::prelude::*;
        use std::collections::VecDeque;

        #[derive(Clone, Copy, Debug)]
        enum Step {
            Push(u32),
            Submit,
            Take(u32),
            Release,
        }

        fn step() -> impl Strategy<Value = Step> {
            prop_oneof![
                (1..6u32).prop_map(Step::Push),
                Just(Step::Submit),
                (1..6u32).prop_map(Step::Take),
                Just(Step::Release),
            ]
        }

        proptest! {
            #![proptest_config(ProptestConfig {
                cases: if cfg!(miri) { 8 } else { 256 },
                // Miri has no files to keep failures in.
                failure_persistence: None,
                ..ProptestConfig::default()
            })]
            /// A ring does what a queue of bounded length does, also where its counters wrap.
            #[test]
            fn a_ring_agrees_with_a_queue(
                first in prop_oneof![Just(0u32), Just(u32::MAX - 3)],
                steps in prop::collection::vec(step(), 1..60),
            ) {
                let (mut producer, mut consumer) = heap::<u64>(8, first);
                let (mut pushed, mut ready) = (VecDeque::new(), VecDeque::new());
                let (mut value, mut held) = (0u64, 0u32);
                for step in steps {
                    match step {
                        Step::Push(n) => {
                            let full = pushed.len() + ready.len() + held as usize;
                            prop_assert_eq!(producer.room(u32::MAX) as usize, 8 - full);
                            for _ in 0..n.min(producer.room(n)) {
                                producer.push(value);
                                pushed.push_back(value);
                                value += 1;
                            }
                        }
                        Step::Submit => {
                            producer.submit();
                            ready.append(&mut pushed);
                        }
                        Step::Take(n) => {
                            prop_assert_eq!(consumer.ready(u32::MAX) as usize, ready.len());
                            for _ in 0..n.min(consumer.ready(n)) {
                                prop_assert_eq!(Some(consumer.read()), ready.pop_front());
                                held += 1;
                            }
                        }
                        Step::Release => {
                            consumer.release();
                            held = 0;
                            let pending = producer.pending() as usize;
                            prop_assert_eq!(pending, pushed.len() + ready.len());
                        }
                    }
                }
            }
        }

        #[test]
        #[should_panic(expected = "no room among 2 slots")]
        fn a_full_ring_takes_no_more() {
            let (mut producer, _consumer) = heap::<u32>(2, 0);
            (0..3).for_each(|n| producer.push(n));
        }

        #[test]
        fn nonsense_from_the_other_side_stays_inside_the_ring() {
            let (producer, mut consumer) = heap::<u32>(4, 0);
            producer.ring.producer().store(0x8000_0000, Ordering::Release);
            assert_eq!(consumer.ready(u32::MAX), 4);
            (0..4).for_each(|_| assert_eq!(consumer.read(), 0));
            let (mut producer, consumer) = heap::<u32>(4, 0);
            consumer.ring.consumer().store(7, Ordering::Release);
            assert_eq!(producer.room(u32::MAX), 0);
        }

        #[test]
        fn the_wakeup_flag_is_read_anew() {
            let (producer, _consumer) = heap::<u32>(2, 0);
            assert!(!producer.needs_wakeup());
            producer.ring.flags().store(NEED_WAKEUP, Ordering::Relaxed);
            assert!(producer.needs_wakeup());
        }

        #[test]
        fn threads_exchange_every_descriptor_once() {
            let count = if cfg!(miri) { 300 } else { 1_000_000u64 };
            let (mut producer, mut consumer) = heap::<(u64, u64)>(64, u32::MAX - 100);
            std::thread::scope(|scope| {
                scope.spawn(move || {
                    let mut next = 0;
                    while next < count {
                        for _ in 0..producer.room(16).min(16) {
                            producer.push((next, !next));
                            next += 1;
                        }
                        producer.submit();
                        std::thread::yield_now();
                    }
                });
                let mut next = 0;
                while next < count {
                    for _ in 0..consumer.ready(16) {
                        assert_eq!(consumer.read(), (next, !next));
                        next += 1;
                    }
                    consumer.release();
                    std::thread::yield_now();
                }
            });
        }
    }

    /// In every order that the memory model allows: nothing lost, doubled, torn or out of turn.
    #[cfg(loom)]
    #[test]
    fn ring_under_loom() {
        for first in [0, u32::MAX - 1] {
            let mut model = loom::model::Builder::new();
            // More than three switches against a thread's will add hours, and no new orders of two
            // sides that take turns anyway.
            model.preemption_bound = Some(3);
            model.check(move || {
                const COUNT: u32 = 4;
                let (mut producer, mut consumer) = heap::<(u32, u32)>(2, first);
                let sender = loom::thread::spawn(move || {
                    let mut next = 0;
                    while next < COUNT {
                        let room = producer.room(1);
                        for _ in 0..room.min(COUNT - next) {
                            producer.push((next, !next));
                            next += 1;
                        }
                        producer.submit();
                        if room == 0 {
                            loom::thread::yield_now();
                        }
                    }
                });
                let mut next = 0;
                while next < COUNT {
                    let ready = consumer.ready(2);
                    for _ in 0..ready {
                        assert_eq!(consumer.read(), (next, !next));
                        next += 1;
                    }
                    consumer.release();
                    if ready == 0 {
                        loom::thread::yield_now();
                    }
                }
                sender.join().unwrap();
            });
        }
    }
}
