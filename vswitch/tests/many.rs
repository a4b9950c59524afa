//! A hundred million packets: what the generator has made, what flows and ports have counted and what
//! has arrived agree to the last one, and each flow's packets arrive in their order.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Bench, Nothing, Options};
use flowtable::VlanMode;
use hw::{Refusal, RxQueue, TxQueue, Wake};
use packet::{Batch, Chainer, FramePool, HEADROOM, Key, Packet, PortId, compose};

const FLOWS: usize = 64;
/// Where the UDP ports and the payload are.
const PORTS: usize = 34;
const PAYLOAD: usize = 42;

/// Packets of flows in turn, each with a number of its own.
struct Generator {
    template: Vec<u8>,
    made: u64,
    upto: u64,
}

impl RxQueue for Generator {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        while batch.len() < limit && self.made < self.upto {
            let flow = u32::try_from(self.made % FLOWS as u64).unwrap();
            self.template[PORTS..PORTS + 4].copy_from_slice(&flow.to_be_bytes());
            self.template[PAYLOAD..PAYLOAD + 8].copy_from_slice(&self.made.to_be_bytes());
            let packet = Chainer::copy_of(&self.template, HEADROOM, PortId(11), pool);
            batch.push(packet.unwrap());
            self.made += 1;
        }
    }
    fn wake(&self) -> Wake<'_> {
        Wake::Never
    }
    fn syscalls(&self) -> u64 {
        0
    }
}

/// What has arrived, by flow; and how often a packet was not the next one of its flow.
struct Arrived {
    packets: [AtomicU64; FLOWS],
    disorder: AtomicU64,
}

struct Sink {
    next: [u64; FLOWS],
    arrived: Arc<Arrived>,
}

impl TxQueue for Sink {
    fn tx(&mut self, batch: &mut Batch, pool: &mut FramePool, _: &mut Vec<(Packet, Refusal)>) {
        for packet in batch.drain(..) {
            let bytes = packet.head(pool.memory());
            let number = u64::from_be_bytes(bytes[PAYLOAD..PAYLOAD + 8].try_into().unwrap());
            let flow = usize::try_from(number).unwrap() % FLOWS;
            if number != self.next[flow] {
                self.arrived.disorder.fetch_add(1, Ordering::Relaxed);
            }
            self.next[flow] = number + FLOWS as u64;
            self.arrived.packets[flow].fetch_add(1, Ordering::Relaxed);
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

/// So many packets through three tables, while flows that concern them come and go.
fn carry(packets: u64) {
    let mut bench =
        Bench::without_queues(&vec![VlanMode::Trunk(Vec::new()); 2], Options::default());
    let key = Key::ZERO
        .with(Key::ETH_DST, 0x0200_0000_0002_u64)
        .with(Key::ETH_SRC, 0x0200_0000_0001_u64)
        .with(Key::ETH_TYPE, 0x800_u16)
        .with(Key::NW_SRC, 0x0a00_0001_u32)
        .with(Key::NW_DST, 0x0a00_0002_u32)
        .with(Key::NW_PROTO, 17_u8)
        .with(Key::NW_TTL, 64_u8);
    let template = compose(&key, 64);
    let arrived = Arc::new(Arrived {
        packets: [const { AtomicU64::new(0) }; FLOWS],
        disorder: AtomicU64::new(0),
    });
    let sink = Sink { next: std::array::from_fn(|n| n as u64), arrived: Arc::clone(&arrived) };
    let went = bench.plug(2, Box::new(Nothing), Box::new(sink));
    // One flow in eight is dropped, in a table of its own.
    let flows: Vec<_> = [
        "table=0,priority=1,udp,actions=dec_ttl,resubmit(,1)",
        "table=1,priority=9,udp,tp_dst=0x7/0x7,actions=goto_table:2",
        "table=1,priority=1,udp,actions=output:2",
        "table=2,priority=1,actions=drop",
    ]
    .map(|flow| flow.parse().unwrap())
    .to_vec();
    bench.flow_mods(&flows);
    // Only now: it begins at once.
    let came =
        bench.plug(1, Box::new(Generator { template, made: 0, upto: packets }), Box::new(Nothing));
    let mut turns = 0_u64;
    while bench.counters.packets.get() < packets {
        bench.now += std::time::Duration::from_micros(10);
        bench.turn();
        turns += 1;
        if turns.is_multiple_of(10_000) {
            // Of higher priority, and says the same.
            let verb = if turns.is_multiple_of(20_000) { "delete" } else { "add" };
            let actions = if verb == "add" { ",actions=output:2" } else { "" };
            let flow = format!("{verb} table=1,udp,tp_dst=3{actions}");
            bench.flow_mods(&[flow.parse().unwrap()]);
            bench.fold();
        }
    }
    bench.check();
    let dropped = packets / 8;
    assert_eq!(arrived.disorder.load(Ordering::Relaxed), 0, "each flow in its order");
    for (flow, count) in arrived.packets.iter().enumerate() {
        let expected = if flow % 8 == 7 { 0 } else { packets / FLOWS as u64 };
        assert_eq!(count.load(Ordering::Relaxed), expected, "flow {flow}");
    }
    assert_eq!((came.rx.get(), came.rx_bytes.get()), (packets, 64 * packets));
    assert_eq!(came.drops().map(|(_, count)| count).sum::<u64>(), dropped);
    assert_eq!(
        (went.out.get(), went.out_bytes.get()),
        (packets - dropped, 64 * (packets - dropped))
    );
    assert_eq!(bench.counters.sent.get(), packets - dropped);
    let counts = bench.counts();
    let of = |table: u8| {
        let prefix = format!("table={table} ");
        let of_table = counts.rules.iter().filter(|rule| rule.0.starts_with(&prefix));
        of_table.map(|rule| rule.1).sum::<u64>()
    };
    assert_eq!(of(0), packets);
    assert_eq!(of(2), dropped);
    // Those of the flow that was deleted have gone with it.
    assert!(of(1) <= packets && of(1) > packets - packets / 32, "{counts:?}");
    assert!(counts.misses.is_empty(), "{:?}", counts.misses);
}

#[test]
fn a_million_packets_are_all_accounted_for() {
    carry(1 << 20);
}

#[test]
#[ignore = "needs a minute: run by cargo xtask test"]
fn a_hundred_million_packets_are_all_accounted_for() {
    carry(100_000_000 / 64 * 64);
}
