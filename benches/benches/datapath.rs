//! What each stage of a packet's way costs: `cargo bench -p benches`.
//!
//! The packets are those of `cargo xtask bench datapath`. One element is one packet, so `elem/s`
//! reads as packets per second. These figures find out where time goes; they compare with nobody.
#![expect(clippy::unwrap_used, reason = "what a measurement lacks ends it")]

use std::cell::LazyCell;
use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::FlowMod;
use benches::harness::captures;
use benches::harness::process::Folder;
use benches::harness::rules::headers::{self as packets, Skew};
use benches::harness::rules::list::List;
use benches::harness::rules::profile::Profile;
use benches::harness::traffic::{self, Work};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use flowtable::{Cache, Found, Limits, PortView, Resolved, Tables, Translation, VlanMode, paths};
use hw::{Null, Pcap, PcapOptions, Port};
use packet::{Depot, Headers, Key, Memory, Millis, PortId, Seed, parse};
use vswitch::account::Account;
use vswitch::clock::Clock;
use vswitch::counters::WorkerCounters;
use vswitch::desk::{Desk, Order};
use vswitch::publish::Publication;
use vswitch::session::{Sessions, Who};
use vswitch::tracking::Tracker;
use vswitch::worker::{Setup, Worker};

const SEED: Seed = Seed(9);
/// Of the lists and the packets for them.
const LISTS: u64 = 2005;
const FLOWS: [u32; 3] = [1, 100, 10_000];
const NOW: Millis = Millis(1000);
const IN: PortId = PortId(1);
const OUT: PortId = PortId(2);

criterion_group!(benches, headers, session, megaflow, translation, lists, worker);
criterion_main!(benches);

/// Reading a packet's headers into a key.
fn headers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for flows in FLOWS {
        let packets = traffic::packets(flows);
        group.throughput(Throughput::Elements(packets.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(flows), &packets, |bencher, packets| {
            bencher.iter(|| {
                for packet in packets {
                    let mut key = Key::ZERO;
                    black_box(parse(packet, packet.len(), &mut key).is_ok());
                    black_box(&key);
                }
            });
        });
    }
}

/// Tier 1: a packet that meets its session.
fn session(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session");
    for flows in FLOWS {
        let keys = keys(flows);
        let mut cache = cache(Work::Rules, flows);
        let mut sessions = Sessions::new(1 << 16, SEED);
        sessions.begin(NOW);
        let mut wanted = Vec::new();
        for (key, headers) in &keys {
            let who = Who::of(key, *headers).unwrap();
            let hash = who.hash(key, SEED);
            // Once to be seen, once to be learned.
            for _ in 0..2 {
                if let Resolved::Cached(flow, _) = cache.resolve(IN, key, 1, 60, NOW) {
                    sessions.learn(who, hash, key, flow, &mut cache);
                }
            }
            wanted.push((who, hash, *key));
        }
        assert!(sessions.len() >= flows as usize * 99 / 100, "{} sessions", sessions.len());
        group.throughput(Throughput::Elements(wanted.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            bencher.iter(|| {
                for (who, hash, key) in &wanted {
                    black_box(sessions.lookup(*who, (*hash, 0), key, &mut cache).is_some());
                }
            });
        });
    }
}

