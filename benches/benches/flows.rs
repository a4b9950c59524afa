//! What each stage of a flow's way costs: `cargo bench -p benches --bench flows`.
//!
//! The flows are those of the bundle in `cargo xtask bench flowmod`. One element is one flow, so
//! `elem/s` reads as flows per second. These figures find out where time goes; they compare with
//! nobody.
#![expect(clippy::unwrap_used, reason = "what a measurement lacks ends it")]

use std::hint::black_box;

use api::request::FlowAppend;
use api::{FlowMod, codec};
use benches::harness::traffic::Work;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use flowtable::Tables;
use packet::{Millis, Seed};

/// As many as one request carries, about.
const PART: u32 = 10_000;
/// As many as one bundle has.
const WHOLE: u32 = 100_000;

criterion_group!(benches, text, message, table);
criterion_main!(benches);

/// Reading flows as `ovs-ofctl` writes them.
fn text(criterion: &mut Criterion) {
    let flows = Work::Rules.flows(PART);
    let mut group = criterion.benchmark_group("flow");
    group.throughput(Throughput::Elements(flows.len() as u64));
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            for flow in &flows {
                black_box(flow.parse::<FlowMod>().is_ok());
            }
        });
    });
    group.finish();
}

/// Writing them into a message and taking them out of one.
fn message(criterion: &mut Criterion) {
    let flows = Work::Rules.flows(PART);
    let request = FlowAppend { flows }.into();
    let line = codec::encode_request(1, &request).unwrap();
    let mut group = criterion.benchmark_group("message");
    group.throughput(Throughput::Elements(PART.into()));
    group.bench_function("write", |bencher| {
        bencher.iter(|| codec::encode_request(1, &request).unwrap());
    });
    group.bench_function("read", |bencher| {
        bencher.iter(|| codec::decode_request(&line).unwrap());
    });
    group.finish();
}

/// Entering them into a table.
fn table(criterion: &mut Criterion) {
    let flows: Vec<FlowMod> =
        Work::Rules.flows(WHOLE).iter().map(|flow| flow.parse().unwrap()).collect();
    let mut edit = Tables::new(Seed(7)).edit();
    let bridge = edit.add_bridge("br0".into()).unwrap();
    let empty = edit.finish().0;
    let mut group = criterion.benchmark_group("table");
    group.throughput(Throughput::Elements(flows.len() as u64)).sample_size(10);
    group.bench_function("add", |bencher| {
        bencher.iter_batched(
            || empty.edit(),
            |mut edit| {
                for flow in &flows {
                    edit.flow_mod(bridge, flow, Millis(0)).unwrap();
                }
                edit.finish()
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}
