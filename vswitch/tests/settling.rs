//! What short-cuts carry is counted as if it had passed the worker: a real worker, and the real
//! program in the kernel, which is run by hand.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Bench, Nothing, Options, capabilities};
use flowtable::VlanMode;
use hw::bpf::Program;
use hw::shortcut::{Generation, Table, Target, program};
use hw::{Capabilities, Links, RxQueue, Wake};
use packet::{Batch, Chainer, FramePool, HEADROOM, Key, PortId, compose};
use vswitch::account::Account;
use vswitch::desk::Order;

const LO: u32 = 1;
const LEN: u64 = 80;

/// A pod's receiving end.
struct Receiving {
    incoming: Arc<Mutex<VecDeque<Vec<u8>>>>,
    table: Option<Table>,
}

impl RxQueue for Receiving {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        let mut incoming = self.incoming.lock().unwrap();
        while batch.len() < limit
            && let Some(bytes) = incoming.pop_front()
        {
            batch.push(Chainer::copy_of(&bytes, HEADROOM, PortId(11), pool).unwrap());
        }
    }
    fn wake(&self) -> Wake<'_> {
        Wake::Never
    }
    fn syscalls(&self) -> u64 {
        0
    }
    fn short_cuts(&mut self) -> Option<Table> {
        self.table.take()
    }
}

/// Port 1 is a pod with the kernel's program in front of it, port 2 another one.
struct Pods {
    bench: Bench,
    generation: Arc<Generation>,
    program: Program,
    incoming: Arc<Mutex<VecDeque<Vec<u8>>>>,
    accounts: [Arc<Account>; 2],
    /// Packets that have come up.
    up: u64,
    /// Packets that port 1 has sent.
    sent: u64,
}

impl Pods {
    fn new() -> Self {
        let generation = Arc::new(Generation::new().unwrap());
        let lo = Links::open().unwrap().named("lo").unwrap();
        let table = Table::new(&generation, &lo, false).unwrap();
        let program = program(LO, &table).unwrap();
        let vlans = vec![VlanMode::Trunk(Vec::new()); 2];
        let mut bench =
            Bench::with_short_cuts(&vlans, Options::default(), Some(Arc::clone(&generation)));
        let incoming = Arc::default();
        let accounts = [(); 2].map(|()| Arc::<Account>::default());
        let receiving = Receiving { incoming: Arc::clone(&incoming), table: Some(table) };
        let receive = Order::Receive {
            port: PortId(11),
            number: 0,
            queue: Box::new(receiving),
            unmarked_partial: false,
            account: Arc::clone(&accounts[0]),
            busy_ns: Arc::default(),
        };
        let send = |at: u16| {
            let short_cut = Some(Target { ifindex: LO, max_frame: 1514 });
            Order::Send {
                port: PortId(at + 11),
                queue: Box::new(Nothing),
                capabilities: Capabilities { short_cut, ..capabilities() },
                account: Arc::clone(&accounts[usize::from(at)]),
            }
        };
        bench.desk.order([receive, send(0), send(1)]);
        bench.turn();
        Self { bench, generation, program, incoming, accounts, up: 0, sent: 0 }
    }

    fn flows(&mut self, flows: &[&str]) {
        let flows: Vec<_> = flows.iter().map(|flow| flow.parse().unwrap()).collect();
        self.bench.flow_mods(&flows);
        self.generation.end();
    }

    /// Sends a packet; it comes up if the program has no short-cut for it. Answers whether it does.
    fn send(&mut self, port: u16) -> bool {
        let bytes = packet(port);
        let counters = Arc::clone(&self.bench.counters);
        let counted = || counters.short_cut_packets.get();
        let before = counted();
        self.program.run(&bytes).unwrap();
        self.sent += 1;
        self.bench.wait(Duration::from_millis(60));
        let comes_up = counted() == before;
        if comes_up {
            self.incoming.lock().unwrap().push_back(bytes);
            self.bench.turn();
            self.up += 1;
        }
        comes_up
    }

