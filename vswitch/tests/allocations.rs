//! Carrying packets takes no memory from the allocator: not on hits, and not on misses, with all that
//! they bring - translating, making megaflows and sessions, throwing old ones out.

#![expect(clippy::unwrap_used, reason = "what a test's helpers cannot do fails the test")]

mod common;

use allocation_counter::{AllocationInfo, measure};
use api::QueueSettings;
use common::{Bench, Nothing, Options};
use flowtable::VlanMode;
use hw::{RxQueue, Wake};
use packet::{Batch, Chainer, FramePool, HEADROOM, Key, PortId, compose};
use vswitch::desk::Order;
use vswitch::egress::Egress;

/// UDP packets, of one flow after the other.
struct Flows {
    template: Vec<u8>,
    flows: u32,
    next: u32,
}

impl RxQueue for Flows {
    fn rx(&mut self, batch: &mut Batch, limit: usize, pool: &mut FramePool) {
        while batch.len() < limit {
            // The ports, behind an Ethernet and an IPv4 header.
            self.template[34..38].copy_from_slice(&self.next.to_be_bytes());
            self.next = (self.next + 1) % self.flows;
            let packet = Chainer::copy_of(&self.template, HEADROOM, PortId(11), pool);
            let mut packet = packet.unwrap();
            packet.queue = u16::from(self.next.is_multiple_of(2));
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

/// What a worker allocates for packets of so many flows, after a while; and what it has looked up
/// meanwhile: hits of sessions, hits of megaflows, misses.
fn carried(rules: &[&str], flows: u32, options: Options) -> (AllocationInfo, [u64; 3]) {
    carried_by(rules, flows, options, &Egress::default())
}

/// The same, with these egress queues at the port that sends.
fn carried_by(
    rules: &[&str],
    flows: u32,
    options: Options,
    egress: &Egress,
) -> (AllocationInfo, [u64; 3]) {
    let mut bench = Bench::without_queues(&vec![VlanMode::Trunk(Vec::new()); 2], options);
    let key = Key::ZERO
        .with(Key::ETH_DST, 0x0200_0000_0002_u64)
        .with(Key::ETH_SRC, 0x0200_0000_0001_u64)
        .with(Key::ETH_TYPE, 0x800_u16)
        .with(Key::NW_SRC, 0x0a00_0001_u32)
        .with(Key::NW_DST, 0x0a00_0002_u32)
        .with(Key::NW_PROTO, 17_u8)
        .with(Key::NW_TTL, 64_u8);
    let template = compose(&key, 64);
    bench.plug(1, Box::new(Flows { template, flows, next: 0 }), Box::new(Nothing));
    bench.plug(2, Box::new(Nothing), Box::new(Nothing));
    let (port, queues) = (PortId(12), egress.queues(0));
    bench.desk.order([Order::Queue { port, queues, most_held: 2048 }]);
    let rules: Vec<_> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    bench.flow_mods(&rules);
    let turns = |bench: &mut Bench| {
        for _ in 0..500 {
            bench.now += std::time::Duration::from_micros(20);
            bench.worker.turn(bench.now);
        }
    };
    let looked_up = |bench: &Bench| {
        let counters = &bench.counters;
        [counters.session_hits.get(), counters.megaflow_hits.get(), counters.translated.get()]
    };
    turns(&mut bench);
    let before = looked_up(&bench);
    let packets = bench.counters.packets.get();
    let allocated = measure(|| turns(&mut bench));
    assert!(bench.counters.packets.get() - packets > 10_000);
    let after = looked_up(&bench);
    (allocated, [0, 1, 2].map(|tier| after[tier] - before[tier]))
}

#[test]
fn hits_of_one_mask_allocate_nothing() {
    let rules = ["in_port=1,ip,nw_dst=10.0.0.0/24,actions=dec_ttl,output:2"];
    let (allocated, [_, hits, misses]) = carried(&rules, 1000, Options::default());
    assert!(hits > 0 && misses == 0, "{hits} hits, {misses} misses");
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}

#[test]
fn hits_of_sessions_allocate_nothing() {
    let rules = [
        "priority=9,udp,tp_dst=0/0x8,actions=dec_ttl,resubmit(,1)",
        "priority=8,udp,actions=output:2",
        "table=1,ip,nw_src=10.0.0.1,actions=output:2,clone(set_field:1->nw_ttl,output:2)",
    ];
    let options = Options { sessions: 4096, ..Options::default() };
    let (allocated, [sessions, _, misses]) = carried(&rules, 1000, options);
    assert!(sessions > 0 && misses == 0, "{sessions} hits, {misses} misses");
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}

#[test]
fn misses_allocate_nothing() {
    // More flows than there is room for, each with a megaflow and a session of its own, through
    // several tables.
    let rules = [
        "table=0,priority=1,ip,actions=dec_ttl,resubmit(,1)",
        "table=1,priority=9,udp,tp_src=0/0xf000,actions=load:7->reg3[],move:udp_dst->reg4[0..15],\
         goto_table:2",
        "table=2,priority=5,udp,tp_dst=77,actions=drop",
        "table=2,priority=4,udp,tp_src=5,actions=drop",
        "table=2,priority=3,reg3=7,actions=clone(push_vlan:0x8100,output:2),normal",
    ];
    for sessions in [0, 64] {
        let options = Options { sessions, megaflows: 64 };
        let (allocated, [_, _, misses]) = carried(&rules, 60_000, options);
        assert!(misses > 1000, "{misses} misses");
        assert_eq!(allocated.count_total, 0, "{sessions} sessions: {allocated:?}");
    }
}

#[test]
fn waiting_in_egress_queues_allocates_nothing() {
    let mut egress = Egress::default();
    // One that holds packets back and drops others, and one that does not.
    let slow = QueueSettings { max_rate: Some(100_000_000), ..QueueSettings::default() };
    egress.set(1, slow, 1, std::time::Duration::ZERO).unwrap();
    let (allocated, _) = carried_by(&["actions=output:2"], 1000, Options::default(), &egress);
    let (_, kept) = egress.iter().nth(1).unwrap();
    let counters = &kept.counters[0];
    assert!(counters.packets.get() > 1_000 && counters.dropped.get() > 1_000, "{counters:?}");
    assert_eq!(allocated.count_total, 0, "{allocated:?}");
}
