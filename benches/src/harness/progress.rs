//! How far a bench is, and how long it may still take.

use std::fmt;
use std::time::Duration;

use crate::clock;
use crate::harness::say;

/// The way of a bench through its rows.
#[derive(Debug)]
pub struct Progress {
    begun_ns: u64,
    /// When the last row must have ended; none if it takes what it takes.
    end_ns: Option<u64>,
    /// What the rows take on an idle machine, in seconds, one after the other.
    costs: Vec<f64>,
    /// How many rows have ended.
    done: usize,
    /// How long after the beginning the last of them did, in seconds.
    taken: f64,
}

impl Progress {
    /// Rows that take so many seconds each, and all together at most `limit`.
    pub fn new(costs: Vec<f64>, limit: Option<Duration>) -> Self {
        let now = clock::now_ns();
        let end = |limit: Duration| now + u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX / 2);
        let end_ns = limit.map(end);
        Self { begun_ns: now, end_ns, costs, done: 0, taken: 0.0 }
    }

    /// The next row begins. Answers whether there is time for it.
    pub fn begin(&self, case: &str) -> bool {
        let (row, rows) = (self.done + 1, self.costs.len());
        say(&format!("row {row} of {rows}: {case}; {}", self.left()));
        self.has_time()
    }

    /// Whether there is time for the next row: half of what it takes, since most take less.
    pub fn has_time(&self) -> bool {
        let cost = self.costs.get(self.done).copied().unwrap_or(0.0);
        self.seconds_to_limit().is_none_or(|left| left > cost / 2.0)
    }

    /// A row has ended, measured or not.
    pub fn end(&mut self) {
        // What lies between rows, such as loading flows, counts as well.
        self.taken = clock::seconds(self.begun_ns, clock::now_ns());
        self.done += 1;
    }

    /// Says what is done for a row.
    pub fn step(&self, what: &str) {
        say(&format!("  {what}"));
    }

    /// Says which block of how many is measured.
    pub fn block(&self, side: &str, number: usize, all: usize) {
        say(&format!("  block {number} of {all}: {side}; {}", self.left()));
    }

    /// So many seconds, or what is left if that is less.
    pub fn patience(&self, seconds: u64) -> u64 {
        let left = self.seconds_to_limit().unwrap_or(f64::INFINITY).max(1.0);
        Duration::try_from_secs_f64(left).map_or(seconds, |left| seconds.min(left.as_secs()))
    }

    /// Whether the rows that are left are likely to take more time than there is: then each should
    /// do with less.
    pub fn is_late(&self) -> bool {
        self.seconds_to_limit().is_some_and(|left| left < self.expected())
    }

    /// What is said of the time that is left.
    fn left(&self) -> Left {
        let expected = self.expected();
        Left(self.seconds_to_limit().map_or(expected, |limit| expected.min(limit)))
    }

    /// Seconds that the rest is likely to take, by what the rows so far have taken.
    fn expected(&self) -> f64 {
        let (done, rest) = self.costs.split_at(self.done.min(self.costs.len()));
        let (done, rest) = (done.iter().sum::<f64>(), rest.iter().sum::<f64>());
        let pace = if done > 0.0 { (self.taken / done).max(0.2) } else { 1.0 };
        let since = clock::seconds(self.begun_ns, clock::now_ns()) - self.taken;
        (pace * rest - since).max(0.0)
    }

    fn seconds_to_limit(&self) -> Option<f64> {
        self.end_ns.map(|end| clock::seconds(clock::now_ns(), end))
    }
}

/// Seconds that are left.
struct Left(f64);

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = Duration::try_from_secs_f64(self.0).unwrap_or_default().as_secs();
        write!(f, "about {}:{:02} left", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_is_read_as_minutes_and_seconds() {
        assert_eq!(Left(125.4).to_string(), "about 2:05 left");
        assert_eq!(Left(f64::NAN).to_string(), "about 0:00 left");
    }

    #[test]
    fn rows_that_have_no_time_left_are_told() {
        let mut progress = Progress::new(vec![10.0, 10.0], Some(Duration::from_secs(6)));
        assert!(progress.begin("one"));
        progress.end();
        assert!((1..=6).contains(&progress.patience(100)));
        progress.end_ns = Some(clock::now_ns());
        assert!(!progress.has_time() && !progress.begin("two"));
        assert_eq!(progress.patience(100), 1, "a little, to end in order");
        assert!(Progress::new(vec![10.0], None).begin("one"));
    }

    /// Rows that take twice as long as they should are expected to go on like that.
    #[test]
    fn the_rest_goes_on_like_the_rows_before() {
        let mut progress = Progress::new(vec![10.0, 30.0], Some(Duration::from_secs(70)));
        assert!(!progress.is_late());
        progress.end();
        progress.begun_ns -= 20_000_000_000;
        progress.taken = 20.0;
        let left = progress.left().0;
        assert!((59.0..=60.0).contains(&left), "{left}");
        assert!(!progress.is_late());
        progress.taken = 40.0;
        assert!(progress.is_late(), "120 s for what has 70");
    }
}