    /// Asserts that everything sent so far was counted, everywhere.
    fn check(&mut self, received_by_two: u64) {
        self.bench.wait(Duration::from_millis(60));
        let [one, two] = &self.accounts;
        assert_eq!((one.rx.get(), one.rx_bytes.get()), (self.sent, self.sent * LEN));
        assert_eq!((two.out.get(), two.out_bytes.get()), (received_by_two, received_by_two * LEN));
        let (came, went) = one.balance();
        assert_eq!(came, went, "{one:?}");
        let counters = &self.bench.counters;
        assert_eq!(counters.short_cut_packets.get(), self.sent - self.up);
        // One packet a turn, and one queue.
        assert_eq!((counters.turns.get(), counters.batches.get()), (self.up, self.up));
        let counts = self.bench.counts();
        let by_rules: u64 = counts.rules.iter().map(|rule| rule.1).sum();
        let bytes: u64 = counts.rules.iter().map(|rule| rule.2).sum();
        assert_eq!((by_rules, bytes), (self.sent, self.sent * LEN), "{counts:?}");
    }
}

fn packet(port: u16) -> Vec<u8> {
    let key = Key::ZERO
        .with(Key::ETH_DST, 0x0200_0000_0002_u64)
        .with(Key::ETH_SRC, 0x0200_0000_0001_u64)
        .with(Key::ETH_TYPE, packet::ethernet::IPV4)
        .with(Key::NW_SRC, 0x0a00_0001_u32)
        .with(Key::NW_DST, 0x0a00_0002_u32)
        .with(Key::NW_PROTO, packet::udp::PROTO)
        .with(Key::NW_TTL, 64_u8)
        .with(Key::TP_SRC, port)
        .with(Key::TP_DST, 53_u16);
    compose(&key, usize::try_from(LEN).unwrap())
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn what_short_cuts_carry_is_counted_everywhere() {
    let mut pods = Pods::new();
    pods.flows(&["udp,actions=output:2"]);
    for port in 1..=4 {
        assert!(pods.send(port) && pods.send(port), "the second packet makes the short-cut");
        assert!((0..20).all(|_| !pods.send(port)));
    }
    pods.check(4 * 22);
    assert_eq!((pods.up, pods.bench.counters.short_cuts.get()), (8, 4));
    // A change: each comes up once.
    pods.flows(&["priority=65000,udp,tp_src=2,actions=drop"]);
    for port in 1..=4 {
        assert!(pods.send(port), "after a change");
        assert_eq!(pods.send(port), port == 2, "dropped is not sent");
    }
    pods.check(4 * 22 + 6);
    // Whoever is quiet for ten seconds loses it, and gets another one.
    pods.bench.wait(Duration::from_secs(11));
    pods.bench.wait(Duration::from_secs(2));
    assert_eq!(pods.bench.counters.short_cuts.get(), 0);
    assert!(pods.send(1), "its short-cut is gone");
    assert!(!pods.send(1), "it was seen before");
    pods.check(4 * 22 + 8);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn flows_beyond_the_room_come_up_and_make_room_in_time() {
    const FLOWS: u16 = 2000;
    let mut pods = Pods::new();
    pods.flows(&["udp,actions=output:2"]);
    for port in (1..=FLOWS).chain(1..=FLOWS) {
        pods.incoming.lock().unwrap().push_back(packet(port));
        pods.bench.turn();
        pods.sent += 1;
        pods.up += 1;
    }
    pods.bench.wait(Duration::from_millis(60));
    let used = pods.bench.counters.short_cuts.get();
    assert!(used > 400 && used <= Table::SLOTS as u64, "{used} short-cuts");
    pods.check(2 * u64::from(FLOWS));
    // All are quiet by now: one of a set makes room for one that is not.
    let late = (1..=FLOWS).find(|port| pods.send(*port)).unwrap();
    // It is seen again, one of its set ends, and its place becomes free.
    let mut turns = (0..5).map(|_| {
        pods.bench.wait(Duration::from_secs(2));
        pods.send(late)
    });
    assert!(turns.any(|comes_up| !comes_up), "it gets a short-cut");
    pods.check(pods.sent);
}

#[test]
#[ignore = "needs root: run by cargo xtask test"]
fn a_port_that_leaves_is_settled_first() {
    let mut pods = Pods::new();
    pods.flows(&["udp,actions=output:2"]);
    assert!(pods.send(1) && pods.send(1));
    assert_eq!(pods.bench.counters.short_cuts.get(), 1, "known before anything is reported");
    for _ in 0..5 {
        pods.program.run(&packet(1)).unwrap();
        pods.sent += 1;
    }
    let [_, two] = &pods.accounts;
    assert_eq!(two.out.get(), 2, "nothing was settled yet");
    pods.bench.desk.order([Order::Leave(PortId(11))]);
    pods.check(7);
    pods.program.run(&packet(1)).unwrap();
    pods.check(7);
}
