//! How the work of a worker is spread: histograms with a bucket for each power of two.

use std::sync::Arc;
use std::time::Duration;

use crate::account::Counter;
use crate::clock::Clock;
use crate::counters::WorkerCounters;

/// How often a value was how large.
#[derive(Debug, Default)]
pub struct Histogram([Counter; Self::BUCKETS]);

impl Histogram {
    /// The last bucket has all values beyond.
    const BUCKETS: usize = 32;

    /// Notes a value. For the one writer alone.
    #[inline]
    pub fn note(&self, value: u64) {
        let bits = (u64::BITS - value.leading_zeros()) as usize;
        self.0[bits.min(Self::BUCKETS - 1)].add(1);
    }

    /// How often there were values of so many bits, up to the last bucket that has some.
    pub fn counts(&self) -> Vec<u64> {
        let mut counts: Vec<_> = self.0.iter().map(Counter::get).collect();
        let used = counts.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        counts.truncate(used);
        counts
    }
}

macro_rules! histograms {
    ($($name:ident $sentence:literal,)*) => {
        /// The histograms of one worker.
        #[derive(Debug, Default)]
        pub struct Histograms {
            $(#[doc = $sentence] pub $name: Histogram,)*
        }

        impl Histograms {
            /// Each one's name and meaning.
            pub fn all(&self) -> Vec<(&'static str, &'static str, &Histogram)> {
                vec![$((stringify!($name), $sentence, &self.$name),)*]
            }
        }
    };
}

histograms! {
    batch_packets "Packets of a batch.",
    turn_ns "Nanoseconds of a turn that had packets, over all queues.",
    wake_ns "Nanoseconds from the end of a sleep until the first packet is at hand.",
    translation_ns "Nanoseconds for a packet that no cache entry answers, the first of each batch.",
}

/// Measures the first long way of each batch: the clock is read twice a batch at most.
#[derive(Debug, Default)]
pub(crate) struct Stopwatch {
    notes: Option<(Clock, Arc<WorkerCounters>)>,
    is_armed: bool,
}

impl Stopwatch {
    /// One that notes what it measures.
    pub(crate) const fn new(clock: Clock, counters: Arc<WorkerCounters>) -> Self {
        Self { notes: Some((clock, counters)), is_armed: false }
    }

    /// A batch begins.
    #[inline]
    pub(crate) const fn arm(&mut self) {
        self.is_armed = true;
    }

    /// A long way begins.
    pub(crate) fn begin(&mut self) -> Option<Duration> {
        if !std::mem::take(&mut self.is_armed) {
            return None;
        }
        self.notes.as_ref().map(|(clock, _)| clock.now())
    }

    /// It ends.
    pub(crate) fn end(&self, begin: Option<Duration>) {
        if let (Some(begin), Some((clock, counters))) = (begin, &self.notes) {
            let took = clock.now().saturating_sub(begin).as_nanos();
            counters.histograms.translation_ns.note(u64::try_from(took).unwrap_or(u64::MAX));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_a_power_of_two() {
        let histogram = Histogram::default();
        assert_eq!(histogram.counts(), [0; 0]);
        for value in [0, 1, 2, 3, 4, 7, 8] {
            histogram.note(value);
        }
        assert_eq!(histogram.counts(), [1, 1, 2, 2, 1]);
        histogram.note(u64::MAX);
        assert_eq!(histogram.counts().len(), Histogram::BUCKETS, "the last has all beyond");
    }
}
