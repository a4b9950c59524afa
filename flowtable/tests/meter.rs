//! A meter that several workers share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::{BandKind, MeterBand, MeterId, MeterUnit};
use flowtable::{Meter, Metered, Volume};

/// Four threads whose clocks go apart as the clocks of workers do, each with more packets than all
/// may send: together they send what one may.
#[test]
fn workers_share_a_rate_and_none_of_it_is_given_twice() {
    const RATE: u32 = 100_000;
    const BURST: u32 = 1_000;
    const WORKERS: u64 = 4;
    let band = MeterBand { kind: BandKind::Drop, rate: RATE, burst_size: BURST };
    let meter = api::Meter {
        id: MeterId::Number(1),
        unit: MeterUnit::Pktps,
        burst: true,
        stats: true,
        bands: vec![band],
    };
    let (start, second) = (Duration::from_secs(1_000), 1_000_000_000);
    let meter = Meter::new(meter, start);
    let (time, passed, offered) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                let (mut passes, mut packets) = (0, 0);
                // Each turn is a batch of 8 at one time, which all threads together advance: so far
                // that they offer one and a half times the rate.
                while let now = time.fetch_add(8 * second / 150_000, Ordering::Relaxed)
                    && now < 10 * second
                {
                    let now = start + Duration::from_nanos(now);
                    for _ in 0..8 {
                        passes += u64::from(meter.admit(1, 60, now) == Metered::Passes);
                        packets += 1;
                    }
                }
                passed.fetch_add(passes, Ordering::Relaxed);
                offered.fetch_add(packets, Ordering::Relaxed);
            });
        }
    });
    let (passed, offered) = (passed.into_inner(), offered.into_inner());
    let expected = u64::from(RATE) * 10 + u64::from(BURST);
    assert!(passed <= expected, "{passed} of {expected}");
    assert!(passed >= expected - expected / 50, "{passed} of {expected}");
    assert_eq!(meter.came(), Volume { packets: offered, bytes: offered * 60 });
    let dropped: Vec<_> = meter.exceeded().map(|volume| volume.packets).collect();
    assert_eq!(dropped, [offered - passed]);
}
