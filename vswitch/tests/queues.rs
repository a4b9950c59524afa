//! Egress queues behind a worker: the accounts balance whatever waits, packets of a queue keep their
//! order, and nothing is lost but what is counted.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::{DropReason, QueueSettings};
use common::{Bench, Options};
use flowtable::VlanMode;
use hw::{Refusal, RxQueue, TxQueue, Wake};
use packet::{Batch, Chainer, FramePool, HEADROOM, Key, Packet, PortId, compose};
use proptest::prelude::*;
use vswitch::account::Account;
use vswitch::desk::Order;
use vswitch::egress::Egress;

/// A packet to come: the queue that it is meant for, its number and its length.
type Coming = (u16, u32, usize);

/// Receives what a test has made.
#[derive(Clone, Default)]
struct Source(Arc<Mutex<VecDeque<Coming>>>, PortId);

impl RxQueue for Source {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        let mut coming = self.0.lock().unwrap();
        while batch.len() < limit
            && let Some((queue, number, len)) = coming.pop_front()
        {
            let key = Key::ZERO
                .with(Key::ETH_DST, 0x0200_0000_0002_u64)
                .with(Key::ETH_TYPE, 0x800_u16)
                .with(Key::NW_SRC, number)
                .with(Key::NW_PROTO, 17_u8)
                .with(Key::NW_TTL, 64_u8);
            let bytes = compose(&key, len);
            let mut packet = Chainer::copy_of(&bytes, HEADROOM, self.1, pool).unwrap();
            packet.queue = queue;
            batch.push(packet);
        }
    }
    fn wake(&self) -> Wake<'_> {
        Wake::Never
    }
    fn syscalls(&self) -> u64 {
        0
    }
}

/// A port that takes so many packets before it is full, and keeps their queues and numbers.
#[derive(Clone, Default)]
struct Link(Arc<Mutex<Taken>>);

#[derive(Default)]
struct Taken {
    room: usize,
    packets: Vec<(u16, u32)>,
}

impl Link {
    fn make_room(&self, packets: usize) {
        self.0.lock().unwrap().room = packets;
    }

    fn take(&self) -> Vec<(u16, u32)> {
        std::mem::take(&mut self.0.lock().unwrap().packets)
    }
}

impl TxQueue for Link {
    fn tx(
        &mut self,
        batch: &mut Batch,
        pool: &mut FramePool,
        refused: &mut Vec<(Packet, Refusal)>,
    ) {
        let mut link = self.0.lock().unwrap();
        let memory = Arc::clone(pool.memory());
        for packet in batch.drain(..) {
            if link.room == 0 {
                refused.push((packet, Refusal::Full));
                continue;
            }
            link.room -= 1;
            let number = packet.head(&memory)[26..30].try_into().unwrap();
            link.packets.push((packet.queue, u32::from_be_bytes(number)));
            packet.free(pool);
        }
    }
    fn flush(&mut self, _: &mut FramePool) -> bool {
        false
    }
    fn syscalls(&self) -> u64 {
        0
    }
}

/// Ports 1 and 2 send to port 3.
struct Case {
    bench: Bench,
    sources: [Source; 2],
    accounts: [Arc<Account>; 2],
    link: Link,
    egress: Egress,
    numbers: u32,
}

const OUT: PortId = PortId(13);

impl Case {
    fn new() -> Self {
        let vlans = vec![VlanMode::Trunk(Vec::new()); 3];
        let mut bench = Bench::without_queues(&vlans, Options::default());
        bench.flow_mods(&["actions=output:3".parse().unwrap()]);
        let link = Link::default();
        let sources = [11, 12].map(|port| Source(Arc::default(), PortId(port)));
        let nothing = || Box::new(common::Nothing);
        let accounts =
            [1, 2].map(|n| bench.plug(n, Box::new(sources[usize::from(n) - 1].clone()), nothing()));
        bench.plug(3, nothing(), Box::new(link.clone()));
        Self { bench, sources, accounts, link, egress: Egress::default(), numbers: 0 }
    }

    fn set(&mut self, queue: u16, settings: QueueSettings) {
        self.egress.set(queue, settings, 1, self.bench.now).unwrap();
        self.use_queues();
    }

    fn use_queues(&mut self) {
        let queues = self.egress.queues(0);
        self.bench.desk.order([Order::Queue { port: OUT, queues, most_held: 1024 }]);
    }

