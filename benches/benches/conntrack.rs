//! What connections cost: `cargo bench -p benches --bench conntrack`.
//!
//! One element is one packet, one connection or one place, so `elem/s` reads as those per second. These
//! figures find out where time goes; they compare with nobody.
#![expect(clippy::unwrap_used, reason = "what a measurement lacks ends it")]

use std::hint::black_box;
use std::net::Ipv4Addr;

use conntrack::{Connections, Content, Ends, Message, Notes, Tuple};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use packet::{Millis, Seed, udp};

criterion_group!(benches, judge, make, sweep);
criterion_main!(benches);

/// Packets of one measurement.
const PACKETS: u32 = 10_000;
const MILLION: u32 = 1_000_000;

/// The first packet of a connection: they differ in their source.
fn question(n: u32) -> Message {
    let src = Ipv4Addr::from_bits(0x0a00_0000 + n).into();
    let dst = Ipv4Addr::new(192, 0, 2, 1).into();
    let ends = Ends { src, dst, src_port: 5000, dst_port: 53, proto: udp::PROTO };
    Message { tuple: Tuple::new(ends, 0).unwrap(), content: Content::Udp }
}

fn commit(connections: &Connections, n: u32) {
    connections.commit(&question(n), None, &Notes::default(), Millis(1)).unwrap();
}

/// Connections, so many, that were answered.
fn answered(count: u32) -> Connections {
    let connections = Connections::new(MILLION, 1, Seed(7));
    for n in 0..count {
        commit(&connections, n);
        let tuple = question(n).tuple.reversed().unwrap();
        connections.judge(&Message { tuple, content: Content::Udp }, Millis(1));
    }
    connections
}

/// Packets of connections that are known, at random.
fn judge(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("judge");
    group.throughput(Throughput::Elements(PACKETS.into()));
    for count in [1, 10_000, MILLION] {
        let connections = answered(count);
        let messages: Vec<_> =
            (0..PACKETS).map(|n| question(n.wrapping_mul(2_654_435_761) % count)).collect();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| {
                for message in &messages {
                    black_box(connections.judge(message, Millis(2)));
                }
            });
        });
    }
    group.finish();
}

/// New connections, in an empty table.
fn make(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("connection");
    group.throughput(Throughput::Elements(PACKETS.into()));
    group.bench_function("make", |bencher| {
        let fresh = || Connections::new(MILLION, 1, Seed(7));
        let make = |connections: Connections| {
            (0..PACKETS).for_each(|n| commit(&connections, n));
            connections
        };
        bencher.iter_batched(fresh, make, BatchSize::PerIteration);
    });
    group.finish();
}

/// A look at all places, none of which has had its time; then at as many that all have.
fn sweep(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sweep");
    group.throughput(Throughput::Elements(MILLION.into())).sample_size(10);
    group.bench_function("nothing", |bencher| {
        let (connections, mut now) = (answered(MILLION), 2);
        bencher.iter(|| {
            // As much as is due in a round, at once.
            now += 10_000;
            connections.sweep(MILLION, Millis(now % 100_000));
        });
    });
    group.bench_function("all", |bencher| {
        let gone = |connections: Connections| {
            connections.sweep(MILLION, Millis(1_000_000));
            assert!(connections.is_empty(), "{} are left", connections.len());
            connections
        };
        bencher.iter_batched(|| answered(MILLION), gone, BatchSize::PerIteration);
    });
    group.finish();
}
