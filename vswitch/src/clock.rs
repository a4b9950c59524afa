//! The one clock of the process.

use packet::Millis;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Counts from the start of the process, the same for all threads.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    /// The start since 1970.
    start_since_1970: Duration,
}

impl Clock {
    /// A clock that begins now.
    #[expect(clippy::disallowed_methods, reason = "this is where time comes from")]
    pub fn start() -> Self {
        // A clock set to before 1970 makes captures wrong, and nothing else.
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), start_since_1970: since_1970 }
    }

    /// A time of this clock in nanoseconds since 1970.
    pub fn since_1970(&self, time: Duration) -> u64 {
        u64::try_from((self.start_since_1970 + time).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Time since the start.
    #[inline]
    pub fn now(&self) -> Duration {
        self.start.elapsed()
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