    fn put(&mut self, source: usize, queue: u16, len: usize) {
        // Those of one source are even, those of the other are odd.
        self.numbers += 2;
        let number = self.numbers + u32::try_from(source).unwrap();
        self.sources[source].0.lock().unwrap().push_back((queue, number, len));
    }

    fn wait(&mut self, time: Duration) {
        self.bench.now += time;
        self.bench.turn();
        for account in &self.accounts {
            let (came, went) = account.balance();
            assert_eq!(came, went, "{account:?}");
        }
    }

    fn held(&self) -> u64 {
        self.accounts.iter().map(|account| account.held.get()).sum()
    }

    fn dropped(&self, reason: DropReason) -> u64 {
        self.accounts.iter().map(|account| account.dropped(reason).get()).sum()
    }

    /// Asserts that packets that came by one port and are meant for one queue leave as they came;
    /// `last` has the last one of each.
    fn check_order(&self, last: &mut BTreeMap<(u32, u16), u32>) {
        for (queue, number) in self.link.take() {
            // Each source has numbers of its own.
            let before = last.insert((number & 1, queue), number);
            assert!(before.is_none_or(|before| before < number), "{before:?}, then {number}");
        }
    }

    fn counted(&self, queue: u16) -> [u64; 4] {
        let (_, kept) = self.egress.iter().find(|(number, _)| *number == queue).unwrap();
        let counters = &kept.counters[0];
        [&counters.packets, &counters.bytes, &counters.dropped, &counters.waiting]
            .map(vswitch::account::Counter::get)
    }
}

const MS: Duration = Duration::from_millis(1);

/// A queue of 1000 packets of 1000 bytes in a second.
fn slow() -> QueueSettings {
    QueueSettings {
        max_rate: Some(8_000_000),
        burst: Some(2_000),
        depth: 8,
        ..QueueSettings::default()
    }
}

#[test]
fn a_rate_holds_packets_back_and_a_full_queue_drops_them() {
    let mut case = Case::new();
    case.link.make_room(usize::MAX);
    case.set(5, slow());
    (0..20).for_each(|_| case.put(0, 5, 1000));
    // Of no queue that there is, and not held back.
    case.put(1, 77, 1000);
    case.wait(Duration::ZERO);
    // All were queued before the first one was sent.
    assert_eq!(case.link.take(), [(5, 2), (5, 4), (77, 43)]);
    assert_eq!((case.held(), case.dropped(DropReason::QueueFull)), (6, 12));
    assert_eq!(case.counted(5), [2, 2_000, 12, 6]);
    assert_eq!(case.counted(0), [1, 1_000, 0, 0]);
    case.wait(MS / 2);
    assert_eq!(case.link.take(), []);
    case.wait(MS * 2);
    assert_eq!(case.link.take(), [(5, 6), (5, 8)]);
    case.wait(MS * 10);
    // It may catch up with two after a pause, but with no more.
    assert_eq!(case.link.take().len(), 3);
}

#[test]
fn what_a_full_port_gives_back_waits_again_in_its_order() {
    let mut case = Case::new();
    case.set(5, QueueSettings::default());
    for _ in 0..100 {
        case.put(0, 5, 1000);
        case.put(1, 0, 1000);
    }
    case.wait(Duration::ZERO);
    assert_eq!((case.held(), case.dropped(DropReason::TxFull)), (200, 0));
    let mut sent = Vec::new();
    for _ in 0..50 {
        case.link.make_room(7);
        case.wait(MS);
        sent.extend(case.link.take());
    }
    assert_eq!((case.held(), sent.len()), (0, 200));
    for queue in [0, 5] {
        let numbers: Vec<_> =
            sent.iter().filter(|(of, _)| *of == queue).map(|(_, number)| *number).collect();
        assert_eq!(numbers.len(), 100);
        assert!(numbers.is_sorted(), "queue {queue}: {numbers:?}");
    }
    // Both are alike, and had the port by turns.
    let (first, _) = sent.split_at(100);
    let fives = first.iter().filter(|(queue, _)| *queue == 5).count();
    assert!((45..=55).contains(&fives), "{fives} of 100");
}