/// Tier 2: a packet that meets its megaflow, of one for each flow.
fn megaflow(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("megaflow");
    for flows in FLOWS {
        let keys = keys(flows);
        let mut cache = cache(Work::Rules, flows);
        for (key, _) in &keys {
            let resolved = cache.resolve(IN, key, 1, 60, NOW);
            assert!(matches!(resolved, Resolved::Cached(_, Found::Cached(..))), "{resolved:?}");
        }
        group.throughput(Throughput::Elements(keys.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(flows), |bencher| {
            bencher.iter(|| {
                for (key, _) in &keys {
                    black_box(cache.resolve(IN, key, 1, 60, NOW));
                }
            });
        });
    }
}

/// Tier 3: a packet that nobody knows, through the tables.
fn translation(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("translation");
    for work in Work::ALL {
        let flows = 10_000;
        let (keys, tables) = (keys(flows), tables(&work.flows(flows)));
        let port = port(IN);
        let mut translation = Translation::new();
        group.throughput(Throughput::Elements(keys.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(work.name()), |bencher| {
            bencher.iter(|| {
                for (key, _) in &keys {
                    translation.translate(&tables, &port, key, &mut ());
                    black_box(translation.is_cacheable());
                }
            });
        });
    }
}

/// A packet's rule in access lists, firewalls and IP chains: the table alone, nothing cached.
fn lists(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("lists");
    for (profile, rules) in
        Profile::ALL.iter().flat_map(|p| [1000, 10_000, 100_000].map(|n| (p, n)))
    {
        // Only for those who ask for it: it takes seconds.
        let made = LazyCell::new(|| {
            let list = List::new(profile, rules, LISTS);
            let mut edit = Tables::new(Seed(7)).with_table_limit(1_000_000).edit();
            let bridge = edit.add_bridge("br0".into()).unwrap();
            for rule in &list.rules {
                edit.flow_mod(bridge, &rule.flow("output:2").parse().unwrap(), Millis(0)).unwrap();
            }
            let drawn =
                packets::Headers::new(&list.rules, LISTS).draw(Skew::Uniform, 40_000, LISTS);
            let key = |(header, _): &(packets::Header, _)| {
                let (frame, mut key) = (header.frame(), Key::ZERO);
                parse(&frame, frame.len(), &mut key).unwrap();
                key
            };
            (edit.finish().0, bridge, drawn.iter().map(key).collect::<Vec<_>>())
        });
        group.bench_function(format!("{}, {rules} rules", profile.name), |bencher| {
            let (tables, bridge, keys) = &*made;
            let table = tables.bridge(*bridge).unwrap().table(0).unwrap();
            let mut next = keys.iter().cycle();
            bencher.iter(|| {
                let mut looked = Key::ZERO;
                table.lookup(next.next().unwrap_or(&Key::ZERO), &mut looked).map(|rule| rule.id)
            });
        });
    }
    group.finish();
}

/// The whole way, from one port's memory to nowhere.
fn worker(criterion: &mut Criterion) {
    let folder = Folder::new("criterion").unwrap();
    for work in Work::ALL {
        let mut group = criterion.benchmark_group(format!("worker, {}", work.name()));
        for flows in FLOWS {
            let file = folder.path().join("in.pcap");
            captures::write(&file, traffic::packets(flows).iter().map(Vec::as_slice)).unwrap();
            let mut way = Way::new(&work.flows(flows), file, 8 * u64::from(flows));
            group.throughput(Throughput::Elements(1));
            group.bench_function(BenchmarkId::from_parameter(flows), |bencher| {
                // A turn takes as many packets as it likes: what so many would have taken is told.
                bencher.iter_custom(|count| way.run(count));
            });
        }
    }
    let mut group = criterion.benchmark_group("worker, lists of 1000 rules, Zipf");
    for profile in &Profile::ALL {
        let mut way = LazyCell::new(|| {
            let file = folder.path().join("in.pcap");
            let list = List::new(profile, 1000, LISTS);
            let drawn = packets::Headers::new(&list.rules, LISTS).draw(Skew::Zipf, 40_000, LISTS);
            let frames: Vec<_> = drawn.iter().map(|(header, _)| header.frame()).collect();
            captures::write(&file, frames.iter().map(Vec::as_slice)).unwrap();
            let flows: Vec<_> = list.rules.iter().map(|rule| rule.flow("output:2")).collect();
            Way::new(&flows, file, 200_000)
        });
        group.throughput(Throughput::Elements(1));
        group.bench_function(profile.name, |bencher| {
            let way = LazyCell::force_mut(&mut way);
            bencher.iter_custom(|count| way.run(count));
        });
    }
}

/// A worker between two ports.
struct Way {
    worker: Worker,
    clock: Clock,
    counters: Arc<WorkerCounters>,
}

impl Way {
    /// It has carried some packets already, and knows them.
    fn new(flows: &[String], receive: PathBuf, warm: u64) -> Self {
        let source = PcapOptions { receive: Some(receive), repeat: true, ..PcapOptions::default() };
        let clock = Clock::start();
        let limits = Limits::default();
        let (paths, _) = paths(limits.megaflows, SEED);
        let (desk, counters) =
            (Arc::new(Desk::new().unwrap()), Arc::new(WorkerCounters::default()));
        let setup = Setup {
            desk: Arc::clone(&desk),
            tables: Arc::new(Publication::new(Arc::new(tables(flows)))),
            depot: Depot::new(Memory::heap(16_384)),
            paths,
            counters: Arc::clone(&counters),
            clock,
            limits,
            sessions: 1 << 16,
            busy_poll: true,
            cpu: None,
            generation: None,
            teller: vswitch::news::news().0,
            tracker: Tracker::alone(1 << 16, SEED),
        };
        let worker = Worker::new(setup).unwrap();
        let (mut from, mut to) = (Pcap::open(&source, IN).unwrap(), Null::new());
        let queue = from.rx_queues().pop().unwrap();
        desk.order([
            Order::Receive {
                port: IN,
                number: 0,
                queue,
                unmarked_partial: false,
                account: Arc::new(Account::default()),
                busy_ns: Arc::default(),
            },
            Order::Send {
                port: OUT,
                queue: to.tx_queue().unwrap(),
                capabilities: to.capabilities(),
                account: Arc::new(Account::default()),
            },
        ]);
        let mut way = Self { worker, clock, counters };
        way.run(warm);
        way
    }

    /// How long `count` packets take.
    fn run(&mut self, count: u64) -> Duration {
        let (begun, first) = (self.clock.now(), self.counters.packets.get());
        loop {
            self.worker.turn(self.clock.now());
            let (elapsed, done) = (self.clock.now() - begun, self.counters.packets.get() - first);
            if done >= count {
                return elapsed.mul_f64(count as f64 / done as f64);
            }
        }
    }
}

fn keys(flows: u32) -> Vec<(Key, Headers)> {
    let packets = traffic::packets(flows);
    let keys = packets.iter().map(|packet| {
        let mut key = Key::ZERO;
        let headers = parse(packet, packet.len(), &mut key).unwrap();
        (key, headers)
    });
    keys.collect()
}

fn port(id: PortId) -> PortView {
    let tables = Tables::new(SEED);
    let bridge = tables.edit().add_bridge("br0".into()).unwrap();
    let (vlan, name) = (VlanMode::Trunk(Vec::new()), format!("p{id}").into());
    PortView { id, number: id.0, bridge, name, vlan, flags: api::PortFlags::default(), is_up: true }
}

fn tables(flows: &[String]) -> Tables {
    let mut edit = Tables::new(SEED).edit();
    let bridge = edit.add_bridge("br0".into()).unwrap();
    for id in [IN, OUT] {
        edit.set_port(port(id)).unwrap();
    }
    for flow in flows {
        edit.flow_mod(bridge, &flow.parse::<FlowMod>().unwrap(), NOW).unwrap();
    }
    edit.finish().0
}

fn cache(work: Work, flows: u32) -> Cache {
    let limits = Limits::default();
    let (paths, _) = paths(limits.megaflows, SEED);
    Cache::new(Arc::new(tables(&work.flows(flows))), paths, limits)
}
