//! The one clock of the process.

use std::time::{Duration, Instant};

use flowtable::Millis;

/// Counts from the start of the process, the same for all threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Time since the start.
    #[inline]
    pub fn now(&self) -> Duration {
        self.0.elapsed()
    }

    /// The same in milliseconds, never 0: that is the start of time.
    pub fn millis(&self) -> Millis {
        millis(self.now())
    }
}

/// A time of a [`Clock`] in milliseconds.
#[inline]
pub fn millis(time: Duration) -> Millis {
    Millis(u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_add(1))
}
