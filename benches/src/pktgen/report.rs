//! What a run says in the end.

use std::fmt;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::pktgen::tally::Counts;

/// Times, in microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Times {
    /// How many there are.
    pub samples: u64,
    /// The shortest.
    pub min: f64,
    /// Their mean.
    pub mean: f64,
    /// No more than this took half of them,
    pub p50: f64,
    /// nine of ten,
    pub p90: f64,
    /// 99 of a hundred,
    pub p99: f64,
    /// 999 of a thousand.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

/// Collects times.
#[derive(Clone, Debug)]
pub struct Watch(Histogram<u64>);

impl Watch {
    /// Ten seconds.
    const LONGEST: u64 = 10_000_000_000;

    /// No times yet; three digits are kept of each.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, Self::LONGEST, 3)?))
    }

    /// One more time; longer ones than ten seconds count as that.
    pub fn record(&mut self, ns: u64) {
        self.0.saturating_record(ns);
    }

    /// What they were.
    pub fn times(&self) -> Times {
        if self.0.is_empty() {
            return Times::default();
        }
        let at = |quantile| micros(self.0.value_at_quantile(quantile));
        Times {
            samples: self.0.len(),
            min: micros(self.0.min()),
            mean: self.0.mean() / 1e3,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: micros(self.0.max()),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 ns")]
fn micros(ns: u64) -> f64 {
    ns as f64 / 1e3
}

/// So many a second.
#[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
pub fn rate(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// What a sender did.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sent {
    /// Packets.
    pub sent: u64,
    /// Bytes of each, from its Ethernet header on.
    pub size: u16,
    /// From the first to the last.
    pub seconds: f64,
    /// Packets a second.
    pub pps: f64,
    /// Times the interface took nothing.
    pub busy: u64,
}

/// What a sink saw.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Received {
    /// What became of the packets.
    #[serde(flatten)]
    pub counts: Counts,
    /// How many were sent: as the senders said, or up to the highest number seen.
    pub sent: u64,
    /// Whether every sender has said how many.
    pub announced: bool,
    /// Packets of ours with wrong checksums or lengths.
    pub damaged: u64,
    /// Packets of others.
    pub foreign: u64,
    /// Packets that reached this end and that it was too slow for.
    pub overruns: u64,
    /// Bytes of all received.
    pub bytes: u64,
    /// From the first to the last.
    pub seconds: f64,
    /// Packets a second.
    pub pps: f64,
    /// How long they were under way, in microseconds.
    pub latency: Times,
}

/// What became of the packets that were to come back.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Returned {
    /// How many went out.
    pub sent: u64,
    /// How many came back in time.
    pub received: u64,
    /// How many did not.
    pub lost: u64,
    /// There and back, in microseconds.
    pub rtt: Times,
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, p50, p90, p99, p999, max, .. } = self;
        write!(
            f,
            "min {min:.1}, p50 {p50:.1}, p90 {p90:.1}, p99 {p99:.1}, p99.9 {p999:.1}, \
             max {max:.1} \u{b5}s"
        )
    }
}

impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, size, seconds, pps, busy } = self;
        write!(f, "sent {sent} packets of {size} bytes in {seconds:.2} s: {pps:.0} a second")?;
        if *busy > 0 { write!(f, "; the interface was busy {busy} times") } else { Ok(()) }
    }
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { received, lost, duplicates, reordered, stale } = self.counts;
        let Self { seconds, pps, latency, .. } = self;
        writeln!(f, "received {received} of {} in {seconds:.2} s: {pps:.0} a second", self.sent)?;
        if !self.announced {
            writeln!(f, "(no sender has said how many there were: lost are those in between)")?;
        }
        writeln!(f, "lost {lost}, of them here {}", self.overruns.min(lost))?;
        writeln!(f, "doubled {duplicates}, reordered {reordered}, too late to tell {stale}")?;
        writeln!(f, "damaged {}, of others {}", self.damaged, self.foreign)?;
        write!(f, "under way: {latency}")
    }
}

impl fmt::Display for Returned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, received, lost, rtt } = self;
        writeln!(f, "{received} of {sent} came back, {lost} did not")?;
        write!(f, "there and back: {rtt}")
    }
}