#[test]
fn queues_that_go_send_what_waits_and_a_port_that_goes_drops_it() {
    let mut case = Case::new();
    case.link.make_room(usize::MAX);
    case.set(5, slow());
    (0..8).for_each(|_| case.put(0, 5, 1000));
    case.wait(Duration::ZERO);
    assert_eq!((case.held(), case.link.take().len()), (6, 2));
    // To the queue for all others, which is not held back.
    case.set(6, slow());
    assert!(case.egress.remove(Some(5), case.bench.now));
    case.use_queues();
    case.wait(Duration::ZERO);
    let numbers: Vec<_> = case.link.take().into_iter().map(|(_, number)| number).collect();
    assert_eq!((case.held(), numbers), (0, vec![6, 8, 10, 12, 14, 16]));
    (0..8).for_each(|_| case.put(0, 6, 1000));
    case.wait(Duration::ZERO);
    assert_eq!(case.held(), 6);
    case.egress.remove(None, case.bench.now);
    case.use_queues();
    case.wait(Duration::ZERO);
    assert_eq!((case.held(), case.link.take().len()), (0, 8));
    case.set(6, slow());
    (0..8).for_each(|_| case.put(0, 6, 1000));
    case.wait(Duration::ZERO);
    case.bench.desk.order([Order::Leave(OUT)]);
    case.wait(Duration::ZERO);
    assert_eq!((case.held(), case.dropped(DropReason::TxDown)), (0, 6));
    assert_eq!(case.bench.depot.len() + case.bench.worker.free_frames(), 4096);
}

/// What a sender has sent is its own, also after it has gone.
#[test]
fn a_port_whose_packets_still_wait_may_go() {
    let mut case = Case::new();
    case.link.make_room(usize::MAX);
    case.set(5, slow());
    (0..8).for_each(|_| case.put(0, 5, 1000));
    case.wait(Duration::ZERO);
    case.bench.desk.order([Order::Leave(PortId(11))]);
    (0..10).for_each(|_| case.wait(MS));
    assert_eq!((case.held(), case.link.take().len()), (0, 8));
}

#[test]
fn frames_that_wait_are_bounded_in_all_queues_together() {
    let mut case = Case::new();
    let deep = QueueSettings { depth: 4096, depth_bytes: 1 << 26, ..QueueSettings::default() };
    case.set(5, deep);
    for _ in 0..20 {
        (0..100).for_each(|_| case.put(0, 5, 1000));
        case.wait(MS);
    }
    assert_eq!((case.held(), case.dropped(DropReason::QueueFull)), (1024, 976));
}

#[derive(Clone, Debug)]
enum Step {
    Put { source: usize, queue: u16, len: usize },
    Room(usize),
    Wait(u64),
    Set(u16, QueueSettings),
    Remove(u16),
    RemoveAll,
}

fn any_step() -> impl Strategy<Value = Step> {
    let settings = (
        prop::option::of(10_000u64..100_000_000),
        prop::option::of(1_000u64..10_000),
        1u16..4,
        1u32..40,
        1_514u32..100_000,
    );
    let settings = settings.prop_map(|(max_rate, min_rate, weight, depth, depth_bytes)| {
        QueueSettings { max_rate, min_rate, weight, depth, depth_bytes, burst: None }
    });
    prop_oneof![
        12 => (0usize..2, 0u16..4, 60usize..3000)
            .prop_map(|(source, queue, len)| Step::Put { source, queue, len }),
        3 => (0usize..30).prop_map(Step::Room),
        6 => (0u64..3_000).prop_map(Step::Wait),
        2 => (0u16..4, settings).prop_map(|(queue, settings)| Step::Set(queue, settings)),
        1 => (0u16..4).prop_map(Step::Remove),
        1 => Just(Step::RemoveAll),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn accounts_balance_at_every_moment_and_queues_keep_order(
        steps in prop::collection::vec(any_step(), 1..300),
    ) {
        let mut case = Case::new();
        let mut last = BTreeMap::new();
        for step in steps {
            let now = case.bench.now;
            match step {
                Step::Put { source, queue, len } => case.put(source, queue, len),
                Step::Room(packets) => case.link.make_room(packets),
                Step::Wait(micros) => case.wait(Duration::from_micros(micros)),
                Step::Set(queue, settings) => case.set(queue, settings),
                Step::Remove(queue) => {
                    case.egress.remove(Some(queue), now);
                    case.use_queues();
                }
                Step::RemoveAll => {
                    case.egress.remove(None, now);
                    case.use_queues();
                }
            }
            case.check_order(&mut last);
        }
        case.link.make_room(usize::MAX);
        case.egress.remove(None, case.bench.now);
        case.use_queues();
        case.wait(MS);
        case.wait(MS);
        case.check_order(&mut last);
        prop_assert_eq!(case.held(), 0);
        prop_assert_eq!(case.bench.depot.len() + case.bench.worker.free_frames(), 4096);
    }
}
