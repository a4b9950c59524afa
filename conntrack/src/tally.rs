//! What has become of connections, counted.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::table::NotMade;

/// What has become of connections and packets so far.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Stats {
    /// Connections that were made.
    pub made: u64,
    /// Those that went because they were silent, half-open ones that made room for others included.
    pub expired: u64,
    /// Connections that were not made because there was no room.
    pub full: u64,
    /// Those that were not made because their zone had as many as it may have.
    pub over_limit: u64,
    /// Those that were not made because another one has a tuple of theirs.
    pub clashed: u64,
    /// Those that were not made because every port that they might have been given was taken.
    pub without_port: u64,
    /// Packets that were invalid.
    pub invalid: u64,
}

/// [`Stats`], as all threads count them; connections that were made are counted where they come.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Of those that have come, so many were not to be.
    pub(crate) taken_back: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) full: AtomicU64,
    pub(crate) over_limit: AtomicU64,
    pub(crate) clashed: AtomicU64,
    pub(crate) without_port: AtomicU64,
    pub(crate) invalid: AtomicU64,
}

impl Tally {
    /// A connection was not made.
    #[cold]
    pub(crate) fn refused(&self, why: NotMade) {
        let count = match why {
            NotMade::Full => &self.full,
            NotMade::ZoneLimit => &self.over_limit,
            NotMade::Exists => &self.clashed,
            NotMade::NoPort => &self.without_port,
            NotMade::BeginsNone => return,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// What has been counted so far, if so many connections have come.
    pub(crate) fn read(&self, come: u64) -> Stats {
        let Self { taken_back, expired, full, over_limit, clashed, without_port, invalid } = self;
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Stats {
            made: come.saturating_sub(count(taken_back)),
            expired: count(expired),
            full: count(full),
            over_limit: count(over_limit),
            clashed: count(clashed),
            without_port: count(without_port),
            invalid: count(invalid),
        }
    }
}
