//! Meters at work: how much has passed, and what becomes of what is too much.
//!
//! A meter is shared by all workers and by all generations of the tables in which it stands: none of
//! its numbers ever needs a lock. A meter that is modified is another one, whose counters and
//! buckets begin anew; only its age goes on, as with Open vSwitch.
//!
//! Each band has a [`TokenBucket`] that is full at first. A packet takes its volume out of every band's,
//! as far as it is there; where it is not, the packet *exceeds* the band. Of all bands that it
//! exceeds, the one with the highest rate decides what becomes of it.

use std::time::Duration;

use api::{BandKind, MeterBand, MeterUnit};
use serde::{Deserialize, Serialize};

use crate::sync::{AtomicU64, Ordering};
use crate::tokens::TokenBucket;

/// A meter, shared by all that pass it.
#[derive(Debug)]
#[repr(align(64))]
pub struct Meter {
    came: Counter,
    bands: Box<[Band]>,
    meter: api::Meter,
    since: Duration,
}

/// A band of a meter.
#[derive(Debug)]
struct Band {
    bucket: TokenBucket,
    rate: u32,
    kind: BandKind,
    exceeded: Counter,
}

/// What becomes of a packet at a meter.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Metered {
    /// It passes as it is.
    Passes,
    /// It is dropped.
    Dropped,
    /// It passes with a higher drop precedence in its DSCP, by so much.
    Remarked(u8),
}

/// Packets and their bytes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Volume {
    /// Packets.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Meter {
    /// A meter that nothing has passed yet, with full buckets.
    pub fn new(meter: api::Meter, now: Duration) -> Self {
        let bands = meter.bands.iter().map(|band| Band::new(*band, meter.unit, now)).collect();
        Self { came: Counter::default(), bands, meter, since: now }
    }

    /// A meter that was added long ago and has counted this, with full buckets.
    pub(crate) fn restored(
        meter: api::Meter,
        since: Duration,
        came: Volume,
        exceeded: &[Volume],
    ) -> Self {
        // What is full then is full at any later time.
        let restored = Self::new(meter, since);
        restored.came.add(came.packets, came.bytes);
        for (band, volume) in restored.bands.iter().zip(exceeded) {
            band.exceeded.add(volume.packets, volume.bytes);
        }
        restored
    }

    /// The meter that takes the place of this one when it is modified.
    #[must_use]
    pub fn modified(&self, meter: api::Meter, now: Duration) -> Self {
        Self { since: self.since, ..Self::new(meter, now) }
    }

    /// What it was made of.
    pub const fn meter(&self) -> &api::Meter {
        &self.meter
    }

    /// When it was added.
    pub const fn since(&self) -> Duration {
        self.since
    }

    /// Lets a packet pass at `now`, or not; a super-frame is `packets` of them, at least one.
    ///
    /// A super-frame passes if the first of its segments would, and the bands are owed what they
    /// lack for the others. If it had to wait for a bucket that holds all of it, none would ever
    /// pass a meter whose burst is shorter.
    ///
    /// Cost: two atomic additions, and a compare-exchange for each band.
    #[inline]
    pub fn admit(&self, packets: u64, bytes: u64, now: Duration) -> Metered {
        self.came.add(packets, bytes);
        let volume = match self.meter.unit {
            MeterUnit::Kbps => bytes * 8,
            MeterUnit::Pktps => packets,
        };
        let first = if packets <= 1 { volume } else { volume.div_ceil(packets) };
        let mut worst: Option<&Band> = None;
        for band in &self.bands {
            if !band.bucket.take(volume, first, now)
                && worst.is_none_or(|worst| band.rate > worst.rate)
            {
                worst = Some(band);
            }
        }
        let Some(band) = worst else { return Metered::Passes };
        band.exceeded.add(packets, bytes);
        match band.kind {
            BandKind::Drop => Metered::Dropped,
            BandKind::DscpRemark(levels) => Metered::Remarked(levels),
        }
    }

    /// What came to it.
    pub fn came(&self) -> Volume {
        self.came.volume()
    }

    /// What each band decided about, in the order of the bands.
    pub fn exceeded(&self) -> impl Iterator<Item = Volume> + '_ {
        self.bands.iter().map(|band| band.exceeded.volume())
    }
}

