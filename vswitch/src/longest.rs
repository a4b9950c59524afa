//! The longest turn of late.

use std::time::Duration;

/// How long the turns of a worker take, from the beginning of one to that of the next: what they do
/// with packets, and all else.
#[derive(Debug, Default)]
pub(crate) struct Longest {
    /// When the turn began that goes on; none if the worker slept since.
    begun: Option<Duration>,
    /// The second of which `now` is the longest, and the longest of the second before.
    second: u64,
    now: Duration,
    before: Duration,
}

impl Longest {
    /// A turn begins; the last one has ended.
    #[inline]
    pub(crate) fn turn(&mut self, now: Duration) {
        if now.as_secs() != self.second {
            let follows = now.as_secs() == self.second + 1;
            self.before = if follows { self.now } else { Duration::ZERO };
            (self.second, self.now) = (now.as_secs(), Duration::ZERO);
        }
        if let Some(begun) = self.begun.replace(now) {
            self.now = self.now.max(now.saturating_sub(begun));
        }
    }

    /// The worker sleeps: that is no turn.
    pub(crate) const fn rest(&mut self) {
        self.begun = None;
    }

    /// The longest turn that has ended in this second or the one before.
    pub(crate) fn get(&self) -> Duration {
        self.now.max(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_remembered_for_a_second_or_two_and_a_sleep_is_none() {
        let mut longest = Longest::default();
        let millis = Duration::from_millis;
        let mut turn = |at: u64| {
            longest.turn(millis(at));
            longest.get()
        };
        assert_eq!([100, 107, 108].map(&mut turn), [0, 7, 7].map(millis));
        assert_eq!([1000, 1002].map(&mut turn), [892, 892].map(millis), "it ended in this second");
        assert_eq!([1999, 2001].map(&mut turn), [997, 997].map(millis));
        longest.rest();
        assert_eq!(longest.get(), millis(997));
        longest.turn(millis(2900));
        assert_eq!(longest.get(), millis(997), "the second before counts");
        longest.turn(millis(2903));
        longest.turn(millis(3001));
        assert_eq!(longest.get(), millis(98));
        longest.rest();
        longest.turn(millis(9000));
        assert_eq!(longest.get(), millis(0), "long ago");
    }
}
