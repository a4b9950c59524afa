//! What is kept of a place while it holds no connection that lives: apart from the connections, so that
//! those who take or free places in a row find it in a row.

#[cfg(not(loom))]
use bytemuck::Zeroable;

use crate::grace::Moment;
use crate::sync::{AtomicU32, AtomicU64, Ordering};

#[cfg_attr(not(loom), derive(Zeroable))]
#[derive(Debug, Default)]
pub(crate) struct Link {
    /// When its connection was taken away: a [`Moment`].
    gone_at: AtomicU64,
    /// While the place is free, the next one that is; while its connection has gone, the one that went
    /// before it.
    next: AtomicU32,
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Link>() == 16);

impl Link {
    /// Has memory taken for it, by writing what it says already. Only for a place that was never in use.
    pub(crate) fn take_memory(&self) {
        self.next.store(0, Ordering::Relaxed);
    }

    /// The place behind this one.
    pub(crate) fn next(&self) -> u32 {
        self.next.load(Ordering::Relaxed)
    }

    /// Notes which place is behind this one.
    pub(crate) fn set_next(&self, next: u32) {
        self.next.store(next, Ordering::Relaxed);
    }

    /// Notes when the connection was taken away.
    pub(crate) fn gone(&self, at: Moment) {
        self.gone_at.store(at.0, Ordering::Release);
    }

    /// Whether that was before this moment.
    pub(crate) fn has_gone_before(&self, over: Moment) -> bool {
        Moment(self.gone_at.load(Ordering::Acquire)) < over
    }
}