impl Band {
    fn new(band: MeterBand, unit: MeterUnit, now: Duration) -> Self {
        let tokens = match unit {
            MeterUnit::Kbps => 1000,
            MeterUnit::Pktps => 1,
        };
        let MeterBand { kind, rate, burst_size } = band;
        let burst = if burst_size == 0 { rate } else { burst_size };
        let bucket = TokenBucket::new(u64::from(rate) * tokens, u64::from(burst) * tokens, now);
        Self { bucket, rate, kind, exceeded: Counter::default() }
    }
}

/// A counter with many writers.
#[derive(Debug)]
struct Counter {
    packets: AtomicU64,
    bytes: AtomicU64,
}

impl Counter {
    #[inline]
    fn add(&self, packets: u64, bytes: u64) {
        self.packets.fetch_add(packets, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn volume(&self) -> Volume {
        let [packets, bytes] =
            [&self.packets, &self.bytes].map(|counter| counter.load(Ordering::Relaxed));
        Volume { packets, bytes }
    }
}

impl Default for Counter {
    fn default() -> Self {
        Self { packets: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use api::MeterId;

    const START: Duration = Duration::from_secs(3);

    fn meter(unit: MeterUnit, bands: &[(BandKind, u32, u32)]) -> Meter {
        let band = |&(kind, rate, burst_size): &_| MeterBand { kind, rate, burst_size };
        let bands = bands.iter().map(band).collect();
        let meter = api::Meter { id: MeterId::Number(1), unit, burst: true, stats: true, bands };
        Meter::new(meter, START)
    }

    fn exceeded(meter: &Meter) -> Vec<u64> {
        meter.exceeded().map(|volume| volume.packets).collect()
    }

    /// As `ovs-vswitchd` 3.1 has shown by `meter-stats`, with its clock stopped: the third packet
    /// exceeds the slow band alone, and empties the fast one nevertheless.
    #[test]
    fn of_the_bands_exceeded_the_fastest_decides() {
        let meter = meter(MeterUnit::Pktps, &[(BandKind::Drop, 10, 3), (BandKind::Drop, 5, 2)]);
        let passed = (0..20).filter(|_| meter.admit(1, 106, START) == Metered::Passes).count();
        assert_eq!(passed, 2);
        assert_eq!(meter.came(), Volume { packets: 20, bytes: 2120 });
        let bands: Vec<_> = meter.exceeded().collect();
        let volume = |packets| Volume { packets, bytes: packets * 106 };
        assert_eq!(bands, [volume(17), volume(1)]);
    }

    /// Likewise.
    #[test]
    fn without_a_burst_a_second_is_one() {
        let meter = meter(MeterUnit::Pktps, &[(BandKind::Drop, 10, 0)]);
        (0..20).for_each(|_| _ = meter.admit(1, 106, START));
        assert_eq!(exceeded(&meter), [10]);
    }

    /// Likewise, but for its age, which goes on.
    #[test]
    fn a_meter_that_is_modified_begins_anew() {
        let old = meter(MeterUnit::Pktps, &[(BandKind::Drop, 10, 3)]);
        (0..5).for_each(|_| _ = old.admit(1, 60, START));
        let later = START + Duration::from_secs(5);
        let new = old.modified(old.meter().clone(), later);
        assert_eq!((new.came(), exceeded(&new), new.since()), (Volume::default(), vec![0], START));
        let passed = (0..5).filter(|_| new.admit(1, 60, later) == Metered::Passes).count();
        assert_eq!(passed, 3);
    }

    #[test]
    fn a_band_may_mark_what_another_drops() {
        let bands = [(BandKind::DscpRemark(2), 10, 1), (BandKind::Drop, 20, 3)];
        let meter = meter(MeterUnit::Pktps, &bands);
        let fates: Vec<_> = (0..5).map(|_| meter.admit(1, 60, START)).collect();
        let (marked, dropped) = (Metered::Remarked(2), Metered::Dropped);
        assert_eq!(fates, [Metered::Passes, marked, marked, dropped, dropped]);
        assert_eq!(exceeded(&meter), [2, 2]);
    }

    #[test]
    fn the_first_of_bands_alike_decides() {
        let bands = [(BandKind::DscpRemark(1), 10, 1), (BandKind::Drop, 10, 1)];
        let meter = meter(MeterUnit::Pktps, &bands);
        meter.admit(1, 60, START);
        assert_eq!(meter.admit(1, 60, START), Metered::Remarked(1));
    }

    #[test]
    fn a_packet_longer_than_the_burst_never_passes() {
        let meter = meter(MeterUnit::Kbps, &[(BandKind::Drop, 1, 0)]);
        assert_eq!(meter.admit(1, 126, START + Duration::from_hours(1)), Metered::Dropped);
        assert_eq!(meter.admit(1, 125, START + Duration::from_hours(1)), Metered::Passes);
    }

    /// What passes of packets that come at twice the rate, each one of `segments` packets of 1000
    /// bytes, in bursts of `at_once`; per second of ten, after the first burst is over.
    fn passing(meter: &Meter, offered: f64, segments: u64, at_once: u64) -> f64 {
        let (mut now, mut passed) = (START + Duration::from_secs(1), 0);
        let end = now + Duration::from_secs(10);
        while meter.admit(1, 1000, now) == Metered::Passes {}
        let gap = Duration::from_secs_f64((segments * at_once) as f64 / offered);
        while now < end {
            now += gap;
            for _ in 0..at_once {
                let passes = meter.admit(segments, segments * 1000, now) == Metered::Passes;
                passed += u64::from(passes) * segments;
            }
        }
        let passed = passed as f64;
        passed / 10.0
    }

    #[test]
    fn the_rate_is_kept_within_two_percent_over_ten_seconds() {
        // The rate, its unit, how many packets of 1000 bytes that is in a second.
        let cases = [1, 3, 7, 100, 999, 1_000, 65_537, 1_000_000, 9_999_991, 10_000_000]
            .map(|rate| (MeterUnit::Pktps, rate, f64::from(rate)))
            .into_iter()
            .chain(
                [1, 7, 8, 64, 1_000, 12_345, 1_000_000, 10_000_000, 99_999_989, 100_000_000]
                    .map(|rate| (MeterUnit::Kbps, rate, f64::from(rate) / 8.0)),
            );
        for (unit, rate, expected) in cases {
            // Of a tenth of a second, or what a burst of the traffic takes.
            let burst = (rate / 10).max(if unit == MeterUnit::Pktps { 64 } else { 64 * 8 });
            for (segments, at_once) in [(1, 1), (1, 32), (45, 1)] {
                let together = f64::from(u32::try_from(segments * at_once).unwrap());
                // What comes less than ten times a second has no rate over ten; and the most that
                // comes in ten seconds comes here in super-frames alone.
                let is_rare = together > 1.0 && expected < together * 10.0;
                if is_rare || segments == 1 && expected > 2_000_000.0 {
                    continue;
                }
                let meter = meter(unit, &[(BandKind::Drop, rate, burst)]);
                let passed = passing(&meter, expected * 2.0, segments, at_once);
                // A packet more or less in all.
                let slack = expected * 0.02 + together / 10.0;
                assert!(
                    (passed - expected).abs() <= slack,
                    "{rate} {unit:?}, {segments} segments, {at_once} at once: {passed} a second"
                );
            }
        }
    }
}
