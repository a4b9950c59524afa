//! Atomics and how to wait for one, by loom's in a model and by the standard library's elsewhere.

#[cfg(loom)]
pub(crate) use loom::hint::spin_loop;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
#[cfg(not(loom))]
pub(crate) use std::hint::spin_loop;
#[cfg(not(loom))]
pub(crate) use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

/// So many of a thing that is zero at first. Memory is taken as it is touched.
#[cfg(not(loom))]
pub(crate) fn zeroed<T: bytemuck::Zeroable>(count: usize) -> Box<[T]> {
    bytemuck::allocation::zeroed_slice_box(count)
}

/// So many of a thing that is zero at first.
#[cfg(loom)]
pub(crate) fn zeroed<T: Default>(count: usize) -> Box<[T]> {
    (0..count).map(|_| T::default()).collect()
}
